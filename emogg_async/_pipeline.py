"""How a call flows: through the flights, the retries, the gate and the transport.

Each hop adds one policy. The pipeline belongs to the event loop in which it was opened.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

from emogg_async import _context, _protocol
from emogg_async._alarms import Alarms
from emogg_async._cache import SessionCache
from emogg_async._context import Backlog, Call, Priority
from emogg_async._converter import structure
from emogg_async._flight import Abandoned, Cut, Flights
from emogg_async._gate import Gate, Pacer
from emogg_async._listing import Page
from emogg_async._protocol import RateLimit, Repeat, Request
from emogg_async._retry import Retrier, RetryPolicy, outcome_unknown
from emogg_async._stats import Counters
from emogg_async._transport import Transport
from emogg_async.errors import (
    ClientClosedError,
    DeadlineError,
    EmoggError,
    RateLimitedError,
    ResponseShapeError,
)
from emogg_async.models import Session

__all__ = ["Pipeline"]

T = TypeVar("T")


class Pipeline:
    """Everything of a client that is open: its hops, in the order of a call.

    Args:
        alarms: Where deadlines are watched.
        transport: The end of the line.
        cache: Where sessions are kept, or None.
        retry: The retry policy.
        slots: Requests in flight at most.
        pacer: Who gives out the tokens of the user's bucket; None asks for none.
        timeout: Seconds for a whole call.
        page_timeout: Seconds for a page that stands in for gets.
        counters: Where to count.
        rng: The source of jitter.
        secret: The token: what no error may show.
    """

    def __init__(
        self,
        *,
        alarms: Alarms,
        transport: Transport,
        cache: SessionCache | None,
        retry: RetryPolicy,
        slots: int,
        pacer: Pacer | None,
        timeout: float,
        page_timeout: float,
        counters: Counters,
        rng: random.Random,
        secret: str,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.cache = cache
        self.gate = Gate(slots, pacer)
        self.flights = Flights(alarms)
        self.rate_limit: RateLimit | None = None
        self._transport = transport
        self._retrier = Retrier(
            retry,
            rng=rng,
            paced=pacer.after_refusal if pacer else lambda: None,
            on_retry=self._count_retry,
        )
        self._timeout = timeout
        self._page_timeout = page_timeout
        self._counters = counters
        self._secret = secret

    async def session(self, session_id: str, *, fresh: bool) -> Session:
        """Load one session; *session_id* was checked, and the cache peeked into."""
        request = _protocol.get_session(session_id)

        async def load(call: Call) -> Session:
            if self.cache and not fresh:
                session = await self.cache.get(session_id)
                if session is not None:
                    self._counters.cache_hits += 1
                    return session
                self._counters.cache_misses += 1
            session = await self._fetch(request, call, Session)
            if session.id.lower() != session_id:
                raise _misshapen(request, call, "_id: not the id that was asked for")
            if self.cache and not call.detached:
                await self.cache.put(session)
            return session

        if fresh:  # what is under way may be older than what this call will bring
            for priority in Priority:
                self.flights.detach((session_id, priority))
        return await self._share(request, load, key=session_id)

    async def cached(
        self, session_ids: Sequence[str], *, fresh: bool
    ) -> dict[str, Session]:
        """Return which of *session_ids*, that were checked, the cache has, by id."""
        if self.cache is None or fresh:
            return {}
        found = await self.cache.get_many(session_ids)
        self._counters.calls += len(found)
        self._counters.cache_hits += len(found)
        return found

    async def page(
        self, query: list[tuple[str, str]], take: Callable[[Page], list[Session]]
    ) -> list[Session]:
        """Load a page; cache and return what *take* takes of it, as gets would.

        The rest is not cached: it would push out what somebody has asked for. Gets wait
        for it, so it has less time than they have.
        """
        sessions = take(await self.list_page(query, allowance=self._page_timeout))
        self._counters.calls += len(sessions)
        if self.cache:
            self._counters.cache_misses += len(sessions)
            await self.cache.put_many(sessions)
        return sessions

    async def list_page(
        self, query: list[tuple[str, str]], allowance: float | None = None
    ) -> Page:
        """Load a page of the listing; like all bulk work it yields to single calls.

        Args:
            query: Which page.
            allowance: Seconds from the first send on, in a bulk; None is a call's time.
        """
        request = _protocol.list_sessions(query)
        return await self._share(
            request,
            lambda call: self._fetch(request, call, Page),
            priority=Priority.BULK,
            allowance=allowance,
        )

    async def payload(self, request: Request) -> Any:
        """Carry out *request*, alone, and return the parsed JSON as it is."""
        return await self._share(
            request, lambda call: self._retrier.run(request, call, self._attempt)
        )

    async def _share(
        self,
        request: Request,
        load: Callable[[Call], Awaitable[T]],
        *,
        key: Hashable = None,
        priority: Priority | None = None,
        allowance: float | None = None,
    ) -> T:
        """Join the load that is under way for *key*, or start one, and wait for it."""
        call = self._new_call(priority or _context.priority.get(), allowance)
        if call.deadline <= self.loop.time():
            raise _too_late(request, call)
        if request.repeat is not Repeat.SAFE:
            call.since = _utc_now()
        deadline = call.deadline
        key = key and (key, call.priority)
        flight = self.flights.find(key) if key else None
        if flight is None:
            flight = self.flights.start(key, call, load)
        else:
            self._counters.coalesced += 1
            flight.call.extend(deadline, self.loop.time())
        try:
            result: T = await flight.wait(deadline)
        except (Abandoned, Cut) as signal:
            raise self._cut_off(request, flight.call, signal) from flight.call.failure
        return result

    def _new_call(self, priority: Priority, allowance: float | None) -> Call:
        deadline = _context.deadline.get()
        if _context.priority.get() is Priority.BULK:
            backlog = _context.backlog.get()
            return Call(priority, deadline, allowance or self._timeout, backlog)
        # A listing yields to single calls, but it is no item of a bulk: all of its time
        # counts, and no more is known to come.
        deadline = min(deadline, self.loop.time() + self._timeout)
        return Call(priority, deadline, backlog=Backlog(0.0))

    def _cut_off(self, request: Request, call: Call, signal: Exception) -> EmoggError:
        """Make the error of a waiter whose load did not end."""
        if request.repeat is not Repeat.SAFE and (call.sending or call.in_doubt):
            return outcome_unknown(request, call, "the call was cut off")
        if isinstance(signal, Cut):
            return ClientClosedError(
                "the client was closed during the call",
                method=request.method,
                path=request.path,
                attempts=call.attempts,
            )
        return _too_late(request, call)

    async def _fetch(self, request: Request, call: Call, model: type[T]) -> T:
        payload = await self._retrier.run(request, call, self._attempt)
        try:
            return structure(payload, model)
        except ResponseShapeError as error:
            error.method, error.path = request.method, request.path
            error.attempts = call.attempts
            raise

    async def _attempt(self, request: Request, call: Call) -> Any:
        """Send *request* once, when its turn comes, and decipher the answer."""
        departure = self.loop.time()
        if not self.gate.enter_nowait(call, departure):
            departure = await self._queue(request, call, departure)
        counters = self._counters
        counters.requests += 1
        counters.in_flight += 1
        call.departs(departure)
        # A single call's deadline is watched by those who wait for it.
        bulk = call.priority is Priority.BULK
        time_left = call.deadline - departure if bulk else self._timeout
        try:
            response = await self._transport.send(request, time_left)
        except BaseException as error:
            self.gate.failed(call, error)
            raise
        finally:
            counters.in_flight -= 1
        call.answered()
        limit = RateLimit.from_headers(response.headers)
        self.rate_limit = limit or self.rate_limit
        refusal = None
        try:
            return _protocol.decipher(request, response, _utc_now, self._secret)
        except RateLimitedError as error:
            refusal = error
            counters.rate_limited += 1
            raise
        finally:
            self.gate.answered(call, departure, limit, refusal)

    async def _queue(self, request: Request, call: Call, since: float) -> float:
        """Wait at the gate, and return when the request may leave: now."""
        limit: AbstractContextManager[object] = nullcontext()
        if call.attempts:  # from its first send on, the time of a bulk's item counts
            limit = self.flights.alarms.limit(call.deadline - since)
        try:
            with limit:
                await self.gate.enter(call)
        except TimeoutError:
            raise _too_late(request, call) from None
        except RateLimitedError as refusal:
            call.refused = True
            refusal.method, refusal.path = request.method, request.path
            refusal.attempts = call.attempts
            raise
        finally:
            now = self.loop.time()
            self._counters.waited += now - since
        if now >= call.deadline:
            self.gate.leave(call)
            raise _too_late(request, call)
        return now

    def _count_retry(self, wait: float) -> None:
        self._counters.retries += 1
        self._counters.waited += wait

    async def close(self) -> None:
        """End every load and close the connections."""
        await self.flights.close()
        await self._transport.close()


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _too_late(request: Request, call: Call) -> DeadlineError:
    return DeadlineError(
        "the time for the call is up",
        sent=call.sending or call.in_doubt,
        method=request.method,
        path=request.path,
        attempts=call.attempts,
    )


def _misshapen(request: Request, call: Call, problem: str) -> ResponseShapeError:
    return ResponseShapeError(
        f"the answer is not what was asked for: {problem}",
        problems=(problem,),
        method=request.method,
        path=request.path,
        attempts=call.attempts,
    )
