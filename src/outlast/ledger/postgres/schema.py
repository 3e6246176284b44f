"""The schema: brought up to this release, or looked at."""

from outlast.core.errors import UnavailableError
from outlast.ledger.moved import moved
from outlast.ledger.postgres.connection import Session
from outlast.ledger.postgres.statements import fragments, migrations, sql
from outlast.ledger.rows import Row


def newest() -> int:
    """Return the version of this release's schema."""
    return max(number for number, _ in migrations())


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


async def migrate(db: Session, place: str) -> int:
    """Apply the migrations that the database lacks, each in one transaction; return its version."""
    await refuse_if_moved(db, place)
    version = await version_of(db)
    while version < newest():
        async with db.transaction():
            await db.rows("lock", names=["schema"])
            version = await version_of(db)
            for number, script in migrations():
                if number > version:
                    if version == 0:
                        await db.script(sql("schema_make"))
                    await db.script(script)
                    await db.rows("schema_note", number=number)
                    version = number
                    break
    if version > newest():
        raise UnavailableError(
            f"the ledger {place} has schema {version}, made by a newer Outlast: "
            f"expected at most {newest()}",
            hint="upgrade this installation",
        )
    return version


async def facts(db: Session, place: str) -> dict[str, str]:
    """Return what is known of the database; raise when it is not migrated."""
    await refuse_if_moved(db, place)
    version = await version_of(db)
    if version < newest():
        raise UnavailableError(
            f"the ledger {place} is not migrated (schema {version})", hint="run: outlast migrate"
        )
    database, server, is_standby, size, oldest_s = await db.sole("facts")
    return {
        "store": "postgres",
        "place": place,
        "database": str(database),
        "schema": str(version),
        "postgres": str(server),
        "standby": str(is_standby).lower(),
        "bytes": str(size),
        "oldest_transaction_s": f"{oldest_s:.0f}",
    }
