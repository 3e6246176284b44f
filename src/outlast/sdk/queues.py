"""What is said of a queue at run time: kept in the ledger, over what the settings say."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from outlast.core.errors import ConflictError, InvalidInputError
from outlast.core.queue import QueueRules, check_queue_name
from outlast.ledger.protocol import Ledger

_TRIES: Final = 5


async def said_of_queues(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return what was said of each queue at run time."""
    return {doc.key: from_json(doc.doc) for doc in await ledger.docs("queue")}


async def change_queue(ledger: Ledger, name: str, changes: Mapping[str, Any]) -> None:
    """Change some of a queue's rules for every process from now on; None takes a limit away.

    Raises InvalidInputError that lists all that is wrong, ConflictError when others keep changing
    the same queue.
    """
    wrong: list[dict[str, str]] = []
    bad = check_queue_name(name)
    if bad is not None:
        wrong.append({"path": "queue", "message": bad})
    try:
        QueueRules.read(changes)
    except InvalidInputError as error:
        parts: Any = error.facts["errors"]
        wrong += parts
    if wrong:
        text = "; ".join(f"{part['path']}: {part['message']}" for part in wrong[:5])
        raise InvalidInputError(f"invalid request: {text}", errors=wrong)
    for _ in range(_TRIES):
        found = await ledger.docs("queue", name)
        version, doc = (found[0].version, from_json(found[0].doc)) if found else (0, {})
        text = to_json({**doc, **changes}).decode()
        if await ledger.put("queue", name, text, version=version):
            return
    raise ConflictError(f"queue {name} keeps changing", hint="try again")
