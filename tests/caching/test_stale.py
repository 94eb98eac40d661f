"""Past values, and when they stand in; the client's over real sockets."""

import asyncio
import copy
import pickle
import random
import time
from contextlib import suppress

import attrs
import pytest
from aiocache import SimpleMemoryCache
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from emogg_async import (
    AuthenticationError,
    BadRequestError,
    CachePolicy,
    ClientClosedError,
    DeadlineError,
    EmoggError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
    Session,
    StatusError,
    to_dict,
)
from emogg_async._caching import guard
from emogg_async._caching import outages as outages_module
from emogg_async._caching.opening import open_cache
from emogg_async._caching.outages import (
    FAILURES_IN_A_ROW,
    MEMORY,
    PROBE_INTERVAL,
    Outage,
    Past,
    is_outage,
)
from emogg_async._wire.converter import structure
from emogg_async.testing import EmoggEmulator

# Put forward, where a test has to wait for what is stale.
pytestmark = pytest.mark.usefixtures("clocks")

QUICK = RetryPolicy(attempts=2, base=0.001, cap=0.002)
MOMENT = 0.01
"""Seconds for which what these tests store stays fresh."""


class Slow(SimpleMemoryCache):
    """A backend that answers over a network, so that others come in between."""

    async def get(self, *args, **options):
        await asyncio.sleep(0.002)
        return await super().get(*args, **options)

    async def multi_get(self, *args, **options):
        await asyncio.sleep(0.002)
        return await super().multi_get(*args, **options)


class Hanging(SimpleMemoryCache):
    """A backend that may stop to answer."""

    hangs = False

    async def get(self, *args, **options):
        await self._answer()
        return await super().get(*args, **options)

    async def multi_get(self, *args, **options):
        await self._answer()
        return await super().multi_get(*args, **options)

    async def set(self, *args, **options):
        await self._answer()
        return await super().set(*args, **options)

    async def delete(self, *args, **options):
        await self._answer()
        return await super().delete(*args, **options)

    async def _answer(self):
        if self.hangs:
            await asyncio.sleep(60)


CALLS = {
    "session": lambda client, each: client.get_session(each),
    "fresh": lambda client, each: client.get_session(each, fresh=True),
    "emotions": lambda client, each: client.get_emotions(each),
    "rename": lambda client, each: client.update_session(each, name="New"),
    "delete": lambda client, each: client.delete_session(each),
    "pages": lambda client, each: client.get_sessions([each], via="pages"),
    "gets": lambda client, each: client.get_sessions([each], via="get"),
    "gather": lambda client, each: client.gather(client.get_emotions, [each]),
    "list": lambda client, _: client.list_sessions().first(),
}


BACKENDS = {"memory": lambda: None, "shared": lambda: SimpleMemoryCache(timeout=None)}


def policy(backend=None, **changes):
    """Make a policy whose values are past at once, and stand in for a minute."""
    options = {"ttl": MOMENT, "live_ttl": MOMENT, "stale_if_error": 60.0}
    return CachePolicy(backend=backend, **options | changes)


async def grow_old():
    """Let what was stored lose its freshness."""
    await asyncio.sleep(MOMENT * 1.2)


@pytest.fixture(params=BACKENDS)
async def client(request, emulator, monkeypatch):
    """Give a client with either kind of cache."""
    monkeypatch.setattr(guard, "BACKEND_TIMEOUT", 10.0)  # on a machine that is busy
    cache = policy(BACKENDS[request.param]())
    async with emulator.client(cache=cache, retry=QUICK, pace=False) as opened:
        yield opened


@pytest.fixture(params=BACKENDS)
async def hasty(request, emulator):
    """Give one with little patience, for what hangs."""
    options = {"retry": QUICK, "attempt_timeout": 0.2, "pace": False}
    cache = policy(BACKENDS[request.param]())
    async with emulator.client(cache=cache, **options) as opened:
        yield opened


@pytest.fixture
def finished(emulator):
    """Give the id of a finished session."""
    return emulator.add_session(name="Old", state="finished", duration=600.0).id


async def with_past(client, session_id):
    """Let the cache of *client* have a past value; return the session."""
    session = await client.get_session(session_id)
    await grow_old()
    return session


async def break_down(client, session_id):
    """Call a service that is out until *client* knows; two attempts are a call."""
    for _ in range(2):
        assert (await client.get_session(session_id)).stale


OUTAGES = {
    "503": {"status": 503},
    "500": {"status": 500},
    "501": {"status": 501},
    "408": {"status": 408},
    "reset": {"fault": "reset"},
    "close": {"fault": "close"},
    "cut": {"fault": "cut"},
    "hang": {"fault": "hang"},
    "429": {"status": 429, "headers": {"Retry-After": "99999"}},
}

