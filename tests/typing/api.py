"""How the public API looks to type checkers; checked by them, and never run."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, assert_never, assert_type

import aiohttp.web
from fastapi import FastAPI
from starlette.requests import Request

import emogg_async
import emogg_async.testing
from emogg_async import (
    AsyncEmoggClient,
    AuthenticationError,
    Batch,
    CacheBackend,
    CachePolicy,
    CustomEvent,
    DeadlineError,
    EmoggError,
    EmotionCounts,
    EmotionIntensities,
    EmotionInterval,
    EmotionMeasure,
    EmotionsTimeline,
    EmotionTotals,
    Failed,
    Feed,
    Fetched,
    Frequency,
    FrozenMapping,
    Gap,
    InvalidArgumentError,
    Live,
    LiveLimitError,
    LivePolicy,
    NotFoundError,
    Outcome,
    OutcomeStream,
    OutcomeUnknownError,
    RateLimit,
    RateLimitedError,
    RawResponse,
    RegisteredSource,
    ResponseShapeError,
    RetryPolicy,
    SentimentInterval,
    Sentiments,
    SentimentTimeline,
    Session,
    SessionConfig,
    SessionListing,
    SessionMeta,
    SessionState,
    SessionType,
    SessionWorkerState,
    Source,
    Stats,
    StatusError,
    TransportError,
    WorkerState,
    from_dict,
    redis_cache,
    to_columns,
    to_dict,
    to_json,
)
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
from emogg_async.integrations import aiohttp_web, answer_to, starlette
from emogg_async.integrations.otel import instrument, uninstrument
from emogg_async.testing import (
    EmoggEmulator,
    FaultRule,
    LiveControl,
    LiveGuesses,
    LiveLimits,
    LiveMessage,
    LiveSubscription,
    RecordedRequest,
)

ID = "65ea1530bb50af72b6e3dc1e"

assert_type(emogg_async.__version__, str)


class Backend:
    """A cache of a user's own that satisfies the protocol."""

    async def get(
        self, key: str, *, loads_fn: Callable[[Any], Any] | None = None
    ) -> Any:
        """Return what is stored."""

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        dumps_fn: Callable[[Any], Any] | None = None,
    ) -> bool:
        """Store it."""
        return True

    async def delete(self, key: str) -> int:
        """Remove it."""
        return 1

    async def multi_get(
        self, keys: list[str], *, loads_fn: Callable[[Any], Any] | None = None
    ) -> list[Any]:
        """Return what is stored for each."""
        return [None for _ in keys]


def watch(event: Event) -> None:
    """Every event is one of these, and its fields have their types."""
    assert_type(event.template, str)
    assert_type(event.session_id, str | None)
    match event:
        case AttemptFailed(attempt=attempt, error=error):
            assert_type(attempt, int)
            assert_type(error, EmoggError)
        case RetryScheduled(attempt=attempt, wait=wait, error=error):
            assert_type(wait, float)
            assert_type(error, EmoggError)
        case RateLimited(error=refusal):
            assert_type(refusal, RateLimitedError)
        case Paced(wait=wait):
            assert_type(wait, float)
        case StaleServed(error=reason):
            assert_type(reason, EmoggError | None)
        case LiveDisconnected(reason=words, wait=seconds):
            assert_type(words, str)
            assert_type(seconds, float | None)
        case GapSeen(gap=gap):
            assert_type(gap, Gap)
        case CacheHit() | CacheMiss() | LiveConnected():
            pass


def traced(client: AsyncEmoggClient) -> None:
    """A client can be instrumented where it is made."""
    assert_type(instrument(client), AsyncEmoggClient)
    assert_type(uninstrument(client), None)


