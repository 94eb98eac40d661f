"""Waiting until a session is finished, by REST."""

import asyncio

import pytest
import simulated
from scene import UNKNOWN, active
from simulated import emulated, timed

from emogg_async import (
    AuthenticationError,
    CachePolicy,
    ClientClosedError,
    DeadlineError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
    ServerError,
)


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
async def test_a_failure_before_an_answer_is_not_told():
    """The session was still under way when the time was up; the service was there."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        emulator.fail("GET", status=503, times=1)
        options = {"cache": None, "retry": RetryPolicy(attempts=1)}
        async with emulator.client(**options) as client:
            with client.deadline(12), pytest.raises(DeadlineError) as caught:
                await client.wait_until_finished(session_id)
            assert caught.value.__cause__ is None


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


def gets(emulator):
    """Return how many gets the emulator has seen."""
    return len(emulator.requests)


async def settle():
    """Let what was cancelled end."""
    for _ in range(10):
        await asyncio.sleep(0)


@timed
async def test_it_asks_past_the_cache_and_what_it_learns_is_stored():
    """A session that the cache holds as active is asked for; its end is a hit then."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=3)
        policy = CachePolicy(live_ttl=3600.0)
        async with emulator.client(cache=policy) as client:
            assert "active" == (await client.get_session(session_id)).state
            session = await client.wait_until_finished(session_id)
            assert "finished" == session.state
            before = gets(emulator)
            assert session == await client.get_session(session_id)
            await client.get_emotions(session_id)
            await client.get_emotions(session_id)
            assert before + 1 == gets(emulator)


@timed
async def test_those_who_wait_for_the_same_session_share_its_polls():
    """A thousand callers cost as many requests as the most impatient one."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=59)
        async with emulator.client(cache=None) as client:
            polls = [2.0 + number % 50 for number in range(1_000)]
            waits = [
                client.wait_until_finished(session_id, poll=each) for each in polls
            ]
            found = await asyncio.gather(*waits)
            assert {"finished"} == {each.state for each in found}
            assert 59 <= simulated.now() <= 61.1
            assert 25 <= gets(emulator) <= 32


@timed
async def test_nobody_waits_for_ever_because_of_a_view_with_little_time():
    """Callers with time for an answer get it, whoever began to wait first."""
    async with emulated(latency=0.5) as emulator:
        (session_id,) = active(emulator, ends_after=0)
        async with emulator.client() as client:
            hasty = client.with_options(timeout=0.2)
            never = asyncio.create_task(hasty.wait_until_finished(session_id))
            await asyncio.sleep(0)
            with client.deadline(30.0):
                found = await client.wait_until_finished(session_id)
            assert "finished" == found.state
            never.cancel()
            await asyncio.wait([never])


@timed
async def test_an_impatient_caller_hurries_the_others_until_it_leaves():
    """Polls come as often as somebody who waits now wants them."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=500)
        async with emulator.client(cache=None) as client:
            patient = asyncio.create_task(
                client.wait_until_finished(session_id, poll=100)
            )
            await asyncio.sleep(50)
            assert 1 == gets(emulator)
            with client.deadline(20.5), pytest.raises(DeadlineError):
                await client.wait_until_finished(session_id, poll=1)
            assert 20 <= gets(emulator) - 1 <= 22
            before = gets(emulator)
            await asyncio.sleep(95)
            assert before == gets(emulator)
            assert "finished" == (await patient).state
            assert gets(emulator) <= before + 5


@pytest.mark.parametrize("how", ["cancel", "deadline"])
@timed
async def test_a_caller_who_leaves_ends_it_for_itself_alone(how):
    """The others get the session; the last one to leave ends the polls."""
    async with emulated() as emulator:
        first, second = active(emulator, 2, ends_after=100)
        async with emulator.client(cache=None) as client:

            async def wait(session_id, seconds):
                with client.deadline(seconds):
                    return await client.wait_until_finished(session_id)

            tasks = [
                asyncio.create_task(wait(each, seconds))
                for each in (first, second)
                for seconds in (30, 35)
            ]
            stays = asyncio.create_task(wait(first, 200))
            await asyncio.sleep(29)
            if how == "cancel":
                for each in tasks:
                    each.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            kind = asyncio.CancelledError if how == "cancel" else DeadlineError
            assert {kind} == {type(each) for each in ended}
            await settle()
            before = len([item for item in emulator.requests if second in item.path])
            assert "finished" == (await stays).state
            after = len([item for item in emulator.requests if second in item.path])
            assert before == after
            assert not client._open().sessions._polls._watches


