"""Sessions and what is known of them: read through the cache, written past it.

A write outdates what is known of its session. As it begins, what is kept of that is
dropped; while it is under way nothing more is kept; and what began before its end is
neither kept nor joined after it.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import attrs

from emogg_async import _requests
from emogg_async._cache import SessionCache
from emogg_async._context import BULK, Call, Priority
from emogg_async._listing import Page
from emogg_async._memory import ExpiringLRU
from emogg_async._pipeline import Pipeline
from emogg_async._protocol import Request
from emogg_async._retry import outcome_unknown
from emogg_async._stale import Outages, Past, is_outage
from emogg_async._stats import Counters
from emogg_async.errors import (
    AuthenticationError,
    BadRequestError,
    EmoggError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ResponseShapeError,
)
from emogg_async.models import (
    EmotionsTimeline,
    EmotionTotals,
    RegisteredSource,
    SentimentTimeline,
    Session,
    SessionState,
)

__all__ = ["Sessions"]

T = TypeVar("T")
Kept = TypeVar("Kept", Session, EmotionTotals, EmotionsTimeline, SentimentTimeline)
Derived = TypeVar("Derived", EmotionTotals, EmotionsTimeline, SentimentTimeline)

STOPPED: Final = frozenset({SessionState.PROCESSING, SessionState.FINISHED})
"""What a session that was active can be once it was stopped."""

_LOST = (AuthenticationError, PermissionDeniedError, NotFoundError)
"""What tells that a session is gone, or none of ours any more."""

KNOWN_SOURCES: Final = 1_000
"""Registered sources whose format is remembered."""


class Sessions:
    """The sessions of a client that is open.

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
        self._formats = ExpiringLRU(KNOWN_SOURCES, time.monotonic)

    # -- reads ---------------------------------------------------------------------

    async def get(
        self, session_id: str, *, fresh: bool, expand: tuple[str, ...] = ()
    ) -> Session:
        """Load one session; *session_id* was checked, and the cache peeked into."""
        request = _requests.get_session(session_id, expand)
        cache = None if expand else self.cache

        async def load(call: Call) -> Session:
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
            if cache and self._may_store(call, session_id):
                self._recover(session_id)
                await cache.put(session, asked_at)
            return session

        if fresh:  # what is under way may be older than what this call will bring
            for priority in Priority:
                self.pipeline.flights.detach((session_id, request.target, priority))
        if cache is None or fresh or self._outages is None:
            return await self.pipeline.share(request, load)
        return await self._read(
            request, load, lambda: cache.get(session_id), self._outages
        )

    async def derived(self, request: Request, model: type[Derived]) -> Derived:
        """Load what *request* asks about a session.

        It is kept if the cache knows, as the load begins, that the session is finished,
        and for as long as it holds the very same session.
        """
        cache = None if _requests.is_expanded(request) else self.cache

        async def load(call: Call) -> Derived:
            finished = None
            if cache:
                finished, found = await cache.get_derived(request, model)
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
                if finished:
                    await cache.put_derived(request, finished, value)
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
        load: Callable[[Call], Awaitable[Kept]],
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
                    past = await self._stand_in(request, look, outages)
                if past is None:
                    raise
                now = self.loop.time()
                outages.note(*what, error, now, began=began, deadline=deadline)
                why = error
        self._counters.stale(request, why)
        return attrs.evolve(past, stale=True)

    async def _stand_in(
        self,
        request: Request,
        look: Callable[[], Awaitable[Kept | Past[Kept] | None]],
        outages: Outages,
    ) -> Kept | None:
        """Return what stands in for the answer to *request*, if anything may."""
        session_id = request.session_id
        if session_id in self._being_written:
            return None
        past: Kept | None = outages.find(session_id, request.target, self.loop.time())
        if past is None:  # the time was up before the load had looked, or it was fresh
            epoch = self._epoch
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

    async def _lose(self, session_id: str) -> None:
        """Keep nothing of a session that the service would not show."""
        self._epoch += 1
        self._recover(session_id)
        if self.cache:
            await self.cache.drop(session_id)

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
            for request in map(_requests.get_session, {*session_ids} - {*found}):
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
            # One integer for all sessions: a write is rare, and a miss costs little.
            if epoch == self._epoch and not self._being_written:
                for session in sessions:
                    self._recover(session.id.lower())
                await self.cache.put_many(sessions, asked_at)
        return sessions

    async def list_page(
        self, query: list[tuple[str, str]], allowance: float | None = None
    ) -> Page:
        """Load a page of the listing; like all bulk work it yields to single calls.

        Args:
            query: Which page.
            allowance: Seconds from the first send on, in a bulk; None is a call's time.
        """
        request = _requests.list_sessions(query)
        return await self.pipeline.share(
            request,
            lambda call: self.pipeline.fetch(request, call, Page),
            priority=BULK,
            allowance=allowance,
        )

    # -- writes --------------------------------------------------------------------

    async def write(self, request: Request, model: type[T]) -> T:
        """Carry out a write and return what the service answers."""
        return await self._outdate(
            request, lambda call: self.pipeline.fetch(request, call, model)
        )

    async def stop(self, request: Request) -> Session:
        """Carry out a stop; what is in doubt is settled by one get."""

        async def load(call: Call) -> Session:
            try:
                return await self.pipeline.fetch(request, call, Session)
            except OutcomeUnknownError as error:
                doubt, cause = error, error.__cause__
            # Refused after an unknown fate, or a success that does not decode.
            if not isinstance(cause, BadRequestError | ResponseShapeError):
                raise doubt
            session = await self._settle(request, call)
            if session.state in STOPPED:
                return session
            raise cause if isinstance(cause, BadRequestError) else doubt

        return await self._outdate(request, load)

    async def _settle(self, request: Request, call: Call) -> Session:
        """Look how the session is that *request* wanted to change.

        Raises:
            OutcomeUnknownError: It could not be looked at.
        """
        look = _requests.get_session(request.session_id)
        try:
            return await self.pipeline.fetch(look, call, Session)
        except EmoggError as error:
            raise outcome_unknown(request, call, error.headline) from error

    async def custom(self, request: Request) -> Any:
        """Carry out any request, alone, and return the parsed JSON as it is."""

        async def load(call: Call) -> Any:
            try:
                return await self.pipeline.payload(request, call)
            except OutcomeUnknownError as error:
                # An earlier send did it and its answer was lost, or this one is
                # garbled.
                done = isinstance(error.__cause__, NotFoundError | ResponseShapeError)
                if request.method == "DELETE" and done:
                    return None
                raise

        return await self._outdate(request, load)

    async def register(self, request: Request, source_format: str) -> RegisteredSource:
        """Register a source, and remember what its events must carry."""
        source = await self.write(request, RegisteredSource)
        self._formats.put(source.id.lower(), source_format, ttl=None)
        return source

    def format_of(self, session_id: str, source_id: str) -> str | None:
        """Return what a source's events must carry, as far as it is known here."""
        session = self.cache.peek(session_id) if self.cache else None
        sources = session.sources if session else ()
        formats = {source.id.lower(): source.format for source in sources}
        known: str | None = self._formats.get(source_id)
        return known or formats.get(source_id)

    async def _outdate(
        self, request: Request, load: Callable[[Call], Awaitable[T]]
    ) -> T:
        if not request.session_id:
            return await self.pipeline.share(request, load)

        done: list[T] = []

        async def write(call: Call) -> T:
            async with self._writing(request.session_id):
                done.append(await load(call))
            return done[0]

        try:
            return await self.pipeline.share(request, write)
        except EmoggError:
            if done:  # it was cut off when only the cache had not been told yet
                return done[0]
            raise
        finally:  # it may have been cut off, and be about to end
            self._detach(request.session_id)

    @asynccontextmanager
    async def _writing(self, session_id: str) -> AsyncIterator[None]:
        """Outdate what is known of a session, before and after what changes it."""
        self._being_written[session_id] += 1
        try:
            await self._forget(session_id)
            yield
        finally:
            try:
                await self._forget(session_id)
            finally:
                self._being_written[session_id] -= 1
                if not self._being_written[session_id]:
                    del self._being_written[session_id]

    async def _forget(self, session_id: str) -> None:
        self._detach(session_id)
        await self._lose(session_id)

    def _detach(self, session_id: str) -> None:
        self._epoch += 1
        self.pipeline.flights.detach_if(lambda key: bool(key[0] == session_id))

    def _may_store(self, call: Call, session_id: str) -> bool:
        return not call.detached and session_id not in self._being_written
