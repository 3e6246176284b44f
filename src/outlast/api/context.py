"""What every route is given: the app, its ledger, the watch, and jobs that the caller may see."""

from typing import Final

from pydantic_core import from_json

from outlast.api.fair import Shares
from outlast.api.guard import Caller
from outlast.api.overview import Overviews
from outlast.api.veil import OPEN, SECRET_BYTES, Veil
from outlast.api.watch import Watch
from outlast.core.errors import NotFoundError, OutlastError, gone
from outlast.core.identity import is_uuid
from outlast.core.job import JobRecord
from outlast.core.limits import SECOND
from outlast.core.ports import Clock
from outlast.core.queue import QueueRules
from outlast.core.share import call_rate
from outlast.ledger import Ledger
from outlast.sdk.app import Outlast
from outlast.system import CLOCK, ENTROPY

_AGE_US: Final = SECOND  # how long a revoked key or an old queue limit may still count


class JobNotFoundError(NotFoundError):
    """There is no such job, or it is another tenant's."""

    code = "job-not-found"


class Context:
    """One running API."""

    def __init__(self, app: Outlast, clock: Clock = CLOCK) -> None:
        self.app = app
        self.clock = clock
        self.watch = Watch(app.ledger, clock)
        self.overviews = Overviews(app, clock)
        self.shares = Shares(clock)
        self.keys: dict[str, Caller] = {}
        self.requests: dict[tuple[str, str, int], int] = {}
        self._veil = OPEN
        self._read_at: int | None = None

    @property
    def ledger(self) -> Ledger:
        """The open ledger."""
        return self.app.ledger

    def rules(self, queue: str) -> QueueRules:
        """Return a queue's rules: what was said at run time, over what is configured."""
        return self.app.rules.of(queue)

    def named_queues(self) -> set[str]:
        """Return the queues that settings name, in the file or at run time."""
        return {*self.app.settings.queue_settings, *self.app.rules.named}

    def is_fresh(self) -> bool:
        """Whether keys and queue settings were read a short while ago."""
        return self._read_at is not None and self.clock.elapsed_us() - self._read_at <= _AGE_US

    async def fresh(self, age_us: int = _AGE_US) -> bool:
        """Read keys and queue settings again if they were read longer ago; return whether."""
        now = self.clock.elapsed_us()
        if self._read_at is not None and now - self._read_at <= age_us:
            return False
        if self._read_at is None:
            await self.refresh()  # nobody may be answered before the keys are known
            self._read_at = now
            return True
        before, self._read_at = self._read_at, now  # one caller reads for all
        try:
            await self.refresh()
        except OutlastError:
            self._read_at = before
            raise
        return True

    async def refresh(self) -> None:
        """Read keys and queue settings now."""
        keys = await self.ledger.docs("key")
        await self.app.rules.read(self.ledger)
        if self._veil is OPEN:
            self._veil = Veil(await self._secret())
        self.keys = {
            doc.key: Caller(
                entry.get("tenant") or None,
                frozenset(entry["scopes"]),
                doc.key,
                call_rate(entry["rate"]) if entry.get("rate") else None,
            )
            for doc in keys
            for entry in (from_json(doc.doc),)
        }

    async def _secret(self) -> bytes:
        """Return what the ledger hides numbers with; the first server to ask makes it."""
        while not (found := await self.ledger.docs("secret", "veil")):
            made = ENTROPY.token(SECRET_BYTES).hex()
            await self.ledger.put("secret", "veil", made, version=0)
        return bytes.fromhex(found[0].doc)

    def veil(self, who: Caller) -> Veil:
        """Return how numbers of the whole ledger are shown to the caller."""
        return OPEN if who.tenant is None else self._veil

    def still_valid(self, who: Caller) -> bool:
        """Whether the caller's key has not been revoked meanwhile."""
        return self.keys.get(who.key) == who if who.key else not self.keys

    async def job(self, job_id: str, who: Caller) -> JobRecord:
        """Return a job; raise JobNotFoundError for what is not there or another tenant's."""
        (job,) = await self.ledger.get([job_id]) if is_uuid(job_id) else (None,)
        if job is not None and (who.tenant is None or job.tenant == who.tenant):
            return job
        for tombstone in await self.ledger.docs("tombstone", job_id) if job is None else ():
            if who.tenant in {None, from_json(tombstone.doc).get("tenant")}:
                raise gone(job_id)
        raise JobNotFoundError(f"there is no job {job_id!r:.80}")
