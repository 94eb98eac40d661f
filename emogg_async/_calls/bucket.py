"""The user's token bucket as seen from here: who may send, and when.

Plain classes that are told the time; `gate` is their asyncio shell. The headers of the
answers are their only source. Processes that share a bucket need not talk to each
other: all read the same level, and all follow the same law.
"""

import math
import random
from collections import deque
from typing import Final

from emogg_async._wire.protocol import RateLimit

__all__ = ["BucketModel", "Others", "RateBounds"]

LINGER_SECONDS: Final = 5.0
"""Seconds in which a request without an answer may still reach the service."""

OTHERS_AVERAGE_SECONDS: Final = 10.0
"""Seconds over which the use of others is averaged."""

MIN_TOKENS_PER_SECOND: Final = 1 / 60
"""Tokens that come in a second at least, whatever the headers say."""

ASSUMED_WINDOW_SECONDS: Final = 1.0
"""Seconds in which a bucket fills, as long as neither policy nor level tells.

A longer one shows after a few requests, because `Reset` is then more than 1. A guess
that is too slow would teach nothing: the bucket would stay full.
"""

MAX_RAMP_PAUSE_SECONDS: Final = 0.1
"""Seconds for which one slow answer holds back the beginning of a bulk at most."""

BEGINNING_SHARE: Final = 1 / 5
"""Answers after which the beginning of a bulk is over, as a share of the capacity. By
then, its process has found out about others."""

OTHERS_GROWTH: Final = 1.25
"""Growth of others' requests in flight, from one round trip to the next."""

UNSEEN_ROUND_TRIPS: Final = 2.0
"""Round trips after which the requests that others had in flight have arrived."""

MIN_RAMP_SHARE: Final = 1 / 64
"""Share of the level that a bulk may have in flight from its beginning."""

BULK_GAP_SECONDS: Final = 1.0
"""Seconds without a bulk request after which the next one begins another bulk."""

TIMER_LAG_SECONDS: Final = 0.02
"""Seconds by which timers may be late without any loss to the law for bulk."""

MAX_OTHERS_SHARE: Final = 0.95
"""Share of the rate that others are taken to use at most: each wait must end."""

MAX_PAUSE_SECONDS: Final = 8.0
"""Seconds to which the pauses between refusals in a row grow, like waits of retries.

They are longer only where a token takes longer, or where the service asks for it.
"""

TRIAL_SECONDS: Final = 1.0
"""Seconds for which a request after a refusal goes alone, unless it ends before."""

PROBE_INTERVAL_SECONDS: Final = 60.0
"""Seconds between two requests that find out whether a long pause is over."""

ROUNDING_TOKENS: Final = 1e-9
"""Tokens by which floating point may be off."""


class RateBounds:
    """Two bounds of the rate at which the bucket refills, in tokens a second.

    `Remaining` is rounded down, and nobody tells how `Reset` is rounded, so each answer
    gives two bounds. The bounds of the newest answers are intersected. Older ones that
    contradict them belong to a former rate. An answer that leaves the bounds unchanged
    is mostly skipped. Every eleventh is kept, so old bounds are forgotten.

    Attributes:
        low: The rate is at least this.
        high: The rate is at most this.
    """

    _KEPT = 10

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=self._KEPT)
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
            return False
        self._skipped = 0
        self._bounds.append((low, high))
        self.low, self.high, kept = 0.0, math.inf, 0
        for low, high in reversed(self._bounds):
            if low > self.high or high < self.low:
                break  # it belongs to a former rate
            self.low, self.high = max(self.low, low), min(self.high, high)
            kept += 1
        while len(self._bounds) > kept:
            self._bounds.popleft()
        return True


