"""HTML and SVG of each model, from its numbers and names.

Models hand their content over as intervals, counts and text, so this module needs to
know none of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from emogg_async._checks import whole_number
from emogg_async._notebook import charts
from emogg_async._notebook.colours import css_colour
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
from emogg_async._notebook.series import Interval, Series, series, shares
from emogg_async._notebook.svg import INKS, WIDTH, Look
from emogg_async.errors import EmoggError, InvalidArgumentError

__all__ = [
    "batch_table",
    "emotions_chart",
    "emotions_row",
    "emotions_sparkline",
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
_THEMES: Final = ("auto", *INKS, "page")
_MAX_ROWS: Final = 20
_MAX_ERRORS: Final = 10
_MAX_SOURCES: Final = 8
_NUMERIC: Final = {
    "duration",
    "detected",
    "intervals",
    "until",
    "mean",
    "highest",
    "at",
}
"""Columns that are aligned to the right."""


def session_table(
    title: str,
    *,
    session: str,
    state: str,
    kind: str,
    created: datetime,
    duration: float,
    sources: Sequence[tuple[str, str]],
) -> str:
    """Write a session's facts as a small table; *sources* are names and types."""
    rows = [
        ("id", session),
        ("state", str(state)),
        ("type", str(kind)),
        ("created", f"{_utc(created)} UTC"),
        ("duration", clock(duration)),
    ]
    shown = sources[:_MAX_SOURCES]
    rows += [("source", f"{named(name, 90)} ({type_})") for name, type_ in shown]
    if more := len(sources) - len(shown):
        rows.append(("", f"and {more:,} more sources"))
    return facts(title, rows)


def session_row(
    name: str, state: str, created: datetime, duration: float
) -> dict[str, str]:
    """Return the cells of one session in a table of many."""
    return {
        "name": named(name),
        "state": str(state),
        "created (UTC)": _utc(created),
        "duration": clock(duration),
    }


def totals_chart(
    session: str,
    counts: Mapping[str, int],
    *,
    width: int = WIDTH,
    theme: str = "auto",
    background: str | None = None,
) -> str:
    """Draw a bar for each emotion."""
    return charts.bars(
        counts.items(),
        title="Times each emotion was detected",
        note=f"session {session}",
        look=_look(width, None, theme, background),
    )


def totals_row(totals: Mapping[str, int]) -> dict[str, str]:
    """Return the cells of one session's totals in a table of many."""
    most = islice(shares(totals).items(), 3)
    return {
        "detected": figure(round(sum(max(0.0, amount(n)) for n in totals.values()))),
        "most frequent": ", ".join(
            f"{named(name, 30)} {percent(share)}" for name, share in most
        ),
    }


def emotions_chart(
    session: str,
    measured: Callable[[str], Iterable[Interval]],
    *,
    width: int = WIDTH,
    height: int | None = None,
    measure: str = "intensity",
    theme: str = "auto",
    background: str | None = None,
) -> str:
    """Draw a row for each emotion; *measured* returns the intervals of a measure."""
    _check_one_of("measure", measure, _MEASURES)
    look = _look(width, height, theme, background)
    return charts.rows(
        measured(measure),
        title=f"{measure.capitalize()} by emotion",
        note=f"session {session}",
        look=look,
    )


def emotions_sparkline(
    measured: Callable[[str], Iterable[Interval]],
    *,
    width: int,
    height: int,
    measure: str,
) -> str:
    """Draw the timeline very small, for a row of a table."""
    _check_one_of("measure", measure, _MEASURES)
    whole_number("width", width, at_least=20, at_most=4000)
    whole_number("height", height, at_least=8, at_most=4000)
    title = f"{measure.capitalize()} by emotion"
    return charts.sparkline(measured(measure), title=title, width=width, height=height)


def emotions_view(session: str, measured: Callable[[str], Iterable[Interval]]) -> str:
    """Draw the timeline, with its figures folded below it."""
    chart = emotions_chart(session, measured)
    return _with_figures(chart, series(measured("intensity")), "emotion")


def emotions_row(intervals: Iterable[Interval]) -> dict[str, str]:
    """Return the cells of one session's intensities in a table of many."""
    intervals = [*intervals]
    whole = series(intervals)
    profiles = whole.profiles()
    strongest = [*islice(profiles, 3)]
    means = figures([profiles[name].mean for name in strongest])
    return _extent(intervals, whole) | {
        "most intense": ", ".join(
            f"{named(name, 30)} {mean}"
            for name, mean in zip(strongest, means, strict=True)
        ),
    }


def sentiment_chart(
    session: str,
    intervals: Iterable[Interval],
    *,
    width: int = WIDTH,
    height: int | None = None,
    theme: str = "auto",
    background: str | None = None,
) -> str:
    """Draw stacked bars, positive above and negative below."""
    look = _look(width, height, theme, background)
    return charts.stacks(
        intervals,
        title="Sentiment of what was said",
        note=f"session {session}",
        look=look,
    )


def sentiment_view(session: str, intervals: Iterable[Interval]) -> str:
    """Draw the timeline, with its figures folded below it."""
    intervals = [*intervals]
    chart = sentiment_chart(session, intervals)
    return _with_figures(chart, series(intervals), "sentiment")


def sentiment_row(intervals: Iterable[Interval]) -> dict[str, str]:
    """Return the cells of one session's sentiments in a table of many."""
    intervals = [*intervals]
    whole = series(intervals)
    return _extent(intervals, whole) | {
        "on the whole": ", ".join(charts.sentiments(whole)) if whole.steps else "",
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
        right=_NUMERIC,
        footer=f"and {' and '.join(more)}" if more else "",
    )


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _extent(intervals: Sequence[Interval], whole: Series) -> dict[str, str]:
    """Return the cells that all timelines have."""
    return {"intervals": figure(len(intervals)), "until": clock(whole.time(1.0))}


def _check_one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        rule, given = f"one of {', '.join(choices)}", cut(repr(value), 40)
        raise InvalidArgumentError(f"{name}: expected {rule}, got {given}")


def _look(width: int, height: int | None, theme: str, background: str | None) -> Look:
    whole_number("width", width, at_least=200, at_most=4000)
    if height is not None:
        whole_number("height", height, at_least=120, at_most=4000)
    _check_one_of("theme", theme, _THEMES)
    if background is not None:
        background = css_colour("background", background)
    return Look(width, height, theme, background)


def _with_figures(chart: str, timed: Series, what: str) -> str:
    """Put a folded table of a chart's figures below it."""
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
    table = grid("", head, rows, right=_NUMERIC, footer=footer)
    return f"<div>{chart}{fold('in figures', table)}</div>"
