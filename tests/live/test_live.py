"""Live channels, through a client, with the emulator on real sockets in simulated time."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import simulated
from simulated import timed

from emogg_async import (
    AuthenticationError,
    DeadlineError,
    LiveLimitError,
    LivePolicy,
    NotFoundError,
)


def subscribes(emulator):
    return [m for m in emulator.live.messages if m.path == "channels:subscribe"]


def paths(emulator):
    return [message.path for message in emulator.live.messages]


@timed
async def test_a_feed_ends_with_its_session():
    """The iteration ends by itself within 35 s of the end of the session."""
    async with simulated.emulated() as emulator:
        session = emulator.add_session(state="active", ends_after=40)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session.id) as feed:
                events = [event async for event in feed]
    assert len(events) == 35
    assert simulated.now() <= 40 + 35 + 30  # the server's thread goes on after that


@timed
async def test_eleven_subscriptions():
    """Two connections hold ten, and the eleventh begins when one has left."""
    async with simulated.emulated() as emulator:
        ids = [
            emulator.add_session(state="active", ends_after=999).id for _ in range(11)
        ]
        async with emulator.client(cache=None) as client, AsyncExitStack() as stack:
            feeds = [client.live.counts(each) for each in ids]
            for feed in feeds[:10]:
                await stack.enter_async_context(feed)
            assert emulator.live.connections == 2
            assert len(emulator.live.subscriptions) == 10
            async with asyncio.TaskGroup() as group:
                entering = group.create_task(feeds[10].__aenter__())
                await asyncio.sleep(5)
                assert not entering.done()
                await feeds[3].__aexit__(None, None, None)
                await asyncio.sleep(1)
                assert entering.done()
            await feeds[10].__aexit__(None, None, None)


@timed
async def test_no_slot_in_time():
    """Who waits for a slot for longer than the client's timeout is told so."""
    async with simulated.emulated() as emulator:
        ids = [
            emulator.add_session(state="active", ends_after=999).id for _ in range(2)
        ]
        policy = LivePolicy(subscriptions=1)
        async with emulator.client(cache=None, live=policy, timeout=5) as client:
            async with client.live.counts(ids[0]):
                with pytest.raises(LiveLimitError) as caught:
                    await client.live.counts(ids[1]).__aenter__()
    assert caught.value.in_use == 1


@timed
async def test_wrong_token():
    """A refused token is tried once, and every feed raises."""
    async with simulated.emulated() as emulator:
        session = emulator.add_session(state="active", ends_after=999)
        async with emulator.client(cache=None, token="wrong") as client:
            feeds = [
                client.live.counts(session.id),
                client.live.worker_state(session.id),
            ]
            ends = await asyncio.gather(
                *(feed.__aenter__() for feed in feeds), return_exceptions=True
            )
    assert [type(end) for end in ends] == [AuthenticationError] * 2
    assert paths(emulator) == ["auth:token"]


@timed
async def test_unknown_session():
    """A session that does not exist is a NotFoundError of its feed alone."""
    async with simulated.emulated() as emulator:
        session = emulator.add_session(state="active", ends_after=999)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session.id) as feed:
                with pytest.raises(NotFoundError):
                    await client.live.counts("f" * 24).__aenter__()
                assert await feed.next(10)
                with pytest.raises(DeadlineError):
                    await feed.next(0.1)


@timed
async def test_cuts():
    """Ten cuts and clean closes leave two feeds in order, with each loss marked."""
    async with simulated.emulated() as emulator:
        ids = [
            emulator.add_session(state="active", ends_after=999).id for _ in range(2)
        ]
        policy = LivePolicy(base=0.05, cap=0.2)
        async with emulator.client(cache=None, live=policy) as client:
            async with client.live.merge(client.live.counts(i) for i in ids) as feed:
                seen = []

                async def read():
                    async for event in feed:
                        seen.append(event)

                reader = asyncio.create_task(read())
                await asyncio.sleep(10)
                for number in range(10):
                    emulator.live.cut(None if number % 2 else 1001)
                    await asyncio.sleep(1.2)
                    assert feed.state == "live"
                    assert len(emulator.live.subscriptions) == 2
                await asyncio.sleep(5)
                reader.cancel()
    assert "channels:unsubscribe" not in paths(emulator)
    for session_id in ids:
        stamps = [e.timestamp for e in seen if e.session == session_id]
        assert stamps == sorted(set(stamps))
        gaps = [e for e in seen if e.session == session_id and e.gap]
        assert len(gaps) >= 9
