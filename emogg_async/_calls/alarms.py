"""Many deadlines, few timers.

Every call has two deadlines, its own and its attempt's, and nearly all are called off
within milliseconds. A timer of the loop for each would cost a tenth of a request; here
all that fall into the same hundredth of a second share one.
"""

import asyncio
from collections.abc import Callable, Hashable
from contextvars import Context
from typing import Any, Final, Self, TypeVar, cast

__all__ = ["Alarms", "Limit"]

K = TypeVar("K", bound=Hashable)

GRAIN: Final = 0.01
"""Seconds by which an alarm may be late; it is never early."""


class Alarms:
    """The alarms of one event loop's client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slots: dict[int, dict[Any, Callable[[Any], None]]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def arm(self, when: float, key: K, ring: Callable[[K], None]) -> int:
        """Call `ring(key)` at *when* of the clock; return what `disarm` needs."""
        slot = int(when / GRAIN) + 1
        alarms = self._slots.get(slot)
        if alarms is None:
            alarms = self._slots[slot] = {}
            # The context of whoever is first would be kept until then.
            self._timers[slot] = self.loop.call_at(
                slot * GRAIN, self._strike, slot, context=Context()
            )
        alarms[key] = ring
        return slot

    def disarm(self, slot: int, key: Hashable) -> None:
        """Call an alarm off; one that has rung already does not matter."""
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
    """Bound the body of a `with` in the present task, as `asyncio.timeout` does.

    Args:
        alarms: Where its end is watched.
        when: When that is, on the loop's clock.

    Raises:
        TimeoutError: On leaving, when the time was up first.
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
        # Ours alone: somebody else may have cancelled the task at the same time.
        elif (
            self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error
