import asyncio
import contextvars
import json
import logging
import time
from collections import Counter

import aiohttp
import anyio
import pytest
import simulated
from aiocache import SimpleMemoryCache
from rawserver import http, serving
from waiting import until

from emogg_async import (
    AsyncEmoggClient,
    AuthenticationError,
    CachePolicy,
    ClientClosedError,
    ConfigurationError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
)
from emogg_async import _core as core_module
from emogg_async.events import AttemptFailed, RateLimited, RetryScheduled
from emogg_async.integrations.otel import instrument

UNKNOWN = "0" * 24


@pytest.fixture
def ids(emulator):
    """Give the ids of all finished sessions, newest first."""
    return [each.id for each in emulator.sessions if each.state == "finished"]


class TestBudget:
    @pytest.mark.parametrize(("left", "then"), [(1.0, 1.2), (39.9, 40.0), (40.0, 40.0)])
    async def test_a_first_success_gives_back(self, emulator, ids, left, then):
        """A call that succeeds at once gives 0.2, up to the whole budget."""
        async with emulator.client() as client:
            budget = client._open().sessions.pipeline._retrier.budget
            budget.level = left
            await client.get_session(ids[0])
            assert budget.level == pytest.approx(then)

    async def test_a_failure_gives_nothing_back(self, emulator, ids):
        """A call that fails, or succeeds by a retry, earns nothing for others."""
        async with emulator.client(retry=RetryPolicy(base=0.001)) as client:
            budget = client._open().sessions.pipeline._retrier.budget
            budget.level = 1.0
            with pytest.raises(NotFoundError):
                await client.get_session(UNKNOWN)
            emulator.fail(status=503, times=1)
            await client.get_session(ids[0])
            assert budget.level == pytest.approx(1.0)


class TestConstruction:
    def test_needs_a_token(self, monkeypatch):
        """Without a token the error names the variable to set."""
        monkeypatch.delenv("EMOGG_API_TOKEN", raising=False)
        with pytest.raises(ConfigurationError, match="EMOGG_API_TOKEN"):
            AsyncEmoggClient()

    @pytest.mark.parametrize("token", ["", "  ", "a b", "a\nb", "tökn", 42])
    def test_refuses_what_is_no_token(self, token):
        """A token that could not be sent is refused, and not shown."""
        with pytest.raises(ConfigurationError, match="token") as caught:
            AsyncEmoggClient(token)
        assert "a b" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com",
            "http://192.168.0.1:8080",
            "ftp://127.0.0.1",
            "example.com",
            "https://",
            "https://user:secret@example.com",
            "https://example.com?x=1",
            "https://example.com?",
            "https://example.com/#",
            "https://example.com:port",
            "https://exämple.com",
            "https://a..b",
            f"https://{'a' * 70}.example",
            "https://127.0.0.1\\x",
            "https://exa mple.com",
            "https://exa\nmple.com",
            " https://example.com",
            "https://example.com/../x",
            42,
        ],
    )
    def test_refuses_a_bad_base_url(self, url):
        """An invalid base URL, or one that would leak the token, is refused."""
        with pytest.raises(ConfigurationError, match="base_url") as caught:
            AsyncEmoggClient("token", base_url=url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "https://emogg.example/prefix/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "http://api.localhost",
        ],
    )
    def test_takes_https_and_loopback(self, url):
        """A base URL is accepted if it is encrypted or on this machine."""
        assert url.rstrip("/") in repr(AsyncEmoggClient("token", base_url=url))

    def test_plain_http_can_be_allowed(self):
        """`allow_http=True` allows plain HTTP."""
        AsyncEmoggClient("token", base_url="http://10.0.0.1", allow_http=True)

    @pytest.mark.parametrize(
        "option",
        [
            {"timeout": 0},
            {"timeout": -1},
            {"timeout": float("nan")},
            {"timeout": None},
            {"timeout": 1e307},
            {"attempt_timeout": float("inf")},
            {"attempt_timeout": "15"},
            {"concurrency": 0},
            {"concurrency": 1.5},
            {"retry": 3},
            {"cache": 300},
        ],
    )
    def test_refuses_options_out_of_range(self, option):
        """The error of an option out of its range names the option."""
        with pytest.raises(InvalidArgumentError, match=next(iter(option))):
            AsyncEmoggClient("token", **option)

    def test_reads_the_environment_when_it_is_made(self, monkeypatch):
        """Token and base URL come from the environment, if nothing is passed."""
        monkeypatch.setenv("EMOGG_API_TOKEN", " token\n")
        monkeypatch.setenv("EMOGG_BASE_URL", "https://emogg.example")
        assert "<AsyncEmoggClient https://emogg.example (not open yet)>" == repr(
            AsyncEmoggClient()
        )

    def test_the_service_is_the_default(self, monkeypatch):
        """Without a base URL the client talks to the service itself."""
        monkeypatch.delenv("EMOGG_BASE_URL", raising=False)
        assert "https://api.emogg.com" in repr(AsyncEmoggClient("token"))


