"""The line to Kafka: one client for questions, bounded waits, and errors in a sentence of ours."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from outlast.broker.address import Address, refused
from outlast.core.errors import UnavailableError

OPTIONS: Final = frozenset({"ca", "cert", "key", "sasl", "tls", "create", "partitions", "replicas"})
ANSWER_S: Final = 5.0
# The last two are the library's own slips, over answers that it does not expect.
ERRORS: Final = (KafkaError, OSError, TimeoutError, ValueError, LookupError)
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_EXISTS: Final = 36
_LATEST, _EARLIEST = -1, -2
_CLOSE_S: Final = 1.0

# What goes wrong is told once, by whoever called. The library says it at each of its tries, many
# times a second, so it says nothing unless its logger was given a level before.
if logging.getLogger("aiokafka").level == logging.NOTSET:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class Span(NamedTuple):
    """The offsets of a partition: of its first message, and of the one to come."""

    begin: int
    end: int


class KafkaLine:
    """How a cluster is reached, and what can be asked of it."""

    def __init__(self, address: Address) -> None:
        credentials, _, hosts = address.netloc.rpartition("@")
        self.hosts = hosts.split(",")
        if not all(_HOST.fullmatch(host) for host in self.hosts):
            raise refused("kafka:// expects kafka://host:port,host:port/prefix")
        self.create = address.flag("create", default=True)
        self._partitions = address.number("partitions", 8, 1, 1_000)
        self._replicas = address.number("replicas", 0, 0, 100) or -1  # the cluster's own default
        self._settings = _settings_of(address, credentials, self.hosts)
        self._admin: AIOKafkaAdminClient | None = None
        self._opening = asyncio.Lock()
        self._there: set[str] = set()  # topics that were seen

    def __str__(self) -> str:
        return f"Kafka at {','.join(self.hosts)}"

    @property
    def settings(self) -> dict[str, Any]:
        """What each of the library's clients is made with."""
        return dict(self._settings)

    async def ensure(self, topics: Iterable[str], *, again: bool = False) -> None:
        """See that these topics are there; with `again` even those that have been seen."""
        wanted = sorted(set(topics) if again else set(topics) - self._there)
        if not wanted:
            return
        async with self.asked("CreateTopics" if self.create else "Metadata") as admin:
            if self.create:
                await self._make(admin, wanted)
            elif missing := set(wanted) - set(await self._found(admin, wanted)):
                raise UnavailableError(
                    f"{self} has no topic {min(missing)}", hint="make it, or leave out create=no"
                )
            self._there |= set(wanted)

    async def _make(self, admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
        forms = [
            NewTopic(topic, self._partitions, self._replicas, replica_assignments={})
            for topic in topics
        ]
        said = (await admin.create_topics(forms, timeout_ms=int(ANSWER_S * 1_000))).to_object()
        for one in said["topic_errors" if "topic_errors" in said else "topics"]:
            if one["error_code"] not in {0, _EXISTS}:
                raise UnavailableError(
                    f"{self} refused to make topic {one['topic']}: error {one['error_code']}",
                    hint="make it yourself and say create=no, or allow CreateTopics",
                )

    async def missing(self, topics: Iterable[str]) -> set[str]:
        """Return those of the topics that are not there."""
        wanted = set(topics)
        async with self.asked("Metadata") as admin:
            gone = wanted - set(await self._found(admin, sorted(wanted)))
        self._there -= gone
        return gone

    async def _found(
        self, admin: AIOKafkaAdminClient, topics: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return the partitions of the topics that are there; none is made by asking."""
        if not topics:
            return {}
        said = await admin._send_request(MetadataRequest(list(topics), False))  # noqa: FBT003, SLF001
        return {
            one["topic"]: one["partitions"]
            for one in said.to_object()["topics"]
            if one["partitions"]
        }

    async def spans(self, topics: Sequence[str]) -> dict[TopicPartition, Span]:
        """Return the offsets of all partitions of these topics; of those that are there."""
        async with self.asked("ListOffsets") as admin:
            leaders: dict[int, dict[str, list[int]]] = {}
            found = await self._found(admin, topics)
            self._there -= set(topics) - set(found)
            for topic, partitions in found.items():
                for one in partitions:
                    of_topic = leaders.setdefault(one["leader"], {}).setdefault(topic, [])
                    of_topic.append(one["partition"])
            ends: dict[TopicPartition, int] = {}
            begins: dict[TopicPartition, int] = {}
            for leader, theirs in leaders.items():
                ends |= await _offsets(admin, leader, theirs, _LATEST)
                begins |= await _offsets(admin, leader, theirs, _EARLIEST)
            return {place: Span(begins.get(place, 0), end) for place, end in ends.items()}

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Return what a group has committed, of those of the partitions where it has."""
        if not places:
            return {}
        async with self.asked("OffsetFetch") as admin:
            said = await admin.list_consumer_group_offsets(group, None, list(places))
            return {place: one.offset for place, one in said.items() if one.offset >= 0}

    async def facts(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return of each topic that is there its partitions, replicas and settings."""
        async with self.asked("DescribeConfigs") as admin:
            found = await self._found(admin, topics)
            facts = {
                topic: {
                    "partitions": str(len(partitions)),
                    "replicas": str(min(len(one["replicas"]) for one in partitions)),
                }
                for topic, partitions in found.items()
            }
            if found:
                asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in found]
                for answer in await admin.describe_configs(asked):
                    for one in answer.to_object()["resources"]:
                        said = {
                            entry["config_names"]: entry["config_value"] or ""
                            for entry in one["config_entries"]
                        }
                        facts[one["resource_name"]] |= said
            return facts

    @asynccontextmanager
    async def asked(self, what: str) -> AsyncIterator[AIOKafkaAdminClient]:
        """Give the client for questions; turn errors into ours, after which a new one is made."""
        try:
            async with asyncio.timeout(ANSWER_S):
                yield await self._open()
        except ERRORS as error:
            await self._drop()
            raise await self.told(what, error) from error

    async def told(self, what: str, error: BaseException) -> UnavailableError:
        """Say an error of the library's in a sentence of ours."""
        name, hint = type(error).__name__, "check hosts, ports, tls and network"
        if name == "KafkaConnectionError":
            name = await self._why() or name
        if name == "KeyError" and "sasl_mechanism" in self._settings:
            name = "AuthenticationFailedError"  # a SCRAM exchange that the server ended
        if "Auth" in name or "Sasl" in name:
            hint = "check user, password and sasl, and what the user may do"
        return UnavailableError(f"{self} did not do {what}: {name}", hint=hint)

    async def _why(self) -> str | None:
        """Ask a host once more, for the reason that the library keeps to itself."""
        host, _, port = self.hosts[0].rpartition(":") if ":" in self.hosts[0] else self._plain()
        chosen = {**self._settings, "request_timeout_ms": int(_CLOSE_S * 1_000)}
        for name in ("bootstrap_servers", "retry_backoff_ms", "metadata_max_age_ms"):
            del chosen[name]
        try:
            async with asyncio.timeout(_CLOSE_S):
                line = await create_conn(host.strip("[]"), int(port), **chosen)
                line.close()
        except ERRORS as error:
            return type(error).__name__
        return None

    def _plain(self) -> tuple[str, str, str]:
        return self.hosts[0], ":", "9092"

    async def _open(self) -> AIOKafkaAdminClient:
        async with self._opening:
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self._settings)
                try:
                    await admin.start()
                except BaseException:
                    await admin.close()
                    raise
                self._admin = admin
            return self._admin

    async def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def close(self) -> None:
        """Close the connections of the client for questions."""
        await self._drop()


async def put_away(client: Any) -> None:
    """Stop one of the library's clients in bounded time, whether the cluster answers or not."""
    connections = getattr(client, "client", None) or client._client  # noqa: SLF001
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping}, timeout=_CLOSE_S)
    if not stopping.done():
        # What still waits for an answer ends with its connection.
        await connections.close()
        await asyncio.wait({stopping}, timeout=_CLOSE_S)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    with suppress(KafkaError, OSError):
        await connections.close()  # and those that were made in the meantime


