"""Charts of emotions and sentiments on a terminal.

Colours only repeat the name in front of each line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from zlib import crc32

import attrs
from rich.cells import cell_len
from rich.text import Text

from emogg_async._cli.options import Part
from emogg_async._cli.output.fields import SENTIMENTS
from emogg_async._cli.output.sparklines import Grid, Ramp, axis, bar, sample, sparkline
from emogg_async._notebook.series import Interval, shares
from emogg_async._text import clock, printable
from emogg_async.models import EmotionsTimeline, EmotionTotals, SentimentTimeline

__all__ = [
    "LONGEST",
    "Chart",
    "Layout",
    "alike",
    "emotions_chart",
    "sentiment_chart",
    "totals_chart",
]

Chart = Callable[..., Text]
"""Draws a model; takes its `width` and `ramp`, too."""

NARROWEST: Final = 8
"""Cells of a line or bar at least, even if the chart gets too wide."""

LONGEST: Final = 60
"""Cells of a bar at most: longer ones are hard to compare."""

_STYLES: Final = {  # of middling brightness: legible on black and on white
    "exaltation": "color(172)",
    "focus": "color(35)",
    "shock": "color(133)",
    "seriousness": "color(33)",
    "fatigue": "color(103)",
    "disgust": "color(100)",
    "overwhelming": "color(167)",
    "positive": "color(35)",
    "neutral": "color(103)",
    "negative": "color(167)",
}
_OTHER_STYLES: Final = ("color(37)", "color(136)", "color(168)", "color(67)")


@attrs.frozen
class Layout:
    """The columns of a chart: names, drawn lines or bars, and figures.

    Attributes:
        names: The names, cut to one width.
        room: Cells that are left to draw in.
        figures: The figures of each line, below their header.
    """

    names: Sequence[str]
    room: int
    figures: Sequence[str]

    @classmethod
    def of(
        cls, names: Sequence[str], figures: Sequence[Sequence[str]], width: int
    ) -> "Layout":
        """Lay out a chart of *width* cells; *figures* begin with headers."""
        sizes = [max(map(len, column)) for column in zip(*figures, strict=True)]
        lines = [
            "".join(f"  {each:>{size}}" for each, size in zip(row, sizes, strict=True))
            for row in figures
        ]
        fitted = _fitted(names, max(NARROWEST, width // 4))
        before = max(map(cell_len, fitted), default=0) + 1
        return cls(fitted, max(NARROWEST, width - before - len(lines[0])), lines)

    def chart(
        self,
        title: str,
        names: Sequence[str],
        drawn: Sequence[str],
        below: str,
        cells: int,
    ) -> Text:
        """Put the columns together, below a title."""
        lines = self.lines(names, drawn, below, cells)
        return Text("\n").join([Text(printable(title), "bold"), *lines])

    def lines(
        self, names: Sequence[str], drawn: Sequence[str], below: str, cells: int
    ) -> list[Text]:
        """Put the columns together; *drawn* ones are *cells* wide."""
        before = max(map(cell_len, self.names), default=0) + 1
        head, *figures = self.figures
        lines = [Text(f"{'':{before + cells}}{head}", "dim")]
        rows = zip(names, self.names, drawn, figures, strict=True)
        for name, shown, row, figure in rows:
            line = Text(f"{shown} {row:{cells}}", _style(name))
            lines.append(line.append(figure, "default"))
        if below:
            lines.append(Text(f"{'':{before}}{below}", "dim"))
        return lines


# -- over time -------------------------------------------------------------------------


def emotions_chart(
    timeline: EmotionsTimeline, *, measure: str, part: Part, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each emotion, those with the largest share first."""
    intervals = [
        (its.start, its.end, {n: getattr(m, measure) for n, m in its.emotions.items()})
        for its in timeline.intervals
    ]
    title = f"Emotions by {measure}, session {timeline.session}"
    parts = shares(_sums(intervals))
    return _lines_chart(title, intervals, parts, part, width=width, ramp=ramp)


