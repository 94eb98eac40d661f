"""Sessions and what is known of them: read through the cache, written past it.

A write outdates what is known of its session. As it begins, what is kept of the session
is dropped. While it is under way nothing is kept, and a load from before its end is
neither kept nor joined after it.
"""

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from copy import copy
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import attrs

from emogg_async._caching.opening import SessionCache
from emogg_async._caching.outages import Outage, Past, PastHolder, is_outage
from emogg_async._caching.policy import CachePolicy
from emogg_async._caching.questions import Questions
from emogg_async._caching.shared import Origin
from emogg_async._caching.sources import KnownSources
from emogg_async._caching.writes import Writes
from emogg_async._calls.call import BULK, Call, Priority
from emogg_async._calls.frames import bare
from emogg_async._calls.pipeline import Pipeline
from emogg_async._calls.polls import Polls
from emogg_async._calls.retry import outcome_unknown
from emogg_async._calls.telemetry import Counters
from emogg_async._calls.terms import Terms
from emogg_async._many.listing import Page
from emogg_async._wire import requests
from emogg_async._wire.protocol import Request
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

Load = Callable[[Call], Coroutine[Any, Any, T]]
Found = tuple[Origin | None, T | Past[T] | None]
LookUp = Callable[[], Awaitable[Found[T]]]

GLANCE_SECONDS: Final = 0.005
"""Seconds for a look into the cache when the time of a call is up: a cache that answers
at once still has the turns of the loop that its answer takes."""

_STOPPED: Final = frozenset({SessionState.PROCESSING, SessionState.FINISHED})
"""The states of a session that was active and is stopped."""

_LOST: Final = (AuthenticationError, PermissionDeniedError, NotFoundError)
"""The errors after which a session is gone, or no longer ours."""


