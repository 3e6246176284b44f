"""Run the studio's tasks as a worker would, with the ledger and the blobs in memory."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from outlast.core.job import Event, Lease

STUDIO = Path(__file__).resolve().parents[2] / "examples/studio"
sys.path.insert(0, str(STUDIO))


class MemoryEffects:
    """What one job wrote, kept across its attempts."""

    def __init__(self):
        self.written = []
        self.files = {}
        self.kept = []
        self.crash_after_steps = None
        self.lease = None

    def note(self, event, data, *, progress=None):
        self.written.append(Event(0, "job-1", len(self.written), event, 0, data))

    async def amend(self, event, data, *, artifact=None):
        if event == "step" and self.crash_after_steps is not None:
            if self.crash_after_steps == 0:
                raise ConnectionError("the worker died")
            self.crash_after_steps -= 1
        self.note(event, data)
        if artifact:
            entry = json.loads(artifact)
            self.kept = [old for old in self.kept if old["name"] != entry["name"]] + [entry]

    async def events(self, type_):
        return [event for event in self.written if event.type == type_]

    async def artifacts(self):
        return json.dumps(self.kept)

    async def store(self, name, data):
        content = data.read_bytes() if isinstance(data, Path) else data
        digest = hashlib.sha256(content).hexdigest()
        self.files[digest] = content
        return digest, len(content), digest

    async def fetch(self, blob):
        return self.files[blob]

    def pulse(self):
        pass

    def draining(self):
        return False

    async def cursor(self):
        return None

    async def save(self, cursor, *, advances):
        self.cursor_text = cursor

    def stopping(self):
        return False

    def elapsed_us(self):
        return len(self.written) * 1_000_000


class Run:
    """One job that can be attempted several times, as after a crash."""

    def __init__(self, task):
        self.task = task
        self.effects = MemoryEffects()
        self.attempts = 0

    async def attempt(self, *, crash_after_steps=None, **args):
        self.attempts += 1
        self.effects.crash_after_steps = crash_after_steps
        self.effects.lease = Lease(
            id="job-1",
            task=self.task.name,
            queue=self.task.queue,
            args=self.task.encode(args),
            token=self.attempts,
            attempt=self.attempts,
            max_attempts=4,
            lost=0,
            run=1,
            priority=0,
            timeout_us=None,
            cancel_requested=False,
            key=None,
            tenant="default",
            holder="test",
            submitted_at=0,
        )
        return json.loads(await self.task.run(self.effects))

    def file(self, name):
        (entry,) = [entry for entry in self.effects.kept if entry["name"] == name]
        return self.effects.files[entry["blob"]]

    def names(self):
        return [entry["name"] for entry in self.effects.kept]

    def of_type(self, kind):
        return [json.loads(event.data) for event in self.effects.written if event.type == kind]


@pytest.fixture(scope="session")
def samples():
    return STUDIO / "samples"


@pytest.fixture
def run():
    """Return a fresh job of a task of the studio."""
    from app import app

    return lambda name: Run(app.tasks[name])
