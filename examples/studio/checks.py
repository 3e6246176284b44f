"""Check the results as a sceptic would: open every file, and count what the servers saw."""

import contextlib
import csv
import hashlib
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from stage import Api, Stage

AIRPORTS = 3376
AIRPORTS_STORED = 3364
REPORT_PAGES = 9
VIDEO_FRAMES = 132
VIDEO_SECONDS = 5.28
SEGMENTS = 18
WIDTHS = {720: 1280, 480: 854, 360: 640}
CHUNK_MAILS = 100


@dataclass(slots=True)
class Checks:
    """Facts, each expected and found."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def equal(self, what: str, expected: object, found: object) -> None:
        """Note whether both are the same."""
        self.rows.append((what, str(expected), str(found), expected == found))

    def true(self, what: str, expected: str, found: object, *, good: bool) -> None:
        """Note whether something holds."""
        self.rows.append((what, expected, str(found), good))

    @property
    def failed(self) -> list[str]:
        """What did not hold."""
        return [
            f"{what}: expected {want}, found {got}"
            for what, want, got, good in self.rows
            if not good
        ]


async def download(api: Api, job: dict[str, Any], folder: Path) -> list[Path]:
    """Fetch a job's files over HTTP into a folder, each checked against its announced SHA-256."""
    files = []
    for artifact in job["artifacts"]:
        path = folder / Path(artifact["name"]).name
        answer = await api.call("GET", f"/v1/jobs/{job['id']}/artifacts/{artifact['name']}")
        if hashlib.sha256(answer.content).hexdigest() != artifact["sha256"]:
            raise ValueError(f"{path.name}: its SHA-256 is not the announced {artifact['sha256']}")
        path.write_bytes(answer.content)
        files.append(path)
    return files


def check_report(checks: Checks, folder: Path) -> None:
    """Count the report's pages."""
    import pypdfium2  # noqa: PLC0415 - the demo starts faster without

    with contextlib.closing(pypdfium2.PdfDocument(folder / "report.pdf")) as pdf:
        checks.equal("report: pages in the PDF", REPORT_PAGES, len(pdf))


def check_photos(checks: Checks, files: list[Path]) -> None:
    """Open each picture."""
    from PIL import Image  # noqa: PLC0415 - the demo starts faster without

    opened = 0
    for path in files:
        with Image.open(path) as image:
            image.load()
            opened += 1
    # Four photos have one smaller size, the largest has two; each has a thumbnail and six filters.
    checks.equal("photos: pictures that open", 4 * 8 + 9, opened)


def check_videos(checks: Checks, folder: Path) -> None:
    """Decode each rendition from its first frame to its last."""
    import av  # noqa: PLC0415 - the demo starts faster without

    for height, width in WIDTHS.items():
        with av.open(str(folder / f"video-{height}p.mp4")) as file:
            stream = file.streams.video[0]
            frames = sum(1 for _ in file.decode(stream))
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            size = f"{stream.width}×{stream.height}"
        expected = f"{width}×{height}, {VIDEO_FRAMES} frames, {VIDEO_SECONDS} s"
        found = f"{size}, {frames} frames, {seconds:.2f} s"
        checks.equal(f"video {height}p, decoded to its end", expected, found)


async def check_recovery(checks: Checks, api: Api, job: dict[str, Any], seconds: float) -> None:
    """Compare the transcode's recorded steps with what each attempt did."""
    steps = Counter(event["data"]["name"] for event in await api.events(job["id"], "step"))
    segments = {name: times for name, times in steps.items() if name.endswith(".mp4")}
    by_attempt = job["result"]["segments_by_attempt"]
    checks.equal("transcode: segments recorded", SEGMENTS, len(segments))
    checks.equal("transcode: segments recorded twice", 0, sum(n > 1 for n in segments.values()))
    told = " + ".join(f"{count} in attempt {attempt}" for attempt, count in by_attempt.items())
    kept = len(by_attempt) > 1 and sum(by_attempt.values()) == SEGMENTS
    checks.true("transcode: kept what the killed worker did", "two attempts", told, good=kept)
    found = f"{seconds:.2f} s"
    checks.true("kill -9 to running elsewhere", "within 2 s", found, good=seconds <= 2)


async def _restarts(api: Api, job: dict[str, Any]) -> int:
    """Count the lost attempts; those of a job that got on are given back, but its events stay."""
    return len(await api.events(job["id"], "started")) - 1


async def check_mailing(checks: Checks, stage: Stage, api: Api, job: dict[str, Any]) -> None:
    """Count who got the mail, in the mail server's own books."""
    lines = (stage.folder / "servers" / "mail.jsonl").read_text(encoding="utf-8").splitlines()
    mails = [json.loads(line) for line in lines]
    checks.equal("mailing: distinct recipients", AIRPORTS, len({m["to"][0] for m in mails}))
    checks.equal("mailing: distinct mails", AIRPORTS, len({m["message_id"] for m in mails}))
    again = sum(mail["again"] for mail in mails)
    # SMTP is at least once: each lost attempt may repeat the one chunk that it had begun.
    allowed = CHUNK_MAILS * await _restarts(api, job)
    checks.true(
        "mailing: copies dropped by Message-ID", f"≤ {allowed}", again, good=again <= allowed
    )


def check_import(checks: Checks, database: Path, folder: Path) -> None:
    """Count the rows in the database, and those in the report of rejected ones."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM airport").fetchone()
    checks.equal("import: rows in the database", AIRPORTS_STORED, rows)
    with (folder / "rejected-rows.csv").open(newline="", encoding="utf-8") as file:
        rejected = {row["line"] for row in csv.DictReader(file)}
    checks.equal("import: rows rejected and reported", AIRPORTS - AIRPORTS_STORED, len(rejected))


async def check_distances(
    checks: Checks, stage: Stage, api: Api, job: dict[str, Any], calls: int
) -> None:
    """Ask the rate-limited API how it was treated."""
    async with httpx.AsyncClient() as client:
        counts = (await client.get(f"{stage.distances_url}/counts")).json()
    checks.equal("rate-limited API: distances in the table", calls, job["result"]["calls"])
    refused = counts["refused"]
    checks.true("rate-limited API: answers 429", "at least 1", refused, good=refused >= 1)
    # A worker that dies while it waits takes the knowledge of how long to wait with it.
    allowed = await _restarts(api, job)
    impatient = counts["impatient"]
    what = "rate-limited API: calls before Retry-After was over"
    checks.true(what, f"≤ {allowed}", impatient, good=impatient <= allowed)
