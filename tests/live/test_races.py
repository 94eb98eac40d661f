"""Races, misuse, and services that break the rules."""

import asyncio
import gc
import itertools
import time
from contextlib import suppress

import aiohttp
import pytest
import scene
import simulated
from scene import playing
from simulated import timed

from emogg_async import (
    ClientClosedError,
    ConfigurationError,
    DeadlineError,
)


@timed
async def test_merging_feeds_of_two_clients():
    """Each feed of a merged one goes over the connection of its own client."""
    async with simulated.emulated() as emulator:
        mine, theirs = scene.active(emulator, 2)
        async with emulator.client() as one, emulator.client() as other:
            feeds = [one.live.counts(mine), other.live.counts(theirs)]
            async with one.live.merge(feeds) as feed:
                assert one.stats.live_subscriptions == 1
                assert other.stats.live_subscriptions == 1
                assert feed.state == "live"


@timed
async def test_reading_a_feed_that_was_merged():
    """A feed that was merged cannot be read by itself: it would wait for ever."""
    async with simulated.emulated() as emulator:
        (session,) = scene.active(emulator)
        async with emulator.client(cache=None) as client:
            feed = client.live.counts(session)
            async with client.live.merge([feed]):
                with pytest.raises(ConfigurationError):
                    await feed.next(1)


@timed
async def test_a_merge_that_fails():
    """Feeds that cannot be merged because of one of them are as they were."""
    async with simulated.emulated() as emulator:
        first, second = scene.active(emulator, 2)
        async with emulator.client(cache=None) as client:
            fresh, entered = client.live.counts(first), client.live.counts(second)
            async with entered:
                for feeds in ([fresh, entered], [fresh, fresh]):
                    with pytest.raises(ConfigurationError):
                        client.live.merge(feeds)
            async with fresh:
                assert fresh.state == "live"


@timed
async def test_each_feed_has_its_own_error():
    """Feeds that end by one cause do not share an error, or tracebacks would add up."""
    async with simulated.emulated() as emulator:
        (session,) = scene.active(emulator)
        async with emulator.client(cache=None, token="wrong") as client:
            feeds = [client.live.counts(session) for _ in range(2)]
            first, second = await asyncio.gather(
                *(feed.__aenter__() for feed in feeds), return_exceptions=True
            )
    assert first is not second
    assert str(first) == str(second)


async def test_a_middleware_that_fails():
    """A bug in a middleware of the caller's session is told at once, once."""
    tried = []

    async def broken(request, handler):
        tried.append(request.url.path)
        raise ValueError("a bug")

    async with aiohttp.ClientSession(middlewares=(broken,)) as http:
        async with playing(scene.Call.serve) as service:
            async with service.client(http=http, timeout=1) as client:
                with pytest.raises(ConfigurationError, match="a bug"):
                    await client.live.counts(scene.UNKNOWN).__aenter__()
    assert len(tried) == 1


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
async def test_headers_of_a_session(name):
    """The handshake has no header of authorization, whoever has set it and how."""
    async with aiohttp.ClientSession(headers={name: "Bearer tok", "x-a": "1"}) as http:
        async with playing(scene.Call.serve) as service:
            async with service.client(http=http) as client:
                async with client.live.counts(scene.UNKNOWN):
                    pass
            (headers,) = service.headers
    assert headers["x-a"] == "1"
    assert not any("tok" in value for value in headers.values())


@timed
async def test_a_feed_that_joins_while_the_subscription_is_dropped():
    """A feed that joins during an unsubscribe never gets old events without a gap."""

    async def script(call):
        await call.welcome()
        for number in itertools.count(1):
            message = await call.hear()
            if message is None:
                return
            if message["path"] == "channels:unsubscribe":
                await asyncio.sleep(3)
            await call.answer(message, subscriptionId=str(number))
            if message["path"] == "channels:subscribe":
                await call.tell(str(number), number)

    async with playing(script) as service, service.client() as client:
        async with client.live.counts(scene.UNKNOWN) as first:
            await first.next(1)
        await asyncio.sleep(6)  # the linger is over, and the unsubscribe on its way
        async with client.live.counts(scene.UNKNOWN) as second:
            events = [await second.next(1)]
            with suppress(DeadlineError):
                events.append(await second.next(1))
    assert [e.emotions["joy"] for e in events if not e.gap] == [3]


@timed
async def test_closing_while_waiting_for_the_end_of_a_session():
    """`wait_until_finished` ends when its client is closed, not at the next poll."""
    async with simulated.emulated() as emulator:
        (session,) = scene.active(emulator)
        async with emulator.client(cache=None) as client:
            waiting = asyncio.create_task(
                client.wait_until_finished(session, poll=3600)
            )
            await asyncio.sleep(1)
        with pytest.raises(ClientClosedError):
            await waiting
    assert simulated.now() < 60


