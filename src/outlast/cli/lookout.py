"""Tells whoever watches over the supervisor how it is: HTTP probes, and systemd."""

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from outlast.core.errors import OutlastError, UnavailableError
from outlast.core.limits import SECOND
from outlast.ledger import Ledger, shown
from outlast.sdk.settings import Settings
from outlast.system import CLOCK
from outlast.worker.supervisor import Supervisor

LEDGER_BOUND_S: Final = 2.0
_API_BOUND_S: Final = 1.0
_READ_BOUND_S: Final = 2.0
_AGE_US: Final = SECOND  # however often it is asked, the ledger hears of it once a second
_HEAD_BYTES_MAX: Final = 8 * 1024
_CALLERS_MAX: Final = 64
_ASK_AGAIN_S: Final = 0.05


class Systemd:
    """What systemd hears of us, where it started us with `Type=notify`; else nobody hears it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        # Taken away: what is said there by our children is not ours.
        address = environment.pop("NOTIFY_SOCKET", "")
        watched = environment.pop("WATCHDOG_USEC", "")
        by = environment.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._beat_s = int(watched) / SECOND / 2 if watched.isdigit() else 0.0
        if by != str(os.getpid()):
            self._beat_s = 0.0

    def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`; a message that does not arrive is no fault of ours."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), self._address)

    async def beat(self) -> None:
        """Show that the event loop turns, twice as often as systemd wants to see it."""
        while self._beat_s:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._beat_s)


class Lookout:
    """Knows whether everything that was started is up, and says so to whoever asks.

    `/livez`: the supervisor's loop turns. `/readyz`: its children are up, and the ledger answered
    in time. Neither says anything of jobs.
    """

    def __init__(
        self,
        ledger: Ledger,
        supervisor: Supervisor,
        settings: Settings,
        *,
        api: bool,
        worker: bool,
    ) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._settings = settings
        self._api = api
        self._worker = worker
        self._systemd = Systemd(os.environ)
        self._server: asyncio.Server | None = None
        self._callers = 0
        self._asking = asyncio.Lock()
        self._verdict: str | None = "starting"
        self._judged_us: int | None = None

    async def open(self) -> None:
        """Listen for probes, if asked to; raise UnavailableError when the port is taken."""
        host, port = self._settings.health_host, self._settings.health_port
        if port is None:
            return
        try:
            self._server = await asyncio.start_server(
                self._answer, host, port, limit=_HEAD_BYTES_MAX
            )
        except OSError as error:
            raise UnavailableError(
                f"can't answer probes on {host} port {port}: {error.strerror or error}",
                hint="give another --health-port (0 takes a free one) or --health-host",
            ) from error

    async def run(self, ready: Callable[[dict[str, object]], None]) -> None:
        """Say once that everything answers, when it does; then go on telling systemd."""
        beating = asyncio.create_task(self._systemd.beat())
        try:
            while await self._judge() is not None:  # noqa: ASYNC110 - a ledger has no event
                await asyncio.sleep(_ASK_AGAIN_S)
            facts = self._facts()
            ready(facts)
            self._systemd.tell("READY=1", f"STATUS=ready, {len(self._supervisor.holders)} workers")
            await beating
            await asyncio.Event().wait()
        finally:
            beating.cancel()

    def stop(self) -> None:
        """Say that it ends, and end it; a second call kills."""
        self._systemd.tell("STOPPING=1")
        self._supervisor.stop()

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _facts(self) -> dict[str, object]:
        settings = self._settings
        facts: dict[str, object] = {"ledger": shown(settings.ledger), "pid": os.getpid()}
        if self._api:
            facts["url"] = f"http://{settings.host}:{settings.port}"
        if self._worker:
            facts["workers"] = len(self._supervisor.holders)
        if self._server is not None:
            host, port = self._server.sockets[0].getsockname()[:2]
            facts["health"] = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return facts

    async def _judge(self) -> str | None:
        """Return what is still missing, as one line; None when nothing is."""
        if self._supervisor.is_stopping:
            return "stopping"
        try:
            async with asyncio.timeout(LEDGER_BOUND_S):
                docs = await self._ledger.docs("worker")
        except (TimeoutError, OutlastError):
            return f"ledger: expected an answer within {LEDGER_BOUND_S:g} s, got none"
        if self._supervisor.is_broken:
            return "app: it can't be loaded; its own lines on the terminal say why"
        holders = self._supervisor.holders
        missing = holders - {doc.key for doc in docs if doc.lease_until}
        if missing:
            return f"workers: expected {len(holders)}, {len(missing)} of them are not up"
        if self._api and not await _answers(self._settings.host, self._settings.port):
            return "api: it does not answer"
        return None

    async def _ready(self) -> str | None:
        async with self._asking:
            now = CLOCK.elapsed_us()
            # That it stops is known at once: nothing more is to be sent here.
            if self._supervisor.is_stopping or self._judged_us is None:
                fresh = False
            else:
                fresh = now - self._judged_us < _AGE_US
            if not fresh:
                self._verdict = await self._judge()
                self._judged_us = CLOCK.elapsed_us()
            return self._verdict

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers += 1
        try:
            if self._callers <= _CALLERS_MAX:
                async with asyncio.timeout(_READ_BOUND_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._response(head))
                async with asyncio.timeout(_READ_BOUND_S):
                    await writer.drain()
        except (TimeoutError, EOFError, asyncio.LimitOverrunError, OSError):
            pass  # whoever does not ask in time, or in a few words, gets no answer
        finally:
            self._callers -= 1
            writer.close()

    async def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        status, text = HTTPStatus.OK, "ok"
        if path not in {"/livez", "/readyz"}:
            status, text = HTTPStatus.NOT_FOUND, "expected /livez or /readyz"
        elif method not in {"GET", "HEAD"}:
            status, text = HTTPStatus.METHOD_NOT_ALLOWED, "expected GET"
        elif path == "/readyz" and (missing := await self._ready()) is not None:
            status, text = HTTPStatus.SERVICE_UNAVAILABLE, missing
        body = f"{text}\n".encode()
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        answer = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return answer if method == "HEAD" else answer + body


async def _answers(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_API_BOUND_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), port)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True
