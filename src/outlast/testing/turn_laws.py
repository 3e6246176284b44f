"""Laws of turns: keys share a queue by weight, nobody saves up, and no priority starves."""
# ruff: noqa: D103, PLR2004 - a law's name says what it states; numbers are the cases

from collections import Counter

from outlast.core import transition as tr
from outlast.core.share import AGED_EVERY, Limit
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import NOW, apply, claim, hire, ids, job, job_ids, submit


async def starts(ledger: Ledger, count: int, batch: int = 1, now: int = NOW) -> list[str]:
    """Let that many jobs start, so many a claim; return who, by tenant and key."""
    found: list[str] = []
    while len(found) < count:
        leases = await claim(ledger, limit=min(batch, count - len(found)), now=now)
        records = await ledger.get(ids(leases))
        found += [f"{r.tenant}{r.concurrency_key or ''}" for r in records if r is not None]
        await apply(ledger, *(tr.completed(lease, "1") for lease in leases), now=now)
        assert leases
    return found


async def test_keys_take_turns_however_many_jobs_each_has(ledger: Ledger) -> None:
    for batch in (1, 7, 100):
        await hire(ledger)
        first = 1_000 * batch
        await submit(ledger, *(job(first + n, concurrency_key="big") for n in range(40)))
        await submit(ledger, *(job(first + 100 + n, concurrency_key="small") for n in range(5)))
        await submit(ledger, *(job(first + 200 + n) for n in range(5)))

        order = await starts(ledger, 50, batch)

        assert order[:15] == ["big", "small", ""] * 5, batch
        assert order[15:] == ["big"] * 35


async def test_a_key_that_comes_goes_next_however_long_the_others_wait(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, tenant="busy") for n in range(60)))
    await submit(ledger, *(job(100 + n, tenant="rival") for n in range(60)))
    await starts(ledger, 41, batch=4)

    await submit(ledger, job(500, tenant="new"))

    assert "new" in await starts(ledger, 2)


async def test_turns_are_shared_by_weight(ledger: Ledger) -> None:
    await ledger.put("limit", "key:heavy", Limit(weight=3).text(), now=NOW)
    await ledger.put("limit", "tenant:double", Limit(weight=2).text(), now=NOW)
    await hire(ledger)
    for n in range(100):
        await submit(
            ledger,
            job(n, concurrency_key="heavy"),
            job(100 + n, tenant="double"),
            job(200 + n, concurrency_key="light"),
        )

    for batch in (1, 30):
        counts = Counter(await starts(ledger, 60, batch))
        assert counts == {"heavy": 30, "double": 20, "light": 10}


async def test_who_was_away_or_stopped_has_saved_up_no_turns(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, concurrency_key="a") for n in range(80)))
    await submit(ledger, *(job(100 + n, concurrency_key="b") for n in range(80)))
    await submit(ledger, *(job(200 + n, concurrency_key="c") for n in range(30)))
    await ledger.put("limit", "key:c", Limit(concurrency=0).text(), now=NOW)
    assert set(await starts(ledger, 60, 3)) == {"a", "b"}

    await ledger.put("limit", "key:c", None, now=NOW)

    assert Counter(await starts(ledger, 30)) == {"a": 10, "b": 10, "c": 10}


async def test_who_never_has_more_than_one_waiting_gets_no_more_than_a_share(
    ledger: Ledger,
) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, concurrency_key="backlog") for n in range(60)))
    served: Counter[str] = Counter()
    for n in range(60):
        for place, key in enumerate(("x", "y")):
            if served[key] * 2 <= n:
                await submit(ledger, job(1_000 + 100 * n + place, concurrency_key=key))
        served.update(await starts(ledger, 1))

    assert served["backlog"] >= 20


async def test_inside_a_key_and_priority_the_oldest_goes_first(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(
        ledger, *(job(n, concurrency_key=f"k{n % 3}", task="tu"[n % 2]) for n in range(60))
    )
    seen: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for batch in (1, 4, 9, 60):
        leases = await claim(ledger, limit=batch)
        for lease in leases:
            seen[int(lease.id[-12:], 16) % 3].append(lease.id)
        for lease in leases[::2]:
            await apply(ledger, tr.completed(lease, "1"))

    for rest, order in seen.items():
        assert order == job_ids(*range(rest, 60, 3))


async def test_a_job_given_back_keeps_its_place_in_its_key(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, concurrency_key="k") for n in range(3)), job(9))
    first, *_ = await claim(ledger, limit=1)

    await apply(ledger, tr.released(first))

    assert [one for one in ids(await claim(ledger)) if one != job_ids(9)[0]] == job_ids(0, 1, 2)


async def test_priority_comes_before_turns(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n, concurrency_key="a", priority=5) for n in range(4)))
    await submit(ledger, *(job(10 + n, concurrency_key="b") for n in range(4)))

    assert await starts(ledger, 8) == ["a"] * 4 + ["b"] * 4


async def test_every_tenth_start_goes_to_whoever_waits_longest(ledger: Ledger) -> None:
    for batch in (1, 8, 50):
        await hire(ledger)
        low, high = 1_000 * batch, 1_000 * batch + 500
        await submit(ledger, *(job(low + n, priority=-5) for n in range(10)))
        await submit(ledger, *(job(high + n, priority=5) for n in range(90)))
        order: list[str] = []
        while len(order) < 50:
            order += ids(await claim(ledger, limit=min(batch, 50 - len(order))))

        aged = order[AGED_EVERY - 1 :: AGED_EVERY]
        assert aged == job_ids(*range(low, low + 5))
        assert [one for one in order if one not in aged] == job_ids(*range(high, high + 45))
        while await claim(ledger):
            pass


async def test_one_priority_alone_is_served_by_age(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, *(job(n) for n in range(30)))

    assert ids(await claim(ledger, limit=30)) == job_ids(*range(30))


async def test_no_job_waits_for_ever_whatever_comes_after_it(ledger: Ledger) -> None:
    await hire(ledger)
    await submit(ledger, job(0, priority=-100, concurrency_key="poor", task="last"))
    for n in range(1, 40):
        await submit(
            ledger, *(job(10 * n + m, priority=m, concurrency_key=f"k{m}") for m in range(3))
        )
        if job_ids(0)[0] in ids(await claim(ledger, limit=2)):
            return
    raise AssertionError("starved")