class TestGetSession:
    async def test_brings_the_session(self, emulator, client, ids):
        """The session is the emulator's, for an id in either letter case."""
        expected = next(each for each in emulator.sessions if each.id == ids[0])
        assert expected == await client.get_session(ids[0])
        assert expected == await client.get_session(ids[0].upper(), fresh=True)
        assert f"/v1/sessions/{ids[0]}" == emulator.requests[-1].path

    @pytest.mark.parametrize(
        "bad",
        [
            "",
            "../users",
            "a?x=1",
            "%2e%2e/admin",
            "0" * 23,
            "g" * 24,
            None,
            42,
            b"0" * 24,
            "0" * 24 + "\n",
            "٠" * 24,
        ],
    )
    async def test_refuses_what_is_no_id(self, emulator, client, bad):
        """A bad id is refused before any request, and cannot change the path."""
        with pytest.raises(InvalidArgumentError, match="session_id"):
            await client.get_session(bad)
        assert () == emulator.requests

    async def test_unknown_id(self, client):
        """An id that does not exist is NotFoundError, with its facts."""
        with pytest.raises(NotFoundError) as caught:
            await client.get_session(UNKNOWN)
        error = caught.value
        assert (404, "GET", 1) == (error.status, error.method, error.attempts)
        assert f"/v1/sessions/{UNKNOWN}" == error.path

    async def test_another_users_session_is_not_found(self, emulator, ids):
        """A session of another token is NotFoundError."""
        async with emulator.client(token=emulator.add_token()) as other:
            with pytest.raises(NotFoundError):
                await other.get_session(ids[0])

    async def test_an_answer_of_another_session_is_refused(self, emulator, client, ids):
        """An answer with another id is refused."""
        emulator.fail(status=200, body={**REFERENCE, "_id": UNKNOWN})
        with pytest.raises(ResponseShapeError, match="_id"):
            await client.get_session(ids[0])

    async def test_a_wrong_shape_names_its_path_and_is_not_retried(
        self, emulator, client, ids
    ):
        """A shape error says what is wrong where, and costs one request."""
        wrong = {**REFERENCE, "sources": [REFERENCE["sources"][0], None]}
        emulator.fail(status=200, body=wrong)
        with pytest.raises(ResponseShapeError) as caught:
            await client.get_session(ids[0])
        assert ("sources[1]: expected an object, got null",) == caught.value.problems
        assert ("GET", 1) == (caught.value.method, caught.value.attempts)
        assert 1 == len(emulator.requests)


REFERENCE = {
    "_id": "65ea1530bb50af72b6e3dc1e",
    "name": "Mobile Word Congress Pitch",
    "type": "live_analysis",
    "state": "active",
    "timestamp": "2024-04-01T10:30:00.000Z",
    "duration": 120,
    "config": {"removeMedia": True},
    "sources": [
        {
            "id": "c1fcba18-15ec-457c-a1de-fcbb87aeaa0e",
            "name": "Integrated Webcam",
            "type": "video",
            "device": "local_camera",
        }
    ],
    "product": "65946a77408bd7b32c5189a3",
    "user": "65d7a8fb532f66218ecd4cab",
    "version": 3,
}


class TestCaching:
    async def test_a_finished_session_is_fetched_once(self, emulator, client, ids):
        """The second get is a hit, and the very same object."""
        first = await client.get_session(ids[0])
        assert first is await client.get_session(ids[0])
        assert 1 == len(emulator.requests)
        stats = client.stats
        assert (2, 1, 1) == (stats.calls, stats.cache_hits, stats.cache_misses)

    async def test_fresh_asks_and_stores(self, emulator, client, ids):
        """`fresh=True` passes the cache by, and later calls get what it brought."""
        await client.get_session(ids[0])
        emulator.update_session(ids[0], name="New name")
        fresh = await client.get_session(ids[0], fresh=True)
        assert "New name" == fresh.name
        assert fresh is await client.get_session(ids[0])

    @simulated.timed
    async def test_an_older_load_does_not_overwrite_a_fresh_one(self):
        """The answer to a slow, earlier call does not replace a newer one."""
        async with simulated.emulated() as emulator, emulator.client() as client:
            id_ = emulator.add_session().id
            emulator.fail(lag=0.1, times=1)
            slow = asyncio.create_task(client.get_session(id_))
            await until(lambda: emulator.in_flight == 1)
            emulator.update_session(id_, name="New name")
            fresh = await client.get_session(id_, fresh=True)
            assert "New name" == fresh.name
            assert "New name" != (await slow).name
            assert fresh is await client.get_session(id_)

    async def test_a_live_session_is_kept_for_moments_only(self, emulator, clocks):
        """An active session is asked for again once `live_ttl` is over."""
        active = emulator.add_session(state="active")
        async with emulator.client(cache=CachePolicy(live_ttl=20.0)) as client:
            await client.get_session(active.id)
            await client.get_session(active.id)
            await clocks.forward(25.0)
            await client.get_session(active.id)
        assert 2 == len(emulator.requests)

    async def test_without_a_cache_every_call_asks(self, emulator, ids):
        """`cache=None` keeps nothing."""
        async with emulator.client(cache=None) as client:
            await client.get_session(ids[0])
            await client.get_session(ids[0])
            assert (0, 0) == (client.stats.cache_hits, client.stats.cache_misses)
        assert 2 == len(emulator.requests)

    async def test_failures_are_not_kept(self, emulator, client, ids):
        """After an error the next call asks again."""
        emulator.fail(status=404, times=1)
        with pytest.raises(NotFoundError):
            await client.get_session(ids[0])
        await client.get_session(ids[0])

    async def test_two_tokens_on_one_backend(self, emulator, ids):
        """Neither token sees the other's session in a shared cache."""
        backend = SimpleMemoryCache()
        policy = CachePolicy(backend=backend)
        async with (
            emulator.client(cache=policy) as mine,
            emulator.client(cache=policy) as mine_too,
            emulator.client(cache=policy, token=emulator.add_token()) as other,
        ):
            session = await mine.get_session(ids[0])
            assert session == await mine_too.get_session(ids[0])
            with pytest.raises(NotFoundError):
                await other.get_session(ids[0])
            assert (1, 0) == (mine_too.stats.cache_hits, mine_too.stats.requests)
        assert 1 == len(backend._cache)


