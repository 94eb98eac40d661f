"""Users and sessions as the service keeps them, and the fields of sessions."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from emogg_async._wire.converter import structure, to_dict
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import ResponseShapeError
from emogg_async.models import Session, Source
from emogg_async.testing._bucket import TokenBucket
from emogg_async.testing._checks import SECONDS, is_aware, is_name, is_seconds, require
from emogg_async.testing._guesses import HEALTH_CHECK_EVERY, WORKER_FIELDS

__all__ = ["StoredSession", "User", "encode", "milliseconds", "wire_fields"]

ACTIVE: Final = "active"

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

    Sessions made through the API are live: their duration follows the clock while they
    are active, so they are encoded for each answer.

    Attributes:
        user: Its owner.
        id: ID, 24 hex digits in lower case.
        timestamp: When it began.
        key: Its place among other sessions: timestamp, then ID.
        hidden: Whether lists leave it out; a get by its ID shows it.
        live: Whether its duration follows the clock.
    """

    def __init__(
        self,
        user: User,
        wire: dict[str, Any],
        *,
        trusted: bool = False,
        hidden: bool = False,
        live: bool = False,
    ) -> None:
        self.user = user
        self.hidden = hidden
        self.live = live
        self._wire = wire
        self.id: str = wire["_id"]
        self._session = None if trusted else _checked(wire)
        self._body = encode(wire)
        self.timestamp = datetime.fromisoformat(wire["timestamp"])
        self.key = self.timestamp, self.id

    @property
    def state(self) -> str:
        """Its progress, e.g. `active`."""
        return str(self._wire["state"])

    @property
    def type(self) -> str:
        """Its kind, e.g. `live_analysis`."""
        return str(self._wire["type"])

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Its sources, as JSON values."""
        return self._wire.get("sources") or []

    def wire(self, now: datetime) -> dict[str, Any]:
        """Return it as JSON values, as it is *now*; the caller must not change them."""
        if not self.live:
            return self._wire
        lived = self.duration(now)
        meta = self._wire.get("meta")
        if meta and "healthCheck" in meta:
            healthy = timedelta(seconds=lived - lived % HEALTH_CHECK_EVERY)
            meta = meta | {"healthCheck": milliseconds(self.timestamp + healthy)}
        return self._wire | {"duration": lived} | ({"meta": meta} if meta else {})

    def body(self, now: datetime) -> bytes:
        """Return it as JSON, as it is *now*."""
        return encode(self.wire(now)) if self.live else self._body

    def session(self, now: datetime) -> Session:
        """Return it as a model, as it is *now*."""
        if self.live:
            return structure(self.wire(now), Session)
        if self._session is None:
            self._session = structure(self._wire, Session)
        return self._session

    def duration(self, now: datetime) -> float:
        """Return its length in seconds, up to *now* if it is live."""
        if self.live:
            return max(0.0, round((now - self.timestamp).total_seconds(), 3))
        duration: float = self._wire["duration"]
        return duration

    def changed(
        self, given: dict[str, Any], removed: Iterable[str], now: datetime
    ) -> "StoredSession":
        """Return a new session with some fields replaced by *given*, others *removed*.

        Its worker ends and its duration is fixed when it ceases to be active.
        """
        live = self.live and "duration" not in given
        wire = self.wire(now) if self.live else self._wire
        wire = {name: wire[name] for name in wire if name not in removed} | given
        if self.state == ACTIVE != wire.get("state"):
            live = False
            if "meta" in wire and "meta" not in given:
                wire["meta"] = _without_worker(wire["meta"])
        return StoredSession(self.user, wire, hidden=self.hidden, live=live)


def encode(value: Any) -> bytes:
    """Write *value* as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def milliseconds(moment: datetime) -> str:
    """Write *moment* as the service does, cut to the millisecond."""
    return format_datetime(
        moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )


def wire_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check *fields*, and write all that are not None as JSON values.

    Raises:
        InvalidArgumentError: A field breaks its rule; the message names both.
    """
    wire = {name: value for name, value in fields.items() if value is not None}
    fixed = ", ".join(sorted(wire.keys() & _FIXED))
    require(not fixed, fixed, "cannot be set: a session keeps it")
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
        require(False, error.problems[0].partition(":")[0], error.problems[0])
        raise


def _without_worker(meta: Any) -> Any:
    if not isinstance(meta, Mapping):
        return meta
    return {name: meta[name] for name in meta if name not in WORKER_FIELDS}
