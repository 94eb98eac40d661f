"""What every client has: how it is made, opened and closed, and what it tells."""

import asyncio
import random
import ssl as tls
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from inspect import iscoroutinefunction
from os import PathLike
from types import TracebackType
from typing import Final, Self, TypeVar

import attrs

from emogg_async._caching.outages import Outages
from emogg_async._caching.policy import CachePolicy, open_cache
from emogg_async._calls import call as context
from emogg_async._calls.alarms import Alarms
from emogg_async._calls.frames import frameless
from emogg_async._calls.gate import shared_pacer
from emogg_async._calls.pipeline import Pipeline
from emogg_async._calls.retry import RetryPolicy
from emogg_async._calls.telemetry import Counters, Instrument, Stats
from emogg_async._calls.transport import ClientSession, Transport, is_session
from emogg_async._checks import number, whole_number
from emogg_async._config import usable_base_url, usable_token
from emogg_async._network import usable_route
from emogg_async._sessions import Sessions
from emogg_async._text import redacted
from emogg_async._version import __version__
from emogg_async._wire.protocol import RateLimit
from emogg_async.errors import (
    ClientClosedError,
    ConfigurationError,
    InvalidArgumentError,
)
from emogg_async.events import Event

__all__ = ["LifeCycle"]

T = TypeVar("T")

LONGEST: Final = 1e9
"""Seconds: the most that a timeout can be."""


class LifeCycle:
    """A client without its calls; `AsyncEmoggClient` says what its arguments are."""

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
        on_event: Callable[[Event], object] | None = None,
        allow_http: bool = False,
        proxy: str | None = None,
        ssl: tls.SSLContext | str | PathLike[str] | None = None,
        trust_env: bool = False,
        http: ClientSession | None = None,
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
        _check_http(http, has_way=any((proxy, ssl, trust_env)))
        self._route = usable_route(
            self._base_url,
            proxy=proxy,
            ssl=ssl,
            trust_env=_instance("trust_env", trust_env, bool),
            allow_http=allow_http,
        )
        self._pace = _instance("pace", pace, bool)
        self._http = http
        self._counters = Counters(_listener(on_event))
        self._pipeline: Pipeline | None = None
        self._sessions: Sessions | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "open" if self._pipeline else "not open yet"
        )
        return f"<AsyncEmoggClient {self._base_url} ({state})>"

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

        It is safe to call more than once. Cancelling it does not stop it: it closes,
        and raises `CancelledError` then.
        """
        self._closed = True
        if self._pipeline is not None:
            _check_loop(self._pipeline)
            if self._closing is None:
                closing = self._pipeline.close()
                self._closing = self._pipeline.loop.create_task(closing)
            await _outlast(self._closing)

    def _open(self) -> Sessions:
        """Return what is open; open it at the first call."""
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._sessions is None:
            self._sessions = self._build()
        _check_loop(self._sessions)
        return self._sessions

    def _build(self) -> Sessions:
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
            route=self._route,
            http=self._http,
        )
        self._pipeline = Pipeline(
            alarms=alarms,
            transport=transport,
            retry=self._retry,
            slots=self._concurrency,
            pacer=(
                shared_pacer(self._base_url, self._token, rng) if self._pace else None
            ),
            timeout=self._timeout,
            counters=self._counters,
            rng=rng,
            secret=self._token,
        )
        return Sessions(
            self._pipeline,
            cache,
            outages=(
                Outages(self._cache.max_entries)
                if self._cache and self._cache.stale_if_error
                else None
            ),
            page_timeout=min(self._timeout, self._attempt_timeout),
            counters=self._counters,
        )

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
        return context.deadline_in(seconds)

    def _instrument(self, make: Callable[[str], Instrument] | None) -> None:
        """Let what *make* makes of the base URL trace all requests; None ends it.

        For `emogg_async.integrations`.
        """
        self._counters.instrument = make(self._base_url) if make else None

    @property
    def proxy(self) -> str | None:
        """The proxy that calls go through, without its credentials; None is direct.

        What a session passed as `http=` does by itself is not known here.
        """
        return self._route.proxy.url if self._route.proxy else None

    @property
    def rate_limit(self) -> RateLimit | None:
        """The user's token bucket as the last answer told it; None before the first."""
        limit = self._pipeline.rate_limit if self._pipeline else None
        if limit is None or limit.policy is None or self._token not in limit.policy:
            return limit
        return attrs.evolve(limit, policy=redacted(limit.policy, self._token))

    @property
    def stats(self) -> Stats:
        """What this client has done so far."""
        return self._counters.snapshot()


def _check_http(http: object, *, has_way: bool) -> None:
    if http is None:
        return
    if not is_session(http):
        raise InvalidArgumentError("http: expected an aiohttp.ClientSession")
    if has_way:
        raise InvalidArgumentError(
            "http: your session has its own proxy, ssl and trust_env; tell it instead"
        )


def _check_loop(opened: Pipeline | Sessions) -> None:
    if opened.loop is not asyncio.get_running_loop():
        raise ConfigurationError(
            "the client was opened in another event loop; make one client for each"
        )


async def _outlast(task: asyncio.Task[None]) -> None:
    """Wait for the end of *task*, also while cancelled, and raise what it raised.

    A scope of anyio cancels again at each turn of the loop.
    """
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
    task.result()


def _listener(
    on_event: Callable[[Event], object] | None,
) -> Callable[[Event], object] | None:
    if on_event is None:
        return None
    call = getattr(on_event, "__call__", None)  # noqa: B004 - an object's may be async
    if call is None or iscoroutinefunction(on_event) or iscoroutinefunction(call):
        raise InvalidArgumentError("on_event: expected a function that is not async")
    return on_event


def _instance(name: str, value: T, kind: type) -> T:
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{name}: expected a {kind.__name__}, got {type(value).__name__}"
        )
    return value
