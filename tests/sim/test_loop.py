"""The virtual event loop: time costs nothing, and a seed decides every order."""

import asyncio
import random

import pytest

from outlast.testing.sim.loop import DeadlockError, Node, VirtualClock, VirtualLoop


def run(main, rng=None):
    loop = VirtualLoop(rng)
    try:
        return loop.run_until_complete(main())
    finally:
        for node_task in asyncio.all_tasks(loop):
            node_task._log_destroy_pending = False
        loop.close()


async def passing(seconds):
    await asyncio.wait([asyncio.create_task(asyncio.Event().wait())], timeout=seconds)


async def three_at_once():
    order = []

    async def worker(name):
        for _ in range(5):
            await passing(1)
            order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(worker(name))
    return "".join(order)


async def test_a_day_takes_no_time():
    def a_day():
        async def main():
            loop = asyncio.get_running_loop()
            clock = VirtualClock(loop, skew_us=7)
            before, began = clock.now_us(), clock.elapsed_us()
            await passing(86_400)
            return clock.now_us() - before, clock.elapsed_us() - began

        return run(main)

    assert await asyncio.to_thread(a_day) == (86_400_000_000, 86_400_000_000)


def test_a_seed_decides_the_order_and_other_seeds_others():
    orders = {seed: run(three_at_once, random.Random(seed)) for seed in range(8)}

    assert orders == {seed: run(three_at_once, random.Random(seed)) for seed in range(8)}
    assert len(set(orders.values())) > 4


def test_waiting_for_nothing_is_told_at_once():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(main, random.Random(1))


def test_a_paused_machine_goes_on_where_it_was_and_a_killed_one_never():
    async def main():
        beats = []

        async def beat(name):
            while True:
                await passing(10)
                beats.append((name, asyncio.get_running_loop().time()))

        frozen, dead = Node("frozen"), Node("dead")
        frozen.start(beat("frozen"))
        dead.start(beat("dead"))
        await passing(15)
        frozen.pause()
        dead.kill()
        await passing(20)
        frozen.resume()
        await passing(20)
        return [(name, at) for name, at in beats if at > 15]

    assert run(main, random.Random(1)) == [("frozen", 35.0), ("frozen", 45.0), ("frozen", 55.0)]


def test_threads_work_without_a_seed_and_are_refused_with_one():
    async def main():
        return await asyncio.to_thread(sum, [1, 2])

    assert run(main) == 3
    with pytest.raises(RuntimeError, match="not simulated"):
        run(main, random.Random(1))
