"""Alarms that share one timer of the loop.

Every call has two deadlines, its own and its attempt's, and nearly all alarms are
disarmed within milliseconds. One timer of the loop for each would take a tenth of the
time of a request. Here one timer rings when the earliest alarm is due that was armed
since the last ring, and finds the next one then.
"""

import asyncio
import math
from contextvars import Context
from typing import Final, Self, cast

__all__ = ["Alarms", "Limit"]

PAUSE_SECONDS: Final = 0.01
"""Seconds between two looks at all alarms. An alarm may be late by them; it is never
early.
"""


class Alarms:
    """The alarms of one client.

    Args:
        loop: The event loop whose clock and timers they use.

    Attributes:
        due: When each alarm is due, on the loop's clock. Removing it disarms it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.due: dict[Limit | asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf
        self._earliest = -math.inf  # the next look is no earlier than this

    def arm(self, alarm: "Limit | asyncio.Future[None]", when: float) -> None:
        """Wake *alarm* at *when*: a limit strikes, and a future is done."""
        self.due[alarm] = when
        if when < self._next:
            self._set_timer(when)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = max(when, self._earliest)
        # Without a context of its own, the timer would keep the first caller's.
        self._timer = self.loop.call_at(self._next, self._look, context=Context())

    def _look(self) -> None:
        now = self.loop.time()
        self._timer, self._next = None, math.inf
        self._earliest = now + PAUSE_SECONDS
        for alarm in [alarm for alarm, when in self.due.items() if when <= now]:
            del self.due[alarm]
            if isinstance(alarm, Limit):
                alarm.strike()
            elif not alarm.done():
                alarm.set_result(None)
        if self.due:
            self._set_timer(min(self.due.values()))

    def close(self) -> None:
        """Cancel the timer; the next alarm sets it again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._next = None, math.inf


class Limit:
    """Cancel the body of a `with` at a deadline, as `asyncio.timeout_at` does.

    Args:
        alarms: The alarms of the running event loop.
        when: The deadline, on the loop's clock.

    Raises:
        TimeoutError: On leaving, if the deadline passed first.
    """

    __slots__ = ("_alarms", "_cancelling", "_task", "_when")

    def __init__(self, alarms: Alarms, when: float) -> None:
        self._alarms = alarms
        self._when = when

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._alarms.loop)
        self._task = cast("asyncio.Task[object]", task)
        self._cancelling = self._task.cancelling()
        self._alarms.arm(self, self._when)
        return self

    def strike(self) -> None:
        """Cancel the body: the deadline has passed."""
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        is_armed = self._alarms.due.pop(self, None) is not None
        # Other code may have cancelled the task at the same time: its error goes on.
        if (
            not is_armed
            and self._task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