class TestSingleFlight:
    async def test_one_request_for_all_who_ask_at_once(self, emulator, ids):
        """Ten thousand concurrent gets of one id are one request."""
        async with emulator.client(cache=None) as client:
            sessions = await asyncio.gather(
                *(client.get_session(ids[0]) for _ in range(10_000))
            )
            assert 9_999 == client.stats.coalesced
        assert 1 == len({id(each) for each in sessions})
        assert 1 == len(emulator.requests)

    async def test_cancelling_one_caller_spares_the_others(self, emulator, client, ids):
        """The last of a hundred callers gets the session, though 99 are cancelled."""
        emulator.latency = 0.05
        tasks = [asyncio.create_task(client.get_session(ids[0])) for _ in range(100)]
        await until(lambda: emulator.in_flight == 1)
        for task in tasks[:99]:
            task.cancel()
        assert ids[0] == (await tasks[99]).id
        assert all(task.cancelled() for task in tasks[:99])
        assert 1 == len(emulator.requests)

    async def test_cancelling_all_callers_aborts_the_request(
        self, emulator, client, ids
    ):
        """A load without waiters stops, and the next call makes a new request."""
        emulator.fail(fault="hang", times=1)
        tasks = [asyncio.create_task(client.get_session(ids[0])) for _ in range(10)]
        await until(lambda: emulator.in_flight == 1)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
        assert all(task.cancelled() for task in tasks)
        await until(lambda: client.stats.in_flight == 0)
        assert ids[0] == (await client.get_session(ids[0])).id

    async def test_fresh_joins_no_earlier_load(self, emulator, client, ids):
        """A fresh call makes its own request, and later calls may join it."""
        emulator.latency = 0.05
        calls = [
            asyncio.create_task(client.get_session(ids[0], fresh=fresh))
            for fresh in (False, True, False)
        ]
        await asyncio.gather(*calls)
        assert 2 == len(emulator.requests)
        assert 1 == client.stats.coalesced

    async def test_a_single_call_does_not_wait_for_a_bulk(self, emulator):
        """A single call never joins a bulk's load."""
        ids = [each.id for each in emulator.sessions[:60]]
        emulator.latency = 0.1
        async with emulator.client(cache=None) as client:
            bulk = asyncio.create_task(client.get_sessions(ids, via="get"))
            await until(lambda: emulator.in_flight)
            await client.get_session(ids[0])
            await bulk
            assert 0 == client.stats.coalesced

    async def test_context_of_a_caller_stays_with_it(self, emulator, ids):
        """A load runs in a copy of its first caller's context and leaves that alone."""
        variable = contextvars.ContextVar("variable", default="untouched")
        variable.set("mine")
        seen = []

        async def look(request, handler):
            seen.append(variable.get())
            variable.set("touched")
            return await handler(request)

        async with aiohttp.ClientSession(middlewares=[look]) as http:
            async with emulator.client(http=http) as client:
                await client.get_session(ids[0])
                await client.get_session(ids[0], fresh=True)
        assert ["mine", "mine"] == seen
        assert "mine" == variable.get()

    @simulated.timed
    async def test_a_more_patient_caller_gives_a_load_more_time(self):
        """A retry that comes too late for the first caller is made for the second."""
        async with simulated.emulated() as emulator, emulator.client() as client:
            id_ = emulator.add_session().id
            again = {"Retry-After": "0.3"}
            emulator.fail(status=503, delay=0.1, headers=again, times=1)

            async def impatient():
                with client.deadline(0.2):
                    await client.get_session(id_)

            first = asyncio.create_task(impatient())
            await until(lambda: emulator.in_flight == 1)
            assert id_ == (await client.get_session(id_)).id
            with pytest.raises(DeadlineError):
                await first

    @simulated.timed
    async def test_no_slot_is_held_during_a_wait(self):
        """A call that waits for its retry lets the others use the only slot."""
        async with (
            simulated.emulated() as emulator,
            emulator.client(concurrency=1) as client,
        ):
            one, other = (emulator.add_session().id for _ in range(2))
            again = {"Retry-After": "0.5"}
            emulator.fail(path=f"*/{one}", status=503, headers=again, times=1)
            waiting = asyncio.create_task(client.get_session(one))
            await until(lambda: emulator.requests and not emulator.in_flight)
            with client.deadline(0.4):
                await client.get_session(other)
            await waiting


