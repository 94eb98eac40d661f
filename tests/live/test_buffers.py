"""Buffers of feeds, and topics, which mark what is missing: pure, told the time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import EmotionCounts, EmotionIntensities, FrozenMapping, Gap
from emogg_async._live.buffers import Buffer, Missing
from emogg_async._live.topics import Topic, TopicState, Wish
from emogg_async._wire.live import COUNTS, WORKER_STATE

START = datetime(2024, 4, 1, tzinfo=UTC)


def event(number, gap=None):
    at = START + timedelta(seconds=number)
    emotions = FrozenMapping({"joy": number})
    return EmotionCounts(session="a" * 24, timestamp=at, emotions=emotions, gap=gap)


def numbers(events):
    return [each.emotions["joy"] for each in events]


@pytest.mark.property
@given(st.integers(1, 5), st.lists(st.booleans(), max_size=80))
def test_losses_are_exact(limit, steps):
    """Events stay in order, `dropped` is exact, and each loss stands where it is."""
    buffer, put, taken = Buffer(limit), 0, []
    for is_put in steps:
        if is_put:
            was_full = len(buffer) == limit
            assert buffer.put(event(put)) == was_full
            put += 1
        elif len(buffer):
            taken.append(buffer.take())
        assert len(buffer) <= limit
    while len(buffer):
        taken.append(buffer.take())
    assert numbers(taken) == sorted({*numbers(taken)})
    assert buffer.dropped == put - len(taken)
    last = -1
    for each in taken:
        number = each.emotions["joy"]
        lost = number - last - 1
        if lost:
            since = None if last < 0 else event(last).timestamp
            assert each.gap == Gap(
                since=since, until=each.timestamp, reason="slow", lost=lost
            )
        else:
            assert each.gap is None
        last = number


def test_a_gap_of_an_event_that_is_dropped():
    """The gap of an event that makes room stands before the next one."""
    gap = Gap(since=START, until=START, reason="reconnected", lost=None)
    buffer = Buffer(2)
    for each in (event(1), event(2, gap), event(3), event(4)):
        buffer.put(each)
    taken = buffer.take()
    assert taken.emotions == {"joy": 3}
    assert (taken.gap.reason, taken.gap.lost, taken.gap.since) == (
        "reconnected",
        None,
        None,
    )
    assert buffer.take().gap is None
    assert buffer.dropped == 2


def test_a_gap_after_events_that_are_dropped():
    """What is lost before an event with a gap is added to that gap."""
    gap = Gap(since=START, until=START, reason="unreadable", lost=2)
    buffer = Buffer(1)
    for each in (event(1), event(2), event(5, gap)):
        buffer.put(each)
    taken = buffer.take()
    assert (taken.emotions["joy"], taken.gap.reason, taken.gap.lost) == (5, "slow", 4)


@pytest.mark.property
@given(
    st.lists(
        st.builds(
            Missing,
            st.sampled_from(["reconnected", "slow", "unreadable"]),
            st.none() | st.integers(1, 99),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_missing_adds_up(parts):
    """The sum is known if all is known, and has the worst of the reasons."""
    total = None
    for part in parts:
        total = part + total
    losses = [part.lost for part in parts]
    assert total.lost == (None if None in losses else sum(losses))
    reasons = [part.reason for part in parts]
    worst = [r for r in ("reconnected", "slow", "unreadable") if r in reasons]
    assert total.reason == worst[0]


def test_gaps_are_no_part_of_equality():
    """A consumer that ignores gaps compares events without them."""
    gap = Gap(since=None, until=START, reason="slow", lost=1)
    assert event(1, gap) == event(1)
    assert hash(event(1, gap)) == hash(event(1))
    intensities = EmotionIntensities(session="a", timestamp=START, emotions={})
    assert intensities.gap is None


# -- topics ----------------------------------------------------------------------------


class Ear:
    """A feed as its topic sees it."""

    def __init__(self):
        self.events, self.has_entered, self.ends = [], False, []

    def put(self, each):
        self.events.append(each)

    def enter(self):
        self.has_entered = True

    def end(self, error):
        self.ends.append(error)


def topic_with_ear(channel=COUNTS, period=1.0):
    topic, ear = Topic(Wish(channel, "a" * 24, "1s", period)), Ear()
    topic.entering[ear] = None
    topic.confirm("x", 0.0)
    return topic, ear


def test_a_topic_marks_what_is_missing_for_all_its_feeds():
    """A gap is marked once, for all feeds, and not for those who come after it."""
    topic, ear = topic_with_ear()
    topic.publish(event(1), 1.0)
    topic.interrupt()
    topic.confirm("y", 2.0)
    topic.miss(Missing("unreadable", 1))
    topic.publish(event(5), 5.0)
    late = Ear()
    topic.join(late)
    topic.publish(event(6), 6.0)
    assert numbers(ear.events) == [1, 5, 6]
    assert numbers(late.events) == [5, 6]
    assert [e.gap and e.gap.reason for e in ear.events] == [None, "reconnected", None]
    assert ear.events[1].gap.since == event(1).timestamp
    assert [e.gap for e in late.events] == [None, None]


def test_a_worker_misses_nothing():
    """A worker's state is sent anew on subscribing, so it needs no gap."""
    topic, _ = topic_with_ear(WORKER_STATE, float("inf"))
    topic.interrupt()
    assert topic.publish(event(1), 1.0).gap is None


@pytest.mark.parametrize(
    ("period", "asks", "looks"),
    [(1, 15, 30), (5, 15, 30), (10, 30, 30), (30, 90, 60), (600, 1800, 60)],
)
def test_when_silence_is_noticed(period, asks, looks):
    """A topic asks after 3 periods, 15 s at least, and looks after 30 s or 60 s."""
    topic, _ = topic_with_ear(period=float(period))
    assert (topic.ask_at, topic.look_at) == (asks, looks)
    topic.publish(event(1), 10.0)
    assert (topic.ask_at, topic.look_at) == (10 + asks, 10 + looks)
    topic.asked_at = 10.0 + asks
    assert topic.ask_at == float("inf")  # once in each silence
    topic.state = TopicState.PLACED
    assert topic.look_at == float("inf")


def test_the_end_of_a_topic():
    """All feeds are told the end once, those that wait to enter, too."""
    topic, ear = topic_with_ear()
    late = Ear()
    topic.entering[late] = None
    topic.end()
    topic.end()
    assert ear.ends == late.ends == [None]
    assert (ear.has_entered, late.has_entered) == (True, False)
    assert not topic.is_wanted
