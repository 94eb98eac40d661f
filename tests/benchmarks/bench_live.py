"""The cost of one event to 1,000 feeds, beside 1,000 bare queues.

Both are told in the same way and read by one task each. The median of the ratios of
alternating blocks is told.
"""

import asyncio
import gc
import statistics
import time
from datetime import UTC, datetime

from emogg_async import EmotionCounts, FrozenMapping
from emogg_async._live.feed import Branch, Feed
from emogg_async._live.topics import Topic, Wish
from emogg_async._wire.live import COUNTS

READERS = 1_000
EVENTS = 50
BLOCKS = 21

SESSION = "65ea1530bb50af72b6e3dc1e"
EVENT = EmotionCounts(
    session=SESSION,
    timestamp=datetime(2024, 4, 1, tzinfo=UTC),
    emotions=FrozenMapping({"focus": 2, "shock": 1}),
)


class OneTopic:
    """What a feed needs of a client's connections: a topic that is live."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.topic = Topic(Wish(COUNTS, SESSION, "1s", 1.0))

    def join(self, branch: Branch, wish: Wish) -> Topic:
        self.topic.join(branch)
        return self.topic

    def leave(self, branch: Branch, topic: Topic) -> None:
        topic.sinks.pop(branch, None)


async def feeds() -> float:
    """Return the CPU seconds of one event to all feeds."""
    hub = OneTopic()
    wish = Wish(COUNTS, SESSION, "1s", 1.0)

    async def read(feed: Feed[EmotionCounts]) -> None:
        async with feed:
            async for _ in feed:
                pass

    made = [Feed(lambda: (hub, 60.0), [Branch(wish, 256)]) for _ in range(READERS)]
    tasks = [asyncio.create_task(read(feed)) for feed in made]
    return await told(lambda: hub.topic.publish(EVENT, 0.0), tasks)


async def queues() -> float:
    """Return the CPU seconds of one item to all queues."""
    made = [asyncio.Queue(256) for _ in range(READERS)]

    async def read(queue: asyncio.Queue[EmotionCounts]) -> None:
        while True:
            await queue.get()

    def tell() -> None:
        for queue in made:
            queue.put_nowait(EVENT)

    return await told(tell, [asyncio.create_task(read(queue)) for queue in made])


async def told(tell, tasks) -> float:
    """Tell the event again and again, and let all readers read it each time."""
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    began = time.process_time()
    for _ in range(EVENTS):
        tell()
        for _ in range(3):
            await asyncio.sleep(0)
    spent = (time.process_time() - began) / EVENTS
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return spent


def main() -> None:
    ours, bare = [], []
    for _ in range(BLOCKS):
        ours.append(asyncio.run(feeds()))
        bare.append(asyncio.run(queues()))
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    print(f"one event to {READERS:,} feeds   {min(ours) * 1e3:6.2f} ms")
    print(f"one item to {READERS:,} queues   {min(bare) * 1e3:6.2f} ms")
    print(f"ratio, median of {BLOCKS}      {ratio:6.2f}")


if __name__ == "__main__":
    main()