async def _offsets(
    admin: AIOKafkaAdminClient, leader: int, topics: dict[str, list[int]], when: int
) -> dict[TopicPartition, int]:
    asked = [(topic, [(one, when) for one in partitions]) for topic, partitions in topics.items()]
    said = (await admin._send_request(OffsetRequest(-1, 0, asked), leader)).to_object()  # noqa: SLF001
    return {
        TopicPartition(one["topic"], each["partition"]): each["offset"]
        for one in said["topics"]
        for each in one["partitions"]
        if not each["error_code"]
    }


def _settings_of(address: Address, credentials: str, hosts: Sequence[str]) -> dict[str, Any]:
    user, _, password = credentials.partition(":")
    tls = address.flag("tls", default=any(name in address.options for name in ("ca", "cert")))
    mechanism = address.text("sasl", "PLAIN").upper()
    if mechanism not in _MECHANISMS:
        raise refused(f"kafka:// option sasl: expected one of {', '.join(_MECHANISMS)}")
    settings: dict[str, Any] = {
        "bootstrap_servers": [host if ":" in host else f"{host}:9092" for host in hosts],
        "client_id": "outlast",
        "request_timeout_ms": int(ANSWER_S * 1_000),
        "retry_backoff_ms": 100,
        "metadata_max_age_ms": 30_000,
        "security_protocol": ("SASL_" if user else "") + ("SSL" if tls else "PLAINTEXT"),
    }
    if user:
        settings |= {
            "sasl_mechanism": mechanism,
            "sasl_plain_username": unquote(user),
            "sasl_plain_password": unquote(password),
        }
    if tls:
        files = {name: address.text(name) or None for name in ("ca", "cert", "key")}
        try:
            settings["ssl_context"] = create_ssl_context(
                cafile=files["ca"], certfile=files["cert"], keyfile=files["key"]
            )
        except OSError as error:
            raise refused(f"kafka:// options ca, cert, key: {type(error).__name__}") from error
    return settings
