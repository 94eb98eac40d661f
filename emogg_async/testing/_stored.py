"""Users and sessions as the service keeps them, and the fields of sessions."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from emogg_async._wire.converter import structure, to_dict
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import InvalidArgumentError, ResponseShapeError
from emogg_async.models import Session, Source
from emogg_async.testing._bucket import TokenBucket
from emogg_async.testing._checks import SECONDS, is_aware, is_name, is_seconds, require
from emogg_async.testing._guesses import (
    HEALTH_CHECK_EVERY,
    STOPPED_STATE,
    WORKER_FIELDS,
)

__all__ = [
    "ACTIVE",
    "PROCESSING",
    "StoredSession",
    "User",
    "cut",
    "encode",
    "milliseconds",
    "wire_fields",
]

ACTIVE: Final = "active"
PROCESSING: Final = "processing"

_FIXED: Final = frozenset({"_id", "id", "user"})
"""Fields that a session keeps for its whole life."""


@attrs.define(eq=False)
class User:
    """A user of the service.

    Attributes:
        token: Token that authenticates the user's requests.
        id: ID, 24 hex digits.
        product: ID of the user's product.
        bucket: Bucket that limits the user's requests; None is no limit.
        sessions: The user's sessions, oldest first, by `StoredSession.key`.
    """

    token: str = attrs.field(repr=False)
    id: str
    product: str
    bucket: TokenBucket | None
    sessions: list["StoredSession"] = attrs.field(factory=list, repr=False)

    def wire(self) -> dict[str, Any]:
        """Return the object that expands the user's ID; its fields are a guess."""
        return {"_id": self.id, "name": "Emulated user"}

    def product_wire(self) -> dict[str, Any]:
        """Return the object that expands the product's ID; its fields are a guess."""
        return {"_id": self.product, "name": "pro"}


