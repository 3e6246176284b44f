"""What a ledger says that is being moved, or was."""

from typing import Final

from outlast.core.errors import MovedError

RETRY_AFTER_S: Final = 5


def moved(place: str, destination: str, stage: str) -> MovedError:
    """Say where a ledger went, or goes; neither place has a password in it."""
    if stage == "moved":
        return MovedError(
            f"the ledger {place} has moved to {destination}",
            hint=f"give --ledger {destination}, or set OUTLAST_LEDGER, and start again",
            destination=destination,
            moved=True,
            retry_after=RETRY_AFTER_S,
        )
    return MovedError(
        f"the ledger {place} is being moved to {destination}, and takes nothing meanwhile",
        hint="try again in a moment; a move that stands still is taken back by: "
        f"outlast migrate --from {place} --abort",
        destination=destination,
        moved=False,
        retry_after=RETRY_AFTER_S,
    )
