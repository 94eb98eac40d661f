"""A cache of sessions in a backend that others may share.

Each model is stored as text in a JSON envelope, so nothing is ever pickled into a
shared place. An error, a delay or rubbish of the backend is a miss. A removal that
fails is kept as owed, and repeated until the backend is back.

Source: https://aiocache.aio-libs.org.
"""

import asyncio
import hashlib
import json
import math
import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

import attrs

from emogg_async._caching.guard import (
    BACKEND_TIMEOUT,
    PAUSE,
    Guard,
    Turns,
    unwrapped,
    wrapped,
)
from emogg_async._caching.outages import Past
from emogg_async._caching.policy import JITTER, CacheBackend, CachePolicy
from emogg_async._wire.converter import to_dict
from emogg_async._wire.protocol import Request
from emogg_async.models import Session, SessionState

__all__ = ["Origin", "Origins", "SharedCache"]

T = TypeVar("T")

LONGEST_KEPT: Final = 30 * 86_400
"""Seconds for which a backend keeps a value at most; memcached takes more as a date."""

FIRST_WAIT: Final = 0.25
"""Seconds until a failed removal is tried again; each further wait is twice as long."""

NOTED_WRITES: Final = 10_000
"""Sessions whose last write is remembered."""


@attrs.frozen
class Origin:
    """The state of a session from which a value is derived.

    Attributes:
        session: The session if it is finished; None if it is not, or is not known.
        mark: A value that changes with each write of the session.
        is_known: Whether the cache holds the session, fresh and in whatever state.
    """

    session: Session | None
    mark: object
    is_known: bool = attrs.field(default=False, eq=False)

    def of(self, session: Session) -> "Origin":
        """Return the origin that this is now that *session* is known."""
        return Origin(session if _is_finished(session) else None, self.mark)


class Origins:
    """What a value may be derived from, if it is to be served now.

    Args:
        found: The session in the cache, fresh or past.
        mark: The mark of the session.
        grace: Seconds for which a value may be served beyond its freshness.

    Attributes:
        now: The origin of a value that is asked for now.
    """

    def __init__(
        self, found: Session | Past[Session] | None, mark: object, grace: float
    ) -> None:
        session = found.value if isinstance(found, Past) else found
        self._lasts = found.lasts if isinstance(found, Past) else math.inf
        self._grace = grace
        finished = session if session and _is_finished(session) else None
        self._live = Origin(None, mark)
        self._kept = Origin(finished, mark, is_known=session is not None)
        self.now = self._live if isinstance(found, Past) else self._kept

    def allowed(self, value: T, origin: object, lasts: float) -> T | Past[T] | None:
        """Return *value* as it may be served: fresh, past, or not at all.

        Args:
            value: The value.
            origin: What it is derived from.
            lasts: Seconds for which it may be served, if it is past.
        """
        if origin == self._live:
            if self.now != self._live:  # it may be from before the end
                lasts = min(lasts, self._grace)
        elif origin == self._kept:
            lasts = min(lasts, self._lasts)
        else:
            return None
        return value if lasts == math.inf else Past(value, lasts)

    def find(self, fingerprint: object) -> Origin | None:
        """Return the origin that has this *fingerprint*."""
        both = (self._live, self._kept)
        return next((each for each in both if _fingerprint(each) == fingerprint), None)


