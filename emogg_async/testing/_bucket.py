"""The token bucket that limits one user, as a plain class of the time it is told."""

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

__all__ = ["ROUNDINGS", "Rounding", "TokenBucket"]

Rounding = Literal["up", "down", "nearest"]

_SLACK = 1e-9
"""Tokens by which floating point may be off: a token that is this near is there."""

ROUNDINGS: Final[Mapping[str, Callable[[float], int]]] = {
    "up": lambda seconds: math.ceil(seconds - _SLACK),
    "down": lambda seconds: math.floor(seconds + _SLACK),
    "nearest": round,
}
"""How `Reset` can be made whole seconds."""


@attrs.define(eq=False)
class TokenBucket:
    """A bucket that starts full and refills at a constant rate, fractions included.

    Source: https://docs.emogg.com, "Rate limits". That fractions count and that
    `Remaining` is rounded down is a guess: the reference names no rounding.
    """

    capacity: int
    """Tokens in a full bucket."""

    window: float
    """Seconds in which an empty bucket becomes full."""

    rounding: Rounding = "up"
    """How `Reset` is made whole seconds."""

    _level: float = attrs.field(init=False)
    _updated: float = attrs.field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        """Begin with a full bucket."""
        self._level = self.capacity

    def level(self, now: float) -> float:
        """Return how many tokens there are at *now*, a time in seconds.

        A *now* before an earlier one counts as that earlier one: time only goes on.
        """
        if now > self._updated:
            gained = (now - self._updated) * self.capacity / self.window
            self._level = min(self.capacity, self._level + gained)
            self._updated = now
        return self._level

    def take(self, now: float, cost: int = 1) -> bool:
        """Take *cost* tokens at *now*, or none at all when there are fewer."""
        if self.level(now) < cost - _SLACK:
            return False
        self._level = max(0.0, self._level - cost)
        return True

    def headers(self, now: float) -> dict[str, str]:
        """Say how the bucket stands at *now*, in the headers of a response."""
        level = self.level(now)
        until_full = (self.capacity - level) * self.window / self.capacity
        return {
            "RateLimit-Limit": str(self.capacity),
            "RateLimit-Remaining": str(math.floor(level + _SLACK)),
            "RateLimit-Reset": str(ROUNDINGS[self.rounding](until_full)),
            "RateLimit-Policy": f"{self.capacity};w={_plain(self.window)}",
        }


def _plain(seconds: float) -> str:
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)
