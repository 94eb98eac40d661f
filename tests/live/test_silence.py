"""Silence: of a service that has vanished, of a session, and of this machine."""

import asyncio
import os
import signal
import time
from itertools import pairwise

import pytest
import simulated
from scene import Told, active, balance, reading, sent, talking, times
from server_process import served
from simulated import emulated, timed
from waiting import until

from emogg_async import AsyncEmoggClient, LivePolicy, NotFoundError

FAST = LivePolicy(base=0.05, cap=0.2)


def looks(emulator):
    """Return how many sessions were asked for by REST."""
    return sum(each.path.startswith("/v1/sessions/") for each in emulator.requests)


# -- of the service --------------------------------------------------------------------


@timed
async def test_events_are_no_sign_of_life():
    """Events every second for 70 s: our pings go out, the service does not close."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(70.5)
                assert times(sent(emulator, "ping")) == [20, 40, 60]
                assert [event.emotions["joy"] for event in reader.events] == [
                    *range(1, 71)
                ]
                assert reader.gaps == []
    assert emulator.live.handshakes == 1


@timed
async def test_a_feed_lives_without_events_and_user_code():
    """A feed without events and without user code lives past 65 s."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, on_event=told) as client:
            async with client.live.counts(session_id) as feed:
                await asyncio.sleep(400)
                assert feed.state == "live"
                assert told.disconnected == []
    assert emulator.live.handshakes == 1
    pings = [0.0, *times(sent(emulator, "ping"))]
    assert all(later - earlier <= 20 for earlier, later in pairwise(pings))


@pytest.mark.parametrize("begins", [0.5, 15, 19.9, 20.1])
@timed
async def test_a_service_that_vanishes(begins):
    """A peer that vanishes without FIN is given up within `ping + pong`."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told)
        async with client, talking(emulator, [session_id]):
            async with client.live.counts(session_id) as feed:
                await asyncio.sleep(begins)
                emulator.live.go_silent(1000)
                await asyncio.sleep(30)
                assert feed.state == "reconnecting"
    noticed_at, event = told.disconnected[0]
    assert noticed_at <= begins + 20 + 10
    assert event.reason == "no answer to ping within 10 s"


@pytest.mark.timing
async def test_a_server_process_that_is_stopped():
    """A stopped server is noticed, and a client closes within 3 s beside it."""
    with served() as server:
        told = Told()
        server.tell("add_session", id="a" * 24, state="active")
        policy = LivePolicy(ping=0.3, pong=0.3, messages=1000)
        client = AsyncEmoggClient(
            server.token, base_url=server.url, live=policy, on_event=told
        )
        async with client, client.live.counts("a" * 24) as feed:
            assert feed.state == "live"
            os.kill(server.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                await until(lambda: feed.state == "reconnecting", within=3)
                closing = time.monotonic()
                await client.aclose()
                took = time.monotonic() - closing
            finally:
                os.kill(server.pid, signal.SIGCONT)
        assert told.disconnected[0][1].reason == "no answer to ping within 0.3 s"
        assert closing - began <= 0.3 + 0.3 + 0.5  # and half a second for the machine
        assert took < 3


@pytest.mark.timing
async def test_closing_beside_a_server_process_that_was_stopped_just_now():
    """A client closes within 3 s beside a server that has stopped unnoticed."""
    with served() as server:
        server.tell("add_session", id="a" * 24, state="active")
        client = AsyncEmoggClient(server.token, base_url=server.url)
        async with client, client.live.counts("a" * 24):
            os.kill(server.pid, signal.SIGSTOP)
            try:
                closing = time.monotonic()
                await client.aclose()
                assert time.monotonic() - closing < 3
            finally:
                os.kill(server.pid, signal.SIGCONT)


# -- of a session ----------------------------------------------------------------------


@timed
async def test_a_silent_session_that_is_active():
    """Pings answered but no events: noticed, asked, resubscribed, ever more rarely."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(15.5)
                assert times(sent(emulator, "ping")) == [15]
                assert looks(emulator) == 0
                await asyncio.sleep(15)
                assert looks(emulator) == 1
                assert balance(emulator)["channels:subscribe"] == 2
                assert len(emulator.live.subscriptions) == 1
                await asyncio.sleep(3600)
                assert 100 <= looks(emulator) <= 122  # each 30 s
                assert 4 <= balance(emulator)["channels:subscribe"] <= 6
                assert reader.feed.state == "live"
                emulator.live.emit(session_id, {"joy": 1})
                await asyncio.sleep(0.1)
                (event,) = reader.events
                assert event.gap.reason == "reconnected"
    assert emulator.live.handshakes == 1


@timed
async def test_one_look_for_all_feeds_of_a_session():
    """All feeds of a session that are silent together cost one get."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, meta={"workerState": "working"})
        async with emulator.client(cache=None) as client:
            live = client.live
            async with live.counts(session_id), live.intensities(session_id):
                async with live.counts(session_id, every="3s"):
                    await asyncio.sleep(31)
                    assert looks(emulator) == 1


@pytest.mark.parametrize("processing", [0.0, 120.0])
@pytest.mark.parametrize("every", ["1s", "5s", "10s"])
@timed
async def test_a_session_that_finishes(every, processing):
    """Feeds of at most 10 s end by themselves within 35 s of the session's end."""
    async with emulated(processing=processing) as emulator:
        (session_id,) = active(emulator, ends_after=100)
        async with emulator.client(cache=None) as client:
            async with reading(client.live.intensities(session_id, every=every)) as one:
                async with reading(client.live.counts(session_id, every=every)) as two:
                    await asyncio.sleep(99)
                    assert one.feed.state == two.feed.state == "live"
                    await asyncio.sleep(36)
                    for reader in (one, two):
                        assert 100 <= reader.ended_at <= 135
                        assert reader.feed.state == "ended"
                        assert reader.errors == []
                        assert reader.events
                        with pytest.raises(StopAsyncIteration):
                            await reader.feed.next()