ANSWERS = {
    "400": ({"status": 400}, BadRequestError),
    "401": ({"status": 401}, AuthenticationError),
    "403": ({"status": 403}, PermissionDeniedError),
    "404": ({"status": 404}, NotFoundError),
    "409": ({"status": 409}, StatusError),
    "302": ({"status": 302}, StatusError),
    "garbage": ({"fault": "garbage"}, ResponseShapeError),
    "another shape": ({"status": 200, "body": {"name": 1}}, ResponseShapeError),
}


class TestWhen:
    @pytest.mark.parametrize("fault", OUTAGES)
    async def test_a_past_value_stands_in_for_an_outage(
        self, emulator, hasty, finished, fault
    ):
        """Whatever keeps the service from answering, what is served says so."""
        session = await with_past(hasty, finished)
        emulator.fail(**OUTAGES[fault])
        past = await hasty.get_session(finished)
        assert session == past
        assert (False, True) == (session.stale, past.stale)
        assert 1 == hasty.stats.stale_served

    @pytest.mark.parametrize("fault", ANSWERS)
    async def test_never_for_an_answer(self, emulator, client, finished, fault):
        """What the service does answer is what the caller gets."""
        await with_past(client, finished)
        rule, error = ANSWERS[fault]
        emulator.fail(**rule)
        with pytest.raises(error):
            await client.get_session(finished)
        assert 0 == client.stats.stale_served

    @pytest.mark.parametrize("fault", ["401", "403", "404"])
    async def test_what_is_gone_stays_gone(self, emulator, client, finished, fault):
        """After a 401, 403 or 404 there is nothing left to stand in."""
        await with_past(client, finished)
        emulator.fail(**ANSWERS[fault][0], times=1)
        with pytest.raises(ANSWERS[fault][1]):
            await client.get_session(finished)
        emulator.fail(status=503)
        with pytest.raises(ServerError):
            await client.get_session(finished)

    async def test_not_without_the_policy(self, emulator, finished):
        """By default nothing past is ever served, nor kept."""
        cache = CachePolicy(ttl=MOMENT)
        async with emulator.client(cache=cache, retry=QUICK) as client:
            await with_past(client, finished)
            emulator.fail(status=503)
            with pytest.raises(ServerError):
                await client.get_session(finished)
            assert 0 == client.stats.stale_served

    @pytest.mark.parametrize("kind", BACKENDS)
    async def test_only_for_so_long(self, emulator, finished, kind, clocks):
        """Once `stale_if_error` is over, an outage is an error."""
        cache = policy(BACKENDS[kind]())
        async with emulator.client(cache=cache, retry=QUICK) as client:
            await with_past(client, finished)
            emulator.fail(status=503)
            assert (await client.get_session(finished)).stale
            await clocks.forward(60.0)
            with pytest.raises(ServerError):
                await client.get_session(finished)

    async def test_not_by_a_call_that_wants_it_fresh(self, emulator, client, finished):
        """`fresh=True` asks the service, and gets what that says or nothing."""
        await with_past(client, finished)
        emulator.fail(status=503)
        assert (await client.get_session(finished)).stale
        with pytest.raises(ServerError):
            await client.get_session(finished, fresh=True)

    async def test_a_call_that_joins_a_fresh_one_falls_back(
        self, emulator, client, finished
    ):
        """Who joins a load with `fresh=True` did not ask for that."""
        await with_past(client, finished)
        emulator.fail(status=503, delay=0.1)
        strict = asyncio.create_task(client.get_session(finished, fresh=True))
        await until(lambda: emulator.in_flight == 1)
        assert (await client.get_session(finished)).stale
        with pytest.raises(ServerError):
            await strict

    async def test_an_expanded_session_is_never_stale(self, emulator, client, finished):
        """What is not kept cannot stand in."""
        await client.get_session(finished, expand=["user"])
        await with_past(client, finished)
        emulator.fail(status=503)
        with pytest.raises(ServerError):
            await client.get_session(finished, expand=["user"])

    async def test_not_once_the_client_is_closed(self, emulator, client, finished):
        """To close a client is no outage."""
        await with_past(client, finished)
        emulator.fail(fault="hang")
        call = asyncio.create_task(client.get_session(finished))
        await until(lambda: emulator.in_flight == 1)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await call

    @pytest.mark.timing
    @pytest.mark.parametrize("seconds", [0.05, 1e-9])
    async def test_a_deadline_is_kept(self, emulator, client, finished, seconds):
        """Who has only so much time has the value then, even if nothing was tried."""
        await with_past(client, finished)
        emulator.fail(fault="hang")
        with client.deadline(seconds):
            started = time.monotonic()
            assert (await client.get_session(finished)).stale
        assert time.monotonic() - started < seconds + 0.1

    @pytest.mark.timing
    @pytest.mark.parametrize("service", [{"fault": "hang"}, {"delay": 0.05}])
    @pytest.mark.parametrize("call", CALLS)
    async def test_a_deadline_is_kept_whatever_the_cache_does(
        self, emulator, finished, call, service
    ):
        """No question to a cache that hangs outlives the time of the call it is for."""
        late = []
        for _ in range(2):  # what else happens on the machine can only add
            backend = Hanging(timeout=None)
            async with emulator.client(cache=policy(backend)) as client:
                await client.get_session(finished)
                emulator.fail(**service)
                backend.hangs = True
                began = time.monotonic()
                with client.deadline(0.12), suppress(EmoggError):
                    await CALLS[call](client, finished)
                late.append(time.monotonic() - began - 0.12)
            emulator.reset()
            emulator.add_session(id=finished, name="Old", state="finished")
        assert min(late) < 0.04

    @pytest.mark.timing
    async def test_a_timeout_is_kept_whatever_the_cache_does(self, emulator, finished):
        """The time of a call counts as much as a deadline round it."""
        backend = Hanging(timeout=None)
        options = {"cache": policy(backend), "timeout": 0.3, "retry": QUICK}
        async with emulator.client(**options) as client:
            await client.get_session(finished)
            emulator.fail(fault="hang")
            backend.hangs = True
            began = time.monotonic()
            with pytest.raises(DeadlineError):
                await client.get_session(finished)
        assert time.monotonic() - began < 0.36

    async def test_no_token_in_time_is_an_outage(self, finished, emulator):
        """A call that our own pacer refuses has the past value, and sends nothing."""
        with EmoggEmulator(sessions=5, rate_limit=(3, 600.0)) as small:
            one, two, three, *_ = [each.id for each in small.sessions]
            async with small.client(cache=policy(), timeout=9.0) as client:
                await client.get_sessions([one, two, three], via="get")
                await grow_old()
                assert (await client.get_session(one)).stale
                with pytest.raises(RateLimitedError) as caught:
                    await client.get_session(one, fresh=True)
                assert 0 == caught.value.attempts
            assert 3 == len(small.requests)

    @pytest.mark.parametrize(
        "kind", [*EmoggError.__subclasses__(), *StatusError.__subclasses__()]
    )
    def test_an_outage_is_what_is_no_answer(self, kind):
        """Of all our errors, only these let a past value stand in."""
        error = kind.__new__(kind)
        expected = {"TransportError", "RateLimitedError", "ServerError"}
        assert (kind.__name__ in expected) is is_outage(error)
        assert is_outage(DeadlineError("late"))


