"""Events and log lines of a client's calls."""

import asyncio
import io
import logging
import pickle
from contextvars import ContextVar

import attrs
import pytest
import simulated
from aiocache import SimpleMemoryCache
from simulated import timed
from test_secrets import TOKEN, assert_clean, everything_in

from emogg_async import (
    CachePolicy,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    RateLimitedError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
    Stats,
)
from emogg_async._wire.protocol import Request
from emogg_async.events import (
    AttemptFailed,
    CacheHit,
    CacheMiss,
    Event,
    GapSeen,
    LiveConnected,
    LiveDisconnected,
    Paced,
    RateLimited,
    RetryScheduled,
    StaleServed,
)
from emogg_async.testing import EmoggEmulator

QUICK = RetryPolicy(base=0.001, cap=0.002)
UNKNOWN = "0" * 24


@pytest.fixture
def heard():
    """Give a list for events."""
    return []


@pytest.fixture
def listening(emulator, heard):
    """Give a function that makes a client whose events are *heard*."""

    def make(**options):
        return emulator.client(on_event=heard.append, **{"retry": QUICK} | options)

    return make


class Broken(SimpleMemoryCache):
    """A cache that fails, and is therefore logged."""

    async def get(self, *args, **options):
        raise OSError


class AsyncListener:
    """A listener whose call would have to be awaited."""

    async def __call__(self, event):
        pass


def kinds(heard):
    """Return what kinds of events were heard."""
    return [type(event) for event in heard]


