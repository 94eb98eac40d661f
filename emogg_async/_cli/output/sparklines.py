"""Numbers as text: a line for each series, the times below it, and bars."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from emogg_async._notebook.series import Interval, averages, series
from emogg_async._text import clock

__all__ = ["Grid", "Ramp", "axis", "bar", "ramp_for", "sample", "sparkline"]

WIDEST: Final = 4
"""Cells of one interval at most, where there is room."""

APART: Final = 4
"""Cells between two times at least."""

_TINY: Final = 1e-9
"""Bounds the errors of rounding."""

_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600 * hours for hours in (1, 2, 3, 6, 12, 24)),
)
"""Seconds between two times: steps in which people count."""


@attrs.frozen
class Ramp:
    """The characters of a chart.

    Attributes:
        levels: Heights, from nothing to the top.
        bars: Parts of a cell with which a bar ends, up to a whole one.
        mark: Stands before a time, at its place.
        lost: Stands where something may be missing.
    """

    levels: str
    bars: str
    mark: str
    lost: str


# The whole block is not among the levels: it would touch the line above.
_BLOCKS: Final = Ramp("▁▂▃▄▅▆▇", "▏▎▍▌▋▊▉█", "╵", "░")
_PLAIN: Final = Ramp("_.-=+*#", "#", "|", "?")


def ramp_for(encoding: str) -> Ramp:
    """Choose the characters that *encoding* has."""
    try:
        "".join(attrs.astuple(_BLOCKS)).encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN
    return _BLOCKS


@attrs.frozen
class Grid:
    """Time cut into cells of a terminal.

    Attributes:
        start: Seconds at which the first cell begins.
        span: Seconds of all cells.
        cells: How many cells there are.
        is_fine: Whether each interval has a cell of its own, or more.
    """

    start: float
    span: float
    cells: int
    is_fine: bool

    @classmethod
    def of(cls, start: float, end: float, granularity: float, width: int) -> "Grid":
        """Cut the time from *start* to *end* so that it fits into *width* cells.

        It fills them, unless intervals would get too wide.
        """
        span = max(end - start, granularity)
        intervals = math.ceil(span / granularity - _TINY)
        cells = min(width, intervals * WIDEST)
        return cls(start, span, cells, intervals <= cells)


def sample(
    grid: Grid, intervals: Iterable[Interval]
) -> Sequence[Mapping[str, float] | None]:
    """Put *intervals* into the cells of *grid*.

    A gap is kept if it is as long as two cells, or if each interval has a cell.

    Returns:
        For each cell the values, as parts of the largest; None where there are none.
    """
    whole = series(intervals)
    timed = (
        (whole.time(left), whole.time(right), values)
        for left, right, values in whole.steps
    )
    width = grid.span / grid.cells
    return averages(timed, grid.start, width, grid.cells, snap=grid.is_fine)


def sparkline(values: Iterable[float | None], top: float, levels: str) -> str:
    """Draw *values* as heights up to *top*; None is a gap.

    The lowest level is kept for 0.
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
    scale, end = grid.cells / grid.span, grid.start + grid.span
    least = (len(mark + clock(end)) + APART) / scale
    day = _STEPS[-1]
    step = next((s for s in _STEPS if s >= least), day * math.ceil(least / day))
    line = ""
    first = math.ceil(grid.start / step - _TINY)
    for number in range(first, math.floor(end / step) + 1):
        cell = max(0, math.floor((number * step - grid.start) * scale + _TINY))
        label = f"{mark}{clock(number * step)}"
        if cell + len(label) <= grid.cells:
            line = line.ljust(cell) + label
    return line


def bar(part: float, width: int, bars: str) -> str:
    """Draw a bar that fills *part*, from 0 to 1, of *width* cells."""
    eighths = round(part * width * len(bars))
    whole, rest = divmod(eighths, len(bars))
    return bars[-1] * whole + (bars[rest - 1] if rest else "")
