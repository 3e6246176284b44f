"""The schema: brought up to this release, or looked at."""

from typing import Final

from outlast.ledger.moved import moved
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.statements import fragments, migrations, sql
from outlast.ledger.rows import Row
from outlast.ledger.steps import following, newest, refuse_unfit

_SETTINGS: Final = (
    "synchronous_commit", "fsync", "full_page_writes", "autovacuum", "read_only",
)  # fmt: skip


async def version_of(db: Session) -> int:
    """Return the version that the last migration left; 0: none was applied."""
    (is_there,) = await db.sole("schema_there")
    if not is_there:
        return 0
    (version,) = await db.sole("schema_version")
    return int(version)


async def mark_of(db: Session) -> Row | None:
    """Return what a move of this ledger has left: its ID, destination and stage."""
    stages = fragments("move_stages")
    if not (await db.rows_of(stages["is_moving"], {}))[0][0]:
        return None
    found = await db.rows_of(stages["mark"], {})
    return tuple(found[0]) if found else None


async def refuse_if_moved(db: Session, place: str) -> None:
    """Raise MovedError when the ledger is not here any more."""
    mark = await mark_of(db)
    if mark is not None and mark[2] == "moved":
        raise moved(place, mark[1], mark[2])


async def migrate(db: Session, place: str, *, finish: bool = False) -> int:
    """Apply the migrations that the database lacks, each in one transaction; return its version.

    Steps that take something away are left for `finish`, but in a database that is new.
    """
    await refuse_if_moved(db, place)
    steps, version = migrations(), await version_of(db)
    finish = finish or version == 0
    while following(steps, version, place, finish=finish) is not None:
        async with db.transaction():
            await db.rows("lock", names=["schema"])
            version = await version_of(db)
            step = following(steps, version, place, finish=finish)
            if step is not None:
                if version == 0:
                    await db.script(sql("schema_make"))
                await db.script(step.script)
                await db.rows("schema_note", number=step.number)
                version = step.number
    refuse_unfit(steps, version, place)
    return version


async def facts(db: Session, place: str) -> dict[str, str]:
    """Return what is known of the database; raise when it is not migrated."""
    await refuse_if_moved(db, place)
    steps, version = migrations(), await version_of(db)
    refuse_unfit(steps, version, place)
    database, server, is_standby, size, oldest_s, *settings = await db.sole("facts")
    return {
        "store": "postgres",
        "place": place,
        "database": str(database),
        "schema": str(version),
        "schema_newest": str(newest(steps)),
        "postgres": str(server),
        "standby": str(is_standby).lower(),
        "bytes": str(size),
        "oldest_transaction_s": f"{oldest_s:.0f}",
        **dict(zip(_SETTINGS, map(str, settings), strict=True)),
        "pooler": "alone" if db.is_pooled else "none",
    }
