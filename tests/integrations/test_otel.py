"""Spans and metrics, as the SDK's own exporters see them."""

import asyncio

import aiohttp
import pytest
import simulated
from aiocache import SimpleMemoryCache
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rawserver import always, http, serving
from simulated import timed
from test_secrets import TOKEN, assert_clean
from waiting import until

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    NotFoundError,
    RateLimitedError,
    RetryPolicy,
)
from emogg_async.integrations.otel import instrument, uninstrument
from emogg_async.testing import EmoggEmulator

QUICK = RetryPolicy(base=0.001, cap=0.002)
UNKNOWN = "0" * 24


class Telemetry:
    """An SDK of a test's own, that keeps all in memory."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def watch(self, client):
        return instrument(
            client, tracer_provider=self.traces, meter_provider=self.meters
        )

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self, name):
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry():
    """Give an SDK that keeps all in memory."""
    return Telemetry()


@pytest.fixture
async def client(emulator, telemetry):
    """Give a client that is watched, and caches nothing."""
    async with telemetry.watch(emulator.client(cache=None, retry=QUICK)) as opened:
        yield opened


class TestSpans:
    async def test_a_get(self, emulator, client, telemetry):
        """A call is one client span with the attributes of the conventions."""
        session_id = emulator.sessions[0].id
        await client.get_session(session_id)
        (span,) = telemetry.spans
        assert "GET /v1/sessions/{id}" == span.name
        assert trace.SpanKind.CLIENT is span.kind
        assert trace.StatusCode.UNSET is span.status.status_code
        assert {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "url.template": "/v1/sessions/{id}",
            "url.full": f"{emulator.url}/v1/sessions/{session_id}",
            "server.address": "127.0.0.1",
            "server.port": int(emulator.url.rpartition(":")[2]),
            "emogg.session.id": session_id,
        } == dict(span.attributes)

    async def test_resends_are_in_the_same_span(self, emulator, client, telemetry):
        """However often it is sent, a call is one span, which says how often."""
        emulator.fail(status=503, times=2)
        await client.get_session(emulator.sessions[0].id)
        (span,) = telemetry.spans
        assert 2 == span.attributes["http.request.resend_count"]
        assert 200 == span.attributes["http.response.status_code"]
        assert "error.type" not in span.attributes

    @pytest.mark.parametrize(
        ("fault", "status", "kind"),
        [
            ({"status": 503}, 503, "503"),
            ({"status": 404}, 404, "404"),
            ({"fault": "reset"}, None, "emogg_async.errors.ConnectionLostError"),
            ({"fault": "hang"}, None, "emogg_async.errors.DeadlineError"),
        ],
    )
    async def test_failures(self, emulator, telemetry, fault, status, kind):
        """A call that fails has the status Error and says of what type it is."""
        emulator.fail(**fault)
        patience = 0.1 if "hang" in fault.values() else 15.0
        options = {"retry": RetryPolicy(attempts=1), "attempt_timeout": patience}
        async with telemetry.watch(emulator.client(**options)) as client:
            with pytest.raises(EmoggError):
                await client.get_session(UNKNOWN)
        (span,) = telemetry.spans
        assert trace.StatusCode.ERROR is span.status.status_code
        assert status == span.attributes.get("http.response.status_code")
        assert kind == span.attributes["error.type"]

    @pytest.mark.parametrize("slots", [1, 2])
    async def test_the_time_of_the_call_is_up(self, emulator, telemetry, slots):
        """It has failed, whether it was sent or still waited for its turn."""
        emulator.fail(fault="hang")
        options = {"concurrency": slots, "cache": None, "pace": False}
        async with telemetry.watch(emulator.client(**options)) as client:
            first = asyncio.create_task(client.get_session(UNKNOWN))
            await asyncio.sleep(0)
            with client.deadline(0.1), pytest.raises(DeadlineError):
                await client.get_session("1" * 24)
            await client._core.pipeline.flights.drain()
            (span,) = telemetry.spans
            first.cancel()
            await asyncio.wait([first])
        assert trace.StatusCode.ERROR is span.status.status_code
        assert "emogg_async.errors.DeadlineError" == span.attributes["error.type"]
        kinds = {
            point.attributes["error.type"]: point.count
            for point in telemetry.points("http.client.request.duration")
        }
        assert slots - 1 == kinds.get("emogg_async.errors.DeadlineError", 0)

    async def test_its_parent_is_the_callers(self, emulator, client, telemetry):
        """A span is a child of the one in which its call was made, in bulks too."""
        ids = [each.id for each in emulator.sessions[:3]]
        tracer = telemetry.traces.get_tracer("test")
        with tracer.start_as_current_span("page") as page:
            await client.get_session(ids[0])
            await client.get_sessions(ids, via="get")
            await client.list_sessions().first()
            assert trace.get_current_span() is page
        *calls, last = telemetry.spans
        assert (5, "page") == (len(calls), last.name)
        assert {last.context.span_id} == {span.parent.span_id for span in calls}
        assert {last.context.trace_id} == {span.context.trace_id for span in calls}

    async def test_so_is_that_of_what_a_cache_does(self, emulator, telemetry):
        """The spans of a backend, as of a traced Redis, are in the same trace."""
        tracer = telemetry.traces.get_tracer("redis")

        class Backend(SimpleMemoryCache):
            async def get(self, *args, **options):
                with tracer.start_as_current_span("GET"):
                    return await super().get(*args, **options)

            async def set(self, *args, **options):
                with tracer.start_as_current_span("SET"):
                    return await super().set(*args, **options)

        cache = CachePolicy(backend=Backend(timeout=None))
        async with telemetry.watch(emulator.client(cache=cache)) as client:
            with tracer.start_as_current_span("page") as page:
                await client.get_session(emulator.sessions[0].id)
        *work, last = telemetry.spans
        assert ["GET", "GET /v1/sessions/{id}", "SET"] == [span.name for span in work]
        assert [page.context.span_id] * 3 == [span.parent.span_id for span in work]
        assert last.parent is None

    async def test_so_is_that_of_an_instrumented_session(self, emulator, telemetry):
        """Spans of what traces aiohttp itself have a parent, without `instrument`."""
        tracer = telemetry.traces.get_tracer("aiohttp")

        async def start(session, context, params):
            context.span = tracer.start_span("HTTP")

        async def end(session, context, params):
            context.span.end()

        config = aiohttp.TraceConfig()
        config.on_request_start.append(start)
        config.on_request_end.append(end)
        async with aiohttp.ClientSession(trace_configs=[config]) as http_:
            async with emulator.client(http=http_) as client:
                with tracer.start_as_current_span("page"):
                    await client.get_session(emulator.sessions[0].id)
        request, page = telemetry.spans
        assert page.context.span_id == request.parent.span_id

    async def test_it_travels_in_the_headers(self, telemetry):
        """The service learns the span by the propagators' headers, in each request."""
        async with serving(always(http("503 No", b"{}"))) as server:
            retry = RetryPolicy(attempts=2, base=0.001)
            options = {"base_url": server.url, "retry": retry}
            async with telemetry.watch(AsyncEmoggClient(TOKEN, **options)) as client:
                with pytest.raises(EmoggError):
                    await client.get_session(UNKNOWN)
        (span,) = telemetry.spans
        trace_id, span_id = span.context.trace_id, span.context.span_id
        expected = f"traceparent: 00-{trace_id:032x}-{span_id:016x}-"
        assert 2 == len(server.heads)
        for head in server.heads:
            assert expected in head.decode()
            assert f"Authorization: Bearer {TOKEN}" in head.decode()

    async def test_propagators_replace_no_header_of_ours(self, telemetry, monkeypatch):
        """The token stays, whatever letters it writes the name in."""

        def inject(carrier, *_):
            carrier |= {"authorization": "other", "user-AGENT": "other", "x-a": "b"}

        monkeypatch.setattr(propagate, "inject", inject)
        async with serving(always(http("404 No", b"{}"))) as server:
            client = AsyncEmoggClient(TOKEN, base_url=server.url)
            async with telemetry.watch(client):
                with pytest.raises(EmoggError):
                    await client.get_session(UNKNOWN)
        (head,) = server.heads
        assert b"x-a: b" in head
        assert b"other" not in head

    async def test_it_is_current_while_the_request_is_made(self, emulator, telemetry):
        """Spans of an instrumented HTTP library below the client are children."""
        seen = []
        client = telemetry.watch(
            emulator.client(
                cache=None, on_event=lambda _: seen.append(trace.get_current_span())
            )
        )
        emulator.fail(status=503, times=1)
        async with client:
            await client.get_session(emulator.sessions[0].id)
        (span,) = telemetry.spans
        assert {span.context.span_id} == {each.context.span_id for each in seen}

    async def test_what_sends_nothing_has_none(self, emulator, telemetry):
        """Hits, joined calls and refused arguments have no span."""
        session = emulator.add_session(state="finished")
        async with telemetry.watch(emulator.client()) as client:
            await asyncio.gather(*(client.get_session(session.id) for _ in range(9)))
            await client.get_session(session.id)
            with pytest.raises(ValueError, match="session_id"):
                await client.get_session("nonsense")
        assert 1 == len(telemetry.spans)

    async def test_no_token_in_time(self, telemetry):
        """A call that our own pacer refused was sent nowhere, and has failed."""
        with EmoggEmulator(sessions=3, rate_limit=(2, 600.0)) as small:
            async with telemetry.watch(small.client(cache=None, timeout=9.0)) as client:
                await client.get_sessions([each.id for each in small.sessions[:2]])
                with pytest.raises(RateLimitedError):
                    await client.get_session(small.sessions[2].id)
        last = telemetry.spans[-1]
        assert "429" == last.attributes["error.type"]
        assert "http.response.status_code" not in last.attributes

    async def test_a_cancelled_call_ends_its_span(self, emulator, client, telemetry):
        """Its span ends, and is no failure."""
        emulator.fail(fault="hang")
        call = asyncio.create_task(client.get_session(UNKNOWN))
        await until(lambda: emulator.in_flight == 1)
        call.cancel()
        await asyncio.wait([call])
        await client._core.pipeline.flights.drain()
        (span,) = telemetry.spans
        assert "asyncio.exceptions.CancelledError" == span.attributes["error.type"]
        assert trace.StatusCode.UNSET is span.status.status_code
        assert [0] == [p.value for p in telemetry.points("http.client.active_requests")]

    async def test_it_can_be_ended(self, emulator, client, telemetry):
        """After `uninstrument` there are no more spans."""
        await client.get_session(emulator.sessions[0].id)
        uninstrument(client)
        await client.get_session(emulator.sessions[0].id)
        assert 1 == len(telemetry.spans)

    async def test_it_can_be_ended_within_a_call(self, emulator, telemetry, caplog):
        """The get that settles a stop is no part of a span that has ended."""
        emulator.fail("POST", fault="html", times=1)
        client = emulator.client(on_event=lambda _: uninstrument(client), pace=False)
        async with telemetry.watch(client):
            await client.stop_session(emulator.add_session(state="active").id)
        assert ["POST /v1/sessions/{id}/stop"] == [s.name for s in telemetry.spans]
        assert [] == caplog.records

    async def test_without_an_sdk_it_does_nothing(self, emulator):
        """With the API alone, calls work as ever."""
        async with instrument(emulator.client()) as client:
            assert emulator.sessions[0] == await client.get_session(
                emulator.sessions[0].id
            )

    async def test_nothing_shows_the_token(self, emulator, telemetry):
        """Neither spans nor metrics hold the token, even if the service echoes it."""
        emulator.add_token(TOKEN)
        emulator.fail(status=400, body={"message": f"<{TOKEN}>"})
        async with telemetry.watch(emulator.client(token=TOKEN)) as client:
            with pytest.raises(EmoggError):
                await client.request("GET", "/v1/sessions", query={"q": "private"})
        (span,) = telemetry.spans
        shown = span.to_json() + telemetry.reader.get_metrics_data().to_json()
        assert_clean(shown)
        assert "private" not in shown


