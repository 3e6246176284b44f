"""Run the studio: slow work of every kind over HTTP, a killed worker, and nothing lost.

usage: python examples/studio/demo.py [--folder studio-run] [--ledger postgres] [--broker redis]
"""

import argparse
import asyncio
import contextlib
import csv
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checks import (
    SEGMENTS,
    Checks,
    check_distances,
    check_import,
    check_mailing,
    check_photos,
    check_recovery,
    check_report,
    check_videos,
    download,
)
from fleet import BROKERS, LEDGERS, Places, open_fleet
from screen import Screen, facts_table, open_screen, places_table
from stage import HERE, Api, DemoError, Stage, open_stage

from outlast.core.errors import OutlastError

SAMPLES = HERE / "samples"
PHOTOS = ("astronaut.png", "china.jpg", "flower.jpg", "hubble_deep_field.jpg", "rocket.jpg")
CALLS = 40
SEGMENTS_BEFORE_KILL = 4
DEMO_SECONDS = 120.0
LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Demo:
    """The story, and what is known of its jobs."""

    stage: Stage
    api: Api
    screen: Screen
    names: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recovery_seconds: float = 0.0
    checks: Checks = field(default_factory=Checks)
    looked: asyncio.Condition = field(default_factory=asyncio.Condition)

    def id_of(self, name: str) -> str:
        """Return the ID of a named job."""
        return next(job_id for job_id, known in self.names.items() if known == name)

    async def run(self) -> None:
        """Tell the whole story."""
        await self.submit_all()
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self.watch())
                group.create_task(self.poison())
                await self.kill_a_worker()
                await self.until(self.all_completed)
                watching.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self.screen.show(self.names, self.jobs)
        self.screen.close()
        await self.check()

    async def submit_all(self) -> None:
        """Submit every job, and click on "generate report" three times."""
        broken = self.upload()
        key = f"user-7:weather-report:{datetime.now(UTC):%Y-%m-%d}"
        csv_file = {"csv": str(SAMPLES / "seattle-weather.csv")}
        began = time.perf_counter()
        clicks = await asyncio.gather(
            *(self.api.submit("weather_report", csv_file, key=key) for _ in range(3))
        )
        ids = {click.json()["id"] for click in clicks}
        replays = sum(click.headers.get("Idempotency-Replayed") == "true" for click in clicks)
        self.screen.say(
            f"Clicked “generate report” three times: {len(ids)} job, {replays} replays."
        )
        self.checks.equal("three clicks with one Idempotency-Key: jobs", 1, len(ids))
        self.names[ids.pop()] = "weather report"
        airports = str(SAMPLES / "airports.csv")
        with (SAMPLES / "airports.csv").open(newline="", encoding="utf-8") as file:
            codes = [row["iata"] for row in csv.DictReader(file)]
        destinations = codes[:: len(codes) // CALLS][:CALLS]
        database = str(self.stage.folder / "airports.db")
        work: list[tuple[str, str, dict[str, Any]]] = [
            ("transcode", "transcode", {"video": str(SAMPLES / "bigbuckbunny.mp4")}),
            ("mailing", "mailing", {"recipients": airports, "subject": "Winter timetable"}),
            ("distances", "distances", {"origin": "SEA", "destinations": destinations}),
            ("import", "import_airports", {"csv_file": airports, "database": database}),
            *(
                (f"photo {name}", "photo_gallery", {"photo": str(SAMPLES / name)})
                for name in PHOTOS
            ),
            ("thumbnail of bad file", "thumbnail", {"photo": str(broken)}),
        ]
        for name, task, args in work:
            self.names[(await self.api.submit(task, args)).json()["id"]] = name
        mean = (time.perf_counter() - began) / (len(work) + 3)
        self.screen.say(f"Submitted {len(self.names)} jobs, {1000 * mean:.0f} ms each on average.")

    def upload(self) -> Path:
        """Put a file in place that is no photo: a server's error page, saved as one."""
        path = self.stage.folder / "uploads" / "poster.jpg"
        path.parent.mkdir()
        path.write_bytes(b"<html><title>502 Bad Gateway</title></html>")
        return path

    async def watch(self) -> None:
        """Show the jobs, over and over."""
        while True:
            listed = await self.api.jobs()
            self.jobs = {job_id: listed[job_id] for job_id in self.names if job_id in listed}
            self.screen.show(self.names, self.jobs)
            dead = [
                f"{self.names[job_id]}: {job['error']}"
                for job_id, job in self.jobs.items()
                if job["status"] in {"failed", "cancelled"}
                and self.names[job_id] != "thumbnail of bad file"
            ]
            if dead:
                raise DemoError("a job ended badly: " + "; ".join(dead))
            async with self.looked:
                self.looked.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    def all_completed(self) -> bool:
        """Tell whether every job has its result."""
        return all(job["status"] == "completed" for job in self.jobs.values())

    def unfinished(self) -> str:
        """Say which jobs have not ended."""
        names = [
            f"{self.names[job_id]} ({job['status']}, attempt {job['attempt']})"
            for job_id, job in self.jobs.items()
            if job["status"] != "completed"
        ]
        listed = ", ".join(names) or "none of the jobs"
        return f"not done after {DEMO_SECONDS:g} s: {listed}\n{self.stage.outlast.tail()}"

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds of the jobs, as last looked at."""
        async with self.looked:
            await self.looked.wait_for(lambda: len(self.jobs) == len(self.names) and true())

    async def kill_a_worker(self) -> None:
        """Kill the worker process that transcodes, in the middle of it."""
        job_id = self.id_of("transcode")
        segments: list[dict[str, Any]] = []
        while len(segments) < SEGMENTS_BEFORE_KILL:
            await asyncio.sleep(LOOK_SECONDS)
            steps = await self.api.events(job_id, "step")
            segments = [step for step in steps if step["data"]["name"].endswith(".mp4")]
        busy = [worker for worker in await self.api.workers() if job_id in worker["processing"]]
        if not busy:
            raise DemoError("no worker says that it is processing the transcode")
        pid = int(busy[0]["pid"])
        others = [self.names[one] for one in busy[0]["processing"] if one != job_id]
        if not _descends(pid, self.stage.outlast.process.pid):
            raise DemoError(f"process {pid} was not started by this demo")
        killed_at = datetime.now(UTC)
        os.kill(pid, signal.SIGKILL)
        also = f"; {' and '.join(others)} ran there too" if others else ""
        self.screen.say(
            f"kill -9 {pid}: transcoding, {len(segments)} of {SEGMENTS} segments{also}."
        )
        started: list[dict[str, Any]] = []
        while len(started) < 2:
            await asyncio.sleep(LOOK_SECONDS / 5)
            started = await self.api.events(job_id, "started")
        again_at = datetime.fromisoformat(started[1]["at"])
        self.recovery_seconds = (again_at - killed_at).total_seconds()
        self.screen.say(f"The transcode runs elsewhere after {self.recovery_seconds:.2f} s.")

    async def poison(self) -> None:
        """Let a job fail until it is dead-lettered, repair its cause, and redrive it."""
        job_id = self.id_of("thumbnail of bad file")
        await self.until(lambda: self.jobs[job_id]["status"] == "failed")
        job = self.jobs[job_id]
        self.screen.say(f"Dead-lettered after {job['attempt']} attempts: {job['error']['message']}")
        self.checks.equal("poison job: attempts before it was dead-lettered", 4, job["attempt"])
        listed = job_id in (await self.api.call("GET", "/v1/dead-letters")).text
        self.checks.equal(
            "poison job: listed among the dead letters", "yes", "yes" if listed else "no"
        )
        shutil.copyfile(SAMPLES / "rocket.jpg", self.stage.folder / "uploads" / "poster.jpg")
        await self.api.call("POST", "/v1/dead-letters/redrive", json={"ids": [job_id]})
        self.screen.say("Put the right file in place and redrove the dead letter.")
        await self.until(lambda: self.jobs[job_id]["status"] == "completed")
        status = self.jobs[job_id]["status"]
        self.checks.equal("poison job: after repair and redrive", "completed", status)

    async def check(self) -> None:
        """Fetch all results over HTTP, check them, and say where they are."""
        results = self.stage.folder / "results"
        places: list[tuple[str, str, str]] = []
        photos: list[Path] = []
        beside = {"mailing": ["servers/mail.mbox"], "import": ["airports.db"]}
        for job_id, name in self.names.items():
            job = self.jobs[job_id] = await self.api.job(job_id)
            folder = results / name.replace(" ", "-")
            folder.mkdir(parents=True)
            files = await download(self.api, job, folder)
            if name.startswith("photo "):
                photos += files
            where = [*beside.get(name, ()), *_listed(files, self.stage.folder)]
            places.append((name, ", ".join(where), f"/v1/jobs/{job_id}"))
        jobs = {name: self.jobs[job_id] for job_id, name in self.names.items()}
        checks = self.checks
        check_report(checks, results / "weather-report")
        check_photos(checks, photos)
        check_videos(checks, results / "transcode")
        await check_recovery(checks, self.api, jobs["transcode"], self.recovery_seconds)
        await check_mailing(checks, self.stage, self.api, jobs["mailing"])
        check_import(checks, self.stage.folder / "airports.db", results / "import")
        await check_distances(checks, self.stage, self.api, jobs["distances"], CALLS)
        title = f"Results, in {_short(self.stage.folder)} and at {self.stage.url}"
        tables = places_table(title, places), facts_table(checks.rows)
        self.screen.console.print("", *tables, sep="\n")
        if checks.failed:
            raise DemoError("not as expected:\n    " + "\n    ".join(checks.failed))


def _listed(files: list[Path], folder: Path) -> list[str]:
    if len(files) == 1:
        return [str(files[0].relative_to(folder))]
    return [f"{files[0].parent.relative_to(folder)}/ ({len(files)} files)"] if files else []


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _descends(pid: int, ancestor: int) -> bool:
    """Tell whether a process was started by another; where that can't be read, believe it."""
    while pid > 1 and Path("/proc/self/stat").exists():
        if pid == ancestor:
            return True
        try:
            # The name, in brackets, may hold anything; the parent is the second word after it.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            return False
    return not Path("/proc/self/stat").exists()


def fresh_folder(parent: Path) -> Path:
    """Make a new folder for one run."""
    parent.mkdir(parents=True, exist_ok=True)
    (parent / ".gitignore").write_text("*\n")
    folder = parent.resolve() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    folder.mkdir()
    return folder


async def play(parent: Path, ledger: str, broker: str) -> None:
    """Run the demo in a fresh folder; on a terminal, stay up afterwards."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder = fresh_folder(parent)
    screen = open_screen()
    screen.say(f"Everything of this run goes to {_short(folder)}")
    try:
        with open_fleet(folder, ledger, broker) as places:
            screen.say(f"Ledger: {ledger}; broker: {broker}.")
            await _play(folder, places, screen)
    finally:
        screen.close()


async def _play(folder: Path, places: Places, screen: Screen) -> None:
    began = time.monotonic()
    async with open_stage(folder, places) as stage, Api(stage.url) as api:
        screen.say(f"API: {stage.url}; 2 worker processes; a mail server and a slow API.")
        demo = Demo(stage, api, screen)
        try:
            async with asyncio.timeout(DEMO_SECONDS):
                await demo.run()
        except TimeoutError:
            raise DemoError(demo.unfinished()) from None
        screen.console.print(f"All of it took {time.monotonic() - began:.0f} s.", style="bold")
        if screen.console.is_terminal:
            screen.console.print(f"Dashboard: {stage.url}/   API: {stage.url}/docs   Ctrl-C stops.")
            # Ctrl-C is the way to end what went well, and no failure.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


def main() -> int:
    """Run the demo from the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=Path("studio-run"), help="where runs go")
    parser.add_argument("--ledger", choices=LEDGERS, default="sqlite", help="where jobs are kept")
    parser.add_argument("--broker", choices=BROKERS, default="ledger", help="what wakes workers")
    given = parser.parse_args()
    try:
        asyncio.run(play(given.folder, given.ledger, given.broker))
    except (DemoError, OutlastError, OSError, ValueError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
