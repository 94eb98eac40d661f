"""One client that does everything at once, for seconds here and minutes in the soak."""

import asyncio
import gc
import itertools
import os
import random
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from redis_server import RedisServer
from server_process import Server, served

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ClientClosedError,
    EmoggError,
    InvalidArgumentError,
    LivePolicy,
    RetryPolicy,
    redis_cache,
)

URI = "rtmp://example.com/stream"
FAULTS = [
    {"fault": "reset"},
    {"fault": "reset", "after": True},
    {"fault": "close"},
    {"fault": "cut"},
    {"fault": "garbage"},
    {"status": 500, "after": True},
    {"status": 503},
    {"status": 429},
    {"delay": 0.2},
    {"lag": 0.2},
]


def answered(emulator):
    """Count the requests of the emulator by their status; no live connections."""
    log = emulator.requests
    return Counter(each.status for each in log if each.path != "/ws/v1")


def kept(emulator):
    """Return what the emulator has kept of each session: name, state and events."""
    return {
        each.id: (
            each.name,
            str(each.state),
            [event.time for event in emulator.events(each.id)],
        )
        for each in emulator.sessions
    }


def rss():
    """Return the memory of this process in MB, after a collection."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def files():
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Ledger:
    """The writes of one run: those that have worked, and those in doubt.

    Attributes:
        sure: Counts what has surely taken effect, by what it was.
        doubt: Counts what may have.
    """

    def __init__(self) -> None:
        self.sure, self.doubt = Counter(), Counter()
        self.names: dict[str, str] = {}
        self.gone: set[str] = set()
        self.events: dict[str, tuple[list[float], list[float]]] = {}

    def check(self, there, first):
        """Fail if a write is missing, or has taken effect twice."""
        made = {key: value for key, value in there.items() if key not in first}
        assert not self.gone & there.keys()
        for session_id, name in self.names.items():
            assert session_id in self.gone or made[session_id][0] == name
        names = Counter(name for name, _, _ in made.values())
        assert [] == [name for name, times in names.items() if times > 1]
        extra = len(made.keys() - self.events.keys())
        assert extra <= self.doubt["create"], f"{extra} sessions more than created"
        for session_id, (sure, doubtful) in self.events.items():
            if session_id in made:
                times = Counter(made[session_id][2])
                assert all(times[each] == 1 for each in sure)
                assert all(times[each] <= 1 for each in doubtful)
                assert times.keys() <= {*sure, *doubtful}


class Tally:
    """Counts what came of the requests of a client, as an instrument of it.

    Attributes:
        answers: Counts the answers, by status.
        lost: The number of requests that were cancelled or failed before an answer.
    """

    def __init__(self) -> None:
        self.answers, self.lost = Counter(), 0

    def __call__(self, request):
        return self

    def departs(self):
        return {}

    def answered(self, status):
        self.answers[status] += 1

    def failed(self, error):
        self.lost += 1

    def ends(self, error):
        pass

    def count(self, what):
        pass


class Load:
    """All that is done with the client at the same time.

    Args:
        client: The client.
        server: The service.
        redis: The cache that is killed now and then.
        rng: The source of chance.
    """

    def __init__(
        self,
        client: AsyncEmoggClient,
        server: Server,
        redis: RedisServer,
        rng: random.Random,
    ) -> None:
        self.client, self.server, self.redis, self.rng = client, server, redis, rng
        self.ledger, self.done, self.failed = Ledger(), Counter(), Counter()
        self.numbers = itertools.count(1)
        self.active = []
        self.cancelled = self.faults = 0

    def any_id(self):
        return self.rng.choice(self.server.ids)

    async def nap(self, most):
        await asyncio.sleep(self.rng.random() * most)

    async def singles(self):
        client = self.client
        calls = [
            client.get_session,
            client.get_emotions,
            client.get_emotions_timeline,
            client.get_transcription_sentiment,
        ]
        while True:
            call, fresh = self.rng.choice(calls), self.rng.random() < 0.1
            session_id = self.any_id()
            answer = await call(session_id, fresh=fresh)
            assert session_id == getattr(answer, "session", getattr(answer, "id", None))
            self.done["single"] += 1
            await self.nap(0.05)

    async def bulk(self):
        while True:
            ids = self.rng.sample(self.server.ids, 40)
            fresh = self.rng.random() < 0.3
            batch = await self.client.get_sessions(ids, fresh=fresh)
            assert {*batch, *batch.errors} == {*ids}
            async with self.client.stream(self.client.get_emotions, ids) as outcomes:
                async for _ in outcomes:
                    if self.rng.random() < 0.05:
                        break  # the rest is cancelled
            self.done["bulk"] += 1
            await self.nap(0.5)

    async def listings(self):
        while True:
            found = await self.client.list_sessions(page_size=50).collect(120)
            assert len(found) == len({each.id for each in found})
            self.done["listing"] += 1
            await self.nap(1.0)

    async def writes(self):
        """Carry out the life of one session after the other."""
        client, ledger = self.client, self.ledger
        while True:
            name = f"{next(self.numbers)}"
            session = await self.sure("create", client.create_session(name, URI))
            if session is None:
                await self.nap(0.1)
                continue
            id_ = session.id
            ledger.names[id_] = name
            ledger.events[id_] = certain, doubtful = [], []
            self.active.append(id_)
            with suppress(EmoggError):
                source = await client.register_source(id_, name="s", format="scalar")
                for time in range(3):
                    event = client.send_event(id_, source.id, time=time, data=1.5)
                    doubtful.append(time)  # also if all ends meanwhile
                    if await self.sure("event", event) is not None:
                        certain.append(doubtful.pop())
            await self.nap(2.0)
            del ledger.names[id_]  # in doubt, also if all ends meanwhile
            update = client.update_session(id_, name=f"{name} again")
            if await self.sure("rename", update):
                ledger.names[id_] = f"{name} again"
            self.active.remove(id_)
            if await self.sure("stop", client.stop_session(id_)):
                assert (await client.get_session(id_)).is_finished
                ledger.names.pop(id_, None)
                await self.sure("delete", self.deleted(id_))
            self.done["write"] += 1

    async def deleted(self, session_id):
        await self.client.delete_session(session_id)
        self.ledger.gone.add(session_id)
        del self.ledger.events[session_id]
        return True

    async def sure(self, what, write):
        """Await a write; note whether it has surely taken effect."""
        try:
            result = await write
        except (EmoggError, asyncio.CancelledError) as error:
            self.ledger.doubt[what] += 1
            if isinstance(error, EmoggError):
                return None
            raise
        self.ledger.sure[what] += 1
        return result

    async def feeds(self):
        while True:
            await self.nap(0.5)
            if not self.active:
                continue
            live, session_id = self.client.live, self.rng.choice(self.active)
            make = self.rng.choice([live.counts, live.intensities, live.worker_state])
            async with make(session_id) as feed, asyncio.timeout(self.rng.random() * 4):
                async for event in feed:
                    assert event.session == session_id
                    self.done["event"] += 1

    async def cancellations(self):
        """Cancel a call at any moment; it is a read, or a rename of a session kept."""
        client = self.client
        while True:
            ids = self.rng.sample(self.server.ids, 20)
            call = self.rng.choice(
                [
                    lambda ids: client.get_session(ids[0], fresh=True),
                    client.get_sessions,
                    lambda ids: client.get_emotions(ids[0], fresh=True),
                    lambda ids: client.list_sessions(page_size=100).collect(),
                    lambda ids: client.update_session(ids[0], name="cancelled"),
                    lambda ids: client.live.counts(ids[0]).__aenter__(),
                ]
            )
            task = asyncio.ensure_future(call(ids))
            try:
                await self.nap(0.02)
            finally:  # no call outlives the one who made it
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            self.cancelled += task.cancelled()
            if not task.cancelled() and not task.exception():
                with suppress(AttributeError):  # only a feed is to be left
                    await task.result().__aexit__(None, None, None)
            await self.nap(0.2)

    async def trouble(self):
        """Let the service fail in one way after the other."""
        while True:
            await self.nap(0.4)
            rule, times = self.rng.choice(FAULTS), self.rng.randrange(1, 4)
            self.faults += times
            options = {"path": "/v1/*", "times": times, **rule}
            await asyncio.to_thread(self.server.tell, "fail", **options)
            if self.rng.random() < 0.1:
                code = self.rng.choice([None, 1000, 1011])
                await asyncio.to_thread(self.server.tell, "live.cut", code)

    async def kills(self, every):
        """Kill the cache and start it again."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.redis.kill)
            try:
                await asyncio.sleep(every / 3)
            finally:
                self.redis.start()
            self.done["kill"] += 1

    async def again(self, work):
        """Do some work again and again; count the errors that callers may meet."""
        while True:
            try:
                await work()
            except (EmoggError, TimeoutError) as error:
                if isinstance(error, InvalidArgumentError | ClientClosedError):
                    raise
                self.failed[type(error).__name__] += 1
                await asyncio.sleep(0)


