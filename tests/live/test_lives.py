"""Whole lives of two clients, with a service of any habits, and faults all the time."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest
import simulated
from scene import active, busiest, nothing_left, talking, times
from simulated import emulated, timed

from emogg_async import EmoggError, LivePolicy
from emogg_async.testing import LiveGuesses

SECONDS = 150


def habits(rng):
    """Choose what the reference leaves open."""
    return LiveGuesses(
        pings_count=rng.choice([True, False]),
        window=rng.choice(["rolling", "fixed"]),
        over_limit=rng.choice(["refuse", "bad_request", "forbid", "close"]),
        event_before_ack=rng.choice([True, False]),
        repeats_unchanged=rng.choice([True, False]),
        refusals_have_id=rng.choice([True, False]),
        error_text_in=rng.choice(["data", "body"]),
        timestamps=rng.choice(["iso", "ms"]),
        slots_kept=rng.choice([0.0, 65.0]),
    )


async def visit(clients, ids, rng):
    """Hear a session for a while."""
    await asyncio.sleep(rng.random() * SECONDS)
    live = rng.choice(clients).live
    feed = rng.choice([live.counts, live.intensities])(rng.choice(ids))
    with suppress(EmoggError, TimeoutError):
        async with asyncio.timeout(rng.random() * 60), feed:
            async for _ in feed:
                pass


async def disturb(live, rng):
    """Let the service fail in every way."""
    while simulated.now() < SECONDS:
        await asyncio.sleep(rng.random() * 20)
        match rng.randrange(5):
            case 0:
                live.cut()
            case 1:
                live.cut(1001)
            case 2:
                live.go_silent(rng.random() * 40)
            case 3:
                live.refuse(status=rng.choice([400, 403, 429, 500]), times=2)
            case 4:
                live.refuse(path="handshake", status=503, times=3)


@pytest.mark.parametrize("seed", range(6))
@timed
async def test_all_is_well_in_the_end(seed):
    """After any faults, of a service of any habits, ten feeds are live and stay so."""
    rng = random.Random(seed)
    async with emulated() as emulator:
        emulator.live.guesses = habits(rng)
        ids = active(emulator, 14)
        options = {"cache": None, "timeout": 600, "live": LivePolicy(cap=5)}
        clients = [emulator.client(**options) for _ in range(2)]
        async with clients[0], clients[1], talking(emulator, ids):
            async with asyncio.TaskGroup() as group:
                group.create_task(disturb(emulator.live, rng))
                for _ in range(150):
                    group.create_task(visit(clients, ids, rng))
            async with AsyncExitStack() as stack:
                feeds = [clients[n % 2].live.counts(ids[n]) for n in range(10)]
                async with asyncio.timeout(300):
                    for feed in feeds:
                        await stack.enter_async_context(feed)
                await asyncio.sleep(70)
                assert [feed.state for feed in feeds] == ["live"] * 10
                assert len(emulator.live.subscriptions) == 10
                assert {feed.latest.session for feed in feeds} == {*ids[:10]}
            assert busiest(times(emulator.live.messages), 60) <= 80
        await nothing_left(emulator)
