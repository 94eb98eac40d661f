"""What the pages ask of the account: pages of sessions, and figures of one session."""

from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import AwareDatetime, BaseModel, Field

from emogg_async import AsyncEmoggClient, EmotionsTimeline, Session, models

PAGE: Final = 40
"""Sessions on a page of the list."""

RECENT_SECONDS: Final = 300.0
"""Seconds of a live session that are drawn."""


Day = Annotated[date, Field(gt=date(1901, 1, 1), lt=date(9998, 1, 1))] | Literal[""]


class Filters(BaseModel):
    """The choice of sessions, and the place in the list, as they stand in the address.

    A page is found by the last session of the page before and not by its number, so it
    costs the same at any depth, and new sessions shift nothing.

    Attributes:
        before: When the last session of the page before was created.
        seen: Ids of that moment that were shown.
    """

    state: str = Field("", max_length=64)
    type: str = Field("", max_length=64)
    since: Day = ""
    until: Day = ""
    before: AwareDatetime | None = Field(None, lt=datetime(9998, 1, 1, tzinfo=UTC))
    seen: tuple[str, ...] = ()

    def address(self, **changes: Any) -> str:
        """Return the address of the list with these filters and *changes*."""
        given = self.model_copy(update=changes).model_dump(mode="json")
        return "/?" + urlencode({k: v for k, v in given.items() if v}, doseq=True)


class Page(NamedTuple):
    """A page of the list, and the address of the next one; none after the last."""

    sessions: list[Session]
    more: str = ""


async def read_page(client: AsyncEmoggClient, filters: Filters) -> Page:
    """Read a page of the list, in one request."""
    day, midnight = timedelta(days=1), time(tzinfo=UTC)
    since, until, before = filters.since, filters.until, filters.before
    end = datetime.combine(until + day, midnight) if until else None
    wanted = PAGE + len(filters.seen) + 1
    listing = client.list_sessions(
        state=filters.state or None,
        type=filters.type or None,
        started_after=datetime.combine(since, midnight) if since else None,
        # Others may be of the same millisecond.
        started_before=before + timedelta(milliseconds=1) if before else end,
        page_size=min(wanted, 100),
    )
    listed = await listing.collect(wanted)
    found = [each for each in listed if each.id not in filters.seen]
    if len(found) <= PAGE:
        return Page(found)
    shown, last = found[:PAGE], found[PAGE - 1].timestamp
    seen = filters.seen if before == last else ()
    seen += tuple(each.id for each in shown if each.timestamp == last)
    return Page(shown, filters.address(before=last, seen=seen))


def granularity(seconds: float, parts: int) -> int:
    """Return the seconds of an interval with which a session has about so many."""
    return max(5, min(3600, ceil(seconds / parts / 5) * 5))


class Recent:
    """The newest part of a live session: first what the service kept, then its events.

    Args:
        session: The session.
        past: Its timeline up to now.

    Attributes:
        timeline: All of it as a timeline, of which charts can be drawn.
        gaps: Gaps in the events.
    """

    def __init__(self, session: Session, past: EmotionsTimeline) -> None:
        self.timeline = past
        self.gaps: list[models.Gap] = []
        self._began = session.timestamp

    def add(self, event: models.EmotionIntensities) -> None:
        """Add an event; what no event tells of stays empty."""
        if event.gap:
            self.gaps = [*self.gaps[-2:], event.gap]
        end = (event.timestamp - self._began).total_seconds()
        # An event is right about its moment, even if a timeline goes on after it.
        earlier = [each for each in self.timeline.intervals if each.end < end]
        last = earlier[-1].end if earlier else 0.0
        is_apart = event.gap is not None or end - last > 5.0  # the past ends so roughly
        start = max(last, end - 1) if is_apart else last
        people = max((each.people for each in event.emotions.values()), default=0)
        part = models.EmotionInterval(
            start=start, end=end, detected_faces=people, emotions=event.emotions
        )
        parts = (*(each for each in earlier if each.end > end - RECENT_SECONDS), part)
        self.timeline = EmotionsTimeline(session=event.session, intervals=parts)


def figures(timeline: EmotionsTimeline, measure: str) -> list[tuple[str, float, float]]:
    """Return the mean and the highest value of each emotion, the largest mean first."""
    values: dict[str, list[float]] = {}
    for part in timeline.intervals:
        for name, measured in part.emotions.items():
            values.setdefault(name, []).append(getattr(measured, measure))
    count = len(timeline.intervals)
    found = [(name, sum(each) / count, max(each)) for name, each in values.items()]
    return sorted(found, key=lambda row: -row[1])
