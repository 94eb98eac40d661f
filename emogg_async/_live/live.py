"""The live channels of a client, as users see them."""

import math
from collections.abc import Iterable
from typing import Any, TypeVar

from emogg_async._checks import whole_number
from emogg_async._live.feed import Branch, Feed
from emogg_async._live.topics import OpenTopics, Wish
from emogg_async._wire.live import (
    COUNTS,
    FREQUENCIES,
    INTENSITIES,
    WORKER_STATE,
    Channel,
    Event,
    Frequency,
)
from emogg_async._wire.requests import check_session_id
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import EmotionCounts, EmotionIntensities, WorkerState

__all__ = ["Live"]

E = TypeVar("E", bound=Event)


class Live:
    """The live channels of a client: `client.live`.

    It connects for the first feed, and closes with the client. Feeds of the same
    channel, session and frequency share one subscription.

    Source: https://docs.emogg.com, "WebSocket".
    """

    def __init__(self, open_hub: OpenTopics) -> None:
        self._open_hub = open_hub

    def __repr__(self) -> str:
        return "<Live>"

    def counts(
        self, session_id: str, *, every: Frequency = "1s", buffer: int = 256
    ) -> Feed[EmotionCounts]:
        """Return a feed of how often each emotion is detected.

        Args:
            session_id: 24 hex digits, in either letter case.
            every: How often the service sends an event: `1s`, `3s`, `5s`, `10s`, `30s`,
                `1m`, `5m` or `10m`.
            buffer: The most events that wait for the reader.

        Raises:
            InvalidArgumentError: An argument is out of its range.
        """
        return self._feed(COUNTS, session_id, every, buffer)

    def intensities(
        self, session_id: str, *, every: Frequency = "1s", buffer: int = 256
    ) -> Feed[EmotionIntensities]:
        """Return a feed of how strong each emotion is.

        Args:
            session_id: 24 hex digits, in either letter case.
            every: As in `counts`.
            buffer: The most events that wait for the reader.

        Raises:
            InvalidArgumentError: An argument is out of its range.
        """
        return self._feed(INTENSITIES, session_id, every, buffer)

    def worker_state(self, session_id: str, *, buffer: int = 256) -> Feed[WorkerState]:
        """Return a feed of the worker's states; the last known one comes at once.

        The service sends it only for sessions that were created through the API.

        Args:
            session_id: 24 hex digits, in either letter case.
            buffer: The most events that wait for the reader.

        Raises:
            InvalidArgumentError: An argument is out of its range.
        """
        return self._feed(WORKER_STATE, session_id, "", buffer)

    def merge(self, feeds: Iterable[Feed[E]]) -> Feed[E]:
        """Return one feed over several, with their events in order of arrival.

        It enters and leaves them, so they must not be entered. The failure of one is
        raised once; the iteration can then go on with the others.

        Args:
            feeds: Feeds of any client of this event loop.

        Raises:
            InvalidArgumentError: *feeds* is empty, or holds something else.
            ConfigurationError: One of them was entered, or merged before.
        """
        if not isinstance(feeds, Iterable):
            raise InvalidArgumentError(
                f"feeds: expected several feeds, got {type(feeds).__name__}"
            )
        chosen = [*feeds]
        for feed in chosen:
            if not isinstance(feed, Feed):
                raise InvalidArgumentError(
                    f"feeds: expected a Feed, got {type(feed).__name__}"
                )
        if not chosen:
            raise InvalidArgumentError("feeds: expected one feed or more, got none")
        return Feed.merged(chosen)

    def _feed(
        self, channel: Channel[Any], session_id: str, every: str, buffer: int
    ) -> Feed[Any]:
        session_id = check_session_id(session_id)
        whole_number("buffer", buffer, at_least=1)
        period = math.inf if channel is WORKER_STATE else _period(every)
        wish = Wish(channel, session_id, every, period)
        return Feed([Branch(self._open_hub, wish, buffer)])


def _period(every: object) -> float:
    period = FREQUENCIES.get(every) if isinstance(every, str) else None  # type: ignore[call-overload]
    if period is None:
        given = repr(every[:20]) if isinstance(every, str) else type(every).__name__
        raise InvalidArgumentError(
            f"every: expected one of {', '.join(FREQUENCIES)}, got {given}"
        )
    return float(period)
