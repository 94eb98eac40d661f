"""All users of the emulated service and their sessions, without HTTP."""

import random
import threading
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from emogg_async.errors import InvalidArgumentError
from emogg_async.testing._bucket import Rounding, TokenBucket
from emogg_async.testing._checks import SECONDS, is_hex_id, is_seconds, require
from emogg_async.testing._clock import EPOCH, Clock
from emogg_async.testing._guesses import (
    EXPIRES_AFTER,
    STREAM_DEVICE,
    STREAM_TYPE,
)
from emogg_async.testing._refusals import bad_request, not_found
from emogg_async.testing._seeds import (
    invent_duration,
    invent_name,
    invent_sessions,
    invent_uuid,
)
from emogg_async.testing._stored import (
    ACTIVE,
    PROCESSING,
    StoredSession,
    User,
    cut,
    milliseconds,
    wire_fields,
)

__all__ = ["Page", "World"]

_VERSION: Final = 3
"""Version of the session object's schema, as of the reference."""

_OBJECT_ID_SECONDS: Final = range(2**32)
"""Creation seconds that fit an ObjectId: from 1970 into 2106."""

_EVENTS_KEPT: Final = 10_000
"""Number of events that a session keeps: the newest ones."""

_UNDER_WAY: Final = frozenset({ACTIVE, PROCESSING})
"""States in which a session cannot be deleted."""

_SENSOR: Final = "generic_sensor"
"""Type and device of a registered source."""

_TAKES: Final = {"scalar": (int, float), "text": (str,)}
"""Types of the data that a source of each format takes."""

_BEGUN: Final = attrgetter("timestamp")
_KEY: Final = attrgetter("key")
_ID: Final = attrgetter("id")


@attrs.frozen(kw_only=True)
class Page:
    """The page of sessions that a list request asks for.

    Attributes:
        state: State of the sessions; None is any.
        type: Type of the sessions; None is any.
        after: Sessions begin after this moment; None is no bound.
        before: Sessions begin before this moment; None is no bound.
        limit: Largest number of sessions.
        offset: Number of matching sessions before the first one.
        by_id: Whether they are sorted by ID rather than by timestamp.
    """

    state: str | None = None
    type: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    limit: int = 10
    offset: int = 0
    by_id: bool = False


