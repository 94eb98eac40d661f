"""The policy of live channels, which users choose."""

import math
from typing import Any

import attrs

from emogg_async._checks import positive, whole
from emogg_async.errors import InvalidArgumentError

__all__ = ["LivePolicy"]


def _outage(
    instance: object, attribute: "attrs.Attribute[float | None]", value: float | None
) -> None:
    if value is not None:
        positive(instance, attribute, value)


def _positive_or_none(instance: object, attribute: Any, value: object) -> None:
    if value is not None:
        positive(instance, attribute, value)


@attrs.frozen(kw_only=True)
class LivePolicy:
    """How a client uses live channels.

    The limits of the service are the user's. Clients of one token in one event loop
    share them; other processes do not know of each other, so give each its share, e.g.
    `LivePolicy(subscriptions=2, messages=16)`.

    Source: https://docs.emogg.com, "WebSocket".

    Attributes:
        subscriptions: Subscriptions at once.
        per_connection: Subscriptions on one connection.
        messages: Messages to the service in any *window*, on all connections.
        window: Seconds in which messages count.
        ping: Seconds between signs of life on a connection.
        pong: Seconds in which the service answers a message; a connection is given up
            after that.
        base: The shortest wait before a connection is made again, in seconds.
        cap: The longest such wait, in seconds.
        outage: Seconds without a connection after which feeds raise
            `ConnectionLostError`; None waits for as long as it takes.

    Raises:
        InvalidArgumentError: A value is out of its range, or the messages do not
            suffice for the signs of life of so many connections.
    """

    subscriptions: int = attrs.field(default=10, validator=whole(at_least=1))
    per_connection: int = attrs.field(default=5, validator=whole(at_least=1))
    messages: int = attrs.field(default=80, validator=whole(at_least=1))
    window: float = attrs.field(default=60.0, validator=positive)
    ping: float = attrs.field(default=20.0, validator=positive)
    pong: float = attrs.field(default=10.0, validator=positive)
    base: float = attrs.field(default=0.5, validator=positive)
    cap: float = attrs.field(default=30.0, validator=positive)
    outage: float | None = attrs.field(default=None, validator=_positive_or_none)

    def __attrs_post_init__(self) -> None:
        """Check what depends on more than one value."""
        if self.cap < self.base:
            raise InvalidArgumentError(
                f"cap: expected at least base, {self.base:g}, got {self.cap:g}"
            )
        connections = math.ceil(self.subscriptions / self.per_connection)
        least = connections * (self.pings + 1) + 1
        if self.messages < least:
            raise InvalidArgumentError(
                f"messages: expected {least} or more for the signs of life of "
                f"{connections} connections, got {self.messages}"
            )

    @property
    def pings(self) -> int:
        """Pings of one connection in a window, at most."""
        return math.ceil(self.window / self.ping)
