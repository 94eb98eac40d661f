"""What we know of the user's token bucket, and who may therefore send, and when.

Plain classes of the time they are told; `_gate` is their asyncio shell. All knowledge
comes from the headers of the answers. Nothing else is needed to share a bucket with
other processes: all read the same level, and all follow the same law.
"""

import math
import random
from collections import deque
from typing import Final

from emogg_async._wire.protocol import RateLimit

__all__ = ["BucketModel", "RateEstimate"]

LINGER: Final = 5.0
"""Seconds for which a request without an answer may still reach the service."""

MEMORY: Final = 10.0
"""Seconds over which the use of others is averaged."""

MIN_RATE: Final = 1 / 60
"""Tokens a second: no header, however wrong, makes a token take longer than this."""

SHORT_WINDOW: Final = 1.0
"""Seconds in which a bucket fills, as long as neither policy nor level tells it.

What takes longer shows after a few requests, because `Reset` then is more than 1; and
from a guess that is too slow nothing could be learnt, as the bucket would stay full.
"""

RAMP_PATIENCE: Final = 0.1
"""Seconds after which one slow answer no longer holds back the beginning of a bulk."""

BEGINNING: Final = 1 / 5
"""Of the capacity: answers to a bulk until its process has found out about others."""

GROWTH_OF_OTHERS: Final = 1.25
"""What others have in flight, of what they had a round trip before, in that time."""

FADING: Final = 2.0
"""Round trips after which what others had in flight must have arrived."""

SAFE_SHARE: Final = 1 / 64
"""Of the level: what may be in flight at the beginning of a bulk in any case."""

NEW_BULK: Final = 1.0
"""Seconds without a bulk request after which the next one begins another bulk."""

CATCH_UP: Final = 0.02
"""Seconds by which timers may be late without any loss to the law for bulk."""

MAX_SHARE_OF_OTHERS: Final = 0.95
"""Of the rate: so that whoever waits does so for a finite time."""

LONGEST_PAUSE: Final = 8.0
"""Seconds to which the pauses between refusals in a row grow, as waits of retries do;
they are longer only where a token takes longer, or the service asks for it."""

TRIAL: Final = 1.0
"""Seconds for which a request after a refusal goes alone, unless it ends before."""

LOOK_AGAIN: Final = 60.0
"""Seconds after which one request may look whether a longer pause is over already."""

_NEARLY = 1e-9
"""Tokens by which floating point may be off."""


class RateEstimate:
    """The rate at which the bucket refills, in tokens a second, between two bounds.

    `Remaining` is rounded down, and `Reset` in a way that nobody tells, so each answer
    bounds the rate. The bounds of the newest answers are intersected; older ones that
    contradict them belong to a rate that is no more. An answer that leaves the bounds
    as they are is passed over, but not each time, so that old ones are forgotten.
    """

    _KEPT = 10

    def __init__(self) -> None:
        self._intervals: deque[tuple[float, float]] = deque(maxlen=self._KEPT)
        self._skipped = 0
        self.low = 0.0
        self.high = math.inf

    def narrow(self, limit: RateLimit) -> bool:
        """Take in one answer; return whether the bounds may have changed."""
        missing, reset = limit.limit - limit.remaining, limit.reset
        if not missing:
            return False  # a full bucket says nothing about its rate
        low = (missing - 1) / (reset + 1.0)
        high = missing / (reset - 1.0) if reset > 1.0 else math.inf
        if low <= self.low and high >= self.high and self._skipped < self._KEPT:
            self._skipped += 1
            return False  # nearly always, so the usual answer costs next to nothing
        self._skipped = 0
        self._intervals.append((low, high))
        self._intersect()
        return True

    def _intersect(self) -> None:
        low, high = 0.0, math.inf
        kept = 0
        for lower, upper in reversed(self._intervals):
            if max(low, lower) > min(high, upper):
                break
            low, high, kept = max(low, lower), min(high, upper), kept + 1
        while len(self._intervals) > kept:
            self._intervals.popleft()
        self.low, self.high = low, high

    def value(self, limit: RateLimit) -> float:
        """Return the best guess: what the policy says, within the bounds."""
        named = limit.limit / (limit.window or SHORT_WINDOW)
        return max(MIN_RATE, min(max(named, self.low), self.high))


