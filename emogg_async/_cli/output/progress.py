"""A progress bar on stderr."""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from emogg_async._text import clock, counted

__all__ = ["Bar", "Pace"]

RECENT: Final = 30.0
"""Seconds over which the pace is measured: it may change, as by the rate limit."""


class Pace:
    """How much gets done in a second, lately."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, now: float, count: int) -> None:
        """Note that *count* are done at the time *now*."""
        self._marks.append((now, count))
        while self._marks[0][0] < now - RECENT and len(self._marks) > 2:
            self._marks.popleft()

    @property
    def per_second(self) -> float | None:
        """The pace; None before it is known."""
        if not self._marks:
            return None
        (began, before), (now, count) = self._marks[0], self._marks[-1]
        return (count - before) / (now - began) if now > began else None


class Bar:
    """Shows sessions, requests, pace and, once it can be known, the time left.

    It vanishes in the end. What is logged meanwhile appears above it.

    Args:
        now: Tells the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._pace = Pace()
        self._pace.mark(now(), 0)
        self._progress = Progress(
            TextColumn("{task.fields[facts]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}", style="cyan"),
            console=Console(stderr=True),
            expand=True,
            transient=True,
            redirect_stdout=False,  # that is where the data go
        )
        self._task = self._progress.add_task("", total=None, facts="Exporting", left="")

    def __enter__(self) -> Self:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it."""
        self._progress.stop()

    def update(self, sessions: int, requests: int, total: float | None) -> None:
        """Show how far it is.

        Args:
            sessions: How many are done.
            requests: How many it took.
            total: How many sessions there probably are; None if that is unknown.
        """
        self._pace.mark(self._now(), sessions)
        facts = [counted(sessions, "session"), counted(requests, "request")]
        left = ""
        if speed := self._pace.per_second:
            facts.append(f"{speed:,.0f}/s")
            left = f"{clock((total - sessions) / speed)} left" if total else ""
        self._progress.update(
            self._task,
            completed=sessions,
            total=total,
            facts=", ".join(facts),
            left=left,
        )