@pytest.mark.timing
class TestDeadlines:
    @pytest.mark.parametrize("seconds", [0.1, 0.3])
    async def test_is_exact(self, emulator, client, ids, seconds):
        """A call against a server that hangs ends when its time is up."""
        emulator.fail(fault="hang")
        started = time.monotonic()
        with pytest.raises(DeadlineError) as caught, client.deadline(seconds):
            await client.get_session(ids[0])
        assert seconds <= time.monotonic() - started < seconds + 0.05
        assert caught.value.sent
        assert isinstance(caught.value, TimeoutError)

    async def test_bounds_the_attempts(self, emulator, ids):
        """Attempts that fail late do not stretch the call beyond its timeout."""
        emulator.fail(status=503, delay=0.2)
        async with emulator.client(timeout=0.3) as client:
            started = time.monotonic()
            with pytest.raises((DeadlineError, ServerError)):
                await client.get_session(ids[0])
            assert time.monotonic() - started < 0.35

    async def test_an_attempt_that_takes_too_long_is_retried(self, emulator, ids):
        """An answer that does not come in time is given up for another attempt."""
        emulator.fail(fault="hang", times=2)
        retry = RetryPolicy(base=0.01)
        async with emulator.client(attempt_timeout=0.1, retry=retry) as client:
            assert ids[0] == (await client.get_session(ids[0])).id
            assert 3 == client.stats.requests

    async def test_the_nearest_counts(self, emulator, client, ids):
        """A longer deadline inside a shorter one gains nothing."""
        emulator.fail(fault="hang")
        started = time.monotonic()
        with client.deadline(0.1), client.deadline(10), pytest.raises(DeadlineError):
            await client.get_session(ids[0])
        assert time.monotonic() - started < 0.2

    def test_needs_an_event_loop(self, emulator):
        """Outside of async code there is no clock to set a deadline by."""
        with pytest.raises(ConfigurationError, match="event loop"):
            emulator.client().deadline(1)

    async def test_no_request_is_sent_after_it(self, emulator, ids):
        """A retry for which a busy loop was too late is not sent: it did nothing."""
        emulator.fail("PATCH", status=429, headers={"Retry-After": "0.05"}, times=1)

        def be_busy(event):
            if isinstance(event, RetryScheduled):
                asyncio.get_running_loop().call_soon(time.sleep, 0.5)

        options = {"pace": False, "on_event": be_busy, "retry": RetryPolicy(base=0.001)}
        async with emulator.client(**options) as client:
            await client.get_session(ids[0])
            with client.deadline(0.4), pytest.raises(DeadlineError) as caught:
                await client.update_session(ids[0], name="Late")
            assert not caught.value.sent
            await asyncio.sleep(0.05)
        assert ["GET", "PATCH"] == [each.method for each in emulator.requests]

    async def test_does_not_count_the_time_to_open_the_client(
        self, emulator, ids, monkeypatch
    ):
        """A first call has all of its time, whatever had to be imported for it."""
        assemble = core_module.assemble

        def slow(*args, **options):
            time.sleep(0.6)
            return assemble(*args, **options)

        monkeypatch.setattr(core_module, "assemble", slow)
        client = emulator.client()
        with client.deadline(0.5):
            assert ids[0] == (await client.get_session(ids[0])).id
        await client.aclose()
        with client.deadline(0.5), pytest.raises(ClientClosedError):
            await client.get_session(ids[0])

    async def test_ends_with_its_block(self, emulator, client, ids):
        """After the `with` the call has its ordinary time."""
        with client.deadline(0.01):
            pass
        await asyncio.sleep(0.02)
        await client.get_session(ids[0])

    async def test_queueing_is_not_failing(self, emulator, ids):
        """Twenty slow calls through two slots all succeed: only attempts are timed."""
        emulator.latency = 0.05
        async with emulator.client(
            concurrency=2, attempt_timeout=0.2, cache=None
        ) as client:
            await asyncio.gather(*map(client.get_session, ids[:20]))
            assert client.stats.waited > 1

    async def test_an_item_of_a_bulk_has_its_own_time(self, emulator, ids):
        """A bulk may outlast the timeout: each id's time begins with its send."""
        emulator.latency = 0.05
        async with emulator.client(concurrency=2, timeout=0.3, cache=None) as client:
            batch = await client.get_sessions(ids[:16], via="get")
        assert 16 == len(batch)

    async def test_bounds_an_item_of_a_bulk_that_waits_for_its_second_turn(
        self, emulator, ids
    ):
        """The time of an item that was sent once runs on while it queues again."""
        emulator.fail(path=f"*/{ids[0]}", status=503, times=1)
        emulator.fail(path=f"*/{ids[1]}", delay=0.6)
        retry = RetryPolicy(base=0.001)
        async with emulator.client(concurrency=1, timeout=0.3, retry=retry) as client:
            batch = client.get_sessions([ids[0]], via="get")
            bulk = asyncio.create_task(batch)
            await asyncio.sleep(0.001)
            with client.deadline(5):
                singles = [
                    asyncio.create_task(client.get_session(ids[1], fresh=True))
                    for _ in range(3)
                ]
            started = time.monotonic()
            batch = await bulk
            assert time.monotonic() - started < 0.45
            assert isinstance(batch.errors[ids[0]], DeadlineError)
            for single in singles:
                single.cancel()
            await asyncio.wait(singles)

    async def test_bounds_each_item_of_a_bulk(self, emulator, ids):
        """An id whose answer never comes fails in time and costs the others nothing."""
        emulator.fail(path=f"*/{ids[3]}", fault="hang")
        async with emulator.client(timeout=0.2) as client:
            started = time.monotonic()
            batch = await client.get_sessions(ids[:10], via="get")
            assert time.monotonic() - started < 0.4
        assert [ids[3]] == list(batch.errors)
        assert isinstance(batch.errors[ids[3]], DeadlineError)

    async def test_a_turn_that_comes_too_late_is_given_back(
        self, emulator, ids, clocks
    ):
        """A call whose time ran out in the queue keeps neither a slot nor a token."""

        def dawdle(event):
            if isinstance(event, AttemptFailed):  # just before its slot is free
                clocks.ahead += 10

        options = {"concurrency": 1, "retry": RetryPolicy(attempts=1)}
        emulator.fail(path=f"*/{ids[0]}", status=503, delay=0.1)
        async with emulator.client(on_event=dawdle, **options) as client:
            first = asyncio.create_task(client.get_session(ids[0]))
            await until(lambda: emulator.in_flight == 1)
            with client.deadline(5), pytest.raises(DeadlineError) as caught:
                await client.get_session(ids[1])
            with pytest.raises(ServerError):
                await first
            assert (False, 0) == (caught.value.sent, caught.value.attempts)
            with client.deadline(5):
                await client.get_session(ids[2])
            assert 0 == client._open().pipeline.gate._pacer.model.in_flight

    async def test_sends_nothing_when_the_time_is_up(self, emulator, client, ids):
        """A call that begins too late says so, and the service never hears of it."""
        with client.deadline(0.001):
            await asyncio.sleep(0.01)
            with pytest.raises(DeadlineError) as caught:
                await client.get_session(ids[0])
            batch = await client.get_sessions(ids[:50])
        assert (False, 0) == (caught.value.sent, caught.value.attempts)
        assert 50 == len(batch.errors)
        assert () == emulator.requests
        assert 0 == client.stats.requests

    async def test_counts_only_what_was_sent(self, emulator, ids):
        """Ids that wait for a slot until their time is up are no requests."""
        emulator.latency = 0.05
        async with emulator.client(concurrency=2, cache=None) as client:
            with client.deadline(0.12):
                batch = await client.get_sessions(ids[:20], via="get")
            assert client.stats.requests == len(emulator.requests) <= 4
        unsent = [error for error in batch.errors.values() if not error.sent]
        assert {0} == {error.attempts for error in unsent}

    async def test_reaches_into_a_bulk(self, emulator, client, ids):
        """A deadline round a bulk bounds all of its ids."""
        emulator.fail(fault="hang")
        with client.deadline(0.1):
            batch = await client.get_sessions(ids[:40])
        assert {DeadlineError} == {type(error) for error in batch.errors.values()}

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), "2", None])
    async def test_refuses_nonsense(self, client, seconds):
        """A deadline that is no positive number is refused."""
        with pytest.raises(InvalidArgumentError, match="seconds"):
            client.deadline(seconds)

    async def test_a_joined_load_lives_for_its_most_patient_caller(
        self, emulator, client, ids
    ):
        """An impatient first caller does not cut off the one who joined it."""
        emulator.latency = 0.15

        async def impatient():
            with client.deadline(0.05):
                await client.get_session(ids[0])

        first = asyncio.create_task(impatient())
        await asyncio.sleep(0.02)
        assert ids[0] == (await client.get_session(ids[0])).id
        with pytest.raises(DeadlineError):
            await first
        assert 1 == len(emulator.requests)


