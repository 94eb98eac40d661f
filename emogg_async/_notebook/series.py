"""Series of intervals as charts need them: in order, in proportion, and not too many.

Times and values become parts of 1, so that nothing that is drawn from them can be
infinite, however large or small the numbers were.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from emogg_async._notebook.markup import amount

__all__ = ["Interval", "Profile", "Series", "Step", "runs", "series", "ticks"]

Interval = tuple[float, float, Mapping[str, float]]
"""Start and end in seconds, and the values by their names."""

_TOUCHING: Final = 1e-6
"""Ends and starts that are nearer than this part of the whole are the same."""

_STEPS: Final = {
    1.0: (1, 2, 5, 10, 20, 30),
    60.0: (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
    3600.0: (3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
}
"""Seconds between ticks that people count in, for each unit of the axis."""

_UNITS: Final = {1.0: "seconds", 60.0: "minutes", 3600.0: "hours"}


class Step(NamedTuple):
    """An interval; all are parts of 1: of the whole time, and of the largest value."""

    left: float
    right: float
    values: Mapping[str, float]


class Profile(NamedTuple):
    """What can be said of one name in a few words."""

    mean: float
    """The average over the time that is covered; where it is absent it is 0."""

    peak: float
    """The largest value."""

    at: float
    """When the largest value began, in seconds."""


class Series(NamedTuple):
    """A series of intervals, in the order of time; none overlaps another."""

    start: float
    span: float
    peak: float
    steps: list[Step]

    def time(self, part: float) -> float:
        """Return the time, in seconds, that is a part of the whole."""
        return self.start + part * self.span

    def profiles(self) -> dict[str, Profile]:
        """Describe each name; those with the largest mean come first."""
        total = sum(step.right - step.left for step in self.steps) or 1.0
        sums: dict[str, float] = {}
        peaks: dict[str, tuple[float, float]] = {}
        for left, right, values in self.steps:
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * (right - left) / total
                if name not in peaks or value > peaks[name][0]:
                    peaks[name] = (value, left)
        return {
            name: Profile(
                # Of figures next to nothing, rounding could raise it above the peak.
                min(sums[name], peaks[name][0]) * self.peak,
                peaks[name][0] * self.peak,
                self.time(peaks[name][1]),
            )
            for name in sorted(sums, key=lambda name: (-sums[name], name))
        }

    def thinned(self, columns: int) -> "Series":
        """Return it with *columns* steps at most, each the average of what it covers.

        A column is a gap when nothing in it is covered.
        """
        if len(self.steps) <= columns:
            return self
        weights = [0.0] * columns
        sums: list[dict[str, float]] = [{} for _ in range(columns)]
        for left, right, values in self.steps:
            last = min(int(right * columns), columns - 1)
            for column in range(min(int(left * columns), last), last + 1):
                low = max(left, column / columns)
                weight = (min(right, (column + 1) / columns) - low) * columns
                if weight > _TOUCHING:
                    weights[column] += weight
                    into = sums[column]
                    for name, value in values.items():
                        into[name] = into.get(name, 0.0) + value * weight
        steps = [
            Step(
                column / columns,
                (column + 1) / columns,
                {name: value / weight for name, value in into.items()},
            )
            for column, (weight, into) in enumerate(zip(weights, sums, strict=True))
            if weight
        ]
        return self._replace(steps=steps)


def series(intervals: Iterable[Interval]) -> Series:
    """Put *intervals* in order and in proportion.

    Of overlapping ones, the later keeps only what the earlier leaves; what has no
    length is left out, and what is negative or no number is 0.
    """
    kept: list[Interval] = []
    finite = (
        (amount(start), amount(end), values)
        for start, end, values in intervals
        if _is_finite(start) and _is_finite(end)
    )
    for start, end, values in sorted(finite, key=lambda interval: interval[:2]):
        begin = max(start, kept[-1][1]) if kept else start
        if end > begin:
            sizes = {name: max(0.0, amount(value)) for name, value in values.items()}
            kept.append((begin, end, sizes))
    if not kept:
        return Series(0.0, 0.0, 0.0, [])
    zero, span = kept[0][0], kept[-1][1] - kept[0][0]
    peak = max(max(values.values(), default=0.0) for _, _, values in kept)
    scale = peak or 1.0
    steps = [
        Step(
            (start - zero) / span,
            (end - zero) / span,
            {name: value / scale for name, value in values.items()},
        )
        for start, end, values in kept
    ]
    return Series(zero, span, peak, steps)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return True


def runs(steps: Iterable[Step]) -> list[list[Step]]:
    """Divide *steps* at the gaps between them."""
    found: list[list[Step]] = []
    for step in steps:
        if found and step.left - found[-1][-1].right <= _TOUCHING:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def ticks(
    start: float, span: float, *, most: int = 7
) -> tuple[str, list[tuple[float, str]]]:
    """Choose the ticks of an axis of time: its unit, and place and label of each.

    The unit is minutes, but where these would be few or very many.
    """
    unit = 1.0 if span < 120 else 60.0 if span <= 36_000 else 3600.0
    wanted = span / most
    round_numbers = [float(step) for step in _STEPS[unit] if step >= wanted]
    if round_numbers and wanted >= _STEPS[unit][0] / 2:
        step = round_numbers[0]
    else:
        step = nice(wanted / unit) * unit
    places = max(0, min(-math.floor(math.log10(step / unit) + 1e-9), 6))
    if (step / unit * 10**places) % 1 > _TOUCHING:
        places += 1
    first = math.ceil(start / step - _TOUCHING)
    marks = []
    for count in range(most + 2):
        time = (first + count) * step
        part = (time - start) / span
        if -_TOUCHING <= part <= 1 + _TOUCHING:
            label = f"{time / unit:,.{places}f}"
            marks.append((part, label if len(label) < 9 else f"{time / unit:.3g}"))
    return _UNITS[unit], marks


def nice(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of 10 that is not below *least*."""
    power: float = 10.0 ** math.floor(math.log10(max(least, 1e-300)))
    return next(
        (power * factor for factor in (1, 2, 5) if power * factor >= least), power * 10
    )
