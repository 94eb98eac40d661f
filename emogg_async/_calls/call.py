"""What belongs to a call and to no layer: its priority, its deadline, and its record.

Priority and deadline are context variables, because code of the caller's lies between
where they are set and where they count. The record is handed from hop to hop.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from typing import Any

import attrs

from emogg_async.errors import EmoggError

__all__ = [
    "BULK",
    "SINGLE",
    "Backlog",
    "Call",
    "Priority",
    "backlog",
    "bulk_share",
    "deadline",
    "deadline_in",
    "priority",
]


class Priority(IntEnum):
    """Who goes first where there is not enough for all."""

    SINGLE = 0
    """Somebody waits for this one call."""

    BULK = 1
    """One of many: it may wait for all single calls."""


SINGLE, BULK = Priority
"""Its members, for where every call passes: up to Python 3.11 `Priority.BULK` costs as
much as a call of a function."""

priority: ContextVar[Priority] = ContextVar("priority", default=SINGLE)
"""The priority of the calls made in this context."""


def bulk_share(slots: int) -> int:
    """Return how many of the *slots* bulk work may hold: not all, if there are more."""
    return max(1, slots * 3 // 4)


@attrs.define(eq=False)
class Backlog:
    """What a bulk has still to ask for, besides the calls that it has begun."""

    left: float = math.inf
    """How many calls at most; infinite when nobody knows."""


UNKNOWN = Backlog()

backlog: ContextVar[Backlog] = ContextVar("backlog", default=UNKNOWN)
"""The backlog of the bulk to which the calls made in this context belong."""

deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)
"""When, on the loop's clock, the calls made in this context must be over."""


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """Bound all calls inside, unless a nearer deadline is there already."""
    previous = deadline.get()
    deadline.set(min(asyncio.get_running_loop().time() + seconds, previous))
    try:
        yield
    finally:
        deadline.set(previous)  # no reset: a generator may be left in another context


@attrs.define(eq=False)
class Call:
    """The record of one call that is under way, written by the hops it passes.

    Attributes:
        priority: Whom it yields to.
        deadline: When, on the loop's clock, the last of those who wait for it gives up.
        allowance: Seconds from its first send to its end. They count for bulk calls
            only, whose time in the queue is nobody's loss.
        backlog: What else the bulk will ask for that it is a part of.
        since: When it began, by the wall clock; noted for writes only.
        attempts: How many requests were sent for it.
        ends: When, on the loop's clock, the allowance is used up for the last of those
            who joined; infinite before its first request.
        departed: When, on the loop's clock, its first request left.
        gives_up: A function that is told of an error that would be retried, and when;
            True makes the error the last.
        is_repeated: Whether the next request repeats one that failed.
        is_out: Whether a request is out, or was when the call was cut off.
        is_refused: Whether our own pacer would not let it wait for a token.
        is_in_doubt: Whether one of its requests was sent and has an unknown fate.
        is_detached: Whether its result is outdated by now, and must not be stored.
        status: The status of the answer to its newest request; 0 while there is none.
        trace: What sees its requests; None when nothing does.
        failure: The last failure that was, or may yet be, retried.
    """

    priority: Priority
    deadline: float
    allowance: float = math.inf
    backlog: Backlog = UNKNOWN
    since: datetime | None = None
    attempts: int = 0
    ends: float = math.inf
    departed: float = math.inf
    gives_up: "Callable[[Call, EmoggError, float], bool] | None" = None
    is_repeated: bool = False
    is_out: bool = False
    is_refused: bool = False
    is_in_doubt: bool = False
    is_detached: bool = False
    status: int = 0
    trace: Any = None
    failure: EmoggError | None = None

    def extend(self, deadline: float, now: float) -> None:
        """Go on until *deadline* for somebody who joins *now*."""
        if self.attempts:
            deadline = min(deadline, now + self.allowance)
            self.ends = max(self.ends, deadline)
        self.deadline = max(self.deadline, deadline)