class TestWrites:
    async def test_what_a_write_outdated_is_never_served(
        self, emulator, client, finished
    ):
        """After a rename the old name is gone, however the service fares."""
        await with_past(client, finished)
        emulator.fail("GET", status=503)
        assert (await client.get_session(finished)).stale
        await client.update_session(finished, name="New")
        with pytest.raises(ServerError):
            await client.get_session(finished)

    async def test_a_write_that_failed_outdates_too(self, emulator, client, finished):
        """It may have taken effect, so nothing from before it stands in."""
        await with_past(client, finished)
        emulator.fail(status=503)
        with pytest.raises(EmoggError):
            await client.update_session(finished, name="New")
        with pytest.raises(ServerError):
            await client.get_session(finished)

    async def test_a_load_from_before_the_write_has_nothing(
        self, emulator, client, finished
    ):
        """A get that a write overtakes fails, rather than with what is outdated."""
        await with_past(client, finished)
        emulator.fail("GET", status=503, delay=0.15)
        call = asyncio.create_task(client.get_session(finished))
        await until(lambda: emulator.in_flight == 1)
        await client.update_session(finished, name="New")
        with pytest.raises(ServerError):
            await call


class TestWhileItLasts:
    async def test_it_is_asked_once_a_second(self, emulator, client, finished, clocks):
        """Calls with a past value have it at once, but for one each second."""
        await with_past(client, finished)
        emulator.fail(status=503)
        await break_down(client, finished)
        before = len(emulator.requests)
        for _ in range(50):
            assert (await client.get_session(finished)).stale
        assert before == len(emulator.requests)
        await clocks.forward(PROBE_INTERVAL)
        asked = [client.get_session(finished) for _ in range(50)]
        assert all(each.stale for each in await asyncio.gather(*asked))
        assert before + 1 == len(emulator.requests)
        assert 102 == client.stats.stale_served

    async def test_it_is_the_service_that_is_out(self, emulator, client, clocks):
        """What some sessions have met is known for all others, and one call asks."""
        ids = [each.id for each in emulator.sessions[:30]]
        await client.get_sessions(ids)
        await client.get_emotions(ids[0])
        await grow_old()
        emulator.fail(status=503)
        for each in ids[:FAILURES_IN_A_ROW]:
            assert (await client.get_session(each)).stale
        before = len(emulator.requests)
        assert all([(await client.get_session(each)).stale for each in ids])
        assert before == len(emulator.requests)
        await clocks.forward(PROBE_INTERVAL)
        found = await asyncio.gather(*(client.get_session(each) for each in ids))
        assert all(each.stale for each in found)
        assert before + 1 == len(emulator.requests)

    @pytest.mark.parametrize(
        "retry",
        [RetryPolicy(attempts=1), RetryPolicy(), RetryPolicy(budget=0.0)],
        ids=["no retry", "no time for one", "no budget"],
    )
    async def test_each_failed_request_counts_once(self, emulator, retry):
        """It takes three failed requests, also where none of them is repeated."""
        ids = [each.id for each in emulator.sessions[: FAILURES_IN_A_ROW + 3]]
        async with emulator.client(cache=policy(), retry=retry) as client:
            await client.get_sessions(ids)
            await grow_old()
            before = client.stats.requests
            emulator.fail(status=503, headers={"Retry-After": "5"})
            for each in ids:
                assert (await client.get_session(each)).stale
            assert before + FAILURES_IN_A_ROW == client.stats.requests

    async def test_failures_that_take_long_are_in_a_row(
        self, emulator, finished, monkeypatch
    ):
        """Where each request hangs for longer than the memory lasts, an outage begins.

        With its defaults a client waits for 15 s, and forgets after 10 s.
        """
        monkeypatch.setattr(outages_module, "MEMORY", 0.2)
        options = {"attempt_timeout": 0.3, "pace": False}
        async with emulator.client(cache=policy(), **options) as client:
            await with_past(client, finished)
            emulator.fail(fault="hang")
            for _ in range(FAILURES_IN_A_ROW):
                assert (await client.get_session(finished)).stale
            before = len(emulator.requests)
            assert (await client.get_session(finished)).stale
            assert before == len(emulator.requests)

    async def test_only_the_one_who_asks_waits(
        self, emulator, client, finished, clocks
    ):
        """While somebody asks a service that hangs, all others are served at once."""
        await with_past(client, finished)
        emulator.fail(status=503)
        await break_down(client, finished)
        emulator.fail(fault="hang")
        await clocks.forward(PROBE_INTERVAL)
        asks = asyncio.create_task(client.get_session(finished))
        await until(lambda: emulator.in_flight)
        for _ in range(20):
            assert (await client.get_session(finished)).stale
        assert not asks.done()
        await clocks.forward(15.0)
        assert (await asks).stale

    async def test_who_asks_may_leave(self, emulator, client, finished, clocks):
        """When the one who asks is cancelled, another one asks a second later."""
        await with_past(client, finished)
        emulator.fail(status=503)
        await break_down(client, finished)
        emulator.fail(fault="hang")
        for _ in range(2):
            await clocks.forward(PROBE_INTERVAL)
            asks = asyncio.create_task(client.get_session(finished))
            await until(lambda: emulator.in_flight)
            asks.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asks
            await client._core.pipeline.flights.drain()
            await until(lambda: not emulator.in_flight)

    async def test_an_answer_ends_it(self, emulator, client, finished, clocks):
        """Once the service answers again, nothing stale is served."""
        await with_past(client, finished)
        emulator.fail(status=503)
        await break_down(client, finished)
        emulator.reset()
        emulator.add_session(id=finished, name="New", state="finished")
        await clocks.forward(PROBE_INTERVAL)
        found = [await client.get_session(finished) for _ in range(3)]
        assert ["New"] * 3 == [each.name for each in found]
        assert [False] * 3 == [each.stale for each in found]

    async def test_any_answer_ends_it(self, emulator, client, finished):
        """An answer to a call that has no past value ends it too, even a 404."""
        await with_past(client, finished)
        outage = emulator.fail(status=503)
        await break_down(client, finished)
        outage.remove()
        assert (await client.get_session(finished)).stale
        with pytest.raises(NotFoundError):
            await client.get_session("f" * 24)
        assert not (await client.get_session(finished)).stale

    async def test_it_is_forgotten(self, emulator, client, clocks):
        """After a while without calls nobody is served what an old outage left."""
        ids = [each.id for each in emulator.sessions[:20]]
        await client.get_sessions(ids)
        await grow_old()
        outage = emulator.fail(status=503)
        await break_down(client, ids[0])
        outage.remove()
        await clocks.forward(MEMORY)
        patient = client.with_options(attempt_timeout=9.0)
        found = await asyncio.gather(*(patient.get_session(each) for each in ids))
        assert not any(each.stale for each in found)

    async def test_an_impatient_call_makes_no_outage(self, emulator, client, finished):
        """That a call had hardly any time makes no outage for the others."""
        await with_past(client, finished)
        emulator.fail("GET", delay=0.1, times=1)
        with client.deadline(0.02):
            assert (await client.get_session(finished)).stale
        assert not (await client.get_session(finished)).stale

    async def test_short_attempts_of_a_view_make_no_outage(self, emulator, finished):
        """That a view has no patience makes no outage for the client."""
        options = {"cache": policy(), "retry": RetryPolicy(attempts=1)}
        async with emulator.client(**options) as client:
            await with_past(client, finished)
            view = client.with_options(attempt_timeout=0.02)
            emulator.latency = 0.2
            for _ in range(FAILURES_IN_A_ROW + 1):
                assert (await view.get_session(finished)).stale
            assert not (await client.get_session(finished)).stale

    async def test_other_failures_of_such_a_view_do(self, emulator, finished):
        """What the service answers to a view without patience counts as always."""
        options = {"cache": policy(), "retry": RetryPolicy(attempts=1)}
        async with emulator.client(**options) as client:
            await with_past(client, finished)
            view = client.with_options(attempt_timeout=5.0)
            outage = emulator.fail(status=503)
            for _ in range(FAILURES_IN_A_ROW):
                assert (await view.get_session(finished)).stale
            outage.remove()
            assert (await client.get_session(finished)).stale

    @pytest.mark.parametrize("what", ["session", "emotions"])
    async def test_it_ends_when_another_client_had_an_answer(
        self, emulator, finished, clocks, what
    ):
        """What others have stored since is a hit, and the past value never again."""
        backend = Slow(timeout=None)
        get = {"session": lambda client, each: client.get_session(each), **DERIVED}
        cache = policy(backend, ttl=20.0)
        async with (
            emulator.client(cache=cache, retry=QUICK) as one,
            emulator.client(cache=cache, retry=QUICK) as two,
        ):
            await one.get_session(finished)
            await get[what](one, finished)
            await clocks.forward(25.0)
            outage = emulator.fail(status=503)
            for _ in range(3):
                assert (await get[what](one, finished)).stale
            outage.remove()
            await two.get_session(finished)
            await get[what](two, finished)
            found = await asyncio.gather(*(get[what](one, finished) for _ in range(5)))
        assert [False] * 5 == [each.stale for each in found]
        assert 0 < one.stats.cache_hits

    @pytest.mark.parametrize(
        "options",
        [{}, {"timeout": 0.3}, {"attempt_timeout": 0.3}],
        ids=["deadline", "timeout", "attempt"],
    )
    async def test_impatient_calls_know_of_each_other(
        self, emulator, finished, options
    ):
        """Where the time of some calls was up in a row, others need not try again."""
        options = {"retry": RetryPolicy(attempts=1)} | options
        async with emulator.client(cache=policy(), **options) as client:
            await with_past(client, finished)
            emulator.fail(fault="hang")
            asked = []
            for _ in range(FAILURES_IN_A_ROW + 5):
                with client.deadline(5.0 if len(options) > 1 else 0.3):
                    assert (await client.get_session(finished)).stale
                asked.append(client.stats.requests)
            assert asked[FAILURES_IN_A_ROW] == asked[-1]

    async def test_who_has_no_time_for_a_token_tells_nothing_to_others(self):
        """Who can wait for a token does so, and gets what the service has."""
        with EmoggEmulator(sessions=1, rate_limit=(2, 1.0)) as small:
            session_id = small.sessions[0].id
            async with small.client(cache=policy()) as client:
                for _ in range(2):
                    await with_past(client, session_id)
                for _ in range(FAILURES_IN_A_ROW + 1):
                    with client.deadline(0.01):
                        assert (await client.get_session(session_id)).stale
                assert not (await client.get_session(session_id)).stale
                assert FAILURES_IN_A_ROW + 1 == client.stats.stale_served

    async def test_retries_cost_little_time(self, emulator, client, finished):
        """With a past value, no retry begins after a second, whatever is asked for."""
        await with_past(client, finished)
        emulator.fail(status=503, headers={"Retry-After": "30"})
        started = time.monotonic()
        assert (await client.get_session(finished)).stale
        assert time.monotonic() - started < 20
        assert 2 == client.stats.requests

    async def test_an_outage_spares_the_retries(self, emulator, client):
        """As soon as it is known, calls with a past value do not try again."""
        ids = [each.id for each in emulator.sessions[:100]]
        await client.get_sessions(ids)
        await grow_old()
        emulator.fail(status=503)
        before = client.stats.requests
        found = await asyncio.gather(*(client.get_session(each) for each in ids))
        assert all(each.stale for each in found)
        assert client.stats.requests - before <= 100 + FAILURES_IN_A_ROW

    async def test_a_single_failure_is_retried(self, emulator, client, finished):
        """What a retry can mend is not served stale."""
        await with_past(client, finished)
        emulator.fail(status=503, times=1)
        assert not (await client.get_session(finished)).stale

    async def test_what_the_load_has_found_is_at_hand(self, emulator, finished):
        """Who joins a load, and whose time is up, has the value that it found."""
        backend = Slow(timeout=None)
        async with emulator.client(cache=policy(backend)) as client:
            await with_past(client, finished)
            emulator.fail(fault="hang")
            first = asyncio.create_task(client.get_session(finished))
            await until(lambda: emulator.in_flight == 1)
            with client.deadline(0.02):
                assert (await client.get_session(finished)).stale
            first.cancel()

    async def test_not_once_its_time_is_up(self, emulator, finished, clocks):
        """What expires while the service hangs is not served after that."""
        cache = policy(stale_if_error=9.0)
        async with emulator.client(cache=cache, timeout=10.0) as client:
            await with_past(client, finished)
            emulator.fail(fault="hang")
            call = asyncio.create_task(client.get_session(finished))
            await until(lambda: emulator.in_flight)
            await clocks.forward(10.0)
            with pytest.raises(DeadlineError):
                await call


