"""Slots of a user, and the waits between connections: pure, told the time."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from emogg_async._live.backoff import PROVEN_SECONDS, Backoff
from emogg_async._live.slots import FIRST_PROBE, LAST_PROBE, Slots

# -- waits -----------------------------------------------------------------------------


@pytest.mark.property
@given(st.floats(0.01, 10), st.floats(1, 100), st.integers(0), st.integers(1, 100))
def test_waits_lie_between_base_and_cap(base, factor, seed, failures):
    """Each wait lies between base and what doubles up to cap."""
    backoff = Backoff(base, base * factor, random.Random(seed))
    for number in range(1, failures + 1):
        assert base <= backoff.wait() <= max(base, min(base * factor, base * 2**number))


def test_waits_grow_and_begin_anew():
    """The mean wait grows to half of cap, and begins anew after a proven life."""
    waits = []
    for seed in range(400):
        backoff = Backoff(0.5, 30, random.Random(seed))
        waits.append([backoff.wait() for _ in range(10)])
        backoff.lived(PROVEN_SECONDS - 0.001)
        waits[-1].append(backoff.wait())
        backoff.lived(PROVEN_SECONDS)
        waits[-1].append(backoff.wait())
    means = [sum(column) / 400 for column in zip(*waits, strict=True)]
    assert means[:6] == sorted(means[:6])
    assert means[0] < 1
    assert all(13 < mean < 18 for mean in means[6:11])
    assert means[11] < 1


def test_waits_of_a_thousand_failures():
    """An outage of days overflows nothing."""
    backoff = Backoff(0.5, 30, random.Random(1))
    assert all(backoff.wait() <= 30 for _ in range(5000))


# -- slots -----------------------------------------------------------------------------


def test_without_refusals():
    """All slots of the policy are free until they are taken."""
    slots = Slots(random.Random(1))
    assert [slots.take(3, 0.0) for _ in range(5)] == [True] * 3 + [False] * 2
    slots.give()
    assert slots.take(3, 0.0)
    assert (slots.in_use, slots.probe_at) == (3, math.inf)


def test_a_refusal_is_believed():
    """After a refusal one more is tried after a while, and at once if one has left."""
    slots = Slots(random.Random(1))
    for _ in range(3):
        assert slots.take(10, 0.0)
    slots.refused(0.0)
    assert slots.in_use == 2
    assert not slots.take(10, 0.0)
    assert FIRST_PROBE <= slots.probe_at <= 2 * FIRST_PROBE
    slots.give()
    assert slots.take(10, 0.5)  # the one that has left
    assert not slots.take(10, 0.5)
    probed_at = slots.probe_at
    assert slots.take(10, probed_at)
    assert not slots.take(10, probed_at)  # one at a time
    slots.confirmed(probed_at)
    assert slots.take(10, probed_at)  # there may be more


def test_refusals_are_asked_for_ever_more_rarely():
    """Probes that are refused come ever more rarely, at last every 30 s or less."""
    slots, now, probes = Slots(random.Random(1)), 0.0, []
    assert slots.take(10, now)
    slots.refused(now)
    for _ in range(12):
        now = slots.probe_at
        probes.append(now)
        assert slots.take(10, now)
        slots.refused(now)
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert max(gaps) <= LAST_PROBE
    assert sum(gaps[-6:]) > 4 * sum(gaps[:3])


class User(RuleBasedStateMachine):
    """A user who asks for slots of which others take and leave some."""

    def __init__(self):
        super().__init__()
        self.slots = Slots(random.Random(5))
        self.now = 0.0
        self.asked = 0  # sent and not answered
        self.held = 0  # confirmed
        self.others = 0

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def ask(self):
        self.asked += self.slots.take(10, self.now)

    @precondition(lambda self: self.asked)
    @rule()
    def answer(self):
        self.asked -= 1
        if self.held + self.others < 10:
            self.held += 1
            self.slots.confirmed(self.now)
        else:
            self.slots.refused(self.now)

    @precondition(lambda self: self.asked)
    @rule()
    def lose(self):  # the connection is lost before the answer, and nobody wants it
        self.asked -= 1
        self.slots.give()

    @precondition(lambda self: self.held)
    @rule()
    def leave(self):
        self.held -= 1
        self.slots.give()

    @rule(others=st.integers(0, 10))
    def change(self, others):
        self.others = min(others, 10 - self.held)

    @invariant()
    def counts(self):
        """No slot is lost or invented."""
        assert self.slots.in_use == self.asked + self.held <= 10

    def teardown(self):
        """Whatever came before, all ten are in use some time after others left."""
        self.others = 0
        while self.asked:
            self.answer()
        for _ in range(40):
            self.now += LAST_PROBE
            self.ask()
            while self.asked:
                self.answer()
        assert self.held == 10


TestUser = pytest.mark.property(User.TestCase)
