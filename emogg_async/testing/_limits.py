"""The limits of live channels, and what of them is used; callers tell the time."""

from collections import deque
from typing import Any, Final

import attrs

from emogg_async.testing._checks import SECONDS, is_count, is_seconds, require

__all__ = ["Allowance", "LiveLimits", "Usage"]

_SLACK: Final = 1e-6
"""Tolerance in seconds for rounding errors of floating point."""


def _check_count(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    require(is_count(value, 1), field.name, "an integer from 1")


def _check_seconds(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    require(is_seconds(value) and value != 0, field.name, f"{SECONDS}, but not 0")


@attrs.frozen(kw_only=True)
class LiveLimits:
    """The limits of live channels; the defaults are those of the reference.

    Source: https://docs.emogg.com, "WebSocket".

    Attributes:
        connections: New connections of one address in each `window`.
        messages: Messages of one user in each `window`, over all connections.
        window: Seconds in which these are counted.
        per_connection: Subscriptions of one connection.
        per_user: Subscriptions of one user, over all connections.
        silence: Seconds without traffic from a client, after which it is closed.
    """

    connections: int = attrs.field(default=90, validator=_check_count)
    messages: int = attrs.field(default=80, validator=_check_count)
    window: float = attrs.field(default=60.0, validator=_check_seconds)
    per_connection: int = attrs.field(default=5, validator=_check_count)
    per_user: int = attrs.field(default=10, validator=_check_count)
    silence: float = attrs.field(default=65.0, validator=_check_seconds)


@attrs.define(eq=False)
class Allowance:
    """Counts what happened in the last seconds, and no more than is allowed."""

    _times: deque[float] = attrs.field(factory=deque)

    def take(self, now: float, most: int, window: float, *, rolling: bool) -> bool:
        """Count one more at *now*, or return False if there were *most* already."""
        over = now - window + _SLACK if rolling else now // window * window - _SLACK
        while self._times and self._times[0] <= over:
            self._times.popleft()
        if len(self._times) >= most:
            return False
        self._times.append(now)
        return True


@attrs.define(eq=False)
class Usage:
    """What one user uses.

    Attributes:
        messages: The messages of the window.
        subscriptions: Number of subscriptions of open connections.
    """

    messages: Allowance = attrs.field(factory=Allowance)
    subscriptions: int = 0
    _kept: list[tuple[float, int]] = attrs.field(factory=list)

    def keep(self, count: int, until: float) -> None:
        """Keep *count* subscriptions of a connection that vanished taken."""
        if count:
            self._kept.append((until, count))

    def taken(self, now: float) -> int:
        """Return the number of subscriptions that are taken at *now*."""
        self._kept = [kept for kept in self._kept if kept[0] > now + _SLACK]
        return self.subscriptions + sum(count for _, count in self._kept)
