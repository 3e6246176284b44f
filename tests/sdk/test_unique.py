"""Which submits have one intention, as users say it: in Python and over HTTP."""

import pytest

from outlast import Outlast, Unique, debounce, key_for, throttle
from outlast.core.errors import DuplicateJobError, InvalidInputError
from outlast.core.limits import MINUTE
from tests.worker.rig import new_app


@pytest.fixture
async def app(tmp_path):
    made = new_app(tmp_path)

    @made.task(unique=Unique(by=("user",)))
    async def sync(user: int, full: bool = False) -> None: ...

    async with made:
        yield made


def submit(app, unique=None, **args):
    from outlast.sdk.task_handle import TaskHandle

    return TaskHandle(app, app.tasks["sync"]).options(unique=unique).submit(**args)


async def test_only_the_arguments_that_are_named_count(app):
    first = await submit(app, user=1)

    same, other = await submit(app, user=1, full=True), await submit(app, user=2)

    assert (same.id, same.duplicate) == (first.id, True)
    assert not other.duplicate


async def test_a_submit_may_say_it_otherwise(app):
    first = await submit(app, user=1)

    with pytest.raises(DuplicateJobError) as told:
        await submit(app, Unique(by=("user",), on="reject"), user=1)
    free = await submit(app, unique=False, user=1)

    assert told.value.facts["job_id"] == first.id
    assert not free.duplicate


async def test_equal_arguments_count_as_equal_however_they_are_written(tmp_path):
    app = new_app(tmp_path)

    @app.task(unique=True)
    async def add(a: int, b: float = 1.0) -> None: ...

    async with app:
        first = await add.submit(1, b=2.0)
        assert (await add.submit(b=2.0, a=1)).id == first.id
        assert (await add.submit(2, b=2.0)).id != first.id


async def test_two_tenants_have_intentions_of_their_own(app):
    from outlast.sdk.submission import new_job

    jobs = [new_job(app.tasks["sync"], {"user": 1}, tenant=name) for name in ("a", "b", "a")]

    assert [m.outcome for m in await app.ledger.insert(jobs)] == ["created", "created", "existing"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"by": "user"}, "unique.by: expected names of arguments"),
        ({"by": ["nobody"]}, "unique.by: expected arguments of task sync"),
        ({"on": "explode"}, "unique.on: expected one of existing, reject, replace"),
        ({"states": ["asleep"]}, "unique.states: expected some of scheduled"),
        ({"within": "soon"}, "unique.within: expected a duration"),
        ({"at_most": "1m"}, "unique.at_most: expected together with wait"),
        ({"colour": 1}, "unique.colour: no such field; known: at_most, by, on"),
        (7, "unique: expected true or an object"),
    ],
)
async def test_a_rule_that_means_nothing_is_refused_by_name(app, wrong, told):
    with pytest.raises(InvalidInputError, match=told):
        await submit(app, unique=wrong, user=1)


def test_a_task_that_counts_an_argument_it_does_not_have_is_refused_at_once():
    app = Outlast()

    with pytest.raises(InvalidInputError, match=r"unique\.by: expected arguments of it"):

        @app.task(unique=Unique(by=("usr",)))
        async def sync(user: int) -> None: ...


def test_throttle_and_debounce_are_rules():
    assert throttle("1h").within == "1h"
    assert (debounce("1s", at_most="1m").on, debounce("1s").wait_us) == ("replace", 1_000_000)


class At:
    def __init__(self, us):
        self.us = us

    def now_us(self):
        return self.us

    elapsed_us = now_us


def test_a_key_of_user_action_and_window_is_the_same_within_the_window():
    keys = [
        key_for("u1", "report", window="10m", clock=At(minutes * MINUTE))
        for minutes in (0, 9, 10, 19, 20)
    ]

    assert keys[0] == "u1:report:1970-01-01T00:00:00"
    assert [keys.index(key) for key in keys] == [0, 0, 2, 2, 4]


def test_two_pairs_of_user_and_action_never_give_one_key():
    assert key_for("a:b", "c") != key_for("a", "b:c")


@pytest.mark.parametrize("wrong", [("", "a"), ("u", ""), ("u", "a\n"), ("u" * 300, "a")])
def test_a_key_that_could_not_be_used_is_refused(wrong):
    with pytest.raises(InvalidInputError, match="key"):
        key_for(*wrong)
