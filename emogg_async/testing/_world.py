"""The users of the emulated service and their sessions, without any HTTP."""

import json
import random
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import attrs

from emogg_async._converter import format_datetime, structure, to_dict
from emogg_async.errors import ResponseShapeError
from emogg_async.models import Session, Source
from emogg_async.testing._bucket import Rounding, TokenBucket
from emogg_async.testing._checks import (
    SECONDS,
    is_aware,
    is_hex_id,
    is_name,
    is_seconds,
    require,
)
from emogg_async.testing._clock import EPOCH, Clock
from emogg_async.testing._seeds import invent_duration, invent_name, invent_sessions

__all__ = ["Page", "StoredSession", "User", "World"]

_VERSION: Final = 3
"""Version of the session object's schema, as of the reference."""

_OBJECT_ID_SECONDS: Final = range(2**32)
"""Creation seconds that fit an ObjectId: from 1970 into 2106."""

_BEGUN: Final = attrgetter("timestamp")
_KEY: Final = attrgetter("key")
_ID: Final = attrgetter("id")

_FIXED: Final = frozenset({"_id", "id", "user"})
"""What a session keeps for its whole life."""


class StoredSession:
    """A session as the service keeps it, encoded once for all answers."""

    __slots__ = (
        "_session",
        "body",
        "hidden",
        "id",
        "key",
        "timestamp",
        "user",
        "wire",
    )

    def __init__(
        self,
        user: "User",
        wire: dict[str, Any],
        *,
        trusted: bool = False,
        hidden: bool = False,
    ) -> None:
        self.user = user
        self.hidden = hidden  # from lists; a get shows it
        self.wire = wire
        self.id: str = wire["_id"]
        self._session = None if trusted else _checked(wire)
        self.body = json.dumps(wire, separators=(",", ":")).encode()
        self.timestamp = datetime.fromisoformat(wire["timestamp"])
        self.key = self.timestamp, self.id  # where it stands among others

    @property
    def session(self) -> Session:
        """The session as a model; made when it is first asked for."""
        if self._session is None:
            self._session = structure(self.wire, Session)
        return self._session


@attrs.define(eq=False)
class User:
    """Somebody with a token, a bucket and sessions of their own."""

    token: str = attrs.field(repr=False)
    id: str
    product: str
    bucket: TokenBucket | None
    sessions: list[StoredSession] = attrs.field(factory=list, repr=False)
    """Oldest first, by `StoredSession.key`."""


@attrs.frozen(kw_only=True)
class Page:
    """Which sessions a list request asks for."""

    state: str | None = None
    type: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit: int = 10
    offset: int = 0
    by_id: bool = False
    """Whether they are sorted by id, not by timestamp."""


