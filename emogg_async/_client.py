"""The client: a facade with one short method for each call."""

import asyncio
import ssl as tls
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import AbstractContextManager
from copy import copy
from datetime import datetime
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from emogg_async._caching.policy import CachePolicy
from emogg_async._calls.call import bulk_share, deadline_in
from emogg_async._calls.frames import ENDS, frameless
from emogg_async._calls.policy import RetryPolicy
from emogg_async._calls.telemetry import Counters, Instrument, Reminder, Stats
from emogg_async._calls.terms import MAX_TIMEOUT_SECONDS, Same
from emogg_async._calls.transport import ClientSession
from emogg_async._checks import number, whole_number
from emogg_async._live.live import Live
from emogg_async._live.policy import LivePolicy
from emogg_async._many import jobs, listing
from emogg_async._many.outcomes import Batch
from emogg_async._many.plan import Thrift, Via, thrift_of
from emogg_async._many.stream import OutcomeStream, check_call, check_ids, collect
from emogg_async._settings import Settings
from emogg_async._wire import requests
from emogg_async._wire.protocol import RateLimit, RawResponse
from emogg_async._wire.requests import Query
from emogg_async.errors import (
    ClientClosedError,
    ConfigurationError,
    InvalidArgumentError,
)
from emogg_async.events import Event
from emogg_async.models import (
    CustomEvent,
    EmotionsTimeline,
    EmotionTotals,
    RegisteredSource,
    SentimentTimeline,
    Session,
    SessionState,
    SessionType,
)

if TYPE_CHECKING:
    from emogg_async._core import Core
    from emogg_async._live.hub import Hub

__all__ = ["AsyncEmoggClient"]

T = TypeVar("T")

NOTHING: Final[tuple[str, ...]] = ()


