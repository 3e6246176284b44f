"""The examples do what their READMEs promise, with the commands that those tell to type."""

import json
import subprocess
import sys

from outlast import Outlast, SyncOutlast


def followed(client, url):
    """Return a job's events from a live stream, as pairs of type and data."""
    with client.stream("GET", url, headers={"Accept": "text/event-stream"}) as stream:
        lines = list(stream.iter_lines())
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return list(zip(kinds, data, strict=True))


def test_a_fastapi_service_orders_shows_progress_and_has_the_dashboard_mounted(service):
    shop = service("fastapi_app")
    web, worker = shop.commands
    shop.start(web, "Uvicorn running on")
    client = shop.client()

    again = {"Idempotency-Key": "a click"}
    made = [client.post("/reports?pages=3", headers=again) for _ in range(2)]
    assert [answer.status_code for answer in made] == [202, 202]
    assert made[0].json() == made[1].json()
    assert client.get(made[0].headers["location"]).json()["status"] == "pending"
    assert "EventSource" in client.get("/").text
    assert "static/app.js" in client.get("/jobs/").text

    shop.start(worker, "ready")
    events = followed(client, made[0].json()["events"])
    assert [kind for kind, _ in events][-1] == "completed"
    assert [d["name"] for kind, d in events if kind == "step"] == ["page 0", "page 1", "page 2"]
    assert [d["percent"] for kind, d in events if kind == "progress"][-1] == 100
    assert client.get(made[0].headers["location"]).json()["result"] == {"pages": 3}


def test_a_flask_service_orders_in_a_request_and_tells_how_it_stands(service):
    shop = service("flask_app")
    web, worker = shop.commands
    shop.start(web, "Running on")
    client = shop.client()

    made = client.post("/reports?pages=3", headers={"Idempotency-Key": "a click"})
    assert made.status_code == 202
    assert client.get(made.headers["location"]).json()["status"] == "pending"
    assert client.get("/reports/none").status_code == 404

    shop.start(worker, "ready")
    file = f"sqlite:///{shop.folder}/outlast.db"
    with SyncOutlast(Outlast(ledger=file)) as jobs:
        assert jobs.handle(made.json()["id"]).result(timeout=20) == {"pages": 3}
    said = client.get(made.headers["location"]).json()
    assert (said["status"], said["done"], said["progress"]["percent"]) == ("completed", True, 100)


def test_a_django_site_enqueues_in_a_request_and_its_worker_runs_the_task(service):
    shop = service("django_site")
    web, worker = shop.commands
    shop.start([*web, "--noreload", str(shop.port)], "Quit the server")
    client = shop.client()

    made = client.post("/reports?pages=3")
    assert made.status_code == 202
    assert client.get(made.headers["location"]).json() == {"status": "READY", "result": None}

    shop.start(worker, "ready")
    with SyncOutlast(Outlast(ledger=f"sqlite:///{shop.folder}/outlast.db")) as jobs:
        done = jobs.handle(made.json()["id"]).result(timeout=20)
    assert client.get(made.headers["location"]).json() == {"status": "SUCCESSFUL", "result": done}
    assert done == {"pages": 3, "attempt": 1}


FORK = """
import os, sys
from outlast import Outlast, SyncOutlast
app = Outlast(ledger=sys.argv[1])
@app.task
def add(a: int, b: int) -> int:
    return a + b
jobs = SyncOutlast(app)
first = jobs.submit(add, a=1, b=2)
child = os.fork()
second = jobs.submit(add, a=3, b=4)
assert jobs.handle(first.id).status().status == "pending"
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(len({first.id, second.id}))
"""


def test_a_forked_server_has_connections_of_its_own_and_ends_in_peace(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, f"sqlite:///{tmp_path}/outlast.db"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
