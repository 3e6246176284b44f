"""Where the database is: a URL as PostgreSQL's own tools take it, and what it may say besides."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from outlast.core.errors import CapabilityError, InvalidInputError

SCHEMES: Final = ("postgresql://", "postgres://")
POOL_DEFAULT: Final = 6
POOL_MAX: Final = 100
_HINT: Final = "write postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True)
class Address:
    """A database's URL without our own options, and these; `place` is fit to be shown."""

    dsn: str
    place: str
    pool: int = POOL_DEFAULT  # how many connections a process may have, besides two reserved ones
    direct: str | None = None  # past a pooler, for what needs a session of its own

    @classmethod
    def read(cls, url: str) -> "Address":
        """Read a URL; raise InvalidInputError that never tells the password.

        >>> Address.read("postgresql://ann:secret@db.test/jobs?pool=3").place
        'postgresql://ann@db.test/jobs'
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidInputError(f"ledger: not a URL: {error}", hint=_HINT) from error
        database = unquote(parts.path.removeprefix("/"))
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not database or "/" in database:
            got = parts.path or "none"
            raise InvalidInputError(
                f"ledger: expected the name of a database in the URL, got {got!r:.80}", hint=_HINT
            )
        user = "" if parts.username is None else f"{parts.username}@"
        host = _host(parts.netloc)
        place = f"postgresql://{user}{host}{parts.path}"
        pool = _pool(options.pop("pool", str(POOL_DEFAULT)))
        direct = options.pop("direct", None)
        credentials = parts.netloc.rpartition("@")[0]
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        dsn = f"postgresql://{parts.netloc}{parts.path}{query}"
        if direct is not None:
            at = f"{credentials}@{direct}" if credentials else direct
            direct = f"postgresql://{at}{parts.path}{query}"
        del port
        return cls(dsn, place, pool, direct)


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


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]


def _pool(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= POOL_MAX:
        raise InvalidInputError(
            f"ledger: pool: expected a whole number from 1 to {POOL_MAX}, got {value!r:.40}"
        )
    return int(value)
