"""Answers of the service, as frozen attrs classes.

Models know nothing of the wire: the converter reads names, dates and numbers, and
`emogg_async.to_dict` returns the wire form. Fields that this release does not know are
kept in `extra`, unknown values in open enums. Notebooks show models as tables and
charts, and pydantic and FastAPI take models as types; the code for both, and for
`to_dict`, is imported when it is first needed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal

import attrs

from emogg_async._text import encodable
from emogg_async._values import EMPTY, FrozenMapping, Model, OpenEnum, member

__all__ = [
    "CustomEvent",
    "EmotionCounts",
    "EmotionIntensities",
    "EmotionInterval",
    "EmotionMeasure",
    "EmotionTotals",
    "EmotionsTimeline",
    "FrozenMapping",
    "Gap",
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
    "WorkerState",
]


_Interval = tuple[float, float, dict[str, float]]
_SENTIMENTS: Final = ("positive", "neutral", "negative")


class SessionType(OpenEnum):
    """The kind of a session. The service publishes no list, so others can occur.

    Attributes:
        LIVE_ANALYSIS: A live stream is analysed.
    """

    LIVE_ANALYSIS: ClassVar["SessionType"] = member("live_analysis")


class SessionState(OpenEnum):
    """The progress of a session. The service publishes no list, so others can occur.

    Attributes:
        ACTIVE: The stream is being analysed.
        PROCESSING: The stream has ended, and its results are being worked out.
        FINISHED: The results are complete, and no longer change.
    """

    ACTIVE: ClassVar["SessionState"] = member("active")
    PROCESSING: ClassVar["SessionState"] = member("processing")
    FINISHED: ClassVar["SessionState"] = member("finished")


class SessionWorkerState(OpenEnum):
    """The state of the worker that analyses a session. Others can occur.

    Attributes:
        WORKING: The worker analyses the stream.
    """

    WORKING: ClassVar["SessionWorkerState"] = member("working")


@attrs.frozen(kw_only=True)
class SessionConfig(Model):
    """The setup of a session.

    Attributes:
        remove_media: Whether its media are removed afterwards; None if the service does
            not say.
        extra: Fields that this release does not know.
    """

    remove_media: bool | None = None
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class Source(Model):
    """A source of a session's video, audio or events.

    Attributes:
        id: UUID.
        name: Name of its device, e.g. `Integrated Webcam`. Treat it as untrusted text.
        type: Kind of its data, e.g. `video`.
        device: Kind of its device, e.g. `local_camera`.
        format: `text` or `scalar` for a registered source; None for all others.
        extra: Fields that this release does not know.
    """

    id: str
    name: str
    type: str
    device: str
    format: str | None = None
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class SessionMeta(Model):
    """The service's notes on running a session.

    Attributes:
        expires: When the session expires (aware, UTC); None if the service does not
            say.
        health_check: Last sign of life of its worker (aware, UTC); None if unknown.
        worker_state: State of its worker; None if the service does not say.
        extra: Fields that this release does not know.
    """

    expires: datetime | None = None
    health_check: datetime | None = None
    worker_state: SessionWorkerState | None = None
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class Session(Model):
    """A session whose emotions are analysed, or were.

    Source: https://docs.emogg.com, "Get a session".

    Attributes:
        id: 24 hex digits, a MongoDB ObjectId.
        name: At most 256 characters, chosen by its creator. Treat it as untrusted text.
        type: Kind of session.
        state: Progress; only a finished session no longer changes by itself.
        timestamp: When it was created (aware, UTC, to the millisecond).
        duration: Length in seconds; of a session under way, the length so far.
        config: Its setup; None if the service does not say.
        sources: Its sources; empty if the service names none.
        meta: The service's notes on running it; None if there are none.
        product: ID of the product that analyses it.
        user: ID of its creator.
        version: Version of the object's schema on the wire; 3 today.
        expanded: The full objects that `expand` brought, by the name of the field that
            holds the ID.
        extra: Fields that this release does not know.
        stale: Whether this is a past value, served because the service could not
            answer; see `CachePolicy.stale_if_error`. It describes the answer and not
            the session, so it is part of neither equality nor the wire form.
    """

    id: str
    name: str
    type: SessionType
    state: SessionState
    timestamp: datetime
    duration: float
    config: SessionConfig | None = None
    sources: tuple[Source, ...] = ()
    meta: SessionMeta | None = None
    product: str
    user: str
    version: int | float
    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    extra: FrozenMapping[Any] = EMPTY
    stale: bool = attrs.field(default=False, eq=False)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the session in columns with one row, as `emogg_async.to_columns` does.

        Returns:
            Lists of one value: `id`, `name`, `type` and `state` (plain text),
            `timestamp` (aware, UTC), `duration` (seconds), `product`, `user`, `sources`
            (their number), `expires` (aware, UTC; None if the service does not say) and
            `stale`.
        """
        expires = self.meta and self.meta.expires
        return {
            "id": [encodable(self.id)],
            "name": [encodable(self.name)],
            "type": [encodable(str(self.type))],
            "state": [encodable(str(self.state))],
            "timestamp": [self.timestamp.astimezone(UTC)],
            "duration": [float(self.duration)],
            "product": [encodable(self.product)],
            "user": [encodable(self.user)],
            "sources": [len(self.sources)],
            "expires": [expires and expires.astimezone(UTC)],
            "stale": [self.stale],
        }

    @property
    def is_finished(self) -> bool:
        """Whether its state is `finished`: it no longer changes by itself."""
        return self.state == SessionState.FINISHED

    def _repr_html_(self) -> str:
        """Write its facts as a small table, for notebooks."""
        from emogg_async._notebook import views

        return views.session_table(
            self.name,
            session=self.id,
            state=self.state,
            kind=self.type,
            created=self.timestamp,
            duration=self.duration,
            sources=[(source.name, source.type) for source in self.sources],
        )

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.session_row(self.name, self.state, self.timestamp, self.duration)


