"""A history to publish, logs to publish it to, and readers who say what arrived."""

import asyncio
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from outlast.broker.topic import open_topic, read_plan
from outlast.core import transition
from outlast.core.errors import UnavailableError
from outlast.core.job import NewJob, Want
from outlast.core.limits import SECOND
from outlast.system import CLOCK, new_id
from outlast.upkeep.stream import KIND, Stream, cursor_of

PATIENCE_S = 30
PARTITIONS = 4
TTL_US = SECOND
QUEUE = "default"


class Log:
    """A log in this process that can be told to be away, or to stand still once it has written."""

    def __init__(self):
        self.messages = []
        self.is_away = False

    async def open(self):
        pass

    async def publish(self, messages, within_s):
        if self.is_away:
            raise UnavailableError("the log is away")
        self.messages += messages

    async def facts(self):
        return {}

    async def close(self):
        pass

    @property
    def ids(self):
        return [event_of(message.key, message.value).get_id() for message in self.messages]


def event_of(key, value, headers=None):
    """Read a message as the official package does."""
    headers = headers or {"content-type": b"application/cloudevents+json; charset=UTF-8"}
    return from_structured(KafkaMessage(headers, key, value), JSONFormat())


def plan_of(options="from=beginning", place="k", name="jobs"):
    return read_plan(f"kafka://{place}/{name}?{options}")


def stream_of(ledger, topic, plan=None, *, clock=CLOCK, kind=Stream, ttl_us=TTL_US):
    return kind(ledger, topic, plan or plan_of(), new_id(), clock=clock, ttl_us=ttl_us)


async def live(ledger, jobs=1, *, task="t", queue=QUEUE, holder="w"):
    """Let jobs be submitted, started and completed; return their IDs."""
    await ledger.put("worker", holder, "{}", ttl_us=60 * SECOND)
    ids = [new_id() for _ in range(jobs)]
    await ledger.insert([NewJob(id=id_, task=task, queue=queue) for id_ in ids])
    leases = await ledger.claim(Want(holder, (queue,), jobs))
    await ledger.commit([transition.completed(lease, "1") for lease in leases])
    return ids


async def told_by(ledger):
    """Return the IDs that the events of the whole history have, in order."""
    return [f"{event.job_id}/{event.seq}" for event in await ledger.history(None, limit=100_000)]


async def cursor(ledger, name="jobs"):
    (doc,) = await ledger.docs(KIND, name)
    return cursor_of(doc)


@asynccontextmanager
async def running(stream):
    """Run a stream's loop beside the test."""
    task = asyncio.create_task(stream.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream._topic.close()


class Place:
    """A topic of the test's own in a Kafka that several tests share."""

    def __init__(self, server):
        self.name = f"jobs-{new_id()}"
        self._server = server

    @property
    def url(self):
        return self.url_with("from=beginning")

    def url_with(self, options):
        more = f"partitions={PARTITIONS}&idempotent=no"
        return f"kafka://{self._server.address}/{self.name}?{more}&{options}"

    def plan(self, options="from=beginning"):
        return read_plan(self.url_with(options))

    def stream(self, ledger, options="from=beginning", **more):
        plan = self.plan(options)
        return stream_of(ledger, open_topic(plan), plan, **{"ttl_us": 3 * SECOND, **more})

    async def read(self, ids, group=None):
        """Read from the beginning until these have come, as a new group; return all that came."""
        reader = AIOKafkaConsumer(
            *([self.name] if group else []),
            bootstrap_servers=self._server.address,
            group_id=group,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
        )
        missing, came = set(ids), []
        async with asyncio.timeout(PATIENCE_S):
            await reader.start()
            try:
                if not group:
                    reader.assign([TopicPartition(self.name, n) for n in range(PARTITIONS)])
                    await reader.seek_to_beginning()
                while missing:
                    for messages in (await reader.getmany(timeout_ms=500)).values():
                        for one in messages:
                            came.append(event_of(one.key, one.value, dict(one.headers)))
                            missing.discard(came[-1].get_id())
            finally:
                await reader.stop()
        return came


def firsts(ids):
    """Drop the repeats, as a reader does who remembers the IDs."""
    return list(dict.fromkeys(ids))


def by_job(ids):
    """Part IDs by their jobs, in the order in which they came."""
    jobs = {}
    for id_ in ids:
        job, _, seq = id_.partition("/")
        jobs.setdefault(job, []).append(int(seq))
    return jobs
