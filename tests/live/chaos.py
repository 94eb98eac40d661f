"""An emulator that fails in every way at random, and readers who notice each loss."""

import asyncio
import random
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from emogg_async import (
    AsyncEmoggClient,
    DeadlineError,
    EmotionCounts,
    EmotionIntensities,
    Feed,
    LiveLimitError,
)
from emogg_async.testing import EmoggEmulator
from emogg_async.testing._analysis import Analyst, counts, intensities
from emogg_async.testing._clock import EPOCH

PERIODS = {"1s": 1, "3s": 3, "5s": 5, "10s": 10}
ANALYSES = {EmotionCounts: counts, EmotionIntensities: intensities}

Lane = tuple[str, type]
"""The session and the kind of events, which name one subscription within a feed."""


def busiest(moments: Iterable[float], seconds: float) -> int:
    """Return the most of many moments that lie within so many seconds."""
    ordered = sorted(moments)
    return max(
        (bisect_left(ordered, t + seconds) - n for n, t in enumerate(ordered)),
        default=0,
    )


class Truth:
    """What the emulator has told of its sessions, by its own analysis.

    Attributes:
        silences: From when to when the emulator said nothing at all.
    """

    def __init__(self, emulator: EmoggEmulator) -> None:
        self._begun = {each.id: each.timestamp for each in emulator.sessions}
        # Not the emulator's own, which belongs to its thread.
        self._analyst = Analyst(emulator._settings.seed)
        self.silences: list[tuple[float, float]] = []

    def silence(self, now: float, seconds: float) -> None:
        """Note that the emulator is silent from now on; an earlier silence ends."""
        if self.silences and self.silences[-1][1] > now:
            self.silences[-1] = self.silences[-1][0], now
        self.silences.append((now, now + seconds))

    def number(self, event: Any, every: int) -> int:
        """Return the number of an event since its session began."""
        lived = event.timestamp - self._begun[event.session]
        number, rest = divmod(lived, timedelta(seconds=every))
        assert not rest, f"no such event was told: {event}"
        return number

    def told(self, lane: Lane, every: int, after: int, before: int) -> int:
        """Return how many events were told between two numbers."""
        session_id, kind = lane
        moods = self._analyst.moods(session_id)
        begun = (self._begun[session_id] - EPOCH).total_seconds()
        return sum(
            ANALYSES[kind](moods, number * every, every) is not None
            and not self._was_silent(begun + number * every)
            for number in range(after + 1, before)
        )

    def _was_silent(self, at: float) -> bool:
        return any(start <= at < end - 1e-6 for start, end in self.silences)


class Witness:
    """One reader's events: their order, and a gap wherever one is missing.

    Args:
        truth: What was told.
        lanes: The frequency of each subscription of the feed.
        found: Counts what was seen.
    """

    def __init__(
        self, truth: Truth, lanes: dict[Lane, int], found: Counter[str]
    ) -> None:
        self._truth = truth
        self._lanes = lanes
        self._found = found
        self._last: dict[Lane, Any] = {}

    def see(self, event: Any) -> None:
        """Take the next event, and fail if it is in the wrong place."""
        lane = event.session, type(event)
        last, every = self._last.get(lane), self._lanes[lane]
        self._last[lane] = event
        self._found["events"] += 1
        number = self._truth.number(event, every)
        lost = 0
        if last is not None:
            before = self._truth.number(last, every)
            assert number > before, f"{event} after {last}"
            lost = self._truth.told(lane, every, before, number)
        gap = event.gap
        if gap is None:
            assert lost == 0, f"{lost} lost between {last} and {event}"
            return
        self._found[gap.reason] += 1
        assert gap.until == event.timestamp
        assert gap.since == (last.timestamp if last is not None else None)
        if last is not None and gap.lost is not None:
            assert gap.lost == lost, f"{lost} lost, and not as {gap} says"


class Visitors:
    """Readers who come, read at their own speed, and leave.

    Args:
        client: The client of all of them.
        ids: The sessions that they choose from.
        truth: What was told.
        rng: The source of their moods.
        found: Counts what was seen.
    """

    def __init__(
        self,
        client: AsyncEmoggClient,
        ids: list[str],
        truth: Truth,
        rng: random.Random,
        found: Counter[str],
    ) -> None:
        self._client = client
        self._ids = ids
        self._truth = truth
        self._rng = rng
        self._found = found

    def feeds(self, ids: Iterable[str]) -> list[Feed[Any]]:
        """Make two feeds of each session."""
        live = self._client.live
        return [make(each) for each in ids for make in (live.counts, live.intensities)]

    def _feed(self) -> tuple[Feed[Any], dict[Lane, int]]:
        """Choose a feed: one, or several that are merged."""
        rng, live = self._rng, self._client.live
        feeds, lanes = [], {}
        for session_id in rng.sample(self._ids, rng.choice([1, 1, 1, 2, 3])):
            every, size = rng.choice(["1s", *PERIODS]), rng.choice([1, 4, 256])
            make, kind = rng.choice(
                [(live.counts, EmotionCounts), (live.intensities, EmotionIntensities)]
            )
            feeds.append(make(session_id, every=every, buffer=size))
            lanes[session_id, kind] = PERIODS[every]
        return (feeds[0] if len(feeds) == 1 else live.merge(feeds)), lanes

    async def visit(self, comes: float, stays: float, naps: float) -> None:
        """Come after so many seconds, and stay for at most that long."""
        await asyncio.sleep(comes)
        loop, rng = asyncio.get_running_loop(), self._rng
        feed, lanes = self._feed()
        witness = Witness(self._truth, lanes, self._found)
        try:
            async with feed:
                self._found["entered"] += 1
                leaves = loop.time() + stays
                while loop.time() < leaves:
                    try:
                        witness.see(await feed.next(rng.choice([0.5, 5, 30])))
                    except DeadlineError:
                        self._found["timeouts"] += 1
                    except StopAsyncIteration:
                        self._found["ended"] += 1
                        break
                    if rng.random() < 0.05:
                        await asyncio.sleep(rng.random() * naps)
        except (LiveLimitError, DeadlineError) as error:
            self._found[type(error).__name__] += 1


