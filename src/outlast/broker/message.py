"""How a ticket is written, and how a queue is called where a broker is choosy about names."""

import hashlib
import json
import re
from typing import Final

from outlast.broker.protocol import Ticket
from outlast.core.queue import check_queue_name

BYTES_MAX: Final = 4_096  # the longest name takes 2,400 as JSON
_ID_CHARS_MAX: Final = 64
_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
_HASH_CHARS: Final = 24


def packed(ticket: Ticket) -> bytes:
    """Write a ticket as a message that people can read, too.

    >>> packed(Ticket("mail", "0192"))
    b'{"queue":"mail","job":"0192"}'
    """
    return json.dumps({"queue": ticket.queue, "job": ticket.job_id}, separators=(",", ":")).encode()


def unpacked(message: bytes | str) -> Ticket | None:
    r"""Read a message that may be anything at all; None when it is no ticket.

    >>> unpacked(b'{"queue":"mail","job":"0192"}'), unpacked(b"\xff"), unpacked("[]")
    (Ticket(queue='mail', job_id='0192'), None, None)
    """
    if len(message) > BYTES_MAX:
        return None
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return None
    queue, job_id = (said.get("queue"), said.get("job")) if isinstance(said, dict) else (None, None)
    if check_queue_name(queue) is not None or not isinstance(job_id, str):
        return None
    if not 0 < len(job_id) <= _ID_CHARS_MAX or not job_id.isprintable():
        return None
    return Ticket(str(queue), job_id)


def plain_name(queue: str, chars_max: int) -> str:
    """Return a queue's name in `a-z`, `0-9`, `-` and `_`: its own, or one that no other queue has.

    >>> plain_name("mail", 80), plain_name("Mail & more", 80)
    ('mail', 'mail-more_d77912c08cc25e156db9094e')
    """
    if len(queue) <= chars_max and _PLAIN.fullmatch(queue):
        return queue
    # With an underscore, which no name has that stays as it is.
    tail = "_" + hashlib.sha256(queue.encode()).hexdigest()[:_HASH_CHARS]
    said = re.sub(r"[^a-z0-9]+", "-", queue.lower()).strip("-")
    return said[: chars_max - len(tail)] + tail