class TestMany:
    @pytest.mark.parametrize("via", ["auto", "get", "pages"])
    async def test_a_bulk_has_past_values(self, emulator, client, via):
        """Pages and gets that fail are replaced; what was never seen is an error."""
        ids = [each.id for each in emulator.sessions[:30]]
        fetched = await client.get_sessions(ids[:29])
        await grow_old()
        emulator.fail(status=503)
        batch = await client.get_sessions(ids, via=via)
        assert ids[:29] == [*batch]
        assert {*fetched.values()} == {*batch.values()}
        assert all(session.stale for session in batch.values())
        assert [ids[29]] == [*batch.errors]
        assert 29 == client.stats.stale_served
        assert 0 == client.stats.cache_hits

    @pytest.mark.parametrize("via", ["auto", "get", "pages"])
    @pytest.mark.parametrize("fault", ["503", "hang"])
    async def test_a_bulk_knows_of_the_outage(
        self, emulator, hasty, via, fault, monkeypatch
    ):
        """What stood in does so again at once, in a bulk too, and no page is asked."""
        monkeypatch.setattr(outages_module, "PROBE_INTERVAL", 5.0)
        ids = [each.id for each in emulator.sessions[:8]]
        await hasty.get_sessions(ids)
        await grow_old()
        emulator.fail(**OUTAGES[fault])
        await hasty.get_sessions(ids, via=via)
        before = hasty.stats.requests
        for _ in range(3):
            batch = await hasty.get_sessions(ids, via=via)
            assert {*ids} == {each.id for each in batch.values() if each.stale}
        assert before == hasty.stats.requests
        assert (40, 32) == (hasty.stats.calls, hasty.stats.stale_served)

    @pytest.mark.parametrize("via", ["auto", "get", "pages"])
    async def test_one_bulk_at_a_time_asks(self, emulator, client, via, clocks):
        """While a bulk asks a service that hangs, others are served at once.

        It asks for one session; the next bulk after an answer asks for all.
        """
        ids = [each.id for each in emulator.sessions[:8]]
        await client.get_sessions(ids)
        await grow_old()
        outage = emulator.fail(status=503)
        await client.get_sessions(ids, via=via)
        hanging = emulator.fail(fault="hang")
        await clocks.forward(PROBE_INTERVAL)
        asks = asyncio.create_task(client.get_sessions(ids, via=via))
        await until(lambda: emulator.in_flight)
        before = client.stats.requests
        batch = await client.get_sessions(ids, via=via)
        assert all(session.stale for session in batch.values())
        assert before == client.stats.requests
        assert not asks.done()
        hanging.remove()
        await clocks.forward(15.0)
        await asks
        outage.remove()
        await clocks.forward(PROBE_INTERVAL)
        batch = await client.get_sessions(ids, via=via)
        assert 7 == sum(session.stale for session in batch.values())
        batch = await client.get_sessions(ids, via=via)
        assert not any(session.stale for session in batch.values())

    @pytest.mark.parametrize("via", ["auto", "get", "pages"])
    async def test_impatient_bulks_know_of_each_other(
        self, emulator, client, via, monkeypatch
    ):
        """Where the time of bulks was up over a page, the next ones need not ask."""
        monkeypatch.setattr(outages_module, "PROBE_INTERVAL", 5.0)
        ids = [each.id for each in emulator.sessions[:8]]
        await client.get_sessions(ids)
        await grow_old()
        emulator.fail(fault="hang")
        asked = []
        for _ in range(FAILURES_IN_A_ROW + 2):
            with client.deadline(0.1):
                batch = await client.get_sessions(ids, via=via)
            asked.append(client.stats.requests)
            assert all(session.stale for session in batch.values())
        assert asked[-3] == asked[-1]

    async def test_a_bulk_gets_what_no_page_brings(self, emulator, client, clocks):
        """With pages broken for good, an outage still ends at the first get."""
        ids = [each.id for each in emulator.sessions[:8]]
        await client.get_sessions(ids)
        await grow_old()
        outage = emulator.fail(status=503)
        await client.get_sessions(ids)
        outage.remove()
        emulator.fail("GET", "/v1/sessions", status=503)
        await clocks.forward(PROBE_INTERVAL)
        await client.get_sessions(ids)
        batch = await client.get_sessions(ids)
        assert not any(session.stale for session in batch.values())

    async def test_a_stream_has_past_values(self, emulator, client):
        """So has a stream, over any iterable."""
        ids = [each.id for each in emulator.sessions[:8]]
        await client.get_sessions(ids)
        await grow_old()
        emulator.fail(fault="reset")
        async with client.stream_sessions(ids) as outcomes:
            found = [outcome.unwrap() async for outcome in outcomes]
        assert {*ids} == {each.id for each in found if each.stale}

    async def test_past_values_are_no_hits(self, emulator, client):
        """While the service answers, what is past is asked for."""
        ids = [each.id for each in emulator.sessions[:8]]
        await client.get_sessions(ids)
        await grow_old()
        batch = await client.get_sessions(ids)
        assert not any(session.stale for session in batch.values())
        assert (0, 16) == (client.stats.cache_hits, client.stats.cache_misses)


