"""The emulator's clock, which begins at a fixed date, runs on, and can be moved."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["EPOCH", "Clock"]

EPOCH: Final = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
"""Start of every emulator's clock, so that each run of a test sees the same dates."""


class Clock:
    """Seconds and dates of the emulator; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zero = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since `EPOCH`."""
        return time.monotonic() - self._zero

    def now(self) -> datetime:
        """Return the emulator's date and time (aware, UTC)."""
        return EPOCH + timedelta(seconds=self.elapsed())

    def advance(self, seconds: float) -> None:
        """Move the clock on by *seconds*."""
        with self._lock:
            self._zero -= seconds
