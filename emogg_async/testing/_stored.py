"""One session as the service keeps it, and the fields that it is made of."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from emogg_async._wire.converter import structure, to_dict
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import ResponseShapeError
from emogg_async.models import Session, Source
from emogg_async.testing._checks import SECONDS, is_aware, is_name, is_seconds, require
from emogg_async.testing._guesses import HEALTH_CHECK_EVERY, WORKER_FIELDS

if TYPE_CHECKING:
    from emogg_async.testing._world import User

__all__ = ["StoredSession", "encode", "milliseconds", "wire_fields"]

ACTIVE: Final = "active"

_FIXED: Final = frozenset({"_id", "id", "user"})
"""What a session keeps for its whole life."""


class StoredSession:
    """A session as the service keeps it, encoded once for all answers.

    A *live* one, made through the API, is encoded anew for each: its duration follows
    the clock until it is no longer active.
    """

    __slots__ = (
        "_body",
        "_session",
        "_wire",
        "hidden",
        "id",
        "key",
        "live",
        "timestamp",
        "user",
    )

    def __init__(
        self,
        user: "User",
        wire: dict[str, Any],
        *,
        trusted: bool = False,
        hidden: bool = False,
        live: bool = False,
    ) -> None:
        self.user = user
        self.hidden = hidden  # from lists; a get shows it
        self.live = live
        self._wire = wire
        self.id: str = wire["_id"]
        self._session = None if trusted else _checked(wire)
        self._body = encode(wire)
        self.timestamp = datetime.fromisoformat(wire["timestamp"])
        self.key = self.timestamp, self.id  # where it stands among others

    @property
    def state(self) -> str:
        """How far it is."""
        state: str = self._wire["state"]
        return state

    @property
    def type(self) -> str:
        """What kind of session it is."""
        kind: str = self._wire["type"]
        return kind

    def wire(self, now: datetime) -> dict[str, Any]:
        """Return it as JSON values, as it is *now*; not to be changed."""
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
        """Return it as a model, as it is *now*; made when it is first asked for."""
        if self.live:
            return structure(self.wire(now), Session)
        if self._session is None:
            self._session = structure(self._wire, Session)
        return self._session

    def duration(self, now: datetime) -> float:
        """Return how many seconds it lasted, or has lasted until *now*."""
        if self.live:
            return max(0.0, round((now - self.timestamp).total_seconds(), 3))
        duration: float = self._wire["duration"]
        return duration

    def changed(
        self, given: dict[str, Any], removed: Iterable[str], now: datetime
    ) -> "StoredSession":
        """Return it with fields replaced and *removed*, as a new one.

        When it ceases to be active its worker ends, and its duration stays as it is.
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
    """Write *value* as JSON without a space too many."""
    return json.dumps(value, separators=(",", ":")).encode()


def milliseconds(moment: datetime) -> str:
    """Write *moment* as the service does, which knows no microseconds."""
    return format_datetime(
        moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )


def wire_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check *fields*, leave out what is None, and write the rest as JSON values.

    Raises:
        InvalidArgumentError: One of them breaks its rule, which the message names.
    """
    wire = {name: value for name, value in fields.items() if value is not None}
    fixed = ", ".join(sorted(wire.keys() & _FIXED))
    require(not fixed, fixed, "not to be set: a session keeps it")
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