class Others:
    """What flows into the bucket, and what others take out of it.

    Attributes:
        rate: Tokens a second that flow in: what the policy says, within the bounds.
        used: Tokens a second that others use, as measured: below 0 at times.
        growth: Tokens a second by which the level grows: the rate less what others use,
            within reason.
    """

    def __init__(self) -> None:
        self.rate = self.used = self.growth = self._named = 0.0
        self._bounds = RateBounds()
        self._policy: str | None = None
        self._arrival_rate = 0.0
        self._all_arrived = -math.inf

    def begin(self, limit: RateLimit) -> None:
        """Forget all that was learnt: *limit* tells of another bucket."""
        self._bounds, self.used, self.rate = RateBounds(), 0.0, 0.0
        self._read_policy(limit)
        self.learn(-math.inf, limit)

    def learn(
        self,
        now: float,
        limit: RateLimit,
        shortfall: float = 0.0,
        elapsed: float = 0.0,
        trip: float | None = None,
    ) -> None:
        """Take in an answer.

        Args:
            now: The present time.
            limit: What its headers say.
            shortfall: How many tokens fewer there are than were expected.
            elapsed: Seconds over which those tokens went; 0 when the answer does not
                tell.
            trip: Seconds of its round trip; None unless a bulk begins.
        """
        bounds = self._bounds
        is_news = bounds.narrow(limit) or not self.rate
        if limit.policy != self._policy:
            self._read_policy(limit)
        elif elapsed <= 0.0 and not is_news:
            return
        rate = min(max(self._named, bounds.low), bounds.high)
        self.rate = max(MIN_TOKENS_PER_SECOND, rate)
        most = MAX_OTHERS_SHARE * self.rate
        if elapsed > 0.0:
            used = shortfall / elapsed + min(max(self.used, 0.0), most)
            weight = -math.expm1(-elapsed / OTHERS_AVERAGE_SECONDS)
            self.used += (used - self.used) * weight
            if trip is not None:
                sent = OTHERS_GROWTH * max(0.0, shortfall - 1.0) / elapsed
                self._arrival_rate = sent / UNSEEN_ROUND_TRIPS
                self._all_arrived = now + UNSEEN_ROUND_TRIPS * trip
        self.growth = self.rate - min(max(self.used, 0.0), most)

    def _read_policy(self, limit: RateLimit) -> None:
        self._policy = limit.policy
        self._named = limit.limit / (limit.window or ASSUMED_WINDOW_SECONDS)

    def unseen(self, now: float) -> float:
        """Return how many of their requests are taken to be on the way at *now*."""
        return self._arrival_rate * max(0.0, self._all_arrived - now)


class Level:
    """How many tokens are left: never believed to be more than there really are.

    This is what the service would have left once all that is in flight has arrived. It
    falls by one with each send, and grows as `Others` says. Answers correct it, at any
    delay and in any order:

    - `Remaining` less our requests in flight is what an answer says, because those may
      have been counted in it or not.
    - An answer raises the level only if its request was sent after the defining answer
      came. Other answers set a ceiling for the next raise, since their requests may
      have been served last.

    Args:
        others: How fast it grows.

    Attributes:
        left: Tokens that are ours to spend; below 0 while more requests are in flight
            than there are tokens.
        predicted: What *left* would be if only the answer that defined it counted.
        in_flight: Requests that may still arrive.
        capacity: Tokens in a full bucket; 0 while nothing is known.
        time: When *left* was right; infinite while nothing is known.
        law: The law that earns while time passes; None before the first bulk.
    """

    def __init__(self, others: Others) -> None:
        self._others = others
        self.left = self.predicted = 0.0
        self.in_flight = self.capacity = 0
        self.time = math.inf
        self.law: BulkLaw | None = None
        self._defined = self._capped = -math.inf
        self._ceiling = math.inf
        self._lingering: deque[float] = deque()

    def begin(self, now: float, limit: RateLimit) -> None:
        """Begin anew: this is the first answer, or the bucket has become another."""
        self.advance(now)
        self.in_flight -= 1
        self.capacity = limit.limit
        self.time = self._defined = now
        self.left = self.predicted = limit.remaining - self.in_flight
        self._ceiling = math.inf

    def advance(self, now: float) -> float:
        """Let the time pass until *now*, and return the tokens that are left."""
        while self._lingering and self._lingering[0] <= now:
            self._lingering.popleft()
            self.in_flight -= 1
            self.cap(now, self.left)
        elapsed = now - self.time
        if elapsed <= 0.0:
            return self.left
        gain = elapsed * self._others.growth
        before, since, self.time = self.left, self.time, now
        # A full bucket loses what flows in, also while our requests are on their way.
        most = self.capacity - self.in_flight
        if before < most:
            self.left = min(before + gain, most)
        if self.predicted < most:
            self.predicted = min(self.predicted + gain, most)
        self._ceiling += gain
        if self.law is not None:
            self.law.earn(before, since)
        return self.left

    def spend(self, now: float, tokens: int) -> None:
        """Spend a token for a request that leaves *now*, or -1 to put it back."""
        if now > self.time:  # asking for the wait has advanced it already
            self.advance(now)
        self.left -= tokens
        self.predicted -= tokens
        self._ceiling -= tokens
        self.in_flight += tokens

    def lose(self, now: float, *, lingers: bool) -> None:
        """Note that a request has ended without an answer; it may still linger."""
        self.advance(now)
        if lingers:
            self._lingering.append(now + LINGER_SECONDS)
        else:
            self.in_flight -= 1
        self.cap(now, self.left)

    def cap(self, now: float, level: float) -> None:
        """Raise the level no further than this, until there is later news."""
        self._ceiling = min(self._ceiling, level)
        self._capped = now

    def answer(self, sent: float, now: float, remaining: int) -> tuple[float, float]:
        """Take in the answer to a request that was *sent* at that time.

        Returns:
            How many tokens fewer there are than were expected, and the seconds over
            which those went; 0 and 0 when the answer is older news.
        """
        self.advance(now)
        self.in_flight -= 1
        told = remaining - self.in_flight
        if sent <= self._defined:
            self.left = min(self.left, told)
            self.cap(now, told)
            return 0.0, 0.0
        shortfall, elapsed = self.predicted - told, now - self._defined
        self.left = told if sent > self._capped else min(told, self._ceiling)
        self.predicted = told
        self._defined, self._ceiling = now, math.inf
        return shortfall, elapsed


