"""Limits as people set them: declared with the code, or set live for tasks, tenants and keys."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from outlast.core.errors import InvalidInputError
from outlast.core.limits import KEY_CHARS_MAX
from outlast.core.share import NO_LIMIT, Limit, Limits, default_of, own_limit
from outlast.ledger.protocol import Ledger

if TYPE_CHECKING:
    from outlast.sdk.app import Outlast

KINDS: Final = ("task", "tenant", "key")


def check_subject(subject: object) -> str:
    """Return the subject of a limit: `task:NAME`, `tenant:NAME`, `key:NAME`, or `*` as the name.

    Raises InvalidInputError when it is none of these.
    """
    kind, _, name = subject.partition(":") if isinstance(subject, str) else ("", "", "")
    if kind in KINDS and 0 < len(name) <= KEY_CHARS_MAX and name.isprintable():
        return f"{kind}:{name}"
    message = f"expected task:NAME, tenant:NAME or key:NAME, or * as the name, got {subject!r:.80}"
    hint = "outlast queues set, or PATCH /v1/queues/{q}" if kind == "queue" else None
    errors = [{"path": "subject", "message": message}]
    raise InvalidInputError(f"subject: {message}", hint=hint, errors=errors)


async def set_limit(ledger: Ledger, subject: str, given: Mapping[str, Any]) -> Limit:
    """Set what holds for a subject from now on, in place of all that was set for it live.

    Saying nothing takes it away. Raises InvalidInputError that lists all that is wrong.
    """
    place, limit = check_subject(subject), Limit.of(given)
    if limit.max_depth is not None and not place.startswith("tenant:"):
        message = "expected it of a tenant"
        raise InvalidInputError(
            f"max_depth: {message}, got {place!r:.80}",
            hint="a queue's is among its settings",
            errors=[{"path": "max_depth", "message": message}],
        )
    await ledger.put("limit", place, None if limit == NO_LIMIT else limit.text())
    return limit


async def limit_of(ledger: Ledger, subject: str) -> Limit:
    """Return what holds for a subject."""
    places = {subject, default_of(subject)}
    kinds = ("limit", "declared")
    docs = [doc for kind in kinds for key in places for doc in await ledger.docs(kind, key)]
    found = {(doc.kind, doc.key): doc.doc for doc in docs}
    return Limits(lambda name: own_limit(name, found)).of(subject)


async def all_limits(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return each limit by its subject, as people give it, with its source: live or declared."""
    found: dict[str, dict[str, Any]] = {}
    for kind, source in (("declared", "declared"), ("limit", "live")):
        for doc in await ledger.docs(kind):
            found[doc.key] = {**Limit.read(doc.doc).shown(), "source": source}
    return dict(sorted(found.items()))


async def declare(app: "Outlast") -> None:
    """Tell the ledger what the code and the settings say; a worker does so when it starts."""
    said = {f"task:{task.name}": task.policy.limit for task in app.tasks.values()}
    for name in app.settings.queue_settings:
        rules = app.settings.rules(name)
        said[f"queue:{name}"] = Limit(rules.concurrency, rules.rate_limit)
    known = {doc.key: doc.doc for doc in await app.ledger.docs("declared")}
    for subject, limit in said.items():
        text = None if limit == NO_LIMIT else limit.text()
        if known.get(subject) != text:
            await app.ledger.put("declared", subject, text)
