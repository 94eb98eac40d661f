"""The client: a facade with one short method for each call."""

import asyncio
import random
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from emogg_async import __version__, _bulk, _context, _jobs, _listing, _protocol
from emogg_async._alarms import Alarms
from emogg_async._cache import CachePolicy, open_cache
from emogg_async._checks import number, whole_number
from emogg_async._config import usable_base_url, usable_token
from emogg_async._gate import bulk_share, shared_pacer
from emogg_async._outcomes import Batch
from emogg_async._pages import EAGER, THRIFTY, Thrift
from emogg_async._pipeline import Pipeline
from emogg_async._protocol import QueryValue, RateLimit
from emogg_async._retry import RetryPolicy
from emogg_async._stats import Counters, Stats
from emogg_async._transport import Transport, is_session
from emogg_async.errors import (
    ClientClosedError,
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    ResponseShapeError,
)
from emogg_async.models import Session, SessionState, SessionType

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AsyncEmoggClient"]

T = TypeVar("T")

LONGEST: Final = 1e9
"""Seconds: the most that a timeout can be."""


Via = Literal["auto", "get", "pages"]

_THRIFT: Final[Mapping[Via, Thrift | None]] = {
    "auto": THRIFTY,
    "get": None,
    "pages": EAGER,
}
"""When pages are worth it, for each way to get many sessions; None is never."""


