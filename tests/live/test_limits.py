"""Limits on subscriptions, connections and messages, ours and the service's."""

import asyncio
import random
from contextlib import AsyncExitStack
from itertools import pairwise

import attrs
import pytest
import simulated
from scene import active, balance, busiest, nothing_left, reading, sent, talking, times
from simulated import emulated, timed

from emogg_async import (
    DeadlineError,
    InvalidArgumentError,
    LiveLimitError,
    LivePolicy,
)
from emogg_async.testing import LiveLimits


def guess(emulator, **changes):
    """Change what the reference leaves open."""
    emulator.live.guesses = attrs.evolve(emulator.live.guesses, **changes)


def held(emulator):
    """Return how many subscriptions each connection has."""
    held = [each.connection for each in emulator.live.subscriptions]
    return sorted(held.count(connection) for connection in {*held})


async def visits(client, ids, seconds, *, stay, rng):
    """Join 25 feeds each second, and leave them; return how many have entered."""
    entered = 0

    async def visit(session_id):
        nonlocal entered
        try:
            async with asyncio.timeout(stay), client.live.counts(session_id):
                entered += 1
                await asyncio.sleep(rng.randrange(stay))
        except TimeoutError:
            pass  # it has waited for longer than it wanted to

    async with asyncio.TaskGroup() as group:
        for _ in range(seconds):
            for _ in range(25):
                group.create_task(visit(rng.choice(ids)))
            await asyncio.sleep(1)
    return entered


# -- subscriptions ---------------------------------------------------------------------


@timed
async def test_packing():
    """The 6th subscription opens connection 2; the 11th waits, then starts."""
    async with emulated() as emulator:
        ids = active(emulator, 11)
        async with emulator.client(cache=None) as client, AsyncExitStack() as stack:
            feeds = [client.live.counts(each) for each in ids]
            for number, feed in enumerate(feeds[:10], start=1):
                await stack.enter_async_context(feed)
                assert emulator.live.connections == (1 if number <= 5 else 2)
            assert held(emulator) == [5, 5]
            async with asyncio.TaskGroup() as group:
                entering = group.create_task(feeds[10].__aenter__())
                await asyncio.sleep(5)
                assert not entering.done()
                assert feeds[10].state == "waiting"
                await feeds[3].__aexit__(None, None, None)
                await asyncio.sleep(1)
                assert entering.done()
            assert feeds[10].state == "live"
            assert held(emulator) == [5, 5]
            assert balance(emulator)["channels:subscribe"] == 11
            await feeds[10].__aexit__(None, None, None)


@timed
async def test_an_idle_connection_closes():
    """A connection closes when it has had no subscription for 30 s."""
    async with emulated() as emulator:
        ids = active(emulator, 6)
        async with emulator.client(cache=None) as client, AsyncExitStack() as stack:
            for each in ids[:5]:
                await stack.enter_async_context(client.live.counts(each))
            async with client.live.counts(ids[5]):
                assert emulator.live.connections == 2
            await asyncio.sleep(34)  # it lingers for 5 s
            assert emulator.live.connections == 2
            await asyncio.sleep(2)
            assert emulator.live.connections == 1
            async with client.live.counts(ids[5]):
                assert emulator.live.connections == 2
            assert client.stats.live_reconnects == 0


@timed
async def test_first_come_first_served():
    """Feeds that wait for a slot get it in the order in which they came."""
    async with emulated() as emulator:
        ids = active(emulator, 6)
        policy = LivePolicy(subscriptions=1)
        async with emulator.client(cache=None, live=policy, timeout=600) as client:
            order = []

            async def visit(number):
                async with client.live.counts(ids[number]):
                    order.append(number)
                    await asyncio.sleep(1)

            async with asyncio.TaskGroup() as group:
                for number in range(6):
                    group.create_task(visit(number))
                    await asyncio.sleep(0.01)
            assert order == [*range(6)]
            assert len(emulator.live.subscriptions) == 1


