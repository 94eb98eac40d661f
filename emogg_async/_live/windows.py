"""A count of what has happened within the last seconds."""

import math
from collections import deque
from typing import Final

__all__ = ["Messages", "SlidingWindow"]

SLACK_SECONDS: Final = 1.0
"""Seconds that the window is longer than the service's: two messages arrive closer to
each other than they were sent, if the second one travels faster."""


class SlidingWindow:
    """The times of what counts against a limit within a number of seconds.

    Args:
        seconds: The length of the window.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds + SLACK_SECONDS
        self._times: deque[float] = deque()

    def count(self, now: float) -> int:
        """Return how many times lie in the window that ends *now*."""
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        return len(self._times)

    def note(self, now: float) -> None:
        """Count something that happens *now*."""
        self._times.append(now)

    def free_at(self, now: float, limit: int) -> float:
        """Return when something more stays within *limit*: *now*, or later.

        It is infinite for a limit of 0 or less.
        """
        over = self.count(now) - limit
        if over < 0:
            return now
        return self._times[over] + self._seconds if limit > 0 else math.inf


class Messages:
    """The messages of a user: all of them, and those that are no signs of life.

    Signs of life have a reserve. Those that were sent have used theirs, so that the
    limit of the others does not count them.

    Args:
        seconds: The length of the window.
    """

    def __init__(self, seconds: float) -> None:
        self._all = SlidingWindow(seconds)
        self._others = SlidingWindow(seconds)

    def note(self, now: float, *, is_sign: bool = False) -> None:
        """Count a message that is sent *now*, and whether it is a sign of life."""
        self._all.note(now)
        if not is_sign:
            self._others.note(now)

    def free_at(self, now: float, limit: int, kept: int = 0) -> float:
        """Return when one more stays within *limit*: *now*, or later.

        Args:
            now: The time.
            limit: The most messages.
            kept: Those of them that are kept for signs of life; one other is always
                left.
        """
        other = self._others.free_at(now, max(1, limit - kept)) if kept else now
        return max(self._all.free_at(now, limit), other)
