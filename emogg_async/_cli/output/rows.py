"""The figures of a model as rows."""

from collections.abc import Iterable, Iterator
from typing import Any

from emogg_async._notebook.series import shares
from emogg_async.models import EmotionsTimeline, EmotionTotals, SentimentTimeline

__all__ = ["Row", "rows_of"]

Row = dict[str, Any]
"""Figures by the names of their fields."""


def rows_of(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the rows of models of figures; another item is a row itself."""
    for item in items:
        match item:
            case EmotionTotals():
                yield from _total_rows(item)
            case EmotionsTimeline() | SentimentTimeline():
                yield from _timeline_rows(item)
            case _:
                yield item


def _total_rows(totals: EmotionTotals) -> Iterator[Row]:
    """Make a row for each emotion, the most frequent first."""
    for emotion, share in shares(totals.emotions).items():
        yield {
            "session": totals.session,
            "emotion": emotion,
            "times": totals.emotions[emotion],
            "share": round(share, 6),
        }


def _timeline_rows(timeline: EmotionsTimeline | SentimentTimeline) -> Iterator[Row]:
    """Make a row for each interval, or for each interval and emotion."""
    columns = timeline.to_columns()
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))
