"""The pure parts of the dashboard: what it asks for, works out, and says."""

import itertools
import sys
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from dashboard_process import APP
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import AsyncEmoggClient, errors
from emogg_async.models import (
    EmotionIntensities,
    EmotionInterval,
    EmotionMeasure,
    EmotionsTimeline,
    Gap,
    Session,
)

sys.path.insert(0, str(APP.parent))
from account import RECENT_SECONDS, Filters, Recent, figures, granularity
from problems import problem_of

BEGUN = datetime(2024, 4, 1, tzinfo=UTC)
SESSION = Session(
    id="65ea1530bb50af72b6e3dc1e",
    name="Stand-up",
    type="live_analysis",
    state="active",
    timestamp=BEGUN,
    duration=0.0,
    product="",
    user="",
    version=1,
)
names = st.text("abc", min_size=1, max_size=2)
measures = st.builds(
    EmotionMeasure,
    people=st.integers(0, 9),
    quantity=st.floats(0, 1),
    intensity=st.floats(0, 1),
)
emotions = st.dictionaries(names, measures, max_size=4)


def timeline(parts):
    return EmotionsTimeline(session=SESSION.id, intervals=(*parts,))


def interval(start, end, found):
    return EmotionInterval(start=start, end=end, detected_faces=1, emotions=found)


def event(second, found, gap=None):
    moment = BEGUN + timedelta(seconds=second)
    return EmotionIntensities(
        session=SESSION.id, timestamp=moment, emotions=found, gap=gap
    )


# -- filters ---------------------------------------------------------------------------

days = st.dates(date(1901, 1, 2), date(9997, 12, 31)) | st.just("")
moments = st.datetimes(datetime(1902, 1, 1), datetime(9997, 1, 1)).map(  # noqa: DTZ001
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.property
@given(
    st.builds(
        Filters,
        state=st.text(max_size=64),
        type=st.text(max_size=64),
        since=days,
        until=days,
        before=st.none() | moments,
        seen=st.lists(names, max_size=3).map(tuple),
    )
)
def test_an_address_has_all_filters(filters):
    """Filters are read from their address as they were written."""
    query = parse_qs(urlsplit(filters.address()).query)
    once = {name: values[0] for name, values in query.items() if name != "seen"}
    assert filters == Filters(**once, seen=query.get("seen", ()))


# -- intervals and figures -------------------------------------------------------------


@pytest.mark.property
@given(st.floats(0, 1e9), st.integers(1, 500))
def test_granularity(seconds, parts):
    """An interval is what the service allows, and has about as many parts as wanted."""
    every = granularity(seconds, parts)
    assert 5 <= every <= 3600
    assert every % 5 == 0
    assert seconds / every <= parts or every == 3600
    assert every == 5 or seconds / (every - 5) > parts


@pytest.mark.property
@given(st.lists(emotions, max_size=5), st.sampled_from(["intensity", "people"]))
def test_figures(found, measure):
    """A mean is that of all intervals, and the largest mean comes first."""
    rows = figures(
        timeline(interval(n, n + 1, each) for n, each in enumerate(found)), measure
    )
    assert {name for each in found for name in each} == {name for name, _, _ in rows}
    assert sorted((mean for _, mean, _ in rows), reverse=True) == [r[1] for r in rows]
    for name, mean, highest in rows:
        values = [getattr(each[name], measure) for each in found if name in each]
        assert sum(values) / len(found) == mean
        assert max(values) == highest


@pytest.mark.property
@given(
    st.integers(0, 4),
    st.lists(st.tuples(st.floats(0.001, 400), emotions, st.booleans()), max_size=12),
)
def test_recent_intervals_are_in_order(past, events):
    """Whatever events come, intervals follow each other and are no longer than told."""
    parts = [interval(5.0 * n, 5.0 * n + 5, {}) for n in range(past)]
    recent = Recent(SESSION, timeline(parts))
    for second, found, is_gap in events:
        gap = None
        if is_gap:
            moment = BEGUN + timedelta(seconds=second)
            gap = Gap(since=None, until=moment, reason="reconnected", lost=None)
        recent.add(event(second, found, gap))
        drawn = recent.timeline.intervals
        assert all(each.start < each.end for each in drawn)
        pairs = itertools.pairwise(drawn)
        assert all(one.end <= other.start for one, other in pairs)
        assert all(each.end > drawn[-1].end - RECENT_SECONDS for each in drawn)
        assert len(recent.gaps) <= 3
        assert not drawn or drawn[0].start >= 0


def test_recent_events():
    """Events of each second touch; a gap stays empty and is told of."""
    joy = {"joy": EmotionMeasure(people=2, quantity=0.5, intensity=0.25)}
    recent = Recent(SESSION, timeline([interval(0.0, 5.0, {})]))
    gap = Gap(since=None, until=BEGUN, reason="reconnected", lost=None)
    for second, found in ((6.0, None), (7.0, None), (20.0, gap), (20.5, gap)):
        recent.add(event(second, joy, found))
    spans = [(each.start, each.end) for each in recent.timeline.intervals]
    assert [(0.0, 5.0), (5.0, 6.0), (6.0, 7.0), (19.0, 20.0), (20.0, 20.5)] == spans
    assert 2 == recent.timeline.intervals[-1].detected_faces
    assert [gap, gap] == recent.gaps


# -- problems --------------------------------------------------------------------------


def every_kind(base=errors.EmoggError):
    yield base
    for kind in base.__subclasses__():
        yield from every_kind(kind)


FACTS = {
    "StatusError": {"status": 418},
    "LiveLimitError": {"in_use": 10},
    "OutcomeUnknownError": {"since": BEGUN},
}
STATUSES = {
    "BadRequestError": 400,
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "RateLimitedError": 429,
    "ServerError": 503,
}


@pytest.mark.parametrize(
    "kind", sorted({*every_kind()}, key=lambda kind: kind.__name__)
)
def test_each_error_has_words(kind, caplog):
    """Each error says what is wrong and what to do, and hides the service's text."""
    name = kind.__name__
    facts = FACTS.get(name, {})
    if name in STATUSES:
        facts = {"status": STATUSES[name]}
    text = "state: expected a name, got <b>" if "Invalid" in name else "secret text"
    problem = problem_of(kind(text, **facts), AsyncEmoggClient(token="t-123"))
    wrong, _, to_do = problem.words.partition(". ")
    assert wrong
    assert to_do.endswith(".")
    assert "secret" not in problem.words
    assert 400 <= problem.status < 600
    assert problem.wait is None or problem.wait >= 1
    assert (problem.status >= 500) == bool(caplog.records)
    assert "t-123" not in caplog.text
