"""Tables of many models, as columns."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from emogg_async.errors import InvalidArgumentError
from emogg_async.models import (
    EmotionsTimeline,
    EmotionTotals,
    FrozenMapping,
    SentimentTimeline,
    Session,
    SessionState,
    SessionType,
)

__all__ = ["M", "to_columns"]

M = TypeVar("M", Session, EmotionTotals, EmotionsTimeline, SentimentTimeline)

_SAMPLES: Final[dict[type[Any], Any]] = {
    Session: Session(
        id="",
        name="",
        type=SessionType.LIVE_ANALYSIS,
        state=SessionState.FINISHED,
        timestamp=datetime(1970, 1, 1, tzinfo=UTC),
        duration=0.0,
        product="",
        user="",
        version=3,
    ),
    EmotionTotals: EmotionTotals(session="", emotions=FrozenMapping({})),
    EmotionsTimeline: EmotionsTimeline(session="", intervals=()),
    SentimentTimeline: SentimentTimeline(session="", intervals=()),
}
"""A model of each kind, which knows the names of its columns."""


def to_columns(
    models: Iterable[M], *, of: type[M] | None = None
) -> dict[str, list[Any]]:
    """Put models of one kind into one table, for pandas, polars or pyarrow.

    `pandas.DataFrame`, `polars.DataFrame` and `pyarrow.table` take the result as it is.
    It has the rows of each model, in the order given, under the columns that the
    model's own `to_columns` describes. In text, unpaired surrogates are replaced by
    U+FFFD: no table can hold them.

    Args:
        models: Sessions, totals, timelines of emotions or timelines of sentiment.
        of: Their class; it names the columns where there are no models. None takes the
            class of the first model, or `Session` where there are none.

    Returns:
        Lists of equal length, by the names of the columns.

    Raises:
        InvalidArgumentError: A model is of another kind, or is no model with columns.
    """
    if not isinstance(models, Iterable):
        raise InvalidArgumentError(
            f"models: expected an iterable of models, got {type(models).__name__}"
        )
    if of is not None and of not in (*_SAMPLES,):  # it may have no hash
        known = ", ".join(kind.__name__ for kind in _SAMPLES)
        raise InvalidArgumentError(f"of: expected one of {known}, got {of!r:.60}")
    kind: type[Any] | None = of
    parts = []
    for model in models:
        kind = kind or _kind_of(model)
        if not isinstance(model, kind):
            raise InvalidArgumentError(
                f"models: expected {kind.__name__} only, got {type(model).__name__}"
            )
        parts.append(model.to_columns())
    names = _SAMPLES[kind or Session].to_columns()
    return {name: [value for part in parts for value in part[name]] for name in names}


def _kind_of(model: object) -> type[Any]:
    for kind in _SAMPLES:
        if isinstance(model, kind):
            return kind
    raise InvalidArgumentError(
        f"models: expected sessions, totals or timelines, got {type(model).__name__}"
    )
