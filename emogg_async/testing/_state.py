"""The state of an emulator, which `reset()` replaces."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from emogg_async.testing._analysis import Analyst
from emogg_async.testing._bucket import ROUNDINGS, Rounding
from emogg_async.testing._channels import Channels
from emogg_async.testing._checks import (
    SECONDS,
    are_headers,
    is_count,
    is_seconds,
    is_token,
    require,
)
from emogg_async.testing._clock import Clock
from emogg_async.testing._faults import FaultRules
from emogg_async.testing._journal import Journal
from emogg_async.testing._live import LiveServer
from emogg_async.testing._world import World

if TYPE_CHECKING:
    import asyncio

__all__ = ["Settings", "State"]

SORTS = ("timestamp", "id")

_MOST_PORTS = 65_535


@attrs.frozen(kw_only=True)
class Settings:
    """The arguments of `EmoggEmulator`, checked."""

    sessions: int
    sort: str
    seed: int
    token: str = attrs.field(repr=False)
    rate_limit: tuple[int, float] | None
    rate_headers: bool | Mapping[str, str]
    reset_rounding: Rounding
    latency: float
    processing: float
    port: int

    def __attrs_post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        require(is_count(self.sessions), "sessions", "an integer, 0 or more")
        require(self.sort in SORTS, "sort", '"timestamp" or "id"')
        require(type(self.seed) is int, "seed", "an integer")
        require(is_token(self.token), "token", "visible ASCII characters")
        require(is_seconds(self.latency), "latency", SECONDS)
        require(is_seconds(self.processing), "processing", SECONDS)
        require(
            is_count(self.port) and self.port <= _MOST_PORTS,
            "port",
            "an integer from 0 to 65535",
        )
        require(
            self.rate_limit is None or _is_rate_limit(self.rate_limit),
            "rate_limit",
            "a capacity from 1 and a window in seconds above 0, or None",
        )
        require(
            isinstance(self.rate_headers, bool) or are_headers(self.rate_headers),
            "rate_headers",
            "a boolean, or a mapping of names to values, both one line of text",
        )
        require(
            self.reset_rounding in ROUNDINGS,
            "reset_rounding",
            f"one of {', '.join(ROUNDINGS)}",
        )


def _is_rate_limit(value: Any) -> bool:
    if not isinstance(value, Sequence) or len(value) != len(("capacity", "window")):
        return False
    capacity, window = value
    return is_count(capacity, 1) and is_seconds(window) and window > 0


class State:
    """The state of an emulator between its start or reset and the next reset.

    Each request keeps the state in which it arrived, so a request that outlives a reset
    changes nothing that a test sees.

    Attributes:
        latency: Seconds to wait before each answer.
        sort: Order of lists: `timestamp` or `id`.
        clock: The emulator's clock.
        journal: Log of requests.
        faults: Faults in force.
        analyst: Finder of emotions and sentiments.
        rate_headers: Whether answers have rate headers; a mapping replaces values.
        world: Users and sessions.
        live: Live channels.
        transports: Connections with a request in flight; for the server's thread only.
    """

    def __init__(
        self, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.latency: float = settings.latency
        self.sort = settings.sort
        self.clock = Clock(clock)
        self.journal = Journal()
        chance = random.Random(~settings.seed)  # noqa: S311 - repeatable, not secret
        self.faults = FaultRules(chance)
        self.analyst = Analyst(settings.seed)
        self.rate_headers = settings.rate_headers
        self.world = World(
            self.clock,
            settings.seed,
            settings.rate_limit,
            settings.reset_rounding,
            settings.processing,
        )
        self.world.populate(self.world.add_user(settings.token), settings.sessions)
        channels = Channels(self.world, self.analyst, settings.seed)
        self.live = LiveServer(channels, self.clock)
        self.transports: set[asyncio.Transport] = set()
