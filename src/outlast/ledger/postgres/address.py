"""Where the database is: a URL as PostgreSQL's own tools take it, and what it may say besides."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from outlast.core.errors import CapabilityError, InvalidInputError

SCHEMES: Final = ("postgresql://", "postgres://")
POOL_DEFAULT: Final = 6
POOL_MAX: Final = 100
_HINT: Final = "write postgresql://user:password@host:5432/database"
_PORT_MAX: Final = 65_535
_WRITABLE: Final = ("any", "read-write", "primary")


@dataclass(frozen=True, slots=True)
class Address:
    """A database's URL without our own options, and these; `place` is fit to be shown."""

    dsns: tuple[str, ...]  # one of each server: the one that takes writes is meant
    place: str
    pool: int = POOL_DEFAULT  # how many connections a process may have, besides two reserved ones
    direct: tuple[str, ...] = ()  # past a pooler, for what needs a session of its own

    @classmethod
    def read(cls, url: str) -> "Address":
        """Read a URL; raise InvalidInputError that never tells the password.

        >>> Address.read("postgresql://ann:secret@db.test/jobs?pool=3").place
        'postgresql://ann@db.test/jobs'
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidInputError(f"ledger: not a URL: {error}", hint=_HINT) from error
        database = unquote(parts.path.removeprefix("/"))
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not database or "/" in database:
            got = parts.path or "none"
            raise InvalidInputError(
                f"ledger: expected the name of a database in the URL, got {got!r:.80}", hint=_HINT
            )
        credentials, _, hosts = parts.netloc.rpartition("@")
        user = f"{credentials.partition(':')[0]}@" if credentials else ""
        pool = _pool(options.pop("pool", str(POOL_DEFAULT)))
        direct = options.pop("direct", None)
        _must_take_writes(options.pop("target_session_attrs", "any"))
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""

        def dsns(hosts: Sequence[str]) -> tuple[str, ...]:
            at = f"{credentials}@" if credentials else ""
            return tuple(f"postgresql://{at}{host}{parts.path}{query}" for host in hosts)

        return cls(
            dsns(_hosts(hosts)),
            f"postgresql://{user}{hosts}{parts.path}",
            pool,
            () if direct is None else dsns(_hosts(direct)),
        )


@contextmanager
def needs_driver() -> Iterator[None]:
    """Say what to install when an import inside finds no driver."""
    try:
        yield
    except ImportError as error:
        raise CapabilityError(
            "ledger: PostgreSQL needs a driver that is not installed",
            hint='pip install "outlast[postgres]"',
        ) from error


def _hosts(text: str) -> list[str]:
    """Split `h1:5432,h2`; a single one may be empty, and then is a socket of this machine."""
    hosts = text.split(",")
    for host in hosts:
        name, colon, port = host.rpartition(":")
        if host.endswith("]") or not colon:  # an IPv6 address, or without a port
            name, port = host, "5432"
        if (not name and len(hosts) > 1) or not (port.isdecimal() and int(port) <= _PORT_MAX):
            raise InvalidInputError(
                f"ledger: expected host:port in the URL, got {host!r:.80}",
                hint="several servers are h1:5432,h2:5432",
            )
    return hosts


def _must_take_writes(wish: str) -> None:
    """Refuse a wish for a standby: whoever only reads can keep no ledger."""
    if wish not in _WRITABLE:
        raise InvalidInputError(
            f"ledger: target_session_attrs: expected read-write, got {wish!r:.40}",
            hint="leave it out: of several servers the one that takes writes is used",
        )


def _pool(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= POOL_MAX:
        raise InvalidInputError(
            f"ledger: pool: expected a whole number from 1 to {POOL_MAX}, got {value!r:.40}"
        )
    return int(value)
