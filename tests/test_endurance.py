"""The promises in figures: a scaled row of each here, the full one by `nox -s soak`."""

import asyncio
import gc
import itertools
import os
import random
import socket
import time
from functools import partial

import psutil
import pytest
from server_process import served

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    Failed,
    RetryPolicy,
    ServerError,
)
from emogg_async._caching.outages import PROBE_INTERVAL

SCALED = pytest.param(0.05, id="scaled")
FULL = pytest.param(1.0, id="full", marks=pytest.mark.soak)
both_sizes = pytest.mark.parametrize("scale", [SCALED, FULL])

FAULTS = [
    {"fault": "reset"},
    {"status": 500},
    {"status": 503},
    {"fault": "cut"},
]


async def workers(number, items, work):
    """Let so many workers do the *work* on all items."""
    source = iter(items)

    async def worker():
        for item in source:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(number)))


def rss():
    """Return the memory of this process, in MB, after a collection."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


@both_sizes
async def test_faults_cost_next_to_no_call(emulator, scale):
    """With 5 % each of reset, 500, 503 and cut, 99.9 % succeed, and all are right."""
    calls = int(6_000 * scale)
    sessions = {each.id: each for each in emulator.sessions}
    for rule in FAULTS:
        # Rules are tried in turn, each on what the ones before left over.
        emulator.fail(**rule, probability=0.05)
    ids = list(itertools.islice(itertools.cycle(sessions), calls))
    failed = []
    retry = RetryPolicy(base=0.02) if scale < 1 else RetryPolicy()
    async with emulator.client(cache=None, concurrency=50, retry=retry) as client:

        async def get(session_id):
            try:
                assert sessions[session_id] == await client.get_session(session_id)
            except ServerError:
                failed.append(session_id)

        started = time.monotonic()
        await workers(50, ids, get)
        stats = client.stats
    print(
        f"\n{calls} gets, 50 workers, 20 % faults: {len(failed)} failed, "
        f"{len(emulator.requests) / calls:.3f} requests a call, "
        f"{time.monotonic() - started:.1f} s"
    )
    assert len(failed) <= calls * 0.001
    assert stats.requests <= len(emulator.requests) <= 1.35 * calls
    assert stats.retries > 0.08 * calls


@both_sizes
async def test_an_outage_is_no_storm(emulator, scale):
    """While the service only answers 503, it sees at most 1.05 requests for a call."""
    calls = int(1_000 * scale) if scale < 1 else 1_000
    # A scaled row has a scaled budget.
    retry = RetryPolicy(base=0.01 if scale < 1 else 0.25, budget=40 * calls / 1_000)
    emulator.fail(status=503)
    failed = []

    async with emulator.client(retry=retry, cache=None) as client:

        async def get(number):
            with pytest.raises(ServerError) as caught:
                await client.get_session(f"{number:024x}")
            failed.append(caught.value)

        await workers(50, range(calls), get)
    print(f"\n{calls} calls in an outage: {len(emulator.requests)} requests")
    assert calls == len(failed)
    assert len(emulator.requests) <= 1.05 * calls


@both_sizes
@pytest.mark.timing
async def test_visitors_do_not_notice_an_outage(emulator, scale):
    """Through 10 s of 503 at 200 calls a second, all have the past value, and soon."""
    seconds = max(1.0, 10 * scale)
    ids = [each.id for each in emulator.sessions[: int(100 * scale)]]
    cache = CachePolicy(ttl=0.1, live_ttl=0.1, stale_if_error=60.0)
    retry = RetryPolicy(budget=40 * scale)  # a scaled row has a scaled budget
    times, found = [], []

    async with emulator.client(retry=retry, cache=cache, pace=False) as client:

        async def visit(session_id):
            started = time.monotonic()
            found.append(await client.get_session(session_id))
            times.append(time.monotonic() - started)

        await client.get_sessions(ids)
        await asyncio.sleep(0.15)
        emulator.fail(status=503)
        requests, loads = len(emulator.requests), client.stats.cache_misses
        async with asyncio.TaskGroup() as visits:
            ends = time.monotonic() + seconds
            for session_id in itertools.cycle(ids):
                visits.create_task(visit(session_id))
                await asyncio.sleep(1 / 200)
                if time.monotonic() > ends:
                    break
        requests = len(emulator.requests) - requests
        loads = client.stats.cache_misses - loads
        times.sort()
        print(
            f"\n{len(found)} visitors in {seconds:.0f} s of 503, {len(ids)} ids: "
            f"{requests} requests for {loads} loads; waited "
            f"{times[len(times) // 2] * 1e3:.1f} ms at the median, "
            f"{times[len(times) * 99 // 100] * 1e3:.0f} ms at p99, "
            f"{times[-1] * 1e3:.0f} ms at most"
        )
        assert all(session.stale for session in found)
        assert len(found) == client.stats.stale_served
        assert requests <= 20 + 2 * seconds
        emulator.reset()
        await asyncio.sleep(PROBE_INTERVAL + 0.05)
        assert not (await client.get_session(ids[0])).stale


@both_sizes
def test_a_stream_has_flat_memory(scale):
    """However many ids are streamed, memory grows by no more than 30 MB."""
    calls = int(300_000 * scale * (0.4 if scale < 1 else 1))

    async def main():
        options = {"rate_limit": (100_000_000, 60.0), "sessions": 1_000}
        with served(**options) as server:
            async with AsyncEmoggClient(
                server.token, base_url=server.url, cache=None
            ) as client:
                ids = itertools.islice(itertools.cycle(server.ids), calls)
                before, seen, most = None, 0, 0.0
                started = time.monotonic()
                async with client.stream_sessions(ids) as outcomes:
                    async for outcome in outcomes:
                        assert not isinstance(outcome, Failed)
                        seen += 1
                        if seen == 1_000:
                            before = rss()
                        elif seen % 2_000 == 0:
                            most = max(most, rss() - before)
                print(
                    f"\n{calls} ids streamed in {time.monotonic() - started:.0f} s: "
                    f"memory grew by {most:.1f} MB"
                )
                assert calls == seen
                assert most <= 30
                async with client.stream_sessions(itertools.cycle(server.ids)) as out:
                    for _ in range(10):
                        await anext(out)
                assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(main())


@both_sizes
def test_open_call_cancel_close_leaves_nothing(emulator, scale):
    """Cancelled at whatever moment, a client leaves no task, socket or warning."""
    rounds = int(1_000 * scale)
    rng = random.Random(1)
    emulator.latency = 0.001
    ids = [each.id for each in emulator.sessions]
    problems = []

    async def once():
        client = emulator.client()
        calls = [
            partial(client.get_session, ids[0]),
            partial(client.get_sessions, ids[:20]),
            client.list_sessions().first,
            partial(client.request, "POST", "/v1/sessions", json={}),
        ]
        task = asyncio.create_task(rng.choice(calls)())
        await asyncio.sleep(rng.uniform(0, 0.006))
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await client.aclose()

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        await once()
        await asyncio.sleep(0.01)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(rounds):
            await once()
        await asyncio.sleep(0.05)
        assert {asyncio.current_task()} == asyncio.all_tasks()
        # The emulator's ends of the connections, in this process too, close with ours.
        assert len(os.listdir("/proc/self/fd")) <= before + 2

    asyncio.run(main(), debug=scale < 1)
    gc.collect()
    assert [] == problems


@pytest.mark.parametrize(
    "what", ["get", "get_many", "pages", "list", "request", "stream"]
)
async def test_cancelled_at_any_step_nothing_is_left(emulator, what):
    """Cancelled at its n-th step, for each n, a call gives back all that it held."""
    ids = [each.id for each in emulator.sessions[:3]]
    async with emulator.client(cache=None, concurrency=2) as client:

        async def stream():
            async with client.stream_sessions(ids) as outcomes:
                async for _ in outcomes:
                    pass

        call = {
            "get": partial(client.get_session, ids[0]),
            "get_many": partial(client.get_sessions, ids),
            "pages": partial(client.get_sessions, ids, via="pages"),
            "list": client.list_sessions().first,
            "request": partial(client.request, "GET", "/v1/sessions"),
            "stream": stream,
        }[what]
        await call()
        pipeline = client._core.pipeline
        for steps in range(0, 400, 3):
            task = asyncio.ensure_future(call())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await pipeline.flights.drain()
            assert {asyncio.current_task()} == asyncio.all_tasks()
            assert 0 == client.stats.in_flight
            assert [0, 0] == pipeline.gate._taken
            assert not pipeline.flights._aloft
            assert not pipeline.flights.joinable
            assert not pipeline.flights.alarms.due
        await call()


async def test_many_ports_are_not_used_up(emulator):
    """Calls one after the other use one connection."""
    ids = [each.id for each in emulator.sessions[:50]]
    async with emulator.client(cache=None) as client:
        for each in ids:
            await client.get_session(each)
        connections = [
            each
            for each in psutil.Process().net_connections("tcp")
            if each.raddr and each.raddr.port == int(emulator.url.rpartition(":")[2])
        ]
    assert 1 == len([each for each in connections if each.status == "ESTABLISHED"])
    assert socket.AF_INET == connections[0].family
