"""What an open client has, and how it is put together.

The parts of a client belong to the event loop in which it was opened.
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
from emogg_async._calls.transport import Transport
from emogg_async._sessions import Sessions
from emogg_async._settings import Settings
from emogg_async._text import redacted
from emogg_async._version import __version__
from emogg_async._wire.protocol import RateLimit

__all__ = ["Core", "assemble"]


class Core:
    """The parts of an open client."""

    def __init__(self, pipeline: Pipeline, sessions: Sessions, secret: str) -> None:
        self.loop = pipeline.loop
        self.pipeline = pipeline
        self.sessions = sessions
        self._secret = secret
        self._closing: asyncio.Task[None] | None = None

    @property
    def rate_limit(self) -> RateLimit | None:
        """The token bucket as the last answer told it, without the token."""
        limit = self.pipeline.rate_limit
        if limit is None or limit.policy is None or self._secret not in limit.policy:
            return limit
        return attrs.evolve(limit, policy=redacted(limit.policy, self._secret))

    async def close(self) -> None:
        """End every call, and close what was opened here.

        All who close wait for one task, which no cancellation of theirs stops.
        """
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())
        try:
            await _outlast(self._closing)
        finally:
            if self._closing.cancelled():  # perhaps before it began
                await self.pipeline.transport.close()

    async def _close(self) -> None:
        try:
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
        settings: What the client was told.
        counters: Where to count.
        transport: The end of the line; None is HTTP.
        rng: The source of jitter; None is a new one.
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
            user_agent=f"emogg-async/{__version__}",
            attempt_timeout=settings.attempt_timeout,
            alarms=alarms,
            route=settings.route,
            http=settings.http,
        ),
        retry=settings.retry,
        slots=settings.concurrency,
        pacer=shared_pacer(base_url, token, rng) if settings.pace else None,
        timeout=settings.timeout,
        counters=counters,
        rng=rng,
        secret=token,
    )
    cache = None
    if settings.cache is not None:
        cache = open_cache(settings.cache, base_url=base_url, token=token, rng=rng)
    sessions = Sessions(
        pipeline,
        cache,
        page_timeout=min(settings.timeout, settings.attempt_timeout),
        counters=counters,
    )
    return Core(pipeline, sessions, token)


async def _outlast(task: "asyncio.Task[None]") -> None:
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
