"""The differential machine: Hypothesis drives a ledger and the reference alike, and compares.

Every operation is sent to both with the same instant, drawn by Hypothesis; every answer must be
the same, and after every step so must be all that can be read. A failing sequence is shrunk to a
short one. For a ledger of your own::

    from hypothesis import settings
    from outlast.testing.machine import differential


    async def open_one() -> Ledger: ...  # empty and migrated


    TestMyLedger = differential(open_one).TestCase
    TestMyLedger.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import astuple, replace
from operator import methodcaller
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from outlast.core import transition as tr
from outlast.core.fold import fold, of_row
from outlast.core.job import Event, Filter, JobRecord, Lease, Page, Transition, Want
from outlast.core.retry import Backoff
from outlast.core.share import Limit, Rate
from outlast.core.status import Status
from outlast.core.unique import ANSWERS, LIVE, REPLACEABLE, Sole
from outlast.ledger.memory import MemoryLedger
from outlast.ledger.protocol import Ledger
from outlast.testing.scene import ALL, NOW, TTL, job, job_id

T = TypeVar("T")
_WORKERS: Final = ("w1", "w2", "w3")
_QUEUES: Final = ("q1", "q2")
_JOBS_MAX: Final = 30
_ERRORS: Final = [
    {"type": "E", "message": "m", "retryable": again, "fingerprint": f}
    for again, f in ((True, "f1"), (True, "f2"), (False, "f1"))
]

WORKER: Final = st.sampled_from(_WORKERS)
QUEUE: Final = st.sampled_from(_QUEUES)
NUMBER: Final = st.integers(0, 9)  # the first jobs, about which most happens
PASSED: Final = st.sampled_from([1, 1_000, TTL - 1_000, TTL])
SUBMIT: Final = st.fixed_dictionaries(
    {"queue": QUEUE},
    optional={
        "priority": st.integers(-1, 1),
        "delay_us": st.sampled_from([0, 1, 1_000]),
        "run_at_us": st.sampled_from([NOW, NOW + TTL]),
        "expires_in_us": st.sampled_from([1, TTL]),
        "deadline_us": st.sampled_from([1, TTL]),
        "max_attempts": st.integers(1, 3),
        "max_depth": st.integers(1, 3),
        "tenant": st.sampled_from(["", "t"]),
        "task": st.sampled_from(["t", "u"]),
        "concurrency_key": st.sampled_from(["a", "b", "c"]),
        "key": st.sampled_from(["k1", "k2"]),
        "fingerprint": st.sampled_from(["r1", "r2"]),
        "key_ttl_us": st.sampled_from([1, TTL]),
        "tags": st.just('["a"]'),
        "sole": st.builds(
            Sole,
            st.sampled_from(["s1", "s2"]),
            st.sampled_from([LIVE, REPLACEABLE, (Status.COMPLETED, Status.PENDING)]),
            st.sampled_from([None, 1_000]),
            st.sampled_from(ANSWERS),
            st.sampled_from([None, 1_500]),
        ),
    },
)
WHERE: Final = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(Status),
        "queue": QUEUE,
        "tenant": st.sampled_from(["", "t"]),
        "tag": st.sampled_from(["a", "b"]),
        "text": st.sampled_from(["T", "m", "zzz"]),
        "holder": WORKER,
        "cancel_requested": st.booleans(),
        "submitted_after": st.just(NOW + 1),
        "submitted_before": st.just(NOW + 1),
        "due_before": st.just(NOW + TTL),
        "expired_before": st.just(NOW + TTL),
        "overdue_before": st.just(NOW + TTL),
        "fingerprint": st.sampled_from(["f1", "f2"]),
        "discarded": st.booleans(),
        "ahead_of": NUMBER.map(job_id),
    },
)
LIMIT: Final = st.builds(
    Limit, st.sampled_from([None, None, 0, 1, 2]),
    st.sampled_from([None, Rate(1, 1_000), Rate(2, TTL), Rate(3, TTL, burst=2)]),
    st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, 1, 2]),
)  # fmt: skip
_SUBJECTS: Final = ("queue:q1", "task:t", "task:*", "tenant:t", "key:a", "key:b", "key:*")
_KINDS: Final = (
    "completed", "progress", "artifact", "saved", "recovered", "failed", "snoozed", "crashed",
    "lost", "released", "cancelled",
)  # fmt: skip
CHANGE: Final = st.tuples(
    st.sampled_from(_KINDS),
    st.integers(0, 50),  # which of the leases that were ever given
    st.sampled_from([0, 1]),  # the dice: no delay, or the whole one
    st.sampled_from(_ERRORS),
)


def _change(kind: str, lease: Lease, dice: int, error: dict[str, object]) -> Transition:
    backoff = Backoff(base_us=1_000)
    match kind:
        case "completed":
            return tr.completed(lease, "1")
        case "progress":
            return tr.amended(lease, "progress", '{"done": 1}', progress='{"done": 1}')
        case "artifact":
            entry = json.dumps({"name": f"a{dice}", "size": dice})
            return tr.amended(lease, "artifact", entry, artifact=entry)
        case "saved":
            return tr.saved(lease, f'{{"items":{dice}}}')
        case "recovered":
            return tr.recovered(lease)
        case "failed":
            return tr.failed(lease, error, backoff=backoff, dice=dice)
        case "snoozed":
            return tr.failed(lease, error, backoff=backoff, dice=dice, counts=False)
        case "crashed":
            return tr.failed(lease, error, backoff=backoff, dice=dice, crashed=True)
        case "lost":
            return tr.lost(lease, reason="test", at="", dice=dice)
        case "released":
            return tr.released(lease)
        case _:
            return tr.cancelled(lease, "test")


def _event(event: Event) -> tuple[object, ...]:
    return (*astuple(event)[1:-1], json.loads(event.data))


def _plain(record: JobRecord) -> JobRecord:
    # Numbers say an order, which the order of the rows shows; they may have gaps.
    return replace(record, number=0, artifacts=json.dumps(json.loads(record.artifacts)))


async def _find(ledger: Ledger, where: Filter) -> list[JobRecord]:
    return [_plain(record) for record in await ledger.find(where, ALL)]


async def _get(ledger: Ledger, numbers: list[int]) -> list[JobRecord]:
    found = await ledger.get([job_id(n) for n in numbers])
    return [_plain(record) for record in found if record is not None]


async def _events(ledger: Ledger) -> list[tuple[object, ...]]:
    found = await ledger.history(None)
    assert found == sorted(found, key=lambda event: event.position)  # which may have gaps
    return [_event(event) for event in found]


async def _pages(ledger: Ledger, where: Filter, page: Page) -> list[JobRecord]:
    found: list[JobRecord] = []
    # Bounded, because a ledger under test may give the same page again and again.
    while len(found) < 2 * _JOBS_MAX and (records := await ledger.find(where, page)):
        found += map(_plain, records)
        last = records[-1]
        place = None if page.ended_after is None else (last.finished_at or 0, last.number)
        page = replace(page, after=last.number, ended_after=place)
    return found


class Differential(RuleBasedStateMachine):
    """The rules; `differential` binds them to a ledger."""

    open_ledger: Callable[[], Awaitable[Ledger]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: Ledger = MemoryLedger()
        self.now = NOW
        self.leases: list[Lease] = []
        self.inserted = 0

    @initialize()
    def open(self) -> None:
        """Open the ledger under test."""

        async def opened() -> Ledger:
            return await type(self).open_ledger()

        self.real = self.runner.run(opened())
        for name in _WORKERS:
            self.both(methodcaller("put", "worker", name, "{}", ttl_us=TTL, now=self.now))

    def teardown(self) -> None:
        """Close it."""
        self.runner.run(self.real.close())
        self.runner.close()

    def both(self, ask: Callable[[Ledger], Coroutine[Any, Any, T]]) -> T:
        """Ask both the same; the answers must be equal."""

        async def asked() -> tuple[T, T]:
            return await ask(self.model), await ask(self.real)

        expected, got = self.runner.run(asked())
        assert got == expected
        return expected

    @rule(jobs=st.lists(SUBMIT, min_size=1, max_size=3), again=st.booleans(), atomic=st.booleans())
    def submit(self, jobs: list[dict[str, Any]], again: bool, atomic: bool) -> None:  # noqa: FBT001
        if self.inserted + len(jobs) > _JOBS_MAX:
            return
        # An ID that came before, when `again`: the client did not get the first answer.
        start = max(0, self.inserted - 1) if again else self.inserted
        made = [job(start + n, **fields) for n, fields in enumerate(jobs)]
        self.inserted = max(self.inserted, start + len(made))
        self.both(lambda to: to.insert(made, atomic=atomic, now=self.now))

    # Few rules that each do much: of many, most examples would lack one that matters.

    @rule(
        holder=WORKER,
        limit=st.integers(1, 6),
        queues=st.permutations(_QUEUES),
        dead=st.sampled_from([False, False, True]),
        asked=st.lists(CHANGE, max_size=4),
        stale=st.sampled_from(_KINDS),
    )
    def serve(
        self,
        holder: str,
        limit: int,
        queues: list[str],
        dead: bool,  # noqa: FBT001 - Hypothesis passes it by name
        asked: list[tuple[str, int, int, dict[str, object]]],
        stale: str,
    ) -> None:
        """Let a worker claim, and all of them report: on what they hold and on what they lost."""
        if not dead:
            self.both(methodcaller("put", "worker", holder, "{}", ttl_us=TTL, now=self.now))
        want = Want(holder, tuple(queues), limit)
        self.leases += self.both(lambda to: to.claim(want, now=self.now))
        self.speak_for_another(stale)
        if self.leases:
            last = len(self.leases) - 1
            changes = [_change(k, self.leases[last - n % (last + 1)], d, e) for k, n, d, e in asked]
            self.both(lambda to: to.commit(changes, now=self.now))

    def speak_for_another(self, kind: str) -> None:
        """Let whoever lost a job report on it while somebody else runs it."""
        for lease in self.leases:
            (record,) = self.runner.run(self.model.get([lease.id]))
            if record is not None and record.token > lease.token and record.holder is not None:
                change = _change(kind, lease, 0, _ERRORS[0])
                self.both(methodcaller("commit", [change], now=self.now))
                return

    @rule(by=PASSED, reaps=st.integers(0, 5), ticks=st.booleans())
    def time_passes(self, by: int, reaps: int, ticks: bool) -> None:  # noqa: FBT001
        """Let time pass, and upkeep do what is due, or be late."""
        self.now += by
        if reaps:
            self.reap(reaps)
        if ticks:
            self.tick()

    def reap(self, limit: int) -> None:
        """Take the jobs of dead workers back; sometimes only look."""
        for lease in self.both(lambda to: to.expired(limit, now=self.now)):
            change = tr.lost(lease, reason="silent", at="", dice=0.0)
            self.both(methodcaller("commit", [change], now=self.now))

    def tick(self) -> None:
        """Do what upkeep does at its time, and what it would do on a clock that is fast."""
        soon = self.now + TTL
        due = self.both(lambda to: _find(to, Filter(due_before=soon)))
        late = self.both(lambda to: _find(to, Filter(expired_before=soon)))
        over = self.both(lambda to: _find(to, Filter(overdue_before=soon)))
        changes = [tr.due(r) for r in due] + [tr.expired(r) for r in late]
        changes += [tr.overdue(r, "") for r in over]
        self.both(lambda to: to.commit(changes, now=self.now))

    @rule(data=st.data(), numbers=st.lists(NUMBER, min_size=1, max_size=3))
    def manage(self, data: st.DataObject, numbers: list[int]) -> None:
        """Let people and supervisors step in."""
        what = data.draw(st.sampled_from(["operate", "operate", "extend", "keep house"]))
        if what == "operate":
            self.operate(numbers, data.draw(st.sampled_from("crdqs")))
        elif what == "extend":
            holders = data.draw(st.lists(WORKER, max_size=3, unique=True))
            ttl = data.draw(st.sampled_from([0, TTL]))
            self.both(lambda to: to.extend(holders, ttl, now=self.now))
        else:
            self.both(data.draw(self.chores(numbers[0])))

    def operate(self, numbers: list[int], kind: str) -> None:
        """Let people cancel, redrive, discard, move to a queue and postpone."""
        found = self.both(lambda to: _get(to, numbers))
        changes: list[Transition] = []
        for record in found:
            change = {
                "c": tr.cancel(record.id, record.status, reason="asked"),
                "r": tr.redriven(record.id, record.status),
                "d": tr.discarded(record.id, "asked"),
                "q": Transition(
                    record.id, record.status, None, None, "changed", queue="q2", priority=1
                ),
                "s": Transition(
                    record.id,
                    Status.PENDING,
                    None,
                    Status.SCHEDULED,
                    "scheduled",
                    delay_us=1_000,
                    run_at_us=self.now + 500 if numbers[0] % 2 else None,
                ),
            }[kind]
            if change is not None and not (kind == "q" and record.status.terminal):
                changes.append(change)
        self.both(lambda to: to.commit(changes, now=self.now))

    @rule(
        subject=st.sampled_from(_SUBJECTS), limit=LIMIT,
        kind=st.sampled_from(["limit", "limit", "declared"]), ends=st.booleans(),
    )  # fmt: skip
    def limit(self, subject: str, limit: Limit, kind: str, ends: bool) -> None:  # noqa: FBT001
        """Set a limit, change it while jobs run, or take it away."""
        doc = None if ends else limit.text()
        self.both(methodcaller("put", kind, subject, doc, now=self.now))

    def chores(self, n: int) -> st.SearchStrategy[Callable[[Ledger], Any]]:
        """Let workers leave, pause queues, and forget what has ended."""
        now = self.now
        pause = st.builds(
            lambda queue, said, version: methodcaller(
                "put", "queue", queue, json.dumps(said), version=version, now=now
            ),
            QUEUE,
            st.fixed_dictionaries(
                {"paused": st.booleans()},
                optional={
                    "concurrency": st.sampled_from([None, 1, 3]),
                    "rate_limit": st.sampled_from([None, "2/s"]),
                },
            ),
            st.sampled_from([None, None, 0, 1, 2]),
        )
        leave = WORKER.map(lambda name: methodcaller("put", "worker", name, None, now=now))
        prune = PASSED.map(lambda ago: methodcaller("prune", now - ago, n % 3 + 1, now=now))
        forget = PASSED.map(
            lambda ago: methodcaller("prune", now - ago, 1, ids=[job_id(n)], now=now)
        )
        return st.one_of(pause, pause, leave, prune, forget)

    @rule(where=WHERE, limit=st.integers(1, 4), oldest=st.booleans())
    def look(self, where: dict[str, Any], limit: int, oldest: bool) -> None:  # noqa: FBT001
        """Page through a list from end to end, and count it in each way."""
        chosen = Filter(**where)
        self.both(lambda to: _pages(to, chosen, Page(limit, oldest_first=oldest)))
        self.both(lambda to: _pages(to, chosen, Page(limit, ended_after=(0, 0))))
        for by in ("", "queue", "error"):
            self.both(methodcaller("count", chosen, by))

    @invariant()
    def all_that_can_be_read_is_the_same(self) -> None:
        """Compare rows, events and records."""
        self.both(lambda to: _find(to, Filter()))
        self.both(_events)
        for kind in ("worker", "queue", "tombstone", "limit", "declared"):
            self.both(methodcaller("docs", kind))

    @invariant()
    def every_history_folds_to_its_row(self) -> None:
        """Check, in the ledger under test, that nothing changed without being told."""

        async def check() -> None:
            for record in await self.real.find(Filter(), ALL):
                events = await self.real.history(record.id)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))
                assert fold(events) == of_row(record)
                assert (record.holder is not None) == (record.status is Status.PROCESSING)

        self.runner.run(check())


def differential(open_ledger: Callable[[], Awaitable[Ledger]]) -> type[Differential]:
    """Bind the machine to a ledger: `open_ledger` gives an empty, migrated one each time."""
    return type("BoundDifferential", (Differential,), {"open_ledger": staticmethod(open_ledger)})
