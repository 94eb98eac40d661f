"""Emotions and sentiments drawn on a terminal, for people.

Colours only repeat what stands in front of each line.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final
from zlib import crc32

import attrs
from rich.cells import cell_len
from rich.text import Text

from emogg_async._cli.output.fields import SENTIMENTS
from emogg_async._cli.output.rows import shares
from emogg_async._cli.output.sparklines import Grid, Ramp, axis, bar, sample, sparkline
from emogg_async._text import clock, printable
from emogg_async.models import EmotionsTimeline, EmotionTotals, SentimentTimeline

__all__ = ["Chart", "Span", "emotions_chart", "sentiment_chart", "totals_chart"]

Chart = Callable[..., Text]
"""Draws something, given its `width` and `ramp`."""

NARROWEST: Final = 8
"""Cells of a line or bar at least, whatever the width."""

LONGEST: Final = 60
"""Cells of a bar at most: nobody can compare longer ones."""

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
class Span:
    """The part of a session that was asked for."""

    start: float
    end: float | None
    """Seconds; None is as far as there is something."""

    granularity: float

    def grid(self, ends: Sequence[float], width: int) -> Grid:
        """Cut it into columns; *ends* are those of the intervals that there are."""
        end = max(ends, default=self.start) if self.end is None else self.end
        return Grid.of(self.start, end, self.granularity, width)


@attrs.frozen
class _Line:
    """What is measured of one thing."""

    name: str
    share: float
    points: Sequence[tuple[float, float, float]]

    @property
    def peak(self) -> float:
        return max((value for _, _, value in self.points), default=0.0)


@attrs.frozen
class _Layout:
    """How wide each part of a chart is: names, what is drawn, and figures."""

    names: Sequence[str]
    room: int
    figures: Sequence[str]
    """The first one is their header."""

    @classmethod
    def of(
        cls, names: Sequence[str], figures: Sequence[Sequence[str]], width: int
    ) -> "_Layout":
        """Lay out a chart of *width* columns, whose *figures* begin with headers."""
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
        """Put the parts together; what is *drawn* is so many *cells* wide."""
        before = max(map(cell_len, self.names), default=0) + 1
        head, *figures = self.figures
        lines = [
            Text(printable(title), "bold"),
            Text(f"{'':{before + cells}}{head}", "dim"),
        ]
        rows = zip(names, self.names, drawn, figures, strict=True)
        for name, shown, row, figure in rows:
            line = Text(f"{shown} {row:{cells}}", _style(name))
            lines.append(line.append(figure, "default"))
        if below:
            lines.append(Text(f"{'':{before}}{below}", "dim"))
        return Text("\n").join(lines)


# -- over time -------------------------------------------------------------------------


def emotions_chart(
    timeline: EmotionsTimeline, *, measure: str, span: Span, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each emotion, those with the largest share first."""
    points = {
        name: [
            # That it was not seen is no gap: somebody looked.
            (part.start, part.end, getattr(part.emotions.get(name), measure, 0))
            for part in timeline.intervals
        ]
        for part in timeline.intervals
        for name in part.emotions
    }
    amounts = {name: sum(each[2] for each in points[name]) for name in points}
    lines = [_Line(name, part, points[name]) for name, part in shares(amounts).items()]
    title = f"Emotions by {measure}, session {timeline.session}"
    return _lines_chart(title, lines, span, width=width, ramp=ramp)


def sentiment_chart(
    timeline: SentimentTimeline, *, span: Span, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each sentiment, all in one scale: they are parts of a whole."""
    points = {
        name: [
            (part.start, part.end, getattr(part.sentiments, name))
            for part in timeline.intervals
        ]
        for name in SENTIMENTS
    }
    parts = shares({name: sum(each[2] for each in points[name]) for name in points})
    lines = [_Line(name, parts[name], points[name]) for name in SENTIMENTS]
    title = f"Sentiment of what was said, session {timeline.session}"
    return _lines_chart(title, lines, span, width=width, ramp=ramp, one_scale=True)


def _lines_chart(
    title: str,
    lines: Sequence[_Line],
    span: Span,
    *,
    width: int,
    ramp: Ramp,
    one_scale: bool = False,
) -> Text:
    """Draw *lines* above each other, between their names and their figures."""
    peaks = _alike([line.peak for line in lines])
    shared = (_percent(line.share) for line in lines)
    figures = [("share", "peak"), *zip(shared, peaks, strict=True)]
    names = [line.name for line in lines]
    layout = _Layout.of(names, figures, width)
    grid = span.grid([end for line in lines for _, end, _ in line.points], layout.room)
    values = [sample(grid, line.points) for line in lines]
    tops = [max((value or 0.0 for value in row), default=0.0) for row in values]
    if one_scale:
        tops = [max(tops, default=0.0)] * len(tops)
    drawn = [
        sparkline(row, top, ramp.levels) for row, top in zip(values, tops, strict=True)
    ]
    below = axis(grid, ramp.mark)
    chart = layout.chart(title, names, drawn, below, grid.cells)
    # A short chart has no room for times below it.
    note = f"From {clock(grid.start)} to {clock(grid.end)}; "
    note += "all lines have one scale" if one_scale else "each line has its own scale"
    if None in chain(*values):
        note += "; a gap is where there are no data"
    return chart.append(f"\n{note}.", "dim")


# -- in all ----------------------------------------------------------------------------


def totals_chart(totals: EmotionTotals, *, width: int, ramp: Ramp) -> Text:
    """Draw a bar for each emotion, the most frequent one first."""
    parts = shares(totals.emotions)
    times = (f"{totals.emotions[name]:,}" for name in parts)
    shared = map(_percent, parts.values())
    figures = [("share", "times"), *zip(shared, times, strict=True)]
    layout = _Layout.of(list(parts), figures, width)
    room = min(layout.room, LONGEST)
    most = max(parts.values(), default=0.0) or 1.0
    drawn = [bar(part / most, room, ramp.bars) for part in parts.values()]
    title = f"Emotions in all, session {totals.session}"
    return layout.chart(title, list(parts), drawn, "", room)


def _fitted(names: Sequence[str], width: int) -> list[str]:
    """Make *names* safe, and equally wide, at most as *width* says."""
    cells = [Text(printable(name)) for name in names]
    for cell in cells:
        cell.truncate(width, overflow="ellipsis")
    widest = max((cell.cell_len for cell in cells), default=0)
    return [cell.plain + " " * (widest - cell.cell_len) for cell in cells]


def _alike(numbers: Sequence[float]) -> list[str]:
    """Write *numbers* with as many decimals as any of them needs, two at most."""
    digits = 0 if all(number == round(number) for number in numbers) else 2
    return [f"{number:,.{digits}f}" for number in numbers]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _style(name: str) -> str:
    other = _OTHER_STYLES[crc32(name.encode(errors="replace")) % len(_OTHER_STYLES)]
    return _STYLES.get(name, other)
