import csv
import io
import re
import sqlite3
from contextlib import closing


def count(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM airport").fetchone()[0]


async def test_good_rows_are_stored_and_bad_rows_reported(run, samples, tmp_path):
    database = tmp_path / "airports.db"

    job = await run(
        "import_airports", csv_file=str(samples / "airports.csv"), database=str(database)
    )

    result = job.result
    assert (result["rows"], result["stored"], result["rejected"]) == (3376, 3364, 12)
    assert count(database) == 3364
    rows = list(csv.DictReader(io.StringIO(job.file("rejected-rows.csv").decode())))
    assert len({row["line"] for row in rows}) == 12
    lines = (samples / "airports.csv").read_text().splitlines()
    assert all(",NA," in lines[int(row["line"]) - 1] for row in rows)


async def test_each_kind_of_bad_value_is_named(run, tmp_path):
    head = "iata,name,city,state,country,latitude,longitude\n"
    good = "SEA,Tacoma,Seattle,WA,USA,47.4,-122.3\n"
    bad = "sea,,Seattle,WA,USA,97.4,west\n"
    (tmp_path / "in.csv").write_text(head + good + bad)

    job = await run(
        "import_airports", csv_file=str(tmp_path / "in.csv"), database=str(tmp_path / "out.db")
    )

    rows = csv.DictReader(io.StringIO(job.file("rejected-rows.csv").decode()))
    assert [(row["line"], row["column"]) for row in rows] == [
        ("3", column) for column in ("iata", "name", "latitude", "longitude")
    ]


async def test_an_import_resumed_after_a_crash_stores_each_row_once(t, run, samples, tmp_path):
    database = tmp_path / "airports.db"

    with t.crash_at("step:lines 1202 to 1601"):
        job = await run(
            "import_airports", csv_file=str(samples / "airports.csv"), database=str(database)
        )

    assert job.attempts == 2
    assert job.result["stored"] == count(database) == 3364


async def test_other_columns_are_refused(run, tmp_path):
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")

    job = await run(
        "import_airports", csv_file=str(tmp_path / "in.csv"), database=str(tmp_path / "out.db")
    )

    assert re.search(r"expected the columns .*'iata'.*found .*'a', 'b'", job.error["message"])
