"""Two servers for the studio to talk to: a mail server and a rate-limited HTTP API."""

import argparse
import asyncio
import csv
import json
import math
import signal
import threading
import time
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
AIRPORTS = Path(__file__).parent / "samples" / "airports.csv"
CALLS_IN_A_ROW = 10
RETRY_AFTER_SECONDS = 1
EARTH_RADIUS_KM = 6371.0


class Postbox:
    """File each mail once, and count what arrives a second time by its Message-ID."""

    def __init__(self, folder: Path) -> None:
        self._parser = BytesHeaderParser()
        self._seen: set[str] = set()
        self._mails = (folder / "mail.mbox").open("ab")
        self._index = (folder / "mail.jsonl").open("a", encoding="utf-8")

    async def handle_DATA(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take one mail."""
        content = envelope.original_content or b""
        headers = self._parser.parsebytes(content)
        message_id = str(headers["Message-ID"])
        again = message_id in self._seen
        self._seen.add(message_id)
        entry = {"to": envelope.rcpt_tos, "message_id": message_id, "again": again}
        self._index.write(json.dumps(entry) + "\n")
        self._index.flush()
        if not again:
            text = content.replace(b"\r\n", b"\n").replace(b"\nFrom ", b"\n>From ")
            self._mails.write(b"From studio@example.com\n" + text + b"\n\n")
            self._mails.flush()
        return "250 OK"

    def close(self) -> None:
        """Close the files."""
        self._mails.close()
        self._index.close()


@dataclass(slots=True)
class Quota:
    """Ten calls, then a pause; also notes who does not wait as long as it was told to.

    It counts calls and not time, so that a slow machine meets it, too.
    """

    left: int = CALLS_IN_A_ROW
    closed_until: float = 0.0
    served: int = 0
    refused: int = 0
    impatient: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Take a call, if one is left."""
        with self.lock:
            now = time.monotonic()
            if now < self.closed_until:
                self.impatient += 1
                self.refused += 1
                return False
            if self.left == 0:
                self.left = CALLS_IN_A_ROW
                self.closed_until = now + RETRY_AFTER_SECONDS
                self.refused += 1
                return False
            self.left -= 1
            self.served += 1
            return True

    def counts(self) -> dict[str, int]:
        """Return how many calls were served, refused, and made before their time."""
        with self.lock:
            counts = {"served": self.served, "refused": self.refused}
            return {**counts, "impatient": self.impatient}


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the great-circle distance between two (latitude, longitude) pairs in degrees."""
    (lat1, lon1), (lat2, lon2) = ([math.radians(angle) for angle in pair] for pair in (start, end))
    half = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(half))


class DistanceServer(ThreadingHTTPServer):
    """Answers `/distance?from=SEA&to=JFK`, ten calls in a row, and `/counts`."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.quota = Quota()
        with AIRPORTS.open(newline="", encoding="utf-8") as file:
            self.places = {
                row["iata"]: (float(row["latitude"]), float(row["longitude"]))
                for row in csv.DictReader(file)
            }
        super().__init__((HOST, port), DistanceHandler)


class DistanceHandler(BaseHTTPRequestHandler):
    """Answers one connection of the distance API."""

    server: DistanceServer
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this each answer would wait for the client's TCP ack.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer one call."""
        url = urlsplit(self.path)
        if url.path == "/counts":
            return self._answer(200, self.server.quota.counts())
        if url.path != "/distance":
            return self._answer(404, {"error": f"no such path: {url.path}"})
        if not self.server.quota.take():
            return self._answer(429, {"error": f"at most {CALLS_IN_A_ROW} calls in a row"})
        query = parse_qs(url.query)
        codes = [query.get(name, [""])[0] for name in ("from", "to")]
        for code in codes:
            if code not in self.server.places:
                return self._answer(404, {"error": f"no such airport: {code!r}"})
        start, end = (self.server.places[code] for code in codes)
        km = round(distance_km(start, end), 1)
        return self._answer(200, {"from": codes[0], "to": codes[1], "km": km})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", str(RETRY_AFTER_SECONDS))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Say nothing: the demo's terminal is for its story."""


async def serve(folder: Path, smtp_port: int, api_port: int) -> None:
    """Run both servers until the process is asked to stop."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    postbox = Postbox(folder)
    smtp = await loop.create_server(lambda: SMTP(postbox, loop=loop), HOST, smtp_port)
    api = DistanceServer(api_port)
    threading.Thread(target=api.serve_forever, name="distances", daemon=True).start()
    mail_at = smtp.sockets[0].getsockname()[1]
    print(f"ready smtp={HOST}:{mail_at} api=http://{HOST}:{api.server_address[1]}", flush=True)
    await stop.wait()
    smtp.close()
    api.shutdown()
    api.server_close()
    postbox.close()


def main() -> None:
    """Run the servers from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="where mails are filed")
    parser.add_argument("--smtp-port", type=int, default=8025, help="0 picks a free one")
    parser.add_argument("--api-port", type=int, default=8026, help="0 picks a free one")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(given.folder, given.smtp_port, given.api_port))


if __name__ == "__main__":
    main()