DERIVED = {
    "emotions": lambda client, each: client.get_emotions(each),
    "timeline": lambda client, each: client.get_emotions_timeline(each),
    "sentiment": lambda client, each: client.get_transcription_sentiment(each),
}


class TestDerived:
    @pytest.mark.parametrize("what", DERIVED)
    async def test_it_stands_in_with_its_session(
        self, emulator, client, finished, what
    ):
        """What is known of a finished session stands in as the session does."""
        await client.get_session(finished)
        value = await DERIVED[what](client, finished)
        await grow_old()
        emulator.fail(status=503)
        past = await DERIVED[what](client, finished)
        assert value == past
        assert (False, True) == (value.stale, past.stale)
        assert (await DERIVED[what](client, finished)).stale
        assert 2 == client.stats.stale_served
        assert "stale" not in to_dict(past)

    async def test_not_for_another_window(self, emulator, client, finished):
        """Only for exactly what was asked before."""
        await client.get_session(finished)
        await client.get_emotions_timeline(finished)
        await grow_old()
        emulator.fail(status=503)
        with pytest.raises(ServerError):
            await client.get_emotions_timeline(finished, granularity=30)

    @pytest.mark.parametrize("fault", ["401", "403", "404"])
    @pytest.mark.parametrize("what", DERIVED)
    async def test_what_is_gone_stays_gone(
        self, emulator, client, finished, what, fault
    ):
        """After a 401, 403 or 404 to it, neither it nor its session stands in."""
        await client.get_session(finished)
        await DERIVED[what](client, finished)
        await grow_old()
        emulator.fail(**ANSWERS[fault][0], times=1)
        with pytest.raises(ANSWERS[fault][1]):
            await DERIVED[what](client, finished)
        emulator.fail(status=503)
        with pytest.raises(ServerError):
            await DERIVED[what](client, finished)
        with pytest.raises(ServerError):
            await client.get_session(finished)

    async def test_not_after_a_write(self, emulator, client, finished):
        """A write outdates all that is derived, too."""
        await client.get_session(finished)
        await client.get_emotions(finished)
        await grow_old()
        emulator.fail("GET", status=503)
        assert (await client.get_emotions(finished)).stale
        await client.update_session(finished, name="New")
        with pytest.raises(ServerError):
            await client.get_emotions(finished)


