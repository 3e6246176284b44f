"""What is wrong with a submit is told at once, by path, before anything is stored."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from outlast.core.errors import (
    InvalidInputError,
    KeyReusedError,
    NotFoundError,
    OutlastError,
    QueueFullError,
)
from outlast.core.job import EVERYTHING, NewJob, Page
from outlast.sdk.app import Outlast
from outlast.sdk.settings import Settings
from outlast.sdk.submission import Options, new_job
from tests.worker.rig import new_app


class Size(BaseModel):
    width: int
    height: int = 10


@dataclass
class Person:
    name: str


app = Outlast()


@app.task
async def resize(file: str, sizes: list[Size], mode: Literal["fit", "fill"] = "fit") -> int:
    return len(sizes)


@app.task
async def greet(who: Person, loud: bool = False) -> str:
    return who.name


@app.task
async def anything(value=None):
    return value


def problems(task, args, **options):
    with pytest.raises(InvalidInputError) as caught:
        new_job(task.task, args, Options(**options))
    return {entry["path"]: entry["message"] for entry in caught.value.facts["errors"]}


def test_each_wrong_argument_is_named_by_its_path():
    found = problems(
        resize, {"file": 5, "sizes": [{"width": 1}, {"width": "x"}], "mode": "cut", "more": 1}
    )

    assert set(found) == {"args.file", "args.sizes.1.width", "args.mode", "args.more"}
    assert "'x'" in found["args.sizes.1.width"]


def test_a_missing_argument_is_named():
    assert set(problems(greet, {})) == {"args.who"}


def test_text_is_not_taken_for_a_number_nor_a_number_for_a_flag():
    assert set(problems(greet, {"who": {"name": "a"}, "loud": 1})) == {"args.loud"}


@pytest.mark.parametrize("value", [object(), lambda: 0, "\ud800", [1, {"a": object()}]])
def test_what_is_no_json_is_refused_with_a_reason(value):
    assert "args" in problems(anything, {"value": value})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
        max_leaves=20,
    )
)
def test_any_argument_is_stored_as_text_or_refused_as_input(value):
    try:
        job = new_job(anything.task, {"value": value})
    except InvalidInputError:
        return
    job.args.encode()


def test_models_and_dataclasses_are_arguments():
    job = new_job(greet.task, {"who": Person("Ada")})

    assert job.args == '{"who":{"name":"Ada"}}'


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"queue": ""}, "queue"),
        ({"queue": "a\x00"}, "queue"),
        ({"queue": "q" * 201}, "queue"),
        ({"key": ""}, "idempotency_key"),
        ({"key": "k" * 256}, "idempotency_key"),
        ({"concurrency_key": 5}, "concurrency_key"),
        ({"priority": 101}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 1001}, "max_attempts"),
        ({"delay": "soon"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": [1]}, "delay"),
        ({"timeout": {}}, "timeout"),
        ({"expires_in": float("nan")}, "expires_in"),
        ({"run_at": "2026-11-23"}, "run_at"),
        ({"run_at": datetime(2026, 11, 23)}, "run_at"),  # noqa: DTZ001 - the point: no offset
        ({"run_at": 5}, "run_at"),
        ({"delay": 1, "run_at": "2026-11-23T10:00:00Z"}, "run_at"),
        ({"tags": "abc"}, "tags"),
        ({"tags": ["a"] * 21}, "tags"),
        ({"tags": ["a", 5]}, "tags.1"),
        ({"notify": [{}] * 11}, "notify"),
        ({"notify": [{"to": object()}]}, "notify.0"),
        ({"notify": [{}, "me"]}, "notify.1"),
    ],
)
def test_a_wrong_option_is_named(options, path):
    assert path in problems(anything, {}, **options)


def test_all_that_is_wrong_is_told_at_once():
    found = problems(greet, {}, priority=1000, delay="x", tags=[""], key="")

    assert set(found) == {"args.who", "priority", "delay", "tags.0", "idempotency_key"}


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"queue, priority, .*got prio"):
        greet.options(prio=1)


def test_options_override_the_task_and_stay_on_their_copy():
    @app.task(name="custom", queue="slow", priority=3, retries=7, timeout="5m")
    async def custom() -> None: ...

    plain, changed = new_job(custom.task, {}), new_job(custom.task, {}, Options(priority=-5))

    assert (plain.queue, plain.priority, plain.max_attempts) == ("slow", 3, 8)
    assert (changed.queue, changed.priority, changed.timeout_us) == ("slow", -5, 300_000_000)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 5000}, "retries"),
        ({"priority": 1000}, "priority"),
        ({"queue": ""}, "queue"),
        ({"timeout": -5}, "timeout"),
        ({"isolation": "vm"}, "isolation"),
        ({"name": "n" * 201}, "name"),
    ],
)
def test_a_policy_that_can_not_be_kept_is_refused_when_the_task_is_registered(policy, says):
    with pytest.raises(InvalidInputError, match=says):
        Outlast().task(**policy)(lambda: None)


def test_a_task_is_registered_once_and_has_only_named_arguments():
    own = Outlast()
    own.task(name="a")(lambda: None)

    with pytest.raises(InvalidInputError, match="registered twice"):
        own.task(name="a")(lambda: None)
    with pytest.raises(InvalidInputError, match="name each argument"):
        own.task(name="b")(lambda *args: args)
    with pytest.raises(NotFoundError, match="expected one of a"):
        own.registered("c")


def test_a_task_can_still_be_called_as_a_function():
    own = Outlast()

    @own.task
    def double(n: int) -> int:
        return 2 * n

    assert double(4) == 8


@pytest.fixture
async def opened(tmp_path):
    own = new_app(tmp_path, queue_settings={"tiny": {"max_depth": 1}})

    @own.task
    async def echo(n: int) -> int:
        return n

    async with own:
        yield own, echo


async def test_the_same_key_and_request_give_the_same_job(opened):
    _, echo = opened
    first = await echo.options(key="k").submit(n=1)
    again = await echo.options(key="k").submit(1)

    assert (again.id, first.duplicate, again.duplicate) == (first.id, False, True)


async def test_the_same_key_with_another_request_is_refused(opened):
    own, echo = opened
    await echo.options(key="k").submit(n=1)

    with pytest.raises(KeyReusedError):
        await echo.options(key="k").submit(n=2)
    assert len(await own.ledger.find(EVERYTHING, Page())) == 1


async def test_a_full_queue_refuses_and_stores_nothing(opened):
    own, echo = opened
    await echo.options(queue="tiny").submit(n=1)

    with pytest.raises(QueueFullError) as caught:
        await echo.options(queue="tiny").submit(n=2)
    assert caught.value.facts["retry_after"] > 0
    assert len(await own.ledger.find(EVERYTHING, Page())) == 1


async def test_a_refused_submit_stores_nothing(opened):
    own, echo = opened
    with pytest.raises(InvalidInputError):
        await echo.submit(n="x")
    with pytest.raises(InvalidInputError, match="too many positional"):
        await echo.submit(*[1, 2])
    assert await own.ledger.find(EVERYTHING, Page()) == []


async def test_a_repeated_insert_of_one_id_is_one_job(opened):
    own, _ = opened
    job = NewJob(id="018bcfe5-6800-7000-8000-000000000000", task="echo")
    outcomes = [(await own.ledger.insert([job]))[0].outcome for _ in range(3)]

    assert outcomes == ["created", "duplicate", "duplicate"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"concurrency": "many"}, "concurrency: expected a whole number"),
        ({"processes": 0}, "processes"),
        ({"grace": "long"}, "grace: expected"),
        ({"colour": "red"}, "colour: no such setting"),
    ],
)
def test_a_wrong_setting_is_named(wrong, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=says):
        Settings.load(**wrong)


def test_a_flag_beats_a_variable_which_beats_the_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outlast.yaml").write_text("concurrency: 1\nprocesses: 1\nport: 1\n")
    monkeypatch.setenv("OUTLAST_CONCURRENCY", "2")
    monkeypatch.setenv("OUTLAST_PROCESSES", "2")

    settings = Settings.load(concurrency=3)

    assert (settings.concurrency, settings.processes, settings.port) == (3, 2, 1)


def test_times_may_be_given_as_python_has_them():
    moment = datetime(2100, 1, 1, tzinfo=UTC)
    job = new_job(anything.task, {}, Options(run_at=moment, timeout=timedelta(minutes=1)))

    assert job.run_at_us == int(moment.timestamp()) * 1_000_000
    assert job.timeout_us == 60_000_000
    assert issubclass(InvalidInputError, OutlastError)


def test_a_function_that_yields_is_no_task():
    app = Outlast(ledger="memory://")

    def rows():
        yield 1

    async def pages():
        yield 1

    for function in (rows, pages):
        with pytest.raises(InvalidInputError, match="got one that yields"):
            app.task(function)
