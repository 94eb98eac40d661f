"""Processes that share one token bucket, and clients, in simulated time.

Gates, pacers and clients are the real ones; the service, the network and the clock are
simulated. A run of 300 seconds takes a fraction of one.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import simulated
from multidict import CIMultiDict

from emogg_async import AsyncEmoggClient
from emogg_async._calls.call import Backlog, Call, Priority, bulk_share
from emogg_async._calls.gate import Gate, Pacer
from emogg_async._core import assemble
from emogg_async._wire.protocol import RateLimit, Request, Response
from emogg_async.errors import RateLimitedError
from emogg_async.testing._bucket import TokenBucket

SLOTS = 32


@attrs.define
class Process:
    """What one process met.

    Attributes:
        accepted: Its requests that were accepted.
        refused: Its requests that were refused.
        finished: When its last request was answered.
        sends: When it sent a request.
        refusals: When it learnt of a refusal.
    """

    accepted: int = 0
    refused: int = 0
    finished: float = 0.0
    sends: list[float] = attrs.field(factory=list)
    refusals: list[float] = attrs.field(factory=list)


@attrs.frozen
class Run:
    """The result of a simulation."""

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


class Line:
    """The end of a client's line, where a function answers.

    Args:
        answer: Takes a request and the seconds that it may take, and returns the JSON
            of a 200, or raises.
    """

    def __init__(self, answer: Callable[[Request, float], Awaitable[Any]]) -> None:
        self._answer = answer

    async def send(self, request: Request, seconds: float) -> Response:
        body = json.dumps(await self._answer(request, seconds)).encode()
        return Response(200, CIMultiDict(), body)

    async def close(self) -> None:
        """Have nothing to close."""


def client_of(
    answer: Callable[[Request, float], Awaitable[Any]], **options: Any
) -> AsyncEmoggClient:
    """Open a client in the running loop whose requests *answer* answers."""
    options = {"base_url": "http://localhost", "pace": False, **options}
    client = AsyncEmoggClient("token", **options)
    client._core = assemble(
        client._settings,
        client._counters,
        transport=Line(answer),
        rng=random.Random(0),
    )
    return client


def session_of(session_id: str, name: str = "x") -> dict[str, Any]:
    """Make a finished session, as the service writes it."""
    return {
        "_id": session_id,
        "name": name,
        "type": "live_analysis",
        "state": "finished",
        "timestamp": "2024-03-07T19:30:24.000Z",
        "duration": 120,
        "product": "p",
        "user": "u",
        "version": 3,
    }