@timed
async def test_no_slot_in_time():
    """A feed that waits for longer than `timeout` or `deadline()` is told so."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        policy = LivePolicy(subscriptions=1)
        async with emulator.client(cache=None, live=policy, timeout=5) as client:
            async with client.live.counts(ids[0]):
                with pytest.raises(LiveLimitError, match="1 of 1 are in use") as caught:
                    await client.live.counts(ids[1]).__aenter__()
                assert caught.value.in_use == 1
                assert caught.value.__cause__ is None
                assert 5 <= simulated.now() < 5.5
                with pytest.raises(LiveLimitError):
                    with client.deadline(2):
                        await client.live.counts(ids[1]).__aenter__()
                assert 7 <= simulated.now() < 7.5


OVER = {"refuse": 429, "bad_request": 400, "forbid": 403}


@pytest.mark.parametrize("error_text_in", ["data", "body"])
@pytest.mark.parametrize("refusals_have_id", [True, False])
@pytest.mark.parametrize("over_limit", OVER)
@timed
async def test_slots_that_others_hold(over_limit, refusals_have_id, error_text_in):
    """A refusal by the service's limits is waited out, and told if the time is up."""
    async with emulated() as emulator:
        guess(
            emulator,
            over_limit=over_limit,
            refusals_have_id=refusals_have_id,
            error_text_in=error_text_in,
        )
        emulator.live.limits = LiveLimits(per_user=3)
        ids = active(emulator, 5)
        client = emulator.client(cache=None, timeout=600)
        async with client, AsyncExitStack() as stack:
            for each in ids[:3]:
                await stack.enter_async_context(client.live.counts(each))
            with pytest.raises(LiveLimitError, match="3 of 10") as caught:
                with client.deadline(100):
                    await client.live.counts(ids[3]).__aenter__()
            cause = caught.value.__cause__
            assert cause.status == OVER[over_limit]
            assert "Too many subscriptions" in str(cause)
            assert 100 <= simulated.now() <= 101
            # It is asked ever more rarely: every 15 s on average, not every second.
            asked = sent(emulator, "channels:subscribe")
            tries = [m for m in asked if m.body["key"] == f"{ids[3]}:1s"]
            assert sum(moment > 40 for moment in times(tries)) <= 15
            emulator.live.limits = LiveLimits(per_user=5)
            with client.deadline(60):
                for each in ids[3:]:
                    feed = client.live.counts(each)
                    await stack.enter_async_context(feed)
                    assert feed.state == "live"
            assert len(emulator.live.subscriptions) == 5


@timed
async def test_a_slot_of_ours_becomes_free():
    """A feed that the service has refused starts as soon as another one leaves."""
    async with emulated() as emulator:
        emulator.live.limits = LiveLimits(per_user=2)
        ids = active(emulator, 3)
        async with emulator.client(cache=None, timeout=900) as client:
            async with client.live.counts(ids[0]):
                async with client.live.counts(ids[1]), asyncio.TaskGroup() as group:
                    entering = group.create_task(
                        client.live.counts(ids[2]).__aenter__()
                    )
                    await asyncio.sleep(300)
                    assert not entering.done()
                    entering.cancel()
                    await asyncio.wait([entering])
                    waiting = client.live.counts(ids[2])
                    entering = asyncio.create_task(waiting.__aenter__())
                    await asyncio.sleep(0.1)
                    assert not entering.done()
                left_at = simulated.now()
                await entering
                assert simulated.now() - left_at < 1
                await waiting.__aexit__(None, None, None)


@pytest.mark.parametrize("slots_kept", [0.0, 65.0])
@timed
async def test_slots_of_a_connection_that_vanished(slots_kept):
    """All feeds return after a cut, also if the service keeps their slots for 65 s."""
    async with emulated() as emulator:
        guess(emulator, slots_kept=slots_kept)
        ids = active(emulator, 10)
        client = emulator.client(cache=None, live=LivePolicy(base=0.05, cap=0.2))
        async with client, talking(emulator, ids), AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(reading(client.live.counts(each)))
                for each in ids
            ]
            emulator.live.cut()
            await asyncio.sleep(3 if slots_kept == 0 else 65 + 45)
            assert [reader.feed.state for reader in readers] == ["live"] * 10
            assert [reader.errors for reader in readers] == [[]] * 10
            assert held(emulator) == [5, 5]


