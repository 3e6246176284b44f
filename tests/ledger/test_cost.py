"""What a claim reads: counted, because a time says nothing on a busy machine."""

from outlast.ledger.sqlite import claim
from outlast.ledger.sqlite.statements import sql
from tests.ledger_fixtures import LEASE, NOW, job, plant, want

KEYS, EACH, AT_ONCE = 60, 4, 20
CLAIMS = KEYS * EACH // AT_ONCE
# A line for each start, once more when it is found empty, and one that is not needed any more.
LINES_MAX = KEYS * EACH + KEYS + 2 * CLAIMS


async def lines_read(ledger, monkeypatch):
    """Drain jobs of many keys; return how many lines were read, and in how many claims."""
    read = 0
    real = claim._Hand._lines

    def counted(self, place):
        nonlocal read
        for row in real(self, place):
            read += 1
            yield row

    monkeypatch.setattr(claim._Hand, "_lines", counted)
    await ledger.put("worker", "w1", "{}", ttl_us=LEASE, now=NOW)
    jobs = [job(concurrency_key=f"k{n % KEYS}") for n in range(KEYS * EACH)]
    await ledger.insert(jobs, now=NOW)
    claims = 0
    while leases := await ledger.claim(want(limit=AT_ONCE), now=NOW):
        claims += 1
        assert len(leases) == AT_ONCE
    return read, claims


async def test_a_claim_reads_about_as_many_lines_as_it_starts_jobs(ledger, monkeypatch):
    read, claims = await lines_read(ledger, monkeypatch)

    assert claims == CLAIMS
    assert KEYS * EACH <= read <= LINES_MAX


async def test_a_head_that_is_too_small_is_caught(ledger, monkeypatch):
    assert "number >= :head" in sql("line_turn")
    plant(monkeypatch, "line_turn", lambda text: text.replace("number >= :head", "0"))

    read, _ = await lines_read(ledger, monkeypatch)

    assert read > LINES_MAX
