"""The figures of a model as rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from emogg_async._cli.output.fields import SENTIMENTS
from emogg_async.models import EmotionsTimeline, EmotionTotals, SentimentTimeline

__all__ = ["Row", "emotion_rows", "sentiment_rows", "shares", "total_rows"]

Row = dict[str, Any]
"""Figures by the names of their fields."""


def shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return each of the *amounts* as a part of their sum, the largest first."""
    total = sum(amounts.values())
    ranked = sorted(amounts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: amount / total if total else 0.0 for name, amount in ranked}


def total_rows(totals: EmotionTotals) -> Iterator[Row]:
    """Make a row for each emotion, the most frequent first."""
    for emotion, share in shares(totals.emotions).items():
        yield {
            "session": totals.session,
            "emotion": emotion,
            "times": totals.emotions[emotion],
            "share": round(share, 6),
        }


def emotion_rows(timeline: EmotionsTimeline) -> Iterator[Row]:
    """Make a row for each interval and emotion."""
    for interval in timeline.intervals:
        for emotion, measure in interval.emotions.items():
            yield {
                "session": timeline.session,
                "start": interval.start,
                "end": interval.end,
                "detected_faces": interval.detected_faces,
                "emotion": emotion,
                "people": measure.people,
                "quantity": measure.quantity,
                "intensity": measure.intensity,
            }


def sentiment_rows(timeline: SentimentTimeline) -> Iterator[Row]:
    """Make a row for each interval."""
    for interval in timeline.intervals:
        row = {
            "session": timeline.session,
            "start": interval.start,
            "end": interval.end,
            "segments": interval.segments,
        }
        yield row | {each: getattr(interval.sentiments, each) for each in SENTIMENTS}
