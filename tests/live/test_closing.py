"""Clients that close, and what is left of them: nothing."""

import asyncio
import gc
import random
import sys
import time
from contextlib import suppress

import pytest
import simulated
from scene import Told, active, balance, nothing_left, playing, reading, sent, talking
from simulated import emulated, timed

from emogg_async import ClientClosedError, ConfigurationError, EmoggError, LivePolicy

FAST = LivePolicy(base=0.05, cap=0.2)


async def enter(feed):
    """Enter a feed; a task needs a coroutine."""
    return await feed.__aenter__()


@timed
async def test_closing_while_the_service_streams():
    """`aclose()` ends within 3 s while the server streams and ignores the close."""

    async def script(call):
        await call.welcome()
        await call.answer(await call.hear(), subscriptionId="x")
        number = 0
        while number < 1000:  # nothing is read any more
            number += 1
            await call.tell("x", number)
            await asyncio.sleep(0.01)

    async with playing(script) as service:
        client = service.client()
        async with client, reading(client.live.counts("a" * 24)) as reader:
            await asyncio.sleep(1)
            began = simulated.now()
            await client.aclose()
            assert simulated.now() - began <= 3
            seen = len(reader.events)
            assert seen > 50
            await asyncio.sleep(1)
            assert len(reader.events) == seen


@pytest.mark.timing
async def test_closing_while_the_service_sends_all_it_can():
    """In real time, too, `aclose()` ends within 3 s beside a flood that goes on."""

    async def script(call):
        await call.welcome()
        await call.answer(await call.hear(), subscriptionId="x")
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            await call.tell("x", 1)
            await asyncio.sleep(0)

    async with playing(script) as service, service.client() as client:
        async with client.live.counts("a" * 24) as feed:
            await feed.next()
            began = time.monotonic()
            await client.aclose()
            assert time.monotonic() - began < 3


@pytest.mark.parametrize("when", ["live", "asked", "hardly noticed"])
@timed
async def test_closing_beside_a_silent_service(when):
    """`aclose()` ends within 3 s beside a service that says nothing any more."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, client.live.counts(session_id):
            emulator.live.go_silent(1000)
            tasks = []
            if when == "asked":
                other = client.live.intensities(session_id)
                tasks.append(asyncio.create_task(enter(other)))
            await asyncio.sleep(29.9 if when == "hardly noticed" else 1)
            began = simulated.now()
            await client.aclose()
            assert simulated.now() - began <= 3
            for task in tasks:
                with pytest.raises(ClientClosedError):
                    await task


@pytest.mark.parametrize("when", ["backoff", "handshake"])
@timed
async def test_closing_opens_no_socket(when):
    """`aclose()` during backoff or handshake opens no socket."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, timeout=600)
        async with client:
            if when == "backoff":
                emulator.live.refuse(path="handshake", status=503, times=5)
            else:
                emulator.live.go_silent(60)
            entering = asyncio.create_task(enter(client.live.counts(session_id)))
            await asyncio.sleep(5)
            began, tries = simulated.now(), emulator.live.handshakes
            await client.aclose()
            assert simulated.now() - began <= 3
            with pytest.raises(ClientClosedError):
                await entering
            await asyncio.sleep(120)
            assert emulator.live.connections == 0
            assert emulator.live.handshakes <= tries + (when == "handshake")
            assert emulator.live.messages == ()


@pytest.mark.parametrize("state", ["live", "reconnecting"])
@timed
async def test_who_waits_wakes(state):
    """Who waits for an event or a slot wakes at `aclose()`, also during a reconnect."""
    async with emulated() as emulator:
        ids = active(emulator, 3)
        policy = LivePolicy(subscriptions=2)
        client = emulator.client(cache=None, live=policy, timeout=600)
        async with client:
            feeds = [client.live.counts(each) for each in ids]
            both = client.live.merge(feeds[:2])
            async with both:
                waiting = [
                    asyncio.create_task(both.next()),
                    asyncio.create_task(enter(feeds[2])),
                ]
                if state == "reconnecting":
                    emulator.live.refuse(path="handshake", status=503)
                    emulator.live.cut()
                await asyncio.sleep(10)
                assert both.state == state
                began = simulated.now()
                await client.aclose()
                for task in waiting:
                    with pytest.raises(ClientClosedError):
                        await task
                assert simulated.now() - began <= 3
                assert both.state == "ended"


@timed
async def test_an_iteration_ends_with_the_error():
    """An iteration under way ends by ClientClosedError, after what is buffered."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client:
            async with client.live.counts(session_id) as feed:
                for number in range(3):
                    emulator.live.emit(session_id, {"joy": number})
                await asyncio.sleep(0.1)
                await client.aclose()
                seen = []
                with pytest.raises(ClientClosedError):
                    async for event in feed:
                        seen.append(event.emotions["joy"])  # noqa: PERF401
                assert seen == [0, 1, 2]
                with pytest.raises(StopAsyncIteration):
                    await feed.next()
            with pytest.raises((ClientClosedError, ConfigurationError)):
                await client.live.counts(session_id).__aenter__()


@timed
async def test_closing_says_goodbye():
    """A client that closes sends no unsubscribe, and closes cleanly: slots are free."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told)
        async with client, client.live.counts(session_id):
            pass
        assert told.reasons == ["the client was closed"]
        assert balance(emulator) == {"auth:token": 1, "channels:subscribe": 1}
        await nothing_left(emulator)


