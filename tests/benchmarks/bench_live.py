"""What a live event costs: 1,000 feeds beside 1,000 bare queues, in turns in one run.

Feeds and queues are told in the same way, and each is read by a task of its own. The
whole way of an event begins at the socket of a client, with the emulator in another
thread; CPU is that of the client's thread. Memory is that of feeds whose readers stand
still until all buffers are full.

    nox -s bench
"""

import asyncio
import gc
import pathlib
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from blocks import ROUNDS, ratios, spread

from emogg_async import EmotionCounts, Feed, FrozenMapping
from emogg_async._live.feed import Branch
from emogg_async._live.topics import Topic, Wish
from emogg_async._wire.live import COUNTS
from emogg_async.testing import EmoggEmulator

READERS = 1_000
EVENTS = 50
STILL = 600

SESSION = "65ea1530bb50af72b6e3dc1e"
BEGUN = datetime(2024, 4, 1, tzinfo=UTC)
NAMES = ("exaltation", "focus", "overwhelming", "seriousness", "shock")


def event(second: int) -> EmotionCounts:
    """Make an event."""
    return EmotionCounts(
        session=SESSION,
        timestamp=BEGUN + timedelta(seconds=second),
        emotions=FrozenMapping(dict.fromkeys(NAMES, second)),
    )


class OneTopic:
    """What a feed needs of a client's connections: a topic that is live."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.topic = Topic(Wish(COUNTS, SESSION, "1s", 1.0))

    def feeds(self) -> list[Feed[EmotionCounts]]:
        """Make the feeds of that topic."""
        wish = Wish(COUNTS, SESSION, "1s", 1.0)
        return [Feed([Branch(lambda: (self, 60.0), wish, 256)]) for _ in range(READERS)]

    def join(self, branch: Branch, wish: Wish) -> Topic:
        self.topic.join(branch)
        return self.topic

    def leave(self, branch: Branch, topic: Topic) -> None:
        topic.sinks.pop(branch, None)

    def slow(self) -> None:
        pass


# -- CPU -------------------------------------------------------------------------------


async def feeds() -> float:
    """Return the CPU microseconds of one event to all feeds."""
    one = OneTopic()
    told = event(1)

    async def read(feed: Feed[EmotionCounts]) -> None:
        async with feed:
            async for _ in feed:
                pass

    tasks = [asyncio.create_task(read(feed)) for feed in one.feeds()]
    return await cost(lambda: one.topic.publish(told, 0.0), tasks)


async def queues() -> float:
    """Return the CPU microseconds of one item to all queues."""
    made: list[asyncio.Queue[EmotionCounts]] = [
        asyncio.Queue(256) for _ in range(READERS)
    ]
    told = event(1)

    async def read(queue: asyncio.Queue[EmotionCounts]) -> None:
        while True:
            await queue.get()

    def tell() -> None:
        for queue in made:
            queue.put_nowait(told)

    return await cost(tell, [asyncio.create_task(read(queue)) for queue in made])


async def cost(
    tell: Callable[[], object], tasks: Sequence[asyncio.Task[None]]
) -> float:
    """Tell again and again, and let all readers read each time."""
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    began = time.process_time()
    for _ in range(EVENTS):
        tell()
        for _ in range(3):
            await asyncio.sleep(0)
    spent = time.process_time() - began
    await end(tasks)
    return spent / EVENTS * 1e6


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel the readers."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def whole(emulator: EmoggEmulator, readers: int) -> float:
    """Return the CPU microseconds of one event from the socket to so many feeds."""
    session_id = emulator.add_session(state="active").id
    all_read = asyncio.Event()
    left = readers

    async def read(feed: Feed[EmotionCounts]) -> None:
        nonlocal left
        async with feed:
            async for _ in feed:
                left -= 1
                if not left:
                    all_read.set()

    async with emulator.client() as client:
        made = [client.live.counts(session_id) for _ in range(readers)]
        tasks = [asyncio.create_task(read(feed)) for feed in made]
        while not all(feed.state == "live" for feed in made):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gc.collect()
        spent = 0.0
        for number in range(EVENTS):
            left = readers
            all_read.clear()
            emulator.live.emit(session_id, dict.fromkeys(NAMES, number))
            began = time.thread_time()
            await all_read.wait()
            spent += time.thread_time() - began
        await end(tasks)
    return spent / EVENTS * 1e6


# -- memory ----------------------------------------------------------------------------


async def still() -> tuple[float, float]:
    """Return the kilobytes of a feed that was told nothing, and of a full one.

    The events, which all feeds share, are among them.
    """
    one = OneTopic()
    tracemalloc.start()
    made = one.feeds()
    for feed in made:
        await feed.__aenter__()
    empty = tracemalloc.get_traced_memory()[0]
    for second in range(STILL):
        one.topic.publish(event(second), float(second))
    full = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return empty / READERS / 1e3, full / READERS / 1e3


def main() -> None:
    """Print the figures."""
    figures: dict[str, list[float]] = {}
    with EmoggEmulator(sessions=0, rate_limit=None) as emulator:
        for _ in range(ROUNDS + 1):
            for name, work in (
                ("feeds", feeds()),
                ("queues", queues()),
                ("whole", whole(emulator, READERS)),
                ("alone", whole(emulator, 1)),
            ):
                figures.setdefault(name, []).append(asyncio.run(work))
    empty, full = asyncio.run(still())
    # The first round warms up what it takes.
    each = {name: found[1:] for name, found in figures.items()}
    print(
        f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}; "
        f"CPU, the median (least to most) of {ROUNDS} rounds"
    )
    print(f"    one item to {READERS:,} queues   {spread(each['queues'], 0)} µs")
    print(
        f"    one event to {READERS:,} feeds   {spread(each['feeds'], 0)} µs, ", end=""
    )
    print(f"{spread(ratios(each['feeds'], each['queues']))} times as much")
    print(f"    from the socket         {spread(each['whole'], 0)} µs")
    print(f"    the same, to one feed   {spread(each['alone'], 0)} µs")
    print(
        f"a feed takes {empty:.1f} kB, and {full:.1f} kB after {STILL} events "
        f"that nobody read"
    )


if __name__ == "__main__":
    main()