class TestEvents:
    async def test_a_retried_call(self, emulator, listening, heard):
        """Each failed attempt and each retry is told, with all that is known of it."""
        session = emulator.sessions[0]
        emulator.fail(status=503, times=2)
        async with listening() as client:
            await client.get_session(session.id)
        expected = [CacheMiss, *[AttemptFailed, RetryScheduled] * 2]
        assert expected == kinds(heard)
        _, failed, again, failed_again, last = heard
        assert [1, 2, 2, 3] == [
            each.attempt for each in (failed, again, failed_again, last)
        ]
        assert isinstance(failed.error, ServerError)
        assert failed.error is again.error
        assert 0 <= again.wait <= 0.002
        for event in heard:
            assert ("GET", session.id) == (event.method, event.session_id)
            assert f"/v1/sessions/{session.id}" == event.path
            assert "/v1/sessions/{id}" == event.template

    async def test_a_call_that_is_given_up(self, emulator, listening, heard):
        """The last failure is told, and no retry after it."""
        emulator.fail(fault="reset")
        retry = RetryPolicy(attempts=2, base=0.001)
        async with listening(retry=retry, cache=None) as client:
            with pytest.raises(EmoggError):
                await client.get_session(UNKNOWN)
        assert [AttemptFailed, RetryScheduled, AttemptFailed] == kinds(heard)

    async def test_an_answer_of_another_shape(self, emulator, listening, heard):
        """JSON that is no session is no usable answer either."""
        emulator.fail(status=200, body={"name": "no session"})
        async with listening(cache=None) as client:
            with pytest.raises(ResponseShapeError) as caught:
                await client.get_session(UNKNOWN)
        assert [AttemptFailed] == kinds(heard)
        assert (1, str(caught.value)) == (heard[0].attempt, str(heard[0].error))

    async def test_the_time_of_the_call_is_up(self, emulator, listening, heard, caplog):
        """A request sent by then has failed; one that its caller left has not."""
        emulator.fail(fault="hang")
        async with listening(cache=None) as client:
            left = asyncio.create_task(client.get_session("1" * 24))
            with caplog.at_level(logging.DEBUG, logger="emogg_async"):
                with client.deadline(0.1), pytest.raises(DeadlineError):
                    await client.get_session(UNKNOWN)
                left.cancel()
                await asyncio.wait([left])
                await client._core.pipeline.flights.drain()
        (event,) = heard
        assert (AttemptFailed, UNKNOWN, 1) == (
            type(event),
            event.session_id,
            event.attempt,
        )
        assert isinstance(event.error, DeadlineError)
        assert event.error.sent
        assert "attempt 1 failed: the time for the call is up" in caplog.text

    async def test_the_time_of_the_last_who_waits_counts(
        self, emulator, listening, heard
    ):
        """A caller with more time who has left does not hide that the time is up."""
        emulator.fail(fault="hang")
        async with listening(cache=None) as client:
            patient = asyncio.create_task(client.get_session(UNKNOWN))
            await asyncio.sleep(0)
            with client.deadline(0.1), pytest.raises(DeadlineError):
                asyncio.get_running_loop().call_soon(patient.cancel)
                await client.get_session(UNKNOWN)
            await client._core.pipeline.flights.drain()
            assert 1 == client.stats.coalesced
        assert [AttemptFailed] == kinds(heard)
        assert isinstance(heard[0].error, DeadlineError)

    @pytest.mark.parametrize("backend", [None, SimpleMemoryCache])
    async def test_the_cache(self, emulator, listening, heard, backend):
        """Hits and misses are told, those of pages and of derived data too."""
        ids = [each.id for each in emulator.sessions if each.state == "finished"][:6]
        cache = CachePolicy(backend=backend and backend(timeout=None))
        async with listening(cache=cache) as client:
            await client.get_session(ids[0])
            await client.get_session(ids[0])
            await client.get_emotions(ids[0])
            await client.get_emotions(ids[0])
            assert [CacheMiss, CacheHit] * 2 == kinds(heard)
            assert "/v1/sessions/{id}/emotions" == heard[-1].template
            heard.clear()
            await client.get_sessions(ids, via="pages")
            assert [CacheHit, *[CacheMiss] * 5] == kinds(heard)
            assert {*ids} == {event.session_id for event in heard}
            stats = client.stats
        assert (3, 7) == (stats.cache_hits, stats.cache_misses)

    @pytest.mark.parametrize("via", ["get", "pages"])
    async def test_a_fresh_bulk(self, emulator, listening, heard, via):
        """It does not ask the cache, and so misses nothing there."""
        ids = [each.id for each in emulator.sessions[:6]]
        async with listening() as client:
            await client.get_sessions(ids, fresh=True, via=via)
            assert 0 == client.stats.cache_misses
            assert CacheMiss not in kinds(heard)
            await client.get_sessions(ids)
            assert 6 == client.stats.cache_hits

    async def test_stale(self, emulator, listening, heard):
        """A past value that is served is told, with the reason when it is new."""
        session_id = emulator.sessions[0].id
        cache = CachePolicy(ttl=0.001, live_ttl=0.001, stale_if_error=60)
        async with listening(cache=cache, retry=RetryPolicy(attempts=1)) as client:
            await client.get_session(session_id)
            await asyncio.sleep(0.002)
            emulator.fail(status=503)
            for _ in range(4):  # three failures make an outage
                await client.get_session(session_id)
        asked = [CacheMiss, AttemptFailed, StaleServed]
        assert [CacheMiss, *asked, *asked, *asked, StaleServed] == kinds(heard)
        assert all(isinstance(each.error, ServerError) for each in heard[3:-1:3])
        assert heard[-1].error is None

    async def test_a_refusal_of_the_service(self, emulator, listening, heard):
        """A 429 is told as such, and then its retry."""
        emulator.fail(status=429, times=1, headers={"Retry-After": "0"})
        async with listening(cache=None, pace=False) as client:
            await client.get_session(emulator.sessions[0].id)
        assert [RateLimited, RetryScheduled] == kinds(heard)
        assert (1, 0.0) == (heard[0].attempt, heard[0].error.retry_after)

    async def test_the_pacer(self, heard):
        """Waits for a token are told, and so is that there is none in time."""
        with EmoggEmulator(sessions=5, rate_limit=(2, 0.4)) as small:
            ids = [each.id for each in small.sessions]
            async with small.client(cache=None, on_event=heard.append) as client:
                for session_id in ids[:4]:
                    await client.get_session(session_id)
                assert {Paced} == {*kinds(heard)}
                assert 0.1 < sum(event.wait for event in heard) < 2
                heard.clear()
                with pytest.raises(RateLimitedError), client.deadline(0.01):
                    await client.get_session(ids[4])
        assert [RateLimited] == kinds(heard)
        assert 0 == heard[0].attempt

    async def test_what_is_no_session(self, emulator, listening, heard):
        """Requests about no session have none."""
        emulator.fail(status=503, times=1)
        async with listening() as client:
            await client.list_sessions().first()
        assert [AttemptFailed, RetryScheduled] == kinds(heard)
        assert [None, None] == [event.session_id for event in heard]
        assert "/v1/sessions" == heard[0].template

    @pytest.mark.parametrize("fault", [{"fault": "reset"}, {"fault": "html"}, {}])
    async def test_no_event_has_the_token(self, emulator, listening, heard, fault):
        """No event has it after any failure, even if the service echoes it."""
        emulator.add_token(TOKEN)
        emulator.fail(**fault or {"status": 500, "body": {"message": f"<{TOKEN}>"}})
        async with listening(token=TOKEN) as client:
            with pytest.raises(EmoggError):
                await client.get_session(UNKNOWN)
        assert heard
        for event in heard:
            assert_clean(repr(event), repr(pickle.dumps(event)))
            assert_clean(*everything_in(getattr(event, "error", None)))

    def test_events_are_values(self):
        """They are frozen, compare by what they hold, and know their base."""
        facts = {"method": "GET", "path": "/", "template": "/", "session_id": None}
        hit = CacheHit(**facts)
        assert CacheHit(**facts) == hit
        assert CacheMiss(**facts) != hit
        assert isinstance(hit, Event)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            hit.path = "/v1"


