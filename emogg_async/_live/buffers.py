"""The events that wait for the reader of a feed."""

from collections import deque
from datetime import datetime
from typing import Final, Generic, TypeVar

import attrs

from emogg_async._wire.live import Event
from emogg_async.models import Gap

__all__ = ["Buffer", "Missing"]

E = TypeVar("E", bound=Event)

_WORST_FIRST: Final = ("reconnected", "slow", "unreadable")


@attrs.frozen
class Missing:
    """Events that are missing, or may be.

    Attributes:
        reason: As in `Gap`.
        lost: As in `Gap`.
    """

    reason: str
    lost: int | None

    def __add__(self, other: "Missing | Gap | None") -> "Missing":
        """Return both together."""
        if other is None:
            return self
        reason = min(self.reason, other.reason, key=_WORST_FIRST.index)
        unknown = self.lost is None or other.lost is None
        return Missing(reason, None if unknown else self.lost + other.lost)  # type: ignore[operator]

    def before(self, event: E, since: datetime | None) -> E:
        """Return *event* with a gap before it, which begins at *since*."""
        gap = Gap(
            since=since,
            until=event.timestamp,
            reason=self.reason,  # type: ignore[arg-type]
            lost=self.lost,
        )
        return attrs.evolve(event, gap=gap)


class Buffer(Generic[E]):
    """Events up to a limit; the oldest makes room for the newest.

    Args:
        limit: The most events.

    Attributes:
        dropped: Number of events that made room.
    """

    __slots__ = ("_events", "_limit", "_missing", "_since", "dropped")

    def __init__(self, limit: int) -> None:
        self._events: deque[E] = deque()
        self._limit = limit
        self._missing: Missing | None = None
        self._since: datetime | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: E) -> bool:
        """Add an event; tell whether another one had to make room."""
        self._events.append(event)
        if len(self._events) <= self._limit:
            return False
        oldest = self._events.popleft()
        self.dropped += 1
        self._missing = Missing("slow", 1) + oldest.gap + self._missing
        return True

    def take(self) -> E:
        """Remove and return the oldest event, with a gap if some are missing before."""
        event = self._events.popleft()
        if self._missing is not None:
            event = (self._missing + event.gap).before(event, self._since)
            self._missing = None
        self._since = event.timestamp
        return event
