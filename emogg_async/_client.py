"""The client: a facade with one short method for each call."""

import asyncio
import os
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
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from emogg_async import __version__, _bulk, _context, _listing, _protocol
from emogg_async._alarms import Alarms
from emogg_async._cache import CachePolicy, open_cache
from emogg_async._checks import number, whole_number
from emogg_async._gate import bulk_share, shared_pacer
from emogg_async._outcomes import Batch
from emogg_async._pipeline import Pipeline
from emogg_async._protocol import QueryValue, RateLimit
from emogg_async._retry import RetryPolicy
from emogg_async._stats import Counters, Stats
from emogg_async._transport import Transport
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

DEFAULT_BASE_URL: Final = "https://api.emogg.com"


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
        self._token = _usable_token(token)
        self._base_url = _usable_base_url(base_url, allow_http=allow_http)
        self._timeout = number("timeout", timeout, above=0)
        self._attempt_timeout = number("attempt_timeout", attempt_timeout, above=0)
        self._concurrency = whole_number("concurrency", concurrency, at_least=1)
        self._retry = _instance("retry", retry, RetryPolicy)
        self._cache = None if cache is None else _instance("cache", cache, CachePolicy)
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
            counters=self._counters,
            rng=rng,
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
    ) -> Batch[Session]:
        """Get many sessions at once.

        An id that fails costs nobody else: its error is in the batch's `errors`.

        Args:
            session_ids: The ids; one that comes twice is fetched once.
            fresh: Whether to ask the service even for sessions that the cache has.
            concurrency: Requests in flight at once; None is as many as bulk work gets.

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated.
            AuthenticationError: The token was refused.
            ClientClosedError: The client was closed meanwhile.
        """
        call = partial(self.get_session, fresh=fresh)
        return await self.gather(call, session_ids, concurrency=concurrency)

    def stream_sessions(
        self,
        session_ids: Iterable[str] | AsyncIterable[str],
        *,
        fresh: bool = False,
        concurrency: int | None = None,
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

        Raises:
            InvalidArgumentError: *session_ids* is a single id, or cannot be iterated.
        """
        call = partial(self.get_session, fresh=fresh)
        return self.stream(call, session_ids, concurrency=concurrency)

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
        _bulk.check_ids(session_ids, asynchronous=True)
        workers = self._workers(concurrency)
        return _bulk.OutcomeStream(call, session_ids, workers, self._settle)

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
        _bulk.check_ids(session_ids, asynchronous=False)
        workers = self._workers(concurrency)
        return await _bulk.collect(call, session_ids, workers, self._settle)

    def _workers(self, concurrency: int | None) -> int:
        most = bulk_share(self._concurrency)
        if concurrency is None:
            return most
        return min(most, whole_number("concurrency", concurrency, at_least=1))

    async def _settle(self) -> None:
        """Wait until the loads that a bulk has left behind have ended."""
        if self._pipeline is not None:
            await self._pipeline.flights.settle()

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
        return await pipeline.model(_protocol.list_sessions(query), _listing.Page)

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
        """
        seconds = number("seconds", seconds, above=0)
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


def _usable_token(token: str | None) -> str:
    found = os.environ.get("EMOGG_API_TOKEN", "") if token is None else token
    if not isinstance(found, str):
        raise ConfigurationError("token: expected text")
    found = found.strip()
    if not found:
        raise ConfigurationError("no token: pass token= or set EMOGG_API_TOKEN")
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise ConfigurationError("token: it has characters that no token has")
    return found


def _usable_base_url(base_url: str | None, *, allow_http: bool) -> str:
    given = os.environ.get("EMOGG_BASE_URL") if base_url is None else base_url
    url = given or DEFAULT_BASE_URL
    if not isinstance(url, str):
        raise ConfigurationError("base_url: expected text")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or not url.isascii():
        raise ConfigurationError(
            "base_url: expected http(s)://host, perhaps with a path"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError("base_url: it has a query, a fragment or a password")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise ConfigurationError(
            f"base_url: http:// would send the token to {host} unencrypted; use "
            "https://, or pass allow_http=True"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _instance(name: str, value: T, kind: type) -> T:
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{name}: expected a {kind.__name__}, got {type(value).__name__}"
        )
    return value
