"""What belongs to a call and to no layer: its priority, its deadline, and its record.

Priority and deadline are context variables, because code of the caller's lies between
where they are set and where they count. The record is handed from hop to hop.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
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
    "context_of_a_load",
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


def context_of_a_load() -> Context:
    """Copy the present context, less what is ours in it: a load has a record instead.

    What traces requests below us finds its own there.
    """
    context = copy_context()
    context.run(_forget_ours)
    return context


def _forget_ours() -> None:
    priority.set(SINGLE)
    backlog.set(UNKNOWN)
    deadline.set(math.inf)


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
    """The record of one call that is under way, written by the hops it passes."""

    priority: Priority
    deadline: float
    """When, on the loop's clock, the last of those who wait for it gives up."""

    allowance: float = math.inf
    """Seconds from its first send to its end; counted for bulk calls only, whose time
    in the queue is nobody's loss."""

    backlog: Backlog = UNKNOWN
    """What else the bulk will ask for, of which it is a part."""

    since: datetime | None = None
    """When it began, by the wall clock; noted for writes only."""

    attempts: int = 0
    """How many requests were sent for it."""

    departed: float = math.inf
    """When the first of them left, on the loop's clock."""

    gives_up: "Callable[[Call, EmoggError, float], bool] | None" = None
    """Is told of an error that would be retried, and when; True makes it the last."""

    is_repeated: bool = False
    """Whether the next request repeats one that failed."""

    status: int = 0
    """That of the answer to the newest of them; 0 while there is none."""

    sending: bool = False
    """Whether a request is out, or was when the call was cut off."""

    refused: bool = False
    """Whether our own pacer would not let it wait for a token."""

    in_doubt: bool = False
    """Whether one of its requests was sent and has an unknown fate."""

    detached: bool = False
    """Whether its result is outdated by now, and must not be stored."""

    trace: Any = None
    """Sees its requests; None when nobody does."""

    failure: EmoggError | None = None
    """The last failure that was, or may yet be, retried."""

    def departs(self, now: float) -> None:
        """Note that a request leaves *now*."""
        if not self.attempts:
            self.deadline = min(self.deadline, now + self.allowance)
            self.departed = now
        self.attempts += 1
        self.status = 0
        self.sending = True

    def extend(self, deadline: float, now: float) -> None:
        """Go on until *deadline* for somebody who joins *now*."""
        if self.attempts:
            deadline = min(deadline, now + self.allowance)
        self.deadline = max(self.deadline, deadline)

    def answered(self, status: int) -> None:
        """Note that an answer came, and its *status*."""
        self.status = status
        self.sending = False
