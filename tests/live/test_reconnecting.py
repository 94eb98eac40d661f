"""Connections that are lost, refused, or closed, and made again."""

import asyncio
import random
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise

import pytest
import simulated
from scene import (
    Told,
    active,
    busiest,
    nothing_left,
    playing,
    reading,
    sent,
    talking,
    times,
)
from simulated import emulated, timed

from emogg_async import (
    AuthenticationError,
    ConnectionLostError,
    Gap,
    LivePolicy,
    NotFoundError,
)
from emogg_async.testing import LiveLimits

FAST = LivePolicy(base=0.05, cap=0.2)


@timed
async def test_ten_cuts_and_clean_closes_in_twelve_seconds():
    """Two feeds are live again within 1 s, with each loss marked and nothing twice."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        client = emulator.client(cache=None, live=FAST)
        async with client, talking(emulator, ids, 0.5):
            feeds = [client.live.counts(each) for each in ids]
            async with reading(feeds[0]) as one, reading(feeds[1]) as other:
                await asyncio.sleep(10.5)
                for number in range(10):
                    emulator.live.cut(None if number % 2 else 1001)
                    await asyncio.sleep(1)
                    assert [feed.state for feed in feeds] == ["live", "live"]
                    assert len(emulator.live.subscriptions) == 2
                    await asyncio.sleep(0.2)
                await asyncio.sleep(5)
    for reader, session_id in ((one, ids[0]), (other, ids[1])):
        stamps = reader.stamps(session_id)
        assert stamps == sorted(set(stamps))
        assert {event.session for event in reader.events} == {session_id}
        assert len(reader.gaps) == 10
        for before, event in pairwise(reader.events):
            if event.gap:
                assert event.gap == Gap(
                    since=before.timestamp,
                    until=event.timestamp,
                    reason="reconnected",
                    lost=None,
                )
            else:  # what was not marked is whole
                assert (event.timestamp - before.timestamp).total_seconds() == 0.5
    assert sent(emulator, "channels:unsubscribe") == []


@timed
async def test_a_missed_pong():
    """A missed pong is a reconnect, never a silent end of the loop."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST, on_event=told)
        async with client, reading(client.live.counts(session_id)) as reader:
            for _ in range(3):
                emulator.live.go_silent(60)
                await asyncio.sleep(58)
                assert reader.feed.state == "reconnecting"
                await asyncio.sleep(62)
                assert reader.feed.state == "live"
            assert reader.ended_at is None
    assert "no answer to ping within 10 s" in told.reasons


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4000])
@timed
async def test_a_clean_close(code):
    """A clean 1000 or 1001 from the server reconnects, and so does any other code."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST, on_event=told)
        feed = client.live.counts(session_id)
        async with client, talking(emulator, [session_id]), reading(feed) as reader:
            await asyncio.sleep(3.5)
            emulator.live.cut(code)
            await asyncio.sleep(2)
            assert reader.feed.state == "live"
            assert len(reader.events) == 5
            assert client.stats.live_reconnects == 1
    assert told.reasons[0] == f"the service closed it with code {code}"
    assert emulator.live.handshakes == 2


@timed
async def test_an_old_answer_that_was_missed():
    """A new socket is not judged by the old one's missed answer."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, live=FAST) as client:
            async with client.live.counts(session_id):
                await asyncio.sleep(19.5)
                emulator.live.go_silent(6)  # the ping of the 20th second is lost
                await asyncio.sleep(6)
                emulator.live.cut()
                await asyncio.sleep(30)
    assert emulator.live.handshakes == 2