@attrs.frozen(kw_only=True)
class EmotionTotals(Model):
    """Numbers of detections of each emotion in a session.

    Source: https://docs.emogg.com, "Get emotions".

    Attributes:
        session: ID of the session.
        emotions: Number of detections by the emotion's name; the names are an open set.
        expanded: The full objects that `expand` brought, by the name of the field that
            holds the ID.
        extra: Fields that this release does not know.
        stale: Whether this is a past value; as in `Session`, not part of equality.
    """

    session: str
    emotions: FrozenMapping[int]
    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    extra: FrozenMapping[Any] = EMPTY
    stale: bool = attrs.field(default=False, eq=False)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the totals in columns, for pandas, polars or pyarrow.

        Returns:
            Lists of equal length, with a row for each emotion: `session`, `emotion` and
            `count` (detections).
        """
        return {
            "session": [encodable(self.session)] * len(self.emotions),
            "emotion": [encodable(name) for name in self.emotions],
            "count": [*self.emotions.values()],
        }

    def to_svg(
        self,
        *,
        width: int = 640,
        theme: Literal["auto", "light", "dark", "page"] = "auto",
        background: str | None = None,
    ) -> str:
        """Draw a bar for each emotion, the most frequent first.

        It draws 20 emotions at most, and says what the rest amounts to.

        Args:
            width: Pixels, 200 to 4,000.
            theme: As in `EmotionsTimeline.to_svg`.
            background: As in `EmotionsTimeline.to_svg`.

        Returns:
            An SVG document that may also stand inside an HTML page. It needs no other
            files, and its colours suit light and dark backgrounds.

        Raises:
            InvalidArgumentError: An argument breaks its rule.
        """
        from emogg_async._notebook import views

        return views.totals_chart(
            self.session,
            self.emotions,
            width=width,
            theme=theme,
            background=background,
        )

    def _repr_html_(self) -> str:
        """Draw a bar for each emotion, the most frequent first, for notebooks."""
        from emogg_async._notebook import views

        return views.totals_chart(self.session, self.emotions)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.totals_row(self.emotions)


@attrs.frozen(kw_only=True)
class EmotionMeasure(Model):
    """The measurements of one emotion in one interval.

    Attributes:
        people: Number of people who showed it.
        quantity: Amount of it, in the service's own unit.
        intensity: Strength of it, in the service's own unit.
        extra: Fields that this release does not know.
    """

    people: int
    quantity: float
    intensity: float
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class EmotionInterval(Model):
    """The emotions in a part of a session.

    Attributes:
        start: Seconds from the session's start to the interval's start.
        end: Seconds from the session's start to the interval's end.
        detected_faces: Number of faces seen.
        emotions: Measurements by the emotion's name; an open set, as in
            `EmotionTotals`.
        extra: Fields that this release does not know.
    """

    start: float
    end: float
    detected_faces: int
    emotions: FrozenMapping[EmotionMeasure]
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class EmotionsTimeline(Model):
    """The emotions of a session, interval by interval.

    Source: https://docs.emogg.com, "Get emotions timeline".

    Attributes:
        session: ID of the session.
        intervals: Intervals in order of time; those without data are left out.
        expanded: The full objects that `expand` brought, by the name of the field that
            holds the ID.
        extra: Fields that this release does not know.
        stale: Whether this is a past value; as in `Session`, not part of equality.
    """

    session: str
    intervals: tuple[EmotionInterval, ...]
    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    extra: FrozenMapping[Any] = EMPTY
    stale: bool = attrs.field(default=False, eq=False)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the timeline in columns, for `pandas.DataFrame` or `polars.DataFrame`.

        Returns:
            Lists of equal length, with a row for each interval and emotion: `session`,
            `start` and `end` (seconds), `detected_faces`, `emotion`, `people`,
            `quantity` and `intensity`. An interval without emotions has no row.
        """
        rows = [
            (part, name, measure)
            for part in self.intervals
            for name, measure in part.emotions.items()
        ]
        return {
            "session": [encodable(self.session)] * len(rows),
            "start": [part.start for part, _, _ in rows],
            "end": [part.end for part, _, _ in rows],
            "detected_faces": [part.detected_faces for part, _, _ in rows],
            "emotion": [encodable(name) for _, name, _ in rows],
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
        theme: Literal["auto", "light", "dark", "page"] = "auto",
        background: str | None = None,
    ) -> str:
        """Draw a row for each emotion, all on one scale, the largest mean first.

        Intervals that the service left out are gaps. An emotion that an interval does
        not name counts as 0 there. At most 12 emotions are drawn. If there are more
        intervals than pixels, averages are drawn.

        Args:
            width: Pixels, 200 to 4,000.
            height: Pixels, 120 to 4,000; None takes as many as the rows need.
            measure: Measurement of each emotion to draw.
            theme: `"light"` or `"dark"`: dark or light text, wherever the chart stands.
                `"auto"` takes the page's own colour of text; a document of its own
                follows its reader's preference. `"page"` writes no style at all, for a
                page whose content security policy forbids inline styles: its stylesheet
                gives the chart `max-width: 100%` and `height: auto`.
            background: Colour of CSS to paint behind the chart: a name, `#` before hex
                digits, `rgb(…)` or `hsl(…)`. None paints nothing. It does not change
                the colour of text: give it the theme that suits it.

        Returns:
            An SVG document that may also stand inside an HTML page. It needs no other
            files, and its colours suit light and dark backgrounds.

        Raises:
            InvalidArgumentError: An argument breaks its rule.
        """
        from emogg_async._notebook import views

        return views.emotions_chart(
            self.session,
            self._measured,
            width=width,
            height=height,
            measure=measure,
            theme=theme,
            background=background,
        )

    def to_sparkline(
        self,
        *,
        width: int = 160,
        height: int = 32,
        measure: Literal["intensity", "quantity", "people"] = "intensity",
    ) -> str:
        """Draw the emotions very small, one on top of the other, for a row of a table.

        The largest mean is at the bottom. There is no text in it, but a title that
        tells the means. Intervals that the service left out stay empty.

        Args:
            width: Pixels, 20 to 4,000.
            height: Pixels, 8 to 4,000.
            measure: Measurement of each emotion to draw.

        Returns:
            An SVG document that may also stand inside an HTML page. It has no style, so
            it suits any content security policy.

        Raises:
            InvalidArgumentError: An argument breaks its rule.
        """
        from emogg_async._notebook import views

        return views.emotions_sparkline(
            self._measured, width=width, height=height, measure=measure
        )

    def _measured(self, measure: str) -> Iterator[_Interval]:
        for part in self.intervals:
            values = {name: getattr(it, measure) for name, it in part.emotions.items()}
            yield part.start, part.end, values

    def _repr_html_(self) -> str:
        """Draw the intensities, with their figures folded below, for notebooks."""
        from emogg_async._notebook import views

        return views.emotions_view(self.session, self._measured)

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.emotions_row(self._measured("intensity"))


