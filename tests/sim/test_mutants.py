"""The simulator has teeth: each planted bug of the engine or its ledger is caught by some seed."""

from dataclasses import replace

import pytest

from outlast.core import transition
from outlast.core.job import Doc
from outlast.ledger.memory import MemoryLedger
from outlast.sdk.context import Job
from outlast.sdk.resume import Loop
from outlast.testing.sim.world import Plan, simulate
from outlast.upkeep.loop import Upkeep
from outlast.worker.held import Held
from outlast.worker.intake import Tickets
from outlast.worker.pool import Pool

SECOND = 1_000_000
SEEDS = 800


class NoFencing(MemoryLedger):
    def _accepts(self, row, change, now):
        return super()._accepts(row, change._replace(token=None), now)


class CompletesWhatever(MemoryLedger):
    def _accepts(self, row, change, now):
        return change.event == "completed" or super()._accepts(row, change, now)


class RetriesInSpiteOfCancel(MemoryLedger):
    def _accepts(self, row, change, now):
        return super()._accepts(row, change._replace(unless_cancelled=False), now)


class PromotesEarly(MemoryLedger):
    def _accepts(self, row, change, now):
        return super()._accepts(row, change._replace(when=None), now)


class EarlyReaper(MemoryLedger):
    def _is_over(self, lease_until, now):
        return lease_until <= now + 3 * SECOND


class TheDeadRenew(MemoryLedger):
    async def extend(self, holders, ttl_us, *, now=None):
        for holder in holders if ttl_us else ():
            doc = self._docs.get(("worker", holder))
            if doc is not None:
                self._docs["worker", holder] = replace(doc, lease_until=self._now(now) + ttl_us)
        return await super().extend(holders, ttl_us, now=now)


class ForgetsKeys(MemoryLedger):
    def _remembered(self, tenant, key, now):
        return None


class ClaimsTwice(MemoryLedger):
    async def claim(self, want, *, now=None):
        leases = await super().claim(want, now=now)
        return [*leases, *leases[:1]]


class KnowsWhoLoads(MemoryLedger):
    """Shows a record for workers that have not registered: the supervisor kills such."""

    async def extend(self, holders, ttl_us, *, now=None):
        self.heard = holders
        return await super().extend(holders, ttl_us, now=now)

    async def docs(self, kind, key=None):
        found = await super().docs(kind, key)
        more = self.heard if kind == "worker" else ()
        return [*found, *(Doc(kind, holder, 1, "{}") for holder in more)]


def forget_steps(patch):
    async def nothing(self):
        return {}

    patch.setattr(Job, "_stored", nothing)


def charge_for_a_drain(patch):
    real = transition.released
    patch.setattr(transition, "released", lambda lease: real(lease)._replace(attempt=lease.attempt))


def keep_late(patch):
    patch.setattr(Loop, "step", lambda loop: (setattr(loop, "done", loop.done + 1), False)[1])


def keep_too_much(patch):
    async def keep(loop):
        loop.done += 1
        await real(loop)
        loop.done -= 1

    real = Loop.keep
    patch.setattr(Loop, "keep", keep)


def never_ask_what_went_astray(patch):
    async def nothing(self):
        self._astray = False

    patch.setattr(Pool, "_give_back_astray", nothing)


def cancel_before_the_first_step(patch):
    def stop(held, why):
        held._begun = True
        real(held, why)

    real = Held.stop
    patch.setattr(Held, "stop", stop)


def reap_nobody(patch):
    async def nothing(self, now=None):
        return 0

    patch.setattr(Upkeep, "reap", nothing)


def lose_a_refused_cancel(patch):
    patch.setattr(transition, "after_refusal", lambda _lease, _verdict: None)


def wait_for_tickets_alone(patch):
    async def wait(intake, _leases, queues):
        for lane in intake.lanes:
            lane.ask(queues)
        await intake._wake.wait()

    patch.setattr(Tickets, "wait", wait)


LEDGERS = {
    "no fencing": NoFencing,
    "completion without a guard": CompletesWhatever,
    "retry in spite of a cancel": RetriesInSpiteOfCancel,
    "promotion before its time": PromotesEarly,
    "early reaper": EarlyReaper,
    "the dead renew": TheDeadRenew,
    "keys that are not kept": ForgetsKeys,
    "a lease given out twice": ClaimsTwice,
    "a worker killed while it loads": KnowsWhoLoads,
}
ENGINES = {
    "steps forgotten": forget_steps,
    "a drain that costs an attempt": charge_for_a_drain,
    "a loop that keeps its place too late": keep_late,
    "a loop that keeps more than was done": keep_too_much,
    "a claim whose answer was lost": never_ask_what_went_astray,
    "a stop before the first step": cancel_before_the_first_step,
    "no reaper": reap_nobody,
    "a cancel lost on retry": lose_a_refused_cancel,
    "no sweep beside tickets": wait_for_tickets_alone,
}


def hunt(kind=MemoryLedger):
    """Return the first seed that fails, and how."""
    for seed in range(SEEDS):
        outcome = simulate(Plan.of(seed), kind)
        if outcome.faults:
            return outcome
    pytest.fail(f"none of {SEEDS} seeds noticed")


@pytest.mark.parametrize("name", [*LEDGERS, *ENGINES])
def test_a_planted_bug_is_caught_and_the_seed_fails_alike_again(name, monkeypatch):
    kind = LEDGERS.get(name, MemoryLedger)
    if name in ENGINES:
        ENGINES[name](monkeypatch)

    caught = hunt(kind)

    print(f"{name}: seed {caught.plan.seed}, {caught.faults[0]}")
    assert simulate(caught.plan, kind) == caught
