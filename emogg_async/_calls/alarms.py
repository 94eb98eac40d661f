"""Alarms that share the loop's timers.

Every call has two deadlines, its own and its attempt's, and nearly all alarms are
disarmed within milliseconds. One timer of the loop for each would take a tenth of the
time of a request; here all alarms in the same hundredth of a second share one.
"""

import asyncio
from collections.abc import Callable, Hashable
from contextvars import Context
from typing import Any, Final, Self, TypeVar, cast

__all__ = ["Alarms", "Limit"]

K = TypeVar("K", bound=Hashable)

SLOT_SECONDS: Final = 0.01
"""The time that shares a timer. An alarm may be late by that much; it is never early.
"""


class Alarms:
    """The alarms of one client.

    Args:
        loop: The event loop whose clock and timers they use.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, dict[Any, Callable[[Any], None]]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def arm(self, when: float, key: K, ring: Callable[[K], None]) -> int:
        """Call `ring(key)` at *when* on the loop's clock; return its slot."""
        slot = int(when / SLOT_SECONDS) + 1
        alarms = self._slots.get(slot)
        if alarms is None:
            alarms = self._slots[slot] = {}
            # Without a context of its own, the timer would keep the first caller's.
            self._timers[slot] = self.loop.call_at(
                slot * SLOT_SECONDS, self._strike, slot, context=Context()
            )
        alarms[key] = ring
        return slot

    def disarm(self, slot: int, key: Hashable) -> None:
        """Remove an alarm; do nothing if it has rung already."""
        alarms = self._slots.get(slot)
        if alarms is not None and key in alarms:
            del alarms[key]
            if not alarms:
                del self._slots[slot]
                self._timers.pop(slot).cancel()

    def _strike(self, slot: int) -> None:
        del self._timers[slot]
        for key, ring in self._slots.pop(slot).items():
            ring(key)


class Limit:
    """Cancel the body of a `with` at a deadline, as `asyncio.timeout_at` does.

    Args:
        alarms: The alarms of the running event loop.
        when: The deadline, on the loop's clock.

    Raises:
        TimeoutError: On leaving, if the deadline passed first.
    """

    __slots__ = ("_alarms", "_cancelling", "_slot", "_struck", "_task", "_when")

    def __init__(self, alarms: Alarms, when: float) -> None:
        self._alarms = alarms
        self._when = when
        self._struck = False

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._alarms.loop)
        self._task = cast("asyncio.Task[object]", task)
        self._cancelling = self._task.cancelling()
        self._slot = self._alarms.arm(self._when, self, Limit._strike)
        return self

    def _strike(self) -> None:
        self._struck = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if not self._struck:
            self._alarms.disarm(self._slot, self)
        # Other code may have cancelled the task at the same time: its error goes on.
        elif (
            self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
