"""What is to run, whatever the platform: an API, workers of each queue, and their limits."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import yaml

from outlast.core.deployment import Deployment, Size
from outlast.core.errors import InvalidInputError
from outlast.sdk.settings import Settings

# After the grace jobs are given back, stopped processes are killed, and the ledger is written to.
MARGIN_S: Final = 15
HEALTH_PORT: Final = 8081
API_PORT: Final = 8000
USER: Final = 10_001  # of the image; a number, so that a platform can see that it is not root
MIB: Final = 1024**2
_PLAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
_SHARED_SINCE: Final = "kubernetes and ecs run on more than one machine"


@dataclass(frozen=True, slots=True)
class Part:
    """Nodes of one kind: all alike, each a supervisor with its processes."""

    name: str  # a DNS label
    what: str
    command: tuple[str, ...]  # after `outlast`
    size: Size
    instance_type: str | None = None
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a renderer needs to know."""

    deployment: Deployment
    parts: tuple[Part, ...]
    stop_s: int  # from SIGTERM until the platform may kill
    secrets: tuple[str, ...]  # names of variables; their values are nowhere in here
    ledger_is_file: bool

    @property
    def name(self) -> str:
        """How everything is called."""
        return self.deployment.name

    @property
    def image(self) -> str:
        """The image of the app; raise InvalidInputError when none is named."""
        if self.deployment.image is None:
            raise InvalidInputError(
                "deploy.image: expected the image of the app, got none",
                hint="name it in outlast.yaml, or with --image",
            )
        return self.deployment.image

    def must_be_shared(self) -> None:
        """Refuse a ledger that machines can't share."""
        if self.ledger_is_file:
            raise InvalidInputError(
                f"ledger: expected postgresql://… ({_SHARED_SINCE}), got a file",
                hint="outlast migrate --from sqlite:///… --to postgresql://… moves a ledger",
            )

    @classmethod
    def of(cls, settings: Settings) -> "Plan":
        """Make the plan of some settings; raise InvalidInputError when they don't suffice."""
        deployment = Deployment.read(settings.deploy)
        if deployment.app is None:
            raise InvalidInputError(
                "deploy.app: expected the file or module of the app, got none",
                hint="name it in outlast.yaml, or on the command line",
            )
        unknown = sorted(deployment.queues.keys() - settings.queue_settings.keys())
        if unknown:
            raise InvalidInputError(
                f"deploy.queues: expected queues that `queues` has settings for, got {unknown}"
            )
        secrets = ["OUTLAST_LEDGER", "OUTLAST_BLOBS"]
        if settings.broker != "ledger":
            secrets.append("OUTLAST_BROKER")
        if settings.events:
            secrets.append("OUTLAST_EVENTS")
        said = settings.ledger != Settings().ledger  # else it is named where the secrets are
        return cls(
            deployment,
            _parts(deployment, settings),
            math.ceil(settings.grace) + MARGIN_S,
            (*secrets, *deployment.variables),
            said and not settings.ledger.startswith(("postgresql://", "postgres://")),
        )


def _parts(deployment: Deployment, settings: Settings) -> tuple[Part, ...]:
    app = str(deployment.app)
    parts = []
    if deployment.api.replicas:
        serve = ("api", app)
        parts.append(Part("api", "the API and dashboard", serve, deployment.api, serves=True))
    for queue in settings.queue_settings:
        rules = settings.rules(queue)
        size = deployment.queues.get(queue, Size())
        if not size.replicas:
            continue
        count = rules.worker_count or settings.concurrency
        parts.append(
            Part(
                f"worker-{label(queue)}",
                f"workers of the queue {queue}, {count} jobs at once on each node",
                ("worker", app, "--queue", queue),
                size,
                rules.instance_type,
            )
        )
    if deployment.others.replicas:
        rest = [word for queue in settings.queue_settings for word in ("--except-queue", queue)]
        what = "workers of every other queue" if rest else "workers"
        parts.append(Part("worker", what, ("worker", app, *rest), deployment.others))
    return tuple(parts)


def label(queue: str) -> str:
    """Return a queue's name as a part of a DNS label that no other queue has.

    >>> label("mail"), label("Mail & more")
    ('mail', 'mail-more-d77912c0')
    """
    if _PLAIN.fullmatch(queue):
        return queue
    said = re.sub(r"[^a-z0-9]+", "-", queue.lower()).strip("-")[:20].strip("-")
    return f"{said or 'queue'}-{sha256(queue.encode()).hexdigest()[:8]}"


def as_yaml(target: str, *documents: Mapping[str, Any]) -> str:
    """Write YAML documents below a line that says where they come from."""

    class Plain(yaml.SafeDumper):
        """Writes what stands in two places twice: people read it."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    text = yaml.dump_all(documents, Dumper=Plain, sort_keys=False, allow_unicode=True, width=100)
    return f"{head(target)}{text}"


def head(target: str) -> str:
    """Return the line that says where a file comes from."""
    return f"# Made by `outlast deploy render --target {target}`; change outlast.yaml instead.\n"