class World:
    """All users and sessions; safe to use from any thread."""

    def __init__(
        self,
        clock: Clock,
        seed: int,
        rate_limit: tuple[int, float] | None,
        rounding: Rounding,
    ) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._rate_limit = rate_limit
        self._rounding = rounding
        self._rng = random.Random(seed)  # noqa: S311 - test data, the same each time
        self._machine = f"{self._rng.getrandbits(40):010x}"
        self._counter = self._rng.getrandbits(20)
        self._users: dict[str, User] = {}
        self._sessions: dict[str, StoredSession] = {}

    def user(self, token: str) -> User | None:
        """Return the user with *token*, or None."""
        return self._users.get(token)

    def add_user(self, token: str | None = None) -> User:
        """Add a user with *token*, or with one that is made up."""
        with self._lock:
            token = token or f"emogg-emulator-token-{len(self._users) + 1}"
            require(token not in self._users, "token", "not one that is in use already")
            joined = EPOCH.replace(year=EPOCH.year - 1)
            bucket = self._rate_limit and TokenBucket(*self._rate_limit, self._rounding)
            user = User(token, self._new_id(joined), self._new_id(joined), bucket)
            self._users[token] = user
            return user

    def populate(self, user: User, count: int) -> None:
        """Give *user*, who must have none yet, *count* sessions from before `EPOCH`."""
        for begun, fields in invent_sessions(self._rng, count, EPOCH):
            wire = {"_id": self._new_id(begun)} | fields | self._owned(user)
            self._keep(StoredSession(user, wire, trusted=True))

    def add(
        self,
        user: User,
        session_id: str | None,
        fields: Mapping[str, Any],
        *,
        hidden: bool = False,
    ) -> StoredSession:
        """Add a session of *user*'s; *fields* of the wire that are None are made up."""
        given = _wire_fields(fields)
        with self._lock:
            begun = fields.get("timestamp") or self._default_begin(session_id)
            session_id = self._choose_id(session_id, begun)
            invented = {
                "name": invent_name(self._rng),
                "timestamp": _milliseconds(begun),
                "duration": invent_duration(self._rng),
            }
            wire = {"_id": session_id} | invented | self._owned(user) | given
            return self._keep(StoredSession(user, wire, hidden=hidden))

    def update(self, session_id: str, changes: Mapping[str, Any]) -> StoredSession:
        """Replace fields of a session; None removes one."""
        removed = {name for name, value in changes.items() if value is None}
        given = _wire_fields(changes)
        with self._lock:
            old = self._known(session_id)
            kept = {name: old.wire[name] for name in old.wire if name not in removed}
            new = StoredSession(old.user, kept | given, hidden=old.hidden)
            self._drop(old)
            return self._keep(new)

    def remove(self, session_id: str) -> None:
        """Remove a session for good."""
        with self._lock:
            self._drop(self._known(session_id))

    def find(self, user: User, session_id: str) -> StoredSession | None:
        """Return *user*'s session with that id, or None; the others' do not count."""
        found = self._sessions.get(session_id.lower())
        return found if found and found.user is user else None

    def all_sessions(self) -> list[StoredSession]:
        """Return the sessions of all users, newest first."""
        with self._lock:
            return sorted(self._sessions.values(), key=_KEY, reverse=True)

    def page(self, user: User, page: Page) -> tuple[list[StoredSession], bool]:
        """Return *page* of *user*'s sessions, newest first, and whether more follow."""
        with self._lock:
            stored = user.sessions
            first = bisect_right(stored, page.after, key=_BEGUN) if page.after else 0
            last = len(stored)
            if page.before:
                last = bisect_left(stored, page.before, key=_BEGUN)
            candidates: Iterable[StoredSession]
            candidates = map(stored.__getitem__, range(last - 1, first - 1, -1))
            if page.by_id:
                candidates = sorted(candidates, key=_ID, reverse=True)
            matching = (
                item
                for item in candidates
                if not item.hidden
                and page.state in {None, item.wire["state"]}
                and page.type in {None, item.wire["type"]}
            )
            end = page.offset + page.limit
            found = list(islice(matching, page.offset, end + 1))
        return found[: page.limit], len(found) > page.limit

    def _owned(self, user: User) -> dict[str, Any]:
        return {"product": user.product, "user": user.id, "version": _VERSION}

    def _keep(self, stored: StoredSession) -> StoredSession:
        insort(stored.user.sessions, stored, key=_KEY)
        self._sessions[stored.id] = stored
        return stored

    def _drop(self, stored: StoredSession) -> None:
        stored.user.sessions.remove(stored)
        del self._sessions[stored.id]

    def _known(self, session_id: object) -> StoredSession:
        require(is_hex_id(session_id), "session_id", "24 hex digits")
        found = self._sessions.get(str(session_id).lower())
        require(found is not None, "session_id", "that of a session of this emulator")
        assert found is not None  # noqa: S101 - for the type checker
        return found

    def _default_begin(self, session_id: str | None) -> datetime:
        if session_id is None or not is_hex_id(session_id):
            return self._clock.now()
        return datetime.fromtimestamp(int(session_id[:8], 16), UTC)

    def _choose_id(self, session_id: str | None, begun: datetime) -> str:
        if session_id is None:
            return self._new_id(begun)
        require(is_hex_id(session_id), "id", "24 hex digits")
        chosen = session_id.lower()
        require(chosen not in self._sessions, "id", "not one that is in use already")
        return chosen

    def _new_id(self, begun: datetime) -> str:
        """Make an ObjectId as MongoDB does: its second, a machine, a counter."""
        second = int(begun.timestamp() // 1)
        rule = "a date from 1970 to 2105, or pass an id of its own"
        require(second in _OBJECT_ID_SECONDS, "timestamp", rule)
        self._counter += 1
        return f"{second:08x}{self._machine}{self._counter % 2**24:06x}"


def _checked(wire: dict[str, Any]) -> Session:
    try:
        return structure(wire, Session)
    except ResponseShapeError as error:
        require(False, error.problems[0].partition(":")[0], error.problems[0])
        raise


def _milliseconds(moment: datetime) -> str:
    """Write *moment* as the service does, which knows no microseconds."""
    return format_datetime(
        moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )


def _wire_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check *fields*, leave out what is None, and write the rest as JSON values."""
    wire = {name: value for name, value in fields.items() if value is not None}
    fixed = ", ".join(sorted(wire.keys() & _FIXED))
    require(not fixed, fixed, "not to be set: a session keeps it")
    require(is_name(wire.get("name", "-")), "name", "a string of 1 to 256 characters")
    require(is_seconds(wire.get("duration", 0)), "duration", SECONDS)
    if "timestamp" in wire:
        require(is_aware(wire["timestamp"]), "timestamp", "an aware datetime")
        wire["timestamp"] = _milliseconds(wire["timestamp"])
    if "sources" in wire:
        wire["sources"] = _wire_sources(wire["sources"])
    try:
        json.dumps(wire, allow_nan=False)
    except (TypeError, ValueError):
        require(False, "fields", "JSON values")
    return wire


def _wire_sources(sources: Any) -> list[Any]:
    rule = "an iterable of Source, or of their wire forms"
    require(isinstance(sources, Iterable), "sources", rule)
    return [to_dict(item) if isinstance(item, Source) else item for item in sources]