async def run_all(load, seconds, samples):
    """Do everything for so many seconds; return the memory at so many moments."""
    work = [
        *[load.singles] * 4,
        load.bulk,
        load.listings,
        *[load.writes] * 3,
        *[load.feeds] * 4,
        *[load.cancellations] * 2,
    ]
    tasks = [asyncio.create_task(load.again(each)) for each in work]
    tasks += [
        asyncio.create_task(load.trouble()),
        asyncio.create_task(load.kills(max(1.5, seconds / 20))),
    ]
    memory = []
    for _ in range(samples):
        await asyncio.sleep(seconds / samples)
        memory.append(rss())
        for task in tasks:
            if task.done():
                task.result()
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [] == [each for each in ends if not isinstance(each, asyncio.CancelledError)]
    return memory


@pytest.mark.timing
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(6, id="scaled"),
        pytest.param(
            600, id="full", marks=[pytest.mark.soak, pytest.mark.timeout(900)]
        ),
    ],
)
async def test_everything_at_once(own_redis, seconds):
    """After all of it no memory, task or socket is left, and each write is known."""
    problems = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: problems.append(told))
    with served(sessions=200, rate_limit=(9_000, 60.0)) as server:
        first = server.ask(kept).keys()
        await asyncio.to_thread(int)  # its threads stay
        before = files()
        async with redis_cache(own_redis.url) as backend:
            client = AsyncEmoggClient(
                server.token,
                base_url=server.url,
                retry=RetryPolicy(base=0.02, budget=1_000),
                cache=CachePolicy(backend=backend, live_ttl=0.5),
                live=LivePolicy(base=0.05, cap=0.5),
            )
            tally = Tally()
            client._instrument(lambda _: tally)
            async with client:
                load = Load(client, server, own_redis, random.Random(4))
                memory = await run_all(load, seconds, samples=20)
            stats = client.stats
        await asyncio.sleep(0.1)
        assert {asyncio.current_task()} == asyncio.all_tasks()
        left = files() - before
        log, there = server.ask(answered), server.ask(kept)
    print(f"\n{stats}\n{dict(load.done)}, {load.cancelled} cancelled")
    print(f"errors: {dict(load.failed)}; requests by status: {dict(log)}")
    print(f"writes: {dict(load.ledger.sure)}; in doubt: {dict(load.ledger.doubt)}")
    print(f"memory: {', '.join(f'{each:.1f}' for each in memory)} MB")
    assert [] == problems
    assert left <= 0
    load.ledger.check(there, first)
    assert 0 == stats.in_flight == stats.live_connections == stats.live_subscriptions
    assert stats.requests == tally.answers.total() + tally.lost
    assert tally.answers.total() <= log.total() <= stats.requests + load.faults
    assert stats.rate_limited == tally.answers[429] <= log[429]
    assert log[429] <= stats.rate_limited + tally.lost
    assert stats.cache_hits + stats.cache_misses + stats.coalesced <= stats.calls
    assert all(load.done[each] for each in ("single", "bulk", "listing", "write"))
    assert all(load.done[each] for each in ("event", "kill"))
    if seconds > 60:
        half = memory[len(memory) // 2 :]
        assert max(half) - half[0] <= 3
