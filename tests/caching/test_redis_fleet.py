"""Processes that share a token and a Redis; only the soak has the time for them."""

import json
import random
import subprocess
import sys
import time

import attrs
import pytest
from _terminal import Program
from server_process import served


@attrs.frozen
class Run:
    """What four processes do together."""

    ids: int = 300
    gets: int = 2_000
    workers: int = 2
    """In each process; what two have under way at the same time is asked for twice."""

    at_most: float = 1.2
    """Requests for each id."""

    bucket: tuple[int, float] = (100, 10.0)
    killed: bool = False
    """Whether Redis is, at half-time."""


RUNS = [
    pytest.param(Run(), id="full"),
    pytest.param(Run(killed=True), id="killed"),
]

MEMBER = """
import asyncio, json, sys
from emogg_async import AsyncEmoggClient, CachePolicy, redis_cache

async def main(redis_url, url, token, ids, workers):
    failed = []
    async with redis_cache(redis_url) as backend:
        policy = CachePolicy(backend=backend, live_ttl=300.0)
        async with AsyncEmoggClient(token, base_url=url, cache=policy) as client:
            # Each get looks into the cache when its turn comes, not all at the start.
            gets = client.stream(client.get_session, ids, concurrency=workers)
            async with gets as outcomes:
                async for outcome in outcomes:
                    try:
                        assert outcome.unwrap().id == outcome.session_id
                    except Exception as error:
                        failed.append(repr(error))
            stats = client.stats
    print(json.dumps([failed, stats.requests, stats.rate_limited, stats.cache_hits]))

asyncio.run(main(*json.load(sys.stdin)))
"""


@pytest.mark.soak
@pytest.mark.parametrize("run", RUNS)
def test_four_processes(own_redis, run):
    """All gets are right; hardly any id is asked for twice, as long as Redis lives."""
    rng = random.Random(6)
    with served(sessions=run.ids, rate_limit=run.bucket) as server:
        todo = [server.ids[n % run.ids] for n in range(run.gets)]
        rng.shuffle(todo)
        place = (own_redis.url, server.url, server.token)
        members = [begin(*place, todo[n::4], run.workers) for n in range(4)]
        if run.killed:
            wait_for_keys(own_redis, run.ids // 2)
            own_redis.kill()
        results = [end(member) for member in members]
    failed, requests, refused, hits = zip(*results, strict=True)
    print(f"{sum(requests)} requests, {sum(refused)} refused, {sum(hits)} hits")
    assert ([],) * 4 == failed
    if not run.killed:
        assert run.ids <= sum(requests) <= run.at_most * run.ids
        assert sum(refused) <= 0.01 * sum(requests)


def begin(*arguments):
    """Begin a member of the fleet."""
    member = Program(
        [sys.executable, "-W", "error", "-c", MEMBER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    json.dump(arguments, member.stdin)
    member.stdin.close()
    return member


def end(member):
    """Return what a member has to tell at its end."""
    with member:
        return json.load(member.stdout)


def wait_for_keys(server, number):
    """Wait until so many sessions are stored, which is half-time."""
    deadline = time.monotonic() + 60
    while len(server.keys()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)