@attrs.frozen(kw_only=True)
class Sentiments(Model):
    """The shares of the sentiments in an interval's speech, in the service's own unit.

    Attributes:
        positive: The positive part.
        neutral: The neutral part.
        negative: The negative part.
        extra: Fields that this release does not know.
    """

    positive: float
    neutral: float
    negative: float
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class SentimentInterval(Model):
    """The sentiment of the speech in a part of a session.

    Attributes:
        start: Seconds from the session's start to the interval's start.
        end: Seconds from the session's start to the interval's end.
        segments: Number of segments of the transcription in it.
        sentiments: Division of these among the sentiments.
        extra: Fields that this release does not know.
    """

    start: float
    end: float
    segments: int
    sentiments: Sentiments
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class SentimentTimeline(Model):
    """The sentiment of a session's speech, interval by interval.

    Source: https://docs.emogg.com, "Get transcription sentiment".

    Attributes:
        session: ID of the session.
        intervals: Intervals in order of time; those without data are left out.
        expanded: The full objects that `expand` brought, by the name of the field that
            holds the ID.
        extra: Fields that this release does not know.
        stale: Whether this is a past value; as in `Session`, not part of equality.
    """

    session: str
    intervals: tuple[SentimentInterval, ...]
    expanded: FrozenMapping[FrozenMapping[Any]] = EMPTY
    extra: FrozenMapping[Any] = EMPTY
    stale: bool = attrs.field(default=False, eq=False)

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the timeline in columns, for `pandas.DataFrame` or `polars.DataFrame`.

        Returns:
            Lists of equal length, with a row for each interval: `session`, `start` and
            `end` (seconds), `segments`, `positive`, `neutral` and `negative`.
        """
        parts = self.intervals
        return {
            "session": [encodable(self.session)] * len(parts),
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
        theme: Literal["auto", "light", "dark", "page"] = "auto",
        background: str | None = None,
    ) -> str:
        """Draw stacked bars: positive upwards, negative downwards, neutral around them.

        Half of the neutral part is drawn on either side. Intervals that the service
        left out are gaps. If there are more intervals than pixels, averages are drawn.

        Args:
            width: Pixels, 200 to 4,000.
            height: Pixels, 120 to 4,000; None chooses a suitable height.
            theme: `"light"` or `"dark"`: dark or light text, wherever the chart stands.
                `"auto"` takes the page's own colour of text; a document of its own
                follows its reader's preference. `"page"` writes no style at all, for a
                page whose content security policy forbids inline styles: its stylesheet
                gives the chart `max-width: 100%` and `height: auto`.
            background: Colour of CSS to paint behind the chart: a name, `#` before hex
                digits, `rgb(…)` or `hsl(…)`. None paints nothing. It does not change
                the colour of text: give it the theme that suits it.

        Returns:
            An SVG document that may also stand inside an HTML page. It needs no other
            files, and its colours suit light and dark backgrounds.

        Raises:
            InvalidArgumentError: An argument breaks its rule.
        """
        from emogg_async._notebook import views

        return views.sentiment_chart(
            self.session,
            self._parts(),
            width=width,
            height=height,
            theme=theme,
            background=background,
        )

    def _parts(self) -> Iterator[_Interval]:
        for part in self.intervals:
            values = {name: getattr(part.sentiments, name) for name in _SENTIMENTS}
            yield part.start, part.end, values

    def _repr_html_(self) -> str:
        """Draw it, with its figures folded below, for notebooks."""
        from emogg_async._notebook import views

        return views.sentiment_view(self.session, self._parts())

    def _row_(self) -> dict[str, str]:
        from emogg_async._notebook import views

        return views.sentiment_row(self._parts())


@attrs.frozen(kw_only=True)
class RegisteredSource(Model):
    """A source of custom events that was registered for a session.

    Source: https://docs.emogg.com, "Register source".

    Attributes:
        id: UUID; events are sent to it.
        name: Name it was registered under. Treat it as untrusted text.
        device: `generic_sensor`.
        type: `generic_sensor`.
        format: Kind of data in its events: `text` or `scalar`.
        extra: Fields that this release does not know.
    """

    id: str
    name: str
    device: str
    type: str
    format: str
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class CustomEvent(Model):
    """A report of a registered source.

    Source: https://docs.emogg.com, "Custom events".

    Attributes:
        time: Seconds since the session's start.
        data: Text or a number, as the source's format says. Treat text as untrusted.
        source: ID of the source.
        session: ID of the session.
        user: ID of the user who sent it.
        type: `sensor_report`.
        extra: Fields that this release does not know.
    """

    time: float
    data: str | float
    source: str
    session: str
    user: str
    type: str
    extra: FrozenMapping[Any] = EMPTY


@attrs.frozen(kw_only=True)
class Gap(Model):
    """A place in a live feed where something may be missing, just before an event.

    Attributes:
        since: Timestamp of the last event that the reader got before it; None if it got
            none.
        until: Timestamp of the event after it.
        reason: `reconnected`: the subscription was interrupted. `slow`: the reader was
            slow, and the oldest events were dropped. `unreadable`: the service sent
            something that this release cannot read.
        lost: Number of missing events; None if it is unknown.
    """

    since: datetime | None
    until: datetime
    reason: Literal["reconnected", "slow", "unreadable"]
    lost: int | None


@attrs.frozen(kw_only=True)
class EmotionCounts(Model):
    """An event of a live feed: how often each emotion was detected just now.

    Source: https://docs.emogg.com, "Session emotions counts".

    Attributes:
        session: ID of the session.
        timestamp: When the service sent it (aware, UTC).
        emotions: Number of detections by the emotion's name; an open set.
        gap: What may be missing just before it; None if nothing is. It describes the
            feed and not the event, so it is not part of equality.
    """

    session: str
    timestamp: datetime
    emotions: FrozenMapping[int]
    gap: Gap | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class EmotionIntensities(Model):
    """An event of a live feed: how strong each emotion is right now.

    Source: https://docs.emogg.com, "Session emotions intensities".

    Attributes:
        session: ID of the session.
        timestamp: When the service sent it (aware, UTC).
        emotions: Measurements by the emotion's name; an open set.
        gap: What may be missing just before it; None if nothing is. It describes the
            feed and not the event, so it is not part of equality.
    """

    session: str
    timestamp: datetime
    emotions: FrozenMapping[EmotionMeasure]
    gap: Gap | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class WorkerState(Model):
    """An event of a live feed: the worker of a session is in another state.

    Source: https://docs.emogg.com, "Session worker state".

    Attributes:
        session: ID of the session.
        timestamp: When the service sent it (aware, UTC).
        state: The worker's new state.
        gap: What may be missing just before it; None if nothing is. It describes the
            feed and not the event, so it is not part of equality.
    """

    session: str
    timestamp: datetime
    state: SessionWorkerState
    gap: Gap | None = attrs.field(default=None, eq=False)
