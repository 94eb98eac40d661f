"""Processes that share one token bucket, in simulated time.

Each has a gate and a pacer of its own, the real ones; what is simulated is the service,
the network and the clock. A run of 300 seconds takes a fraction of one.
"""

import asyncio
import itertools
import random
from collections.abc import Callable

import attrs
import simulated

from emogg_async._calls.call import Backlog, Call, Priority, bulk_share
from emogg_async._calls.gate import Gate, Pacer
from emogg_async._wire.protocol import RateLimit
from emogg_async.errors import RateLimitedError
from emogg_async.testing._bucket import TokenBucket

SLOTS = 32


@attrs.define
class Process:
    """What one process met."""

    accepted: int = 0
    refused: int = 0
    finished: float = 0.0
    """When its last request was answered."""

    sends: list[float] = attrs.field(factory=list)
    refusals: list[float] = attrs.field(factory=list)


@attrs.frozen
class Run:
    """What came of a simulation."""

    processes: list[Process]
    capacity: int
    window: float
    seconds: float

    @property
    def accepted(self) -> int:
        return sum(each.accepted for each in self.processes)

    @property
    def refused(self) -> int:
        return sum(each.refused for each in self.processes)

    @property
    def refusals(self) -> float:
        """The refusals for each request that was accepted."""
        return self.refused / max(1, self.accepted)

    @property
    def used(self) -> float:
        """The share of what the bucket held and got that was used."""
        return self.accepted / (self.capacity * (1 + self.seconds / self.window))

    @property
    def fairness(self) -> float:
        """Jain's index: 1 when all got the same, 1/n when one got everything."""
        squares = sum(each.accepted**2 for each in self.processes)
        return self.accepted**2 / max(1, len(self.processes) * squares)

    @property
    def finished(self) -> float:
        return max(each.finished for each in self.processes)


class Service:
    """A bucket behind a network.

    Args:
        bucket: What it gives.
        rng: Decides each delay.
        delay: Seconds on the way there or back, at the least.
        jitter: Seconds that it may take longer.
        headers: Changes what the headers say; None for none at all.
    """

    def __init__(
        self,
        bucket: TokenBucket,
        rng: random.Random,
        *,
        delay: float,
        jitter: float,
        headers: Callable[[RateLimit], RateLimit | None] = lambda limit: limit,
    ) -> None:
        self.bucket = bucket
        self._rng = rng
        self._delay = delay
        self._jitter = jitter
        self._headers = headers

    async def ask(self) -> tuple[bool, RateLimit | None]:
        """Send one request; return whether it was accepted, and what headers say."""
        await self._travel()
        now = simulated.now()
        accepted = self.bucket.take(now)
        told = self.bucket.headers(now)
        await self._travel()
        return accepted, self._headers(read_headers(told))

    async def _travel(self) -> None:
        await asyncio.sleep(self._delay + self._rng.random() * self._jitter)


def read_headers(headers: dict[str, str]) -> RateLimit:
    """Make of a bucket's headers what the client makes of them."""
    return RateLimit(
        int(headers["RateLimit-Limit"]),
        int(headers["RateLimit-Remaining"]),
        float(headers["RateLimit-Reset"]),
        headers["RateLimit-Policy"],
    )


async def send(service: Service, gate: Gate, call: Call, process: Process) -> None:
    """Send one request until it is accepted, as the pipeline does."""
    while True:
        now = simulated.now()
        if not gate.enter_nowait(call, now):
            await gate.enter(call)
            now = simulated.now()
        process.sends.append(now)
        accepted, limit = await service.ask()
        refusal = None if accepted else RateLimitedError("", status=429)
        gate.answered(call, now, limit, refusal)
        process.finished = simulated.now()
        if accepted:
            process.accepted += 1
            return
        process.refused += 1
        process.refusals.append(process.finished)


async def bulk(
    service: Service, gate: Gate, process: Process, demand: int | None, workers: int
) -> None:
    """Make so many calls, or endless ones, as a bulk does."""
    backlog = Backlog() if demand is None else Backlog(demand)
    calls = itertools.count() if demand is None else iter(range(demand))

    async def work() -> None:
        for _ in calls:
            backlog.left -= 1
            call = Call(Priority.BULK, float("inf"), backlog=backlog)
            await send(service, gate, call, process)

    await asyncio.gather(*(work() for _ in range(workers)))


def simulate(
    processes: int = 1,
    *,
    capacity: int = 100,
    window: float = 60.0,
    seconds: float = 300.0,
    demand: int | None = None,
    bulks: int = 1,
    pause: float = 0.0,
    delay: float = 0.02,
    jitter: float = 0.02,
    seed: int = 0,
    full: bool = True,
    headers: Callable[[RateLimit], RateLimit | None] = lambda limit: limit,
    events: dict[float, Callable[[TokenBucket], None]] | None = None,
) -> Run:
    """Let processes get what they can out of one bucket.

    Args:
        processes: How many, which begin within a tenth of a second.
        capacity: Of the bucket.
        window: Seconds in which it fills.
        seconds: How long to look.
        demand: Requests of each process in a bulk; None is no end of them.
        bulks: How many of those each process makes, one after the other.
        pause: Seconds between those.
        delay: Seconds of a request to the service, and of an answer back, at the least.
        jitter: Seconds that each may take longer.
        seed: Decides everything that is random.
        full: Whether the bucket is full at first, or empty.
        headers: Changes what the headers say.
        events: What happens to the bucket, and when.
    """
    rng = random.Random(seed)
    found = [Process() for _ in range(processes)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bucket = TokenBucket(capacity, window)
        while not full and bucket.take(0.0):
            pass
        service = Service(bucket, rng, delay=delay, jitter=jitter, headers=headers)

        async def run(process: Process) -> None:
            await asyncio.sleep(rng.random() * 0.1)
            gate = Gate(SLOTS, Pacer(loop, random.Random(rng.random())))
            for number in range(bulks):
                await asyncio.sleep(pause * (number > 0))
                await bulk(service, gate, process, demand, bulk_share(SLOTS))

        for when, event in (events or {}).items():
            loop.call_at(when, event, bucket)
        tasks = [asyncio.create_task(run(each)) for each in found]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    simulated.run(main())
    return Run(found, capacity, window, seconds)
