"""The cache of a client, made of its policy: the client's own, or a shared one.

Values derived from a session are kept beside it, until somebody writes it. Those of a
finished session are found only as long as the cache holds that very session. All others
are kept as if the session were live.
"""

import hashlib
import hmac
import random
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from emogg_async._caching.guard import SCHEMA
from emogg_async._caching.outages import Past
from emogg_async._caching.policy import CachePolicy
from emogg_async._caching.shared import Origin, SharedCache
from emogg_async._wire.protocol import Request
from emogg_async.models import Session

__all__ = ["SessionCache", "open_cache"]

T = TypeVar("T")


class SessionCache(Protocol):
    """A cache of one user's sessions, by id in lower case.

    Attributes:
        policy: What to keep, and for how long.
        is_shared: Whether others use it too; then only `get` knows its contents.
    """

    policy: CachePolicy
    is_shared: bool

    def peek(self, session_id: str, /) -> Session | None:
        """Return a fresh session, if that takes no waiting."""

    async def get(self, session_id: str) -> Session | Past[Session] | None:
        """Return a session that is fresh, or else past."""

    async def get_many(
        self, session_ids: Sequence[str]
    ) -> dict[str, Session | Past[Session]]:
        """Return those of *session_ids* that are fresh or past, by id."""

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        """Store *session*; with a time to live of 0, remove what it replaces.

        Args:
            session: The session.
            asked_at: When the service was asked for it, by the wall clock; None is now.
        """

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        """Do what `put` does for each of *sessions*."""

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Origin | None, T | Past[T] | None]:
        """Return what an answer to *request* is derived from now, and the kept answer.

        The answer may be past. The origin is None if the cache does not answer.
        """

    async def put_derived(
        self, request: Request, origin: Origin, value: T, asked_at: float
    ) -> None:
        """Store the answer to *request*, which was asked for at *asked_at*.

        It stays for as long as *origin* is there; without a finished session it stays
        fresh as long as a live one.
        """

    async def drop(self, session_id: str, *, is_written: bool) -> None:
        """Remove a session; if it *is_written* or gone, what is derived goes too."""

    async def close(self) -> None:
        """End the work in the background; stored values stay."""


def open_cache(
    policy: CachePolicy, *, base_url: str, token: str, rng: random.Random
) -> SessionCache:
    """Open the cache that *policy* describes, for the user of *token* alone.

    Args:
        policy: What to keep, for how long and where.
        base_url: The service that the sessions come from.
        token: Whose sessions they are; no part of it gets into a key.
        rng: The source of jitter.
    """
    if policy.backend is None:
        from emogg_async._caching.memory import OwnCache  # noqa: PLC0415 - slow to import

        return OwnCache(policy, rng)
    tenant = hmac.new(token.encode(), base_url.encode(), hashlib.sha256).hexdigest()
    return SharedCache(policy, policy.backend, f"emogg:{SCHEMA}:{tenant[:16]}:", rng)
