"""Where an export will end, although the service does not say how much there is.

What can be known is how far back in time the sessions go, and so which part of that
time is done.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Final

from emogg_async import EmoggError, Session
from emogg_async._cli.resume import Position

__all__ = ["Horizon"]

BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No session is older."""

LOOKS: Final = 8
"""Requests that finding the end may cost."""

PRECISE: Final = 1.1
"""How many times the nearest the farthest end may be, to be taken as found."""

SHORTEST: Final = timedelta(milliseconds=1)

NewestBefore = Callable[[datetime], Awaitable[Session | None]]


class Horizon:
    """When the oldest session was created: as it was told, or as it finds out.

    It looks whether anything is older than some moment, and halves what is left by
    ratio: an hour more or less matters to who goes back a day, and not a year.

    Args:
        newest_before: Gets the newest session before a moment.
        bound: Nothing older is wanted; None when that is to be found out.
    """

    def __init__(self, newest_before: NewestBefore, bound: datetime | None) -> None:
        self._newest_before = newest_before
        self._bound = bound
        self._looks_left = LOOKS if bound is None else 0
        self._near = self._far = timedelta()

    async def look(self, position: Position) -> None:
        """Look once, if it is not known well enough yet; whatever fails ends it."""
        newest, reached = position.newest, position.reached
        if not self._looks_left or newest is None or reached is None:
            return
        self._looks_left -= 1
        self._far = self._far or newest - BEGINNING
        self._near = max(self._near, newest - reached, SHORTEST)
        if self._far <= self._near * PRECISE:
            self._looks_left = 0
            return
        middle = self._middle
        try:
            found = await self._newest_before(newest - middle)
        except EmoggError:
            self._looks_left = 0
            return
        if found is None:
            self._far = middle
        else:
            self._near = max(middle, newest - found.timestamp)

    @property
    def _middle(self) -> timedelta:
        return self._near * sqrt(self._far / self._near)

    def total(self, position: Position, limit: int | None = None) -> float | None:
        """Estimate how many sessions there will be; None while nothing is known.

        Args:
            position: How far the export is.
            limit: How many there will be at most; None is no limit.
        """
        expected = self._expected(position)
        if limit is None or expected is None:
            return expected or limit
        return min(expected, limit)

    def _expected(self, position: Position) -> float | None:
        newest, reached = position.newest, position.reached
        if newest is None or reached is None or reached >= newest:
            return None
        if self._bound is not None:
            span = newest - self._bound
        elif self._near:
            span = self._middle if self._far > self._near else self._near
        else:
            return None
        return max(1.0, span / (newest - reached)) * position.count
