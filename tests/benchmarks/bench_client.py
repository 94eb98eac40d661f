"""What a call costs over hand-written aiohttp, measured side by side in one run.

The emulator runs in another process; CPU is this process's own. The hand-written loop
is what one writes without an SDK: no retry, no timeout of its own, no cache, no models.

    nox -s bench
"""

import asyncio
import pathlib
import platform
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from server_process import Server, served

from emogg_async import AsyncEmoggClient

CALLS = 5_000
WORKERS = 50
ROUNDS = 5
HITS = 100_000

Get = Callable[[str], Awaitable[object]]


async def fetch_all(get: Get, ids: list[str]) -> None:
    """Get so many sessions with so many workers."""
    numbers = iter(range(CALLS))

    async def worker() -> None:
        for number in numbers:
            await get(ids[number % len(ids)])

    await asyncio.gather(*(worker() for _ in range(WORKERS)))


async def measured(get: Get, ids: list[str]) -> tuple[float, float]:
    """Return CPU microseconds for each call, and calls a second, once warmed up."""
    await fetch_all(get, ids)
    cpu, wall = time.process_time(), time.perf_counter()
    await fetch_all(get, ids)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / CALLS * 1e6, CALLS / wall


async def by_hand(server: Server) -> tuple[float, float]:
    """Measure the hand-written loop."""
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def get(session_id: str) -> object:
            async with http.get(f"{server.url}/v1/sessions/{session_id}") as response:
                return await response.json()

        return await measured(get, server.ids)


async def by_us(server: Server) -> tuple[float, float]:
    """Measure `get_session`, with nothing cached."""
    async with AsyncEmoggClient(
        server.token, base_url=server.url, cache=None, concurrency=WORKERS
    ) as client:
        return await measured(client.get_session, server.ids)


async def cache_hit(server: Server) -> float:
    """Return the microseconds of a hit."""
    async with AsyncEmoggClient(server.token, base_url=server.url) as client:
        session_id = await _a_finished_one(client)
        await client.get_session(session_id)
        started = time.perf_counter()
        for _ in range(HITS):
            await client.get_session(session_id)
        return (time.perf_counter() - started) / HITS * 1e6


async def _a_finished_one(client: AsyncEmoggClient) -> str:
    session = await client.list_sessions(state="finished").first()
    assert session is not None
    return session.id


async def coalesced(server: Server) -> tuple[int, float]:
    """Return the requests and the seconds that 10,000 gets of one id at once take."""
    async with AsyncEmoggClient(
        server.token, base_url=server.url, cache=None
    ) as client:
        started = time.perf_counter()
        await asyncio.gather(
            *(client.get_session(server.ids[0]) for _ in range(10_000))
        )
        return client.stats.requests, time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    with served(sessions=1_000, rate_limit=(100_000_000, 60.0)) as server:
        hand, ours, hits = [], [], []
        for _ in range(ROUNDS):
            hand.append(asyncio.run(by_hand(server)))
            ours.append(asyncio.run(by_us(server)))
            hits.append(asyncio.run(cache_hit(server)))
        requests, seconds = asyncio.run(coalesced(server))
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, "
        f"{CALLS} gets by {WORKERS} workers, best of {ROUNDS}"
    )
    print("|                      | CPU per call | calls per second |")
    print("| -------------------- | -----------: | ---------------: |")
    for name, runs in (("hand-written aiohttp", hand), ("`get_session`", ours)):
        cpu, rate = min(run[0] for run in runs), max(run[1] for run in runs)
        print(f"| {name:<20} | {cpu:9.1f} µs | {rate:16,.0f} |")
    ratio = min(run[0] for run in ours) / min(run[0] for run in hand)
    pairs = sorted(us[0] / by[0] for us, by in zip(ours, hand, strict=True))
    print(f"CPU ratio {ratio:.2f}; pair by pair {', '.join(f'{p:.2f}' for p in pairs)}")
    print(f"a cache hit: {min(hits):.2f} µs")
    print(f"10,000 gets of one id at once: {requests} request, {seconds:.2f} s")


if __name__ == "__main__":
    main()
