"""The language of live channels: the messages to the service, and those from it.

Source: https://docs.emogg.com, "WebSocket".
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from emogg_async.errors import ResponseShapeError
from emogg_async.models import EmotionCounts, EmotionIntensities, WorkerState

__all__ = [
    "COUNTS",
    "FREQUENCIES",
    "INTENSITIES",
    "WORKER_STATE",
    "Answer",
    "Channel",
    "Event",
    "Frequency",
    "Happening",
    "authenticate",
    "ping",
    "read",
    "subscribe",
    "unsubscribe",
]

Frequency = Literal["1s", "3s", "5s", "10s", "30s", "1m", "5m", "10m"]
"""How often the service sends an event."""

FREQUENCIES: Final[Mapping[Frequency, float]] = {
    "1s": 1.0,
    "3s": 3.0,
    "5s": 5.0,
    "10s": 10.0,
    "30s": 30.0,
    "1m": 60.0,
    "5m": 300.0,
    "10m": 600.0,
}
"""The seconds of each frequency."""

Event = EmotionCounts | EmotionIntensities | WorkerState
E = TypeVar("E", EmotionCounts, EmotionIntensities, WorkerState)


@attrs.frozen(eq=False)
class Channel(Generic[E]):
    """A kind of live events.

    Attributes:
        name: Name of the channel on the wire.
        kind: Type of its events on the wire.
        model: Class of its events.
        field: Field of that class that holds an event's payload.
    """

    name: str
    kind: str
    model: type[E]
    field: str

    def event(self, session_id: str, happening: "Happening") -> E:
        """Make the event of a session out of what the service sent.

        Raises:
            ResponseShapeError: It is of another type or shape.
        """
        from emogg_async._wire.converter import structure  # noqa: PLC0415 - slow

        if happening.kind != self.kind:
            raise ResponseShapeError(
                f"the event is of an unknown type, expected {self.kind}"
            )
        return structure(
            {
                "session": session_id,
                "timestamp": _iso(happening.timestamp),
                self.field: happening.payload,
            },
            self.model,
        )


COUNTS: Final = Channel("session_emotions_counts", "sec", EmotionCounts, "emotions")
INTENSITIES: Final = Channel(
    "session_emotions_intensities", "sei", EmotionIntensities, "emotions"
)
WORKER_STATE: Final = Channel("session_worker_state", "sws", WorkerState, "state")


def _iso(timestamp: object) -> object:
    """Return Unix milliseconds as ISO 8601; anything else stays as it is.

    The reference shows both forms.
    """
    if type(timestamp) not in {int, float}:
        return timestamp
    try:
        moment = datetime.fromtimestamp(timestamp / 1000, UTC)  # type: ignore[operator]
    except (OverflowError, ValueError, OSError):
        return timestamp
    return moment.isoformat()


@attrs.frozen
class Answer:
    """The answer to a request.

    Attributes:
        id: The id of the request; None if the service does not say.
        path: The path of the request.
        status: The status, as in HTTP.
        subscription: The id of the new subscription; empty if it names none.
        message: The service's words for a refusal.
    """

    id: int | None
    path: str
    status: int
    subscription: str
    message: str


@attrs.frozen
class Happening:
    """An event as the service sent it.

    Attributes:
        subscription: The id of the subscription.
        timestamp: When it happened, unread.
        kind: Its type.
        payload: Its payload, unread.
    """

    subscription: str
    timestamp: object
    kind: object
    payload: object


def read(text: str) -> Answer | Happening | None:
    """Read a message of the service; None if it is neither an answer nor an event."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if type(message) is list:
        match message:
            case [str(subscription), timestamp, kind, [payload]]:
                return Happening(subscription, timestamp, kind, payload)
            case [str(subscription), *_]:
                return Happening(subscription, None, None, None)
    elif type(message) is dict:
        return _answer(message)
    return None


def _answer(message: dict[str, Any]) -> Answer | None:
    status, path = message.get("status"), message.get("path")
    if type(status) is not int or type(path) is not str:
        # An answer to a ping is documented with a body only.
        if path != "ping" or "body" not in message:
            return None
        status = 200
    # A refusal keeps its words in `data` or in `body`.
    body, data = message.get("body"), message.get("data")
    said = body if type(body) is dict else data if type(data) is dict else {}
    number, subscription = message.get("id"), said.get("subscriptionId")
    words = said.get("message", message.get("message"))
    return Answer(
        id=number if type(number) is int else None,
        path=path,
        status=status,
        subscription=subscription if type(subscription) is str else "",
        message=words if type(words) is str else "",
    )


def _request(number: int, path: str, **body: str) -> str:
    message: dict[str, object] = {"id": number, "path": path}
    if body:
        message["body"] = body
    return json.dumps(message)


def authenticate(number: int, token: str) -> str:
    """Write the first message of a connection."""
    return _request(number, "auth:token", token=token)


def ping(number: int) -> str:
    """Write a sign of life, which the service answers."""
    return _request(number, "ping")


def subscribe(number: int, channel: str, key: str) -> str:
    """Write a request for the events of a *channel* about a *key*."""
    return _request(number, "channels:subscribe", channel=channel, key=key)


def unsubscribe(number: int, subscription: str) -> str:
    """Write a request to end a subscription."""
    return _request(number, "channels:unsubscribe", subscriptionId=subscription)