@timed
async def test_a_service_that_closes_for_one_too_many():
    """A service that closes the connection at its limit ends no feed."""
    async with emulated() as emulator:
        guess(emulator, over_limit="close")
        emulator.live.limits = LiveLimits(per_user=2)
        ids = active(emulator, 3)
        async with emulator.client(cache=None, timeout=20) as client:
            async with reading(client.live.counts(ids[0])) as reader:
                async with client.live.counts(ids[1]):
                    with pytest.raises((LiveLimitError, DeadlineError)):
                        await client.live.counts(ids[2]).__aenter__()
                    await asyncio.sleep(60)
                    assert reader.feed.state == "live"
                    assert reader.errors == []


@timed
async def test_clients_of_one_token_share_the_limits():
    """Clients of one token in one loop share slots and messages, others do not."""
    async with emulated() as emulator:
        ids = active(emulator, 3)
        token = emulator.add_token()
        (other_id,) = active(emulator, token=token)
        options = {"cache": None, "timeout": 2, "live": LivePolicy(subscriptions=2)}
        async with (
            emulator.client(**options) as one,
            emulator.client(**options) as other,
            emulator.client(**options, token=token) as stranger,
            one.live.counts(ids[0]),
        ):
            async with other.live.counts(ids[1]):
                with pytest.raises(LiveLimitError) as caught:
                    await other.live.counts(ids[2]).__aenter__()
                assert caught.value.in_use == 2
                async with stranger.live.counts(other_id):
                    pass
            async with other.live.counts(ids[2]):
                assert len(emulator.live.subscriptions) == 3


