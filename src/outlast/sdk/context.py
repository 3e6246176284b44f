"""The job as its task sees it: progress, steps, files, logs, and the token that fences them."""

import inspect
import json
import mimetypes
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints, overload

from pydantic import PydanticUserError, TypeAdapter
from pydantic_core import from_json, to_json

from outlast.core.effects import Effects, Source
from outlast.core.errors import DriftError, InvalidInputError, NotFoundError
from outlast.core.instant import Duration, duration_us, to_rfc3339
from outlast.core.limits import (
    LOG_LINE_CHARS_MAX,
    LOG_LINES_MAX,
    NAME_CHARS_MAX,
    PROGRESS_EVERY_US,
    PROGRESS_IDLE_US,
)
from outlast.core.pace import Pace
from outlast.core.payload import Stored, moved, reference, stored_of
from outlast.core.signals import HandBack, JobCancelled
from outlast.sdk.artifact import Artifact, check_name, entry_of
from outlast.sdk.resume import Cursor, Loop, keeps, rest_of_either
from outlast.sdk.threads import in_thread
from outlast.sdk.written import written
from outlast.system import CLOCK

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Job:
    """One attempt at a job, handed to its task as the first argument."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._attempt = effects.lease.attempt  # the lease's may fall, when crashes are forgiven
        self._steps: dict[str, str | Stored] | None = None
        self._seen: set[tuple[str, str]] = set()
        self._told_at: int | None = None
        self._told: tuple[float, str | None] = (-1.0, None)
        self._pace = Pace()
        self._lines = 0
        self._shields = 0
        self._cursor = Cursor(effects)

    @property
    def id(self) -> str:
        """The job's ID."""
        return self._effects.lease.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has."""
        return self._effects.lease.max_attempts

    @property
    def token(self) -> int:
        """The fencing token of this claim: pass it to other systems, which refuse smaller ones."""
        return self._effects.lease.token

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt: pass it to services that deduplicate."""
        return self._effects.lease.key or self.id

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far the job is, from any thread; written at most four times a second.

        What is written has the rate, in units a second, and the seconds that the rest will take:
        measured from this attempt's own work, and null until that has gone on for a second.
        """
        self._effects.pulse()
        now = self._effects.elapsed_us()
        step = abs(done - self._told[0]) / total if total else 1.0
        last = total is not None and done >= total
        moved = message != self._told[1] or step >= 0.005 or last  # noqa: PLR2004 - half a percent
        since = PROGRESS_EVERY_US if moved else PROGRESS_IDLE_US
        if self._told_at is not None and now - self._told_at < since and not last:
            return
        self._told_at, self._told = now, (done, message)
        self._pace.see(done, now)
        told = to_json(
            {
                "done": done,
                "total": total,
                "percent": round(100 * done / total, 1) if total else None,
                "message": message,
                "rate": self._pace.rate,
                "eta": self._pace.left_s(done, total),
            }
        ).decode()
        self._effects.note("progress", told, progress=told)

    def track(
        self, items: Iterable[T], message: str | None = None, *, total: int | None = None
    ) -> Iterator[T]:
        """Iterate while reporting progress; at each item the job can also be cancelled."""
        if total is None and hasattr(items, "__len__"):
            total = len(cast("list[T]", items))
        for done, item in enumerate(items):
            self.check()
            self.progress(done, total, message)
            yield item
        if total is not None:
            self.progress(total, total, message)

    @property
    def draining(self) -> bool:
        """Whether the worker is about to stop: a job that can go on later should raise HandBack."""
        return self._effects.draining()

    def check(self) -> None:
        """Raise JobCancelled when the job was asked to stop, unless a shield is up."""
        if self._effects.stopping() and not self._shields:
            raise JobCancelled

    @asynccontextmanager
    async def shield(self) -> AsyncIterator[None]:
        """Protect a critical section: a wish to stop takes effect at its end.

        It must be shorter than the task's `grace`, after which the job is stopped by force.
        """
        with self._shielded():
            self._effects.shield(on=True)
            try:
                yield
            finally:
                self._effects.shield(on=False)

    @contextmanager
    def _shielded(self) -> Iterator[None]:
        self.check()
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    async def resume(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        every: int = 100,
        name: str = "items",
        message: str | None = None,
        total: int | None = None,
    ) -> AsyncIterator[T]:
        """Iterate so that a later attempt goes on after the items that were done.

        How many are done is kept every `every` items and when the worker is about to stop, which
        ends the attempt: the job goes on elsewhere, from its place in the queue. A crash repeats
        at most `every` items. The items must come in the same order each time. Raises DriftError
        when fewer are there than were done.
        """
        loop = self._loop(items, every, name, total)
        await loop.begin()
        async for item in rest_of_either(items, loop.done):
            if self.draining:
                await loop.keep()
                raise HandBack
            self.check()
            yield item
            if loop.step():
                await loop.keep()
            self.progress(loop.done, loop.total, message)
        await loop.keep()

    def _loop(self, items: object, every: int, name: str, total: int | None) -> Loop:
        return Loop(self._cursor, self._once("loop", name), every, items, total)

    async def remember(self, name: str, value: Any) -> None:
        """Keep a small JSON value, in place of the last one of that name: where to go on, say."""
        self.check()
        # A changed value proves nothing: a count of the crashes would change, too.
        await self._cursor.write(f"={name}", value, advances=False)

    async def recall(self, name: str, default: Any = None) -> Any:
        """Return what was remembered last under a name, in this attempt or an earlier one."""
        kept = await self._cursor.read(f"={name}")
        return default if kept is None else kept

    def _once(self, what: str, name: str) -> str:
        if not 0 < len(name) <= NAME_CHARS_MAX or (what, name) in self._seen:
            raise InvalidInputError(
                f"{what} {name!r:.80}: expected a name of 1–{NAME_CHARS_MAX} characters, "
                "used once in a job"
            )
        self._seen.add((what, name))
        return name

    def log(self, text: str, **fields: object) -> None:
        """Keep a line with the job; from any thread, without waiting."""
        self._lines += 1
        if self._lines > LOG_LINES_MAX:
            return
        if self._lines == LOG_LINES_MAX:
            text, fields = f"log cut here: a job keeps {LOG_LINES_MAX} lines an attempt", {}
        line = {"message": text[:LOG_LINE_CHARS_MAX], "attempt": self.attempt, "fields": fields}
        self._effects.note("log", to_json(line, fallback=str).decode())

    @overload
    async def step(
        self, name: str, fn: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def step(self, name: str, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def step(self, name: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function once in the job's life: a later attempt gets the stored result.

        A plain function runs in a thread. The result must be JSON by pydantic; it comes back
        validated against the function's return annotation, if it has one. Raises DriftError when
        the stored result no longer fits it, InvalidInputError for an annotation that says nothing.
        """
        self.check()
        self._once("step", name)
        if self._steps is None:
            self._steps = await self._stored()
        adapter = _adapter(name, fn)
        if name in self._steps:
            self._pace.skip()
            return await self._replayed(name, adapter, fn)
        result: Any
        if inspect.iscoroutinefunction(fn):
            result = await fn(*args, **kwargs)
        else:
            result = await in_thread(self._effects.stopping, fn, *args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        text = written(adapter, result, f"step {name!r}: its result")
        kept = await self._effects.shelve(text)
        large = moved(kept)
        said = {"blob": large.key, "size": large.size, "sha256": large.sha256} if large else {}
        data = json.dumps({"name": name, **said})
        await self._effects.amend("step", data if large else f'{data[:-1]}, "result": {text}}}')
        self._steps[name] = large or text
        return result

    async def _replayed(self, name: str, adapter: TypeAdapter[Any], fn: Callable[..., Any]) -> Any:
        assert self._steps is not None  # noqa: S101 - the caller looked it up
        kept, cause = self._steps[name], None
        stored = kept if isinstance(kept, str) else await self._effects.unshelve(reference(kept))
        try:
            result = adapter.validate_json(stored)
            if keeps(from_json(stored), from_json(adapter.dump_json(result))):
                return result
        except ValueError as error:
            cause = error
        raise DriftError(
            f"step {name!r} of job {self.id}: the stored result no longer fits {fn!r}",
            hint="give a step whose result has another meaning another name",
        ) from cause

    async def _stored(self) -> dict[str, str | Stored]:
        lease = self._effects.lease
        if lease.token == 1:
            return {}
        events = await self._effects.events("step")
        if lease.run > 1:
            # Steps that were made with other arguments are none of this run's.
            runs = await self._effects.events("redriven")
            since = max((run.seq for run in runs if "args" in from_json(run.data)), default=0)
            events = [event for event in events if event.seq > since]
        found = [from_json(event.data) for event in events]
        return {
            step["name"]: stored_of(step) if "blob" in step else to_json(step["result"]).decode()
            for step in found
        }

    async def save(self, name: str, data: Source, *, ttl: Duration | None = None) -> Artifact:
        """Keep a file with the job; a later one of the same name takes its place.

        `data` is bytes, the Path of a file, or an iterator of bytes (plain or asynchronous), which
        is never in memory as a whole. The file is deleted after `ttl`, and with its job. The name
        may be any: it is no path here. Raises InvalidInputError, and UnavailableError when the
        blobs can't be written.
        """
        check_name(name)
        ttl_us = None if ttl is None else duration_us(ttl, field="ttl")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        stored = await self._effects.store(data, name=name, media_type=kind)
        artifact = Artifact(
            name=name,
            size=stored.size,
            sha256=stored.sha256,
            media_type=kind,
            expires_at=None if ttl_us is None else to_rfc3339(CLOCK.now_us() + ttl_us),
        )
        entry = to_json({**artifact.model_dump(exclude_none=True), "blob": stored.key}).decode()
        await self._effects.amend("artifact", entry, artifact=entry)
        return artifact

    async def open(self, name: str) -> AsyncIterator[bytes]:
        """Yield the chunks of a file that this job saved, in this attempt or an earlier one.

        Raises NotFoundError when there is none, and CorruptError, before the last chunk, when its
        bytes are not those that were saved.
        """
        entry = entry_of(await self._effects.artifacts(), name, CLOCK.now_us())
        if entry is None:
            raise NotFoundError(f"job {self.id} has no artifact {name!r:.80}")
        async for chunk in self._effects.fetch(stored_of(entry)):
            yield chunk

    async def load(self, name: str) -> bytes:
        """Return a file that this job saved, whole; see `open`."""
        return b"".join([chunk async for chunk in self.open(name)])


def _adapter(step: str, fn: Callable[..., Any]) -> TypeAdapter[Any]:
    """Read the return annotation alone: what the parameters say may not be importable here."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    said = getattr(fn, "__annotations__", {}).get("return", Any)
    try:
        shown = SimpleNamespace(__annotations__={"return": said})
        kind = get_type_hints(shown, getattr(fn, "__globals__", {}), include_extras=True)["return"]
        return TypeAdapter(kind)
    except (NameError, TypeError, PydanticUserError) as error:
        raise InvalidInputError(
            f"step {step!r}: the return annotation {said!r} of {fn!r} gives no JSON type: {error}",
            hint="name a type that pydantic knows, defined at the module's top, or leave it out",
        ) from error
