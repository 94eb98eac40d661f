"""What a bulk by pages costs against hand-written gets, side by side in one run.

The emulator runs in another process; CPU is this process's own. The hand-written loop
gets each session by itself, which is what there is without an SDK.

    nox -s bench
"""

import asyncio
import pathlib
import random
import sys
import time
from collections.abc import Sequence

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from server_process import Server, served

from emogg_async import AsyncEmoggClient

SESSIONS = 4_000
WORKERS = 50
ROUNDS = 5


async def by_hand(server: Server, ids: Sequence[str]) -> float:
    """Return the CPU microseconds for each session of the hand-written loop."""
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        await http.get(f"{server.url}/v1/sessions/{ids[0]}")
        left = iter(ids)

        async def worker() -> None:
            for session_id in left:
                url = f"{server.url}/v1/sessions/{session_id}"
                async with http.get(url) as response:
                    await response.json()

        started = time.process_time()
        await asyncio.gather(*(worker() for _ in range(WORKERS)))
        return (time.process_time() - started) / len(ids) * 1e6


async def by_pages(server: Server, ids: Sequence[str]) -> float:
    """Return the CPU microseconds for each session of `get_sessions`."""
    async with AsyncEmoggClient(server.token, base_url=server.url) as client:
        await client.get_sessions(ids[:100], via="pages")  # warms up what it takes
        started = time.process_time()
        batch = await client.get_sessions(ids, fresh=True)
        seconds = time.process_time() - started
        assert len(batch) == len(ids)
        return seconds / len(ids) * 1e6


async def requests(server: Server, ids: Sequence[str]) -> int:
    """Return how many requests `get_sessions` takes with nothing cached."""
    async with AsyncEmoggClient(
        server.token, base_url=server.url, cache=None
    ) as client:
        (await client.get_sessions(ids)).raise_for_errors()
        return client.stats.requests


def main() -> None:
    """Print the figures."""
    options = {"rate_limit": (100_000_000, 60.0)}
    with served(sessions=SESSIONS, **options) as server:
        hand, ours = [], []
        for _ in range(ROUNDS):
            hand.append(asyncio.run(by_hand(server, server.ids)))
            ours.append(asyncio.run(by_pages(server, server.ids)))
    print(f"{SESSIONS} sessions by pages, best of {ROUNDS}:")
    print(f"CPU per session {min(ours):.1f} µs, by hand {min(hand):.1f} µs,", end=" ")
    pairs = sorted(us / by for us, by in zip(ours, hand, strict=True))
    print(f"pair by pair {', '.join(f'{pair:.2f}' for pair in pairs)}")
    for count in (3_000, 30_000):
        with served(sessions=count, **options) as server:
            print(f"requests for 300 of {count} sessions:", end=" ")
            recent = asyncio.run(requests(server, server.ids[:300]))
            chance = random.Random(count)
            scattered = [
                asyncio.run(requests(server, chance.sample(server.ids, 300)))
                for _ in range(ROUNDS)
            ]
            print(f"the newest {recent}, at random {min(scattered)}", end=" ")
            print(f"to {max(scattered)}")


if __name__ == "__main__":
    main()