@timed
async def test_no_ignored_generator_exit():
    """Closing raises no "ignored GeneratorExit", whatever feeds were doing."""
    said = []
    hook, sys.unraisablehook = sys.unraisablehook, said.append
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
    try:
        async with emulated() as emulator:
            ids = active(emulator, 3)
            client = emulator.client(cache=None)
            async with client, talking(emulator, ids):
                feeds = [client.live.counts(each) for each in ids]
                for feed in feeds:
                    await feed.__aenter__()  # and is never left
                async for _ in feeds[0]:
                    break
                reader = asyncio.create_task(feeds[1].next())
                await asyncio.sleep(0.1)
                reader.cancel()
                del feeds, feed, reader
                gc.collect()
            await nothing_left(emulator)
        gc.collect()
        await asyncio.sleep(1)
    finally:
        sys.unraisablehook = hook
    assert said == []


@pytest.mark.parametrize("seed", range(3))
@timed
async def test_five_hundred_feeds_that_are_cancelled(seed):
    """500 feeds cancelled at random moments leave no task, socket or subscription."""
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
    rng = random.Random(seed)
    async with emulated() as emulator:
        ids = active(emulator, 12)
        client = emulator.client(cache=None, live=FAST, timeout=60)
        async with client:

            async def visit():
                await asyncio.sleep(rng.random() * 20)
                kind = rng.choice([client.live.counts, client.live.intensities])
                chosen = [kind(each) for each in rng.sample(ids, rng.choice([1, 1, 2]))]
                feed = client.live.merge(chosen) if len(chosen) > 1 else chosen[0]
                with suppress(EmoggError):
                    async with feed:
                        async for _ in feed:
                            pass

            async def disturb():
                while True:
                    await asyncio.sleep(rng.random() * 5)
                    match rng.randrange(4):
                        case 0:
                            emulator.live.cut()
                        case 1:
                            emulator.live.cut(1001)
                        case 2:
                            emulator.live.go_silent(rng.random())
                        case 3:
                            emulator.live.refuse(status=429, times=1)

            async with talking(emulator, ids):
                trouble = asyncio.create_task(disturb())
                tasks = [asyncio.create_task(visit()) for _ in range(500)]
                for task in rng.sample(tasks, 500):
                    await asyncio.sleep(rng.choice([0, 0, rng.random() * 0.1]))
                    task.cancel()
                trouble.cancel()
                await asyncio.wait([*tasks, trouble])
            await asyncio.sleep(90)
            assert emulator.live.subscriptions == ()
            assert emulator.live.connections == 0
            stats = client.stats
            assert (stats.live_connections, stats.live_subscriptions) == (0, 0)
            async with client.live.counts(ids[0]) as feed:  # and all is well
                assert feed.state == "live"
        await nothing_left(emulator)
    gc.collect()
    assert said == []


@timed
async def test_closing_while_a_connection_is_given_up():
    """A client that closes at the moment of a missed pong counts its connections."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told)
        async with client, client.live.counts(session_id):
            await asyncio.sleep(1)
            emulator.live.go_silent(1000)
            # The feed's silence makes it ask after 15 s.
            await asyncio.sleep(15 + 10 + 0.05 - simulated.now())
            await client.aclose()
            stats = client.stats
            assert (stats.live_connections, stats.live_subscriptions) == (0, 0)
            assert len(told.disconnected) == 1


@timed
async def test_closing_twice_at_once():
    """Two who close at once, and one who is cancelled in it, leave nothing."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, client.live.counts(session_id):
            emulator.live.go_silent(1)
            first = asyncio.create_task(client.aclose())
            second = asyncio.create_task(client.aclose())
            await asyncio.sleep(0.05)
            first.cancel()
            await asyncio.wait([first, second])
            assert second.exception() is None
        await nothing_left(emulator)


@timed
async def test_leaving_during_the_close():
    """Feeds that are left while the client closes leave nothing."""
    async with emulated() as emulator:
        ids = active(emulator, 8)
        client = emulator.client(cache=None)
        async with client:
            feeds = [client.live.counts(each) for each in ids]
            for feed in feeds:
                await feed.__aenter__()
            closing = asyncio.create_task(client.aclose())
            for feed in feeds:
                await asyncio.sleep(0)
                await feed.__aexit__(None, None, None)
            await closing
        assert sent(emulator, "channels:unsubscribe") == []
        await nothing_left(emulator)
