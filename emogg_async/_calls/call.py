"""The priority, the deadline and the record of a call.

Priority and deadline are context variables, because the caller's own code runs between
the place that sets them and the place that reads them. The record is passed from hop to
hop.
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

from emogg_async._wire.protocol import Headers
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
    """The order of calls where slots or tokens are scarce.

    Attributes:
        SINGLE: A call that its caller waits for.
        BULK: One of many calls; single calls go first.
    """

    SINGLE = 0
    BULK = 1


# For the code that every call runs: up to Python 3.11 `Priority.BULK` costs as much as
# a call of a function.
SINGLE, BULK = Priority

priority: ContextVar[Priority] = ContextVar("priority", default=SINGLE)
"""The priority of the calls made in this context."""


def bulk_share(slots: int) -> int:
    """Return how many of the *slots* bulk work may hold: three quarters, at least 1."""
    return max(1, slots * 3 // 4)


@attrs.define(eq=False)
class Backlog:
    """The calls of a bulk that have not begun yet.

    Attributes:
        left: Their number at most; infinite if it is unknown.
    """

    left: float = math.inf


UNKNOWN = Backlog()

backlog: ContextVar[Backlog] = ContextVar("backlog", default=UNKNOWN)
"""The backlog of the bulk to which the calls made in this context belong."""

deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)
"""The deadline, on the loop's clock, of the calls made in this context."""


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """Set a deadline for the calls made inside, unless a nearer one is set already."""
    previous = deadline.get()
    deadline.set(min(asyncio.get_running_loop().time() + seconds, previous))
    try:
        yield
    finally:
        # Not `reset`, which fails if a generator is left in another context.
        deadline.set(previous)


@attrs.define(eq=False)
class Call:
    """The record of one call that is under way, written by the hops it passes.

    All times are on the loop's clock unless the line says something else.

    Attributes:
        priority: Its priority at the gate.
        deadline: The latest deadline of its waiters.
        allowance: Seconds from its first send to its end. Only calls of a bulk have
            one, as their time in the queue does not count.
        is_paced: Whether it waits for a token of the rate limit.
        is_impatient: Whether its attempts have less time than those of the client, so
            that an end of that time tells nothing about the service.
        backlog: The rest of the bulk that it belongs to.
        since: The time of the wall clock when it began; None for reads.
        attempts: Requests sent for it.
        noted: Requests whose failure is known to the memory of outages.
        ends: The time when the allowance of its last waiter is used up; infinite before
            its first request.
        departed: The time when its first request was sent; infinite before.
        gives_up: A function that gets the call, an error that would be retried, and the
            time of the retry. It returns True to raise the error instead.
        is_repeated: Whether the next request repeats a failed one.
        is_out: Whether a request is out, or was when the call was cut off.
        is_refused: Whether the pacer refused it a token.
        is_in_doubt: Whether one of its requests was sent and its answer was lost.
        is_detached: Whether its result is outdated and must not be stored.
        status: The status of the answer to its newest request; 0 without an answer.
        headers: The headers of that answer; None without one.
        trace: The trace of its requests; None if no instrument is set.
        failure: The last error that was, or may still be, retried.
    """

    priority: Priority
    deadline: float
    allowance: float = math.inf
    backlog: Backlog = UNKNOWN
    is_paced: bool = True
    is_impatient: bool = False
    since: datetime | None = None
    attempts: int = 0
    noted: int = 0
    ends: float = math.inf
    departed: float = math.inf
    gives_up: "Callable[[Call, EmoggError, float], bool] | None" = None
    is_repeated: bool = False
    is_out: bool = False
    is_refused: bool = False
    is_in_doubt: bool = False
    is_detached: bool = False
    status: int = 0
    headers: Headers | None = None
    trace: Any = None
    failure: EmoggError | None = None

    def extend(self, deadline: float, now: float) -> None:
        """Move the deadline for a waiter that joins *now* with its own *deadline*."""
        if self.attempts:
            deadline = min(deadline, now + self.allowance)
            self.ends = max(self.ends, deadline)
        self.deadline = max(self.deadline, deadline)

    def aside(self, now: float) -> "Call":
        """Return the record of a request made *now*, before the call's own.

        It makes one attempt, in half of the time that is left. The time of a bulk's
        item is untouched, since it begins with its own request.
        """
        half = (self.deadline - now) / 2
        aside = Call(self.priority, now + half, min(half, self.allowance), self.backlog)
        aside.is_paced, aside.gives_up = self.is_paced, _at_once
        aside.is_impatient = self.is_impatient
        return aside


def _at_once(*_: object) -> bool:
    """Give up after the first failure."""
    return True