def wire(session_id):
    """Write a session as the service does."""
    session = {
        "_id": session_id,
        "name": "Pitch",
        "type": "live_analysis",
        "state": "finished",
        "timestamp": "2024-04-01T10:30:00.000Z",
        "duration": 120,
        "product": "p",
        "user": "u",
        "version": 3,
    }
    return http("200 OK", json.dumps(session).encode())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("many", [False, True])
class TestJoiners:
    """A call with more time joins a load that was started with little."""

    ONE, OTHER = "65ea1530bb50af72b6e3dc1e", "65ea1530bb50af72b6e3dc1f"

    @pytest.fixture
    def get(self, many):
        """Give a way to get one session, alone or in a bulk."""

        async def get(client, session_id):
            if not many:
                return await client.get_session(session_id)
            batch = await client.get_sessions([session_id], via="get")
            batch.raise_for_errors()
            return batch[session_id]

        return get

    def client_of(self, server, *, traced):
        retry = RetryPolicy(attempts=1, base=0.001)
        client = AsyncEmoggClient("t", base_url=server.url, concurrency=1, retry=retry)
        return instrument(client) if traced else client

    async def impatient(self, get, client):
        with client.deadline(0.5):
            await get(client, self.ONE)

    async def joined(self, get, client, impatient, release):
        """Join, let the time of the first caller pass, and get the session."""
        patient = asyncio.create_task(get(client, self.ONE))
        with pytest.raises((DeadlineError, ExceptionGroup)):
            await impatient
        await asyncio.sleep(0.05)
        release.set()
        return await patient

    async def test_keep_a_load_that_waits_at_the_gate(self, get, traced):
        """The latest deadline counts while the only slot is taken."""
        arrived, release = asyncio.Event(), asyncio.Event()
        queued, taken = asyncio.Event(), asyncio.Event()

        async def answer(writer, number):
            if number == 1:
                arrived.set()
                await queued.wait()
            if number == 2:  # that of the call that takes the slot
                taken.set()
                await release.wait()
            own = wire(self.OTHER if number == 2 else self.ONE)
            writer.write(http("429 Too Many Requests") if number == 1 else own)
            return True

        async with serving(answer) as server:
            async with self.client_of(server, traced=traced) as client:
                first = asyncio.create_task(self.impatient(get, client))
                await arrived.wait()
                blocker = asyncio.create_task(client.get_session(self.OTHER))
                for _ in range(10):
                    await asyncio.sleep(0)
                queued.set()
                await taken.wait()
                await asyncio.sleep(0.02)  # the first one is back at the gate by now
                session = await self.joined(get, client, first, release)
                await blocker
        assert (self.ONE, 3) == (session.id, len(server.heads))

    async def test_keep_a_load_that_waits_for_its_answer(self, get, traced):
        """The latest deadline counts while the only attempt is under way."""
        arrived, release = asyncio.Event(), asyncio.Event()

        async def answer(writer, number):
            arrived.set()
            await release.wait()
            writer.write(wire(self.ONE))
            return True

        async with serving(answer) as server:
            async with self.client_of(server, traced=traced) as client:
                first = asyncio.create_task(self.impatient(get, client))
                await arrived.wait()
                session = await self.joined(get, client, first, release)
        assert (self.ONE, 1) == (session.id, len(server.heads))


