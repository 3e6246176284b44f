"""What a test may ask of its jobs, and that each question can be answered with no."""

import logging
from datetime import date

import pytest

from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.core.unique import Unique


async def test_a_job_is_found_by_its_task_its_arguments_and_its_options(shop, t):
    first = await shop.welcome.options(delay="1d", tags=["new"]).submit(user_id=1)
    await shop.welcome.submit(2, name="Ada")

    assert t.assert_submitted(shop.welcome).id == first.id
    assert t.assert_submitted(shop.welcome.options(delay=86_400), user_id=1).id == first.id
    assert t.assert_submitted(shop.welcome, 2, name="Ada").args == {"user_id": 2, "name": "Ada"}
    assert t.assert_submitted(shop.welcome, name="you").id == first.id  # a default counts
    assert [str(job) for job in t.submitted] == [
        'welcome(user_id=1) with delay=1 day, 0:00:00, tags=["new"]',
        "welcome(user_id=2, name='Ada')",
    ]
    assert len(t.find(shop.welcome)) == 2


async def test_a_miss_says_what_there_is_instead(shop, t):
    await shop.export.submit(rows=3)
    await shop.welcome.options(delay="2h").submit(user_id=2)

    with pytest.raises(AssertionError) as caught:
        t.assert_submitted(shop.welcome.options(delay="1d"), user_id=1)

    assert str(caught.value).splitlines() == [
        "no job welcome(user_id=1) with delay=1 day, 0:00:00 was submitted",
        "  but welcome(user_id=2) with delay=2:00:00",
        "      user_id: expected 1, got 2",
        "      delay: expected 1 day, 0:00:00, got 2:00:00",
        "  but export(rows=3)",
    ]


async def test_nothing_at_all_is_said_too(shop, t):
    with pytest.raises(AssertionError, match="nothing was submitted"):
        t.assert_submitted(shop.welcome)


async def test_a_job_that_must_not_be_there_is_told(shop, t):
    await shop.welcome.submit(user_id=1)

    t.assert_not_submitted(shop.welcome, user_id=2)
    t.assert_not_submitted(shop.export)
    with pytest.raises(AssertionError, match=r"expected no job welcome\(\), got 1:\n.*user_id=1"):
        t.assert_not_submitted(shop.welcome)


async def test_a_wrong_name_makes_no_assertion_pass(shop, t):
    for ask in (t.assert_submitted, t.assert_not_submitted, t.find):
        with pytest.raises(InvalidInputError, match="user"):
            ask(shop.welcome, user=1)


async def test_arguments_are_compared_as_their_types_say(shop, t):
    @shop.app.task
    async def bill(day: date, share: float) -> None: ...

    await bill.submit(day=date(2026, 1, 2), share=1)

    t.assert_submitted(bill, day=date(2026, 1, 2), share=1.0)
    t.assert_submitted(bill, day="2026-01-02")
    t.assert_not_submitted(bill, day=date(2026, 1, 3))


async def test_wrong_arguments_are_refused_at_submit_as_ever(shop, t):
    with pytest.raises(InvalidInputError, match=r"args\.user_id"):
        await shop.welcome.submit(user_id="one")
    assert t.submitted == []


async def test_a_repeated_submit_is_one_job(shop, t):
    first = await shop.welcome.options(key="k").submit(user_id=1)
    again = await shop.welcome.options(key="k").submit(user_id=1)

    assert (again.id, again.duplicate) == (first.id, True)
    assert len(t.submitted) == 1


async def test_what_took_a_jobs_place_is_what_was_submitted(shop, t):
    @shop.app.task(unique=Unique(by=("doc",), on="replace"))
    async def index(doc: int, text: str) -> str:
        return text

    for delay, text in (("9h", "old"), ("1h", "new")):
        await index.options(delay=delay).submit(doc=1, text=text)

    (job,) = t.submitted
    t.assert_submitted(index.options(delay="1h"), doc=1, text="new")
    t.assert_not_submitted(index, text="old")
    await t.drain(within="1h")
    assert t.job(job).result == "new"
    with pytest.raises(InvalidInputError, match="unique can't be asked for"):
        t.assert_not_submitted(index.options(unique=True))


async def test_everything_of_a_job_can_be_looked_at(shop, t):
    @shop.app.task
    async def talk() -> None:
        logging.getLogger("shop").info("said")
        print("printed")

    handle, talking = await shop.export.submit(), await talk.submit()
    await t.drain()

    job = t.job(handle.id)
    assert job.steps == {"load": "loaded"}
    assert job.progress["done"] == 25
    assert job.files == ["rows.txt"]
    assert job.logs == ["written"]
    assert t.job(talking).logs == ["said", "printed"]
    assert job.events[:3] == ["submitted", "started", "step"]
    with pytest.raises(NotFoundError):
        job.file("other.txt")
    with pytest.raises(NotFoundError):
        t.job("018bcfe5-6800-7000-8000-000000000000")


async def test_a_result_that_is_not_there_says_why(shop, t):
    @shop.app.task(retries=0)
    async def broken() -> None:
        raise ValueError("row 5")

    handle = await broken.submit()
    with pytest.raises(AssertionError, match=r"broken\(\) has no result: it is pending"):
        _ = t.job(handle).result
    await t.drain()

    with pytest.raises(AssertionError, match=r"it is failed\n(.*\n)*.*ValueError: row 5"):
        _ = t.job(handle).result
