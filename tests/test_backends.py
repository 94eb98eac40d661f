"""Each cache that aiocache ships, a real memcached above all, as a shared backend."""

import asyncio

import pytest
from aiocache import MemcachedCache, RedisCache, SimpleMemoryCache
from memcached_server import memcached_serving

from emogg_async import CachePolicy, redis_cache
from emogg_async._caching.guard import BACKEND_TIMEOUT

MONTHS = 90 * 86_400.0


@pytest.fixture(scope="module")
def memcached():
    """Start one memcached for all tests of this module."""
    with memcached_serving() as server:
        yield server


@pytest.fixture
async def own_memcached():
    """Give a memcached that the test may stop."""
    with memcached_serving() as server:
        yield server


def in_memcached(request):
    """Make aiocache's cache in a memcached that is empty."""
    server = request.getfixturevalue("memcached")
    server.flush()
    return MemcachedCache(endpoint="127.0.0.1", port=server.port)


def in_redis(request):
    """Make aiocache's own cache in Redis."""
    port = request.getfixturevalue("redis_server").port
    return RedisCache(endpoint="127.0.0.1", port=port)


BACKENDS = {
    "memory": lambda _: SimpleMemoryCache(),
    "memcached": in_memcached,
    "aiocache-redis": in_redis,
    "redis": lambda request: redis_cache(request.getfixturevalue("redis_server").url),
}


@pytest.fixture(params=BACKENDS)
async def backend(request):
    """Give each kind of cache that people pass in."""
    cache = BACKENDS[request.param](request)
    yield cache
    if request.param == "aiocache-redis":  # its own way to close is deprecated
        await cache.client.connection_pool.disconnect()
    else:
        await cache.close()


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Do not give a busy machine up after 0.1 s."""
    monkeypatch.setattr(
        "emogg_async._caching.guard.BACKEND_TIMEOUT", 100 * BACKEND_TIMEOUT
    )


@pytest.fixture
def finished(emulator):
    """Give the id of a finished session."""
    return emulator.add_session(name="Old", state="finished", duration=600.0).id


class TestEachBackend:
    @pytest.mark.parametrize(
        "times",
        [{}, {"ttl": 0.7, "live_ttl": 0.2}, {"ttl": MONTHS, "stale_if_error": MONTHS}],
        ids=["usual", "short", "months"],
    )
    async def test_shares(self, emulator, backend, finished, times):
        """What one client got, another one has, whatever the times to live are."""
        policy = CachePolicy(backend=backend, **times)
        one, two = (emulator.client(cache=policy) for _ in range(2))
        async with one, two:
            session = await one.get_session(finished)
            totals = await one.get_emotions(finished)
            timeline = await one.get_emotions_timeline(finished, start=0.1, end=599.9)
            assert session == await two.get_session(finished)
            assert totals == await two.get_emotions(finished)
            assert timeline == await two.get_emotions_timeline(
                finished, start=0.1, end=599.9
            )
            assert [session] == [*(await two.get_sessions([finished])).values()]
            assert (0, 4) == (two.stats.requests, two.stats.cache_hits)

    async def test_forgets_what_is_written(self, emulator, backend, finished):
        """After a write by one client, the others ask anew."""
        policy = CachePolicy(backend=backend)
        one, two = (emulator.client(cache=policy) for _ in range(2))
        async with one, two:
            await two.get_session(finished)
            await two.get_emotions(finished)
            await one.update_session(finished, name="New")
            assert "New" == (await two.get_session(finished)).name
            await two.get_emotions(finished)
            assert 4 == two.stats.requests
            await two.get_emotions(finished)
            assert 4 == two.stats.requests

    async def test_what_is_too_large_is_a_miss(self, emulator, backend, finished):
        """A value that a backend does not take costs a request and no more."""
        policy = CachePolicy(backend=backend)
        async with emulator.client(cache=policy) as client:
            body = (await client.request("GET", f"/v1/sessions/{finished}")) | {
                "notes": "x" * 900_000
            }
            emulator.fail("GET", status=200, body=body)
            for _ in range(2):
                assert 900_000 == len(
                    (await client.get_session(finished)).extra["notes"]
                )


async def test_memcached_hangs(emulator, own_memcached, monkeypatch):
    """A memcached that stands still costs misses, and mixes nothing up afterwards."""
    monkeypatch.setattr("emogg_async._caching.guard.PAUSE", 0.1)
    ids = [each.id for each in emulator.sessions[:20]]
    backend = MemcachedCache(endpoint="127.0.0.1", port=own_memcached.port)
    policy = CachePolicy(backend=backend, live_ttl=300.0)
    try:
        async with emulator.client(cache=policy) as client:
            await asyncio.gather(*map(client.get_session, ids))
            for change in (own_memcached.hang, own_memcached.go_on):
                change()
                for each in 3 * ids:
                    assert each == (await client.get_session(each)).id
    finally:
        own_memcached.go_on()
        await backend.close()


async def test_memcached_hits_again(emulator, own_memcached, monkeypatch):
    """A memcached that was silent for a while is used as before."""
    guard = "emogg_async._caching.guard"
    monkeypatch.setattr(f"{guard}.BACKEND_TIMEOUT", 0.1)
    monkeypatch.setattr(f"{guard}.PAUSE", 0.1)
    backend = MemcachedCache(endpoint="127.0.0.1", port=own_memcached.port, pool_size=1)
    policy = CachePolicy(backend=backend, live_ttl=300.0)
    one, two, *_ = [each.id for each in emulator.sessions]
    try:
        async with emulator.client(cache=policy) as client:
            await client.get_session(one)
            own_memcached.hang()
            await client.get_session(two)  # neither its get nor its set is answered
            own_memcached.go_on()
            monkeypatch.setattr(f"{guard}.BACKEND_TIMEOUT", 100 * BACKEND_TIMEOUT)
            await asyncio.sleep(0.2)
            await client.get_session(two)
            before = client.stats.cache_hits
            for each in (one, two):
                assert each == (await client.get_session(each)).id
            assert before + 2 == client.stats.cache_hits
    finally:
        own_memcached.go_on()
        await backend.close()
