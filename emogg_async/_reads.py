"""Sessions and what is known of them, read through the cache.

A past value stands in where the service cannot answer. Nothing is kept of a session
that is being written meanwhile: see `_sessions`.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import attrs

from emogg_async._caching.outages import Outages, Past, is_outage
from emogg_async._caching.policy import SessionCache
from emogg_async._calls.call import BULK, Call, Priority
from emogg_async._calls.frames import bare
from emogg_async._calls.pipeline import Pipeline
from emogg_async._calls.telemetry import Counters
from emogg_async._many.listing import Page
from emogg_async._wire import requests
from emogg_async._wire.protocol import Request
from emogg_async.errors import (
    AuthenticationError,
    EmoggError,
    NotFoundError,
    PermissionDeniedError,
)
from emogg_async.models import (
    EmotionsTimeline,
    EmotionTotals,
    SentimentTimeline,
    Session,
)

__all__ = ["Reads"]

Kept = TypeVar("Kept", Session, EmotionTotals, EmotionsTimeline, SentimentTimeline)
Derived = TypeVar("Derived", EmotionTotals, EmotionsTimeline, SentimentTimeline)

_LOST = (AuthenticationError, PermissionDeniedError, NotFoundError)
"""What tells that a session is gone, or none of ours any more."""


class Reads:
    """The sessions of a client that is open, as far as they are read.

    Args:
        pipeline: Carries out requests.
        cache: Where sessions are kept, or None.
        outages: What stands in for answers; None where nothing may.
        page_timeout: Seconds for a page that stands in for gets.
        counters: Where to count.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cache: SessionCache | None,
        *,
        outages: Outages | None = None,
        page_timeout: float,
        counters: Counters,
    ) -> None:
        self.pipeline = pipeline
        self.cache = cache
        self.loop = pipeline.loop
        self._outages = outages if cache else None
        self._page_timeout = page_timeout
        self._counters = counters
        self._being_written: Counter[str] = Counter()
        self._epoch = 0

    # -- reads ---------------------------------------------------------------------

    def get(
        self, session_id: str, *, fresh: bool, expand: tuple[str, ...] = ()
    ) -> Awaitable[Session]:
        """Load one session; *session_id* was checked, and the cache peeked into."""
        request = requests.get_session(session_id, expand)
        cache = None if expand else self.cache
        # No closure: each cell of it would be one more object for the collector.
        load = partial(self._load, request, cache, fresh)
        if fresh:  # what is under way may be older than what this call will bring
            for priority in Priority:
                self.pipeline.flights.detach((session_id, request.target, priority))
        if cache is None or fresh or self._outages is None:
            return self.pipeline.share(request, load)
        look = partial(cache.get, session_id)
        return self._read(request, load, look, self._outages)

    async def _load(
        self, request: Request, cache: SessionCache | None, fresh: bool, call: Call
    ) -> Session:
        session_id = request.session_id
        if cache and not fresh:
            found = await cache.get(session_id)
            if isinstance(found, Session):
                self._recover(session_id, request.target)
                self._counters.hit(request)
                return found
            self._counters.miss(request)
            self._fall_back(request, call, found)
        asked_at = time.time()
        try:
            session = await self.pipeline.fetch(request, call, Session)
        except _LOST:
            await self._lose(session_id)
            raise
        if fresh:  # a page that was asked for before may be older
            self._epoch += 1
        if cache and self._may_store(call, session_id):
            self._recover(session_id)
            await cache.put(session, asked_at)
        elif cache and fresh:  # it may not be stored, and what is may be older
            await cache.drop(session_id, is_written=False)
        return session

    async def derived(self, request: Request, model: type[Derived]) -> Derived:
        """Load what *request* asks about a session.

        It is kept if the cache knows, as the load begins, that the session is finished,
        and for as long as it holds the very same session.
        """
        cache = None if requests.is_expanded(request) else self.cache

        async def load(call: Call) -> Derived:
            origin = None
            if cache:
                origin, found = await cache.get_derived(request, model)
                if isinstance(found, model):
                    self._recover(request.session_id, request.target)
                    self._counters.hit(request)
                    return found
                self._counters.miss(request)
                self._fall_back(request, call, found)
            try:
                value = await self.pipeline.fetch(request, call, model)
            except _LOST:
                await self._lose(request.session_id)
                raise
            if cache and self._may_store(call, request.session_id):
                self._recover(request.session_id, request.target)
                if origin:
                    await cache.put_derived(request, origin, value)
            return value

        if cache is None or self._outages is None:
            return await self.pipeline.share(request, load)

        async def look() -> Derived | Past[Derived] | None:
            return (await cache.get_derived(request, model))[1]

        return await self._read(request, load, look, self._outages)

    # -- what stands in ------------------------------------------------------------

    async def _read(
        self,
        request: Request,
        load: Callable[[Call], Coroutine[Any, Any, Kept]],
        look: Callable[[], Awaitable[Kept | Past[Kept] | None]],
        outages: Outages,
    ) -> Kept:
        """Share a load; a past value stands in if the service cannot answer.

        Args:
            request: What the load is for.
            load: Carries it out.
            look: Looks for a past value, should the load not have come so far.
            outages: Knows what may stand in.
        """
        began = self.loop.time()
        what = request.session_id, request.target
        deadline = self.pipeline.deadline(began)
        asked = self.pipeline.is_under_way(request)
        past: Kept | None = outages.find_at_once(*what, began, deadline, is_asked=asked)
        why: EmoggError | None = None
        if past is None:
            try:
                return await self.pipeline.share(request, load)
            except EmoggError as error:
                if is_outage(error):
                    past = await self._stand_in(request, look, outages, deadline)
                if past is None:
                    raise
                now = self.loop.time()
                outages.note(*what, error, now, began=began, deadline=deadline)
                why = bare(error)
        self._counters.stale(request, why)
        return attrs.evolve(past, stale=True)

    async def _stand_in(
        self,
        request: Request,
        look: Callable[[], Awaitable[Kept | Past[Kept] | None]],
        outages: Outages,
        deadline: float,
    ) -> Kept | None:
        """Return what stands in for the answer to *request*, if anything may.

        The cache is asked until *deadline*; one at hand has answered even then.
        """
        session_id = request.session_id
        if session_id in self._being_written:
            return None
        past: Kept | None = outages.find(session_id, request.target, self.loop.time())
        if past is None:  # the time was up before the load had looked, or it was fresh
            epoch, found = self._epoch, None
            with suppress(TimeoutError), self.pipeline.limit(deadline):
                found = await look()
            if isinstance(found, Past) and epoch == self._epoch:
                outages.keep(session_id, request.target, found, self.loop.time())
                return found.value
        return past

    def _fall_back(self, request: Request, call: Call, found: object) -> None:
        """Have what was *found* at hand, if it is a past value, should *call* fail."""
        if self._outages is None or not self._may_store(call, request.session_id):
            return
        place, now = (request.session_id, request.target), self.loop.time()
        if isinstance(found, Past):
            self._outages.keep(*place, found, now)
        # The cache may have lost it since it last stood in.
        call.has_past = self._outages.find(*place, now) is not None

    def _recover(self, session_id: str, target: str | None = None) -> None:
        """Let no past value stand in: there is an answer, perhaps another's."""
        if self._outages is not None:
            self._outages.forget(session_id, target)

    async def _lose(self, session_id: str, *, is_written: bool = False) -> None:
        """Keep nothing of a session that the service would not show, or was written."""
        self._epoch += 1
        self._recover(session_id)
        if self.cache:
            await self.cache.drop(session_id, is_written=is_written)

    # -- many ----------------------------------------------------------------------

    async def cached(
        self, session_ids: Sequence[str], *, fresh: bool
    ) -> dict[str, Session]:
        """Return which of *session_ids*, that were checked, need no request, by id.

        The cache has them, or an outage is remembered and their past ones stand in.
        """
        if self.cache is None or fresh:
            return {}
        found: dict[str, Session] = {}
        with suppress(TimeoutError), self.pipeline.limit():
            found = await self.cache.get_many(session_ids)
        for session_id in found:
            self._counters.hit(session_id)
        if self._outages is not None:
            now = self.loop.time()
            for request in map(requests.get_session, {*session_ids} - {*found}):
                if past := self._outages.find_at_once(
                    *(request.session_id, request.target, now),
                    self.pipeline.deadline(now),
                    is_asked=self.pipeline.is_under_way(request),
                    in_bulk=True,
                ):
                    self._counters.stale(request)
                    found[request.session_id] = attrs.evolve(past, stale=True)
        self._counters.calls += len(found)
        return found

    async def page(
        self,
        query: list[tuple[str, str]],
        take: Callable[[Page], list[Session]],
        *,
        fresh: bool,
    ) -> list[Session]:
        """Load a page; cache and return what *take* takes of it, as gets would.

        The rest is not cached: it would push out what somebody has asked for. Gets wait
        for it, so it has less time than they have.
        """
        epoch, asked_at = self._epoch, time.time()
        sessions = take(await self.list_page(query, allowance=self._page_timeout))
        self._counters.calls += len(sessions)
        if self.cache:
            if not fresh:
                for session in sessions:
                    self._counters.miss(session.id.lower())
            # One integer for all sessions: what raises it is rare beside a page, and a
            # miss costs little.
            if epoch == self._epoch and not self._being_written:
                for session in sessions:
                    self._recover(session.id.lower())
                with suppress(TimeoutError), self.pipeline.limit():
                    await self.cache.put_many(sessions, asked_at)
            elif fresh:  # as for a get
                with suppress(TimeoutError), self.pipeline.limit():
                    for session in sessions:
                        await self.cache.drop(session.id.lower(), is_written=False)
        return sessions

    async def list_page(
        self, query: list[tuple[str, str]], allowance: float | None = None
    ) -> Page:
        """Load a page of the listing; like all bulk work it yields to single calls.

        Args:
            query: Which page.
            allowance: Seconds from the first send on, in a bulk; None is a call's time.
        """
        request = requests.list_sessions(query)
        return await self.pipeline.share(
            request,
            lambda call: self.pipeline.fetch(request, call, Page),
            priority=BULK,
            allowance=allowance,
        )

    def _may_store(self, call: Call, session_id: str) -> bool:
        return not call.is_detached and session_id not in self._being_written
