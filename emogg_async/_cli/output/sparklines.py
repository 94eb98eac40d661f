"""Numbers as text: a line for each series, the times below it, and bars.

Pure functions; what they are given is cells of a terminal, and what they give is text.
"""

import math
from collections.abc import Iterable
from typing import Final

import attrs

from emogg_async._text import clock

__all__ = ["Grid", "Ramp", "axis", "bar", "ramp_for", "sample", "sparkline"]

WIDEST: Final = 4
"""Cells that a single interval gets at most, where there is room."""

_TINY: Final = 1e-9
"""What rounding can make of nothing."""

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
    """How time is cut into cells of a terminal."""

    start: float
    """Seconds at which the first one begins."""

    step: float
    """Seconds of each."""

    cells: int
    is_fine: bool
    """Whether an interval has a cell of its own, or more."""

    @classmethod
    def of(cls, start: float, end: float, granularity: float, width: int) -> "Grid":
        """Cut the time from *start* to *end* so that it fits into *width* cells.

        It fills them, unless intervals would get too wide.
        """
        span = max(end - start, granularity)
        intervals = math.ceil(span / granularity - _TINY)
        cells = min(width, intervals * WIDEST)
        return cls(start, span / cells, cells, intervals <= cells)

    @property
    def end(self) -> float:
        """Seconds at which the last one ends."""
        return self.start + self.cells * self.step


def sample(
    grid: Grid, points: Iterable[tuple[float, float, float]]
) -> list[float | None]:
    """Average what was measured in each cell; None where nothing was.

    A gap is always seen if it is as long as two cells, or if each interval has a cell.

    Args:
        grid: The cells.
        points: The start, the end and the value of each interval.
    """
    weights = [0.0] * grid.cells
    totals = [0.0] * grid.cells
    for start, end, value in points:
        left, right = ((each - grid.start) / grid.step for each in (start, end))
        if grid.is_fine:  # the middle of a cell decides, or short gaps could vanish
            # Never `round`: to even numbers, a whole interval could have no cell.
            left, right = math.floor(left + 0.5), math.floor(right + 0.5)
        first = max(0, math.floor(left + _TINY))
        for cell in range(first, min(grid.cells, math.ceil(right - _TINY))):
            weight = min(right, cell + 1) - max(left, cell)
            weights[cell] += weight
            totals[cell] += weight * value
    pairs = zip(totals, weights, strict=True)
    return [total / weight if weight > 0 else None for total, weight in pairs]


def sparkline(values: Iterable[float | None], top: float, levels: str) -> str:
    """Draw *values* as high as they are, up to *top*; None is a gap.

    What is more than nothing is drawn higher than nothing.
    """
    return "".join(_level(value, top, levels) for value in values)


def _level(value: float | None, top: float, levels: str) -> str:
    if value is None:
        return " "
    if value <= 0 or top <= 0:
        return levels[0]
    part = min(1.0, value / top)
    return levels[max(1, round(part * (len(levels) - 1)))]


def axis(grid: Grid, mark: str) -> str:
    """Write times below the cells in which they are, each after a *mark*."""
    least = (len(mark + clock(grid.end)) + APART) * grid.step
    day = _STEPS[-1]
    step = next((s for s in _STEPS if s >= least), day * math.ceil(least / day))
    line = ""
    first = math.ceil(grid.start / step - _TINY)
    for number in range(first, math.floor(grid.end / step) + 1):
        cell = max(0, math.floor((number * step - grid.start) / grid.step + _TINY))
        label = f"{mark}{clock(number * step)}"
        if cell + len(label) <= grid.cells:
            line = line.ljust(cell) + label
    return line


def bar(part: float, width: int, bars: str) -> str:
    """Draw a bar that fills this *part* of *width* cells."""
    eighths = round(part * width * len(bars))
    whole, rest = divmod(eighths, len(bars))
    return bars[-1] * whole + (bars[rest - 1] if rest else "")