class AsyncEmoggClient:
    """A client of the Emogg API, for one user and one event loop.

    It opens itself at the first call; `async with` also closes it. Make one and share
    it: its connections, its cache and its retry budget are what makes many calls cheap.
    For another token, make another client.

    ::

        async with AsyncEmoggClient() as client:
            session = await client.get_session("65ea1530bb50af72b6e3dc1e")

    Args:
        token: The API token; None reads `EMOGG_API_TOKEN`.
        base_url: Where the service is; None reads `EMOGG_BASE_URL`, and without that
            takes https://api.emogg.com.
        timeout: Seconds for a whole call: queueing, attempts and the waits in between.
            In a bulk it counts for each id, from its first request on.
        attempt_timeout: Seconds for one HTTP exchange, its body included.
        concurrency: Requests in flight at once; bulk work gets three quarters of them.
        retry: How to repeat what failed.
        cache: What to keep, for how long and where; None keeps nothing.
        pace: Whether to stay below the rate limit that the service's headers tell;
            clients of one token in one event loop do so together.
        allow_http: Whether the token may travel unencrypted to a host that is not this
            machine.
        http: Your own aiohttp session, which is never closed here; None makes one.

    Raises:
        ConfigurationError: There is no usable token or base URL.
        InvalidArgumentError: Another argument is out of its range.
    """

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
        allow_http: bool = False,
        http: "aiohttp.ClientSession | None" = None,
    ) -> None:
        self._token = usable_token(token)
        self._base_url = usable_base_url(base_url, allow_http=allow_http)
        self._timeout = number("timeout", timeout, above=0, at_most=LONGEST)
        self._attempt_timeout = number(
            "attempt_timeout", attempt_timeout, above=0, at_most=LONGEST
        )
        self._concurrency = whole_number("concurrency", concurrency, at_least=1)
        self._retry = _instance("retry", retry, RetryPolicy)
        self._cache = None if cache is None else _instance("cache", cache, CachePolicy)
        if http is not None and not is_session(http):
            raise InvalidArgumentError("http: expected an aiohttp.ClientSession")
        self._pace = _instance("pace", pace, bool)
        self._http = http
        self._counters = Counters()
        self._pipeline: Pipeline | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "open" if self._pipeline else "not open yet"
        )
        return f"<AsyncEmoggClient {self._base_url} ({state})>"

    # -- life cycle ----------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the client in the running event loop."""
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client; calls under way end with `ClientClosedError`.

        It is safe to call more than once.
        """
        self._closed = True
        if self._pipeline is not None:
            _check_loop(self._pipeline)
            await self._pipeline.close()

    def _open(self) -> Pipeline:
        """Return the open pipeline; open it at the first call."""
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._pipeline is None:
            self._pipeline = self._build()
        _check_loop(self._pipeline)
        return self._pipeline

    def _build(self) -> Pipeline:
        rng = random.Random()  # noqa: S311 - jitter, not cryptography
        cache = None
        if self._cache is not None:
            cache = open_cache(
                self._cache, base_url=self._base_url, token=self._token, rng=rng
            )
        alarms = Alarms(asyncio.get_running_loop())
        transport = Transport(
            base_url=self._base_url,
            token=self._token,
            user_agent=f"emogg-async/{__version__}",
            attempt_timeout=self._attempt_timeout,
            alarms=alarms,
            http=self._http,
        )
        return Pipeline(
            alarms=alarms,
            transport=transport,
            cache=cache,
            retry=self._retry,
            slots=self._concurrency,
            pacer=(
                shared_pacer(self._base_url, self._token, rng) if self._pace else None
            ),
            timeout=self._timeout,
            page_timeout=min(self._timeout, self._attempt_timeout),
            counters=self._counters,
            rng=rng,
            secret=self._token,
        )

    # -- one session ---------------------------------------------------------------

    async def get_session(self, session_id: str, *, fresh: bool = False) -> Session:
        """Get one session.

        Calls for the same id at the same time share one request.

        Source: https://docs.emogg.com, "Get a session".

        Args:
            session_id: 24 hex digits, in either letter case.
            fresh: Whether to ask the service even if the cache has the session.

        Raises:
            InvalidArgumentError: It is no session id.
            NotFoundError: There is no such session, or the token may not see it.
            EmoggError: Anything else of `emogg_async.errors`.
        """
        pipeline = self._open()
        session_id = _protocol.check_session_id(session_id)
        counters = self._counters
        counters.calls += 1
        if not fresh and pipeline.cache is not None:
            session = pipeline.cache.peek(session_id)
            if session is not None:
                counters.cache_hits += 1
                return session
        return await pipeline.session(session_id, fresh=fresh)

    # -- many ids ------------------------------------------------------------------

    async def get_sessions(
        self,
        session_ids: Iterable[str],
        *,
        fresh: bool = False,
        concurrency: int | None = None,
        via: Via = "auto",
    ) -> Batch[Session]:
        """Get many sessions at once.

        An id that fails costs nobody else: its error is in the batch's `errors`.

        Pages of the list answer up to a hundred ids each, where that saves requests.
        What they do not hold is got by itself, so that the result is the same.

        Source: https://docs.emogg.com, "List sessions" and "Get a session".

        Args:
            session_ids: The ids; one that comes twice is fetched once.
            fresh: Whether to ask the service even for sessions that the cache has.
            concurrency: Requests in flight at once; None is as many as bulk work gets.
            via: "get" asks for each id by itself, "pages" asks for pages even where
                they hardly save requests, "auto" where they do.

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated;
                or another argument is out of its range.
            AuthenticationError: The token was refused.
            ClientClosedError: The client was closed meanwhile.
        """
        _bulk.check_ids(session_ids, asynchronous=False)
        workers = self._workers(concurrency)
        make_jobs = partial(self._jobs, fresh=fresh, via=_known_way(via), window=None)
        return await _bulk.collect(make_jobs, session_ids, workers, self._drain)

    def stream_sessions(
        self,
        session_ids: Iterable[str] | AsyncIterable[str],
        *,
        fresh: bool = False,
        concurrency: int | None = None,
        via: Via = "auto",
    ) -> "_bulk.OutcomeStream[Session]":
        """Get many sessions and have each as soon as it is there.

        Memory does not depend on how many ids there are. Leaving the `async with` stops
        everything.

        ::

            async with client.stream_sessions(ids) as outcomes:
                async for outcome in outcomes:
                    match outcome:
                        case Fetched(value=session): ...
                        case Failed(session_id, error): ...

        Args:
            session_ids: The ids, also from an async iterable; of an ordinary one, an
                id that comes twice among a thousand is fetched once.
            fresh: Whether to ask the service even for sessions that the cache has.
            concurrency: Requests in flight at once; None is as many as bulk work gets.
            via: As in `get_sessions`, for a thousand ids at a time. Those of an async
                iterable are always asked for one by one, as soon as they are there.

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated;
                or another argument is out of its range.
        """
        _bulk.check_ids(session_ids, asynchronous=True)
        jobs = self._jobs(session_ids, fresh=fresh, via=_known_way(via))
        return _bulk.OutcomeStream(jobs, self._workers(concurrency), self._drain)

    def _jobs(
        self,
        ids: Iterable[str] | AsyncIterable[str],
        *,
        fresh: bool,
        via: Via,
        window: int | None = _jobs.WINDOW,
    ) -> _jobs.Jobs[Session]:
        get = partial(self.get_session, fresh=fresh)
        thrift = _THRIFT[via]
        if thrift is None or isinstance(ids, AsyncIterable):
            return _jobs.Calls(get, ids)
        service = _jobs.Service(
            cached=lambda ids: self._open().cached(ids, fresh=fresh),
            page=lambda query, take: self._open().page(query, take),
            get=get,
        )
        return _jobs.PagedGets(service, ids, thrift, window)

    def stream(
        self,
        call: Callable[[str], Awaitable[T]],
        session_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int | None = None,
    ) -> "_bulk.OutcomeStream[T]":
        """Make *call* for many ids, as `stream_sessions` does.

        Args:
            call: Any method that takes one id, e.g. `client.get_session`.
            session_ids: As in `stream_sessions`.
            concurrency: As in `stream_sessions`.

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated.
        """
        _bulk.check_call(call)
        _bulk.check_ids(session_ids, asynchronous=True)
        jobs = _jobs.Calls(call, session_ids)
        return _bulk.OutcomeStream(jobs, self._workers(concurrency), self._drain)

    async def gather(
        self,
        call: Callable[[str], Awaitable[T]],
        session_ids: Iterable[str],
        *,
        concurrency: int | None = None,
    ) -> Batch[T]:
        """Make *call* for many ids, as `get_sessions` does, and return what came of it.

        Args:
            call: Any method that takes one id, e.g. `client.get_session`.
            session_ids: As in `get_sessions`.
            concurrency: As in `get_sessions`.

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated.
            AuthenticationError: The token was refused.
            ClientClosedError: The client was closed meanwhile.
        """
        _bulk.check_call(call)
        _bulk.check_ids(session_ids, asynchronous=False)
        workers = self._workers(concurrency)
        make_jobs = partial(_jobs.Calls, call)
        return await _bulk.collect(make_jobs, session_ids, workers, self._drain)

    def _workers(self, concurrency: int | None) -> int:
        most = bulk_share(self._concurrency)
        if concurrency is None:
            return most
        return min(most, whole_number("concurrency", concurrency, at_least=1))

    async def _drain(self) -> None:
        """Wait until the loads that a bulk has left behind have ended."""
        if self._pipeline is not None:
            await self._pipeline.flights.drain()

    # -- listings ------------------------------------------------------------------

    def list_sessions(
        self,
        *,
        state: SessionState | str | None = None,
        type: SessionType | str | None = None,  # noqa: A002 - the service's name for it
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        page_size: int = 100,
    ) -> _listing.SessionListing:
        """List the sessions of the account, newest first.

        Nothing is fetched yet: iterate the listing with `async for`, or call its
        `pages`, `collect` or `first`.

        Source: https://docs.emogg.com, "List sessions".

        Args:
            state: Only sessions in this state.
            type: Only sessions of this type.
            started_after: Only sessions created after this moment (aware).
            started_before: Only sessions created before this moment (aware).
            page_size: New sessions to ask for at a time, 1 to 100.

        Raises:
            InvalidArgumentError: A date is naive, or another argument out of its range.
        """
        filters = _listing.check_filters(state, type, started_after, started_before)
        whole_number("page_size", page_size, at_least=1, at_most=_listing.MAX_LIMIT)
        return _listing.SessionListing(self._get_page, filters, page_size)

    async def _get_page(self, query: list[tuple[str, str]]) -> _listing.Page:
        pipeline = self._open()
        self._counters.calls += 1
        return await pipeline.list_page(query)

    # -- everything else -----------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, QueryValue | Sequence[QueryValue]] | None = None,
        json: object = None,
    ) -> Any:
        """Make any request to the service: the way out for what no method covers.

        It is retried and bounded like every other call, as its method allows, but never
        cached.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: Begins with `/v1/`; without a query, and with nothing left to encode.
            query: The query's parameters; a sequence repeats its parameter.
            json: What to send as JSON; None sends no body.

        Returns:
            The parsed JSON of the answer, or None if it has no content.

        Raises:
            InvalidArgumentError: It cannot be sent as it is.
            OutcomeUnknownError: It was a write, and may or may not have taken effect.
            EmoggError: Anything else of `emogg_async.errors`.
        """
        pipeline = self._open()
        request = _protocol.custom(method, path, query, json)
        self._counters.calls += 1
        try:
            return await pipeline.payload(request)
        except OutcomeUnknownError as error:
            # An earlier send did it and its answer was lost, or the answer is garbled.
            done = isinstance(error.__cause__, NotFoundError | ResponseShapeError)
            if request.method == "DELETE" and done:
                return None
            raise

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """Bound every call inside the `with`, also of other clients.

        ::

            with client.deadline(2.0):
                session = await client.get_session(session_id)

        Deadlines can be nested; the nearest counts. It holds for tasks that are started
        inside, too.

        Args:
            seconds: Time from now on.

        Raises:
            InvalidArgumentError: It is no positive number.
            ConfigurationError: No event loop is running.
        """
        number("seconds", seconds, above=0, at_most=LONGEST)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "a deadline is set where its calls are made: in a running event loop"
            ) from None
        return _context.deadline_in(seconds)

    @property
    def rate_limit(self) -> RateLimit | None:
        """The user's token bucket as the last answer told it; None before the first."""
        return self._pipeline.rate_limit if self._pipeline else None

    @property
    def stats(self) -> Stats:
        """What this client has done so far."""
        return self._counters.snapshot()


def _check_loop(pipeline: Pipeline) -> None:
    if pipeline.loop is not asyncio.get_running_loop():
        raise ConfigurationError(
            "the client was opened in another event loop; make one client for each"
        )


def _known_way(via: Via) -> Via:
    if isinstance(via, str) and via in _THRIFT:
        return via
    raise InvalidArgumentError(f"via: expected one of {', '.join(_THRIFT)}")


def _instance(name: str, value: T, kind: type) -> T:
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{name}: expected a {kind.__name__}, got {type(value).__name__}"
        )
    return value