class AsyncEmoggClient:
    """A client of the Emogg API, for one user and one event loop.

    It opens itself at the first call; `async with` also closes it. Make one and share
    it: many calls are cheap because they share its connections, its cache and its retry
    budget. For another token, make another client.

    ::

        async with AsyncEmoggClient() as client:
            session = await client.get_session("65ea1530bb50af72b6e3dc1e")

    Args:
        token: The API token; None reads `EMOGG_API_TOKEN`.
        base_url: The URL of the service; None reads `EMOGG_BASE_URL`, and takes
            https://api.emogg.com if that is not set.
        timeout: Seconds for a whole call: queueing, attempts and the waits in between.
            In a bulk each id has that time, from its first request on.
        attempt_timeout: Seconds for one HTTP exchange, including the body.
        concurrency: Requests in flight at once; bulk work gets three quarters of them.
        retry: How to repeat failed requests.
        cache: What to cache, for how long and where; None caches nothing.
        pace: Whether to stay below the rate limit that the service's headers announce.
            Clients of one token in one event loop share that limit.
        live: How to use live channels.
        on_event: A plain function that gets each event of `emogg_async.events`. It runs
            in the event loop, so it must be quick. Its first exception is logged; none
            affects a call. None reports nothing.
        allow_http: Whether the token may travel unencrypted to another machine.
        proxy: The URL of a proxy, as http://user:password@host:port or https://…; None
            connects directly, unless *trust_env* finds one. An http:// base URL goes
            through a proxy only with *allow_http*.
        ssl: An `ssl.SSLContext`, or the path of a PEM file with root certificates; None
            trusts this machine's authorities.
        trust_env: Whether to take the proxy from HTTPS_PROXY (for an http:// base URL
            from HTTP_PROXY), unless NO_PROXY lists the service. The variables are read
            once, when the client is made. A base URL on this machine is always reached
            directly.
        http: Your own aiohttp session; the client never closes it. It has its own
            proxy, ssl and trust_env. None makes one.
        user_agent: The name of your program, e.g. `my-app/1.2`. It is put behind that
            of this package in `User-Agent`.
        headers: Headers to add to each request, live connections included. None may be
            one that the client sets itself, e.g. `Authorization` or `Accept`. Errors
            show no value of eight characters or more, even if the service quotes it.

    Raises:
        ConfigurationError: The token, base URL, proxy or certificate is missing or
            unusable.
        InvalidArgumentError: Another argument is out of its range.
    """

    _base: Self | None = None  # that of a view
    _is_closed = False

    @frameless
    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 60.0,
        attempt_timeout: float = 15.0,
        concurrency: int = 32,
        retry: RetryPolicy = RetryPolicy(),
        cache: CachePolicy | None = CachePolicy(),
        pace: bool = True,
        live: LivePolicy = LivePolicy(),
        on_event: Callable[[Event], object] | None = None,
        allow_http: bool = False,
        proxy: str | None = None,
        ssl: tls.SSLContext | str | PathLike[str] | None = None,
        trust_env: bool = False,
        http: ClientSession | None = None,
        user_agent: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = Settings(
            token=token,
            base_url=base_url,
            timeout=timeout,
            attempt_timeout=attempt_timeout,
            concurrency=concurrency,
            retry=retry,
            cache=cache,
            pace=pace,
            live=live,
            on_event=on_event,
            allow_http=allow_http,
            proxy=proxy,
            ssl=ssl,
            trust_env=trust_env,
            http=http,
            user_agent=user_agent,
            headers=headers,
        )
        self._terms = self._settings.terms
        self._counters = Counters(on_event)
        self._reminder = Reminder()
        self._core: Core | None = None

    def __repr__(self) -> str:
        base = self._base or self
        state = (
            "closed" if base._is_closed else "open" if base._core else "not open yet"
        )
        kind = f"{'a view of ' if self._base else ''}AsyncEmoggClient"
        return f"<{kind} {self._settings.base_url} ({state})>"

    async def __aenter__(self) -> Self:
        """Open the client in the running event loop."""
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client; calls under way end with `ClientClosedError`.

        It may be called more than once. If it is cancelled, it closes the client all
        the same and raises `CancelledError` then. Closing a view does nothing.

        Raises:
            ConfigurationError: The client was opened in another event loop.
        """
        if self._base is not None:
            return
        self._is_closed = True
        if self._core is not None:
            _check_loop(self._core)
            self._reminder.closed()
            await self._core.close()

    def _open(self) -> "Core":
        """Return the open parts of the client; make them at the first call."""
        if self._base is not None:
            parts = self._base._open()
            self._core = self._core or parts.under(self._terms)
            return self._core
        if self._is_closed:
            raise ClientClosedError("the client is closed")
        if self._core is None:
            from emogg_async._core import assemble  # noqa: PLC0415 - slow to import

            self._core = assemble(self._settings, self._counters)
            self._reminder.opened(self._settings.base_url)
        if self._core.loop is not asyncio.get_running_loop():
            _check_loop(self._core)
        return self._core

    def with_options(
        self,
        *,
        timeout: float | Same = "same",
        attempt_timeout: float | Same = "same",
        retry: RetryPolicy | Same = "same",
        cache: Same | None = "same",
        pace: bool | Same = "same",
    ) -> Self:
        """Return a view of the client, for calls that go otherwise.

        ::

            quick = client.with_options(timeout=2.0, retry=RetryPolicy(attempts=1))
            session = await quick.get_session(session_id)

        A view has all that the client has: connections, slots, cache, loads under way,
        live feeds, statistics and the budget of retries. It makes no request, costs
        next to nothing, and needs no closing: closing it does nothing. When the client
        closes, calls of its views end with `ClientClosedError`, too. A view has
        `with_options` as well.

        Calls of views share loads with other calls that have the same options. A
        different *timeout* alone does not keep them apart.

        Args:
            timeout: Seconds for a whole call, or to enter a live feed; `"same"` is what
                the client has, here and below.
            attempt_timeout: Seconds for one HTTP exchange, including the body.
            retry: How to repeat failed requests. Its `budget` does not count: there is
                one budget, that of the client.
            cache: None reads nothing from the cache and stores nothing in it. Writes
                outdate what it keeps all the same.
            pace: False sends without a token of the rate limit as soon as there is a
                slot; other calls still learn of it, and wait the longer.

        Raises:
            InvalidArgumentError: An argument is out of its range, or *pace* is True and
                the client itself does not pace.
        """
        terms = self._terms.changed(
            timeout=timeout,
            attempt_timeout=attempt_timeout,
            retry=retry,
            cache=cache,
            pace=pace,
        )
        if terms.pace and not self._settings.pace:
            raise InvalidArgumentError("pace: expected False, as the client's own")
        view = copy(self)
        view._base, view._terms, view._core = self._base or self, terms, None
        return view

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Set a deadline for all calls inside the `with`, also of other clients.

        ::

            with client.deadline(2.0):
                session = await client.get_session(session_id)

        Nested deadlines: the nearest counts. Tasks that are started inside have the
        deadline, too.

        Args:
            seconds: Seconds from now, more than 0.

        Raises:
            InvalidArgumentError: *seconds* is not a positive number.
            ConfigurationError: No event loop is running.
        """
        number("seconds", seconds, above=0, at_most=MAX_TIMEOUT_SECONDS)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "deadline() needs a running event loop: call it in a coroutine"
            ) from None
        if self._core is None and not (self._base or self)._is_closed:
            self._open()  # its imports would use up the time of a first call
        return deadline_in(seconds)

    @property
    def proxy(self) -> str | None:
        """The proxy's URL without its credentials; None for direct connections.

        The proxy of a session passed as `http=` is not known here.
        """
        proxy = self._settings.route.proxy
        return proxy.url if proxy else None

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit of the last answer that told one; None before the first."""
        core = (self._base or self)._core
        return core.rate_limit if core else None

    @property
    def stats(self) -> Stats:
        """The counters of this client, as they are now."""
        return self._counters.snapshot()

    def _instrument(self, make: Callable[[str], Instrument] | None) -> None:
        """Trace all requests with the instrument that *make* returns; None stops that.

        *make* gets the base URL. Only `emogg_async.integrations` uses this.
        """
        self._counters.instrument = make(self._settings.base_url) if make else None

    # -- one session ---------------------------------------------------------------

    async def get_session(
        self, session_id: str, *, fresh: bool = False, expand: Iterable[str] = NOTHING
    ) -> Session:
        """Get one session.

        Calls that ask for the same id at the same time share one request.

        Source: https://docs.emogg.com, "Get a session" and "Expanding".

        Args:
            session_id: 24 hex digits, in either letter case.
            fresh: Whether to ask the service even if the cache has the session.
            expand: Fields with an id that the service replaces by the full object, e.g.
                `["user"]`; read them from `expanded`. Such sessions are never cached.

        Raises:
            InvalidArgumentError: *session_id* is not a session id, or *expand* not a
                list of field names.
            NotFoundError: The session does not exist, or the token may not see it.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        session_id = requests.check_session_id(session_id)
        names = NOTHING if expand is NOTHING else requests.check_expand(expand)
        if not fresh and sessions.cache is not None and not names:
            session = sessions.cache.peek(session_id)
            if session is not None:
                counters = self._counters
                counters.calls += 1
                counters.cache_hits += 1
                if counters.is_watched:
                    counters.tell_hit(session_id)
                return session
        try:
            request = requests.get_session(session_id, names)
            return await sessions.read(request, Session, fresh=fresh)
        except ENDS as error:  # `frameless` would cost a cached get a tenth
            error.__traceback__ = None
            raise

    @frameless
    async def wait_until_finished(
        self, session_id: str, *, poll: float = 5.0
    ) -> Session:
        """Wait until a session is finished, and return it.

        It asks the service again and again, past the cache. Outages and the rate limit
        do not end it. Only `deadline()` bounds it; `timeout` bounds each request. Calls
        that wait for the same session with the same options share their requests.

        Args:
            session_id: 24 hex digits, in either letter case.
            poll: Seconds between two requests, more than 0. Of several calls that wait
                for the session, the smallest counts for all. A call that joins others
                gets the state with their next request.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist or is gone, or the token may not
                see it.
            DeadlineError: The deadline passed first.
            ClientClosedError: The client was closed first.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        session_id = requests.check_session_id(session_id)
        number("poll", poll, above=0, at_most=MAX_TIMEOUT_SECONDS)
        return await sessions.wait_until_finished(session_id, poll)

    # -- live channels -------------------------------------------------------------

    @property
    def live(self) -> Live:
        """The live channels: events of sessions under way, pushed by the service."""
        # One kept here would be a cycle, and a forgotten client be noticed late.
        return Live(self._open_hub)

    def _open_hub(self) -> "tuple[Hub, float]":
        return self._open().hub, self._terms.timeout

    # -- emotions and sentiment of a session ---------------------------------------

    @frameless
    async def get_emotions(
        self, session_id: str, *, fresh: bool = False, expand: Iterable[str] = ()
    ) -> EmotionTotals:
        """Get how often each emotion was detected in a session.

        Emotions and sentiment are cached as long as their session; one of unknown state
        counts as live, and a second request about it gets the session first. Calls that
        ask for the same at the same time share one request.

        Source: https://docs.emogg.com, "Get emotions".

        Args:
            session_id: 24 hex digits, in either letter case.
            fresh: Whether to ask the service even if the cache has the answer.
            expand: As in `get_session`; here `["session"]`.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist, or the token may not see it.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.get_emotions(session_id, expand)
        return await sessions.read(request, EmotionTotals, fresh=fresh)

    @frameless
    async def get_emotions_timeline(
        self,
        session_id: str,
        *,
        granularity: int = 60,
        start: float = 0,
        end: float | None = None,
        fresh: bool = False,
        expand: Iterable[str] = (),
    ) -> EmotionsTimeline:
        """Get the emotions in a session, interval by interval.

        Source: https://docs.emogg.com, "Get emotions timeline".

        Args:
            session_id: 24 hex digits, in either letter case.
            granularity: Seconds in an interval, a whole number from 5 to 3600.
            start: Seconds from the session's beginning to the first interval.
            end: Seconds from the session's beginning to the end of the last interval;
                None is the end of the session.
            fresh: Whether to ask the service even if the cache has the answer.
            expand: As in `get_session`; here `["session"]`.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist, or the token may not see it.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.get_emotions_timeline(
            session_id, granularity, start, end, expand
        )
        return await sessions.read(request, EmotionsTimeline, fresh=fresh)

    @frameless
    async def get_transcription_sentiment(
        self,
        session_id: str,
        *,
        granularity: int = 60,
        start: float = 0,
        end: float | None = None,
        fresh: bool = False,
        expand: Iterable[str] = (),
    ) -> SentimentTimeline:
        """Get the sentiment of what was said in a session, interval by interval.

        Source: https://docs.emogg.com, "Get transcription sentiment".

        Args:
            session_id: 24 hex digits, in either letter case.
            granularity: As in `get_emotions_timeline`.
            start: As in `get_emotions_timeline`.
            end: As in `get_emotions_timeline`.
            fresh: Whether to ask the service even if the cache has the answer.
            expand: As in `get_session`; here `["session"]`.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist, or the token may not see it.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.get_transcription_sentiment(
            session_id, granularity, start, end, expand
        )
        return await sessions.read(request, SentimentTimeline, fresh=fresh)

    # -- writes --------------------------------------------------------------------

    @frameless
    async def create_session(self, name: str, stream_uri: str) -> Session:
        """Create a session; a worker begins at once to analyse the stream.

        The request is repeated only if it certainly did not reach the service, so that
        one call never creates two sessions.

        Source: https://docs.emogg.com, "Create a session".

        Args:
            name: 1 to 256 characters.
            stream_uri: The URL of the stream, `rtmp://`, `rtmps://` or `rtsp://`, at
                most 1080p. No error and no log shows it.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            BadRequestError: The service refused the arguments.
            OutcomeUnknownError: The request was sent and its answer was lost. Before
                you repeat it, pass the error's `since` to `find_created_sessions`.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.create_session(name, stream_uri)
        self._counters.calls += 1
        return await sessions.write(request, Session)

    @frameless
    async def find_created_sessions(
        self, name: str, *, since: datetime
    ) -> tuple[Session, ...]:
        """Find the session that a create with a lost answer may have made.

        ::

            try:
                session = await client.create_session(name, stream_uri)
            except OutcomeUnknownError as error:
                found = await client.find_created_sessions(name, since=error.since)

        Source: https://docs.emogg.com, "List sessions".

        Args:
            name: The exact name.
            since: When the create began, by this machine's clock (aware). A difference
                to the service's clock is computed from its answers.

        Returns:
            The sessions of that name that were created since then, newest first. A
            create that is still under way may be missing. A session of the same name
            that was created up to three seconds earlier may be included, because the
            clocks are not known better: use unique names.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        requests.check_name(name)
        listing.check_since(since)
        if sessions.pipeline.skew() is None:  # no answer so far to read its clock from
            await self.list_sessions().first()
        after = listing.shortly_before(since, sessions.pipeline.skew())
        found = [
            session
            async for session in self.list_sessions(started_after=after)
            if session.name == name
        ]
        return tuple(sorted(found, key=lambda each: each.timestamp, reverse=True))

    @frameless
    async def update_session(self, session_id: str, *, name: str) -> Session:
        """Rename a session; its other fields cannot be changed.

        Source: https://docs.emogg.com, "Update a session".

        Args:
            session_id: 24 hex digits, in either letter case.
            name: The new name, 1 to 256 characters.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist, or the token may not see it.
            OutcomeUnknownError: The session may or may not have been renamed.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.update_session(session_id, name)
        self._counters.calls += 1
        return await sessions.write(request, Session)

    @frameless
    async def stop_session(self, session_id: str) -> Session:
        """Stop an active session, and return it.

        If its answer is lost, the stop is sent again; if the service refuses that, one
        get finds out whether the first stop worked.

        Source: https://docs.emogg.com, "Stop a session".

        Args:
            session_id: 24 hex digits, in either letter case.

        Raises:
            InvalidArgumentError: *session_id* is not a session id.
            BadRequestError: The session is not active.
            NotFoundError: The session does not exist, or the token may not see it.
            OutcomeUnknownError: The session may or may not have been stopped.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.stop_session(session_id)
        self._counters.calls += 1
        return await sessions.stop(request)

    @frameless
    async def delete_session(self, session_id: str) -> None:
        """Delete a session with its emotions and sentiment, for ever.

        Source: https://docs.emogg.com, "Delete a session".

        Args:
            session_id: 24 hex digits, in either letter case.

        Raises:
            InvalidArgumentError: *session_id* is not a session id.
            BadRequestError: The session is active or processing.
            NotFoundError: The session did not exist, or the token may not see it.
            OutcomeUnknownError: The session may or may not have been deleted.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.delete_session(session_id)
        self._counters.calls += 1
        await sessions.custom(request)

    @frameless
    async def register_source(
        self,
        session_id: str,
        *,
        name: str,
        format: Literal["text", "scalar"],  # noqa: A002 - the service's name for it
    ) -> RegisteredSource:
        """Register a source of custom events for a session.

        Source: https://docs.emogg.com, "Register source".

        Args:
            session_id: 24 hex digits, in either letter case.
            name: 1 to 256 characters.
            format: The data of its events: "text", or "scalar" for numbers.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            NotFoundError: The session does not exist, or the token may not see it.
            OutcomeUnknownError: The source may or may not have been registered; the
                request is never sent twice.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.register_source(session_id, name, format)
        self._counters.calls += 1
        return await sessions.register(request, format)

    @frameless
    async def send_event(
        self, session_id: str, source_id: str, *, time: float, data: float | str
    ) -> tuple[CustomEvent, ...]:
        """Send an event of a registered source.

        The path, `/v1/sessions/:sessionId/sources/:sourceId/events`, is inferred: the
        path that the reference prints cannot work.

        Source: https://docs.emogg.com, "Custom events".

        Args:
            session_id: 24 hex digits, in either letter case.
            source_id: The UUID of a source that was registered for that session.
            time: Seconds from the session's beginning to the event.
            data: A number for a source of scalars, a string for a source of texts.

        Returns:
            The events in the service's answer.

        Raises:
            InvalidArgumentError: An argument is out of its range, or *data* does not
                match the format of a source that this client has registered.
            BadRequestError: The service refused the arguments.
            NotFoundError: The session or the source does not exist.
            OutcomeUnknownError: The service may or may not have stored the event; the
                request is never sent twice.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.send_event(session_id, source_id, time, data)
        known = sessions.format_of(session_id.lower(), source_id.lower())
        requests.check_data(data, known)
        self._counters.calls += 1
        return await sessions.write(request, tuple[CustomEvent, ...])

    # -- many ids ------------------------------------------------------------------

    @frameless
    async def get_sessions(
        self,
        session_ids: Iterable[str],
        *,
        fresh: bool = False,
        concurrency: int | None = None,
        via: Via = "auto",
    ) -> Batch[Session]:
        """Get many sessions at once.

        A failed id does not affect the others; its error is in the batch's `errors`.

        One page of the list can answer a hundred ids. Pages are used where they save
        requests; sessions that are missing on them are got one by one, so the result is
        the same.

        Source: https://docs.emogg.com, "List sessions" and "Get a session".

        Args:
            session_ids: The ids; duplicates are fetched once.
            fresh: Whether to ask the service even for sessions that the cache has.
            concurrency: Requests in flight at once, at most the share of bulk work;
                None is that share.
            via: "get" gets the ids one by one, "pages" uses pages even where they
                hardly save requests, "auto" uses them where they do.

        Raises:
            InvalidArgumentError: *session_ids* is a single id or not iterable, or
                another argument is out of its range.
            AuthenticationError: The service refused the token.
            ClientClosedError: The client was closed during the call.
        """
        check_ids(session_ids, asynchronous=False)
        workers = self._workers(concurrency)
        make_jobs = partial(self._jobs, fresh=fresh, thrift=thrift_of(via), window=None)
        return await collect(make_jobs, session_ids, workers, self._drain)

    def stream_sessions(
        self,
        session_ids: Iterable[str] | AsyncIterable[str],
        *,
        fresh: bool = False,
        concurrency: int | None = None,
        via: Via = "auto",
    ) -> OutcomeStream[Session]:
        """Get many sessions, each as soon as it arrives.

        Memory does not grow with the number of ids. Leaving the `async with` stops all
        requests.

        ::

            async with client.stream_sessions(ids) as outcomes:
                async for outcome in outcomes:
                    match outcome:
                        case Fetched(value=session): ...
                        case Failed(session_id, error): ...

        Args:
            session_ids: The ids, from an iterable or an async iterable. Duplicates
                among a thousand ids of an iterable are fetched once.
            fresh: Whether to ask the service even for sessions that the cache has.
            concurrency: As in `get_sessions`.
            via: As in `get_sessions`, for a thousand ids at a time. The ids of an async
                iterable are always got one by one, as soon as they arrive.

        Raises:
            InvalidArgumentError: *session_ids* is a single id or not iterable, or
                another argument is out of its range.
        """
        check_ids(session_ids, asynchronous=True)
        jobs = self._jobs(session_ids, fresh=fresh, thrift=thrift_of(via))
        return OutcomeStream(jobs, self._workers(concurrency), self._drain)

    def _jobs(
        self,
        ids: Iterable[str] | AsyncIterable[str],
        *,
        fresh: bool,
        thrift: Thrift | None,
        window: int | None = jobs.WINDOW,
    ) -> jobs.Jobs[Session]:
        if thrift is None or isinstance(ids, AsyncIterable):
            return jobs.Calls(partial(self.get_session, fresh=fresh), ids)
        return jobs.PagedGets(self._open, ids, thrift, window, fresh=fresh)

    def stream(
        self,
        call: Callable[[str], Awaitable[T]],
        session_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
    ) -> OutcomeStream[T]:
        """Call *call* with many ids, and get each outcome as soon as it arrives.

        Args:
            call: A method that takes one id, e.g. `client.get_session`.
            session_ids: As in `stream_sessions`.
            concurrency: As in `stream_sessions`.

        Raises:
            InvalidArgumentError: *call* is not callable, *session_ids* is a single id
                or not iterable, or *concurrency* is out of its range.
        """
        check_call(call)
        check_ids(session_ids, asynchronous=True)
        work = jobs.Calls(call, session_ids)
        return OutcomeStream(work, self._workers(concurrency), self._drain)

    @frameless
    async def gather(
        self,
        call: Callable[[str], Awaitable[T]],
        session_ids: Iterable[str],
        *,
        concurrency: int | None = None,
    ) -> Batch[T]:
        """Call *call* with many ids at once, and return all outcomes.

        Args:
            call: A method that takes one id, e.g. `client.get_session`.
            session_ids: As in `get_sessions`.
            concurrency: As in `get_sessions`.

        Raises:
            InvalidArgumentError: *call* is not callable, *session_ids* is a single id
                or not iterable, or *concurrency* is out of its range.
            AuthenticationError: The service refused the token.
            ClientClosedError: The client was closed during the call.
        """
        check_call(call)
        check_ids(session_ids, asynchronous=False)
        workers = self._workers(concurrency)
        make_jobs = partial(jobs.Calls, call)
        return await collect(make_jobs, session_ids, workers, self._drain)

    def _workers(self, concurrency: int | None) -> int:
        most = bulk_share(self._settings.concurrency)
        if concurrency is None:
            return most
        return min(most, whole_number("concurrency", concurrency, at_least=1))

    async def _drain(self) -> None:
        """Wait until the cancelled loads of a bulk have ended."""
        if self._core is not None:
            await self._core.pipeline.flights.drain()

    # -- listings ------------------------------------------------------------------

    def list_sessions(
        self,
        *,
        state: SessionState | str | None = None,
        type: SessionType | str | None = None,  # noqa: A002 - the service's name for it
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        page_size: int = 100,
        expand: Iterable[str] = (),
    ) -> listing.SessionListing:
        """List the sessions of the account, newest first.

        This makes no request: iterate the listing with `async for`, or call its
        `pages`, `collect` or `first`.

        Source: https://docs.emogg.com, "List sessions".

        Args:
            state: Only sessions in this state; None lists all.
            type: Only sessions of this type; None lists all.
            started_after: Only sessions created after this moment (aware).
            started_before: Only sessions created before this moment (aware).
            page_size: New sessions in one request, 1 to 100.
            expand: As in `get_session`.

        Raises:
            InvalidArgumentError: A date is naive, or another argument is out of its
                range.
        """
        names = requests.check_expand(expand)
        filters = listing.check_filters(
            state, type, started_after, started_before, names
        )
        whole_number("page_size", page_size, at_least=1, at_most=listing.MAX_LIMIT)
        return listing.SessionListing(self._get_page, filters, page_size)

    @frameless
    async def _get_page(self, query: list[tuple[str, str]]) -> listing.Page:
        sessions = self._open().sessions
        self._counters.calls += 1
        return await sessions.list_page(query)

    # -- everything else -----------------------------------------------------------

    @overload
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        json: object = None,
        raw: Literal[False] = False,
    ) -> Any: ...

    @overload
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        json: object = None,
        raw: Literal[True],
    ) -> RawResponse: ...

    @frameless
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        json: object = None,
        raw: bool = False,
    ) -> Any:
        """Make any request to the service, for endpoints without a method here.

        The request has the timeouts and, as far as its method allows, the retries of
        all calls. It is never cached.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: The path from `/v1/` on, already encoded and without a query.
            query: The parameters of the query; a sequence repeats its parameter.
            json: The body, to be sent as JSON; None sends no body.
            raw: Whether to return the answer as it is, with its status and headers. The
                body is then not parsed, and may be anything.

        Returns:
            The parsed JSON of the answer; None if the answer has no content. With *raw*
            the answer itself.

        Raises:
            InvalidArgumentError: An argument is not of its form.
            StatusError: The status is not 2xx, with *raw* as without it.
            OutcomeUnknownError: A write may or may not have taken effect.
            EmoggError: Any other error of `emogg_async.errors`.
        """
        sessions = self._open().sessions
        request = requests.custom(method, path, query, json, raw)
        self._counters.calls += 1
        return await sessions.custom(request)


def _check_loop(core: "Core") -> None:
    if core.loop is not asyncio.get_running_loop():
        raise ConfigurationError(
            "the client was opened in another event loop; make one client for each"
        )
