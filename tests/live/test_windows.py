"""The window of messages: pure, told the time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._live.windows import SLACK_SECONDS, SlidingWindow


@pytest.mark.property
@given(
    st.integers(1, 8),
    st.floats(0.5, 60),
    st.lists(st.floats(0, 20), max_size=60),
)
def test_no_window_holds_more(limit, seconds, pauses):
    """Whoever waits for `free_at` stays within the limit in every window."""
    window, now, sent = SlidingWindow(seconds), 0.0, []
    for pause in pauses:
        now = max(now + pause, window.free_at(now + pause, limit))
        window.note(now)
        sent.append(now)
    for start in sent:
        assert sum(start <= each < start + seconds for each in sent) <= limit


@pytest.mark.property
@given(st.integers(1, 8), st.lists(st.floats(0, 20), max_size=60))
def test_nobody_waits_for_longer_than_needed(limit, pauses):
    """`free_at` is now, or the moment when the oldest message of a full window ends."""
    window, now, sent = SlidingWindow(60), 0.0, []
    for pause in pauses:
        now += pause
        at = window.free_at(now, limit)
        lively = [each for each in sent if each > now - 60 - SLACK_SECONDS]
        assert window.count(now) == len(lively)
        if len(lively) < limit:
            assert at == now
        else:
            assert at == pytest.approx(lively[-limit] + 60 + SLACK_SECONDS)
        window.note(now)
        sent.append(now)


@pytest.mark.parametrize("limit", [0, -1, -80])
def test_no_limit_at_all(limit):
    """A limit of 0 or less is never free."""
    window = SlidingWindow(60)
    assert window.free_at(5.0, limit) == math.inf
    window.note(5.0)
    assert window.free_at(5.0, limit) == math.inf


def test_a_lower_limit_waits_for_more():
    """A lower limit, one that keeps a reserve, is free later than a higher one."""
    window = SlidingWindow(60)
    for second in range(10):
        window.note(float(second))
    assert window.free_at(10.0, 11) == 10.0
    assert window.free_at(10.0, 10) == 0 + 61
    assert window.free_at(10.0, 4) == 6 + 61
    assert window.free_at(61.0, 10) == 61.0
