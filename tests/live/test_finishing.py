"""Waiting until a session is finished, by REST."""

import asyncio

import pytest
import simulated
from scene import UNKNOWN, active
from simulated import emulated, timed

from emogg_async import DeadlineError, InvalidArgumentError, NotFoundError, RetryPolicy


@pytest.mark.parametrize("processing", [0.0, 30.0])
@timed
async def test_it_returns_the_finished_session(processing):
    """The finished session is returned within `poll` seconds of its end."""
    async with emulated(processing=processing) as emulator:
        (session_id,) = active(emulator, ends_after=62)
        async with emulator.client(cache=None) as client:
            session = await client.wait_until_finished(session_id)
            assert session.state == "finished"
            assert 62 + processing <= simulated.now() <= 62 + processing + 5.1


@timed
async def test_it_outlasts_outages_and_refusals():
    """Neither an outage nor the client's timeout ends it."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=100)
        emulator.fail("GET", status=503, times=30)
        options = {"cache": None, "timeout": 3, "retry": RetryPolicy(attempts=1)}
        async with emulator.client(**options) as client:
            session = await client.wait_until_finished(session_id, poll=2)
            assert session.state == "finished"
            assert 100 <= simulated.now() <= 103


@timed
async def test_a_deadline_bounds_it():
    """`deadline()` bounds it, and tells the last failure if there was one."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            with client.deadline(12), pytest.raises(DeadlineError) as caught:
                await client.wait_until_finished(session_id)
            assert 12 <= simulated.now() <= 12.1
            assert "has not finished in time" in str(caught.value)
            emulator.fail("GET", status=503)
            with client.deadline(12), pytest.raises(DeadlineError) as caught:
                await client.wait_until_finished(session_id)
            assert caught.value.__cause__ is not None


@timed
async def test_what_ends_it():
    """A session that is not there, or no longer, is a NotFoundError."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            with pytest.raises(NotFoundError):
                await client.wait_until_finished(UNKNOWN)
            loop = asyncio.get_running_loop()
            loop.call_later(17, emulator.remove_session, session_id)
            with pytest.raises(NotFoundError):
                await client.wait_until_finished(session_id)
            assert 17 <= simulated.now() <= 22.1


@pytest.mark.parametrize("poll", [0, -1, "5", None, float("nan"), True])
async def test_what_poll_may_be(client, poll):
    """`poll` is a number of seconds above 0."""
    with pytest.raises(InvalidArgumentError, match="poll"):
        await client.wait_until_finished(UNKNOWN, poll=poll)
