"""Buckets that are small, closed or silent: nothing hangs, hammers or is lost."""

import asyncio
import time

import pytest
import simulated
from rawserver import always, http, serving

from emogg_async import AsyncEmoggClient, EmoggError, RateLimitedError
from emogg_async._calls import bucket
from emogg_async.testing import EmoggEmulator


@pytest.mark.timing
@pytest.mark.parametrize(
    ("rate_limit", "ids", "most"),
    [((1, 0.2), 4, 2.0), ((2, 0.2), 8, 4.0), ((3, 0.2), 8, 3.0), ((10, 0.2), 40, 3.0)],
)
async def test_a_bulk_ends_on_any_bucket(rate_limit, ids, most):
    """However few tokens there are, a bulk gets through, and so does a listing."""
    with EmoggEmulator(sessions=ids, rate_limit=rate_limit) as emulator:
        asked = [each.id for each in emulator.sessions]
        async with emulator.client(cache=None) as client, asyncio.timeout(20):
            started = time.monotonic()
            assert ids == len(await client.get_sessions(asked, via="get"))
            assert time.monotonic() - started < most
            assert ids == len(await client.list_sessions(page_size=2).collect())


@pytest.mark.timing
async def test_a_listing_of_ones_own_is_bounded():
    """A listing yields to others, but its time is that of any call."""
    with EmoggEmulator(sessions=5, rate_limit=(5, 60.0)) as emulator:
        async with emulator.client(cache=None, timeout=0.5) as client:
            for each in emulator.sessions:
                await client.get_session(each.id)
            started = time.monotonic()
            with pytest.raises(RateLimitedError) as caught:
                await client.list_sessions().first()
            assert time.monotonic() - started < 0.6
            assert 0 == caught.value.attempts
            assert 5 < caught.value.retry_after < 70


async def test_a_service_that_closes_for_a_day_ends_a_bulk(emulator):
    """Ids that could wait only for tomorrow fail at once, and say when to come back."""
    headers = {"Retry-After": "86400", "RateLimit-Remaining": "0"}
    emulator.fail(status=429, headers=headers, times=1)
    ids = [each.id for each in emulator.sessions[:50]]
    # A service of its own, so that no other test's client shares the pacer.
    token = emulator.add_token()
    own = [emulator.add_session(token=token).id for _ in ids]
    async with emulator.client(token=token, timeout=3.0) as client, asyncio.timeout(5):
        batch = await client.get_sessions(own, via="get")
    assert 50 == len(batch) + len(batch.errors)
    waits = [error.retry_after for error in batch.errors.values()]
    assert waits
    assert min(waits) > 80_000


async def test_refusals_without_headers_are_not_hammered():
    """A 429 that tells of no bucket backs off, even if other answers told of one."""
    told = http(
        "200 OK",
        b"{}",
        "RateLimit-Limit: 10000",
        "RateLimit-Remaining: 9999",
        "RateLimit-Reset: 1",
        "RateLimit-Policy: 10000;w=60",
    )

    async def answer(writer, number):
        writer.write(told if number == 1 else http("429 Too Many Requests"))
        return True

    async with serving(answer) as server:
        async with AsyncEmoggClient("t", base_url=server.url, timeout=1.5) as client:
            await client.request("GET", "/v1/x")
            with pytest.raises(EmoggError):
                await client.request("GET", "/v1/x")
    assert len(server.heads) < 15


async def test_a_service_that_refuses_everything_is_not_hammered():
    """Refusals in a row back off, however fast the bucket should fill."""
    empty = http(
        "429 Too Many Requests",
        b"",
        "RateLimit-Limit: 10000",
        "RateLimit-Remaining: 0",
        "RateLimit-Reset: 60",
        "RateLimit-Policy: 10000;w=60",
    )
    async with serving(always(empty)) as server:
        async with AsyncEmoggClient("t", base_url=server.url, timeout=1.0) as client:
            with pytest.raises(EmoggError):
                await client.request("GET", "/v1/x")
    assert len(server.heads) < 15


async def test_a_pause_of_hours_is_looked_into(emulator, monkeypatch):
    """After `Retry-After: 30000` nobody hangs, and in a minute a call tries again."""
    emulator.fail(status=429, headers={"Retry-After": "30000"}, times=1)
    token = emulator.add_token()
    own = emulator.add_session(token=token).id
    async with emulator.client(token=token, cache=None) as client:
        for attempts in (1, 0, 0):
            with pytest.raises(RateLimitedError) as caught:
                await client.get_session(own)
            assert attempts == caught.value.attempts
            assert caught.value.retry_after > 29_000
        assert 1 == len(emulator.requests)
        monkeypatch.setattr(bucket, "PROBE_INTERVAL_SECONDS", 0.0)  # a minute later
        assert own == (await client.get_session(own)).id
        assert own == (await client.get_session(own)).id


@simulated.timed
async def test_what_is_repeated_in_a_bulk_is_not_lost():
    """An item whose time is running goes before those that have not been sent."""
    async with simulated.emulated(sessions=50, rate_limit=(10, 0.5)) as emulator:
        emulator.fail("GET", "/v1/sessions/?*", status=503, times=5)
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=None, timeout=1.5) as client:
            batch = await client.get_sessions(ids, via="get")
    assert {} == batch.errors