class TestLive:
    @timed
    async def test_a_connection_that_is_lost(self, heard, caplog):
        """Connections, their ends and gaps are told and logged, without the token."""
        caplog.set_level(logging.DEBUG, "emogg_async.live")
        async with simulated.emulated() as emulator:
            emulator.add_token(TOKEN)
            session_id = emulator.add_session(state="active", token=TOKEN).id
            options = {"token": TOKEN, "cache": None, "on_event": heard.append}
            async with emulator.client(**options) as client:
                async with client.live.counts(session_id) as feed:
                    emulator.live.cut(1011)
                    await asyncio.sleep(5)
                    emulator.live.emit(session_id, {"joy": 2})
                    event = await feed.next(10)
        up, down, again, gap, last = heard
        expected = [LiveConnected, LiveDisconnected, LiveConnected, GapSeen]
        assert [*expected, LiveDisconnected] == kinds(heard)
        for each in (up, down, again, last):
            facts = each.method, each.path, each.template, each.session_id
            assert ("GET", "/ws/v1", "/ws/v1", None) == facts
        assert "the service closed it with code 1011" == down.reason
        assert 0.5 <= down.wait <= 1
        assert ("the client was closed", None) == (last.reason, last.wait)
        assert (session_id, event.gap) == (gap.session_id, gap.gap)
        assert [
            "GET /ws/v1: connected",
            f"GET /ws/v1: disconnected: {down.reason}",
            "GET /ws/v1: connected",
            f"GET /ws/v1: a gap in session {session_id}: reconnected",
            "GET /ws/v1: disconnected: the client was closed",
        ] == caplog.messages
        assert_clean(*map(repr, heard), *caplog.messages)

    @timed
    async def test_what_a_listener_raises_hurts_no_feed(self, caplog):
        """A feed goes on, and the log has one warning."""
        async with simulated.emulated() as emulator:
            session = emulator.add_session(state="active")
            async with emulator.client(on_event=lambda _: 1 / 0) as client:
                async with client.live.counts(session.id) as feed:
                    emulator.live.emit(session.id, {"joy": 1})
                    assert {"joy": 1} == (await feed.next(10)).emotions
        messages = ["on_event failed, and was not heard: ZeroDivisionError"]
        assert messages == caplog.messages

    @timed
    async def test_statistics(self):
        """Counters of live channels rise, and those of what is open fall again."""
        async with simulated.emulated() as emulator:
            session = emulator.add_session(state="active")
            async with emulator.client(cache=None) as client:
                async with (
                    client.live.counts(session.id, buffer=2) as slow,
                    client.live.counts(session.id) as fast,
                ):
                    for number in range(5):
                        emulator.live.emit(session.id, {"joy": number})
                        await fast.next(10)
                    emulator.live.send("nonsense")
                    await asyncio.sleep(1)
                    emulator.live.cut()
                    await asyncio.sleep(5)
                    assert {
                        "live_connections": 1,
                        "live_subscriptions": 1,
                        "live_events": 5,
                        "live_dropped": 3,
                        "live_unreadable": 1,
                        "live_reconnects": 1,
                    } == self._live(client)
                    assert (3, 0) == (slow.dropped, fast.dropped)
                await asyncio.sleep(10)
                assert 0 == client.stats.live_subscriptions
            figures = self._live(client)
            assert 0 == figures["live_connections"] == figures["live_subscriptions"]
            assert 5 == figures["live_events"]

    def _live(self, client):
        stats = attrs.asdict(client.stats)
        return {name: each for name, each in stats.items() if name.startswith("live_")}