@timed
async def test_a_closed_client_gives_its_slots_to_another():
    """A feed that waits begins when the client that held the slot is closed."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        options = {"cache": None, "live": LivePolicy(subscriptions=1)}
        async with emulator.client(**options) as other:
            async with emulator.client(**options) as one:
                async with one.live.counts(ids[0]):
                    waiting = other.live.counts(ids[1])
                    entering = asyncio.create_task(waiting.__aenter__())
                    await asyncio.sleep(3)
                    assert not entering.done()
                    await one.aclose()
            async with asyncio.timeout(2):
                await entering
            assert waiting.state == "live"
            await waiting.__aexit__(None, None, None)


# -- messages --------------------------------------------------------------------------


@pytest.mark.parametrize("pings_count", [True, False])
@pytest.mark.parametrize("window", ["rolling", "fixed"])
@timed
async def test_the_window_of_messages(window, pings_count):
    """No 60 s window holds more than 80 messages, also from a cold start."""
    async with emulated() as emulator:
        guess(emulator, window=window, pings_count=pings_count)
        ids = active(emulator, 40)
        async with emulator.client(cache=None, timeout=600) as client:
            rng = random.Random(window)
            entered = await visits(client, ids, 150, stay=30, rng=rng)
            assert client.stats.live_reconnects == 0
            assert max(held(emulator)) <= 5
        assert entered > 100
        assert 60 <= busiest(times(emulator.live.messages), 60) <= 80
        await nothing_left(emulator)
    assert emulator.live.handshakes == 2


@timed
async def test_a_small_share_of_the_messages():
    """With no message left, pings still go, and subscriptions wait."""
    async with emulated() as emulator:
        ids = active(emulator, 20)
        policy = LivePolicy(subscriptions=2, messages=16)
        async with emulator.client(cache=None, live=policy, timeout=600) as client:
            await visits(client, ids, 130, stay=20, rng=random.Random(1))
            assert client.stats.live_reconnects == 0
            moments = times(emulator.live.messages)
            assert 12 <= busiest(moments, 60) <= 16
            pings = times(sent(emulator, "ping"))
            gaps = [later - earlier for earlier, later in pairwise([0.0, *pings])]
            assert max(gaps) <= policy.ping + 0.01
    assert emulator.live.handshakes == 1


@pytest.mark.parametrize(("clients", "messages"), [(1, 5), (14, 80)])
@timed
async def test_signs_of_life_leave_room_for_subscriptions(clients, messages):
    """The least that a policy may have suffices, and so do 80 for 14 connections."""
    policy = LivePolicy(subscriptions=1 if clients == 1 else 10, messages=messages)
    async with emulated() as emulator, AsyncExitStack() as stack:
        options = {"cache": None, "timeout": 200, "live": policy}
        ids = active(emulator, clients)
        opened = [
            await stack.enter_async_context(emulator.client(**options)) for _ in ids
        ]

        async def visit(client, session):
            for _ in range(4):
                async with client.live.counts(session):
                    await asyncio.sleep(15)
                await asyncio.sleep(20)

        await asyncio.gather(*map(visit, opened, ids))
        assert busiest(times(emulator.live.messages), 60) <= messages
        assert sum(client.stats.live_reconnects for client in opened) == 0


@timed
async def test_two_clients_share_the_window_of_messages():
    """Clients of one token send at most 80 messages in 60 s together."""
    async with emulated() as emulator:
        ids = active(emulator, 40)
        options = {"cache": None, "timeout": 600}
        async with emulator.client(**options) as one, emulator.client(**options) as two:
            async with asyncio.TaskGroup() as group:
                for client in (one, two):
                    rng = random.Random(id(client))
                    group.create_task(visits(client, ids, 90, stay=30, rng=rng))
            assert busiest(times(emulator.live.messages), 60) <= 80
            assert one.stats.live_reconnects == two.stats.live_reconnects == 0


@timed
async def test_a_message_that_the_service_refuses():
    """A feed waits, and pings go on, while others use up the user's messages."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None, timeout=120) as client:
            async with client.live.counts(ids[0]) as feed:
                emulator.live.limits = LiveLimits(messages=1)
                asyncio.get_running_loop().call_later(
                    59, setattr, emulator.live, "limits", LiveLimits()
                )
                async with client.live.counts(ids[1]) as other:
                    assert feed.state == other.state == "live"
                    assert 59 < simulated.now() < 95
    assert emulator.live.handshakes == 1


@timed
async def test_clients_of_different_policies():
    """A client that has all that its policy allows keeps no other client waiting."""
    async with emulated() as emulator:
        one, two, three = active(emulator, 3)
        small = emulator.client(cache=None, live=LivePolicy(subscriptions=1))
        async with small, emulator.client(cache=None) as large:
            async with small.live.counts(one):
                entering = asyncio.create_task(small.live.counts(two).__aenter__())
                await asyncio.sleep(1)
                async with large.live.counts(three):
                    assert simulated.now() < 2
                    assert not entering.done()
            await entering


# -- the policy ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"subscriptions": 0}, "subscriptions: expected 1 or more, got 0"),
        ({"subscriptions": True}, "subscriptions"),
        ({"per_connection": 1.5}, "per_connection"),
        ({"messages": "80"}, "messages"),
        ({"messages": 8}, "messages: expected 9 or more .* 2 connections, got 8"),
        ({"window": 0}, "window"),
        ({"ping": -1}, "ping"),
        ({"pong": float("nan")}, "pong"),
        ({"base": float("inf")}, "base"),
        ({"base": 2.0, "cap": 1.0}, "cap: expected at least base, 2, got 1"),
        ({"outage": 0}, "outage"),
        ({"outage": "never"}, "outage"),
    ],
)
def test_policies_that_are_refused(options, problem):
    """A policy names the argument, its rule and the value that breaks it."""
    with pytest.raises(InvalidArgumentError, match=problem):
        LivePolicy(**options)


def test_policies_for_fleets():
    """The shares of a fleet's processes are policies, and no outage is for ever."""
    assert LivePolicy(subscriptions=2, messages=16).outage is None
    with pytest.raises(TypeError):
        LivePolicy(2)