class Trouble:
    """Faults of an emulator, one after the other.

    Args:
        emulator: The emulator.
        truth: Is told of silences.
        rng: The source of chance.
        found: Counts the faults.
        simulated: Whether the emulator runs in this loop, by its clock.
    """

    def __init__(
        self,
        emulator: EmoggEmulator,
        truth: Truth,
        rng: random.Random,
        found: Counter[str],
        *,
        simulated: bool,
    ) -> None:
        self._emulator = emulator
        self._truth = truth
        self._rng = rng
        self._found = found
        self._closes_until = 0.0
        faults: dict[Callable[[], None], int] = {
            self._cut: 15,
            self._close: 15,
            self._refuse_subscriptions: 10,
            self._refuse_handshakes: 10,
            self._refuse_auth: 5,
        }
        if simulated:  # the moment of a silence is known, and what comes in between
            faults |= {self._be_silent: 5, self._accept_then_close: 3}
        self._faults = faults

    async def go_on(self, between: float) -> None:
        """Cause trouble every so many seconds at the most, to the end."""
        while True:
            await asyncio.sleep(self._rng.random() * between)
            (fault,) = self._rng.choices([*self._faults], [*self._faults.values()])
            self._found[fault.__name__] += 1
            self.calm()
            fault()

    def calm(self) -> None:
        """Refuse nothing more; a silence goes on to its end."""
        self._closes_until = 0.0
        channels = self._emulator._state.live.channels
        with channels.lock:
            channels._rules.clear()

    def connected(self) -> None:
        """Close a connection that has just been accepted, while that is the fault."""
        if asyncio.get_running_loop().time() < self._closes_until:
            asyncio.get_running_loop().call_soon(self._emulator.live.cut, 1000)

    def _cut(self) -> None:
        self._emulator.live.cut()

    def _close(self) -> None:
        self._emulator.live.cut(self._rng.choice([1000, 1001, 1011]))

    def _be_silent(self) -> None:
        seconds = self._rng.random() * 40
        now = (self._emulator.now() - EPOCH).total_seconds()
        self._truth.silence(now, seconds)
        self._emulator.live.go_silent(seconds)

    def _accept_then_close(self) -> None:
        seconds = self._rng.random() * 30
        self._closes_until = asyncio.get_running_loop().time() + seconds

    def _refuse_subscriptions(self) -> None:
        self._refuse("channels:subscribe", 400, 403, 429, 500)

    def _refuse_handshakes(self) -> None:
        self._refuse("handshake", 429, 500, 503)

    def _refuse_auth(self) -> None:
        self._refuse("auth:token", 429, 503)

    def _refuse(self, path: Any, *statuses: int) -> None:
        times = self._rng.randrange(1, 4)
        status = self._rng.choice(statuses)
        self._emulator.live.refuse(status=status, times=times, path=path)


class Watch:
    """What an emulator sees at the most, as of each second.

    Attributes:
        on_one: Subscriptions of one connection.
        in_all: Subscriptions of all connections.
        handshakes: Handshakes within a minute.
    """

    def __init__(self, emulator: EmoggEmulator) -> None:
        self._live = emulator.live
        self._counts: deque[int] = deque([0], maxlen=61)
        self.on_one = self.in_all = self.handshakes = 0

    async def watch(self) -> None:
        """Look once a second, to the end."""
        while True:
            await asyncio.sleep(1)
            subscriptions = self._live.subscriptions
            each = Counter(one.connection for one in subscriptions)
            self.on_one = max(self.on_one, *each.values(), 0)
            self.in_all = max(self.in_all, len(subscriptions))
            self._counts.append(self._live.handshakes)
            within = self._counts[-1] - self._counts[0]
            self.handshakes = max(self.handshakes, within)


async def cancel_some(
    visits: Sequence["asyncio.Task[None]"], rng: random.Random, between: float
) -> None:
    """Cancel a visit every so many seconds at the most, whatever it does just then."""
    while True:
        await asyncio.sleep(rng.random() * between)
        rng.choice(visits).cancel()


async def end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel all tasks; raise the first error of those that have failed."""
    tasks = [*tasks]
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(
            result, asyncio.CancelledError
        ):
            raise result
