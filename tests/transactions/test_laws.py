"""Each law holds by each library, and a planted bug breaks it."""

from contextlib import asynccontextmanager, contextmanager

import apsw
import pytest

from outlast.ledger.postgres import within
from outlast.ledger.sqlite import within as sqlite_within
from outlast.ledger.within.connected import Driver
from tests.transactions import laws
from tests.transactions.rig import judge
from tests.transactions.theirs import LIBRARIES


@pytest.fixture(params=LIBRARIES)
def library(request):
    return LIBRARIES[request.param]


@pytest.fixture
def url(library, request, tmp_path):
    if library.store == "sqlite":
        return f"sqlite:///{tmp_path}/outlast.db"
    return request.getfixturevalue("migrated")


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_it_holds_that(law, library, url, tmp_path):
    judge(library, url, tmp_path, law)


def test_a_submit_that_fails_without_a_transaction_leaves_nothing(
    library, url, tmp_path, monkeypatch
):
    monkeypatch.setattr(f"outlast.ledger.{library.store}.insert._remember", fail)

    judge(library, url, tmp_path, nothing_is_left)


async def nothing_is_left(desk):
    await desk.theirs.commit_each()
    with pytest.raises(ZeroDivisionError):
        await desk.submit("add", key="k", a=1, b=2)

    assert await laws.number_of_jobs(desk) == 0


def fail(*_):
    raise ZeroDivisionError


async def always(_self):
    return True


async def never(_self):
    return False


@contextmanager
def committing(db):
    yield False
    db.execute("COMMIT")


@contextmanager
def as_it_is(_db):
    yield False


@asynccontextmanager
async def keeping(_self):
    async def undo(): ...

    yield undo


def drivers(monkeypatch, how):
    for kind in Driver.__subclasses__():
        for each in (kind, *kind.__subclasses__()):
            monkeypatch.setattr(each, "commits_each", how)


@pytest.mark.parametrize(
    "law",
    [
        laws.a_job_is_there_exactly_when_the_transaction_commits,
        laws.the_first_statement_of_a_transaction_may_be_the_submit,
        laws.two_with_one_key_are_one_job_and_a_rollback_frees_the_key,
    ],
    ids=lambda law: law.__name__,
)
def test_a_submit_that_commits_what_is_not_its_own_is_found(
    law, library, url, tmp_path, monkeypatch
):
    judge(library, url, tmp_path, loaded)
    drivers(monkeypatch, always)
    monkeypatch.setattr(sqlite_within, "in_theirs", committing)

    with pytest.raises((AssertionError, apsw.SQLError)):
        judge(library, url, tmp_path, law)


async def loaded(desk):
    """Let the adapter be there to be spoiled."""
    await desk.submit("add", a=1, b=2)


def test_a_submit_that_is_not_whole_is_found(library, url, tmp_path, monkeypatch):
    judge(library, url, tmp_path, loaded)
    drivers(monkeypatch, never)
    monkeypatch.setattr(sqlite_within, "in_theirs", as_it_is)
    monkeypatch.setattr(f"outlast.ledger.{library.store}.insert._remember", fail)

    with pytest.raises(AssertionError):
        judge(library, url, tmp_path, nothing_is_left)


def test_a_batch_of_which_a_part_stays_is_found(migrated, tmp_path, monkeypatch):
    monkeypatch.setattr(within._Guest, "all_or_none", keeping)

    with pytest.raises(AssertionError):
        judge(
            LIBRARIES["psycopg"], migrated, tmp_path,
            laws.a_batch_is_stored_each_for_itself_or_all_or_none,
        )  # fmt: skip