class Sessions:
    """The sessions of an open client.

    Args:
        pipeline: Carries out requests.
        cache: Where sessions are kept, or None.
        terms: The timeouts, and whether to use the cache.
        counters: Where to count.

    Attributes:
        on_end: Gets the id of each session that this client has stopped or deleted.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cache: SessionCache | None,
        *,
        terms: Terms,
        counters: Counters,
    ) -> None:
        self.pipeline = pipeline
        self.cache = self._outdated = cache
        self.loop = pipeline.loop
        self.on_end: Callable[[str], object] = str
        self._outage = Outage() if cache and cache.policy.stale_if_error else None
        policy = cache.policy if cache else CachePolicy()
        self._questions = Questions(policy.ttl, policy.max_entries)
        self._polls = Polls(pipeline.flights, is_outage)
        self._page_timeout = min(terms.timeout, terms.attempt_timeout)
        self._counters = counters
        self._sources = KnownSources()
        self._holders: WeakValueDictionary[str, PastHolder] = WeakValueDictionary()
        self._writes = Writes()

    def under(self, terms: Terms, pipeline: Pipeline) -> "Sessions":
        """Return the same sessions, whose calls go by other *terms*.

        It is a shallow copy, so the two share all that changes. Without a cache, it
        still outdates what the cache keeps.
        """
        view = copy(self)
        view.pipeline = pipeline
        view.cache = self.cache if terms.cache else None
        view._page_timeout = min(terms.timeout, terms.attempt_timeout)
        return view

    # -- one session ---------------------------------------------------------------

    def read(
        self, request: Request, model: type[Kept], *, fresh: bool = False
    ) -> Awaitable[Kept]:
        """Load a session, or what is derived from one.

        What is derived is kept as long as its session if the cache holds the session as
        a finished one when the load begins. Otherwise it is kept as if the session were
        live, and the second question about the session finds out.

        Args:
            request: The request. For a session that is neither fresh nor expanded, the
                caller has peeked into the client's own cache.
            model: What it asks for.
            fresh: Whether to pass by the cache.
        """
        self._counters.calls += 1
        cache = None if requests.is_expanded(request) else self.cache
        if fresh:  # what is under way may be older than what this call will bring
            self._detach_gets(request)
        # No closures: each cell of one is an object more for the collector.
        if cache is None or fresh or self._outage is None:
            load = partial(self._load, request, model, cache, None, fresh=fresh)
            return self.pipeline.share(request, load)
        holder = self._holders.setdefault(request.target, PastHolder())
        load = partial(self._load, request, model, cache, holder, fresh=fresh)
        look_up = partial(self._look_up, cache, request, model)
        return self._share_or_serve(request, load, look_up, holder, self._outage)

    async def _load(
        self,
        request: Request,
        model: type[Kept],
        cache: SessionCache | None,
        holder: PastHolder | None,
        call: Call,
        *,
        fresh: bool,
    ) -> Kept:
        origin = None
        if cache and not (fresh and model is Session):
            origin, found = await self._recall(
                request, model, cache, holder, call, fresh=fresh
            )
            if found is not None:
                return found
        asked_at = time.time()
        try:
            value = await self._fetch(request, call, model, holder)
        except _LOST:
            is_used = model is not Session or request.session_id in self._questions
            await self._lose(request.session_id, is_used=is_used)
            raise
        if fresh:  # a page, or another get, may be older
            self._writes.epoch += 1
            self._detach_gets(request, spare=call)
            self._questions.forget(request.session_id)
        is_outdated = call.is_detached or request.session_id in self._writes.under_way
        if cache and not is_outdated:
            if isinstance(value, Session):
                await cache.put(value, asked_at)
            elif origin:
                await cache.put_derived(request, origin, value, asked_at)
        elif cache and fresh:  # the stored one may be older
            await cache.drop(request.session_id, is_written=model is not Session)
        return value

    async def _recall(
        self,
        request: Request,
        model: type[Kept],
        cache: SessionCache,
        holder: PastHolder | None,
        call: Call,
        *,
        fresh: bool,
    ) -> tuple[Origin | None, Kept | None]:
        """Return what an answer is derived from, and the answer if a fresh one is kept.

        With *fresh* there is no answer.
        """
        origin = None
        # The peek has told all that the client's own cache knows of a session.
        if cache.is_shared or holder or model is not Session:
            epoch = self._writes.epoch
            origin, found = await self._look_up(cache, request, model)
            if fresh:
                return origin, None
            if isinstance(found, model):
                self._counters.hit(request)
                return origin, found
            if holder is not None and isinstance(found, Past):
                holder.hold(found, self.loop.time(), epoch)
        self._counters.miss(request)
        if origin is not None and not origin.is_known:
            origin = await self._find_out(cache, origin, request, call)
        return origin, None

    async def _find_out(
        self, cache: SessionCache, origin: Origin, request: Request, call: Call
    ) -> Origin:
        """Get the state of a session if the question of *call* is to learn it.

        The answer comes first: what is asked for after it comes from the finished
        session. One attempt has to do, within half of the time that is left, and its
        failure is not that of the call.
        """
        session_id, now = request.session_id, self.loop.time()
        if self._outage is not None and self._outage.is_open(now):
            return origin
        note = self._questions.ask(session_id, now)
        if note is None:
            return origin
        get, asked_at = requests.get_session(session_id), time.time()
        asking = call.aside(now)
        try:
            session = await self.pipeline.fetch(get, asking, Session)
        except EmoggError as error:
            if self._outage is not None:
                self._outage.note(asking, error, self.loop.time())
            return origin
        if self._questions.has(session_id, note):  # else it was written, or is known
            await cache.put(session, asked_at)
        return origin.of(session)

    async def look(self, session_id: str) -> Session:
        """Return a session, from the cache if it has a fresh one."""
        session = self.cache.peek(session_id) if self.cache else None
        return session or await self.read(requests.get_session(session_id), Session)

    async def wait_until_finished(self, session_id: str, poll: float) -> Session:
        """Get a session every *poll* seconds, or oftener, until it is finished.

        All calls for a session by the same terms share their gets. Neither an outage
        nor a refusal ends it, only the deadline of the context.
        """
        request = requests.get_session(session_id)

        async def ask() -> Session | None:
            session = await self.read(request, Session, fresh=True)
            return session if session.state == SessionState.FINISHED else None

        return await self._polls.wait(request, self.pipeline.terms, ask, poll)

    async def _look_up(
        self, cache: SessionCache, request: Request, model: type[Kept]
    ) -> Found[Kept]:
        """Return the session that an answer is derived from, and the answer, if kept.

        The answer may be past. A session is derived from none.
        """
        if model is Session:
            session: Any = await cache.get(request.session_id)
            return None, session
        return await cache.get_derived(request, model)

    def _fetch(
        self,
        request: Request,
        call: Call,
        model: type[T],
        holder: PastHolder | None = None,
    ) -> Awaitable[T]:
        """Fetch what a read asks for."""
        if self._outage is None:
            return self.pipeline.fetch(request, call, model)
        return self._fetch_and_learn(self._outage, request, call, model, holder)

    async def _fetch_and_learn(
        self,
        outage: Outage,
        request: Request,
        call: Call,
        model: type[T],
        holder: PastHolder | None,
    ) -> T:
        """Fetch what a read asks for, and learn from it whether the service is out."""
        call.gives_up = partial(outage.gives_up, holder, self.loop.time)
        try:
            value = await self.pipeline.fetch(request, call, model)
        except (EmoggError, asyncio.CancelledError) as error:
            outage.note(call, error, self.loop.time())
            raise
        finally:
            call.gives_up = None  # tenacity leaves cycles, which would keep the holder
        outage.close()
        return value

    def _detach_gets(self, request: Request, spare: Call | None = None) -> None:
        for priority in Priority:
            key = request.session_id, request.target, priority
            self.pipeline.flights.detach(*key, spare=spare)

    # -- outages -------------------------------------------------------------------

    async def _share_or_serve(
        self,
        request: Request,
        load: Load[Kept],
        look_up: LookUp[Kept],
        holder: PastHolder,
        outage: Outage,
    ) -> Kept:
        """Share a load; serve a past value if the service cannot answer.

        Args:
            request: What the load is for.
            load: Carries it out.
            look_up: Looks for a past value in the cache.
            holder: Has the past value that the load has found.
            outage: Tells whether to serve one at once.
        """
        now = self.loop.time()
        deadline = self.pipeline.deadline(now)
        past: Kept | None = None
        why: EmoggError | None = None
        if outage.is_open(now):
            past = await self._find_past(request, look_up, deadline)
            if past is not None and not outage.is_probed(now):
                outage.probe(now)
                past = None
        if past is None:
            try:
                return await self.pipeline.share(request, load)
            except EmoggError as error:
                if is_outage(error):
                    past = await self._find_past(request, look_up, deadline, holder)
                if past is None:
                    raise
                why = bare(error)
        self._counters.stale(request, why)
        return attrs.evolve(past, stale=True)

    async def _find_past(
        self,
        request: Request,
        look_up: LookUp[Kept],
        deadline: float,
        holder: PastHolder | None = None,
    ) -> Kept | None:
        """Return the past value of *holder*, or the cache's, until *deadline*.

        The holder is empty if the time was up before the load had looked one up. A
        fresh load looks up nothing.
        """
        if request.session_id in self._writes.under_way:
            return None
        epoch = self._writes.epoch
        if holder and holder.holds(self.loop.time(), epoch):
            value: Kept = holder.value
            return value
        found = None
        until = max(deadline, self.loop.time() + GLANCE_SECONDS)
        with suppress(TimeoutError), self.pipeline.limit(until):
            _, found = await look_up()
        return (
            found.value
            if isinstance(found, Past) and epoch == self._writes.epoch
            else None
        )

    # -- many ----------------------------------------------------------------------

    async def cached(
        self, session_ids: Sequence[str], *, fresh: bool
    ) -> dict[str, Session]:
        """Return those of *session_ids* that need no request, by id.

        During an outage these are all that have a past value, but one that probes.
        """
        if self.cache is None or fresh:
            return {}
        found: dict[str, Session | Past[Session]] = {}
        with suppress(TimeoutError), self.pipeline.limit():
            found = await self.cache.get_many(session_ids)
        sessions: dict[str, Session] = {}
        past: dict[str, Session] = {}
        for session_id, value in found.items():
            if isinstance(value, Past):
                past[session_id] = value.value
            else:
                self._counters.hit(session_id)
                sessions[session_id] = value
        now = self.loop.time()
        if past and self._outage is not None and self._outage.is_open(now):
            if not self._outage.is_probed(now):
                past.popitem()
            for session_id, session in past.items():
                self._counters.stale(requests.get_session(session_id))
                sessions[session_id] = attrs.evolve(session, stale=True)
        self._counters.calls += len(sessions)
        return sessions

    async def page(
        self,
        query: list[tuple[str, str]],
        take: Callable[[Page], list[Session]],
        *,
        fresh: bool,
    ) -> list[Session]:
        """Load a page; cache and return what *take* takes of it, as gets would.

        The rest is not cached: it would push out sessions that were asked for. Gets
        wait for the page, so it has less time than they have.
        """
        epoch, asked_at = self._writes.epoch, time.time()
        if self._outage is not None:
            self._outage.probe(self.loop.time())
        sessions = take(await self.list_page(query, allowance=self._page_timeout))
        self._counters.calls += len(sessions)
        if self.cache:
            if not fresh:
                for session in sessions:
                    self._counters.miss(session.id.lower())
            if epoch == self._writes.epoch and not self._writes.under_way:
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

        async def load(call: Call) -> Page:
            return await self._fetch(request, call, Page)

        return await self.pipeline.share(
            request, load, priority=BULK, allowance=allowance
        )

    # -- writes --------------------------------------------------------------------

    async def write(self, request: Request, model: type[T]) -> T:
        """Carry out a write and return what the service answers."""
        load = partial(self.pipeline.fetch, request, model=model)
        return await self._outdate(request, load)

    async def stop(self, request: Request) -> Session:
        """Carry out a stop; one get settles it when its outcome is in doubt."""

        async def load(call: Call) -> Session:
            cause: BaseException | None
            try:
                stopped = await self.pipeline.fetch(request, call, Session)
                if stopped.state != SessionState.ACTIVE:
                    return stopped
                cause = ResponseShapeError("it is still active")
                doubt = outcome_unknown(request, call, cause.message)
            except OutcomeUnknownError as error:
                doubt, cause = error, error.__cause__
            # A get settles a refusal after an unknown fate, and an unreadable answer.
            if not isinstance(cause, BadRequestError | ResponseShapeError):
                raise doubt
            session = await self._settle(request, call)
            if session.state in _STOPPED:
                return session
            raise cause if isinstance(cause, BadRequestError) else doubt

        stopped = await self._outdate(request, load)
        self.on_end(request.session_id)
        return stopped

    async def _settle(self, request: Request, call: Call) -> Session:
        """Get the session that *request* wanted to change.

        Raises:
            OutcomeUnknownError: The get has failed.
        """
        get = requests.get_session(request.session_id)
        try:
            return await self.pipeline.fetch(get, call, Session)
        except EmoggError as error:
            raise outcome_unknown(request, call, error.headline) from error

    async def custom(self, request: Request) -> Any:
        """Carry out any request, alone, and return the parsed JSON as it is."""

        async def load(call: Call) -> Any:
            try:
                return await self.pipeline.payload(request, call)
            except OutcomeUnknownError as error:
                # A 404 after an unknown fate: an earlier send has deleted it. A status
                # before an unreadable answer: this one has.
                cause = error.__cause__
                done = isinstance(cause, NotFoundError) or (
                    isinstance(cause, ResponseShapeError) and call.status
                )
                if request.method == "DELETE" and done and not request.is_raw:
                    return None
                raise

        answer = await self._outdate(request, load)
        if request.method == "DELETE":
            self.on_end(request.session_id)
        return answer

    async def register(self, request: Request, source_format: str) -> RegisteredSource:
        """Register a source, and remember the format of its events."""
        source = await self.write(request, RegisteredSource)
        self._sources.note(source.id, source_format)
        return source

    def format_of(self, session_id: str, source_id: str) -> str | None:
        """Return the format of a source's events; None if it is not known here."""
        session = self.cache.peek(session_id) if self.cache else None
        return self._sources.format_of(source_id, session)

    async def _outdate(self, request: Request, load: Load[T]) -> T:
        if not request.session_id:
            return await self.pipeline.share(request, load)

        done: list[T] = []
        failed: list[EmoggError] = []

        async def write(call: Call) -> T:
            async with self._writing(request.session_id):
                try:
                    done.append(await load(call))
                except EmoggError as error:
                    failed.append(error)
                    raise
            return done[0]

        try:
            return await self.pipeline.share(request, write)
        except EmoggError as error:
            # It may have been cut off when only the cache had not been told yet.
            if done:
                return done[0]
            end = bare(failed[0]) if failed else error
        finally:  # it may have been cut off, and be about to end
            self._detach(request.session_id)
        # Not raised in `except`, where the other error would become its context.
        raise end

    @asynccontextmanager
    async def _writing(self, session_id: str) -> AsyncIterator[None]:
        """Outdate what is known of a session, before and after it is changed."""
        self._writes.begin(session_id)
        try:
            await self._forget(session_id)
            yield
        finally:
            try:
                await self._forget(session_id)
            finally:
                self._writes.end(session_id)

    async def _forget(self, session_id: str) -> None:
        self._detach(session_id)
        await self._lose(session_id)

    async def _lose(self, session_id: str, *, is_used: bool = True) -> None:
        """Keep nothing of a session that was written, or that the service denies.

        Without *is_used* this client has asked for nothing that is derived from it.
        """
        self._writes.epoch += 1
        self._questions.forget(session_id)
        if self._outdated:
            await self._outdated.drop(session_id, is_written=is_used)

    def _detach(self, session_id: str) -> None:
        """Let nobody join a load of a session that is under way, nor store it."""
        self._writes.epoch += 1
        self._polls.outdate(session_id)
        self.pipeline.flights.detach_if(lambda key: bool(key[0] == session_id))