def sentiment_chart(
    timeline: SentimentTimeline, *, part: Part, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each sentiment, all in one scale: they are parts of a whole."""
    intervals = [
        (its.start, its.end, {n: getattr(its.sentiments, n) for n in SENTIMENTS})
        for its in timeline.intervals
    ]
    title = f"Sentiment of what was said, session {timeline.session}"
    found = shares(_sums(intervals))
    parts = {name: found.get(name, 0.0) for name in SENTIMENTS}
    return _lines_chart(
        title, intervals, parts, part, width=width, ramp=ramp, one_scale=True
    )


def _sums(intervals: Sequence[Interval]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for _, _, values in intervals:
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def _lines_chart(
    title: str,
    intervals: Sequence[Interval],
    parts: Mapping[str, float],
    part: Part,
    *,
    width: int,
    ramp: Ramp,
    one_scale: bool = False,
) -> Text:
    """Draw a line for each name in *parts*, between the name and its figures."""
    names = list(parts)
    peaks = [max(values.get(name, 0.0) for *_, values in intervals) for name in names]
    shared = map(_percent, parts.values())
    figures = [("share", "peak"), *zip(shared, alike(peaks), strict=True)]
    layout = Layout.of(names, figures, width)
    last = max((end for _, end, _ in intervals), default=part.start)
    end = last if part.end is None else part.end
    grid = Grid.of(part.start, end, part.granularity, layout.room)
    cells = sample(grid, intervals)
    # An emotion that was not seen in an interval is no gap: it was looked for.
    rows = [
        [None if cell is None else cell.get(name, 0.0) for cell in cells]
        for name in names
    ]
    tops = [max((value or 0.0 for value in row), default=0.0) for row in rows]
    if one_scale:
        tops = [max(tops, default=0.0)] * len(tops)
    drawn = [
        sparkline(row, top, ramp.levels) for row, top in zip(rows, tops, strict=True)
    ]
    below = axis(grid, ramp.mark)
    chart = layout.chart(title, names, drawn, below, grid.cells)
    # A short chart has no room for times below it.
    note = f"From {clock(grid.start)} to {clock(grid.start + grid.span)}; "
    note += "all lines have one scale" if one_scale else "each line has its own scale"
    if None in cells:
        note += "; a gap is where there are no data"
    return chart.append(f"\n{note}.", "dim")


# -- in all ----------------------------------------------------------------------------


def totals_chart(totals: EmotionTotals, *, width: int, ramp: Ramp) -> Text:
    """Draw a bar for each emotion, the most frequent one first."""
    parts = shares(totals.emotions)
    times = (f"{totals.emotions[name]:,}" for name in parts)
    shared = map(_percent, parts.values())
    figures = [("share", "times"), *zip(shared, times, strict=True)]
    layout = Layout.of(list(parts), figures, width)
    room = min(layout.room, LONGEST)
    most = max(parts.values(), default=0.0) or 1.0
    drawn = [bar(part / most, room, ramp.bars) for part in parts.values()]
    title = f"Emotions in all, session {totals.session}"
    return layout.chart(title, list(parts), drawn, "", room)


def _fitted(names: Sequence[str], width: int) -> list[str]:
    """Make *names* printable and equally wide, *width* cells at most."""
    cells = [Text(printable(name)) for name in names]
    for cell in cells:
        cell.truncate(width, overflow="ellipsis")
    widest = max((cell.cell_len for cell in cells), default=0)
    return [cell.plain + " " * (widest - cell.cell_len) for cell in cells]


def alike(numbers: Sequence[float]) -> list[str]:
    """Write *numbers* with two decimals, or with none if all are whole."""
    digits = 0 if all(number == round(number) for number in numbers) else 2
    return [f"{number:,.{digits}f}" for number in numbers]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _style(name: str) -> str:
    other = _OTHER_STYLES[crc32(name.encode(errors="replace")) % len(_OTHER_STYLES)]
    return _STYLES.get(name, other)
