"""What a call costs over hand-written aiohttp, in turns in one run.

The emulator runs in another process; CPU is that of the process that calls. The
hand-written loop is what one writes without an SDK: no retry, no timeout of its own, no
cache, no models; it gets each session by itself, also where we get pages.

    nox -s bench
    nox -s bench -- --against HEAD~1
"""

import asyncio
import gc
import json
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from blocks import ROUNDS, Environment, checkouts, ratios, spread
from server_process import Server, served

PLAIN = "without orjson"
if PLAIN in sys.argv:
    sys.modules["orjson"] = None  # type: ignore[assignment]  # as if it were not there

from emogg_async import AsyncEmoggClient  # noqa: E402 - it must not find orjson

CALLS = 1_000
WORKERS = 50
HITS = 20_000
SESSIONS = 4_000
BLOCKS = ("hand", "get", "pages", "hit")

Get = Callable[[str], Awaitable[object]]


# -- a process that measures -----------------------------------------------------------


async def fetch_all(get: Get, ids: Sequence[str]) -> int:
    """Get all sessions with so many workers; return how many they are."""
    left = iter(ids)

    async def worker() -> None:
        for session_id in left:
            await get(session_id)

    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    return len(ids)


async def hit(client: AsyncEmoggClient, session_id: str) -> int:
    """Get a session that is cached, again and again; return how often."""
    for _ in range(HITS):
        await client.get_session(session_id)
    return HITS


async def work() -> None:
    """Print the figure of each block that standard input names."""
    url, token, ids, finished = json.loads(sys.stdin.readline())
    headers = {"Authorization": f"Bearer {token}"}
    options = {"base_url": url, "concurrency": WORKERS}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        AsyncEmoggClient(token, cache=None, **options) as client,
        AsyncEmoggClient(token, **options) as caching,
    ):

        async def by_hand(session_id: str) -> object:
            async with http.get(f"{url}/v1/sessions/{session_id}") as response:
                return await response.json()

        async def pages() -> int:
            return len(await client.get_sessions(ids))

        blocks = {
            "hand": lambda: fetch_all(by_hand, ids[:CALLS]),
            "get": lambda: fetch_all(client.get_session, ids[:CALLS]),
            "pages": pages,
            "hit": lambda: hit(caching, finished),
        }
        for line in sys.stdin:
            gc.collect()
            began = time.process_time()
            calls = await blocks[line.strip()]()
            print((time.process_time() - began) / calls * 1e6, flush=True)


# -- the process that asks -------------------------------------------------------------


class Measurer:
    """A process that measures one checkout, and its figures.

    Args:
        environment: The environment of that checkout.
        facts: What it has to know.
        more: Arguments of the process.
    """

    def __init__(
        self, environment: Environment, facts: Sequence[object], *more: str
    ) -> None:
        self.figures: dict[str, list[float]] = {block: [] for block in BLOCKS}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "work", *more],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._say(json.dumps(facts))

    def measure(self) -> None:
        """Add a figure of each block."""
        assert self.process.stdout is not None
        for block, figures in self.figures.items():
            self._say(block)
            figures.append(float(self.process.stdout.readline()))

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate()


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


async def a_finished_one(server: Server) -> str:
    """Return the id of a session that is cached for long."""
    async with AsyncEmoggClient(server.token, base_url=server.url) as client:
        session = await client.list_sessions(state="finished").first()
        assert session is not None
        return session.id


def main() -> None:
    """Print the figures."""
    limit = (100_000_000, 60.0)
    with checkouts() as found, served(sessions=SESSIONS, rate_limit=limit) as server:
        facts = (
            server.url,
            server.token,
            server.ids,
            asyncio.run(a_finished_one(server)),
        )
        measurers = {name: Measurer(each, facts) for name, each in found.items()}
        measurers[f"this {PLAIN}"] = Measurer(found["this"], facts, PLAIN)
        for _ in range(ROUNDS + 1):
            for measurer in measurers.values():
                measurer.measure()
        for measurer in measurers.values():
            measurer.end()
        requests, seconds = asyncio.run(coalesced(server))
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}, "
        f"{WORKERS} workers; CPU, the median (least to most) of {ROUNDS} rounds"
    )
    # The first round opens the connections and warms up what it takes.
    figures = {
        name: {block: each[1:] for block, each in measurer.figures.items()}
        for name, measurer in measurers.items()
    }
    for name, each in figures.items():
        print(f"{name}:")
        print(f"    a get by hand    {spread(each['hand'], 1)} µs")
        print(f"    get_session      {spread(each['get'], 1)} µs, ", end="")
        print(f"{spread(ratios(each['get'], each['hand']))} times as much")
        print(f"    by pages         {spread(each['pages'], 1)} µs, ", end="")
        print(f"{spread(ratios(each['pages'], each['hand']))} times as much")
        print(f"    from the cache   {spread(each['hit'])} µs")
    for name, each in list(figures.items())[1:]:
        print(f"this over {name}, round by round:")
        for block in BLOCKS[1:]:
            pairs = ratios(figures["this"][block], each[block])
            print(f"    {block:<16} {spread(pairs)}")
    print(f"10,000 gets of one id at once: {requests} request, {seconds:.2f} s")


if __name__ == "__main__":
    asyncio.run(work()) if "work" in sys.argv else main()
