"""The way of a call through the flights, the retries, the gate and the transport.

Each hop adds one policy. The pipeline belongs to the event loop in which it was opened.
"""

import asyncio
import json
import logging
import math
import random
import time
import unicodedata
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import attrs

from emogg_async import events
from emogg_async._calls import call as context
from emogg_async._calls.alarms import Alarms, Limit
from emogg_async._calls.call import BULK, SINGLE, Backlog, Call, Priority
from emogg_async._calls.flights import Abandoned, Cut, Flights
from emogg_async._calls.frames import bare
from emogg_async._calls.gate import Gate, Pacer
from emogg_async._calls.retry import REWARD, Retrier, outcome_unknown
from emogg_async._calls.telemetry import Counters, Instrument, Trace, log
from emogg_async._calls.terms import Terms
from emogg_async._calls.transport import Transport
from emogg_async._text import Secret
from emogg_async._wire.converter import structure
from emogg_async._wire.headers import request_id
from emogg_async._wire.protocol import (
    SAFE,
    Headers,
    RateLimit,
    Request,
    Response,
    date_of,
    decipher,
    purge,
)
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

logger = logging.getLogger("emogg_async.http")


_ALONE = Backlog(0.0)
"""The backlog of all calls outside of bulks; it never changes."""


@attrs.define(eq=False)
class Heard:
    """The last words of the service.

    Attributes:
        headers: The headers of the last answer; None before the first.
        at: When it came, by the wall clock.
        limit: The rate limit of the last answer that told one.
    """

    headers: Headers | None = None
    at: float = 0.0
    limit: RateLimit | None = None


