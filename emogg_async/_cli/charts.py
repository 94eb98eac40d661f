"""Emotions and sentiments drawn on a terminal, for people.

Colours only repeat what stands in front of each line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from zlib import crc32

import attrs
from rich.cells import cell_len
from rich.text import Text

from emogg_async._cli.fields import SENTIMENTS
from emogg_async._cli.rows import shares
from emogg_async._cli.sparklines import Grid, Ramp, axis, bar, sample, sparkline
from emogg_async._cli.text import clock, printable
from emogg_async.models import EmotionsTimeline, EmotionTotals, SentimentTimeline

__all__ = ["Chart", "Span", "emotions_chart", "sentiment_chart", "totals_chart"]

Chart = Callable[..., Text]
"""Draws something, given its `width` and `ramp`."""

NARROWEST: Final = 8
"""Cells of a line or bar at least, whatever the width."""

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


# -- over time -------------------------------------------------------------------------


def emotions_chart(
    timeline: EmotionsTimeline, *, measure: str, span: Span, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each emotion, those with the largest share first."""
    names = {name for interval in timeline.intervals for name in interval.emotions}
    points = {
        name: [
            (
                interval.start,
                interval.end,
                # That it was not seen is no gap: somebody looked.
                float(getattr(interval.emotions.get(name), measure, 0.0)),
            )
            for interval in timeline.intervals
        ]
        for name in names
    }
    amounts = {name: sum(each[2] for each in points[name]) for name in names}
    lines = [_Line(name, part, points[name]) for name, part in shares(amounts).items()]
    title = f"Emotions by {measure}"
    return _lines_chart(title, timeline.session, lines, span, width, ramp)


def sentiment_chart(
    timeline: SentimentTimeline, *, span: Span, width: int, ramp: Ramp
) -> Text:
    """Draw a line for each sentiment."""
    points = {
        name: [
            (interval.start, interval.end, float(getattr(interval.sentiments, name)))
            for interval in timeline.intervals
        ]
        for name in SENTIMENTS
    }
    parts = shares({name: sum(each[2] for each in points[name]) for name in points})
    lines = [_Line(name, parts[name], points[name]) for name in SENTIMENTS]
    title = "Sentiment of what was said"
    return _lines_chart(title, timeline.session, lines, span, width, ramp)


def _lines_chart(
    title: str,
    session: str,
    lines: Sequence[_Line],
    span: Span,
    width: int,
    ramp: Ramp,
) -> Text:
    """Draw *lines* above each other, between their names and their figures."""
    figures = [("share", "peak"), *((_percent(e.share), _plain(e.peak)) for e in lines)]
    ends = [max(map(len, column)) for column in zip(*figures, strict=True)]
    names = _names([line.name for line in lines], width)
    before = cell_len(names[0]) + 1 if names else 0
    room = max(NARROWEST, width - before - sum(ends) - 4)
    grid = span.grid([end for line in lines for _, end, _ in line.points], room)
    drawn = [
        sparkline(sample(grid, line.points), line.peak, grid, ramp.levels)
        for line in lines
    ]
    # Wide columns may not fill the room: the figures stand beside what there is.
    below = axis(grid, ramp.mark)
    rows = [Text.assemble((title, "bold"), f" {session}")]
    head = _figures(figures[0], ends)
    rows.append(Text(f"{'':{before + grid.cells}}{head}", "dim"))
    for name, line, row, figure in zip(names, lines, drawn, figures[1:], strict=True):
        style = _style(line.name)
        rows.append(
            Text.assemble((name, style), " ", (row, style), _figures(figure, ends))
        )
    rows.append(Text(f"{'':{before}}{below}", "dim"))
    note = f"{_cells(grid)} {clock(grid.step)}; each line rises to its own peak."
    rows.append(Text(note, "dim"))
    return Text("\n").join(rows)


def _cells(grid: Grid) -> str:
    return "A column is" if grid.repeat == 1 else f"{grid.repeat} columns are"


# -- in all ----------------------------------------------------------------------------


def totals_chart(totals: EmotionTotals, *, width: int, ramp: Ramp) -> Text:
    """Draw a bar for each emotion, the most frequent one first."""
    parts = shares(totals.emotions)
    figures = [
        ("share", "times"),
        *(
            (_percent(part), f"{totals.emotions[name]:,}")
            for name, part in parts.items()
        ),
    ]
    ends = [max(map(len, column)) for column in zip(*figures, strict=True)]
    names = _names(list(parts), width)
    before = cell_len(names[0]) + 1 if names else 0
    room = max(NARROWEST, width - before - sum(ends) - 4)
    most = max(parts.values(), default=0.0) or 1.0
    head = _figures(figures[0], ends)
    rows = [
        Text.assemble(("Emotions in all", "bold"), f" {totals.session}"),
        Text(f"{'':{before + room}}{head}", "dim"),
    ]
    for name, emotion, figure in zip(names, parts, figures[1:], strict=True):
        style = _style(emotion)
        drawn = bar(parts[emotion] / most, room, ramp.bars)
        rows.append(
            Text.assemble(
                (name, style), " ", (f"{drawn:{room}}", style), _figures(figure, ends)
            )
        )
    return Text("\n").join(rows)


def _names(names: Sequence[str], width: int) -> list[str]:
    """Make *names* safe, and equally wide."""
    cells = [Text(printable(name)) for name in names]
    widest = max((cell.cell_len for cell in cells), default=0)
    for cell in cells:
        cell.truncate(min(widest, max(NARROWEST, width // 4)), overflow="ellipsis")
    widest = max((cell.cell_len for cell in cells), default=0)
    return [cell.plain + " " * (widest - cell.cell_len) for cell in cells]


def _figures(figures: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(
        f"  {each:>{size}}" for each, size in zip(figures, widths, strict=True)
    )


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) else f"{number:,.2f}"


def _style(name: str) -> str:
    other = _OTHER_STYLES[crc32(name.encode(errors="replace")) % len(_OTHER_STYLES)]
    return _STYLES.get(name, other)
