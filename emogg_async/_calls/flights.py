"""Single-flight: calls that ask for the same thing at the same time share one load.

A load runs in its own task, so that cancelling one caller does not affect the others.
It has a copy of the context of the call that started it, without our own variables, and
is cancelled when its last waiter leaves.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context, copy_context
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakValueDictionary

import attrs

from emogg_async._calls.alarms import Alarms
from emogg_async._calls.call import SINGLE, UNKNOWN, Call, backlog, deadline, priority
from emogg_async._calls.frames import bare, twin
from emogg_async.errors import EmoggError

__all__ = ["Abandoned", "Cut", "Flight", "Flights", "Manner"]

T = TypeVar("T")

CLOSING_SECONDS: Final = 1.0
"""Seconds that anything waits at most for cancelled loads to end."""


class Abandoned(Exception):  # noqa: N818 - a signal inside the package, no error
    """The deadline of this waiter passed; the load may go on for others."""


class Cut(Exception):  # noqa: N818 - a signal inside the package, no error
    """The load was cancelled although it had waiters, mostly by closing the client."""


@attrs.define(eq=False)
class Flight(Generic[T]):
    """One load and its waiters.

    Attributes:
        key: The key by which other calls can join it; None lets nobody join.
        call: The record of the load.
        task: The task that it runs in; None once it is over.
    """

    _flights: "Flights"
    key: Hashable | None
    call: Call
    task: "asyncio.Task[T] | None" = None
    _waiters: set[asyncio.Future[None]] = attrs.field(factory=set)
    _over: bool = False
    _is_loaded: bool = False
    _value: T | None = None
    _error: BaseException | None = None

    def land(self, task: "asyncio.Task[T] | None" = None) -> None:
        """Take the result or the error of *task*, and wake all waiters.

        Without a task the load has neither. The frames of an `EmoggError` are dropped,
        as the error and its cause say all that they would; those of a bug are kept.
        """
        if task is not None and not task.cancelled():
            error = task.exception()
            if error is None:
                self._value, self._is_loaded = task.result(), True
            else:
                self._error = bare(error) if isinstance(error, EmoggError) else error
        self._flights.forget(self)
        # The task keeps the error, whose frames keep this flight.
        self.task, self._over = None, True
        for alarm in self._waiters:
            if not alarm.done():
                alarm.set_result(None)

    async def wait(self, deadline: float) -> T:
        """Wait for the result until *deadline* on the loop's clock.

        Raises:
            Abandoned: The deadline passed first.
            Cut: The load was cancelled although it had waiters.
        """
        if not self._over:
            alarms = self._flights.alarms
            alarm: asyncio.Future[None] = alarms.loop.create_future()
            self._waiters.add(alarm)
            if deadline < math.inf:
                alarms.arm(alarm, deadline)
            try:
                await alarm
            finally:
                alarms.due.pop(alarm, None)
                self._waiters.discard(alarm)
                if not self._waiters and not self._over:
                    # The last waiter decides whether the load ends for want of time.
                    self.call.deadline = min(self.call.deadline, deadline)
                    self._flights.abandon(self)
        if self._is_loaded:
            return cast("T", self._value)
        if self._error is not None:
            raise self._failure(self._error)
        raise Cut if self._over else Abandoned

    def _failure(self, error: BaseException) -> BaseException:
        """Return a copy of the error for each waiter, or tracebacks would add up."""
        if not self._waiters:
            self._error = None  # breaks a cycle: its traceback refers to this flight
            return error
        if not isinstance(error, EmoggError):
            return error
        return twin(error)


class Manner:
    """How loads are carried out: only calls of the same manner share one."""

    __slots__ = ("__weakref__",)


class Flights:
    """The loads of a client that are under way.

    Args:
        alarms: Wake waiters at their deadlines.

    Attributes:
        joinable: Those that other calls may join, by their keys.
    """

    def __init__(self, alarms: Alarms) -> None:
        self.alarms = alarms
        self._aloft: set[Flight[Any]] = set()
        self.joinable: dict[Hashable, Flight[Any]] = {}
        self._dying: set[asyncio.Task[Any]] = set()
        self._manners: WeakValueDictionary[Hashable, Manner] = WeakValueDictionary()
        self._landing = Context()  # empty, as it needs no variables of callers

    def manner(self, terms: Hashable) -> "Manner":
        """Return what stands for *terms* in the keys of flights.

        Equal terms have the same one for as long as anything has it. It is compared by
        identity, which costs less in each key than the terms would.
        """
        return self._manners.setdefault(terms, Manner())

    def start(
        self,
        key: Hashable | None,
        call: Call,
        load: Callable[[Call], Coroutine[Any, Any, T]],
    ) -> Flight[T]:
        """Start a load that later calls may join by *key*; None lets nobody join.

        The load runs in a copy of the current context, so that tracers of aiohttp find
        their variables. Our own are reset in it, as the load has its record instead.
        """
        flight: Flight[T] = Flight(self, key, call)
        self._aloft.add(flight)
        if key is not None:
            self.joinable[key] = flight
        create_task = self.alarms.loop.create_task  # which copies the context
        # Single calls have nothing to reset, and need no second copy.
        if deadline.get() < math.inf or backlog.get() is not UNKNOWN or priority.get():
            context = copy_context()
            context.run(_forget_ours)
            # Not `create_task(context=…)`: some task factories do not know it.
            task = context.run(create_task, load(call))
        else:
            task = create_task(load(call))
        flight.task = task
        task.add_done_callback(flight.land, context=self._landing)
        return flight

    def detach(self, *key: Hashable, spare: Call | None = None) -> None:
        """Let no other call join the loads of *key*, and let them store nothing.

        There may be one in each manner, which is the last part of a flight's key. The
        load of *spare* goes on as it is.
        """
        for manner in [*self._manners.values()]:
            flight = self.joinable.get((*key, manner))
            if flight is not None and flight.call is not spare:
                self._detach((*key, manner))

    def detach_if(self, matches: Callable[[Any], bool]) -> None:
        """Detach all loads whose key *matches*."""
        for key in [key for key in self.joinable if matches(key)]:
            self._detach(key)

    def _detach(self, key: Hashable) -> None:
        self.joinable.pop(key).call.is_detached = True

    def forget(self, flight: Flight[Any]) -> None:
        """Remove *flight*, which is over; no other call can join it."""
        self._aloft.discard(flight)
        if self.joinable.get(flight.key) is flight:
            del self.joinable[flight.key]

    def abandon(self, flight: Flight[Any]) -> None:
        """Cancel a load, and let no other call join it."""
        self.forget(flight)
        if flight.task is not None and not flight.task.done():
            flight.task.cancel()
            self._dying.add(flight.task)
            flight.task.add_done_callback(self._dying.discard)

    async def drain(self) -> None:
        """Wait until the loads that were cancelled have ended.

        Loads that swallow their cancellation get `CLOSING_SECONDS`.
        """
        if self._dying:
            await asyncio.wait(set(self._dying), timeout=CLOSING_SECONDS)

    async def close(self) -> None:
        """Cancel all loads, wait until they have ended, and wake their waiters."""
        flights = list(self._aloft)
        for flight in flights:
            self.abandon(flight)
        try:
            await self.drain()
        finally:
            for flight in flights:
                flight.land()  # a load cancelled before its first step has not
            self.alarms.close()


def _forget_ours() -> None:
    priority.set(SINGLE)
    backlog.set(UNKNOWN)
    deadline.set(math.inf)
