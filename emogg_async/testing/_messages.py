"""The messages of live channels, as text and as values."""

import json
from datetime import datetime
from typing import Any, Final

import attrs

from emogg_async.testing._guesses import LiveGuesses
from emogg_async.testing._refusals import RefusalError
from emogg_async.testing._stored import encode

__all__ = [
    "DROPPED",
    "Close",
    "LiveMessage",
    "Message",
    "Output",
    "read_message",
    "recorded",
    "write_answer",
    "write_event",
    "write_refusal",
]

_HIDDEN: Final = "***"


@attrs.frozen
class Close:
    """The end of a connection: by a close of that *code*, or dropped if it is None."""

    code: int | None


DROPPED: Final = Close(None)
"""The end of a connection without a closing handshake."""

Output = str | Close
"""What the service sends, or how it ends the connection."""


@attrs.frozen(kw_only=True)
class LiveMessage:
    """A message that the emulator received on a live connection.

    Attributes:
        at: When it arrived, by the emulator's clock (aware, UTC).
        connection: Number of the connection, from 1 on.
        id: Its `id`; None if there is none.
        path: Its `path`, e.g. "ping"; None if the message is invalid, whose content is
            not kept.
        body: Its `body`, the token replaced; None if there is none.
    """

    at: datetime
    connection: int
    id: str | float | None
    path: str | None
    body: dict[str, Any] | None


@attrs.frozen
class Message:
    """A valid message of a client."""

    id: str | float | None
    path: str
    body: dict[str, Any] | None


def read_message(text: str | None) -> Message | None:
    """Return the message in *text*, or None if it is of another shape.

    Source: https://docs.emogg.com, "WebSocket".
    """
    try:
        value = json.loads(text or "", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    message = Message(value.get("id"), value.get("path", 0), value.get("body"))
    holds = (
        isinstance(message.id, str | int | float | None)
        and isinstance(message.path, str)
        and isinstance(message.body, dict | None)
    )
    return message if holds else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def recorded(
    message: Message | None, connection: int, at: datetime, secret: str | None
) -> LiveMessage:
    """Return *message* as it is kept, without the token.

    Args:
        message: The message; None is an invalid one.
        connection: Number of its connection.
        at: When it arrived.
        secret: Token of the connection's user; before auth, None, no value is kept.
    """
    if message is None:
        return LiveMessage(at=at, connection=connection, id=None, path=None, body=None)
    body = message.body
    if body is not None and secret is None:
        body = dict.fromkeys(body, _HIDDEN)
    kept: Any = [message.id, message.path, body]
    if secret is not None:
        text, hidden = json.dumps(kept), json.dumps(secret)[1:-1]
        if hidden in text:
            kept = json.loads(text.replace(hidden, _HIDDEN))
    return LiveMessage(
        at=at, connection=connection, id=kept[0], path=kept[1], body=kept[2]
    )


def write_answer(message: Message, body: dict[str, Any] | None) -> str:
    """Write the answer to *message*; auth has no *body*."""
    answer = {"id": message.id, "path": message.path, "status": 200}
    return _text(answer if body is None else answer | {"body": body})


def write_refusal(message: Message, error: RefusalError, guesses: LiveGuesses) -> str:
    """Write the refusal of *message*."""
    return _text(
        {
            "error": True,
            "id": message.id if guesses.refusals_have_id else None,
            "path": message.path,
            "status": error.status,
            guesses.error_text_in: {"message": error.message},
        }
    )


def write_event(subscription_id: str, at: str | int, kind: str, payload: object) -> str:
    """Write an event."""
    return _text([subscription_id, at, kind, [payload]])


def _text(value: object) -> str:
    return encode(value).decode()
