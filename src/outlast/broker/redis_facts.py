"""What there is to say about a Redis that carries tickets, and about one that does not answer."""

from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis

from outlast.core.errors import UnavailableError

_SAID_CHARS: Final = 200
_MB: Final = 1_000_000


def refusal(broker: str, error: Exception) -> UnavailableError:
    """Say why a broker, called by its URL without a password, did not do what it was asked."""
    said = f"it said {str(error)[:_SAID_CHARS]!r}"
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            what, hint = f"a user and password that it accepts, {said}", "correct the broker's URL"
        case exceptions.NoPermissionError():
            what = f"a user who may run scripts on the keys outlast:*, {said}"
            hint = "grant ~outlast:* and +@list +@sortedset +@scripting +@connection +del +time"
        case _ if is_replica(error):
            what, hint = f"a primary, {said}", "name the primary in the broker's URL"
        # A server before 7 tells it so when a script meets it.
        case exceptions.ResponseError() if "OOM " in said or "maxmemory" in said:
            what, hint = f"room for a ticket, {said}", "raise its maxmemory"
        case exceptions.ResponseError():
            what = f"a plain answer, {said}"
            hint = "it must be Redis 6.0 or newer, or Valkey, and no cluster"
        case exceptions.TimeoutError() | TimeoutError():
            what, hint = "an answer in time, got none", "see whether it is up and within reach"
        case _:
            what, hint = f"a server that answers, {said}", "see whether it is up and within reach"
    return UnavailableError(f"broker {broker}: expected {what}", hint=hint)


def is_replica(error: Exception) -> bool:
    """Whether it was refused because the server only copies another; scripts say it their way."""
    return isinstance(error, exceptions.ReadOnlyError) or "READONLY" in str(error)


async def facts(client: Redis) -> dict[str, str]:
    """Return what `outlast doctor` tells; what can't be asked for is left out."""
    said: dict[str, Any] = await client.info()
    name, version = _product(said)
    found = {
        "kind": "redis",
        "server": f"{name} {version}",
        "role": str(said.get("role", "unknown")),
        "memory": _memory(said),
        "persistence": await _persistence(client, said),
    }
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if said.get("maxmemory") and policy != "noeviction":
        found["eviction"] = (
            f"warning: maxmemory-policy is {policy}, so tickets may vanish when memory is short,"
            " and their jobs wait for up to 5 s; set noeviction"
        )
    if found["role"] != "master":
        found["role"] = f"warning: it is a {found['role']}; name the primary in the broker's URL"
    return found


def _product(said: dict[str, Any]) -> tuple[str, str]:
    if "valkey_version" in said:
        return "Valkey", str(said["valkey_version"])
    return "Redis", str(said.get("redis_version", "of an unknown version"))


def _memory(said: dict[str, Any]) -> str:
    used, most = (int(said.get(name, 0)) for name in ("used_memory", "maxmemory"))
    bound = f"of {most / _MB:,.0f} MB" if most else "without a limit"
    return f"{used / _MB:,.0f} MB {bound}"


async def _persistence(client: Redis, said: dict[str, Any]) -> str:
    if int(said.get("aof_enabled", 0)):
        return "a log of all writes"
    try:
        snapshots = (await client.config_get("save")).get("save", "")
    except exceptions.ResponseError:  # a managed server keeps its settings to itself
        return "unknown"
    if snapshots:
        return "snapshots"
    return (
        "warning: none, so a restart loses the tickets, and their jobs wait for up to 5 s;"
        " set appendonly yes"
    )