class TestListener:
    async def test_what_it_raises_hurts_no_call(self, emulator, caplog):
        """Its failures are logged once, by their type alone."""
        told = []

        def listen(event):
            told.append(event)
            raise ValueError(f"about {event.path}")

        emulator.fail(status=503, times=3)
        async with emulator.client(on_event=listen, retry=QUICK) as client:
            session = await client.get_session(emulator.sessions[0].id)
        assert emulator.sessions[0] == session
        assert 7 == len(told)
        (record,) = caplog.records
        assert "WARNING" == record.levelname
        assert "on_event failed, and was not heard: ValueError" == record.getMessage()

    async def test_nor_does_a_cancellation_that_it_raises(self, emulator, caplog):
        """It may look at a future of its own that was cancelled."""
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        emulator.fail(status=503, times=1)
        options = {"concurrency": 1, "cache": None, "retry": QUICK}
        async with emulator.client(
            on_event=lambda _: cancelled.result(), **options
        ) as client:
            ids = [each.id for each in emulator.sessions[:3]]
            batch = await client.get_sessions(ids, via="get")
        assert ids == [*batch]
        assert "was not heard: CancelledError" in caplog.text

    async def test_it_may_use_the_client(self, emulator):
        """It can look at the statistics, which count what it is told of."""
        seen = []
        client = emulator.client(on_event=lambda _: seen.append(client.stats))
        async with client:
            await client.get_session(emulator.sessions[0].id)
        assert [1] == [stats.cache_misses for stats in seen]

    @pytest.mark.parametrize("on_event", [42, "print", asyncio.sleep, AsyncListener()])
    def test_refuses_what_is_no_function(self, emulator, on_event):
        """A listener that is not callable, or is async, is refused."""
        with pytest.raises(InvalidArgumentError, match="on_event"):
            emulator.client(on_event=on_event)


