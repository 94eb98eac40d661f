"""Retries: the failures, the number and the waits. The only user of tenacity.

=================================  ==========  ==========  ======  =======  =======
failure                            GET         PATCH, PUT  stop    DELETE   POST
=================================  ==========  ==========  ======  =======  =======
not sent                           retry       retry       retry   retry    retry
429                                retry       retry       retry   retry    retry
sent, answer lost or late;         retry       retry       retry   retry    unknown
408 [1]_; 5xx [2]_
answer that does not decode        retry once  unknown     settle  [3]_     unknown
anything else                      raise       raise       raise   raise    raise
=================================  ==========  ==========  ======  =======  =======

*unknown* is `OutcomeUnknownError`. A write also ends in it if an earlier send may
have taken effect and no later one succeeded. `_sessions` settles two kinds:
after an unknown fate, a 404 to a DELETE is success; after a 400 to a stop, or an answer
to it that does not decode, one GET decides.

.. [1] some servers end an idle connection with it, just as a request leaves
.. [2] except 501 and 505, which will not get better
.. [3] success if its status is a 2xx, unknown if even that cannot be read
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from copy import copy
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from emogg_async._calls.call import Call
from emogg_async._calls.frames import bare
from emogg_async._calls.policy import RetryPolicy
from emogg_async._wire.protocol import Repeat, Request
from emogg_async.errors import (
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    StatusError,
)

__all__ = ["REWARD", "Budget", "Retrier", "Verdict", "outcome_unknown", "verdict"]

T = TypeVar("T")

Attempt = Callable[[Request, Call], Awaitable[T]]
"""Sends a request once, and raises its failure."""

PRICE: Final = 1.0
PRICE_NOT_SENT: Final = 0.5
REWARD: Final = 0.2

FINAL_STATUSES: Final = frozenset({501, 505})


class Budget:
    """The retries that all calls of a client together may still make."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.level = capacity

    def take(self, price: float) -> bool:
        """Pay for a retry; False when there is not enough left."""
        if price > self.level:
            return False
        self.level -= price
        return True

    def give(self, amount: float) -> None:
        """Put something back, up to the capacity."""
        self.level = min(self.capacity, self.level + amount)


class Verdict(Enum):
    """What to do about one failure.

    Attributes:
        RETRY: Try again.
        RETRY_FREE: Try again; the request was no attempt, and the retry takes nothing
            from the budget, because the service says when.
        RETRY_ONCE: Try again, but not after a second failure of this kind.
        RAISE: Raise it.
    """

    RETRY = "retry"
    RETRY_FREE = "retry free"
    RETRY_ONCE = "retry once"
    RAISE = "raise"


def is_ambiguous(error: EmoggError) -> bool:
    """Tell whether a write that ended in *error* may have taken effect."""
    if isinstance(error, DeadlineError):
        return error.sent
    if isinstance(error, ServerError):
        return error.status not in FINAL_STATUSES
    if isinstance(error, StatusError):
        return error.status == HTTPStatus.REQUEST_TIMEOUT
    return isinstance(error, ConnectionLostError | ResponseShapeError)


def verdict(error: EmoggError, repeat: Repeat) -> Verdict:
    """Look up *error* in the table above."""
    if isinstance(error, NotSentError):
        # Many companies lock an account after some wrong passwords.
        return Verdict.RAISE if error.final else Verdict.RETRY
    if isinstance(error, DeadlineError) and not error.sent:
        return Verdict.RETRY
    if isinstance(error, RateLimitedError):
        return Verdict.RETRY_FREE
    if isinstance(error, ResponseShapeError):
        return Verdict.RETRY_ONCE if repeat is Repeat.SAFE else Verdict.RAISE
    if is_ambiguous(error) and repeat is not Repeat.ONCE:
        return Verdict.RETRY
    return Verdict.RAISE


def outcome_unknown(request: Request, call: Call, why: str) -> OutcomeUnknownError:
    """Make the error of a write in doubt; *why* ends its message."""
    error = OutcomeUnknownError(
        f"nobody knows whether it took effect: {why}",
        since=call.since or datetime.now(UTC),
        method=request.method,
        path=request.path,
        attempts=call.attempts,
    )
    if call.failure is not None:
        error.request_id = call.failure.request_id
    return error


