"""Numbers that a tenant may carry but not read: places in a list or a stream of the whole ledger.

The positions of events and the numbers of jobs count those of every tenant, so two of them would
tell how busy the others were in between. A tenant gets each in another number's place, by a
permutation of 48 bits that the ledger's own secret keys.
"""

from hashlib import blake2b
from typing import Final

_HALF: Final = 24
_MASK: Final = (1 << _HALF) - 1
_ROUNDS: Final = range(4)  # of a Feistel network: enough to be random to whoever lacks the key
SECRET_BYTES: Final = 32


class Veil:
    """Hides numbers with a secret; without one it leaves them as they are.

    >>> veil = Veil(b"a secret")
    >>> veil.hide(7) != 7, veil.shown(veil.hide(7))
    (True, 7)
    """

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret

    def _mixed(self, turn: int, half: int) -> int:
        text = bytes([turn]) + half.to_bytes(3, "big")
        return int.from_bytes(blake2b(text, key=self._secret, digest_size=3).digest(), "big")

    def hide(self, number: int) -> int:
        """Return the number to give away in this one's place."""
        if not self._secret:
            return number
        left, right = number >> _HALF & _MASK, number & _MASK
        for turn in _ROUNDS:
            left, right = right, left ^ self._mixed(turn, right)
        return left << _HALF | right

    def shown(self, number: int) -> int:
        """Return the number for which this one was given; 0 means the beginning to everybody."""
        if not self._secret or not number:
            return number
        left, right = number >> _HALF & _MASK, number & _MASK
        for turn in reversed(_ROUNDS):
            left, right = right ^ self._mixed(turn, left), left
        return left << _HALF | right


OPEN: Final = Veil()
