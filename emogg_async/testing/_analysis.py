"""Emotions and sentiments of the emulated sessions, as JSON values.

The seed, the session's ID and its duration decide them. Only the server's thread may
use this module.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from emogg_async.testing._guesses import LONGEST_ANALYSIS
from emogg_async.testing._reading import Window
from emogg_async.testing._walks import EMOTIONS, SENTIMENTS, STEP, Moods, Speech

__all__ = ["Analyst", "counts", "intensities"]

T = TypeVar("T", Moods, Speech)

_KEPT: Final = 100
"""Walks of each kind that are kept, about 50 kB for an hour; others are made again."""


class Analyst:
    """Finds emotions and sentiments of sessions by ID and duration."""

    def __init__(self, seed: int) -> None:
        self._moods = _walks(seed, "moods", Moods)
        self._speech = _walks(seed, "speech", Speech)

    def moods(self, session_id: str) -> Moods:
        """Return the emotions of a session, to be told live."""
        return self._moods(session_id)

    def totals(self, session_id: str, duration: float) -> dict[str, int]:
        """Return how often each emotion was detected, if it was detected at all.

        Source: https://docs.emogg.com, "Get emotions".
        """
        steps = _steps(duration)
        moods = self._moods(session_id)
        moods.grow(steps)
        counts = (sums[steps] for sums in moods.detections)
        return {
            name: count for name, count in zip(EMOTIONS, counts, strict=True) if count
        }

    def emotions(
        self, session_id: str, duration: float, window: Window
    ) -> list[dict[str, Any]]:
        """Return the intervals of *window* in which a face was seen.

        Source: https://docs.emogg.com, "Get emotions timeline".
        """
        moods = self._moods(session_id)
        moods.grow(_steps(duration))
        return [
            {
                "start": _plain(start),
                "end": _plain(end),
                "detectedFaces": faces,
                "emotions": _measures(moods, first, last),
            }
            for start, end, first, last in _intervals(window, duration)
            if (faces := max(moods.faces[first:last]))
        ]

    def sentiments(
        self, session_id: str, duration: float, window: Window
    ) -> list[dict[str, Any]]:
        """Return the intervals of *window* in which something was said.

        Source: https://docs.emogg.com, "Get transcription sentiment".
        """
        speech = self._speech(session_id)
        speech.grow(_steps(duration))
        found = []
        for start, end, first, last in _intervals(window, duration):
            parts = [sums[last] - sums[first] for sums in speech.counts]
            if segments := sum(parts):
                sentiments = dict(zip(SENTIMENTS, parts, strict=True))
                span = {"start": _plain(start), "end": _plain(end)}
                found.append(span | {"segments": segments, "sentiments": sentiments})
        return found


def counts(moods: Moods, end: int, every: int) -> dict[str, int] | None:
    """Return how often each emotion was detected in the *every* seconds before *end*.

    Detections of a step are spread over its five seconds, so that those of a session
    add up to its totals whenever a step is over.

    Returns:
        The numbers of the emotions detected, or None if no face was seen.
    """
    first, last = (end - every) // STEP, -(-end // STEP)
    if not _is_seen(moods, first, last):
        return None
    found = {}
    for name, sums in zip(EMOTIONS, moods.detections, strict=True):
        if count := _sum_at(sums, end) - _sum_at(sums, end - every):
            found[name] = count
    return found


def intensities(
    moods: Moods, end: int, every: int
) -> dict[str, dict[str, float]] | None:
    """Return what the timeline says of the *every* seconds before *end*.

    An interval shorter than a step has the values of the step that runs at its end.

    Returns:
        The measures of the emotions detected, or None if no face was seen.
    """
    last = -(-end // STEP)
    first = last - max(1, every // STEP)
    return _measures(moods, first, last) if _is_seen(moods, first, last) else None


def _is_seen(moods: Moods, first: int, last: int) -> bool:
    """Tell whether a face was seen from step *first* up to *last*."""
    moods.grow(last)
    return max(moods.faces[first:last]) > 0


def _sum_at(sums: Sequence[int], second: int) -> int:
    """Return the sum before *second*, part of a step's if it lies within one."""
    step, within = divmod(second, STEP)
    return sums[step] + (within and within * (sums[step + 1] - sums[step]) // STEP)


def _walks(seed: int, topic: str, kind: Callable[[str], T]) -> Callable[[str], T]:
    """Return a function that maps IDs to walks, and keeps the walks used last."""

    @lru_cache(maxsize=_KEPT)
    def walk(session_id: str) -> T:
        return kind(f"{seed}:{session_id}:{topic}")

    return walk


def _measures(moods: Moods, first: int, last: int) -> dict[str, dict[str, float]]:
    """Sum up the steps from *first* up to *last*, for each emotion detected."""
    measures: dict[str, dict[str, float]] = {}
    for index, name in enumerate(EMOTIONS):
        counts = moods.detections[index]
        if detected := counts[last] - counts[first]:
            sums = moods.quantities[index]
            quantity = sums[last] - sums[first]
            measures[name] = {
                "people": max(moods.people[index][first:last]),
                "quantity": quantity / 1000,
                "intensity": round(quantity / detected) / 1000,
            }
    return measures


def _steps(duration: float) -> int:
    """Return how many whole steps of a session are analysed."""
    return int(min(duration, LONGEST_ANALYSIS) // STEP)


def _intervals(
    window: Window, duration: float
) -> Iterator[tuple[float, float, int, int]]:
    """Yield the intervals of *window*: start, end, first step, and step after the last.

    A step belongs to the interval in which it begins, so none is lost or counted twice.
    Intervals without a step are left out.
    """
    steps, end = _steps(duration), min(window.end, duration)
    number = 0
    while (start := window.start + number * window.granularity) < end:
        number += 1
        stop = min(window.start + number * window.granularity, end)
        first, last = math.ceil(start / STEP), min(math.ceil(stop / STEP), steps)
        if first >= steps:
            break
        if first < last:
            yield start, stop, first, last


def _plain(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)
