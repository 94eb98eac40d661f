"""What tests see and do of the emulator's live channels."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

from emogg_async.testing._channels import (
    COUNTS,
    INTENSITIES,
    WORKER,
    LiveSubscription,
    RefusalRule,
)
from emogg_async.testing._checks import SECONDS, is_count, is_seconds, require
from emogg_async.testing._guesses import LiveGuesses
from emogg_async.testing._limits import LiveLimits
from emogg_async.testing._messages import LiveMessage
from emogg_async.testing._state import State

__all__ = ["LiveControl"]

LivePath = Literal[
    "channels:subscribe", "channels:unsubscribe", "auth:token", "ping", "handshake"
]

_CODES: Final = range(1000, 5000)


class LiveControl:
    """The live channels of an emulator, its `live`.

    All members may be used from any thread. `reset()` and `stop()` of the emulator drop
    all connections; `reset()` also forgets messages, refusals, guesses and limits.
    """

    def __init__(self, current: Callable[[], State]) -> None:
        self._current = current

    @property
    def connections(self) -> int:
        """Number of open connections, authenticated or not."""
        return len(self._current().live.channels.links)

    @property
    def subscriptions(self) -> tuple[LiveSubscription, ...]:
        """The subscriptions of the open connections."""
        return self._current().live.channels.subscriptions

    @property
    def messages(self) -> tuple[LiveMessage, ...]:
        """The newest 10,000 messages that arrived, oldest first, without tokens."""
        return self._current().live.channels.messages

    @property
    def handshakes(self) -> int:
        """Number of handshakes so far, refused ones included.

        Those that met a fault of `EmoggEmulator.fail` are not; its rule counts them.
        """
        return self._current().live.channels.handshakes

    @property
    def guesses(self) -> LiveGuesses:
        """Switches for what the reference leaves open; can be set."""
        return self._current().live.channels.guesses

    @guesses.setter
    def guesses(self, guesses: LiveGuesses) -> None:
        require(
            isinstance(guesses, LiveGuesses), "guesses", "an instance of LiveGuesses"
        )
        self._current().live.channels.guesses = guesses

    @property
    def limits(self) -> LiveLimits:
        """Limits of users, connections and addresses; can be set.

        Their `silence` holds for connections made afterwards.
        """
        return self._current().live.channels.limits

    @limits.setter
    def limits(self, limits: LiveLimits) -> None:
        require(isinstance(limits, LiveLimits), "limits", "an instance of LiveLimits")
        self._current().live.channels.limits = limits

    def cut(self, code: int | None = None) -> None:
        """End all connections.

        Args:
            code: Code of the close; None drops them without a closing handshake.

        Raises:
            InvalidArgumentError: *code* is no code of a close.
        """
        is_code = code is None or (is_count(code) and code in _CODES)
        require(is_code, "code", "an integer from 1000 to 4999, or None")
        state = self._current()
        channels, now = state.live.channels, state.clock.elapsed()
        for link in channels.links:
            if code is None:
                channels.drop(link, now)
            else:
                channels.close(link, code, now)

    def go_silent(self, seconds: float) -> None:
        """Answer nothing for *seconds* of the emulator's clock.

        No answer, event, closing handshake or answer to a handshake is sent, and what
        comes in is lost. The connections stay open. `cut` still ends them.

        Raises:
            InvalidArgumentError: *seconds* breaks its rule.
        """
        require(is_seconds(seconds), "seconds", SECONDS)
        state = self._current()
        state.live.channels.go_silent(state.clock.elapsed() + seconds)
        state.live.wake()

    def refuse(
        self,
        *,
        status: int,
        times: int | None = None,
        path: LivePath = "channels:subscribe",
    ) -> None:
        """Refuse messages from now on, or handshakes.

        The newest refusal of a path counts. A refused auth ends its connection.

        Args:
            status: Status of the refusal, 400 to 599.
            times: Number of refusals; None is no limit.
            path: The `path` of the messages; "handshake" refuses handshakes by HTTP.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        is_status = is_count(status, 400) and status < 600
        require(is_status, "status", "an integer from 400 to 599")
        is_number = times is None or is_count(times, 1)
        require(is_number, "times", "an integer from 1, or None")
        paths = get_args(LivePath)
        require(path in paths, "path", f"one of {', '.join(paths)}")
        self._current().live.channels.refuse(RefusalRule(path, status, times))

    def emit(self, session_id: str, emotions: Mapping[str, Any] | str) -> None:
        """Send an event to all who subscribed to a session, whatever the frequency.

        Args:
            session_id: ID of the session.
            emotions: Integers go to the subscribers of counts, mappings to those of
                intensities, an empty mapping to both, and a string to those of the
                worker's state.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        require(isinstance(session_id, str), "session_id", "a string")
        rule = "a string, or a mapping to integers only, or to mappings only"
        channels = _channels(emotions)
        require(bool(channels), "emotions", rule)
        state = self._current()
        now = state.clock.elapsed()
        state.live.channels.emit(session_id.lower(), channels, emotions, now)

    def send(self, text: str) -> None:
        """Send *text* as it is to all connections, e.g. what no client can read.

        `subscriptions` has the IDs for events of another shape.

        Raises:
            InvalidArgumentError: *text* is no string.
        """
        require(isinstance(text, str), "text", "a string")
        state = self._current()
        state.live.channels.send(text, state.clock.elapsed())


def _channels(emotions: object) -> frozenset[str]:
    """Return the channels whose events have such a payload."""
    if isinstance(emotions, str):
        return frozenset({WORKER})
    if not isinstance(emotions, Mapping):
        return frozenset()
    fits = {COUNTS: int, INTENSITIES: Mapping}
    values = emotions.values()
    return frozenset(
        channel
        for channel, kind in fits.items()
        if all(isinstance(value, kind) for value in values)
    )