class StoredSession:
    """A session as the service keeps it, encoded once for all answers.

    A session that changes with time is encoded for each answer. Its state and duration
    follow from the date, so that no timer has to change them.

    Attributes:
        user: Its owner.
        id: ID, 24 hex digits in lower case.
        timestamp: When it began.
        key: Its place among other sessions: timestamp, then ID.
        hidden: Whether lists leave it out; a get by its ID shows it.
        live: Whether its duration follows the clock, up to its end.
        ends: When it ceases to be active; None if no end is set.
        ready: When it is finished; None if no end is set.
        has_worker: Whether it has a worker, or had one.
    """

    def __init__(
        self,
        user: User,
        wire: dict[str, Any],
        *,
        trusted: bool = False,
        hidden: bool = False,
        live: bool = False,
        ends: datetime | None = None,
        ready: datetime | None = None,
        has_worker: bool = False,
    ) -> None:
        self.user = user
        self.hidden = hidden
        self.live = live
        self.ends = ends
        self.ready = ready
        self._wire = wire
        self.id: str = wire["_id"]
        self._session = None if trusted else _checked(wire)
        self._is_fixed = not live and ends is None and ready is None
        self._body = encode(wire) if self._is_fixed else b""
        self.timestamp = datetime.fromisoformat(wire["timestamp"])
        self.key = self.timestamp, self.id
        self.has_worker = has_worker or _worker_state(wire) is not None

    @property
    def type(self) -> str:
        """Its kind, e.g. `live_analysis`."""
        return str(self._wire["type"])

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its sources, as JSON values."""
        return self._wire.get("sources") or []

    def state(self, now: datetime) -> str:
        """Return its progress *now*, e.g. `active`."""
        if self.ready is not None and now >= self.ready:
            return STOPPED_STATE
        return PROCESSING if self._is_over(now) else str(self._wire["state"])

    def worker_state(self, now: datetime) -> str | None:
        """Return what its worker does *now*, or None if that is unknown."""
        return _worker_state(self.wire(now))

    def wire(self, now: datetime) -> dict[str, Any]:
        """Return it as JSON values, as it is *now*; the caller must not change them."""
        if self._is_fixed:
            return self._wire
        lived = self.duration(now)
        changes = {"state": self.state(now), "duration": lived}
        meta = self._wire.get("meta")
        if meta and self._is_over(now):
            meta = _without_worker(meta)
        elif meta and self.live and "healthCheck" in meta:
            healthy = timedelta(seconds=lived - lived % HEALTH_CHECK_EVERY)
            meta = meta | {"healthCheck": milliseconds(self.timestamp + healthy)}
        return self._wire | changes | ({"meta": meta} if meta else {})

    def body(self, now: datetime) -> bytes:
        """Return it as JSON, as it is *now*."""
        return self._body if self._is_fixed else encode(self.wire(now))

    def session(self, now: datetime) -> Session:
        """Return it as a model, as it is *now*."""
        if not self._is_fixed:
            return structure(self.wire(now), Session)
        if self._session is None:
            self._session = structure(self._wire, Session)
        return self._session

    def duration(self, now: datetime) -> float:
        """Return its length in seconds, up to *now* or its end if it is live."""
        if self.live:
            until = now if self.ends is None else min(now, self.ends)
            return max(0.0, round((until - self.timestamp).total_seconds(), 3))
        duration: float = self._wire["duration"]
        return duration

    def grows_to(self, seconds: float) -> bool:
        """Tell whether it is live and does not end before it is *seconds* long."""
        if not self.live or self.ends is None:
            return self.live
        return (self.ends - self.timestamp).total_seconds() >= seconds

    def stopped(self, now: datetime, processing: float) -> "StoredSession":
        """Return it as it goes on if it is stopped *now*, and processed for a while."""
        return StoredSession(
            self.user,
            self._wire,
            trusted=True,
            hidden=self.hidden,
            live=self.live,
            ends=now,
            ready=now + timedelta(seconds=processing),
            has_worker=self.has_worker,
        )

    def changed(
        self, given: dict[str, Any], removed: Iterable[str], now: datetime
    ) -> "StoredSession":
        """Return a new session with some fields replaced by *given*, others *removed*.

        Its worker ends and its duration is fixed when it ceases to be active.
        """
        before, is_over = self.state(now), self._is_over(now)
        wire = self.wire(now)
        wire = {name: wire[name] for name in wire if name not in removed} | given
        live = self.live and not is_over and "duration" not in given
        ends = None if is_over else self.ends
        ready = None if before == STOPPED_STATE else self.ready
        if wire.get("state") != before:
            live, ends, ready = False, None, None
            if before == ACTIVE and "meta" in wire and "meta" not in given:
                wire["meta"] = _without_worker(wire["meta"])
        return StoredSession(
            self.user,
            wire,
            hidden=self.hidden,
            live=live,
            ends=ends,
            ready=ready,
            has_worker=self.has_worker,
        )

    def _is_over(self, now: datetime) -> bool:
        return self.ends is not None and now >= self.ends


def encode(value: Any) -> bytes:
    """Write *value* as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def cut(moment: datetime) -> datetime:
    """Return *moment*, cut to the millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def milliseconds(moment: datetime) -> str:
    """Write *moment* as the service does, cut to the millisecond."""
    return format_datetime(cut(moment))


def wire_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check *fields*, and write all that are not None as JSON values.

    Raises:
        InvalidArgumentError: A field breaks its rule; the message names both.
    """
    wire = {name: value for name, value in fields.items() if value is not None}
    fixed = ", ".join(sorted(wire.keys() & _FIXED))
    require(not fixed, fixed, "nothing, as a session keeps it")
    require(is_name(wire.get("name", "-")), "name", "a string of 1 to 256 characters")
    require(is_seconds(wire.get("duration", 0)), "duration", SECONDS)
    if "timestamp" in wire:
        require(is_aware(wire["timestamp"]), "timestamp", "an aware datetime")
        wire["timestamp"] = milliseconds(wire["timestamp"])
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


def _checked(wire: dict[str, Any]) -> Session:
    try:
        return structure(wire, Session)
    except ResponseShapeError as error:
        raise InvalidArgumentError(error.problems[0]) from None


def _without_worker(meta: Any) -> Any:
    if not isinstance(meta, Mapping):
        return meta
    return {name: meta[name] for name in meta if name not in WORKER_FIELDS}


def _worker_state(wire: Mapping[str, Any]) -> str | None:
    meta = wire.get("meta")
    found = meta.get("workerState") if isinstance(meta, Mapping) else None
    return None if found is None else str(found)