class BulkLaw:
    """The law by which bulk requests share the bucket with everybody else.

    Bulk is sent at rate · ((level - 1) / scale)², which needs no messages between
    processes: each of N settles at an N-th of the rate, where the level stands at
    1 + scale / √N. N processes that begin on a full bucket would send too much. So a
    bulk's requests in flight double with each round trip, and the bulk assumes that
    others send again what they sent in the last one.

    A bulk that fits into the level, in a process that seems to be alone, is drained: it
    goes as fast as a window of requests in flight allows.

    Args:
        level: The level that it follows.
        others: What flows in, and what others use.
        rng: The source of jitter, without which processes would march in step.

    Attributes:
        in_flight: Bulk requests in flight.
        window: Bulk requests in flight at most while a bulk is drained.
        ramp: Answers since the bulk began, plus one.
        beginning: Answers until a bulk has found out about others.
        credit: Requests that the law has given and that were not sent yet.
        price: How many of those the next request takes.
        is_draining: Whether the bulk is drained.
    """

    def __init__(self, level: Level, others: Others, rng: random.Random) -> None:
        self._level, self._others, self._rng = level, others, rng
        self._scale = 1.0
        self._last_send = -math.inf
        self.in_flight = 0
        self.window = self.ramp = 1
        self.beginning = 0.0
        self.credit, self.price = 0.0, 1.0
        self.is_draining = False

    @property
    def is_alone(self) -> bool:
        """Whether nobody else seems to use the bucket.

        A higher use by others ends the draining than would have prevented it.
        """
        doubt = max(0.05 * self._others.rate, 0.15)
        return self._others.used < (2 * doubt if self.is_draining else doubt)

    def begin(self, capacity: int) -> None:
        """Begin anew, with a bucket of so many tokens."""
        # A full bucket gives at least its rate, however small it is.
        self._scale = min(max(3.0, capacity / 4), max(1.0, capacity - 1.0))
        self.beginning = BEGINNING_SHARE * capacity
        self.window = self.ramp = 1

    def send(self, now: float) -> None:
        """Note that a bulk request leaves *now*."""
        self.in_flight += 1
        self.credit = max(0.0, self.credit - self.price)
        self.price = self._rng.uniform(0.7, 1.3)
        self._last_send = now

    def earn(self, before: float, since: float) -> None:
        """Add what the law gave *since* then, when the level was as *before*."""
        elapsed = self._level.time - since
        rate, growth = self._others.rate, self._others.growth
        least = 1.0 + self._others.unseen(since)
        low, high = max(0.0, before - least), max(0.0, self._level.left - least)
        if before < least:
            elapsed = max(0.0, elapsed - (least - before) / growth)
        mean = rate * (low * low + low * high + high * high) / 3 / self._scale**2
        most = self.price + mean * TIMER_LAG_SECONDS
        self.credit = min(self.credit + mean * elapsed, most)

    def adapt(self, shortfall: float) -> None:
        """Widen the window, or halve it if so many tokens are missing."""
        holds = shortfall <= 1.0 + self._level.in_flight / 2
        self.window = self.window + 1 if holds else max(1, self.window // 2)

    def wait(self, now: float, demand: float) -> float:
        """Return the seconds until the law lets the next request go.

        The level is that of *now*.

        Args:
            now: The present time.
            demand: How many bulk requests are yet to be sent, as far as is known.
        """
        level = self._level
        if self._drains(now, demand) or level.capacity < 2:
            return 0.0  # a single token cannot be shared
        wait = 0.0
        missing = self.price - self.credit
        if missing > ROUNDING_TOKENS:
            wait = self._time_to_earn(missing)
        if self.in_flight >= max(self.ramp, level.left * MIN_RAMP_SHARE):
            wait = max(wait, self._last_send + MAX_RAMP_PAUSE_SECONDS - now)
        return wait

    def _drains(self, now: float, demand: float) -> bool:
        """Return whether the rest of a bulk may go as fast as the window allows."""
        # Draining goes on if answers in flight may still make up the shortfall.
        slack = 1.0 + self._level.in_flight if self.is_draining else 0.0
        drains = demand <= self._level.left + slack and self.is_alone
        is_new = not self.in_flight and now > self._last_send + BULK_GAP_SECONDS
        if is_new:
            self.ramp = 1
        if is_new or not self.is_draining:
            self.window = 1  # as it begins, every process believes itself alone
        self.is_draining = drains
        return drains and self.in_flight < self.window

    def _time_to_earn(self, missing: float) -> float:
        """Return the seconds until the law has given *missing*, as the level grows."""
        rate, growth = self._others.rate, self._others.growth
        above = self._level.left - 1.0 - self._others.unseen(self._level.time)
        cubes = 3.0 * growth * missing * self._scale**2 / rate
        return (math.cbrt(max(0.0, above) ** 3 + cubes) - above) / growth


class BucketModel:
    """The user's token bucket: its level, the others, the law for bulk, and refusals.

    While nothing is known, one request goes ahead to find out. If its answer says
    nothing of a bucket, requests go unpaced until one does.

    Args:
        rng: The source of jitter.
        is_blind: Whether headers tell it nothing, so that requests always go unpaced.

    Attributes:
        limit: What the last answer with headers said; None before the first.
        others: What flows in, and what others use.
        bulk: The law for bulk requests.
        resumes: When the service, having refused a request, may be asked again.
        is_cold: Whether the service has not answered yet.
        is_cause: Whether the last refusal came from an empty bucket. The cause is
            unknown unless earlier answers and the refusal had headers. If its headers
            tell of tokens left, the refusal has another reason.
    """

    def __init__(self, rng: random.Random, *, is_blind: bool = False) -> None:
        self._rng = rng
        self._is_blind = is_blind
        self.is_cold = not is_blind
        self.limit: RateLimit | None = None
        self.others = Others()
        self._level = Level(self.others)
        self.bulk = BulkLaw(self._level, self.others, rng)
        self.resumes = -math.inf
        self.is_cause = False
        # Refusals in a row; those of requests that were out together count as one.
        self._refusals = 0
        self._refused = self._probed = self._trial_ends = -math.inf

    @property
    def in_flight(self) -> int:
        """How many requests may still arrive."""
        return self._level.in_flight

    def level(self, now: float) -> float:
        """Return the tokens that are ours to spend *now*; it may be below 0."""
        return self._level.advance(now)

    # -- what happens --------------------------------------------------------------

    def send(self, now: float, *, bulk: bool) -> None:
        """Note that a request leaves *now*."""
        self._level.spend(now, 1)
        if self._refusals or self.is_cold:
            self._trial_ends = now + TRIAL_SECONDS
        if bulk:
            self.bulk.send(now)

    def probe(self, now: float, *, bulk: bool) -> bool:
        """Send one request in spite of a long pause, if none was sent for a minute.

        The service may be wrong about the pause, or open again before its end. A call
        probes only if it would otherwise be refused; a call with time waits.
        """
        if not self.resumes > now >= self._probed + PROBE_INTERVAL_SECONDS:
            return False
        self._probed = now
        self.send(now, bulk=bulk)
        return True

    def take_back(self, now: float, *, bulk: bool) -> None:
        """Put back the token of a request that was not sent."""
        self._trial_ends = -math.inf
        self.bulk.in_flight -= bulk
        self._level.spend(now, -1)

    def lose(self, now: float, *, bulk: bool, lingers: bool) -> None:
        """Note that a request will have no answer.

        Args:
            now: The present time.
            bulk: Whether it was one of many.
            lingers: Whether it may still be on its way; it is not when its connection
                is gone.
        """
        self._trial_ends = -math.inf
        self.bulk.in_flight -= bulk
        self._level.lose(now, lingers=lingers)

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
        self.is_cold, self._trial_ends = False, -math.inf  # however it ended
        law = self.bulk
        if bulk:
            law.in_flight -= 1
            law.ramp += 1
        if self._refusals and sent > self._refused:
            self._refusals, self.resumes = 0, -math.inf
        if limit is None or self._is_blind:
            self._level.lose(now, lingers=False)
            return
        known, self.limit = self.limit, limit
        if known is None or known.limit != limit.limit:
            self._level.begin(now, limit)
            self.others.begin(limit)
            law.begin(limit.limit)
            return
        shortfall, elapsed = self._level.answer(sent, now, limit.remaining)
        if law.is_draining and elapsed > 0.0:
            law.adapt(shortfall)
        trip = now - sent if law.ramp < law.beginning else None
        self.others.learn(now, limit, shortfall, elapsed, trip)

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

        The wait is never `Reset`: that is the time to a *full* bucket. The pause
        doubles from refusal to refusal, until the service answers something else.

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
        self._refused = self._probed = now
        self._level.predicted += 1.0
        self.answer(sent, now, limit, bulk=bulk)
        if self.limit is None:
            return
        self.is_cause = limit is not None and limit.remaining < 1
        level = self._level  # there are no tokens for the requests in flight, either
        level.left = min(level.left, -float(level.in_flight))
        token = 1.0 / self.others.rate
        doubled = token * 2.0 ** min(self._refusals - 1, 64)
        pause = max(token, min(doubled, MAX_PAUSE_SECONDS))
        pause *= self._rng.uniform(0.5, 1.5)
        self.resumes = max(self.resumes, now + max(pause, retry_after or 0.0))

    # -- who may send --------------------------------------------------------------

    def wait(self, now: float, demand: float | None = None) -> float:
        """Return the seconds until the next request may be sent.

        Args:
            now: The present time.
            demand: How many bulk requests are yet to be sent, as far as is known; None
                if the request is a single call.
        """
        trial = self._trial_ends - now
        if self.limit is None:
            return max(0.0, trial) if self.is_cold else 0.0
        if demand is None:
            return max(trial, self.forecast(now, 1))
        self._level.law = self.bulk  # it earns from the first bulk on
        return max(trial, self.forecast(now, 1), self.bulk.wait(now, demand))

    def forecast(self, now: float, position: int) -> float:
        """Return the least seconds until a single call may send.

        Args:
            now: The present time.
            position: Its place among those that wait, from 1.
        """
        if self.limit is None:
            return 0.0
        missing = position - self._level.advance(now)
        wait = self.resumes - now
        if missing > ROUNDING_TOKENS:
            wait = max(wait, missing / self.others.growth)
        return max(0.0, wait)