class TestLog:
    async def test_normal_work_is_silent(self, emulator, caplog):
        """Failures, misses and stale values are no news above DEBUG; retries are."""
        emulator.fail(status=503, probability=0.3)
        cache = CachePolicy(live_ttl=0, stale_if_error=60)
        with caplog.at_level(logging.INFO):
            async with emulator.client(cache=cache, retry=QUICK) as client:
                await client.get_sessions([each.id for each in emulator.sessions])
        told = [(each.name, each.levelno) for each in caplog.records]
        assert [("emogg_async.retry", logging.INFO)] * client.stats.retries == told

    async def test_it_can_be_switched_on_at_any_time(self, emulator, caplog):
        """A client that is open for months begins to tell at its next request."""
        one, two = (each.id for each in emulator.sessions[:2])
        async with emulator.client() as client:
            await client.get_session(one)
            assert [] == caplog.records
            with caplog.at_level(logging.DEBUG, logger="emogg_async"):
                await client.get_session(two)
            (line,) = (record.getMessage() for record in caplog.records)
        assert line.startswith(f"GET /v1/sessions/{two}: 200 in 0.")

    @pytest.mark.parametrize(
        ("name", "line"),
        [("retry", "trying again"), ("cache", "not cached"), ("http", ": 503 in 0.")],
    )
    async def test_each_logger_can_be_switched_on_alone(
        self, emulator, caplog, name, line
    ):
        """The other loggers stay silent."""
        emulator.fail(status=503, times=1)
        with caplog.at_level(logging.DEBUG, logger=f"emogg_async.{name}"):
            async with emulator.client(retry=QUICK) as client:
                await client.get_session(emulator.sessions[0].id)
        assert line in caplog.text
        assert {f"emogg_async.{name}"} == {each.name for each in caplog.records}

    async def test_braces_in_what_the_service_says(self, emulator, caplog):
        """A message is shown as it is, whatever it looks like."""
        emulator.fail(status=400, body={"message": "{0.error} %s {"})
        with caplog.at_level(logging.DEBUG, logger="emogg_async"):
            async with emulator.client(cache=None) as client:
                with pytest.raises(EmoggError):
                    await client.get_session(UNKNOWN)
        assert "attempt 1 failed: 400: {0.error} %s {" in caplog.text

    @pytest.mark.parametrize("shows", [True, False])
    async def test_a_filter_that_raises_hurts_no_call(
        self, emulator, capsys, monkeypatch, shows
    ):
        """As one that misses a context variable: it is shown, if logging may."""
        request_id = ContextVar("request_id")
        handler = logging.StreamHandler(io.StringIO())
        handler.addFilter(lambda _: request_id.get())
        logger = logging.getLogger("emogg_async")
        monkeypatch.setattr(logging, "raiseExceptions", shows)
        monkeypatch.setattr(logger, "handlers", [handler])
        monkeypatch.setattr(logger, "propagate", False)
        emulator.fail(status=503, times=1)
        options = {"cache": CachePolicy(backend=Broken()), "retry": QUICK}
        logger.setLevel(logging.DEBUG)
        try:
            async with emulator.client(concurrency=1, **options) as client:
                for session in emulator.sessions[:3]:  # each has the only slot
                    assert session == await client.get_session(session.id)
        finally:
            logger.setLevel(logging.NOTSET)
        assert shows == ("LookupError" in capsys.readouterr().err)

    def test_the_package_prints_nothing_by_itself(self):
        """Without any logging set up, there is a handler that does nothing."""
        handlers = logging.getLogger("emogg_async").handlers
        assert any(isinstance(each, logging.NullHandler) for each in handlers)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/sessions", "/v1/sessions"),
        ("/v1/sessions/65ea1530bb50af72b6e3dc1e", "/v1/sessions/{id}"),
        ("/v1/sessions/65EA1530bb50af72b6e3dc1e/stop", "/v1/sessions/{id}/stop"),
        (
            f"/v1/sessions/{UNKNOWN}/sources/123e4567-e89b-12d3-a456-426614174000",
            "/v1/sessions/{id}/sources/{id}",
        ),
        ("/v1/65ea1530bb50af72b6e3dc1e0", "/v1/65ea1530bb50af72b6e3dc1e0"),
        ("/v1/deadbeef", "/v1/deadbeef"),
    ],
)
def test_templates(path, template):
    """A template has no ID in it, so that there are few of them."""
    assert template == Request("GET", path).template


def test_all_statistics_are_explained():
    """Each field of `Stats` is a number that begins at 0."""
    assert {0} == {*attrs.astuple(Stats())}
