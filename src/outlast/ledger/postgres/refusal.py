"""What PostgreSQL and its driver say, in our words: what failed, and what to do."""

from collections.abc import Callable
from typing import Final

import asyncpg

from outlast.core.errors import (
    CorruptError,
    InvalidInputError,
    OutlastError,
    StorageFullError,
    UnavailableError,
)
from outlast.ledger.moved import moved

Told = Callable[[str, BaseException], OutlastError]  # of the place and the driver's error
_MOVING: Final = "OM001"
UNKNOWN: Final = "what was asked may be done or not: ask again with the same idempotency key"


def _unavailable(text: str, hint: str) -> Told:
    return lambda place, error: UnavailableError(
        f"the ledger {place} {text}".format(error=_said(error)), hint=hint
    )


def _full(place: str, _error: BaseException) -> OutlastError:
    return StorageFullError(
        f"the disk of the ledger {place} is full",
        hint="free some space on it; submits are taken again by themselves",
        retry_after=10,
    )


def _damaged(place: str, error: BaseException) -> OutlastError:
    return CorruptError(f"the ledger {place} is damaged: {_said(error)}", hint="restore a backup")


def _unfit(_place: str, error: BaseException) -> OutlastError:
    return InvalidInputError(f"the ledger can't store this: {_said(error)}")


def _misread(_place: str, error: BaseException) -> OutlastError:
    return InvalidInputError(f"ledger: the URL says what can't be: {_said(error)}")


_TOLD: Final[tuple[tuple[tuple[type[BaseException], ...], Told], ...]] = (
    (
        (
            asyncpg.UndefinedTableError,
            asyncpg.UndefinedFunctionError,
            asyncpg.InvalidSchemaNameError,
        ),
        _unavailable("is not migrated", "run: outlast migrate"),
    ),
    (
        (asyncpg.UndefinedColumnError,),
        _unavailable(
            "has the schema of another release: {error}",
            "run: outlast migrate, or upgrade this installation",
        ),
    ),
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        _unavailable(
            "refuses this user or password",
            "check both in --ledger (or OUTLAST_LEDGER), and the server's pg_hba.conf",
        ),
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        _unavailable(
            "does not exist: the server has no such database",
            "make it with createdb, or give another --ledger",
        ),
    ),
    (
        (asyncpg.InsufficientPrivilegeError,),
        _unavailable(
            "refuses this user: {error}",
            "let its owner run outlast migrate, or grant this user what it lacks",
        ),
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        _unavailable(
            "has no connection left: {error}",
            "raise max_connections, or put ?pool= with a smaller number in the URL",
        ),
    ),
    ((asyncpg.DiskFullError,), _full),
    (
        (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError),
        _unavailable(
            "is busy: {error}", "look in pg_stat_activity for a transaction that holds a lock"
        ),
    ),
    (
        (asyncpg.ReadOnlySQLTransactionError,),
        _unavailable(
            "is a standby, which can't be written to",
            "give the primary's address, or those of all servers: h1:5432,h2:5432",
        ),
    ),
    (
        (asyncpg.TargetServerAttributeNotMatched,),
        _unavailable(
            "has no server that takes writes",
            "promote one of its standbys; it is found by itself",
        ),
    ),
    ((asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError), _damaged),
    (
        (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError),
        _unavailable("ended the connection: {error}", UNKNOWN),
    ),
    (
        (asyncpg.CannotConnectNowError,),
        _unavailable("can't be reached: {error}", "it starts or stops: try again"),
    ),
    (
        (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, UnicodeError, OverflowError),
        _unfit,
    ),
    ((asyncpg.ClientConfigurationError,), _misread),
    ((TimeoutError,), _unavailable("does not answer in time", UNKNOWN)),
    (
        (asyncpg.PostgresConnectionError, asyncpg.InterfaceError),
        _unavailable("was lost: {error}", UNKNOWN),
    ),
    (
        (OSError,),
        _unavailable(
            "can't be reached: {error}", "check the address in --ledger, and that the server runs"
        ),
    ),
)


def translated(error: BaseException, place: str) -> OutlastError:
    """Turn a driver's error into ours; drivers' errors never leave the ledger."""
    if isinstance(error, OutlastError):
        return error
    if getattr(error, "sqlstate", None) == _MOVING:  # raised by a trigger, with the destination
        return moved(place, str(error), "frozen")
    for kinds, told in _TOLD:
        if isinstance(error, kinds):
            return told(place, error)
    return UnavailableError(f"the ledger {place} failed: {type(error).__name__}: {error}")


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
