"""The parts of an open client, and the function that makes them.

They belong to the event loop in which the client was opened.
"""

import asyncio
import random
from contextlib import suppress

import attrs

from emogg_async._caching.opening import open_cache
from emogg_async._calls.alarms import Alarms
from emogg_async._calls.gate import shared_pacer
from emogg_async._calls.pipeline import Pipeline
from emogg_async._calls.telemetry import Counters
from emogg_async._calls.terms import Terms
from emogg_async._calls.transport import Transport
from emogg_async._live.hub import Hub, shared_allowance
from emogg_async._sessions import Sessions
from emogg_async._settings import Settings
from emogg_async._text import Secret, redacted
from emogg_async._version import __version__
from emogg_async._wire.protocol import RateLimit

__all__ = ["Core", "assemble"]


class Core:
    """The parts of an open client.

    Args:
        pipeline: Carries out requests.
        sessions: Reads and writes sessions.
        hub: Holds the live connections.
        secret: The token, which no public value may show.
    """

    def __init__(
        self, pipeline: Pipeline, sessions: Sessions, hub: Hub, secret: Secret
    ) -> None:
        self.loop = pipeline.loop
        self.pipeline = pipeline
        self.sessions = sessions
        self.hub = hub
        self._secret = secret
        self._closing: asyncio.Task[None] | None = None

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit of the last answer that told one, with the token removed."""
        limit = self.pipeline.heard.limit
        if limit is None or limit.policy is None:
            return limit
        policy = redacted(limit.policy, self._secret)
        return limit if policy == limit.policy else attrs.evolve(limit, policy=policy)

    def under(self, terms: Terms) -> "Core":
        """Return the same parts, whose calls go by other *terms*."""
        pipeline = self.pipeline.under(terms)
        sessions = self.sessions.under(terms, pipeline)
        return Core(pipeline, sessions, self.hub, self._secret)

    async def close(self) -> None:
        """End all calls, and close the cache and the transport.

        Concurrent callers wait for one task. Cancelling a caller does not cancel that
        task, and the caller still waits for its end.
        """
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())
        try:
            await _outlast(self._closing)
        finally:
            # A task cancelled before its first step runs no `finally`.
            if self._closing.cancelled():
                await self.pipeline.transport.close()

    async def _close(self) -> None:
        try:
            await self.hub.close()
            await self.pipeline.flights.close()
            if self.sessions.cache is not None:
                await self.sessions.cache.close()
        finally:
            await self.pipeline.transport.close()


def assemble(
    settings: Settings,
    counters: Counters,
    *,
    transport: Transport | None = None,
    rng: random.Random | None = None,
) -> Core:
    """Make the parts of a client in the running event loop.

    Args:
        settings: The checked arguments of the client.
        counters: Counts calls and requests.
        transport: Sends requests; None makes one that speaks HTTP.
        rng: The source of jitter; None makes one.
    """
    rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
    base_url, token = settings.base_url, settings.token
    alarms = Alarms(asyncio.get_running_loop())
    pipeline = Pipeline(
        alarms=alarms,
        transport=transport
        or Transport(
            base_url=base_url,
            token=token,
            user_agent=f"emogg-async/{__version__} {settings.user_agent or ''}".strip(),
            headers=settings.headers,
            attempt_timeout=settings.attempt_timeout,
            alarms=alarms,
            route=settings.route,
            http=settings.http,
        ),
        terms=settings.terms,
        slots=settings.concurrency,
        pacer=shared_pacer(base_url, token, rng) if settings.pace else None,
        counters=counters,
        rng=rng,
        secret=settings.secret,
    )
    cache = None
    if settings.cache is not None:
        cache = open_cache(settings.cache, base_url=base_url, token=token, rng=rng)
    sessions = Sessions(
        pipeline,
        cache,
        terms=settings.terms,
        counters=counters,
    )
    hub = _make_hub(settings, counters, rng, pipeline.transport, sessions)
    return Core(pipeline, sessions, hub, settings.secret)


def _make_hub(
    settings: Settings,
    counters: Counters,
    rng: random.Random,
    transport: Transport,
    sessions: Sessions,
) -> Hub:
    policy, token = settings.live, settings.token
    hub = Hub(
        policy,
        token,
        shared_allowance(settings.base_url, token, rng, policy.window),
        secret=settings.secret,
        open_socket=lambda: transport.open_socket(settings.attempt_timeout),
        look=sessions.look,
        counters=counters,
        rng=rng,
    )
    sessions.on_end = hub.end
    return hub


async def _outlast(task: "asyncio.Task[None]") -> None:
    """Wait for the end of *task*, even if cancelled, and raise its error.

    The loop is there because a cancel scope of anyio cancels at each turn of the loop.
    """
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
    task.result()
