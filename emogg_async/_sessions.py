"""Sessions and what is known of them: read through the cache, written past it.

A write outdates what is known of its session. As it begins, what is kept of that is
dropped; while it is under way nothing more is kept; and what began before its end is
neither kept nor joined after it.
"""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final, TypeVar

from emogg_async._caching.lru import ExpiringLRU
from emogg_async._calls.call import Call
from emogg_async._calls.retry import outcome_unknown
from emogg_async._reads import Reads
from emogg_async._wire import requests
from emogg_async._wire.protocol import Request
from emogg_async.errors import (
    BadRequestError,
    EmoggError,
    NotFoundError,
    OutcomeUnknownError,
    ResponseShapeError,
)
from emogg_async.models import RegisteredSource, Session, SessionState

__all__ = ["Sessions"]

T = TypeVar("T")

STOPPED: Final = frozenset({SessionState.PROCESSING, SessionState.FINISHED})
"""What a session that was active can be once it was stopped."""

KNOWN_SOURCES: Final = 1_000
"""Registered sources whose format is remembered."""


class Sessions(Reads):
    """The sessions of a client that is open.

    They are made as `Reads` are, which is where everything is but the writes.
    """

    @cached_property
    def _formats(self) -> ExpiringLRU:
        return ExpiringLRU(KNOWN_SOURCES, time.monotonic)

    async def write(self, request: Request, model: type[T]) -> T:
        """Carry out a write and return what the service answers."""
        return await self._outdate(
            request, lambda call: self.pipeline.fetch(request, call, model)
        )

    async def stop(self, request: Request) -> Session:
        """Carry out a stop; what is in doubt is settled by one get."""

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
            # Refused after an unknown fate, or an answer that is none to a stop.
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
        look = requests.get_session(request.session_id)
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
                # An earlier send did it and its answer was lost, or this one's status
                # says so, and no more of it can be read.
                cause = error.__cause__
                done = isinstance(cause, NotFoundError) or (
                    isinstance(cause, ResponseShapeError) and call.status
                )
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
        self, request: Request, load: Callable[[Call], Coroutine[Any, Any, T]]
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
        await self._lose(session_id, is_written=True)

    def _detach(self, session_id: str) -> None:
        self._epoch += 1
        self.pipeline.flights.detach_if(lambda key: bool(key[0] == session_id))
