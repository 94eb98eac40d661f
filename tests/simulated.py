"""An event loop whose clock jumps: whatever waits for a time is there at once."""

import asyncio
import functools
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from emogg_async.testing import EmoggEmulator
from emogg_async.testing._server import make_application
from emogg_async.testing._thread import HOST, serving

T = TypeVar("T")

PATIENCE = 5.0
"""Real seconds to wait for a packet or a thread if no time is waited for."""

GLANCE = 0.001
"""Real seconds to wait for a packet that may be under way, before the clock jumps."""

OWN = 1
"""Number of sockets that belong to the loop itself."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks for long; tells its loop how long it would have."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if len(self.get_map()) > OWN:
            ready = super().select(PATIENCE if timeout is None else GLANCE)
            if ready:
                return ready
        if timeout is None:
            raise RuntimeError("everything waits, and for nothing that will come")
        self.now += max(0.0, timeout)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when all tasks wait for it.

    Sockets may be used if both of their ends are in this loop.
    """

    def __init__(self) -> None:
        self.clock = _JumpingSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in simulated time, from 0 on."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


def timed(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Let an async test run in simulated time."""

    @functools.wraps(test)
    def run_test(*args: Any, **options: Any) -> None:
        run(test(*args, **options))

    return run_test


def now() -> float:
    """Return the simulated time in seconds."""
    return asyncio.get_running_loop().time()


class _Server:
    """What an emulator needs of its server, for one in the running loop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.call_soon = asyncio.get_running_loop().call_soon_threadsafe

    def catch_up(self) -> None:
        """Do nothing: who calls it is in the way of what would be read."""

    def stop(self) -> None:
        """Refuse: the caller would wait for itself."""
        raise RuntimeError("leave the block of emulated(…) instead")


class _Emulator(EmoggEmulator):
    """An emulator whose clock and server are those of the running loop."""

    def __init__(self, **options: Any) -> None:
        self._time = asyncio.get_running_loop().time
        super().__init__(**options)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        application = make_application(lambda: self._state)
        async with serving(application, self._settings.port) as port:
            self._server = _Server(port)
            self._url = f"http://{HOST}:{port}"
            try:
                yield
            finally:
                self._server = None


@asynccontextmanager
async def emulated(**options: Any) -> AsyncIterator[EmoggEmulator]:
    """Serve an emulator in the running loop, and by its clock.

    It takes the options of `EmoggEmulator`, and is stopped by leaving the block.
    """
    emulator = _Emulator(**options)
    async with emulator.serving():
        yield emulator