@timed
async def test_a_rare_feed_of_a_session_that_finishes():
    """A feed of 1 min looks at its session when it was silent for 60 s."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=100)
        async with emulator.client(cache=None) as client:
            async with reading(client.live.counts(session_id, every="1m")) as reader:
                await asyncio.sleep(100 + 65)
                assert 100 <= reader.ended_at <= 165


@timed
async def test_a_worker_of_a_session_that_finishes():
    """A feed of a worker's state ends with the session."""
    async with emulated() as emulator:
        meta = {"workerState": "working"}
        (session_id,) = active(emulator, ends_after=100, meta=meta)
        async with emulator.client(cache=None) as client:
            async with reading(client.live.worker_state(session_id)) as reader:
                await asyncio.sleep(99)
                assert reader.feed.state == "live"
                await asyncio.sleep(66)
                assert reader.feed.state == "ended"
                assert [event.state for event in reader.events] == ["working"]


@timed
async def test_a_silent_session_that_is_gone():
    """A session that was deleted elsewhere is a NotFoundError of its feeds alone."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None) as client:
            async with (
                reading(client.live.counts(ids[0])) as one,
                reading(client.live.counts(ids[1])) as other,
            ):
                emulator.remove_session(ids[0])
                await asyncio.sleep(31)
                assert [type(error) for error in one.errors] == [NotFoundError]
                assert one.feed.state == "ended"
                assert (other.errors, other.feed.state) == ([], "live")


@timed
async def test_a_session_that_ends_during_an_outage():
    """After a reconnect the session is looked at, and feeds end if it is over."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=20)
        policy = LivePolicy(base=1, cap=1)
        async with emulator.client(cache=None, live=policy) as client:
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(10)
                emulator.live.refuse(path="handshake", status=503, times=14)
                emulator.live.cut()
                await asyncio.sleep(14.5)
                assert reader.feed.state == "reconnecting"
                await asyncio.sleep(1)
                assert emulator.live.connections == 1
                assert reader.feed.state == "ended"
                assert reader.errors == []


@timed
async def test_looks_that_fail():
    """A look that fails ends nothing, and the next one succeeds."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=10)
        emulator.fail("GET", "/v1/*", status=500, times=1)
        async with emulator.client(cache=None, timeout=5) as client:
            emulator.fail("GET", "/v1/*", status=403, times=2)
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(75)
                assert reader.feed.state == "live"
                await asyncio.sleep(60)
                assert (reader.feed.state, reader.errors) == ("ended", [])


@pytest.mark.parametrize("how", ["stop", "delete", "request"])
@timed
async def test_a_stop_by_this_client(how):
    """A stop or delete ends feeds at once and quietly, after what is buffered."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(ids[0]) as feed:
                async with client.live.counts(ids[1]) as other:
                    for number in range(3):
                        emulator.live.emit(ids[0], {"joy": number})
                    await asyncio.sleep(0.1)
                    if how == "stop":
                        await client.stop_session(ids[0])
                    elif how == "delete":
                        emulator.update_session(ids[0], state="finished")
                        await client.delete_session(ids[0])
                    else:
                        emulator.update_session(ids[0], state="finished")
                        await client.request("DELETE", f"/v1/sessions/{ids[0]}")
                    assert feed.state == "ended"
                    events = [event async for event in feed]
                    assert [e.emotions["joy"] for e in events] == [0, 1, 2]
                    assert other.state == "live"
                    assert simulated.now() < 1
                    await asyncio.sleep(1)
                    assert len(emulator.live.subscriptions) == 1


# -- of this machine -------------------------------------------------------------------


@timed
async def test_a_loop_that_was_blocked():
    """A loop that was blocked for 70 s recovers, with a gap."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST)
        async with client, talking(emulator, [session_id]):
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(5.5)
                asyncio.get_running_loop().clock.now += 70
                await asyncio.sleep(5)
                assert reader.feed.state == "live"
                assert [gap.reason for gap in reader.gaps] == ["reconnected"]
                stamps = reader.stamps(session_id)
                assert stamps == sorted(set(stamps))
                assert reader.errors == []


@timed
async def test_a_step_of_the_wall_clock():
    """A step of the wall clock changes nothing."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told)
        wall = time.time
        async with client, talking(emulator, [session_id]):
            async with reading(client.live.counts(session_id)) as reader:
                with pytest.MonkeyPatch.context() as patch:
                    for step in (86_400, -86_400):
                        await asyncio.sleep(5)
                        patch.setattr(time, "time", lambda step=step: wall() + step)
                    await asyncio.sleep(50.5)
                assert len(reader.events) == 60
                assert told.disconnected == told.gaps == []


@timed
async def test_a_reader_that_sleeps_for_minutes():
    """A consumer that sleeps for minutes kills no connection; its losses are exact."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            async with client.live.counts(session_id, buffer=10) as feed:
                assert (await feed.next(5)).emotions["joy"] == 1
                await asyncio.sleep(300.5)
                assert feed.dropped == client.stats.live_dropped == 290
                first = await feed.next()
                assert first.emotions["joy"] == 292
                assert (first.gap.reason, first.gap.lost) == ("slow", 290)
                assert (first.gap.until - first.gap.since).total_seconds() == 291
                for number in range(293, 310):
                    event = await feed.next()
                    assert (event.emotions["joy"], event.gap) == (number, None)
    assert emulator.live.handshakes == 1
