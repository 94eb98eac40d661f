"""Outages of the service, and the past values that are served during one.

They are served when the service could not answer, and never when it did: not for a 400,
a 401, a 403 or a 404, nor for an answer that cannot be read.
"""

import asyncio
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import attrs

from emogg_async._calls.call import Call
from emogg_async.errors import (
    DeadlineError,
    EmoggError,
    RateLimitedError,
    ServerError,
    TransportError,
)

__all__ = ["PROBE_INTERVAL", "Outage", "Past", "PastHolder", "is_outage"]

T = TypeVar("T")

FAILURES_IN_A_ROW: Final = 3
"""Failed requests that make an outage: one is bad luck, and a retry may mend it."""

PROBE_INTERVAL: Final = 1.0
"""Seconds between two calls that ask whether the outage is over."""

RETRY_WITHIN: Final = 1.0
"""Seconds after its first request in which a call with a past value may try again."""

MEMORY: Final = 10.0
"""Seconds without a failure or a probe after which an outage is forgotten. A bulk
at night would otherwise get past values because of an outage by day."""


@attrs.frozen
class Past(Generic[T]):
    """A value whose freshness has ended.

    Attributes:
        value: The value.
        lasts: Seconds for which it may still be served, from its look-up on.
    """

    value: T
    lasts: float


@attrs.define(eq=False)
class PastHolder:
    """The past value that a load has found, for all that wait for the load.

    Attributes:
        value: The value.
        until: When, on the loop's clock, it may be served no more.
        epoch: The epoch in which it was looked up; it is outdated in a later one.
    """

    value: Any = None
    until: float = -math.inf
    epoch: int = -1

    def hold(self, past: Past[Any], now: float, epoch: int) -> None:
        """Hold a value that was looked up *now*."""
        self.value, self.until, self.epoch = past.value, now + past.lasts, epoch

    def holds(self, now: float, epoch: int) -> bool:
        """Tell whether the value may be served."""
        return self.epoch == epoch and now < self.until


def is_outage(error: EmoggError) -> bool:
    """Tell whether *error* means that the service could not answer now.

    A 408 is a lost answer. A 429 is an outage too, whether the service sent it or our
    own pacer foresaw it, or if no token comes in time.
    """
    if isinstance(error, TransportError | ServerError | RateLimitedError):
        return True
    return getattr(error, "status", None) == HTTPStatus.REQUEST_TIMEOUT


class Outage:
    """Whether the service is out, as far as the reads of one client tell.

    Failed requests in a row open it, the first answer closes it. While it is open,
    calls with a past value get it at once; one call a second probes instead.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._ends = self._next_probe = -math.inf

    def is_open(self, now: float) -> bool:
        """Tell whether past values are served at once."""
        return self._failures >= FAILURES_IN_A_ROW and now < self._ends

    def is_probed(self, now: float) -> bool:
        """Tell whether this second has had its probe."""
        return now < self._next_probe

    def probe(self, now: float) -> None:
        """Note that a call asks the service *now*."""
        self._next_probe, self._ends = now + PROBE_INTERVAL, now + MEMORY

    def fail(self, now: float, since: float) -> None:
        """Note *now* that a request had no answer; its call was first sent *since*.

        A request that hangs for long is in a row with a failure shortly before it.
        """
        self._failures = self._failures + 1 if since < self._ends else 1
        self._ends = now + MEMORY
        if self._failures == FAILURES_IN_A_ROW:
            self._next_probe = now + PROBE_INTERVAL

    def note(self, call: Call, error: BaseException, now: float) -> None:
        """Note *now* how a read has failed; one that was not sent tells nothing.

        An impatient call whose time was up tells nothing either.
        Each request counts once, also when its failure is noted again as the call's.
        A load is cancelled when its time is up, and also when its last waiter leaves.
        """
        if call.attempts == call.noted:
            return
        call.noted = call.attempts
        is_cut = isinstance(error, DeadlineError | asyncio.CancelledError)
        if call.is_impatient and is_cut:
            return
        if not isinstance(error, EmoggError):
            if now >= call.deadline:
                self.fail(now, call.departed)
        elif is_outage(error):
            self.fail(now, call.departed)
        else:
            self.close()

    def gives_up(
        self,
        holder: PastHolder | None,
        clock: Callable[[], float],
        call: Call,
        error: EmoggError,
        retry_at: float,
    ) -> bool:
        """Note the *error* of an attempt; tell whether *call* makes no other.

        A call with a past value does not wait for what may well go on.
        """
        now = clock()
        self.note(call, error, now)
        if holder is None or holder.value is None:
            return False
        return self.is_open(now) or retry_at > call.departed + RETRY_WITHIN

    def close(self) -> None:
        """Note that the service has answered."""
        self._failures = 0