class World:
    """All users and sessions; safe to use from any thread."""

    def __init__(
        self,
        clock: Clock,
        seed: int,
        rate_limit: tuple[int, float] | None,
        rounding: Rounding,
        processing: float = 0.0,
    ) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._rate_limit = rate_limit
        self._rounding = rounding
        self._processing = processing
        self._rng = random.Random(seed)  # noqa: S311 - test data, the same each time
        self._machine = f"{self._rng.getrandbits(40):010x}"
        self._counter = self._rng.getrandbits(20)
        self._users: dict[str, User] = {}
        self._sessions: dict[str, StoredSession] = {}
        self._events: dict[str, deque[dict[str, Any]]] = {}

    def user(self, token: str) -> User | None:
        """Return the user with *token*, or None if there is none."""
        return self._users.get(token)

    def add_user(self, token: str | None = None) -> User:
        """Add a user with *token*; None makes one up."""
        with self._lock:
            token = token or f"emogg-emulator-token-{len(self._users) + 1}"
            require(token not in self._users, "token", "one that is not in use")
            joined = EPOCH.replace(year=EPOCH.year - 1)
            bucket = self._rate_limit and TokenBucket(*self._rate_limit, self._rounding)
            user = User(token, self._new_id(joined), self._new_id(joined), bucket)
            self._users[token] = user
            return user

    def populate(self, user: User, count: int) -> None:
        """Give *user*, who has none yet, *count* sessions from before `EPOCH`."""
        for begun, fields in invent_sessions(self._rng, count, EPOCH):
            wire = {"_id": self._new_id(begun)} | fields | self._owned(user)
            self._keep(StoredSession(user, wire, trusted=True))

    def add(
        self,
        user: User,
        session_id: str | None,
        fields: Mapping[str, Any],
        *,
        ends_after: float | None = None,
        hidden: bool = False,
    ) -> StoredSession:
        """Add a session of *user*, with made-up values for *fields* that are None.

        It lives with the clock and ends *ends_after* seconds from now, if given.
        """
        given = wire_fields(fields)
        if ends_after is not None:
            _check_life(ends_after, fields)
        with self._lock:
            now = self._clock.now()  # once, so that it lives for as long as told
            begun = fields.get("timestamp") or _default_begin(session_id, now)
            session_id = self._choose_id(session_id, begun)
            invented = {
                "name": invent_name(self._rng),
                "timestamp": milliseconds(begun),
                "duration": invent_duration(self._rng),
            }
            wire = {"_id": session_id} | invented | self._owned(user)
            if ends_after is None:
                return self._keep(StoredSession(user, wire | given, hidden=hidden))
            wire |= {"duration": 0.0, "meta": _meta(begun)} | given
            ends = cut(now) + timedelta(seconds=ends_after)
            ready = ends + timedelta(seconds=self._processing)
            return self._keep(
                StoredSession(
                    user, wire, hidden=hidden, live=True, ends=ends, ready=ready
                )
            )

    def update(self, session_id: str, changes: Mapping[str, Any]) -> StoredSession:
        """Replace fields of a session; None removes a field."""
        removed = {name for name, value in changes.items() if value is None}
        given = wire_fields(changes)
        with self._lock:
            old = self._known(session_id)
            return self._replace(old, old.changed(given, removed, self._clock.now()))

    def remove(self, session_id: str) -> None:
        """Remove a session for good."""
        with self._lock:
            self._drop(self._known(session_id))

    def create(self, user: User, name: str, stream_uri: str) -> StoredSession:
        """Create a session of *user* as the API does: its worker starts at once."""
        begun = self._clock.now()
        stream = urlsplit(stream_uri)
        with self._lock:
            source = {
                "id": invent_uuid(self._rng),
                "name": stream.hostname,
                "type": STREAM_TYPE,
                "device": STREAM_DEVICE.format(scheme=stream.scheme),
            }
            wire = {
                "_id": self._new_id(begun),
                "name": name,
                "type": "live_analysis",
                "state": ACTIVE,
                "timestamp": milliseconds(begun),
                "duration": 0.0,
                "sources": [source],
                "meta": _meta(begun),
            }
            return self._keep(StoredSession(user, wire | self._owned(user), live=True))

    def find(self, session_id: str) -> StoredSession | None:
        """Return any user's session with that ID in lower case, or None."""
        return self._sessions.get(session_id)

    def get(self, user: User, session_id: str) -> StoredSession:
        """Return *user*'s session with that ID.

        Raises:
            RefusalError: *user* has no such session.
        """
        found = self._sessions.get(session_id.lower())
        if found is None or found.user is not user:
            raise not_found("Session")
        return found

    def change(
        self, user: User, session_id: str, changes: Mapping[str, Any]
    ) -> StoredSession:
        """Replace fields of *user*'s session by valid *changes*.

        Raises:
            RefusalError: There is no such session.
        """
        with self._lock:
            return self.update(self.get(user, session_id).id, changes)

    def stop(self, user: User, session_id: str) -> StoredSession:
        """Finish *user*'s session.

        Raises:
            RefusalError: There is no such session, or it is not active.
        """
        with self._lock:
            stored = self.get(user, session_id)
            now = self._clock.now()
            if stored.state(now) != ACTIVE:
                raise bad_request("Session is not active")
            return self._replace(stored, stored.stopped(now, self._processing))

    def delete(self, user: User, session_id: str) -> None:
        """Remove *user*'s session for good.

        Raises:
            RefusalError: There is no such session, or it is not over yet.
        """
        with self._lock:
            stored = self.get(user, session_id)
            state = stored.state(self._clock.now())
            if state in _UNDER_WAY:
                raise bad_request(f"Session is {state}")
            self.remove(stored.id)

    def register(
        self, user: User, session_id: str, name: str, format_: str
    ) -> dict[str, Any]:
        """Register a source of events in *user*'s session.

        Raises:
            RefusalError: There is no such session.
        """
        with self._lock:
            source = {
                "id": invent_uuid(self._rng),
                "name": name,
                "device": _SENSOR,
                "type": _SENSOR,
                "format": format_,
            }
            stored = self.get(user, session_id)
            self.update(stored.id, {"sources": [*stored.sources, source]})
        return source

    def report(
        self, user: User, session_id: str, source_id: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keep the report of a source of *user*'s session: `time` and `data`.

        Raises:
            RefusalError: There is no such session or source, or the source does not
                take such data.
        """
        with self._lock:
            stored = self.get(user, session_id)
            wanted = source_id.lower()
            source = next(
                (s for s in stored.sources if s["id"].lower() == wanted), None
            )
            if source is None:
                raise not_found("Source")
            _check_data(source.get("format"), fields["data"])
            event = {
                "time": fields["time"],
                "data": fields["data"],
                "source": source["id"],
                "session": stored.id,
                "user": user.id,
                "type": "sensor_report",
            }
            kept = self._events.setdefault(stored.id, deque(maxlen=_EVENTS_KEPT))
            kept.append(event)
        return event

    def events(self, session_id: str) -> list[dict[str, Any]]:
        """Return the events reported to a session, oldest first."""
        with self._lock:
            return list(self._events.get(self._known(session_id).id, ()))

    def all_sessions(self) -> list[StoredSession]:
        """Return the sessions of all users, newest first."""
        with self._lock:
            return sorted(self._sessions.values(), key=_KEY, reverse=True)

    def page(self, user: User, page: Page) -> tuple[list[StoredSession], bool]:
        """Return *page* of *user*'s sessions, newest first, and whether more follow."""
        with self._lock:
            now, stored = self._clock.now(), user.sessions
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
                and page.state in {None, item.state(now)}
                and page.type in {None, item.type}
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

    def _replace(self, old: StoredSession, new: StoredSession) -> StoredSession:
        old.user.sessions.remove(old)
        return self._keep(new)

    def _drop(self, stored: StoredSession) -> None:
        stored.user.sessions.remove(stored)
        del self._sessions[stored.id]
        self._events.pop(stored.id, None)

    def _known(self, session_id: object) -> StoredSession:
        require(is_hex_id(session_id), "session_id", "24 hex digits")
        found = self._sessions.get(str(session_id).lower())
        if found is None:
            rule = "expected the id of a session of this emulator"
            raise InvalidArgumentError(f"session_id: {rule}, got {session_id}")
        return found

    def _choose_id(self, session_id: str | None, begun: datetime) -> str:
        if session_id is None:
            return self._new_id(begun)
        require(is_hex_id(session_id), "id", "24 hex digits")
        chosen = session_id.lower()
        require(chosen not in self._sessions, "id", "one that is not in use")
        return chosen

    def _new_id(self, begun: datetime) -> str:
        """Make an ObjectId as MongoDB does: second, machine, counter."""
        second = int(begun.timestamp() // 1)
        rule = "a date from 1970 to 2105, unless id is given"
        require(second in _OBJECT_ID_SECONDS, "timestamp", rule)
        self._counter += 1
        return f"{second:08x}{self._machine}{self._counter % 2**24:06x}"


def _default_begin(session_id: str | None, now: datetime) -> datetime:
    if session_id is None or not is_hex_id(session_id):
        return now
    return datetime.fromtimestamp(int(session_id[:8], 16), UTC)


def _check_data(form: object, data: object) -> None:
    takes = _TAKES.get(str(form))
    if takes is None:
        raise bad_request("Source takes no events")
    if type(data) not in takes:
        raise bad_request(f'"data" must fit the format "{form}"')


def _check_life(ends_after: float, fields: Mapping[str, Any]) -> None:
    require(is_seconds(ends_after), "ends_after", SECONDS)
    is_active = fields.get("state") == ACTIVE
    require(is_active, "ends_after", 'None unless the state is "active"')
    follows = fields.get("duration") is None
    require(follows, "duration", "None, as it follows the clock to ends_after")


def _meta(begun: datetime) -> dict[str, Any]:
    """Return the `meta` of a session whose worker started when it was *begun*."""
    return {
        "expires": milliseconds(begun + timedelta(seconds=EXPIRES_AFTER)),
        "healthCheck": milliseconds(begun),
        "workerState": "working",
    }
