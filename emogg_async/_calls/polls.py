"""Shared polls: callers that wait for the same session wait for one loop.

The loop is a load like any other. It ends with its last waiter and with the client, and
each waiter watches its own deadline. Callers by other terms have another loop: polls
for which a view has too little time would keep all others waiting for ever.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import attrs

from emogg_async._calls.call import SINGLE, Call, Priority, deadline, priority
from emogg_async._calls.flights import Abandoned, Cut, Flight, Flights
from emogg_async._calls.frames import bare
from emogg_async._calls.terms import Terms
from emogg_async._wire.protocol import Request
from emogg_async.errors import ClientClosedError, DeadlineError, EmoggError

__all__ = ["Polls"]

T = TypeVar("T")

Key = tuple[str, Terms]
"""A session, and the terms by which it is polled."""


@attrs.define(eq=False)
class _Watch:
    """A loop of polls and those who wait for its end.

    Attributes:
        waiting: How many wait with which interval and priority.
        changed: Set when one has come or gone.
        failure: Why the last poll had no answer; None if it had one.
        is_outdated: Whether a poll under way may show what is outdated since.
        flight: The loop.
    """

    waiting: Counter[tuple[float, Priority]] = attrs.field(factory=Counter)
    changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    failure: EmoggError | None = None
    is_outdated: bool = False
    flight: Flight[Any] = attrs.field(init=False)

    async def rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sleep as long as the most impatient of those who wait now would."""
        since = loop.time()
        while (left := since + min(self.waiting)[0] - loop.time()) > 0:
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.changed.wait()


class Polls:
    """The loops of polls of a client, one for each session and terms.

    Args:
        flights: Where the loops run.
        passes: Tells whether an error of a poll is outlasted.
    """

    def __init__(self, flights: Flights, passes: Callable[[EmoggError], bool]) -> None:
        self._flights = flights
        self._passes = passes
        self._watches: dict[Key, _Watch] = {}

    async def wait(
        self,
        request: Request,
        terms: Terms,
        ask: Callable[[], Awaitable[T | None]],
        poll: float,
    ) -> T:
        """Wait until *ask* returns something.

        Args:
            request: What is asked; calls for its session share their polls.
            terms: How it is asked; only calls by the same terms share them.
            ask: Asks once. None means that the next poll has to.
            poll: Seconds between two polls; the smallest of all waiters counts.

        Raises:
            DeadlineError: The deadline of the context passed first.
            ClientClosedError: The client was closed.
            EmoggError: An error that is not outlasted.
        """
        key = request.session_id, terms
        watch = self._watches.get(key)
        is_new = watch is None
        if watch is None:
            watch = self._watches[key] = _Watch()
        with self._waiting(key, watch, (poll, priority.get())):
            if is_new:
                run = partial(self._run, key, watch, ask)
                watch.flight = self._flights.start(None, Call(SINGLE, math.inf), run)
            why: dict[str, Any] = {"method": request.method, "path": request.path}
            end: EmoggError
            try:
                found: T = await watch.flight.wait(deadline.get())
            except Abandoned:
                end = DeadlineError("the session has not finished in time", **why)
                end.advice = "Allow more time with deadline(), which alone bounds it"
                end.__cause__ = watch.failure
            except Cut:
                end = ClientClosedError("the client was closed", **why)
            else:
                return found
        # Not raised in `except`, where the signal would become its context.
        raise end

    @contextmanager
    def _waiting(
        self, key: Key, watch: _Watch, waiter: tuple[float, Priority]
    ) -> Iterator[None]:
        watch.waiting[waiter] += 1
        watch.changed.set()
        try:
            yield
        finally:
            watch.waiting[waiter] -= 1
            if not watch.waiting[waiter]:
                del watch.waiting[waiter]
            watch.changed.set()
            if not watch.waiting:
                self._end(key, watch)

    async def _run(
        self,
        key: Key,
        watch: _Watch,
        ask: Callable[[], Awaitable[T | None]],
        _: Call,
    ) -> T:
        try:
            while True:
                watch.is_outdated, found = False, None
                # Of the context of this task alone. A bulk yields to single calls.
                priority.set(min(each for _, each in watch.waiting))
                try:
                    found = await ask()
                    watch.failure = None
                except EmoggError as error:
                    if not self._passes(error):
                        raise
                    watch.failure = bare(error)
                if found is None:
                    await watch.rest(self._flights.alarms.loop)
                elif not watch.is_outdated:
                    return found
        finally:
            self._end(key, watch)

    def outdate(self, session_id: str) -> None:
        """Let no poll that is under way be the last one: a write has ended since."""
        for (polled, _), watch in self._watches.items():
            if polled == session_id:
                watch.is_outdated = True

    def _end(self, key: Key, watch: _Watch) -> None:
        """Let nobody join *watch* any more."""
        if self._watches.get(key) is watch:
            del self._watches[key]
