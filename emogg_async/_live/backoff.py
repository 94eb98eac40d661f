"""The waits between a connection and the next one."""

import random
from typing import Final

__all__ = ["Backoff"]

PROVEN_SECONDS: Final = 30.0
"""Seconds that a connection lives, all its subscriptions confirmed, until the waits
begin anew. A service that accepts and closes is not asked again and again."""


class Backoff:
    """Full jitter between a shortest and a longest wait, longer with each failure.

    Args:
        base: The shortest wait, in seconds.
        cap: The longest wait, in seconds.
        rng: The source of jitter.
    """

    def __init__(self, base: float, cap: float, rng: random.Random) -> None:
        self._base = base
        self._cap = cap
        self._rng = rng
        self._failures = 0

    def wait(self) -> float:
        """Return the seconds before the next try; call it once for each failure."""
        self._failures = min(self._failures + 1, 64)
        longest = min(self._cap, self._base * 2.0**self._failures)
        return self._base + self._rng.random() * max(0.0, longest - self._base)

    def lived(self, seconds: float) -> None:
        """Note how long a connection lived with all its subscriptions confirmed."""
        if seconds >= PROVEN_SECONDS:
            self.reset()

    def reset(self) -> None:
        """Begin anew with the shortest wait."""
        self._failures = 0
