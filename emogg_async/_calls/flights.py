"""Single-flight: calls that want the same thing at the same time share one load.

A load runs in a task of its own, so that no caller's cancellation reaches the others,
and in a copy of the context of the call that began it, without what is ours in that. It
lives as long as somebody waits for it.
"""

import asyncio
import copy
import math
from collections.abc import Callable, Coroutine, Hashable
from contextvars import copy_context
from typing import Any, Final, Generic, TypeVar, cast

from emogg_async._calls.alarms import Alarms
from emogg_async._calls.call import SINGLE, UNKNOWN, Call, backlog, deadline, priority
from emogg_async._calls.frames import bare
from emogg_async.errors import EmoggError

__all__ = ["Abandoned", "Cut", "Flight", "Flights"]

T = TypeVar("T")

LAST_WORDS: Final = 1.0
"""Seconds in which loads that are cancelled should end."""


class Abandoned(Exception):  # noqa: N818 - a signal inside the package, no error
    """This waiter's deadline passed; the load may go on for others."""


class Cut(Exception):  # noqa: N818 - a signal inside the package, no error
    """The load was cancelled under its waiters: the client was closed."""


class Flight(Generic[T]):
    """One load, and those who wait for it."""

    __slots__ = (
        "_error",
        "_flights",
        "_is_loaded",
        "_over",
        "_value",
        "_waiters",
        "call",
        "key",
        "task",
    )

    def __init__(self, flights: "Flights", key: Hashable | None, call: Call) -> None:
        self.key = key
        self.call = call
        self.task: asyncio.Task[T] | None = None
        self._flights = flights
        self._waiters: set[asyncio.Future[None]] = set()
        self._over = self._is_loaded = False
        self._value: T | None = None
        self._error: BaseException | None = None

    def land(self, task: "asyncio.Task[T] | None" = None) -> None:
        """Wake all waiters: *task* brought a result, or there will be none.

        The failure of a load is kept for them. Its frames tell nothing that the error
        and its cause do not; those of a bug do.
        """
        if task is not None and not task.cancelled():
            error = task.exception()
            if error is None:
                self._value, self._is_loaded = task.result(), True
            else:
                self._error = bare(error) if isinstance(error, EmoggError) else error
        self._flights.forget(self)
        self.task, self._over = None, True  # which has the error, and that us
        for alarm in self._waiters:
            _ring(alarm)

    async def wait(self, deadline: float) -> T:
        """Wait for the result until *deadline*, a time of the loop's clock.

        Raises:
            Abandoned: The deadline passed first.
            Cut: The load was cancelled by somebody else than its waiters.
        """
        if not self._over:
            alarms = self._flights.alarms
            alarm: asyncio.Future[None] = alarms.loop.create_future()
            slot = None if deadline == math.inf else alarms.arm(deadline, alarm, _ring)
            self._waiters.add(alarm)
            try:
                await alarm
            finally:
                if slot is not None:
                    alarms.disarm(slot, alarm)
                self._leave(alarm, deadline)
        if self._is_loaded:
            return cast("T", self._value)
        if self._error is not None:
            raise self._failure(self._error)
        raise Cut if self._over else Abandoned

    def _leave(self, alarm: asyncio.Future[None], deadline: float) -> None:
        self._waiters.discard(alarm)
        if not self._waiters and not self._over:
            # Whether the time was up is now a matter of this waiter's alone.
            self.call.deadline = min(self.call.deadline, deadline)
            self._flights.abandon(self)

    def _failure(self, error: BaseException) -> BaseException:
        """Return the error for one waiter: its own, or tracebacks would add up."""
        if not self._waiters:
            self._error = None  # or the error would lead here, and this to the error
            return error
        if not isinstance(error, EmoggError):
            return error
        twin = copy.copy(error)
        twin.__cause__ = error.__cause__
        return twin


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)


class Flights:
    """All loads of a client that are under way.

    Args:
        alarms: Where the deadlines of those who wait are watched.
    """

    def __init__(self, alarms: Alarms) -> None:
        self.alarms = alarms
        self._aloft: set[Flight[Any]] = set()
        self._joinable: dict[Hashable, Flight[Any]] = {}
        self._dying: set[asyncio.Task[Any]] = set()

    def find(self, key: Hashable) -> Flight[Any] | None:
        """Return the load that a call with this *key* may join."""
        return self._joinable.get(key)

    def start(
        self,
        key: Hashable | None,
        call: Call,
        load: Callable[[Call], Coroutine[Any, Any, T]],
    ) -> Flight[T]:
        """Start a load; later calls may join it by *key*, none if that is None.

        It runs in a copy of the present context without what is ours there, because it
        has a record instead. What traces requests below us finds its own.
        """
        flight: Flight[T] = Flight(self, key, call)
        self._aloft.add(flight)
        if key is not None:
            self._joinable[key] = flight
        context = copy_context()
        # Each `set` copies a part of the context, and a single call has none of them.
        if deadline.get() < math.inf or backlog.get() is not UNKNOWN or priority.get():
            context.run(_forget_ours)
        # By way of the context: not every task factory knows the argument.
        task = context.run(self.alarms.loop.create_task, load(call))
        flight.task = task
        task.add_done_callback(flight.land, context=context)
        return flight

    def detach(self, key: Hashable) -> None:
        """Let nobody join the load of *key* any more, and let it store nothing."""
        flight = self._joinable.pop(key, None)
        if flight is not None:
            flight.call.is_detached = True

    def detach_if(self, matches: Callable[[Any], bool]) -> None:
        """Detach all loads whose key *matches*."""
        for key in [key for key in self._joinable if matches(key)]:
            self.detach(key)

    def forget(self, flight: Flight[Any]) -> None:
        """Let nobody join *flight* any more: it is over."""
        self._aloft.discard(flight)
        if self._joinable.get(flight.key) is flight:
            del self._joinable[flight.key]

    def abandon(self, flight: Flight[Any]) -> None:
        """Cancel a load that nobody waits for any more."""
        self.forget(flight)
        if flight.task is not None and not flight.task.done():
            flight.task.cancel()
            self._dying.add(flight.task)
            flight.task.add_done_callback(self._dying.discard)

    async def drain(self) -> None:
        """Wait until the loads that were cancelled have ended."""
        if self._dying:
            await asyncio.wait(set(self._dying))

    async def close(self) -> None:
        """Cancel all loads, wait until they have ended, and tell their waiters.

        Loads that swallow their cancellation are waited for `LAST_WORDS` at most.
        """
        flights = list(self._aloft)
        for flight in flights:
            self.abandon(flight)
        try:
            if self._dying:
                await asyncio.wait(set(self._dying), timeout=LAST_WORDS)
        finally:
            for flight in flights:
                flight.land()  # one that was cancelled before it began has not


def _forget_ours() -> None:
    priority.set(SINGLE)
    backlog.set(UNKNOWN)
    deadline.set(math.inf)