def constructors(http: aiohttp.ClientSession) -> None:
    """Every option has the type that the documentation says."""
    backend: CacheBackend = Backend()
    assert_type(AsyncEmoggClient(), AsyncEmoggClient)
    AsyncEmoggClient(
        "token",
        base_url="http://localhost:8080",
        timeout=60,
        attempt_timeout=15.0,
        concurrency=32,
        retry=RetryPolicy(attempts=6, base=0.25, cap=8.0, budget=40.0),
        cache=CachePolicy(
            ttl=300.0,
            live_ttl=2.0,
            stale_if_error=3600.0,
            max_entries=10,
            backend=backend,
        ),
        on_event=watch,
        allow_http=True,
        http=http,
    )
    AsyncEmoggClient(token=None, base_url=None, cache=None, http=None)
    AsyncEmoggClient("token", "http://localhost")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncEmoggClient(on_event=print)
    AsyncEmoggClient(on_event=len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncEmoggClient(timeout="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def views(client: AsyncEmoggClient) -> None:
    """A view is a client; its options have the types of the client's, or are `same`."""
    view = client.with_options(
        timeout=2,
        attempt_timeout=1.0,
        retry=RetryPolicy(attempts=1),
        cache=None,
        pace=False,
    )
    assert_type(view, AsyncEmoggClient)
    assert_type(view.with_options(), AsyncEmoggClient)
    client.with_options(timeout="same", cache="same", pace="same", retry="same")
    client.with_options(timeout=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.with_options(timeout="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.with_options(cache=CachePolicy())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.with_options(concurrency=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncEmoggClient(user_agent="my-app/1.2", headers={"X-Team": "red"})
    AsyncEmoggClient(headers={"X-Team": 7})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]


async def life_cycle() -> None:
    """A client is its own context manager, and can be closed by hand."""
    async with AsyncEmoggClient() as client:
        assert_type(client, AsyncEmoggClient)
    await client.aclose()


async def one_session(client: AsyncEmoggClient) -> None:
    """A session and each of its parts have their types."""
    session = await client.get_session(ID, fresh=True)
    assert_type(session, Session)
    assert_type(session.id, str)
    assert_type(session.name, str)
    assert_type(session.type, SessionType)
    assert_type(session.state, SessionState)
    assert_type(session.timestamp, datetime)
    assert_type(session.duration, float)
    assert_type(session.config, SessionConfig | None)
    assert_type(session.sources, tuple[Source, ...])
    assert_type(session.meta, SessionMeta | None)
    assert_type(session.product, str)
    assert_type(session.user, str)
    assert_type(session.version, int | float)
    assert_type(session.extra, FrozenMapping[Any])
    assert_type(session.stale, bool)
    if session.config is not None:
        assert_type(session.config.remove_media, bool | None)
        assert_type(session.config.extra, FrozenMapping[Any])
    if session.meta is not None:
        assert_type(session.meta.expires, datetime | None)
        assert_type(session.meta.health_check, datetime | None)
        assert_type(session.meta.worker_state, SessionWorkerState | None)
        assert_type(session.meta.extra, FrozenMapping[Any])
    for source in session.sources:
        assert_type(source.id, str)
        assert_type(source.name, str)
        assert_type(source.type, str)
        assert_type(source.device, str)
        assert_type(source.format, str | None)
        assert_type(source.extra, FrozenMapping[Any])
    assert_type(session.extra["anything"], Any)
    assert_type(hash(session.extra), int)
    assert_type(session.state.known, bool)
    state: str = session.state
    assert_type(state.upper(), str)
    assert_type(SessionState("paused"), SessionState)
    assert_type(session.is_finished, bool)
    assert_type(to_dict(session), dict[str, Any])
    assert_type(to_json(session), str)
    assert_type(session.to_dict(), dict[str, Any])
    assert_type(from_dict(Session, to_dict(session)), Session)
    assert_type(from_dict(EmotionsTimeline, {}), EmotionsTimeline)
    from_dict(SessionState, {})  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    session.name = "other"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    to_dict({"_id": ID})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def until_finished(session: Session) -> str:  # noqa: PLR0911
    """Enums are open: no comparison narrows them, and no `match` is exhaustive."""
    assert_type(SessionState.FINISHED, SessionState)
    assert_type(SessionState.FINISHED.value, str)
    assert_type(SessionState.FINISHED.name, str)
    assert_type(list(SessionState), list[SessionState])
    assert_type(SessionState["ACTIVE"], SessionState)
    if session.state == SessionState.FINISHED:
        return "done"
    if session.state == "failed":
        return "failed"
    if session.type == SessionType.LIVE_ANALYSIS and session.type == "live":
        return "live"
    if session.state in {SessionState.ACTIVE, "paused"}:
        return "later"
    match session.state:
        case SessionState.ACTIVE:
            return "active"
        case SessionState.PROCESSING:
            return "processing"
        case SessionState.FINISHED:
            return "finished"
        case "failed":
            return "failed"
    return session.state.name  # reached: mypy says of code if it is not


def all_of_them(state: SessionState) -> int:  # type: ignore[return]
    """A `match` over all that is known leaves what is not."""
    match state:  # pyright: ignore[reportMatchNotExhaustive]
        case SessionState.ACTIVE | SessionState.PROCESSING | SessionState.FINISHED:
            return 1


async def writes(client: AsyncEmoggClient) -> None:
    """What a write returns has its type, and its options are keyword-only."""
    created = await client.create_session("name", "rtmp://host/key")
    assert_type(created, Session)
    assert_type(await client.update_session(ID, name="name"), Session)
    assert_type(await client.stop_session(ID), Session)
    await client.delete_session(ID)
    try:
        await client.create_session("name", stream_uri="rtmp://host/key")
    except OutcomeUnknownError as error:
        found = await client.find_created_sessions("name", since=error.since)
        assert_type(found, tuple[Session, ...])
    source = await client.register_source(ID, name="name", format="scalar")
    assert_type(source, RegisteredSource)
    assert_type(source.id, str)
    assert_type(source.format, str)
    events = await client.send_event(ID, source.id, time=1.5, data=72)
    assert_type(events, tuple[CustomEvent, ...])
    assert_type(events[0].data, str | float)
    assert_type(events[0].time, float)
    await client.send_event(ID, source.id, time=0, data="text")
    await client.update_session(ID, "name")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.register_source(ID, name="name", format="video")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.send_event(ID, source.id, time=0, data=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def derived(client: AsyncEmoggClient) -> None:
    """What is known of a session has types, down to a single measure."""
    totals = await client.get_emotions(ID, expand=["session"])
    assert_type(totals, EmotionTotals)
    assert_type(totals.emotions, FrozenMapping[int])
    assert_type(totals.emotions["focus"], int)
    timeline = await client.get_emotions_timeline(
        ID, granularity=5, start=0.5, end=None, expand=("session",)
    )
    assert_type(timeline, EmotionsTimeline)
    assert_type(timeline.to_columns(), dict[str, list[Any]])
    assert_type(timeline.to_svg(width=900, height=300, measure="people"), str)
    assert_type(timeline.to_svg(theme="dark", background="#1e1e1e"), str)
    assert_type(timeline.to_sparkline(width=80, measure="people"), str)
    timeline.to_svg(theme="black")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    timeline.to_svg(measure="faces")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for interval in timeline.intervals:
        assert_type(interval, EmotionInterval)
        assert_type(interval.detected_faces, int)
        for name, measure in interval.emotions.items():
            assert_type(name, str)
            assert_type(measure, EmotionMeasure)
            assert_type(measure.people, int)
            assert_type(measure.quantity, float)
            assert_type(measure.intensity, float)
    talk = await client.get_transcription_sentiment(ID, end=60)
    assert_type(talk, SentimentTimeline)
    assert_type(talk.to_columns(), dict[str, list[Any]])
    assert_type(talk.to_svg(theme="light", background=None), str)
    for part in talk.intervals:
        assert_type(part, SentimentInterval)
        assert_type(part.segments, int)
        assert_type(part.sentiments, Sentiments)
        assert_type(part.sentiments.positive, float)
    session = await client.get_session(ID, expand={"user"})
    assert_type(session.expanded["user"]["name"], Any)
    client.list_sessions(expand=["user"])
    many = await client.gather(client.get_emotions, [ID])
    assert_type(many, Batch[EmotionTotals])
    assert_type(many.to_columns(of=EmotionTotals), dict[str, list[Any]])
    many.to_columns(of=Session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    timeline_of = partial(client.get_emotions_timeline, granularity=300)
    async with client.stream(timeline_of, [ID]) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Fetched[EmotionsTimeline] | Failed)
    deleted = await client.gather(client.delete_session, [ID])
    assert_type(deleted, Batch[None])
    deleted.to_columns()  # pyright: ignore[reportAttributeAccessIssue]


async def many_sessions(client: AsyncEmoggClient) -> None:
    """A batch is a mapping from id to session, with its errors beside it."""
    batch = await client.get_sessions([ID, ID], fresh=True, concurrency=4)
    assert_type(batch, Batch[Session])
    assert_type(batch[ID], Session)
    assert_type(batch.get(ID), Session | None)
    assert_type(batch.errors, Mapping[str, EmoggError])
    as_mapping: Mapping[str, Session] = batch
    for session_id, session in as_mapping.items():
        assert_type(session_id, str)
        assert_type(session, Session)
    assert_type(batch.to_columns(), dict[str, list[Any]])
    assert_type(to_columns(batch.values()), dict[str, list[Any]])
    assert_type(to_columns([], of=SentimentTimeline), dict[str, list[Any]])
    assert_type(batch[ID].to_columns(), dict[str, list[Any]])
    to_columns(["text"])  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    batch.raise_for_errors()
    await client.get_sessions(session_id for session_id in (ID,))
    await client.get_sessions({ID}, concurrency=None)
    await client.get_sessions([ID], via="pages")
    await client.get_sessions([ID], via="page")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def async_ids() -> AsyncIterator[str]:
    """Yield ids as they come to be known."""
    yield ID


async def streamed_sessions(client: AsyncEmoggClient) -> None:
    """`match` narrows an outcome to a value or an error, and to nothing else."""
    async with client.stream_sessions(async_ids(), concurrency=4) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[Session])
            assert_type(outcome, Fetched[Session] | Failed)
            assert_type(outcome.session_id, str)
            assert_type(outcome.unwrap(), Session)
            match outcome:
                case Fetched():
                    assert_type(outcome, Fetched[Session])
                    assert_type(outcome.value, Session)
                case Failed():
                    assert_type(outcome, Failed)
                    assert_type(outcome.error, EmoggError)
                case _:
                    assert_never(outcome)
    async with client.stream_sessions([ID], fresh=True) as outcomes:
        async for outcome in outcomes:
            match outcome:
                case Fetched(value=session):
                    assert_type(session, Session)
                case Failed(session_id, error):
                    assert_type(session_id, str)
                    assert_type(error, EmoggError)


async def custom_call(session_id: str) -> dict[str, int]:
    """Stand for any method that takes one id."""
    return {session_id: 1}


async def bulk_of_any_call(client: AsyncEmoggClient) -> None:
    """What a call returns is what its outcomes carry."""
    async with client.stream(custom_call, [ID], concurrency=2) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Fetched[dict[str, int]] | Failed)
    counts = await client.gather(custom_call, [ID], concurrency=None)
    assert_type(counts, Batch[dict[str, int]])
    assert_type(counts[ID], dict[str, int])
    assert_type(await client.gather(client.get_session, [ID]), Batch[Session])
    as_callable: Callable[[str], Awaitable[Session]] = client.get_session
    await client.gather(as_callable, [ID])


async def listing(client: AsyncEmoggClient) -> None:
    """A listing is iterated by session or by page, or collected."""
    sessions = client.list_sessions(
        state=SessionState.FINISHED,
        type="live_analysis",
        started_after=datetime(2024, 4, 1, tzinfo=UTC),
        started_before=None,
        page_size=50,
    )
    async for session in sessions:
        assert_type(session, Session)
    async for page in sessions.pages():
        assert_type(page, tuple[Session, ...])
    assert_type(await sessions.collect(), list[Session])
    assert_type(await sessions.collect(limit=10), list[Session])
    assert_type(await sessions.first(), Session | None)
    assert_type([session.id async for session in client.list_sessions()], list[str])


async def live_channels(client: AsyncEmoggClient) -> None:
    """A feed has the type of its events, from entering to the last one."""
    assert_type(client.live, Live)
    assert_type(client.live.counts(ID), Feed[EmotionCounts])
    assert_type(client.live.intensities(ID, every="5s"), Feed[EmotionIntensities])
    assert_type(client.live.worker_state(ID, buffer=1), Feed[WorkerState])
    async with client.live.counts(ID, every="1s", buffer=16) as feed:
        assert_type(feed, Feed[EmotionCounts])
        async for event in feed:
            assert_type(event, EmotionCounts)
            assert_type(event.session, str)
            assert_type(event.timestamp, datetime)
            assert_type(event.emotions["focus"], int)
            assert_type(event.gap, Gap | None)
            if event.gap is not None:
                assert_type(event.gap.since, datetime | None)
                assert_type(event.gap.until, datetime)
                assert_type(event.gap.lost, int | None)
                assert_type(
                    event.gap.reason, Literal["reconnected", "slow", "unreadable"]
                )
            assert_type(to_dict(event), dict[str, Any])
            assert_type(to_dict(event.gap) if event.gap else {}, dict[str, Any])
        assert_type(await feed.next(timeout=1.0), EmotionCounts)
        assert_type(feed.latest, EmotionCounts | None)
        assert_type(feed.dropped, int)
        assert_type(feed.state, Literal["waiting", "live", "reconnecting", "ended"])
    try:
        async with client.live.intensities(ID) as strengths:
            strong = await strengths.next()
            assert_type(strong.emotions, FrozenMapping[EmotionMeasure])
    except LiveLimitError as error:
        assert_type(error.in_use, int)
    async with client.live.worker_state(ID) as states:
        assert_type((await states.next()).state, SessionWorkerState)
    client.live.worker_state(ID, every="1s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.live.counts(ID, "1s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await client.wait_until_finished(ID, poll=1), Session)


def frequencies(client: AsyncEmoggClient, chosen: Frequency, text: str) -> None:
    """A frequency is one of eight, and no other text."""
    client.live.counts(ID, every=chosen)
    client.live.intensities(ID, every="10m")
    client.live.counts(ID, every="2s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.live.intensities(ID, every=text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.live.intensities(ID, every=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def merged_feeds(client: AsyncEmoggClient) -> None:
    """A merged feed has the events of all its feeds, of one kind or of several."""
    live = client.live
    assert_type(live.merge([live.counts(ID), live.counts(ID)]), Feed[EmotionCounts])
    by_id = live.merge(live.counts(session_id) for session_id in (ID,))
    assert_type(by_id, Feed[EmotionCounts])
    mixed: list[Feed[EmotionCounts | WorkerState]] = [
        live.counts(ID),
        live.worker_state(ID),
    ]
    async with live.merge(mixed) as feed:
        async for event in feed:
            match event:
                case EmotionCounts():
                    assert_type(event.emotions, FrozenMapping[int])
                case WorkerState():
                    assert_type(event.state, SessionWorkerState)
                case _:
                    assert_never(event)
    wider: Feed[EmotionCounts | EmotionIntensities] = live.counts(ID)
    live.merge([wider, live.intensities(ID)])
    live.merge(live.counts(ID))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def live_policy() -> None:
    """The limits of live channels are numbers, and an argument of the client."""
    policy = LivePolicy(subscriptions=2, messages=16, outage=None)
    assert_type(policy.outage, float | None)
    AsyncEmoggClient(live=policy)
    LivePolicy(2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncEmoggClient(live=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def longest(sessions: AsyncIterable[Session]) -> float:
    """Stand for a function that only iterates what it is given."""
    return max([session.duration async for session in sessions])


async def shown(outcomes: AsyncIterable[Outcome[Session]]) -> None:
    """Stand for a function that only iterates outcomes."""
    async for outcome in outcomes:
        assert_type(outcome, Fetched[Session] | Failed)


async def annotated(client: AsyncEmoggClient) -> None:
    """Listings and streams have public names, and are async iterables."""
    sessions: SessionListing = client.list_sessions()
    assert_type(await longest(sessions), float)
    stream: OutcomeStream[Session] = client.stream_sessions(ids_of(sessions))
    async with stream as outcomes:
        assert_type(outcomes, OutcomeStream[Session])
        await shown(outcomes)


async def ids_of(sessions: AsyncIterable[Session]) -> AsyncIterator[str]:
    """Yield the id of each session."""
    async for session in sessions:
        yield session.id


async def way_out(client: AsyncEmoggClient) -> None:
    """A custom request takes any JSON and returns any."""
    assert_type(await client.request("GET", "/v1/sessions"), Any)
    assert_type(await client.request("GET", "/v1/sessions", raw=False), Any)
    answer = await client.request("GET", "/v1/sessions", query={"limit": 1}, raw=True)
    assert_type(answer, RawResponse)
    assert_type(answer.status, int)
    assert_type(answer.headers, Mapping[str, str])
    assert_type(answer.content, bytes)
    assert_type(answer.json(), Any)
    answer.status = 404  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    await client.request(
        "GET",
        "/v1/sessions",
        query={"limit": 10, "expand[]": ["user", "product"], "deep": True, "x": 0.5},
    )
    same_kind: dict[str, str] = {"state": "active"}
    await client.request("GET", "/v1/sessions", query=same_kind)
    await client.request("POST", "/v1/sessions", json={"name": "n"})


async def deadline(client: AsyncEmoggClient) -> None:
    """A deadline is a plain context manager that swallows nothing."""
    with client.deadline(2) as nothing:
        assert_type(nothing, None)
        session = await client.get_session(ID)
    assert_type(session, Session)


def figures(client: AsyncEmoggClient) -> None:
    """What a client tells of itself has types, too."""
    assert_type(client.rate_limit, RateLimit | None)
    if (limit := client.rate_limit) is not None:
        assert_type(limit.limit, int)
        assert_type(limit.remaining, int)
        assert_type(limit.reset, float)
        assert_type(limit.policy, str | None)
        assert_type(limit.window, float | None)
    assert_type(client.stats, Stats)
    assert_type(client.stats.calls, int)
    assert_type(client.stats.stale_served, int)
    assert_type(client.stats.waited, float)
    assert_type(client.stats.live_dropped, int)
    client.stats = Stats()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def errors(client: AsyncEmoggClient) -> None:
    """Each error has its facts as typed attributes."""
    try:
        await client.get_session(ID)
    except RateLimitedError as error:
        assert_type(error.status, int)
        assert_type(error.retry_after, float | None)
    except (NotFoundError, AuthenticationError) as error:
        assert_type(error, NotFoundError | AuthenticationError)
    except StatusError as error:
        assert_type(error.message, str)
    except DeadlineError as error:
        assert_type(error.sent, bool)
        also_a_timeout: TimeoutError = error
        assert_type(also_a_timeout.args, tuple[Any, ...])
    except TransportError as error:
        assert_type(error.attempts, int)
        assert_type(error.request_id, str | None)
    except ResponseShapeError as error:
        assert_type(error.problems, tuple[str, ...])
    except OutcomeUnknownError as error:
        assert_type(error.since, datetime)
    except InvalidArgumentError as error:
        also_a_value_error: ValueError = error
        assert_type(also_a_value_error.args, tuple[Any, ...])
    except EmoggError as error:
        assert_type(error.method, str | None)
        assert_type(error.path, str | None)
        assert_type(str(error), str)


async def emulator() -> None:
    """The emulator works under both kinds of `with`, and makes clients."""
    with EmoggEmulator(sessions=25, seed=1, rate_limit=(100, 60.0)) as running:
        assert_type(running, EmoggEmulator)
    async with EmoggEmulator(rate_limit=None, latency=0.1) as running:
        assert_type(running, EmoggEmulator)
        assert_type(running.url, str)
        assert_type(running.token, str)
        assert_type(running.sessions, tuple[Session, ...])
        assert_type(running.requests, tuple[RecordedRequest, ...])
        assert_type(running.requests[0].query, tuple[tuple[str, str], ...])
        assert_type(running.requests[0].status, int | None)
        assert_type(running.now(), datetime)
        assert_type(running.add_session(name="n", meta={"region": "eu"}), Session)
        rule = running.fail("GET", "/v1/*", status=503, times=2)
        assert_type(rule, FaultRule)
        assert_type(rule.hits, int)
        running.fail(fault="resets")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        running.advance(60)
        running.add_session(state="active", ends_after=600.0)
        assert_type(running.live, LiveControl)
        assert_type(running.live.connections, int)
        assert_type(running.live.subscriptions, tuple[LiveSubscription, ...])
        assert_type(running.live.messages, tuple[LiveMessage, ...])
        assert_type(running.live.messages[0].path, str | None)
        running.live.guesses = LiveGuesses(window="fixed", slots_kept=65.0)
        running.live.limits = LiveLimits(per_user=2)
        running.live.emit("65ea1530bb50af72b6e3dc1e", {"focus": 1})
        running.live.refuse(status=429, times=1, path="handshake")
        running.live.refuse(status=429, path="pings")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        running.reset()
        async with running.client(timeout=1.0) as client:
            assert_type(client, AsyncEmoggClient)


async def test_with_the_fixture(emogg_emulator: EmoggEmulator) -> None:
    """A user's test names the fixture, and annotates it with the public class."""
    async with emogg_emulator.client() as client:
        assert_type(await client.list_sessions().first(), Session | None)


def lifespans() -> None:
    """What opens a client for a web app takes the client's own options."""
    starlette.emogg_lifespan("token", timeout=5.0, cache=None)
    aiohttp_web.emogg_client("token", timeout=5.0, cache=None)
    starlette.emogg_lifespan(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    aiohttp_web.emogg_client(tiemout=5.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app = FastAPI(lifespan=starlette.emogg_lifespan())
    app.add_middleware(starlette.CancelOnDisconnect)
    app.get("/session", response_model=list[Session])
    starlette.add_error_handlers(app)
    web_app = aiohttp.web.Application(middlewares=[aiohttp_web.error_middleware])
    web_app.cleanup_ctx.append(aiohttp_web.emogg_client())


async def answers(request: Request, visit: aiohttp.web.Request) -> None:
    """Handlers get a client, and answers have their parts."""
    assert_type(await starlette.get_client(request), AsyncEmoggClient)
    assert_type(aiohttp_web.get_client(visit), AsyncEmoggClient)
    status, headers, body = answer_to(EmoggError("-"))
    assert_type(status, int)
    assert_type(headers, dict[str, str])
    assert_type(body, dict[str, str])


async def share_a_cache() -> None:
    """A Redis cache is a backend that can be closed."""
    async with redis_cache("redis://h", max_connections=5, namespace="a") as backend:
        shared: CacheBackend = backend
        CachePolicy(backend=shared)
    await redis_cache("rediss://h", ssl="ca.pem").close()


def names_that_nobody_has() -> None:
    """A name that is misspelt is an error, since the root resolves names lazily."""
    emogg_async.AsyncEmogClient  # type: ignore[attr-defined]  # noqa: B018
    emogg_async.testing.Emulator  # type: ignore[attr-defined]  # noqa: B018