SESSION = structure(
    {
        "_id": "65ea1530bb50af72b6e3dc1e",
        "name": "Pitch",
        "type": "live_analysis",
        "state": "finished",
        "timestamp": "2024-04-01T10:30:00.000Z",
        "duration": 120,
        "product": "65946a77408bd7b32c5189a3",
        "user": "65d7a8fb532f66218ecd4cab",
        "version": 3,
        "stale": "the service's own",
    },
    Session,
)


class TestMark:
    def test_it_is_no_part_of_what_the_session_is(self):
        """A stale session equals itself, is written as itself, and shows it."""
        past = attrs.evolve(SESSION, stale=True)
        assert SESSION == past
        assert hash(SESSION) == hash(past)
        assert to_dict(SESSION) == to_dict(past)
        assert "stale=True" in repr(past)

    def test_it_survives_pickle_and_copy(self):
        """A copy is as stale as what it was made of."""
        past = attrs.evolve(SESSION, stale=True)
        assert pickle.loads(pickle.dumps(past)).stale
        assert copy.deepcopy(past).stale

    def test_it_is_not_what_the_service_sends(self):
        """A field of that name on the wire is an unknown field like any other."""
        assert SESSION.stale is False
        assert (
            "the service's own" == SESSION.extra["stale"] == to_dict(SESSION)["stale"]
        )