@timed
async def test_closing_the_client_ends_it_for_all():
    """Each caller gets a ClientClosedError, and no task is left."""
    async with emulated() as emulator:
        sessions = active(emulator, 3)
        async with emulator.client(cache=None) as client:
            tasks = [
                asyncio.create_task(client.wait_until_finished(each))
                for each in sessions * 3
            ]
            await asyncio.sleep(12)
            before = asyncio.all_tasks() - {*tasks}
            await client.aclose()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert {ClientClosedError} == {type(each) for each in ended}
            assert 9 == len({id(each) for each in ended})
            await settle()
            assert asyncio.all_tasks() <= before


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 401}, AuthenticationError),
        ({"status": 403}, PermissionDeniedError),
        ({"status": 404}, NotFoundError),
    ],
    ids=str,
)
@timed
async def test_what_no_waiting_mends_ends_it_for_all(fault, kind):
    """A refusal that stays is each caller's error, at once."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            waits = [
                asyncio.create_task(client.wait_until_finished(session_id))
                for _ in range(3)
            ]
            await asyncio.sleep(8)
            emulator.fail("GET", **fault)
            ended = await asyncio.gather(*waits, return_exceptions=True)
            assert [kind] * 3 == [type(each) for each in ended]
            assert simulated.now() <= 10.1
            assert not client._open().sessions._polls._watches


@pytest.mark.parametrize(
    "fault",
    [
        *({"status": 500}, {"status": 503}, {"status": 408}),
        *({"status": 429}, {"fault": "close"}, {"fault": "hang"}),
    ],
    ids=str,
)
@timed
async def test_it_outlasts_all_that_passes(fault):
    """Half an hour without an answer is outlasted, if the deadline allows it."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=100)
        async with emulator.client(cache=None, pace=False) as client:
            outage = emulator.fail("GET", **fault)
            asyncio.get_running_loop().call_later(1800, outage.remove)
            with client.deadline(3600):
                session = await client.wait_until_finished(session_id, poll=30)
            assert "finished" == session.state
            assert 1800 <= simulated.now() <= 1960


@timed
async def test_a_write_meanwhile_is_seen_by_all():
    """A poll from before a rename is not the last one, for callers after it either."""
    async with emulated() as emulator:
        (session_id,) = active(emulator, ends_after=3)
        async with emulator.client(cache=None) as client:
            early = asyncio.create_task(client.wait_until_finished(session_id))
            await asyncio.sleep(4)
            emulator.fail("GET", lag=3.0, times=1)
            await asyncio.sleep(2)  # the poll that finds it finished is on its way back
            await client.update_session(session_id, name="New")
            late = await client.wait_until_finished(session_id)
            assert ["New", "New"] == [late.name, (await early).name]


@timed
async def test_many_sessions_at_once():
    """`gather` waits for many sessions, each with polls of its own, by its own end."""
    async with emulated() as emulator:
        sessions = active(emulator, 40, ends_after=20)
        async with emulator.client(cache=None) as client:
            batch = await client.gather(client.wait_until_finished, sessions)
            assert sessions == list(batch)
            assert {"finished"} == {each.state for each in batch.values()}


@pytest.mark.parametrize("is_single", [False, True])
@timed
async def test_a_bulk_of_waits_yields_to_single_calls(is_single):
    """It does not if a single call waits for the same session."""
    async with emulated(latency=1.0) as emulator:
        first, waited, last = active(emulator, 3, ends_after=0)
        async with emulator.client(cache=None, concurrency=1) as client:
            calls = [client.get_session(first)]
            if is_single:
                calls += [client.wait_until_finished(waited)]
            calls += [client.gather(client.wait_until_finished, [waited])]
            tasks = [asyncio.create_task(each) for each in calls]
            await asyncio.sleep(0.5)
            await client.get_session(last)
            await asyncio.gather(*tasks)
        order = [first, waited, last] if is_single else [first, last, waited]
        assert order == [each.path.rpartition("/")[2] for each in emulator.requests]


@timed
async def test_the_errors_of_one_wait_do_not_reach_the_next():
    """A failure that was outlasted is forgotten with the wait that met it."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        options = {"cache": None, "retry": RetryPolicy(attempts=1)}
        async with emulator.client(**options) as client:
            emulator.fail("GET", status=503, times=1)
            with client.deadline(3), pytest.raises(DeadlineError) as caught:
                await client.wait_until_finished(session_id)
            assert isinstance(caught.value.__cause__, ServerError)
            with client.deadline(3), pytest.raises(DeadlineError) as caught:
                await client.wait_until_finished(session_id)
            assert caught.value.__cause__ is None
