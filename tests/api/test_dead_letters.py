"""Dead letters that a person can work with."""

import pytest


async def dead(api, app, count=1, why="no"):
    ids = []
    for _ in range(count):
        made = await api.post("/v1/jobs", json={"task": "fail", "args": {"why": why}})
        ids.append(made.json()["id"])
        async for event in app.handle(ids[-1]).events():
            assert event
    return ids


async def test_groups_say_how_many_and_since_when(api, app, worker):
    await dead(api, app, 2)
    await dead(api, app, 1, why="something else")

    answer = await api.get("/v1/dead-letters?group=error")
    groups = answer.json()["dead_letters"]

    assert [group["count"] for group in groups] == [2, 1]
    assert groups[0]["oldest_at"] < groups[0]["newest_at"]
    assert groups[1]["oldest_at"] == groups[1]["newest_at"]


async def test_a_dead_letter_is_run_again_with_other_arguments(api, app, worker):
    (job_id,) = await dead(api, app)

    answer = await api.post(f"/v1/jobs/{job_id}/retry", json={"args": {"why": "another reason"}})

    assert answer.status_code == 202
    async for event in app.handle(job_id).events():
        assert event
    job = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert job["error"]["message"] == "another reason"
    assert (await app.ledger.get([job_id]))[0].run == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"args": {"why": 5}}, "args.why"),
        ({"args": {"colour": "x"}}, "args.why"),
        ({"args": [1]}, "args"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_wrong_arguments_change_nothing(api, app, worker, body, path):
    (job_id,) = await dead(api, app)

    answer = await api.post(f"/v1/jobs/{job_id}/retry", json=body)

    assert answer.status_code == 422
    assert path in {error["path"] for error in answer.json()["errors"]}
    assert (await app.ledger.get([job_id]))[0].run == 1


async def test_a_reason_stays_with_what_was_discarded(api, app, worker):
    ids = await dead(api, app, 2)

    answer = await api.post("/v1/dead-letters/discard", json={"ids": ids, "reason": "test data"})

    assert answer.json() == {"discarded": 2}
    (event,) = await app.ledger.history(ids[0], type="discarded")
    assert '"test data"' in event.data
    wrong = await api.post("/v1/dead-letters/redrive", json={"ids": ids, "reason": "x"})
    assert wrong.json()["errors"][0]["path"] == "reason"


async def test_the_metrics_say_by_queue_and_error_how_fast_dead_letters_grow(api, app, worker):
    first, *_ = await dead(api, app, 3)
    await api.post("/v1/dead-letters/discard", json={"ids": [first]})

    lines = (await api.get("/metrics")).text.splitlines()

    grown = [line for line in lines if line.startswith("outlast_dead_letters_last_hour{")]
    letters = (await api.get("/v1/dead-letters")).json()["dead_letters"]
    (kind,) = {job["error"]["type"] for job in letters}
    assert grown == [f'outlast_dead_letters_last_hour{{queue="default",kind="{kind}"}} 2']