class BucketModel:
    """The user's token bucket as seen from here: never fuller than it really is.

    The level is what the service would have left once all that is in flight has
    arrived. It falls by one with each send, and grows at the bucket's rate less what
    others use. Answers correct it, at any delay and in any order:

    - `Remaining` less our requests in flight is what an answer says, because those may
      have been counted in it or not.
    - Only an answer to a request that was sent after the answer that defines the level
      had come may raise it: all others may be older news. What those say meanwhile is
      a ceiling for the next raise, since their requests may have been served last.

    Args:
        rng: The source of jitter, without which processes would march in step.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.limit: RateLimit | None = None
        """What the last answer with headers said; None before the first."""

        self.rate = 0.0
        self.in_flight = 0
        self.window = 1
        """Bulk requests in flight while a bulk is drained."""

        self.resumes = -math.inf
        """When the service, having refused a request, may be asked again."""

        self._refusals = 0
        """How many there were in a row; those that were out together count as one."""

        self._refused = self._looked = self._trial_ends = -math.inf
        self._estimate = RateEstimate()
        self._growth = 0.0
        self._scale = 1.0
        self._others = 0.0
        self._time = -math.inf
        self._defined = -math.inf
        self._level = self._predicted = 0.0
        self._ceiling = math.inf
        self._capped = -math.inf
        self._lingering: deque[float] = deque()
        self._unseen = self._fading = 0.0  # of others, in flight
        self._beginning = 0.0
        self._bulk_in_flight = 0
        self._draining = False
        self._credit = 0.0
        self._price = 1.0
        self._last_bulk = -math.inf
        self._rationed = False
        self._ramp = 1

    # -- what it shows -------------------------------------------------------------

    def level(self, now: float) -> float:
        """Return the tokens that are ours to spend *now*; below 0 they are owed."""
        self._advance(now)
        return self._level

    @property
    def others(self) -> float:
        """Tokens a second that others use."""
        return min(max(self._others, 0.0), MAX_SHARE_OF_OTHERS * self.rate)

    @property
    def alone(self) -> bool:
        """Whether nobody else seems to use the bucket.

        While a bulk drains it, it takes more to stop that than it took to begin.
        """
        doubt = max(0.05 * self.rate, 0.15)
        return self._others < (2 * doubt if self._draining else doubt)

    # -- what happens --------------------------------------------------------------

    def send(self, now: float, *, bulk: bool) -> None:
        """Note that a request leaves *now*."""
        self._advance(now)
        self._level -= 1.0
        self._predicted -= 1.0
        self._ceiling -= 1.0
        self.in_flight += 1
        if self._refusals:
            self._trial_ends = now + TRIAL
        if bulk:
            self._bulk_in_flight += 1
            self._credit = max(0.0, self._credit - self._price)
            self._price = self._rng.uniform(0.7, 1.3)
            self._last_bulk = now

    def look(self, now: float, *, bulk: bool) -> bool:
        """Send one request in spite of a long pause, if none was for a minute.

        A service may be wrong about the pause, or open again before its end.
        """
        if not self.resumes > now >= self._looked + LOOK_AGAIN:
            return False
        self._looked = now
        self.send(now, bulk=bulk)
        return True

    def take_back(self, now: float, *, bulk: bool) -> None:
        """Note that a request has surely not left after all."""
        self._land(now, bulk)
        self._level += 1.0
        self._predicted += 1.0
        self._ceiling += 1.0

    def lose(self, now: float, *, bulk: bool, lingers: bool) -> None:
        """Note that a request will have no answer.

        Args:
            now: The present time.
            bulk: Whether it was one of many.
            lingers: Whether it may still be on its way; it is not when its connection
                is gone.
        """
        self._land(now, bulk)
        if lingers:
            self.in_flight += 1
            self._lingering.append(now + LINGER)
        self._cap(now, self._level)

    def answer(
        self, sent: float, now: float, limit: RateLimit | None, *, bulk: bool
    ) -> None:
        """Take in an answer.

        Args:
            sent: When its request was sent.
            now: When it came.
            limit: What its headers say; None when they say nothing.
            bulk: Whether its request was one of many.
        """
        self._land(now, bulk)
        self._ramp += bulk
        if self._refusals and sent > self._refused:
            self._refusals, self.resumes = 0, -math.inf
        if limit is None:
            self._cap(now, self._level)
            return
        told = limit.remaining - self.in_flight
        known, self.limit = self.limit, limit
        if known is None or known.limit != limit.limit:
            self._restart(now, limit, told)
            return
        if self._estimate.narrow(limit) or known.policy != limit.policy:
            self._set_rate(limit)
        if sent > self._defined:
            self._define(sent, now, told)
        else:
            self._level = min(self._level, told)
            self._cap(now, told)

    def refuse(
        self,
        sent: float,
        now: float,
        limit: RateLimit | None,
        retry_after: float | None,
        *,
        bulk: bool,
    ) -> None:
        """Take in a 429: its request cost no token, because there is none.

        How long to wait is never `Reset`, which is the time to a *full* bucket. The
        pause doubles from refusal to refusal, until something else is answered.

        Args:
            sent: When its request was sent.
            now: When it came.
            limit: What its headers say; None when they say nothing.
            retry_after: Seconds that the service asks for; None when it does not.
            bulk: Whether its request was one of many.
        """
        if sent > self._refused:
            self._refusals += 1
            self.resumes = -math.inf  # the newest word counts
        self._refused = self._looked = now
        self._predicted += 1.0
        self.answer(sent, now, limit, bulk=bulk)
        if self.limit is None:
            return
        self._level = min(self._level, -float(self.in_flight))
        token = 1.0 / self.rate
        pause = min(token * 2.0 ** min(self._refusals - 1, 64), LONGEST_PAUSE)
        pause = self._rng.uniform(0.5, 1.5) * max(token, pause)
        self.resumes = max(self.resumes, now + max(pause, retry_after or 0.0))

    # -- who may send --------------------------------------------------------------

    def wait(self, now: float) -> float:
        """Return the seconds until the next single call may send."""
        return max(self._trial_ends - now, self.forecast(now, 1))

    def forecast(self, now: float, position: int) -> float:
        """Return the least seconds until a single call may send.

        Args:
            now: The present time.
            position: Its place among those that wait, from 1.
        """
        self._advance(now)
        wait = self.resumes - now
        if self._level < position - _NEARLY:
            wait = max(wait, (position - self._level) / self._growth)
        return max(0.0, wait)

    def bulk_wait(self, now: float, demand: float) -> float:
        """Return the seconds until the next bulk request may send.

        Args:
            now: The present time.
            demand: How many bulk requests are yet to be sent, as far as is known.
        """
        self._rationed = True
        wait = self.wait(now)
        if self._drains(now, demand) or (self.limit and self.limit.limit < 2):
            return wait  # of a single token nothing can be left for others
        missing = self._price - self._credit
        if missing > _NEARLY:
            wait = max(wait, self._time_to_earn(missing))
        if self._bulk_in_flight >= max(self._ramp, self._level * SAFE_SHARE):
            wait = max(wait, self._last_bulk + RAMP_PATIENCE - now)
        return wait

    def _drains(self, now: float, demand: float) -> bool:
        """Say whether what is left of a bulk may go as fast as the window allows."""
        # Once begun, it does not end for what answers in flight may put right.
        slack = 1.0 + self.in_flight if self._draining else 0.0
        drains = demand <= self._level + slack and self.alone
        is_new = not self._bulk_in_flight and now > self._last_bulk + NEW_BULK
        if is_new:
            self._ramp = 1
        if is_new or not self._draining:
            self.window = 1  # as it begins, every process believes itself alone
        self._draining = drains
        return drains and self._bulk_in_flight < self.window

    # -- the law for bulk ----------------------------------------------------------
    #
    # Bulk is sent at rate · ((level - 1) / scale)², which needs no messages between
    # processes: each of N settles at an N-th of the rate, where the level stands at
    # 1 + scale / √N. When all begin on a full bucket, before any has seen another, it
    # would be too much. So the first requests in flight double with each round trip,
    # and what others turn out to have sent in one is taken to be on its way again.

    def _earn(self, before: float, elapsed: float) -> None:
        """Add what the law gave while the level rose to what it is now."""
        least = 1.0 + self._unseen
        low, high = max(0.0, before - least), max(0.0, self._level - least)
        if before < least:
            elapsed = max(0.0, elapsed - (least - before) / self._growth)
        mean = self.rate * (low * low + low * high + high * high) / 3 / self._scale**2
        self._credit = min(self._credit + mean * elapsed, self._price + mean * CATCH_UP)

    def _time_to_earn(self, missing: float) -> float:
        """Return the seconds until the law has given *missing*, as the level grows."""
        above = self._level - 1.0 - self._unseen
        cubes = 3.0 * self._growth * missing * self._scale**2 / self.rate
        return (math.cbrt(max(0.0, above) ** 3 + cubes) - above) / self._growth

    # -- the level -----------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Let the time pass until *now*."""
        while self._lingering and self._lingering[0] <= now:
            self._lingering.popleft()
            self.in_flight -= 1
            self._cap(now, self._level)
        elapsed = now - self._time
        if elapsed <= 0.0 or self.limit is None:
            return
        self._time = now
        gain = elapsed * self._growth
        before, predicted = self._level, self._predicted
        self._level, self._predicted = before + gain, predicted + gain
        self._ceiling += gain
        # A full bucket loses what flows in, also while our requests are on their way.
        most = float(self.limit.limit - self.in_flight)
        if self._level > most:
            self._level = max(most, before)
        if self._predicted > most:
            self._predicted = max(most, predicted)
        if self._rationed:
            self._earn(before, elapsed)
        if self._unseen:
            self._unseen = max(0.0, self._unseen - elapsed * self._fading)

    def _cap(self, now: float, level: float) -> None:
        """Raise the level no further than this, until there is later news."""
        self._ceiling = min(self._ceiling, level)
        self._capped = now

    def _land(self, now: float, bulk: bool) -> None:
        self._advance(now)
        self.in_flight -= 1
        self._trial_ends = -math.inf  # however it ended
        if bulk:
            self._bulk_in_flight -= 1

    def _restart(self, now: float, limit: RateLimit, told: float) -> None:
        """Begin anew: this is the first answer, or the bucket has become another."""
        self._estimate = RateEstimate()
        self._estimate.narrow(limit)
        self._others = 0.0
        # A full bucket gives at least its rate, however small it is.
        self._scale = min(max(3.0, limit.limit / 4), max(1.0, limit.limit - 1.0))
        self._beginning = BEGINNING * limit.limit
        self._set_rate(limit)
        self._time = self._defined = now
        self._level = self._predicted = told
        self._ceiling = math.inf
        self.window = self._ramp = 1

    def _set_rate(self, limit: RateLimit) -> None:
        self.rate = self._estimate.value(limit)
        self._growth = self.rate - self.others

    def _define(self, sent: float, now: float, told: float) -> None:
        """Let an answer define the level; what it says is the newest there is."""
        shortfall = self._predicted - told
        if self._draining:
            hold = shortfall <= 1.0 + self.in_flight / 2
            self.window = self.window + 1 if hold else max(1, self.window // 2)
        elapsed = now - self._defined
        if elapsed > 0.0:
            if self._ramp < self._beginning:
                landed = max(0.0, shortfall - 1.0) / elapsed
                self._unseen = GROWTH_OF_OTHERS * landed * (now - sent)
                self._fading = GROWTH_OF_OTHERS * landed / FADING
            used = shortfall / elapsed + self.rate - self._growth
            self._others += (used - self._others) * -math.expm1(-elapsed / MEMORY)
            self._growth = self.rate - self.others
        self._defined = now
        self._level = told if sent > self._capped else min(told, self._ceiling)
        self._predicted = told
        self._ceiling = math.inf
