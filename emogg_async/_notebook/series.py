"""Series of intervals as charts need them: in order, in proportion, and not too many.

Times and values become parts of 1, so no coordinate can be infinite, however large or
small the numbers are.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from emogg_async._notebook.markup import amount

__all__ = [
    "Interval",
    "Profile",
    "Series",
    "Step",
    "averages",
    "nice",
    "runs",
    "series",
    "shares",
    "ticks",
]

Interval = tuple[float, float, Mapping[str, float]]
"""Start and end in seconds, and the values by their names."""

_TOUCHING: Final = 1e-6
"""Two times are the same if they differ by less than this part of the whole."""

_STEPS: Final = {
    1.0: (1, 2, 5, 10, 20, 30),
    60.0: (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200),
    3600.0: (3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
}
"""Round numbers of seconds between two ticks, for each unit of the axis."""

_UNITS: Final = {1.0: "seconds", 60.0: "minutes", 3600.0: "hours"}


class Step(NamedTuple):
    """An interval in proportion.

    Attributes:
        left: Start, as a part of the whole time.
        right: End, as a part of the whole time.
        values: Values by their names, as parts of the largest one.
    """

    left: float
    right: float
    values: Mapping[str, float]


class Profile(NamedTuple):
    """A summary of one name.

    Attributes:
        mean: Average over the covered time; the name counts as 0 where it is absent.
        peak: Largest value.
        at: Seconds at which the largest value begins.
    """

    mean: float
    peak: float
    at: float


class Series(NamedTuple):
    """Steps in order of time that do not overlap.

    Attributes:
        start: Seconds at which the first begins.
        span: Seconds from there to the end of the last.
        peak: Largest value.
        steps: The intervals, in proportion.
    """

    start: float
    span: float
    peak: float
    steps: list[Step]

    def time(self, part: float) -> float:
        """Return the seconds at a *part* of the whole time."""
        return self.start + part * self.span

    def profiles(self) -> dict[str, Profile]:
        """Summarise each name, the one with the largest mean first."""
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
                # Rounding can raise the mean of tiny figures above their peak.
                min(sums[name], peaks[name][0]) * self.peak,
                peaks[name][0] * self.peak,
                self.time(peaks[name][1]),
            )
            for name in sorted(sums, key=lambda name: (-sums[name], name))
        }

    def thinned(self, columns: int) -> "Series":
        """Return it with at most *columns* steps, each the average of a column."""
        if len(self.steps) <= columns:
            return self
        means = averages(self.steps, 0.0, 1 / columns, columns)
        steps = [
            Step(column / columns, (column + 1) / columns, values)
            for column, values in enumerate(means)
            if values is not None
        ]
        return self._replace(steps=steps)


def averages(
    intervals: Iterable[Interval],
    start: float,
    width: float,
    columns: int,
    *,
    snap: bool = False,
) -> list[dict[str, float] | None]:
    """Average *intervals* over columns of equal width.

    A name counts as 0 in intervals that do not have it.

    Args:
        intervals: Intervals in any order; parts outside the columns are ignored.
        start: Start of the first column, in the unit of the intervals.
        width: Width of a column, in the unit of the intervals.
        columns: Number of columns.
        snap: Whether edges of intervals move to the nearest edge of a column. If
            intervals are at least as long as columns, every gap stays visible then.

    Returns:
        The averages by name for each column; None if no interval covers any of it.
    """
    weights = [0.0] * columns
    sums: list[dict[str, float]] = [{} for _ in range(columns)]
    for begin, end, values in intervals:
        left, right = (begin - start) / width, (end - start) / width
        if snap:  # round() prefers even numbers, and could lose an interval
            left, right = math.floor(left + 0.5), math.floor(right + 0.5)
        first, last = math.floor(left + _TOUCHING), math.ceil(right - _TOUCHING)
        for column in range(max(0, first), min(columns, last)):
            weight = min(right, column + 1) - max(left, column)
            weights[column] += weight
            into = sums[column]
            for name, value in values.items():
                into[name] = into.get(name, 0.0) + value * weight
    return [
        {name: total / weight for name, total in into.items()} if weight > 0 else None
        for weight, into in zip(weights, sums, strict=True)
    ]


def series(intervals: Iterable[Interval]) -> Series:
    """Put *intervals* in order and in proportion.

    Where two overlap, the later one is cut. Intervals without length are left out.
    Values that are negative or not finite count as 0.
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


def shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return each of the *amounts* as a part of their sum, the largest first.

    Amounts that are negative or not finite count as 0.
    """
    sizes = {name: max(0.0, amount(value)) for name, value in amounts.items()}
    total = sum(sizes.values()) or 1.0
    ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
    return {name: sizes[name] / total for name in ranked}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
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
    """Choose the ticks of an axis of time.

    The unit is minutes, except where these would be few or very many.

    Returns:
        The unit, and the place of each tick as a part of the whole, with its label.
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
