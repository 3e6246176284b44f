"""Import a CSV file of airports into SQLite: good rows are stored, bad rows are reported."""

import contextlib
import csv
import io
import itertools
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from outlast import SyncJob

BATCH_ROWS = 400
REPORT_NAME = "rejected-rows.csv"

TABLE = """
CREATE TABLE IF NOT EXISTS airport (
    iata TEXT PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL, state TEXT NOT NULL,
    country TEXT NOT NULL, latitude REAL NOT NULL, longitude REAL NOT NULL
) STRICT
"""
# A batch that is stored again after a crash leaves the table as it was.
UPSERT = """
INSERT INTO airport VALUES (:iata, :name, :city, :state, :country, :latitude, :longitude)
ON CONFLICT (iata) DO UPDATE SET name = excluded.name, city = excluded.city,
    state = excluded.state, country = excluded.country,
    latitude = excluded.latitude, longitude = excluded.longitude
"""


def _known(value: str) -> str:
    if value == "NA":
        raise ValueError("expected a value, got the placeholder NA")
    return value


Words = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_known),
]


class Airport(BaseModel, frozen=True):
    """A row that may be stored."""

    iata: Annotated[str, StringConstraints(pattern="^[A-Z0-9]{3,4}$")]
    name: Words
    city: Words
    state: Words
    country: Words
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line was not stored."""

    line: int
    column: str
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some consecutive rows."""

    stored: int
    rejected: int
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file; the rejected rows are listed in the artifact."""

    rows: int
    stored: int
    rejected: int
    report: str


def import_airports(job: SyncJob, csv_file: Path, database: Path) -> Imported:
    """Store the valid rows batch by batch, each batch one step, and save a report of the others."""
    rows = read_rows(csv_file)
    batches: list[Batch] = []
    done = 0
    for start in range(0, len(rows), BATCH_ROWS):
        part = rows[start : start + BATCH_ROWS]
        # The step's name says which lines it covers; the head of the file is line 1.
        name = f"lines {start + 2} to {start + 1 + len(part)}"
        batches.append(job.step(name, store, database, part, start + 2))
        done += len(part)
        job.progress(done, len(rows), name)
    problems = list(itertools.chain.from_iterable(batch.problems for batch in batches))
    artifact = job.save(REPORT_NAME, report(problems))
    rejected = sum(batch.rejected for batch in batches)
    job.log("imported", rows=len(rows), rejected=rejected)
    return Imported(len(rows), len(rows) - rejected, rejected, artifact.name)


def read_rows(csv_file: Path) -> list[dict[str, str]]:
    """Return the rows as they stand, or raise ValueError when the columns are others."""
    with csv_file.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        expected, found = list(Airport.model_fields), list(reader.fieldnames or [])
        if found != expected:
            raise ValueError(f"{csv_file.name}: expected the columns {expected}, found {found}")
        return list(reader)


def store(database: Path, rows: list[dict[str, str]], first_line: int) -> Batch:
    """Store the valid rows in one transaction and return what was wrong with the others."""
    airports: list[Airport] = []
    problems: list[Problem] = []
    for line, row in enumerate(rows, start=first_line):
        try:
            airports.append(Airport.model_validate(row))
        except ValidationError as error:
            problems += [
                Problem(
                    line,
                    str(one["loc"][0]),
                    str(one["input"]),
                    one["msg"].removeprefix("Value error, "),
                )
                for one in error.errors(include_url=False)
            ]
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(TABLE)
        connection.executemany(UPSERT, [airport.model_dump() for airport in airports])
    return Batch(len(airports), len(rows) - len(airports), problems)


def report(problems: list[Problem]) -> bytes:
    """Write the problems as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("line", "column", "value", "problem"))
    writer.writerows((one.line, one.column, one.value, one.message) for one in problems)
    return buffer.getvalue().encode()
