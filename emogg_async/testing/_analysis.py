"""Emotions and sentiments of the emulated sessions, as JSON.

The seed, the session's ID and its duration decide them. Only the server's thread may
use this module.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, TypeVar

from emogg_async.testing._guesses import LONGEST_ANALYSIS
from emogg_async.testing._reading import Window
from emogg_async.testing._walks import EMOTIONS, STEP, Moods, Speech

__all__ = ["Analyst", "counts", "intensities"]

T = TypeVar("T", Moods, Speech)

_KEPT: Final = 100
"""Walks of each kind that are kept, about 20 kB for an hour; others are made again."""

_SENTIMENTS: Final = '{{"positive":{},"neutral":{},"negative":{}}}'
"""JSON of the segments of each sentiment, a template."""


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
        return _detected(moods.detected(0, steps))

    def emotions(self, session_id: str, duration: float, window: Window) -> str:
        """Return the intervals of *window* in which a face was seen, as JSON.

        Source: https://docs.emogg.com, "Get emotions timeline".
        """
        moods = self._moods(session_id)
        moods.grow(_steps(duration))
        found = [
            f'{{{span},"detectedFaces":{faces},"emotions":{moods.tell(first, last)}}}'
            for span, first, last in _intervals(window, duration)
            if (faces := max(moods.faces[first:last]))
        ]
        return f"[{','.join(found)}]"

    def sentiments(self, session_id: str, duration: float, window: Window) -> str:
        """Return the intervals of *window* in which something was said, as JSON.

        Source: https://docs.emogg.com, "Get transcription sentiment".
        """
        speech = self._speech(session_id)
        speech.grow(_steps(duration))
        found = []
        for span, first, last in _intervals(window, duration):
            parts = speech.segments(first, last)
            if segments := sum(parts):
                found.append(
                    f'{{{span},"segments":{segments},'
                    f'"sentiments":{_SENTIMENTS.format(*parts)}}}'
                )
        return f"[{','.join(found)}]"


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
    before, after = (
        _detected_at(moods, first, end - every),
        _detected_at(moods, first, end),
    )
    return _detected([late - early for early, late in zip(before, after, strict=True)])


def intensities(moods: Moods, end: int, every: int) -> dict[str, Any] | None:
    """Return what the timeline says of the *every* seconds before *end*.

    An interval shorter than a step has the values of the step that runs at its end.

    Returns:
        The measures of the emotions detected, or None if no face was seen.
    """
    last = -(-end // STEP)
    first = last - max(1, every // STEP)
    if not _is_seen(moods, first, last):
        return None
    found: dict[str, Any] = json.loads(moods.tell(first, last))
    return found


def _is_seen(moods: Moods, first: int, last: int) -> bool:
    """Tell whether a face was seen from step *first* up to *last*."""
    moods.grow(last)
    return max(moods.faces[first:last]) > 0


def _detected_at(moods: Moods, first: int, second: int) -> list[int]:
    """Return the detections from step *first* to *second*, which may lie in a step."""
    step, within = divmod(second, STEP)
    found = moods.detected(first, step)
    if not within:
        return found
    running = moods.detected(step, step + 1)
    return [n + within * part // STEP for n, part in zip(found, running, strict=True)]


def _walks(seed: int, topic: str, kind: Callable[[str], T]) -> Callable[[str], T]:
    """Return a function that maps IDs to walks, and keeps the walks used last."""

    @lru_cache(maxsize=_KEPT)
    def walk(session_id: str) -> T:
        return kind(f"{seed}:{session_id}:{topic}")

    return walk


def _detected(counts: Iterable[int]) -> dict[str, int]:
    """Return the numbers of the emotions that were detected at all."""
    return {name: count for name, count in zip(EMOTIONS, counts, strict=True) if count}


def _steps(duration: float) -> int:
    """Return how many whole steps of a session are analysed."""
    return int(min(duration, LONGEST_ANALYSIS) // STEP)


def _intervals(window: Window, duration: float) -> Iterator[tuple[str, int, int]]:
    """Yield the intervals of *window*: span, first step, and step after the last.

    A step belongs to the interval in which it begins, so none is lost or counted twice.
    Intervals without a step are left out.
    """
    steps, until = _steps(duration), _milliseconds(min(window.end, duration))
    length, step = _milliseconds(window.granularity), 1000 * STEP
    stop = _milliseconds(window.start)
    last = -(-stop // step)
    while stop < until and last < steps:
        start, first = stop, last
        stop = min(start + length, until)
        last = min(-(-stop // step), steps)
        if first < last:
            yield _span(start, stop), first, last


@lru_cache(maxsize=8_192)  # about 200 bytes each
def _span(start: int, end: int) -> str:
    """Write the start and end of an interval, given in milliseconds, as JSON."""
    return f'"start":{_seconds(start)},"end":{_seconds(end)}'


def _seconds(milliseconds: int) -> float:
    seconds, rest = divmod(milliseconds, 1000)
    return milliseconds / 1000 if rest else seconds


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