class Pipeline:
    """The hops of a client, in the order in which a call passes them.

    Args:
        alarms: The alarms for all deadlines.
        transport: Sends requests.
        terms: The timeouts and the retry policy.
        slots: Requests in flight at most.
        pacer: Gives out the tokens of the user's bucket; None sends without tokens.
        counters: Counts calls and requests.
        rng: The source of jitter.
        secret: The token and more that no error may show.

    Attributes:
        terms: The terms of its calls.
    """

    def __init__(
        self,
        *,
        alarms: Alarms,
        transport: Transport,
        terms: Terms,
        slots: int,
        pacer: Pacer | None,
        counters: Counters,
        rng: random.Random,
        secret: Secret,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.gate = Gate(slots, pacer)
        self.flights = Flights(alarms)
        self.heard = Heard()
        self.transport = transport
        self._retrier = Retrier(
            terms.retry,
            rng=rng,
            sleep=self._rest,
            paced=self.gate.after_refusal,
            on_retry=self._announce,
        )
        self.terms = terms
        self._manner = self.flights.manner(terms.manner)
        self._is_paced = True  # without tokens, the pacer itself is blind
        self._is_impatient = False
        self._counters = counters
        self._secret = secret

    def under(self, terms: Terms) -> "Pipeline":
        """Return the same hops, whose calls go by other *terms*.

        It is a shallow copy, so the two share all that changes: the gate, the flights,
        the transport, the budget of retries, and what was heard.
        """
        view = copy(self)
        view.terms = terms
        view._manner = self.flights.manner(terms.manner)
        view._is_paced = terms.pace
        view._is_impatient = terms.attempt_timeout < self.terms.attempt_timeout
        paced = self.gate.after_refusal if terms.pace else lambda: None
        view._retrier = self._retrier.under(terms.retry, paced)
        return view

    async def share(
        self,
        request: Request,
        load: Callable[[Call], Coroutine[Any, Any, T]],
        *,
        priority: Priority | None = None,
        allowance: float | None = None,
    ) -> T:
        """Join the load that is under way for *request*, or start one; wait for it.

        Only reads of one session are shared.

        Args:
            request: The request.
            load: A function that carries it out.
            priority: The priority of the call; None takes that of the context.
            allowance: Seconds from the first send on, for a call of a bulk; None is the
                timeout of the client.

        Raises:
            DeadlineError: The deadline passed.
            ClientClosedError: The client was closed during the call.
            OutcomeUnknownError: A write was cut off after it was sent.
            EmoggError: The error of the load.
        """
        now = self.loop.time()
        deadline = self.deadline(now)
        if deadline <= now:
            raise _too_late(request, Call(SINGLE, deadline))
        priority = priority or context.priority.get()
        key = flight = None
        if request.repeat is SAFE and request.session_id:
            key = request.session_id, request.target, priority, self._manner
            flight = self.flights.joinable.get(key)
        if flight is None:
            call = self._new_call(request, priority, deadline, allowance)
            flight = self.flights.start(key, call, load)
        else:
            self._counters.coalesced += 1
            flight.call.extend(deadline, now)
        try:
            result: T = await flight.wait(deadline)
        except (Abandoned, Cut) as signal:
            end = self._cut_off(request, flight.call, signal)
        else:
            return result
        # Not raised in `except`, where *signal* would become its context.
        raise end from bare(flight.call.failure)

    def deadline(self, now: float) -> float:
        """Return the deadline of a call that begins *now*."""
        deadline = context.deadline.get()
        if context.priority.get() is BULK:
            return deadline  # the time of a bulk's item begins with its first send
        return min(deadline, now + self.terms.timeout)

    def limit(self, deadline: float | None = None) -> AbstractContextManager[object]:
        """Cancel the body of a `with` at *deadline*; None takes that of the context.

        Raises:
            TimeoutError: On leaving, if the deadline passed first.
        """
        if deadline is None:
            deadline = context.deadline.get()
        if deadline == math.inf:
            return nullcontext()
        return Limit(self.flights.alarms, deadline)

    def _new_call(
        self,
        request: Request,
        priority: Priority,
        deadline: float,
        allowance: float | None,
    ) -> Call:
        if context.priority.get() is BULK:
            call = Call(priority, deadline, allowance or self.terms.timeout)
            call.backlog = context.backlog.get()
        else:
            # A listing has the priority of a bulk without being part of one: its time
            # in the queue counts, and it has no backlog.
            call = Call(priority, deadline, backlog=_ALONE)
        if request.repeat is not SAFE:
            call.since = _utc_now()
        call.is_paced, call.is_impatient = self._is_paced, self._is_impatient
        return call

    def _cut_off(self, request: Request, call: Call, signal: Exception) -> EmoggError:
        """Make the error of a waiter that has no result."""
        if request.repeat is not SAFE and (call.is_out or call.is_in_doubt):
            return outcome_unknown(request, call, "the call was cut off")
        if isinstance(signal, Cut):
            return ClientClosedError(
                "the client was closed during the call",
                method=request.method,
                path=request.path,
                attempts=call.attempts,
            )
        return _too_late(request, call)

    async def payload(self, request: Request, call: Call) -> Any:
        """Carry out *request* and return the parsed JSON as it is.

        Most requests succeed at once and never reach the retrier.

        Raises:
            EmoggError: The last failure.
        """
        instrument = self._counters.instrument
        if instrument is not None and call.trace is None:
            return await self._payload_traced(instrument, request, call)
        try:
            payload = await self._exchange(request, call)
        except EmoggError as error:
            return await self._retrier.retry(request, call, self._exchange, error)
        budget = self._retrier.budget
        if budget.level < budget.capacity:
            budget.give(REWARD)
        return payload

    async def _payload_traced(
        self, instrument: Instrument, request: Request, call: Call
    ) -> Any:
        call.trace = trace = instrument(request)
        failure: BaseException | None = None
        try:
            return await self.payload(request, call)
        except BaseException as error:
            failure = self._reason(request, call, error)
            raise
        finally:
            trace.ends(failure)
            call.trace = None  # a stop may send a get after it, with the same record

    async def fetch(self, request: Request, call: Call, model: type[T]) -> T:
        """Carry out *request* and return the answer as a *model*.

        Raises:
            OutcomeUnknownError: The answer to a write does not fit it.
            EmoggError: The last failure.
        """
        payload = await self.payload(request, call)
        try:
            value = structure(payload, model)
            _check_subject(request, value)
        except ResponseShapeError as error:
            error.method, error.path = request.method, request.path
            error.attempts = call.attempts
            self._tell_failure(request, call, error)
            if request.repeat is SAFE:
                raise
            call.is_in_doubt, call.failure = True, error
            raise outcome_unknown(request, call, error.headline) from error
        return value

    async def _exchange(self, request: Request, call: Call) -> Any:
        """Wait for the turn of *request*, send it once, and decipher the answer."""
        began = self.loop.time()
        if began >= call.deadline:  # the loop was busy when the wait was over
            raise _too_late(request, call)
        if not self.gate.enter_nowait(call, began):
            began = await self._queue(request, call, began)
        counters, limit = self._counters, None
        counters.in_flight += 1
        try:
            time_left = self._depart(request, call, began)
            if call.trace is None:
                response = await self.transport.send(request, time_left)
            else:
                response = await self._traced(request, call, time_left)
            limit = self._hear(request, call, response, began)
            payload = decipher(request, response, _utc_now, self._secret)
        except BaseException as error:
            refusal = error if isinstance(error, RateLimitedError) else None
            counters.rate_limited += refusal is not None
            if call.is_out:
                self.gate.failed(call, error)
            else:
                self.gate.answered(call, began, limit, refusal)
            self._tell_failure(request, call, error)
            raise
        finally:
            counters.in_flight -= 1
        self.gate.answered(call, began, limit)
        return payload

    def _depart(self, request: Request, call: Call, now: float) -> float:
        """Note that *request* is sent *now*; return the seconds that it may take."""
        counters = self._counters
        counters.requests += 1
        counters.retries += call.is_repeated
        call.is_repeated = False
        if not call.attempts:
            call.departed, call.ends = now, now + call.allowance
            call.deadline = min(call.deadline, call.ends)
        call.attempts += 1
        call.status, call.headers, call.is_out = 0, None, True
        # A read goes on until the deadline of its last waiter, and the waiters watch
        # their deadlines themselves. A write ends with its one deadline, early enough
        # to say whether it was sent.
        end = call.ends if request.repeat is SAFE else call.deadline
        return min(self.terms.attempt_timeout, end - now)

    def _hear(
        self, request: Request, call: Call, response: Response, began: float
    ) -> RateLimit | None:
        """Note an answer; return its rate limit, None if it has none."""
        call.status, call.is_out = response.status, False
        if logger.isEnabledFor(logging.DEBUG):
            _log_answer(request, response, self.loop.time() - began)
        heard = self.heard
        call.headers = heard.headers = response.headers
        heard.at = time.time()
        limit = RateLimit.from_headers(response.headers)
        heard.limit = limit or heard.limit
        return limit

    async def _traced(self, request: Request, call: Call, time_left: float) -> Response:
        trace: Trace = call.trace
        try:
            headers = trace.departs()
            response = await self.transport.send(request, time_left, headers)
        except BaseException as error:
            trace.failed(self._reason(request, call, error))
            raise
        trace.answered(response.status)
        return response

    def _reason(
        self, request: Request, call: Call, error: BaseException
    ) -> BaseException:
        """Return *error*, or a DeadlineError for a cancellation at the deadline."""
        is_late = self.loop.time() >= call.deadline
        if is_late and isinstance(error, asyncio.CancelledError):
            return _too_late(request, call)
        return error

    def _tell_failure(self, request: Request, call: Call, error: BaseException) -> None:
        """Report a failed attempt, after all secrets are removed from its *error*."""
        error = self._reason(request, call, error)
        if not isinstance(error, EmoggError):
            return
        purge(bare(error), request, self._secret)
        if call.headers is not None and not call.is_refused:
            error.request_id = request_id(call.headers, self._secret)
        refused = isinstance(error, RateLimitedError)
        kind = events.RateLimited if refused else events.AttemptFailed
        attempt = 0 if call.is_refused else call.attempts
        self._counters.tell(kind, request, attempt=attempt, error=error)

    async def _queue(self, request: Request, call: Call, since: float) -> float:
        """Wait at the gate, and return the time when the request may be sent."""
        try:
            if call.attempts:
                await self._queue_again(request, call)
            else:
                await self.gate.enter(call)
        except RateLimitedError as refusal:
            call.is_refused = True
            refusal.method, refusal.path = request.method, request.path
            refusal.attempts = call.attempts
            self._tell_failure(request, call, refusal)
            raise
        finally:
            now = self.loop.time()
            self._counters.waited += now - since
        if now >= call.deadline:
            self.gate.leave(call)
            raise _too_late(request, call)
        self._counters.tell(events.Paced, request, wait=now - since)
        return now

    async def _queue_again(self, request: Request, call: Call) -> None:
        """Wait at the gate before a retry, until the deadline.

        Callers that join may move the deadline. The time of a bulk's item counts here,
        because it began with the first send.
        """
        while self.loop.time() < (deadline := call.deadline):
            with suppress(TimeoutError), Limit(self.flights.alarms, deadline):
                return await self.gate.enter(call)
        raise _too_late(request, call)

    def skew(self) -> timedelta | None:
        """Return how far the service's clock is ahead of this machine's.

        The result may be too small, by up to a second and the time that the last answer
        took; it is never too large. It is 0 if that answer had no date, and None before
        the first answer.
        """
        if self.heard.headers is None:
            return None
        date = date_of(self.heard.headers)
        heard = datetime.fromtimestamp(self.heard.at, UTC)
        return date - heard if date else timedelta(0)

    async def _rest(self, seconds: float) -> None:
        since = self.loop.time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._counters.waited += self.loop.time() - since

    def _announce(self, request: Request, call: Call, wait: float) -> None:
        call.is_repeated = True
        error = bare(call.failure)
        facts = {"attempt": call.attempts + 1, "wait": wait, "error": error}
        self._counters.tell(events.RetryScheduled, request, **facts)


def _log_answer(request: Request, response: Response, seconds: float) -> None:
    facts = request.method, request.path, response.status, seconds
    log(logger, logging.DEBUG, "%s %s: %d in %.3f s", *facts)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _too_late(request: Request, call: Call) -> DeadlineError:
    return DeadlineError(
        "the time for the call is up",
        sent=call.is_out or call.is_in_doubt,
        method=request.method,
        path=request.path,
        attempts=call.attempts,
    )


def _check_subject(request: Request, value: Any) -> None:
    """Refuse an answer that is about another session, name or format."""
    asked, problem = request.session_id, ""
    field = "_id" if isinstance(value, Session) else "session"
    found = value.id if isinstance(value, Session) else getattr(value, field, asked)
    if asked and found.lower() != asked:
        problem = f"{field}: not the id that was asked for"
    elif request.body is not None:
        told = json.loads(request.body)
        for field in ("name", "format"):
            found = getattr(value, field, "")
            if field in told and _spelt(found) != _spelt(told[field]):
                problem = f"{field}: not what was asked for"
    if problem:
        raise ResponseShapeError(
            f"the answer is not what was asked for: {problem}", problems=(problem,)
        )


def _spelt(text: str) -> str:
    """Return *text* trimmed and normalized, as a service may store it."""
    return " ".join(unicodedata.normalize("NFC", text).split())
