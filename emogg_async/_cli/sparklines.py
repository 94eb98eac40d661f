"""Numbers as text: a line for each series, the times below it, and bars.

Pure functions; what they are given is cells of a terminal, and what they give is text.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from emogg_async._cli.text import clock

__all__ = ["Grid", "Ramp", "axis", "bar", "ramp_for", "sample", "sparkline"]

WIDEST: Final = 4
"""Cells that a single interval gets at most, where there is room."""

APART: Final = 4
"""Cells between one time and the next, at least."""

_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600 * hours for hours in (1, 2, 3, 6, 12, 24)),
)
"""Seconds from one time to the next, of those that people count in."""


@attrs.frozen
class Ramp:
    """What stands for how much: nothing at all first, then more and more."""

    levels: str
    bars: str
    """Parts of a cell that a bar ends with, up to a whole one."""

    mark: str
    """Stands before a time, at its place."""


# The whole block is not among the levels: it would touch the line above.
_BLOCKS: Final = Ramp("▁▂▃▄▅▆▇", "▏▎▍▌▋▊▉█", "╵")
_PLAIN: Final = Ramp("_.-=+*#", "#", "|")


def ramp_for(encoding: str) -> Ramp:
    """Choose what *encoding* has."""
    try:
        (_BLOCKS.levels + _BLOCKS.bars + _BLOCKS.mark).encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN
    return _BLOCKS


@attrs.frozen
class Grid:
    """How time is cut into columns, each of which is some cells wide."""

    start: float
    """Seconds at which the first column begins."""

    step: float
    """Seconds of a column: one interval, or several."""

    columns: int
    repeat: int
    """Cells of a column."""

    @classmethod
    def of(cls, start: float, end: float, granularity: float, width: int) -> "Grid":
        """Cut the time from *start* to *end* so that it fills, and fits, *width* cells.

        Columns are whole intervals, so that each shows what was measured, and a gap of
        two columns or more is always seen.
        """
        intervals = max(1, math.ceil((end - start) / granularity - 1e-9))
        step = granularity * math.ceil(intervals / width)
        columns = max(1, math.ceil((end - start) / step - 1e-9))
        return cls(start, step, columns, max(1, min(WIDEST, width // columns)))

    @property
    def cells(self) -> int:
        """How wide it is."""
        return self.columns * self.repeat


def sample(
    grid: Grid, points: Iterable[tuple[float, float, float]]
) -> list[float | None]:
    """Average what was measured in each column; None where nothing was.

    Args:
        grid: The columns.
        points: The start, the end and the value of each interval.
    """
    weights = [0.0] * grid.columns
    totals = [0.0] * grid.columns
    for start, end, value in points:
        first = max(0, math.floor((start - grid.start) / grid.step + 1e-9))
        last = min(grid.columns, math.ceil((end - grid.start) / grid.step - 1e-9))
        for column in range(first, last):
            begin = grid.start + column * grid.step
            weight = min(end, begin + grid.step) - max(start, begin)
            weights[column] += weight
            totals[column] += weight * value
    pairs = zip(totals, weights, strict=True)
    return [total / weight if weight > 0 else None for total, weight in pairs]


def sparkline(
    values: Sequence[float | None], top: float, grid: Grid, levels: str
) -> str:
    """Draw *values* as high as they are, up to *top*; None is a gap.

    What is more than nothing is drawn higher than nothing.
    """
    return "".join(_level(value, top, levels) * grid.repeat for value in values)


def _level(value: float | None, top: float, levels: str) -> str:
    if value is None:
        return " "
    if value <= 0 or top <= 0:
        return levels[0]
    part = min(1.0, value / top)
    return levels[max(1, math.ceil(part * (len(levels) - 1) - 1e-9))]


def axis(grid: Grid, mark: str) -> str:
    """Write times below the columns in which they are, each after a mark."""
    span = grid.columns * grid.step
    room = len(clock(grid.start + span)) + 1 + APART
    least = room / grid.cells * span
    day = _STEPS[-1]
    step = next((s for s in _STEPS if s >= least), day * math.ceil(least / day))
    line = ""
    first = math.ceil(grid.start / step - 1e-9)
    last = math.floor((grid.start + span) / step)
    for moment in (number * step for number in range(first, last + 1)):
        cell = math.floor((moment - grid.start) / grid.step + 1e-9) * grid.repeat
        label = f"{mark}{clock(moment)}"
        if cell + len(label) <= grid.cells:
            line = f"{line:{cell}}{label}"
    return line


def bar(part: float, width: int, bars: str) -> str:
    """Draw a bar that fills this *part* of *width* cells."""
    eighths = round(part * width * len(bars))
    whole, rest = divmod(eighths, len(bars))
    return bars[-1] * whole + (bars[rest - 1] if rest else "")
