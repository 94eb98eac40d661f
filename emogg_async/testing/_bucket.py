"""The token bucket that limits one user; its callers tell it the time."""

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

__all__ = ["ROUNDINGS", "Rounding", "TokenBucket"]

Rounding = Literal["up", "down", "nearest"]

_SLACK = 1e-9
"""Tolerance in tokens for rounding errors of floating point."""

ROUNDINGS: Final[Mapping[str, Callable[[float], int]]] = {
    "up": lambda seconds: math.ceil(seconds - _SLACK),
    "down": lambda seconds: math.floor(seconds + _SLACK),
    "nearest": round,
}
"""Ways to round `RateLimit-Reset` to whole seconds."""


@attrs.define(eq=False)
class TokenBucket:
    """A bucket that starts full and refills at a constant rate, fractions included.

    Source: https://docs.emogg.com, "Rate limits". The reference names no rounding, so
    two things are guesses: fractions count, and `Remaining` is rounded down.

    Attributes:
        capacity: Tokens in a full bucket.
        window: Seconds in which an empty bucket becomes full.
        rounding: Rounding of `Reset` to whole seconds.
    """

    capacity: int
    window: float
    rounding: Rounding = "up"
    _level: float = attrs.field(init=False)
    _updated: float = attrs.field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        """Begin with a full bucket."""
        self._level = self.capacity

    def level(self, now: float) -> float:
        """Return the number of tokens at *now*, a time in seconds.

        The clock never goes back: a *now* before the latest one counts as the latest.
        """
        if now > self._updated:
            gained = (now - self._updated) * self.capacity / self.window
            self._level = min(self.capacity, self._level + gained)
            self._updated = now
        return self._level

    def take(self, now: float, cost: int = 1) -> bool:
        """Take *cost* tokens at *now*; with fewer, take none and return False."""
        if self.level(now) < cost - _SLACK:
            return False
        self._level = max(0.0, self._level - cost)
        return True

    def headers(self, now: float) -> dict[str, str]:
        """Return the rate headers of a response at *now*."""
        level = self.level(now)
        until_full = (self.capacity - level) * self.window / self.capacity
        return {
            "RateLimit-Limit": str(self.capacity),
            "RateLimit-Remaining": str(math.floor(level + _SLACK)),
            "RateLimit-Reset": str(ROUNDINGS[self.rounding](until_full)),
            "RateLimit-Policy": f"{self.capacity};w={self.window:.15g}",
        }