@timed
async def test_reader_and_pinger_fail_together():
    """Reader and pinger failing together start one reconnect."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST, on_event=told)
        async with client, client.live.counts(session_id):
            opened = sent(emulator, "auth:token")
            await asyncio.sleep(19)
            emulator.live.go_silent(11)
            # The ping of the 20th second is due at the moment of the cut.
            due = times(opened)[0] + 30
            asyncio.get_running_loop().call_at(due, emulator.live.cut)
            await asyncio.sleep(20)
            assert len(told.disconnected) == 1
            assert client.stats.live_reconnects == 1
            assert client.stats.live_connections == 1
    assert emulator.live.handshakes == 2


@pytest.mark.parametrize("how", ["refused", "cut after auth", "cut after 20 s"])
@timed
async def test_accept_then_close(how):
    """Accept-then-close: the waits keep growing."""
    async with emulated() as emulator:
        after = 20 if how == "cut after 20 s" else 0.01
        told = Told(partial(emulator.live.cut, 1000), after)
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told, timeout=3600)
        async with client:
            if how == "refused":
                emulator.live.refuse(path="auth:token", status=503)
            entering = asyncio.create_task(client.live.counts(session_id).__aenter__())
            await asyncio.sleep(600)
            entering.cancel()
            await asyncio.wait([entering])
    # At the shortest wait it would be hundreds; at the longest, 15 s in the mean.
    assert 12 <= emulator.live.handshakes <= 80
    early, late = told.waits[:3], told.waits[-8:]
    assert max(early) <= 4
    assert sum(late) / 8 > 1.5 * sum(early) / 3


@timed
async def test_a_wrong_token_later():
    """A 401 on a reconnect is final: every feed raises, and a new feed tries anew."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None, live=FAST) as client:
            feeds = [client.live.counts(each) for each in ids]
            async with reading(feeds[0]) as one, reading(feeds[1]) as other:
                await asyncio.sleep(3)
                emulator.live.refuse(path="auth:token", status=401, times=1)
                emulator.live.cut()
                await asyncio.sleep(60)
                for reader in (one, other):
                    assert [type(e) for e in reader.errors] == [AuthenticationError]
                    assert reader.feed.state == "ended"
                assert emulator.live.handshakes == 2
            async with client.live.counts(ids[0]) as feed:
                emulator.live.emit(ids[0], {"joy": 1})
                assert (await feed.next(5)).emotions == {"joy": 1}


@pytest.mark.parametrize("status", [429, 500, 503])
@timed
async def test_refused_handshakes(status):
    """429 and 5xx handshakes back off, also those of a client's first connection."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        emulator.live.refuse(path="handshake", status=status, times=4)
        async with emulator.client(cache=None, on_event=told, timeout=120) as client:
            async with client.live.counts(session_id) as feed:
                assert feed.state == "live"
    assert emulator.live.handshakes == 5
    assert len(told.waits) == 4
    assert all(wait >= 0.5 for wait in told.waits)


@timed
async def test_twenty_clients_cut_together():
    """20 clients cut together come back spread out, under 90 connections each."""
    async with emulated() as emulator, AsyncExitStack() as stack:
        tolds = [Told() for _ in range(20)]
        for told in tolds:
            token = emulator.add_token()
            (session_id,) = active(emulator, token=token)
            client = emulator.client(token=token, cache=None, on_event=told)
            await stack.enter_async_context(client)
            await stack.enter_async_context(client.live.counts(session_id))
        emulator.live.cut()
        await asyncio.sleep(10)
        moments = [told.connected[1] for told in tolds]
        assert busiest(moments, 0.1) <= 12
        assert max(moments) - min(moments) > 0.2


@timed
async def test_ninety_connections_a_minute():
    """A client makes at most 90 connections in 60 s, whatever its waits."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        emulator.live.limits = LiveLimits(connections=10_000)
        emulator.live.refuse(path="handshake", status=503)
        policy = LivePolicy(base=0.001, cap=0.001)
        client = emulator.client(cache=None, live=policy, on_event=told, timeout=3600)
        async with client:
            entering = asyncio.create_task(client.live.counts(session_id).__aenter__())
            await asyncio.sleep(300)
            entering.cancel()
            await asyncio.wait([entering])
    tries = [moment for moment, _ in told.disconnected]
    assert busiest(tries, 60) == 90
    assert emulator.live.handshakes >= 4 * 90


@timed
async def test_new_ids():
    """After a reconnect every feed gets its events under the new id."""
    async with emulated() as emulator:
        ids = active(emulator, 7)
        async with emulator.client(cache=None, live=FAST) as client:
            merged = client.live.merge(client.live.counts(each) for each in ids)
            async with talking(emulator, ids), reading(merged) as reader:
                old = {each.id for each in emulator.live.subscriptions}
                emulator.live.cut()
                await asyncio.sleep(1.5)
                new = {each.id for each in emulator.live.subscriptions}
                assert len(new) == 7
                assert not old & new
                seen = len(reader.events)
                await asyncio.sleep(3)
                after = reader.events[seen:]
                assert {event.session for event in after} == {*ids}
                assert len(after) == 21
                stale = f'["{old.pop()}", 1, "sec", [{{"joy": 99}}]]'
                emulator.live.send(stale)  # nobody hears what comes for an old id
                await asyncio.sleep(0.1)
                assert len(reader.events) == seen + 21
                assert client.stats.live_unreadable == 2  # of two connections


