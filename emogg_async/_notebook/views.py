"""What people see of each model in a notebook: its numbers, handed to the charts."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Final

from emogg_async._checks import whole_number
from emogg_async._notebook import charts
from emogg_async._notebook.markup import (
    amount,
    clock,
    cut,
    facts,
    figure,
    figures,
    fold,
    grid,
    named,
    percent,
)
from emogg_async._notebook.series import Interval, Series, series
from emogg_async.errors import EmoggError, InvalidArgumentError

if TYPE_CHECKING:
    from emogg_async import models

__all__ = [
    "batch_table",
    "emotions_chart",
    "emotions_row",
    "emotions_view",
    "sentiment_chart",
    "sentiment_row",
    "sentiment_view",
    "session_row",
    "session_table",
    "totals_chart",
    "totals_row",
]

_MEASURES: Final = ("intensity", "quantity", "people")
_MAX_ROWS: Final = 20
_MAX_ERRORS: Final = 10
_MAX_SOURCES: Final = 8
_NUMERIC: Final = {
    *("duration", "detected", "intervals", "until", "mean", "highest", "at"),
}
"""Columns that are aligned to the right."""


def session_table(session: "models.Session") -> str:
    """Write a session's facts as a small table."""
    rows = [
        ("id", session.id),
        ("state", str(session.state)),
        ("type", str(session.type)),
        ("created", f"{session.timestamp.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
        ("duration", clock(session.duration)),
    ]
    shown = session.sources[:_MAX_SOURCES]
    rows += [("source", f"{named(item.name, 90)} ({item.type})") for item in shown]
    if len(session.sources) > _MAX_SOURCES:
        rows.append(("", f"and {len(session.sources) - _MAX_SOURCES:,} more sources"))
    return facts(session.name, rows)


def session_row(session: "models.Session") -> dict[str, str]:
    """Return what a table of many sessions says of one."""
    return {
        "name": named(session.name),
        "state": str(session.state),
        "created (UTC)": f"{session.timestamp.astimezone(UTC):%Y-%m-%d %H:%M}",
        "duration": clock(session.duration),
    }


def totals_chart(totals: "models.EmotionTotals") -> str:
    """Draw a bar for each emotion."""
    return charts.bars(
        totals.emotions.items(),
        title="Times each emotion was detected",
        note=f"session {totals.session}",
    )


def totals_row(totals: "models.EmotionTotals") -> dict[str, str]:
    """Return what a table of many totals says of one."""
    counts = {name: max(0.0, amount(n)) for name, n in totals.emotions.items()}
    peak = max(counts.values(), default=0.0) or 1.0
    whole = sum(count / peak for count in counts.values()) or 1.0
    most = sorted(counts, key=lambda name: (-counts[name], name))[:3]
    return {
        "detected": figure(round(whole * peak) if counts else 0),
        "most frequent": ", ".join(
            f"{named(name, 30)} {percent(counts[name] / peak / whole)}" for name in most
        ),
    }


def emotions_chart(
    timeline: "models.EmotionsTimeline",
    *,
    width: int = charts.WIDTH,
    height: int | None = None,
    measure: str = "intensity",
) -> str:
    """Draw a row for each emotion."""
    if measure not in _MEASURES:
        known = ", ".join(_MEASURES)
        raise InvalidArgumentError(f"measure: expected one of {known}")
    _check_size(width, height)
    return charts.rows(
        _emotions(timeline, measure),
        title=f"{measure.capitalize()} by emotion",
        note=f"session {timeline.session}",
        width=width,
        height=height,
    )


def emotions_view(timeline: "models.EmotionsTimeline") -> str:
    """Draw the timeline, with its figures folded below it."""
    timed = series(_emotions(timeline, "intensity"))
    return _with_figures(emotions_chart(timeline), timed, "emotion")


def emotions_row(timeline: "models.EmotionsTimeline") -> dict[str, str]:
    """Return what a table of many timelines says of one."""
    whole = series(_emotions(timeline, "intensity"))
    profiles = whole.profiles()
    strongest = [*islice(profiles, 3)]
    means = figures([profiles[name].mean for name in strongest])
    return {
        "intervals": figure(len(timeline.intervals)),
        "until": clock(whole.time(1.0)),
        "most intense": ", ".join(
            f"{named(name, 30)} {mean}"
            for name, mean in zip(strongest, means, strict=True)
        ),
    }


def sentiment_chart(
    timeline: "models.SentimentTimeline",
    *,
    width: int = charts.WIDTH,
    height: int | None = None,
) -> str:
    """Draw stacked bars, positive above and negative below."""
    _check_size(width, height)
    return charts.stacks(
        _sentiments(timeline),
        title="Sentiment of what was said",
        note=f"session {timeline.session}",
        width=width,
        height=height,
    )


def sentiment_view(timeline: "models.SentimentTimeline") -> str:
    """Draw the timeline, with its figures folded below it."""
    timed = series(_sentiments(timeline))
    return _with_figures(sentiment_chart(timeline), timed, "sentiment")


def sentiment_row(timeline: "models.SentimentTimeline") -> dict[str, str]:
    """Return what a table of many timelines says of one."""
    whole = series(_sentiments(timeline))
    return {
        "intervals": figure(len(timeline.intervals)),
        "until": clock(whole.time(1.0)),
        "on the whole": ", ".join(charts.shares(whole)) if whole.steps else "",
    }


def batch_table(values: Mapping[str, object], errors: Mapping[str, EmoggError]) -> str:
    """Write the first of a batch's values, and of its errors, as a small table."""
    shown = [*islice(values.items(), _MAX_ROWS)]
    cells: list[dict[str, str]] = [
        getattr(value, "_row_", dict)() for _, value in shown
    ]
    head = [*cells[0]] if cells else []
    if head and all(head == [*cell] for cell in cells):
        rows = [
            [key, *cell.values()] for (key, _), cell in zip(shown, cells, strict=True)
        ]
    else:
        head = ["value"]
        rows = [[key, cut(repr(value), 240)] for key, value in shown]
    failed = [*islice(errors.items(), _MAX_ERRORS)]
    rows += [[key, f"{type(error).__name__}: {error}"] for key, error in failed]
    more = [
        f"{count:,} more {what}"
        for count, what in (
            (len(values) - len(shown), "fetched"),
            (len(errors) - len(failed), "failed"),
        )
        if count
    ]
    return grid(
        f"Batch: {len(values):,} fetched, {len(errors):,} failed",
        ["id", *head],
        rows,
        right=_numeric(["id", *head]),
        footer=f"and {' and '.join(more)}" if more else "",
    )


def _emotions(timeline: "models.EmotionsTimeline", measure: str) -> Iterator[Interval]:
    for part in timeline.intervals:
        values = {name: getattr(it, measure) for name, it in part.emotions.items()}
        yield part.start, part.end, values


def _sentiments(timeline: "models.SentimentTimeline") -> Iterator[Interval]:
    for part in timeline.intervals:
        parts = part.sentiments
        values = {
            "positive": parts.positive,
            "neutral": parts.neutral,
            "negative": parts.negative,
        }
        yield part.start, part.end, values


def _check_size(width: object, height: object) -> None:
    whole_number("width", width, at_least=200, at_most=4000)
    if height is not None:
        whole_number("height", height, at_least=120, at_most=4000)


def _numeric(head: Iterable[str]) -> frozenset[int]:
    return frozenset(at for at, name in enumerate(head) if name in _NUMERIC)


def _with_figures(chart: str, timed: Series, what: str) -> str:
    """Put below a chart, folded, what it shows in figures."""
    profiles = timed.profiles()
    if not profiles:
        return f"<div>{chart}</div>"
    head = [what, "mean", "highest", "at"]
    rows = [
        [named(name), figure(profile.mean), figure(profile.peak), clock(profile.at)]
        for name, profile in islice(profiles.items(), _MAX_ROWS)
    ]
    more = len(profiles) - len(rows)
    footer = f"and {more:,} more" if more else ""
    table = grid("", head, rows, right=_numeric(head), footer=footer)
    return f"<div>{chart}{fold('in figures', table)}</div>"