class TestRequest:
    async def test_returns_the_json(self, emulator, client):
        """A request without a method of its own can be made, with a query."""
        page = await client.request("get", "/v1/sessions", query={"limit": 2})
        assert [each.id for each in emulator.sessions[:2]] == [
            each["_id"] for each in page["data"]
        ]

    @pytest.mark.parametrize(
        "path", ["v1/sessions", "/v2/x", "//evil.example/v1/", "/v1"]
    )
    async def test_stays_below_v1(self, emulator, client, path):
        """Paths to other places are refused before any request."""
        with pytest.raises(InvalidArgumentError, match="path"):
            await client.request("GET", path)
        assert () == emulator.requests

    async def test_reads_are_retried(self, emulator, client):
        """A failed read is tried again."""
        emulator.fail(status=503, times=2)
        await client.request("GET", "/v1/sessions")
        assert 2 == client.stats.retries

    async def test_a_post_in_doubt_is_sent_once(self, emulator, client):
        """A POST whose answer is lost is never repeated; its outcome is unknown."""
        emulator.fail("POST", fault="close")
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.request("POST", "/v1/sessions", json={"name": "x"})
        assert 1 == len(emulator.requests)
        assert caught.value.since.utcoffset() is not None
        assert isinstance(caught.value.__cause__, EmoggError)

    async def test_a_refused_post_is_retried(self, emulator, client):
        """A POST that the limiter refused did nothing, and is sent again."""
        emulator.fail("POST", status=429, times=1)
        emulator.fail("POST", status=201, body={"ok": 1}).remove()
        emulator.fail("POST", status=201, body={"ok": 1})
        emulator.fail("POST", status=429, times=1)
        assert {"ok": 1} == await client.request("POST", "/v1/sessions", json={})
        assert 2 == len(emulator.requests)

    async def test_a_repeated_delete_that_finds_nothing_has_worked(
        self, emulator, client
    ):
        """After a lost answer, 404 means that the first DELETE did it."""
        emulator.fail("DELETE", status=404, times=1)
        emulator.fail("DELETE", fault="close", times=1)
        assert await client.request("DELETE", "/v1/sessions/x") is None
        assert 2 == len(emulator.requests)

    async def test_a_delete_with_a_garbled_success_has_worked(self, emulator, client):
        """A 2xx that does not decode is still a 2xx."""
        emulator.fail("DELETE", status=200, body="not json")
        assert await client.request("DELETE", "/v1/sessions/x") is None
        assert 1 == len(emulator.requests)

    async def test_a_first_delete_that_finds_nothing_has_not(self, emulator, client):
        """Without an earlier send, 404 is what it is."""
        emulator.fail("DELETE", status=404)
        with pytest.raises(NotFoundError):
            await client.request("DELETE", "/v1/sessions/x")

    async def test_a_write_cut_off_by_its_deadline_is_in_doubt(self, emulator, client):
        """The outcome of a POST is unknown if its time ends while it is out."""
        emulator.fail("POST", fault="hang")
        with client.deadline(0.1), pytest.raises(OutcomeUnknownError):
            await client.request("POST", "/v1/sessions", json={})

    @simulated.timed
    async def test_a_write_refused_until_its_deadline_is_not_in_doubt(self):
        """A POST that the limiter kept refusing surely did nothing."""
        async with simulated.emulated() as emulator, emulator.client() as client:
            emulator.fail("POST", status=429)
            with client.deadline(9), pytest.raises((RateLimitedError, DeadlineError)):
                await client.request("POST", "/v1/sessions", json={})
            assert client.stats.rate_limited >= 2

    async def test_an_empty_success_is_none(self, emulator, client):
        """An answer without content is None."""
        emulator.fail("PATCH", status=204)
        assert await client.request("PATCH", "/v1/sessions/x", json={}) is None


