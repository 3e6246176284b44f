"""Connections that died while a sandbox was frozen, as a NAT forgets them: without a word."""

import asyncio

import pytest

from outlast.core.status import Status
from tests.aws.sandbox import sandboxes
from tests.aws.test_lambda import FUNCTION, Place, event_of, failed, ticket
from tests.postgres import PLAIN
from tests.reliability.network import network


@pytest.mark.slow
@pytest.mark.parametrize("how", ["swallowed", "reset"])
async def test_a_thawed_sandbox_does_its_job_on_connections_that_live(how, database, tmp_path):
    """The invocation after the freeze ends in time, and with the job done."""
    direct = Place(database + PLAIN, tmp_path)
    async with network(database + PLAIN) as between:
        environment = {**direct.environment, "OUTLAST_LEDGER": between.url}
        with sandboxes(tmp_path / "code", FUNCTION, environment) as start:
            one = start()
            first = await asyncio.to_thread(direct.submit, "quick", n=1)
            await asyncio.to_thread(one.invoke, event_of(ticket(first)), 10_000)
            second = await asyncio.to_thread(direct.submit, "quick", n=2)
            between.swallow() if how == "swallowed" else between.reset()

            answer = await asyncio.to_thread(one.invoke, event_of(ticket(second)), 10_000)

    row, _ = await asyncio.to_thread(direct.job, second)
    assert failed(answer) == []
    assert row.status == Status.COMPLETED


@pytest.mark.slow
async def test_a_ledger_that_falls_silent_does_not_keep_an_invocation_past_its_deadline(
    database, tmp_path
):
    """The platform kills who is late; the ticket comes again, and nothing is accepted twice."""
    direct = Place(database + PLAIN, tmp_path)
    async with network(database + PLAIN) as between:
        environment = {**direct.environment, "OUTLAST_LEDGER": between.url}
        with sandboxes(tmp_path / "code", FUNCTION, environment) as start:
            one = start()
            job = await asyncio.to_thread(direct.submit, "long", steps=30, seconds=0.3)
            one.begin(event_of(ticket(job)))
            await asyncio.to_thread(direct.until_traced, "begin 2")
            between.answers.clear()

            answer = await asyncio.to_thread(one.finish)

            between.answers.set()

    assert failed(answer) == ["m0"]
    assert (await asyncio.to_thread(direct.job, job))[0].status == Status.PROCESSING
