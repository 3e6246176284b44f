"""Send a mailing over SMTP, in chunks that are not sent again after a crash."""

import contextlib
import csv
import hashlib
import os
import smtplib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr, formatdate
from pathlib import Path
from typing import Self

from outlast import SyncJob

CHUNK_MAILS = 100
SENDER = formataddr(("Studio Aviation News", "news@studio.example"))


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who gets a mail."""

    address: str
    name: str
    city: str


@dataclass(frozen=True, slots=True)
class Sent:
    """How many mails of a chunk the server took, and which addresses it refused for good."""

    mails: int
    refused: list[str]


@dataclass(frozen=True, slots=True)
class Mailing:
    """What became of a mailing."""

    recipients: int
    sent: int
    refused: list[str]
    chunks: int


def mailing(job: SyncJob, recipients: Path, subject: str) -> Mailing:
    """Send one mail to each recipient over one connection, each chunk one step.

    A chunk that was interrupted is sent again: SMTP has no transaction over several mails. Its
    mails carry the Message-ID they had the first time, by which mailboxes drop the second copy.
    """
    people = read_recipients(recipients)
    results: list[Sent] = []
    with Mailer(*smtp_server()) as mailer:
        for start in range(0, len(people), CHUNK_MAILS):
            chunk = people[start : start + CHUNK_MAILS]

            def told(mails: int, start: int = start) -> None:
                job.progress(start + mails, len(people), "sending")

            key = job.idempotency_key
            name = f"mails {start + 1} to {start + len(chunk)}"
            results.append(job.step(name, send_chunk, mailer, chunk, subject, key, told))
    refused = [address for result in results for address in result.refused]
    job.log("sent", recipients=len(people), refused=len(refused))
    return Mailing(len(people), sum(one.mails for one in results), refused, len(results))


def smtp_server() -> tuple[str, int]:
    """Return host and port of the mail server."""
    host, _, port = os.environ.get("STUDIO_SMTP", "127.0.0.1:8025").rpartition(":")
    return host, int(port)


def read_recipients(file: Path) -> list[Recipient]:
    """Return one recipient for each airport."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [
            Recipient(f"{row['iata'].lower()}@airports.example", row["name"], row["city"])
            for row in csv.DictReader(lines)
        ]


class Mailer:
    """One connection to a mail server, opened for the first mail and kept for the next."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._connection: smtplib.SMTP | None = None

    def send(self, message: EmailMessage) -> bool:
        """Send a mail; return whether it was taken, or raise when trying later may help."""
        if self._connection is None:
            self._connection = smtplib.SMTP(self._host, self._port, timeout=30)
        try:
            self._connection.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            if all(code >= 500 for code, _ in error.recipients.values()):
                return False  # no such mailbox: the others should not wait for this one
            raise
        except smtplib.SMTPServerDisconnected:
            self._connection = None
            raise
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._connection is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._connection.quit()


def send_chunk(
    mailer: Mailer, people: list[Recipient], subject: str, key: str, told: Callable[[int], None]
) -> Sent:
    """Send one mail to each; `told` hears how many are done."""
    refused: list[str] = []
    for done, message in enumerate(compose(people, subject, key), start=1):
        if not mailer.send(message):
            refused.append(str(message["To"]))
        told(done)
    return Sent(len(people) - len(refused), refused)


def compose(people: list[Recipient], subject: str, key: str) -> Iterator[EmailMessage]:
    """Write each recipient's mail; the Message-ID depends on nothing but job and address."""
    for person in people:
        digest = hashlib.sha256(f"{key}\n{person.address}".encode()).hexdigest()[:32]
        message = EmailMessage()
        message["From"] = SENDER
        message["To"] = person.address
        message["Subject"] = subject
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{digest}@studio.example>"
        message["List-Unsubscribe"] = f"<https://studio.example/unsubscribe/{digest}>"
        place = "" if person.city == "NA" else f" in {person.city}"
        message.set_content(
            f"Dear team at {person.name}{place},\n\n"
            "the winter timetable is out. Please check your slots by Friday.\n\n"
            "Studio Aviation News\n"
        )
        yield message