class TestLifeCycle:
    async def test_opens_itself_and_closes_once(self, emulator, ids):
        """It works without `async with`, and closing twice does no harm."""
        client = emulator.client()
        await client.get_session(ids[0])
        await client.aclose()
        await client.aclose()
        assert "(closed)" in repr(client)
        with pytest.raises(ClientClosedError):
            await client.get_session(ids[0])
        with pytest.raises(ClientClosedError):
            async with client:
                pass

    async def test_closing_unopened_is_fine(self, emulator):
        """A client that was never used can be closed."""
        await emulator.client().aclose()

    async def test_closing_ends_what_is_under_way(self, emulator, ids):
        """Calls under way, of all kinds, end with an error, and none runs on."""
        emulator.fail(fault="hang")
        client = emulator.client()
        calls = [
            asyncio.create_task(client.get_session(ids[0])),
            asyncio.create_task(client.get_sessions(ids[:5])),
            asyncio.create_task(client.list_sessions().first()),
            asyncio.create_task(client.request("GET", "/v1/sessions")),
        ]
        await until(lambda: emulator.in_flight)
        await client.aclose()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [ClientClosedError] * 4 == list(map(type, ends))
        await until(lambda: {asyncio.current_task()} == asyncio.all_tasks())

    async def test_a_write_cut_off_by_closing_is_in_doubt(self, emulator):
        """The outcome of a POST is unknown if the client is closed while it is out."""
        emulator.fail("POST", fault="hang")
        client = emulator.client()
        call = asyncio.create_task(client.request("POST", "/v1/sessions", json={}))
        await until(lambda: emulator.in_flight == 1)
        await client.aclose()
        with pytest.raises(OutcomeUnknownError):
            await call

    @pytest.mark.parametrize("turns", range(6))
    @pytest.mark.parametrize("how", ["cancel", "anyio", "timeout", "aclose"])
    async def test_closing_closes_however_often_it_is_cancelled(
        self, emulator, ids, clocks, how, turns
    ):
        """A closer that is cancelled again and again has closed when it gives up."""
        emulator.fail(fault="hang")
        client = emulator.client()

        async def use():
            async with client:
                await client.get_session(ids[0])

        async def use_in_scope():
            with anyio.move_on_after(5.0):
                await use()
            raise asyncio.CancelledError

        async def use_in_time():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5.0):
                    await use()
            raise asyncio.CancelledError

        async def use_and_close():
            call = asyncio.create_task(client.get_session(ids[0]))
            await until(lambda: emulator.requests)
            try:
                await client.aclose()
            finally:
                await asyncio.gather(call, return_exceptions=True)

        uses = {"anyio": use_in_scope, "timeout": use_in_time, "aclose": use_and_close}
        task = asyncio.create_task(uses.get(how, use)())
        await until(lambda: emulator.requests)
        if how == "cancel":
            task.cancel()
        if how in {"anyio", "timeout"}:
            clocks.ahead += 5.0
        while not client._is_closed:  # noqa: ASYNC110 - closing may take a few turns only
            await asyncio.sleep(0)
        is_interrupted = False
        for _ in range(2):
            for _ in range(turns):
                await asyncio.sleep(0)
            is_interrupted |= task.cancel()  # unless it has closed by then
        await asyncio.wait([task])
        assert task.cancelled() or not is_interrupted
        assert client._core.pipeline.transport._http.closed
        assert {asyncio.current_task()} == asyncio.all_tasks()

    @pytest.mark.parametrize("times", range(1, 5))
    async def test_closing_closes_where_every_task_is_cancelled(
        self, emulator, ids, times
    ):
        """Closing works even if our closing task is cancelled before its first step."""
        client = emulator.client()
        await client.get_session(ids[0])
        closer = asyncio.create_task(client.aclose())
        for _ in range(times):
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        await asyncio.wait([closer])
        assert client._core.pipeline.transport._http.closed

    async def test_all_who_close_wait_for_the_same_end(self, emulator, ids):
        """A second `aclose()` returns when the client is closed."""
        emulator.fail(fault="hang")
        client = emulator.client()
        call = asyncio.create_task(client.get_session(ids[0]))
        await until(lambda: emulator.requests)
        closers = [asyncio.create_task(client.aclose()) for _ in range(3)]
        await asyncio.sleep(0)
        closers[0].cancel()
        for closer in asyncio.as_completed(closers[1:]):
            await closer
            assert client._core.pipeline.transport._http.closed
        await asyncio.wait([call, *closers])
        assert [True, False, False] == [closer.cancelled() for closer in closers]

    def test_belongs_to_one_event_loop(self, emulator, ids):
        """Calls and closing in another loop are a ConfigurationError."""
        client = emulator.client()

        async def use():
            await client.get_session(ids[0])
            await client._core.pipeline.transport.close()
            client._reminder.closed()

        asyncio.run(use())
        for call in (use, client.aclose):
            with pytest.raises(ConfigurationError, match="event loop"):
                asyncio.run(call())

    async def test_a_session_of_yours_stays_open(self, emulator, ids):
        """An aiohttp session that was passed in is used, and never closed."""
        async with aiohttp.ClientSession() as http:
            async with emulator.client(http=http) as client:
                await client.get_session(ids[0])
            assert not http.closed
        async with emulator.client(http=http) as client:
            with pytest.raises(ConfigurationError, match="closed"):
                await client.get_session(ids[1])

    async def test_middlewares_of_a_session_of_yours_see_every_request(self, emulator):
        """Middlewares of your own session run for all methods."""
        seen = []

        async def look(request, handler):
            seen.append(request.method)
            return await handler(request)

        emulator.fail("*", status=200, body={})
        async with aiohttp.ClientSession(middlewares=[look]) as http:
            async with emulator.client(http=http) as client:
                for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
                    await client.request(method, "/v1/x")
        assert ["GET", "POST", "PATCH", "PUT", "DELETE"] == seen

    async def test_a_session_that_does_not_fit_is_a_configuration_error(
        self, emulator, ids
    ):
        """The error names your session if it cannot send our requests."""
        with pytest.raises(InvalidArgumentError, match="http"):
            emulator.client(http=object())
        async with aiohttp.ClientSession(proxy="http://[::1") as http:
            retry = RetryPolicy(attempts=1)
            async with emulator.client(http=http, retry=retry) as client:
                with pytest.raises(EmoggError):
                    await client.get_session(ids[0])

    async def test_logs_retries_at_info_and_nothing_above(
        self, emulator, client, ids, caplog
    ):
        """Each retry is one line at INFO; all else is for DEBUG."""
        emulator.fail(status=503, times=2)
        with caplog.at_level(logging.DEBUG, logger="emogg_async"):
            await client.get_sessions(ids[:20])
        above = [each for each in caplog.records if each.levelno > logging.DEBUG]
        assert client.stats.retries == len(above) > 0
        assert {logging.INFO} == {each.levelno for each in above}
        assert {"emogg_async.retry"} == {each.name for each in above}
        for each in above:
            assert "ServerError; trying again in" in each.getMessage()
            assert "\n" not in each.getMessage()

    async def test_logs_retries_without_the_rest(self, emulator, client, ids, caplog):
        """A log that is set to INFO has the retries alone."""
        emulator.fail(status=503, times=1)
        with caplog.at_level(logging.INFO, logger="emogg_async"):
            await client.get_session(ids[0])
        (record,) = caplog.records
        assert record.getMessage().startswith(f"GET /v1/sessions/{ids[0]}: Server")


class TestTaskFactories:
    """Calls work with every task factory, and leave no task behind."""

    async def test_calls(self, emulator, ids, other_tasks):
        """Single calls, bulks, listings and writes do what they do elsewhere."""
        with other_tasks():
            async with emulator.client() as client:
                assert ids[0] == (await client.get_session(ids[0])).id
                (await client.get_sessions(ids)).raise_for_errors()
                found = await client.gather(client.get_emotions, ids[:5])
                assert [*ids[:5]] == [*found]
                assert 3 == len(await client.list_sessions().collect(limit=3))
                renamed = await client.update_session(ids[0], name="new")
                assert renamed == await client.get_session(ids[0])
                shared = [client.get_session(ids[1], fresh=True) for _ in range(3)]
                assert 1 == len({*await asyncio.gather(*shared)})
                async with client.stream_sessions(ids, via="get") as outcomes:
                    async for outcome in outcomes:
                        outcome.unwrap()
                        break
            assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_leaving(self, emulator, ids, other_tasks):
        """A cancellation, a deadline and closing each end what is under way."""
        emulator.fail(fault="hang")
        with other_tasks():
            async with emulator.client(cache=None) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await client.get_session(ids[0])
                with client.deadline(0.01), pytest.raises(DeadlineError):
                    await client.get_session(ids[1])
                call = asyncio.ensure_future(client.get_session(ids[2]))
                await asyncio.sleep(0)
            with pytest.raises(ClientClosedError):
                await call
            assert {asyncio.current_task()} == asyncio.all_tasks()


