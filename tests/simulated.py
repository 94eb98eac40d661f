"""An event loop whose clock jumps: whatever waits for a time is there at once."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks; tells its loop how long it would have."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits, and for nothing that will come")
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop for code without I/O: its time passes only when all tasks wait for it."""

    def __init__(self) -> None:
        self.clock = _JumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in simulated time, from 0 on."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


def now() -> float:
    """Return the simulated time in seconds."""
    return asyncio.get_running_loop().time()