class Retrier:
    """Carries out calls under one policy and one budget.

    Args:
        policy: How to retry.
        rng: The source of jitter.
        sleep: Waits so many seconds.
        paced: Returns the seconds until the pacer lets a call go on after a 429; None
            when it knows nothing, and the policy decides.
        on_retry: Takes the request, its call and the wait in seconds when a retry is
            due.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        paced: Callable[[], float | None] = lambda: None,
        on_retry: Callable[[Request, Call, float], None] = lambda *_: None,
    ) -> None:
        self.policy = policy
        self.budget = Budget(policy.budget)
        self.rng = rng
        self.paced = paced
        self.on_retry = on_retry
        self._sleep = sleep

    def under(
        self, policy: RetryPolicy, paced: Callable[[], float | None]
    ) -> "Retrier":
        """Return a retrier with another policy, and the same budget."""
        retrier = copy(self)
        retrier.policy, retrier.paced = policy, paced
        return retrier

    async def retry(
        self, request: Request, call: Call, attempt: Attempt[T], first: EmoggError
    ) -> T:
        """Retry after the *first* failure of *attempt*, as the table allows.

        Calls that succeed at once never reach tenacity.

        Returns:
            What *attempt* returns.

        Raises:
            EmoggError: The last failure, or `OutcomeUnknownError` chained to it.
        """
        course = _Course(self, request, call)
        failed: list[EmoggError] = [first]

        async def resumed() -> T:
            if failed:
                raise failed.pop()
            return await attempt(request, call)

        # Each call has its own: a shared one would mix up the results of calls.
        retrying = AsyncRetrying(
            retry=retry_if_exception(course.note),
            wait=course.wait,
            stop=course.is_over,
            before_sleep=course.announce,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            result: T = await retrying(resumed)
        except EmoggError as error:
            error.attempts = call.attempts
            if call.is_in_doubt and request.repeat is not Repeat.SAFE:
                raise outcome_unknown(request, call, error.headline) from bare(error)
            raise
        self.budget.give(course.price)
        return result


class _Course:
    """The failures of one call so far, and the answers to what tenacity asks."""

    def __init__(self, retrier: Retrier, request: Request, call: Call) -> None:
        self._retrier = retrier
        self._request = request
        self._call = call
        self._verdict = Verdict.RAISE
        self._failures = 0
        self._counted = 0
        self._undecodable = 0
        self.price = 0.0

    def note(self, error: BaseException) -> bool:
        """Take in a failure; return whether its kind is retried."""
        if not isinstance(error, EmoggError):
            return False  # a bug, or a cancellation
        self._call.is_out = False
        self._call.is_in_doubt |= is_ambiguous(error)
        self._call.failure = error
        self._verdict = (
            Verdict.RAISE
            if self._call.is_refused  # by our own pacer, which would do so again
            else verdict(error, self._request.repeat)
        )
        self._failures += 1
        self._counted += self._verdict is not Verdict.RETRY_FREE
        self._undecodable += self._verdict is Verdict.RETRY_ONCE
        self.price = _price(error, self._verdict)
        return self._verdict is not Verdict.RAISE

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt, at least what the service asks.

        After a 429, the pacer holds the next attempt back.
        """
        if self._verdict is Verdict.RETRY_FREE and self._retrier.paced() is not None:
            return 0.0
        longest = self._retrier.policy.backoff(self._failures)
        wait = self._retrier.rng.uniform(0.0, longest)
        error = _error_of(state)
        asked = error.retry_after if isinstance(error, StatusError) else None
        return max(wait, asked or 0.0)

    def is_over(self, state: RetryCallState) -> bool:
        """Return whether the failure that was just noted is the last one."""
        if self._undecodable > 1 or self._counted >= self._retrier.policy.attempts:
            return True
        error, wait = _error_of(state), state.upcoming_sleep
        if self._verdict is Verdict.RETRY_FREE:
            wait = max(wait, self._retrier.paced() or 0.0)
        retry_at = asyncio.get_running_loop().time() + wait
        if retry_at >= self._call.deadline:
            if isinstance(error, StatusError):
                error.retry_after = wait
            return True
        gives_up = self._call.gives_up
        if gives_up is not None and gives_up(self._call, error, retry_at):
            return True
        return not self._retrier.budget.take(self.price)

    def announce(self, state: RetryCallState) -> None:
        """Report the retry that is due."""
        self._retrier.on_retry(self._request, self._call, state.upcoming_sleep)


def _price(error: EmoggError, judged: Verdict) -> float:
    if judged is Verdict.RETRY_FREE:
        return 0.0
    return PRICE if is_ambiguous(error) else PRICE_NOT_SENT


def _error_of(state: RetryCallState) -> Any:
    return state.outcome.exception() if state.outcome else None