class TestStatsAndLimits:
    async def test_counts_what_happens(self, emulator, client, ids):
        """Each counter counts its own."""
        emulator.fail(status=503, times=1)
        emulator.fail(status=429, times=1)
        await client.get_session(ids[0])
        await client.get_session(ids[0])
        stats = client.stats
        assert (2, 3, 2, 1) == (
            stats.calls,
            stats.requests,
            stats.retries,
            stats.rate_limited,
        )
        assert (1, 1, 0, 0) == (
            stats.cache_hits,
            stats.cache_misses,
            stats.coalesced,
            stats.in_flight,
        )
        assert 0 <= stats.waited < 1

    async def test_they_add_up(self, emulator, ids):
        """Each call is a hit, a miss or a joined one; each miss is a first request."""
        emulator.latency = 0.002
        emulator.fail(status=503, probability=0.3)
        emulator.fail(status=429, probability=0.1, headers={"Retry-After": "0.001"})
        heard = []
        options = {
            "cache": CachePolicy(ttl=0.01),
            "retry": RetryPolicy(attempts=2, base=0.001),
            "on_event": heard.append,
        }
        async with emulator.client(**options) as client:
            for _ in range(10):
                calls = (client.get_session(each) for each in ids[:20] * 2)
                await asyncio.gather(*calls, return_exceptions=True)
            stats = client.stats
        assert 400 == stats.calls
        assert 400 == stats.cache_hits + stats.cache_misses + stats.coalesced
        assert stats.cache_misses == stats.requests - stats.retries
        answers = [each.status for each in emulator.requests]
        assert len(answers) == stats.requests
        assert answers.count(429) == stats.rate_limited
        kinds = Counter(map(type, heard))
        assert stats.retries == kinds[RetryScheduled]
        assert answers.count(503) == kinds[AttemptFailed]
        assert answers.count(429) == kinds[RateLimited]

    async def test_what_was_cut_off_counts_as_far_as_it_came(self, emulator, ids):
        """Neither a retry that was cut off nor the rest of its wait is counted."""
        emulator.fail(status=503, headers={"Retry-After": "30"})
        announced = asyncio.Event()
        async with emulator.client(
            on_event=lambda e: announced.set() if isinstance(e, RetryScheduled) else 0
        ) as client:
            call = asyncio.create_task(client.get_session(ids[0]))
            await announced.wait()
            call.cancel()
            await asyncio.wait([call])
            await client._core.pipeline.flights.drain()
            stats = client.stats
        assert (1, 0) == (stats.requests, stats.retries)
        assert stats.waited < 10

    async def test_rate_limit_is_the_last_one_seen(self, emulator, client, ids):
        """`rate_limit` is that of the last answer, and None before the first."""
        assert client.rate_limit is None
        await client.get_session(ids[0])
        limit = client.rate_limit
        assert (1_000_000, 60.0) == (limit.limit, limit.window)
        assert limit.remaining < limit.limit
        emulator.fail(status=200, fault="html", times=1)

    async def test_a_401_is_final(self, emulator, ids):
        """A refused token is not tried again."""
        async with emulator.client(token="wrong") as client:
            with pytest.raises(AuthenticationError):
                await client.get_session(ids[0])
        assert 1 == len(emulator.requests)

    async def test_refusals_are_waited_out(self, emulator, client, ids):
        """A 429 is retried no earlier than the service asks."""
        emulator.fail(status=429, headers={"Retry-After": "0.2"}, times=1)
        started = time.monotonic()
        await client.get_session(ids[0])
        assert time.monotonic() - started >= 0.2

    @pytest.mark.timing
    @pytest.mark.parametrize("pace", [True, False])
    async def test_a_listing_gets_through_beside_endless_single_calls(
        self, emulator, ids, pace
    ):
        """A listing and a bulk end in spite of endless single calls."""
        async with emulator.client(concurrency=4, cache=None, pace=pace) as client:

            async def endless(number):
                while True:
                    await client.get_session(ids[number])

            tasks = [asyncio.create_task(endless(number)) for number in range(40)]
            try:
                with client.deadline(20.0):
                    assert await client.list_sessions().first() is not None
                    batch = await client.get_sessions(ids[:20], via="get")
                    assert 20 == len(batch)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def test_a_single_call_starts_at_once_beside_a_bulk(self, emulator, ids):
        """A single call finds a free slot next to a bulk of any size."""
        emulator.latency = 1.0
        async with emulator.client(cache=None, retry=RetryPolicy(attempts=1)) as client:
            await client.get_session(ids[0])  # from then on the rate limit is known
            gets = client.get_sessions(ids, concurrency=32, via="get")
            bulk = asyncio.create_task(gets)
            await until(lambda: client.stats.in_flight == 24)
            single = asyncio.create_task(client.get_session(ids[-1]))
            await until(lambda: client.stats.in_flight == 25)
            await single
            bulk.cancel()
            await asyncio.wait([bulk])


async def test_an_item_that_two_bulks_share_has_the_time_of_the_later_one(
    emulator, ids, clocks
):
    """The second request has the time that the later bulk has left."""
    retry = RetryPolicy(attempts=2, base=0.001)
    options = {"timeout": 60, "attempt_timeout": 60, "retry": retry, "cache": None}
    emulator.fail(fault="hang", times=1)
    async with emulator.client(**options) as client:
        first = asyncio.create_task(client.get_sessions([ids[0]], via="get"))
        await until(lambda: emulator.requests)
        await clocks.forward(40)
        second = asyncio.create_task(client.get_sessions([ids[0]], via="get"))
        await until(lambda: client.stats.coalesced)
        await clocks.forward(30)  # the time of the first one is up
        assert {} == (await second).errors
        await first
        assert 2 == client.stats.requests == len(emulator.requests)