@pytest.mark.parametrize("steps", range(16))
@timed
async def test_closing_soon_after_a_cut(steps):
    """A client that is closed while it drops a connection has none in its `stats`."""
    told = scene.Told()
    async with simulated.emulated() as emulator:
        (session,) = scene.active(emulator)
        async with emulator.client(cache=None, on_event=told) as client:
            async with client.live.counts(session):
                emulator.live.cut()
                for _ in range(steps):
                    await asyncio.sleep(0)
                await client.aclose()
            assert client.stats.live_connections == 0
            assert client.stats.live_subscriptions == 0
            assert len(told.disconnected) >= len(told.connected) == 1
        await scene.nothing_left(emulator)


async def test_closing_beside_a_blocked_loop(emulator, monkeypatch):
    """A loop that is blocked while a client closes leaves no connection open."""
    monkeypatch.setattr("emogg_async._live.line.LEAVE_SECONDS", 0.1)
    asyncio.get_running_loop().set_debug(True)  # a response that is left open warns
    session = emulator.add_session(state="active").id
    for steps in range(6):
        client = emulator.client(cache=None)
        async with client, client.live.counts(session):
            closing = asyncio.create_task(client.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            time.sleep(0.15)  # noqa: ASYNC251 - it blocks the loop
            await closing
            gc.collect()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_loop_that_ends_without_a_close(emulator, caplog):
    """A loop that ends beside an open client begins no connection at its end."""
    session = emulator.add_session(state="active").id

    async def forget_to_close():
        client = emulator.client(cache=None)
        await client.live.counts(session).__aenter__()

    asyncio.run(forget_to_close())
    gc.collect()
    assert "was destroyed" not in caplog.text
    assert emulator.live.handshakes == 1


@timed
async def test_the_frames_of_an_error():
    """The error of `next()` has no frame of this package, and no other error."""
    async with simulated.emulated() as emulator:
        (session,) = scene.active(emulator)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session) as feed:
                with pytest.raises(DeadlineError) as caught:
                    await feed.next(0.5)
    assert [each.path.name for each in caught.traceback] == ["test_races.py"]
    assert caught.value.__cause__ is caught.value.__context__ is None


@timed
async def test_feeds_that_join_before_an_unsubscribe_is_refused():
    """Feeds that join while an unsubscribe is refused share what goes on."""

    async def script(call):
        await call.welcome()
        while (message := await call.hear()) is not None:
            if message["path"] == "channels:unsubscribe":
                await asyncio.sleep(3)
                await call.answer(message, status=429)
                await call.tell("s", 1)
            else:
                await call.answer(message, subscriptionId="s")

    async with playing(script) as service, service.client() as client:
        async with client.live.counts(scene.UNKNOWN):
            pass
        await asyncio.sleep(6)  # the linger is over, and the unsubscribe on its way
        async with client.live.counts(scene.UNKNOWN) as feed:
            assert simulated.now() < 9
            assert (await feed.next(1)).emotions["joy"] == 1
            async with client.live.counts(scene.UNKNOWN) as other:
                assert other.state == feed.state == "live"


@timed
async def test_a_service_that_refuses_each_unsubscribe():
    """A service that ends no subscription lets others begin beside it."""

    async def script(call):
        await call.welcome()
        while (message := await call.hear()) is not None:
            is_end = message["path"] == "channels:unsubscribe"
            key = message["body"].get("key")
            await call.answer(
                message, status=400 if is_end else 200, subscriptionId=key
            )

    async with playing(script) as service, service.client(timeout=15) as client:
        async with client.live.counts(scene.UNKNOWN):
            pass
        await asyncio.sleep(30)
        async with client.live.intensities(scene.UNKNOWN) as feed:
            assert feed.state == "live"


@pytest.mark.parametrize("given", [None, 7, "", "taken"])
@timed
async def test_a_confirmation_without_an_id_of_its_own(given):
    """It is no limit, and no other feed's id: the connection is made again."""

    async def script(call):
        await call.welcome()
        for number in (1, 2):
            if (message := await call.hear()) is None:
                return
            is_right = number == 1 or call.number > 1
            right = ("taken", "own")[number - 1]
            await call.answer(message, subscriptionId=right if is_right else given)
        await call.serve()

    async with playing(script) as service, service.client() as client:
        async with client.live.counts(scene.UNKNOWN) as one:
            async with client.live.intensities(scene.UNKNOWN) as two:
                assert client.stats.live_reconnects == 1
                await asyncio.sleep(1)
                assert one.state == two.state == "live"
                assert client.stats.live_subscriptions == 2
    assert client.stats.live_subscriptions == 0