class SharedCache:
    """A `SessionCache` in *backend*, under keys that begin with *prefix*."""

    is_shared = True

    def __init__(
        self,
        policy: CachePolicy,
        backend: CacheBackend,
        prefix: str,
        rng: random.Random,
    ) -> None:
        self.policy = policy
        self._backend = backend
        self._prefix = prefix + "session:"
        self._derived_prefix = prefix + "derived:"
        self._mark_prefix = prefix + "written:"
        self._rng = rng
        self._guard = Guard()
        self._turns = Turns()
        self._written: dict[str, float] = {}
        self._written_before = -math.inf
        self._owed: dict[str, bool] = {}
        self._paying: asyncio.Task[None] | None = None
        self._is_closing = False

    def peek(self, _: str, /) -> Session | None:
        return None

    async def get(self, session_id: str) -> Session | Past[Session] | None:
        key = self._prefix + session_id
        envelope = await self._guard.ask(
            lambda: self._backend.get(key, loads_fn=_as_text)
        )
        return self._accepted(session_id, envelope)

    async def get_many(
        self, session_ids: Sequence[str]
    ) -> dict[str, Session | Past[Session]]:
        keys = [self._prefix + each for each in session_ids]
        envelopes = await self._guard.ask(
            lambda: self._backend.multi_get(keys, loads_fn=_as_text)
        )
        if not isinstance(envelopes, list) or len(envelopes) != len(keys):
            return {}
        found = map(self._accepted, session_ids, envelopes)
        pairs = zip(session_ids, found, strict=True)
        return {each: value for each, value in pairs if value is not None}

    def _accepted(
        self, session_id: str, envelope: object
    ) -> Session | Past[Session] | None:
        grace = self.policy.stale_if_error
        body = unwrapped(envelope, Session, time.time(), grace)
        if body is None:
            return None
        # Another client may have asked before our own write and stored after it. A
        # backend may have failed to delete an entry, or may store one late.
        written_at = self._written.get(session_id, self._written_before)
        if not body.asked_at > written_at:  # NaN neither
            return None
        session, fresh_for = body.value, body.fresh_for
        # Our policy bounds the freshness, even if another clock is ahead.
        if fresh_for > self.policy.ttl_of(session) * (1 + JITTER):
            return None
        if session.id.lower() != session_id:
            return None
        return session if fresh_for > 0 else Past(session, fresh_for + grace)

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        session_id = session.id.lower()
        if ttl := self.policy.ttl_of(session):
            await self._set(self._prefix + session_id, session, ttl, asked_at=asked_at)
        elif not await self._remove(session_id, is_written=False):
            self._note_write(session_id)

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        # All at once: one by one, a page would take a hundred round trips.
        await asyncio.gather(*(self.put(session, asked_at) for session in sessions))

    async def _set(self, key: str, value: Any, ttl: float, **facts: Any) -> None:
        ttl *= self._rng.uniform(1 - JITTER, 1 + JITTER)
        envelope = wrapped(value, ttl, time.time(), **facts)

        async def store() -> None:
            async with self._turns.of(key):
                await self._store(key, envelope, ttl)

        await self._guard.ask(store)

    async def _store(self, key: str, text: str, ttl: float) -> None:
        """Store *text* for as long as it may be served, fresh or past.

        The time is in whole seconds, since memcached takes nothing else. The envelope
        holds the freshness.
        """
        kept: float = min(math.ceil(ttl + self.policy.stale_if_error), LONGEST_KEPT)
        if getattr(self._backend, "NAME", "") == "redis":
            kept = float(kept)  # for an int aiocache uses what redis-py has deprecated
        await self._backend.set(key, text, ttl=kept, dumps_fn=_as_text)

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Origin | None, T | Past[T] | None]:
        keys = [
            self._prefix + request.session_id,
            self._derived_prefix + request.target,
            self._mark_prefix + request.session_id,
        ]
        envelopes = await self._guard.ask(
            lambda: self._backend.multi_get(keys, loads_fn=_as_text)
        )
        if not isinstance(envelopes, list) or len(envelopes) != len(keys):
            return None, None
        found = self._accepted(request.session_id, envelopes[0])
        grace = self.policy.stale_if_error
        origins = Origins(found, envelopes[2], grace)
        body = unwrapped(envelopes[1], model, time.time(), grace)
        origin = origins.find(body.of) if body else None
        if body is None or origin is None:
            return origins.now, None
        written_at = self._written.get(request.session_id, self._written_before)
        is_usable = (
            body.asked_at > written_at
            and body.fresh_for <= self.policy.ttl_of(origin.session) * (1 + JITTER)
            and getattr(body.value, "session", "").lower() == request.session_id
        )
        if not is_usable:
            return origins.now, None
        lasts = math.inf if body.fresh_for > 0 else body.fresh_for + grace
        return origins.now, origins.allowed(body.value, origin, lasts)

    async def put_derived(
        self, request: Request, origin: Origin, value: T, asked_at: float
    ) -> None:
        if ttl := self.policy.ttl_of(origin.session):
            key, of = self._derived_prefix + request.target, _fingerprint(origin)
            await self._set(key, value, ttl, of=of, asked_at=asked_at)

    async def drop(self, session_id: str, *, is_written: bool) -> None:
        # Noted first, so that it counts even if this is cancelled.
        self._note_write(session_id)
        await self._remove(session_id, is_written=is_written)

    async def _remove(self, session_id: str, *, is_written: bool) -> bool:
        """Remove a session; if it *is_written* or gone, what is derived goes too.

        A removal that fails is owed: a task repeats it until the backend is back.
        """
        key = self._prefix + session_id

        async def remove() -> bool:
            async with self._turns.of(key):  # after a store that is under way
                steps = [self._backend.delete(key)]
                if is_written:  # derived values cannot be listed: their mark changes
                    mark = f"{self._rng.getrandbits(64):x}"
                    ttl = max(1.0, self.policy.ttl * (1 + JITTER))
                    steps.append(self._store(self._mark_prefix + session_id, mark, ttl))
                await asyncio.gather(*steps)
            return True

        is_done = None
        try:
            is_done = await self._guard.ask(remove)
        finally:
            if is_done:
                self._owed.pop(session_id, None)
            else:
                self._owe(session_id, is_written=is_written)
        return is_done is True

    def _owe(self, session_id: str, *, is_written: bool) -> None:
        self._owed[session_id] = self._owed.get(session_id, False) or is_written
        if len(self._owed) > NOTED_WRITES:
            del self._owed[next(iter(self._owed))]
        is_paying = self._paying is not None and not self._paying.done()
        if not is_paying and not self._is_closing:
            # Run in a context: not every task factory knows the argument `context`.
            create_task = asyncio.get_running_loop().create_task
            self._paying = Context().run(create_task, self._pay())

    async def _pay(self) -> None:
        """Repeat the removals that are owed, until the backend is back."""
        wait = FIRST_WAIT
        while self._owed:
            await asyncio.sleep(wait)
            wait = min(2 * wait, PAUSE)
            await self._pay_all()

    async def _pay_all(self) -> None:
        for session_id, is_written in [*self._owed.items()]:
            if not await self._remove(session_id, is_written=is_written):
                break

    async def close(self) -> None:
        """End the task in the background, after a last attempt at the owed removals."""
        self._is_closing = True
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.wait([self._paying])
            await self._guard.close()  # there is no later: a pause would be the end
            with suppress(TimeoutError):
                async with asyncio.timeout(BACKEND_TIMEOUT):
                    await self._pay_all()
        await self._guard.close()

    def _note_write(self, session_id: str) -> None:
        """From now on, reject values of the session that were asked for earlier."""
        self._written.pop(session_id, None)
        self._written[session_id] = time.time()
        if len(self._written) > NOTED_WRITES:  # its moment then counts for all others
            oldest = self._written.pop(next(iter(self._written)))
            self._written_before = max(oldest, self._written_before)


def _is_finished(session: Session) -> bool:
    return session.state == SessionState.FINISHED


def _fingerprint(origin: Origin) -> str:
    """Return a hash that differs between sessions, and after each change or write."""
    session = to_dict(origin.session) if origin.session else None
    text = json.dumps(session, sort_keys=True).encode()
    mark = origin.mark.encode() if isinstance(origin.mark, str) else origin.mark
    return hashlib.sha256(text + (mark if isinstance(mark, bytes) else b"")).hexdigest()


def _as_text(value: Any) -> Any:
    """Pass text through, in place of the backend's own serializer."""
    return value
