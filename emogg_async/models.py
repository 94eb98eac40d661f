"""What the service answers, as frozen attrs classes.

Models know nothing of the wire: names, dates and strictness are the converter's
business, and `emogg_async.to_dict` gives the wire form back. Fields that this release
does not know survive in `extra`, values that it does not know in open enums. In
notebooks they are tables and charts; what draws these is imported when it is needed.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

import attrs

from emogg_async._values import EMPTY, FrozenMapping, OpenEnum, member

__all__ = [
    "CustomEvent",
    "EmotionInterval",
    "EmotionMeasure",
    "EmotionTotals",
    "EmotionsTimeline",
    "FrozenMapping",
    "OpenEnum",
    "RegisteredSource",
    "SentimentInterval",
    "SentimentTimeline",
    "Sentiments",
    "Session",
    "SessionConfig",
    "SessionMeta",
    "SessionState",
    "SessionType",
    "SessionWorkerState",
    "Source",
]


class SessionType(OpenEnum):
    """What kind of session it is. The service publishes no list: others can occur."""

    LIVE_ANALYSIS: ClassVar["SessionType"] = member("live_analysis")


class SessionState(OpenEnum):
    """How far a session is. The service publishes no list: others can occur."""

    ACTIVE: ClassVar["SessionState"] = member("active")
    PROCESSING: ClassVar["SessionState"] = member("processing")
    FINISHED: ClassVar["SessionState"] = member("finished")


class SessionWorkerState(OpenEnum):
    """What the worker that analyses a session does. Others can occur."""

    WORKING: ClassVar["SessionWorkerState"] = member("working")


@attrs.frozen(kw_only=True)
class SessionConfig:
    """How a session was set up."""

    remove_media: bool | None = None
    """Whether its media are removed afterwards; None when the service does not say."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class Source:
    """One source of a session's video or audio."""

    id: str
    """Its UUID."""

    name: str
    """The name its device goes by, e.g. `Integrated Webcam`."""

    type: str
    """What it delivers, e.g. `video`."""

    device: str
    """What kind of device it is, e.g. `local_camera`."""

    format: str | None = None
    """`text` or `scalar` for a registered source; None for all others."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class SessionMeta:
    """What the service notes about running a session."""

    expires: datetime | None = None
    """When the session expires (aware, UTC); None when the service does not say."""

    health_check: datetime | None = None
    """When its worker last gave a sign of life (aware, UTC); None when not known."""

    worker_state: SessionWorkerState | None = None
    """What its worker does; None when the service does not say."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class Session:
    """A session whose emotions are, or were, analysed.

    Source: https://docs.emogg.com, "Get a session".
    """

    id: str
    """24 hex digits, a MongoDB ObjectId."""

    name: str
    """At most 256 characters, chosen by its creator: treat it as untrusted text."""

    type: SessionType
    """What kind of session it is."""

    state: SessionState
    """How far it is; only a finished session no longer changes by itself."""

    timestamp: datetime
    """When it was created (aware, UTC, to the millisecond)."""

    duration: float
    """Seconds that it lasted, or has lasted so far."""

    config: SessionConfig | None = None
    """How it was set up; None when the service does not say."""

    sources: tuple[Source, ...] = ()
    """Its sources; empty when the service names none."""

    meta: SessionMeta | None = None
    """What the service notes about running it; None when it notes nothing."""

    product: str
    """ID of the product that analyses it."""

    user: str
    """ID of its creator."""

    version: int | float
    """Version of the object's schema on the wire; 3 today."""

    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    """The full objects that `expand` brought, by the name of the field with the ID."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""

    stale: bool = attrs.field(default=False, eq=False)
    """Whether it is a past value, because the service could not answer: see
    `CachePolicy.stale_if_error`. It tells how the session came, not how it is: it is
    not part of equality, nor of the wire form."""

    def _repr_html_(self) -> str:
        """Write its facts as a small table, for notebooks."""
        from emogg_async._notebook import views

        return views.session_table(self)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.session_row(self)


@attrs.frozen(kw_only=True)
class EmotionTotals:
    """How often each emotion was detected in a session.

    Source: https://docs.emogg.com, "Get emotions".
    """

    session: str
    """ID of the session."""

    emotions: FrozenMapping[int]
    """Times detected, by the emotion's name; the names are an open set."""

    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    """The full objects that `expand` brought, by the name of the field with the ID."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""

    stale: bool = attrs.field(default=False, eq=False)
    """Whether it is a past value; as in `Session`, not part of equality."""

    def _repr_html_(self) -> str:
        """Draw a bar for each emotion, the most frequent first, for notebooks."""
        from emogg_async._notebook import views

        return views.totals_chart(self)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.totals_row(self)


@attrs.frozen(kw_only=True)
class EmotionMeasure:
    """How much of one emotion there was in one interval."""

    people: int
    """How many people showed it."""

    quantity: float
    """How much of it there was, as the service counts."""

    intensity: float
    """How strong it was, as the service counts."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class EmotionInterval:
    """The emotions in a part of a session."""

    start: float
    """Seconds from the session's beginning to the interval's."""

    end: float
    """Seconds from the session's beginning to the interval's end."""

    detected_faces: int
    """How many faces were seen."""

    emotions: FrozenMapping[EmotionMeasure]
    """What was measured, by the emotion's name; an open set, as in `EmotionTotals`."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class EmotionsTimeline:
    """The emotions of a session, interval by interval.

    Source: https://docs.emogg.com, "Get emotions timeline".
    """

    session: str
    """ID of the session."""

    intervals: tuple[EmotionInterval, ...]
    """In the order of time; intervals without data are left out."""

    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    """The full objects that `expand` brought, by the name of the field with the ID."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""

    stale: bool = attrs.field(default=False, eq=False)
    """Whether it is a past value; as in `Session`, not part of equality."""

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the timeline in columns, for `pandas.DataFrame` or `polars.DataFrame`.

        Returns:
            Lists of one length, with a row for each interval and emotion: `session`,
            `start` and `end` (seconds), `detected_faces`, `emotion`, `people`,
            `quantity` and `intensity`. An interval without emotions has no row.
        """
        rows = [
            (part, name, measure)
            for part in self.intervals
            for name, measure in part.emotions.items()
        ]
        return {
            "session": [self.session] * len(rows),
            "start": [part.start for part, _, _ in rows],
            "end": [part.end for part, _, _ in rows],
            "detected_faces": [part.detected_faces for part, _, _ in rows],
            "emotion": [name for _, name, _ in rows],
            "people": [measure.people for _, _, measure in rows],
            "quantity": [measure.quantity for _, _, measure in rows],
            "intensity": [measure.intensity for _, _, measure in rows],
        }

    def to_svg(
        self,
        *,
        width: int = 640,
        height: int | None = None,
        measure: Literal["intensity", "quantity", "people"] = "intensity",
    ) -> str:
        """Draw a row for each emotion, all on one scale, the largest mean first.

        Where the service left out intervals is a gap; an emotion that an interval does
        not name counts as 0 there. Of more than 12 emotions, the first 12 are drawn,
        and of more intervals than there are pixels, averages.

        Args:
            width: Pixels, 200 to 4,000.
            height: Pixels, 120 to 4,000; None takes what it needs.
            measure: What to draw of each emotion.

        Returns:
            An SVG document that can also stand within an HTML page. It needs nothing
            else, and suits light and dark backgrounds.

        Raises:
            InvalidArgumentError: An argument is none of these.
        """
        from emogg_async._notebook import views

        return views.emotions_chart(self, width=width, height=height, measure=measure)

    def _repr_html_(self) -> str:
        """Draw the intensities, with their figures folded below, for notebooks."""
        from emogg_async._notebook import views

        return views.emotions_view(self)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.emotions_row(self)


@attrs.frozen(kw_only=True)
class Sentiments:
    """How what was said in an interval divides among the sentiments."""

    positive: float
    """The positive part, as the service counts."""

    neutral: float
    """The neutral part, as the service counts."""

    negative: float
    """The negative part, as the service counts."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class SentimentInterval:
    """The sentiment of what was said in a part of a session."""

    start: float
    """Seconds from the session's beginning to the interval's."""

    end: float
    """Seconds from the session's beginning to the interval's end."""

    segments: int
    """How many segments of the transcription fall into it."""

    sentiments: Sentiments
    """How these divide among the sentiments."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class SentimentTimeline:
    """The sentiment of what was said in a session, interval by interval.

    Source: https://docs.emogg.com, "Get transcription sentiment".
    """

    session: str
    """ID of the session."""

    intervals: tuple[SentimentInterval, ...]
    """In the order of time; intervals without data are left out."""

    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    """The full objects that `expand` brought, by the name of the field with the ID."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""

    stale: bool = attrs.field(default=False, eq=False)
    """Whether it is a past value; as in `Session`, not part of equality."""

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the timeline in columns, for `pandas.DataFrame` or `polars.DataFrame`.

        Returns:
            Lists of one length, with a row for each interval: `session`, `start` and
            `end` (seconds), `segments`, `positive`, `neutral` and `negative`.
        """
        parts = self.intervals
        return {
            "session": [self.session] * len(parts),
            "start": [part.start for part in parts],
            "end": [part.end for part in parts],
            "segments": [part.segments for part in parts],
            "positive": [part.sentiments.positive for part in parts],
            "neutral": [part.sentiments.neutral for part in parts],
            "negative": [part.sentiments.negative for part in parts],
        }

    def to_svg(
        self,
        *,
        width: int = 640,
        height: int | None = None,
    ) -> str:
        """Draw stacked bars: positive upwards, negative downwards, neutral around.

        Half of what is neutral is drawn at either side. Where the service left out
        intervals is a gap; of more intervals than there are pixels, averages are
        drawn.

        Args:
            width: Pixels, 200 to 4,000.
            height: Pixels, 120 to 4,000; None takes what it needs.

        Returns:
            An SVG document that can also stand within an HTML page. It needs nothing
            else, and suits light and dark backgrounds.

        Raises:
            InvalidArgumentError: An argument is none of these.
        """
        from emogg_async._notebook import views

        return views.sentiment_chart(self, width=width, height=height)

    def _repr_html_(self) -> str:
        """Draw it, with its figures folded below, for notebooks."""
        from emogg_async._notebook import views

        return views.sentiment_view(self)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.sentiment_row(self)


@attrs.frozen(kw_only=True)
class RegisteredSource:
    """A source of custom events that was registered for a session.

    Source: https://docs.emogg.com, "Register source".
    """

    id: str
    """Its UUID; events are sent to it."""

    name: str
    """The name that it was given: treat it as untrusted text."""

    device: str
    """`generic_sensor`."""

    type: str
    """`generic_sensor`."""

    format: str
    """What its events carry: `text` or `scalar`."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class CustomEvent:
    """A report of a registered source.

    Source: https://docs.emogg.com, "Custom events".
    """

    time: float
    """Seconds since the session began."""

    data: str | float
    """Text or a number, as the source's format says: treat text as untrusted."""

    source: str
    """ID of the source."""

    session: str
    """ID of the session."""

    user: str
    """ID of the user who sent it."""

    type: str
    """`sensor_report`."""

    extra: FrozenMapping[Any] = EMPTY
    """Fields that this release does not know."""
