"""What the doctor looks at in PostgreSQL: by which settings it would break a promise."""

from collections.abc import Iterator, Mapping
from typing import Final

from outlast.cli.check import Check

VERSION_MIN: Final = 13
_TRANSACTION_MAX_S: Final = 300
_LOST: Final = "set it to on: without it, jobs that were acknowledged are lost when {}"
_SETTINGS: Final = {
    "synchronous_commit": _LOST.format("the server stops"),
    "fsync": _LOST.format("the machine stops, or the whole database is damaged"),
    "full_page_writes": _LOST.format("the power fails within a write, and pages are torn"),
    "autovacuum": "set it to on, for the server and for the tables of the schema outlast: without "
    "it, dead rows make claims slower every day",
}


def of_server(facts: Mapping[str, str]) -> Iterator[Check]:
    """Look at the facts of a ledger in PostgreSQL."""
    version = facts["postgres"]
    is_old = int(version.partition(".")[0]) < VERSION_MIN
    hint = f"expected {VERSION_MIN} or newer: upgrade the server"
    yield Check("postgres", not is_old, version, hint)
    yield _writes(facts)
    for name, hint in _SETTINGS.items():
        yield Check(name, facts[name] != "off", facts[name], hint)
    if facts["pooler"] != "none":
        yield Check(
            "pooler",
            facts["pooler"] != "alone",
            "the server is reached past it" if facts["pooler"] != "alone" else "in between",
            "workers are not woken through it, but look once a second: put &direct=HOST:PORT of "
            "the server itself into the URL",
        )
    age = float(facts["oldest_transaction_s"])
    yield Check(
        "transactions",
        age <= _TRANSACTION_MAX_S,
        f"the oldest is open for {age:.0f} s",
        "it keeps dead rows from being removed, which slows claims: find it in pg_stat_activity by "
        "xact_start, and end it",
    )


def _writes(facts: Mapping[str, str]) -> Check:
    if facts["standby"] == "false" and facts["read_only"] == "on":
        hint = "set default_transaction_read_only to off, for its user and this database"
        return Check("standby", ok=False, detail="no, but its sessions only read", hint=hint)
    return Check(
        "standby",
        facts["standby"] == "false",
        "no" if facts["standby"] == "false" else "it can't be written to",
        "give the primary's address, or those of all servers: h1:5432,h2:5432",
    )
