"""The emulator's clock, which begins at a fixed date, runs on, and can be moved."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["EPOCH", "Clock"]

EPOCH: Final = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
"""Start of every emulator's clock, so that each run of a test sees the same dates."""


class Clock:
    """Seconds and dates of the emulator; safe to use from any thread.

    Args:
        time: Function that returns the seconds by which it runs on.
    """

    def __init__(self, time: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._time = time
        self._zero = time()

    def elapsed(self) -> float:
        """Return the seconds since `EPOCH`."""
        return self._time() - self._zero

    def now(self) -> datetime:
        """Return the emulator's date and time (aware, UTC)."""
        return EPOCH + timedelta(seconds=self.elapsed())

    def advance(self, seconds: float) -> None:
        """Move the clock on by *seconds*."""
        with self._lock:
            self._zero -= seconds