@timed
async def test_no_unsubscribe_first():
    """Reconnecting sends no unsubscribe, also of what was left while it was away."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(ids[0]):
                async with client.live.counts(ids[1]):
                    emulator.live.refuse(path="handshake", status=503, times=3)
                    emulator.live.cut()
                await asyncio.sleep(20)
                assert [each.key for each in emulator.live.subscriptions] == [
                    f"{ids[0]}:1s"
                ]
            assert sent(emulator, "channels:unsubscribe") == []


@timed
async def test_unsubscribe_reconnect_subscribe():
    """Unsubscribe, reconnect, subscribe again works."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None, live=FAST) as client:
            async with client.live.counts(ids[1]):
                async with client.live.counts(ids[0]):
                    pass
                await asyncio.sleep(6)
                assert len(sent(emulator, "channels:unsubscribe")) == 1
                emulator.live.cut()
                await asyncio.sleep(1)
                async with client.live.counts(ids[0]) as feed:
                    emulator.live.emit(ids[0], {"joy": 1})
                    assert (await feed.next(2)).session == ids[0]
                    assert len(emulator.live.subscriptions) == 2


@pytest.mark.parametrize("seed", range(8))
@timed
async def test_leaving_and_joining_during_resubscription(seed):
    """Leaving and joining during resubscription ends with exactly one subscription."""
    rng = random.Random(seed)
    async with emulated() as emulator:
        ids = active(emulator, 3)
        async with emulator.client(cache=None, live=FAST, timeout=60) as client:

            async def visit(session_id):
                await asyncio.sleep(rng.random() * 2)
                async with client.live.counts(session_id):
                    await asyncio.sleep(rng.random() * 2)

            async with client.live.counts(ids[0]):
                async with asyncio.TaskGroup() as group:
                    for each in ids * 4:
                        group.create_task(visit(each))
                    for _ in range(3):
                        await asyncio.sleep(rng.random())
                        emulator.live.go_silent(rng.random() / 2)
                        emulator.live.cut()
                async with client.live.counts(ids[1]) as feed:
                    await asyncio.sleep(12)
                    held = [(e.channel, e.key) for e in emulator.live.subscriptions]
                    assert sorted(held) == sorted(
                        ("session_emotions_counts", f"{each}:1s") for each in ids[:2]
                    )
                    assert client.stats.live_subscriptions == 2
                    emulator.live.emit(ids[1], {"joy": 1})
                    assert (await feed.next(2)).emotions == {"joy": 1}
        await nothing_left(emulator)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
@timed
async def test_a_failed_resubscribe_is_repeated(status):
    """A failed resubscribe is repeated or raised, never forgotten: repeated."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST)
        async with client, talking(emulator, [session_id]):
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(2)
                emulator.live.refuse(status=status, times=3)
                emulator.live.cut()
                await asyncio.sleep(0.5)
                assert reader.feed.state == "reconnecting"
                await asyncio.sleep(100)
                assert reader.feed.state == "live"
                assert len(reader.gaps) == 1
                assert reader.errors == []


@timed
async def test_a_resubscribe_of_what_is_gone():
    """A 404 after a reconnect is a NotFoundError of that feed alone."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None, live=FAST) as client:
            gone, stays = (client.live.counts(each) for each in ids)
            async with (
                talking(emulator, ids),
                reading(gone) as one,
                reading(stays) as other,
            ):
                await asyncio.sleep(3.5)
                emulator.remove_session(ids[0])
                emulator.live.cut()
                await asyncio.sleep(3)
                assert [type(error) for error in one.errors] == [NotFoundError]
                assert gone.state == "ended"
                assert len(one.events) == 3
                assert (other.errors, stays.state) == ([], "live")


