"""Wait for what happens elsewhere, or let time pass, without sleeping through it."""

import asyncio
import time
from collections.abc import Callable

import pytest


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Wait until *condition* holds, of another thread or process too."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


class Clocks:
    """The clocks of this process, event loops' too, which can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        wall, monotonic = time.time, time.monotonic
        monkeypatch.setattr(time, "time", lambda: wall() + self.ahead)
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self.ahead)

    async def forward(self, seconds: float) -> None:
        """Let so many seconds pass at once, with all that is due by then."""
        self.ahead += seconds
        for _ in range(3):  # timers that are due run in the next turn of the loop
            await asyncio.sleep(0)