class TestMetrics:
    async def test_each_request_counts(self, emulator, client, telemetry):
        """The histogram has each request that was sent, in seconds, by its outcome."""
        emulator.fail(status=503, times=2)
        emulator.latency = 0.01
        ids = [each.id for each in emulator.sessions[:3]]
        for session_id in ids:
            await client.get_session(session_id)
        points = telemetry.points("http.client.request.duration")
        found = {
            point.attributes["http.response.status_code"]: point for point in points
        }
        assert {200: 3, 503: 2} == {key: point.count for key, point in found.items()}
        assert "503" == found[503].attributes["error.type"]
        assert 0.03 <= found[200].sum < 3
        assert {"/v1/sessions/{id}"} == {p.attributes["url.template"] for p in points}
        assert 0.005 == found[200].explicit_bounds[0]

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [("reset", ConnectionLostError), ("hang", DeadlineError)],
    )
    async def test_failures_count_by_their_type(self, emulator, telemetry, fault, kind):
        """A request without an answer has the class of its error."""
        emulator.fail(fault=fault)
        patience = 0.1 if fault == "hang" else 15.0
        options = {"retry": RetryPolicy(attempts=1), "attempt_timeout": patience}
        async with telemetry.watch(emulator.client(**options)) as client:
            with pytest.raises(kind):
                await client.get_session(UNKNOWN)
        (point,) = telemetry.points("http.client.request.duration")
        assert f"emogg_async.errors.{kind.__name__}" == point.attributes["error.type"]

    async def test_active_requests_fall_to_zero(self, emulator, client, telemetry):
        """A request is counted while it is under way."""
        emulator.latency = 0.2
        call = asyncio.create_task(client.get_session(emulator.sessions[0].id))
        await until(lambda: emulator.in_flight == 1)
        assert [1] == [p.value for p in telemetry.points("http.client.active_requests")]
        await call
        assert [0] == [p.value for p in telemetry.points("http.client.active_requests")]
        with pytest.raises(NotFoundError):
            await client.get_session(UNKNOWN)
        assert [0] == [p.value for p in telemetry.points("http.client.active_requests")]

    @timed
    async def test_live_channels(self, telemetry):
        """An event counts once for all feeds, a loss for its feed; none has a span."""
        async with simulated.emulated() as emulator:
            emulator.add_token(TOKEN)
            session_id = emulator.add_session(state="active", token=TOKEN).id
            client = telemetry.watch(emulator.client(token=TOKEN, cache=None))
            async with (
                client,
                client.live.counts(session_id, buffer=3),
                client.live.counts(session_id, buffer=1),
            ):
                for _ in range(5):
                    emulator.live.emit(session_id, {"joy": 1})
                await asyncio.sleep(1)
                emulator.live.cut()
                await asyncio.sleep(5)
        expected = {"events": 5, "dropped": 2 + 4, "reconnects": 1}
        port = int(emulator.url.rpartition(":")[2])
        for what, number in expected.items():
            (point,) = telemetry.points(f"emogg.live.{what}")
            assert number == point.value == getattr(client.stats, f"live_{what}")
            server = {"server.address": "127.0.0.1", "server.port": port}
            assert server == dict(point.attributes)
        (look,) = telemetry.spans  # at the session, after the reconnect
        assert "GET /v1/sessions/{id}" == look.name
        assert_clean(telemetry.reader.get_metrics_data().to_json())