def opened(backend, **changes):
    return open_cache(
        policy(backend, **changes), base_url="u", token="t", rng=random.Random(0)
    )


class TestKept:
    async def test_the_backend_keeps_it_for_as_long(self, monkeypatch):
        """The backend's own time to live covers the time for which it may stand in."""
        backend, times = SimpleMemoryCache(), []

        async def note(key, value, ttl, **_):
            times.append(ttl)

        monkeypatch.setattr(backend, "set", note)
        await opened(backend, ttl=100).put(SESSION)
        assert 150 <= times[0] <= 170

    async def test_each_reader_goes_by_its_own_policy(self, monkeypatch):
        """What one client keeps for long another one takes for as long as it would."""
        backend = SimpleMemoryCache()
        await opened(backend, ttl=10).put(SESSION)
        present = time.time()
        monkeypatch.setattr(time, "time", lambda: present + 30)
        found = await opened(backend, ttl=10).get(SESSION.id)
        assert isinstance(found, Past)
        assert SESSION == found.value
        assert 39 <= found.lasts <= 41
        assert await opened(backend, ttl=10, stale_if_error=5).get(SESSION.id) is None
        many = await opened(backend, ttl=10).get_many([SESSION.id])
        assert SESSION == many[SESSION.id].value

    async def test_memory_is_bounded_by_past_values_too(self, emulator):
        """Past values count for `max_entries` like all others."""
        async with emulator.client(cache=policy(max_entries=10)) as client:
            await client.get_sessions([each.id for each in emulator.sessions[:50]])
            assert 10 == len(client._open().sessions.cache._sessions)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fail", "fail", "close", "ask"]), st.just(0.0)),
        st.tuples(st.just("wait"), st.floats(0, 12)),
    ),
    max_size=40,
)


class TestOutage:
    @pytest.mark.property
    @given(OPERATIONS)
    def test_agrees_with_a_plain_model(self, operations):
        """It is open after some failures in a row, and asked about once a second."""
        outage, now = Outage(), 0.0
        failures, sign, asked = 0, -100.0, -100.0
        for operation, seconds in operations:
            now += seconds
            if operation == "close":
                outage.close()
                failures = 0
            elif operation == "fail":
                outage.fail(now, since=now)
                failures = failures + 1 if now < sign + MEMORY else 1
                asked = now if failures == FAILURES_IN_A_ROW else asked
                sign = now
            is_open = failures >= FAILURES_IN_A_ROW and now < sign + MEMORY
            assert is_open is outage.is_open(now)
            if operation == "ask" and is_open:
                assert (now < asked + PROBE_INTERVAL) is outage.is_probed(now)
                if not outage.is_probed(now):
                    outage.probe(now)
                    asked = sign = now
