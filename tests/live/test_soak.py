"""Faults of all kinds for an hour of simulated time, and for minutes of real time."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest
import simulated
from chaos import Trouble, Truth, Visitors, Watch, busiest, cancel_some, end
from scene import active, nothing_left
from simulated import timed
from waiting import until

from emogg_async import LivePolicy
from emogg_async.events import LiveConnected
from emogg_async.testing import EmoggEmulator, LiveGuesses, LiveLimits

EASY = LiveLimits(messages=10_000, connections=10_000, per_user=99, per_connection=99)
"""Limits that nobody meets, so that only the client's own hold."""

UNLIKE = LiveGuesses(
    window="fixed",
    over_limit="forbid",
    event_before_ack=True,
    refusals_have_id=True,
    error_text_in="body",
    timestamps="ms",
    slots_kept=15.0,
)
"""The other answer to each question that the reference leaves open."""

PATIENT = LivePolicy(base=0.2, cap=5.0)
HASTY = LivePolicy(base=0.05, cap=0.1)
"""So hasty that only the limit on new connections slows it down."""

WORLDS = [
    (LiveGuesses(), LiveLimits(), PATIENT),
    (UNLIKE, LiveLimits(), PATIENT),
    (LiveGuesses(), EASY, HASTY),
    (LiveGuesses(over_limit="close"), LiveLimits(), HASTY),
]


async def go_on(visits, trouble, most, seconds, every):
    """Let all go on for *seconds*, with trouble *every* few of them, and end it."""
    visits = [asyncio.create_task(each) for each in visits]
    beside = [
        asyncio.create_task(trouble.go_on(every)),
        asyncio.create_task(cancel_some(visits, trouble._rng, every)),
        asyncio.create_task(most.watch()),
    ]
    await asyncio.sleep(seconds)
    await end([*beside, *visits])


def check_limits(emulator, most):
    """Check that the client has kept the limits of the service, and tell how near."""
    arrived = [each.at.timestamp() for each in emulator.live.messages]
    messages = busiest(arrived, 60)
    print(f"most in 60 s: {messages} messages, {most.handshakes} handshakes")
    assert messages <= 80
    assert most.handshakes <= 90
    assert most.on_one <= 5
    assert most.in_all <= 10


@pytest.mark.timing
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(15, id="scaled"),
        pytest.param(600, id="full", marks=pytest.mark.soak),
    ],
)
async def test_minutes_of_real_time(seconds):
    """A service that others run, and real time: order is kept and losses are marked."""
    readers, rng, found = seconds, random.Random(0), Counter()
    with EmoggEmulator(sessions=0, rate_limit=None) as emulator:
        ids = active(emulator, 6, ends_after=seconds * 2)
        truth = Truth(emulator)
        trouble = Trouble(emulator, truth, rng, found, simulated=False)
        policy = LivePolicy(base=0.05, cap=0.5)
        async with emulator.client(cache=None, live=policy) as client:
            visitors = Visitors(client, ids, truth, rng, found)
            most = Watch(emulator)
            visits = [
                visitors.visit(rng.random() * seconds * 0.7, rng.random() * 20, naps=2)
                for _ in range(readers)
            ]
            await go_on(visits, trouble, most, seconds, every=5)
        await until(lambda: emulator.live.connections == 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    print(f"\n{client.stats.live_reconnects} reconnects, {dict(found)}")
    check_limits(emulator, most)
    assert found["entered"] > 0
    if seconds > 60:  # a short run may be cut before it hears much
        assert found["events"] > seconds / 2
        assert found["reconnected"] > 0


@pytest.mark.parametrize(
    "scale",
    [
        pytest.param(1 / 12, id="scaled"),
        pytest.param(1.0, id="full", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("seed", range(len(WORLDS)))
@timed
async def test_an_hour_of_faults(seed, scale):
    """Through an hour of faults each feed keeps its order, and each loss is marked."""
    seconds, readers = 3600 * scale, int(500 * scale)
    rng, found = random.Random(seed), Counter()
    guesses, limits, policy = WORLDS[seed]
    async with simulated.emulated() as emulator:
        emulator.live.guesses, emulator.live.limits = guesses, limits
        ids = active(emulator, 5, ends_after=seconds * 2)
        ids += active(emulator, ends_after=seconds / 2)
        truth = Truth(emulator)
        trouble = Trouble(emulator, truth, rng, found, simulated=True)

        def on_event(event):
            if isinstance(event, LiveConnected):
                trouble.connected()

        options = {"cache": None, "live": policy, "on_event": on_event}
        async with emulator.client(**options) as client:
            visitors = Visitors(client, ids, truth, rng, found)
            most = Watch(emulator)
            visits = [
                visitors.visit(rng.random() * seconds, rng.random() * 120, naps=20)
                for _ in range(readers)
            ]
            await go_on(visits, trouble, most, seconds, every=20)
            trouble.calm()
            await asyncio.sleep(60)
            async with AsyncExitStack() as stack:  # all is well again
                for feed in visitors.feeds(ids[:5]):
                    await stack.enter_async_context(feed)
                assert client.stats.live_subscriptions == 10
            await asyncio.sleep(150)  # a linger, a probe, 65 s of slots, an idle time
            assert client.stats.live_connections == 0
            assert client.stats.live_subscriptions == 0
            hub = client._core.hub
            assert (hub._topics, hub._lines, hub._looks) == ({}, {}, {})
            shared = hub._allowance
            assert (shared.slots.in_use, shared.waiting, shared.lines) == (0, {}, 0)
        await nothing_left(emulator)
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    assert [each for each in loop._scheduled if not each.cancelled()] == []
    assert len(loop.clock.get_map()) == simulated.OWN
    print(f"\n{seed}: {client.stats.live_reconnects} reconnects, {dict(found)}")
    check_limits(emulator, most)
    assert found["entered"] > readers / 5
    assert found["events"] > 2 * readers
    assert found["reconnected"] > 0