@timed
async def test_a_state_after_a_reconnect_replaces():
    """A state after a reconnect replaces, and is not merged; it has no gap."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, meta={"workerState": "working"})
        async with emulator.client(cache=None) as client:
            async with client.live.worker_state(session_id) as feed:
                assert (await feed.next(1)).state == "working"
                emulator.live.refuse(path="handshake", status=503, times=2)
                emulator.live.cut()
                for state in ("resting", "stopping"):
                    emulator.update_session(session_id, meta={"workerState": state})
                event = await feed.next(30)
                assert (event.state, event.gap) == ("stopping", None)
                assert feed.latest == event
            async with client.live.worker_state(session_id) as feed:
                assert (await feed.next(1)).state == "stopping"


@timed
async def test_a_request_that_is_pending_at_a_disconnect():
    """A request that is pending at a disconnect fails, and is made anew."""

    async def script(call):
        await call.welcome()
        await call.hear()
        if call.number == 2:
            await call.socket.close()
        elif call.number > 2:
            await call.serve()

    async with playing(script) as service:
        async with service.client(live=FAST) as client:
            entering = asyncio.create_task(client.live.counts("a" * 24).__aenter__())
            await asyncio.sleep(15)
            assert not entering.done()
            entering.cancel()
            await asyncio.wait([entering])
    assert service.paths(1) == service.paths(2) == ["auth:token", "channels:subscribe"]


@timed
async def test_no_late_answer_hurts():
    """A late answer to a request that was given up hurts nobody."""

    async def script(call):
        await call.welcome()
        late = await call.hear()
        await asyncio.sleep(9)  # its feed has left meanwhile
        await call.answer(late, subscriptionId="late")
        wanted = await call.hear()
        await call.answer(late, subscriptionId="later")
        await call.tell("later", 1)
        await call.answer(wanted, subscriptionId="wanted")
        await call.tell("wanted", 2)
        left = await call.hear()
        assert left["body"] == {"subscriptionId": "late"}
        await call.answer(left)
        await call.serve()

    async with playing(script) as service, service.client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), client.live.counts("a" * 24):
                pass
        async with client.live.counts("b" * 24) as feed:
            event = await feed.next(1)
            assert (event.session, event.emotions["joy"]) == ("b" * 24, 2)
        assert service.calls == 1


@timed
async def test_old_readers():
    """An old reader never takes from the new socket: nothing of it is left."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST)
        async with client, talking(emulator, [session_id], 0.1):
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(3)
                for number in range(20):
                    emulator.live.cut(None if number % 2 else 1000)
                    await asyncio.sleep(1)
                await asyncio.sleep(3)
                tasks = [repr(task) for task in asyncio.all_tasks()]
                assert sum("Line._read" in each for each in tasks) == 1
                stamps = reader.stamps(session_id)
                assert stamps == sorted(set(stamps))
                assert len(stamps) > 100


@timed
async def test_nothing_before_the_answer_to_auth():
    """Nothing is sent before the answer to auth, however long it takes."""
    answered = []

    async def script(call):
        message = await call.hear()
        await asyncio.sleep(9)
        answered.append(simulated.now())
        await call.answer(message)
        await call.serve()

    async with playing(script) as service, service.client() as client:
        async with client.live.counts("a" * 24):
            pass
    (auth, *others) = service.heard
    assert auth[:2] == (1, "auth:token")
    assert others
    assert all(moment >= answered[0] for _, _, moment in others)


@timed
async def test_a_close_before_the_answer_to_auth():
    """It ends that attempt at once, its code in the event, and the next one follows."""

    async def script(call):
        if call.number == 1:
            await call.hear()
            await call.socket.close(code=4403)
            return
        await call.welcome()
        await call.serve()

    async with playing(script) as service:
        told = Told()
        async with service.client(on_event=told) as client:
            async with client.live.counts("a" * 24):
                assert simulated.now() < 1.1  # the wait is at most 1 s
    assert told.reasons[0] == "the service closed it with code 4403"
    assert service.calls == 2


@timed
async def test_an_outage_that_may_not_last():
    """Feeds raise after `outage` seconds without a connection, and tell the cause."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        policy = LivePolicy(outage=60)
        async with emulator.client(cache=None, live=policy) as client:
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(10)
                emulator.live.refuse(path="handshake", status=503)
                emulator.live.cut()
                lost_at = simulated.now()
                await asyncio.sleep(59)
                assert reader.feed.state == "reconnecting"
                await asyncio.sleep(2)
                (error,) = reader.errors
                assert type(error) is ConnectionLostError
                assert "no live connection for 60 s" in str(error)
                assert error.__cause__.status == 503
                assert lost_at + 60 <= reader.ended_at <= lost_at + 60.5


@timed
async def test_outages_that_end_in_time():
    """Outages that end before `outage` seconds do not add up."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        policy = LivePolicy(outage=30, base=0.5, cap=2)
        async with emulator.client(cache=None, live=policy) as client:
            async with reading(client.live.counts(session_id)) as reader:
                for _ in range(4):
                    emulator.live.refuse(path="handshake", status=503, times=8)
                    emulator.live.cut()
                    await asyncio.sleep(60)
                    assert reader.feed.state == "live"
                assert reader.errors == []
