"""The model of the bucket: what it believes, and whom it lets send."""

import heapq
import itertools
import math
import random

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from simulation import read_headers, simulate

from emogg_async._calls.bucket import BucketModel, Others, RateBounds
from emogg_async._wire.protocol import RateLimit
from emogg_async.testing._bucket import ROUNDINGS, TokenBucket

C, W = 100, 60.0
RATE = C / W


def told(remaining, reset=None, capacity=C, policy=f"{C};w=60"):
    """Make what an answer says, of a bucket that holds so much."""
    if reset is None:
        reset = math.ceil((capacity - remaining) * W / capacity)
    return RateLimit(capacity, remaining, float(reset), policy)


def model_that_knows(remaining, now=0.0, **options):
    """Make a model that has just had its first answer."""
    model = BucketModel(random.Random(0))
    model.send(now, bulk=False)
    model.answer(now, now, told(remaining, **options), bulk=False)
    return model


# -- the rate --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "rate"),
    [
        (told(100), RATE),  # a full bucket says nothing: the policy is believed
        (told(99), RATE),
        (told(40), RATE),
        (told(90, 6, policy="100;w=10"), 10 / 5),  # the policy is wrong
        (told(90, 6, policy="100;w=600"), 9 / 7),
        (told(90, 6, policy=None), 10 / 5),  # no policy: the fastest that it can be
        (told(99, 1, policy=None), 100),
        (told(90, 60, policy=None), 10 / 59),
        (told(90, 1, policy="100;w=10"), 10),  # a Reset of 1 is no upper bound
        (told(0, 0, policy="100;w=10"), 99),
        (RateLimit(1, 0, 86_400.0, "1;w=86400"), 1 / 60),  # no longer than a minute
    ],
)
def test_rate_of_one_answer(limit, rate):
    """The policy's rate is taken as far as level and reset do not contradict it."""
    others = Others()
    others.begin(limit)
    assert rate == pytest.approx(others.rate)


buckets = st.tuples(st.integers(1, 2_000), st.floats(1, 3_600))
steps = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50)), max_size=40)


@pytest.mark.property
@given(buckets, st.sampled_from([*ROUNDINGS]), steps)
def test_law_the_true_rate_is_within_the_bounds(size, rounding, steps):
    """Whatever the bucket and the rounding, no answer excludes the true rate."""
    bucket, bounds, now = TokenBucket(*size, rounding), RateBounds(), 0.0
    for wait, sends in steps:
        now += wait
        for _ in range(sends):
            bucket.take(now)
        bounds.narrow(read_headers(bucket.headers(now)))
        true = bucket.capacity / bucket.window
        assert bounds.low <= true * (1 + 1e-6)
        assert true <= bounds.high * (1 + 1e-6)


@pytest.mark.property
@given(
    st.sampled_from([0.2, 0.5, 2.0, 5.0]),
    st.sampled_from([*ROUNDINGS]),
    st.lists(st.integers(50, 100), min_size=10, max_size=20),
)
def test_law_a_change_of_the_rate_is_found(factor, rounding, spent):
    """Ten answers after a change, the rate is one that the newest of them allow."""
    others, limit = Others(), told(C)
    others.begin(limit)
    for window, levels in ((W, [*range(0, 80, 8)]), (W / factor, spent)):
        bucket = TokenBucket(C, window, rounding)
        for taken in levels:
            bucket._level = C - taken
            limit = read_headers(bucket.headers(0.0))
            others.learn(0.0, attrs.evolve(limit, policy="100;w=60"))
    newest, found = RateBounds(), others._bounds
    newest.narrow(limit)
    assert newest.low <= found.low <= found.high <= newest.high
    others.learn(0.0, limit)  # with the policy that is true
    assert factor * RATE == pytest.approx(others.rate, rel=0.15)


def test_an_answer_that_says_nothing_new_changes_nothing():
    """The usual answer contains what is known already, and is passed over."""
    bounds = RateBounds()
    bounds.narrow(told(10))
    known = bounds.low, bounds.high, [*bounds._bounds]
    for remaining in (10, 90, 10):
        bounds.narrow(told(remaining))
        assert known == (bounds.low, bounds.high, [*bounds._bounds])


# -- the level -------------------------------------------------------------------------


def test_requests_in_flight_count():
    """With five left and five of ours unanswered, no sixth may be sent."""
    model = BucketModel(random.Random(0))
    for _ in range(6):
        model.send(0.0, bulk=False)
    model.answer(0.0, 0.1, told(5), bulk=False)
    assert 5 == model.in_flight
    assert 0 == model.level(0.1)
    assert pytest.approx(1 / RATE) == model.wait(0.1)


def test_an_older_answer_that_comes_late_raises_nothing():
    """What was read before cannot be undone by news from before it."""
    model = model_that_knows(50)
    model.send(1.0, bulk=False)
    model.send(1.0, bulk=False)
    model.answer(1.0, 2.0, told(3), bulk=False)
    assert 2 == model.level(2.0)
    model.answer(1.0, 2.0, told(4), bulk=False)
    assert 2 == model.level(2.0)
    model.send(2.0, bulk=False)  # a coarse clock does not tell which came first
    model.answer(2.0, 2.1, told(40), bulk=False)
    assert 2 > model.level(2.1)
    model.send(2.2, bulk=False)
    model.answer(2.2, 2.2, told(40), bulk=False)
    assert 40 == model.level(2.2)


def test_an_older_request_that_was_served_last_counts():
    """What may have been served after the newest news is taken off it."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)  # slow on its way there
    model.send(1.0, bulk=False)
    model.answer(1.0, 1.1, told(9), bulk=False)  # from here on, it is older news
    model.send(1.2, bulk=False)
    model.answer(0.0, 1.4, told(7), bulk=False)  # but it was served after the third
    model.answer(1.2, 1.5, told(8), bulk=False)
    assert 6 <= model.level(1.5) <= 6 + 0.1 * RATE


def test_a_full_bucket_overflows():
    """What flows in while it is full is lost, also while requests are on their way."""
    model = model_that_knows(99)
    assert 100 == model.level(1_000.0)
    for _ in range(5):
        model.send(1_000.0, bulk=False)
    assert 95 == model.level(1_100.0)


def test_a_lost_request_is_counted_for_a_while():
    """One that timed out may still arrive; one whose connection died may not."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)
    model.lose(1.0, bulk=False, lingers=True)
    model.send(1.0, bulk=False)
    model.lose(1.0, bulk=False, lingers=False)
    assert 1 == model.in_flight
    model.level(5.9)
    assert 1 == model.in_flight
    model.level(6.1)
    assert 0 == model.in_flight


def test_what_was_not_sent_costs_nothing():
    """A token is given back when its request surely never left."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)
    assert 49 == model.level(0.0)
    model.take_back(0.0, bulk=False)
    assert (50, 0) == (model.level(0.0), model.in_flight)


def test_an_answer_without_headers_says_nothing():
    """It ends its request, and that is all."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)
    model.answer(0.0, 0.0, None, bulk=False)
    assert (49, 0) == (model.level(0.0), model.in_flight)


def test_a_lost_request_may_have_been_served_last():
    """An answer does not tell of the token that a lost request may have taken since."""
    model = model_that_knows(50)
    model.send(0.01, bulk=False)
    model.send(0.01, bulk=False)
    model.lose(0.015, bulk=False, lingers=False)
    model.answer(0.01, 0.02, told(49), bulk=False)
    assert 48 == pytest.approx(model.level(0.02), abs=0.05)


def test_a_request_that_lingered_may_have_been_served_last():
    """An answer that comes when a lost request no longer counts may be older."""
    model = model_that_knows(50)
    model.send(0.01, bulk=False)
    model.lose(0.015, bulk=False, lingers=True)
    model.send(0.02, bulk=False)
    model.answer(0.02, 5.1, told(57), bulk=False)
    assert 56.5 == pytest.approx(model.level(5.1), abs=0.05)


def test_a_refusal_without_headers_empties_the_bucket():
    """After a refusal nothing is left, and what is still out is owed."""
    model = model_that_knows(50)
    model.send(0.01, bulk=False)
    model.send(0.01, bulk=False)
    model.refuse(0.01, 0.02, None, None, bulk=False)
    assert -1.0 == model.level(0.02)


def test_another_capacity_is_another_bucket():
    """Nothing that was learnt of the old one holds for it."""
    model = model_that_knows(0)
    model.others.used = 1.0
    model.send(10.0, bulk=False)
    model.answer(10.0, 10.0, told(900, capacity=1_000, policy="1000;w=60"), bulk=False)
    assert 900 == model.level(10.0)
    assert 1_000 / 60 == pytest.approx(model.others.rate, rel=0.1)
    assert model.bulk.is_alone


def test_another_full_bucket_has_its_own_rate():
    """The rate of the former one is gone at the first answer, full as it is."""
    model = model_that_knows(100)
    model.send(1.0, bulk=False)
    model.answer(1.0, 1.0, told(1_000, 0, 1_000, "1000;w=60"), bulk=False)
    assert 1_000 / 60 == pytest.approx(model.others.rate)


def test_after_a_refusal_it_waits_for_a_token_and_not_for_reset():
    """The next try comes within a token's time or so, never after `Reset` seconds."""
    for seed in range(20):
        model = BucketModel(random.Random(seed))
        model.send(0.0, bulk=False)
        model.refuse(0.0, 0.0, told(0, 60), None, bulk=False)
        assert 0.3 <= model.wait(0.0) <= 1.5


@pytest.mark.parametrize("asked", [0.0, 0.2, 30.0])
def test_a_refusal_may_say_how_long(asked):
    """`Retry-After` is obeyed."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)
    model.refuse(0.0, 0.0, told(50), asked, bulk=False)
    assert max(asked, 0.3) <= model.wait(0.0) <= max(asked, 1.5)


def refuse_for(seconds, model, limit, asked=None):
    """Refuse all that a model sends in so many seconds; return when it sent."""
    now, sends = 1.0, []
    while now < 1.0 + seconds:
        model.send(now, bulk=False)
        sends.append(now)
        model.refuse(now, now + 1e-4, limit, asked, bulk=False)
        now += 1e-4 + model.wait(now + 1e-4)
    return sends


@pytest.mark.parametrize(
    ("capacity", "window"), [(10_000, 60), (1_000, 1), (10_000, 1), (100, 60)]
)
@pytest.mark.parametrize("asked", [None, 0.0, 0.001])
def test_refusals_in_a_row_back_off(capacity, window, asked):
    """A service that refuses everything is hardly asked, however fast its policy is."""
    empty = told(0, window, capacity, f"{capacity};w={window}")
    for seed in range(10):
        model = BucketModel(random.Random(seed))
        sends = refuse_for(4.0, model, empty, asked)
        assert len(sends) <= 20
        again = sends[-1] + 60.0
        assert model.wait(again) == 0.0  # the pauses do not grow without end
        model.send(again, bulk=False)
        full = told(capacity - 1, 1, capacity, empty.policy)
        model.answer(again, again + 0.1, full, bulk=False)
        assert model.wait(again + 0.1) == 0.0  # a success brings the pace back
        model.send(again + 0.2, bulk=False)
        model.refuse(again + 0.2, again + 0.3, empty, asked, bulk=False)
        assert model.resumes <= again + 0.3 + max(asked or 0.0, 1.5 * window / capacity)


class Steady(random.Random):
    """A source of jitter without any."""

    def uniform(self, a, b):
        return (a + b) / 2


def test_the_pause_doubles_from_refusal_to_refusal():
    """Each one in a row takes twice as long as the last, from one token on."""
    model, now, pauses = BucketModel(Steady()), 0.0, []
    for _ in range(4):
        model.send(now, bulk=False)
        model.refuse(now, now, told(0), None, bulk=False)
        pauses.append(model.resumes - now)
        now = model.resumes
    assert pauses == pytest.approx([each / RATE for each in (1, 2, 4, 8)])


def test_requests_that_were_out_together_are_refused_once():
    """However many one empty bucket refuses, it is one reason to wait."""
    model = model_that_knows(50)
    for _ in range(24):
        model.send(1.0, bulk=True)
    for number in range(24):
        model.refuse(1.0, 1.1 + number / 1_000, told(0), None, bulk=True)
    assert model.resumes <= 1.2 + 1.5 / RATE


def test_an_older_success_ends_no_pause():
    """What was sent before the refusal may have been served before it, too."""
    model = model_that_knows(50)
    model.send(1.0, bulk=False)
    model.send(1.0, bulk=False)
    model.refuse(1.0, 1.1, told(0), 30.0, bulk=False)
    model.answer(1.0, 1.2, told(0), bulk=False)
    assert 31.1 == pytest.approx(model.resumes)


def test_others_are_noticed_and_forgotten():
    """What is missing was used by others; when it no longer is, they have gone."""
    model, level = model_that_knows(100), 100.0
    for second in range(1, 41):
        busy = second <= 20
        level = min(100.0, level + RATE - (1.0 if busy else 0.0))
        model.send(float(second), bulk=False)
        level -= 1.0
        model.answer(float(second), float(second), told(int(level)), bulk=False)
        if second == 20:
            assert not model.bulk.is_alone
            assert 1.0 == pytest.approx(model.others.used, rel=0.3)
            before, after = model.level(20.0), model.level(20.5)
            growth = model.others.rate - model.others.used
            assert growth / 2 == pytest.approx(after - before)
    assert 0.4 > model.others.used


@attrs.define
class Way:
    """The way of one request there and back, in the test below."""

    sent: float
    served: float
    answered: float
    fate: str
    limit: RateLimit | None = None

    @property
    def next(self):
        """When the next thing happens to it."""
        return self.answered if self.limit else self.served


class Ways:
    """Requests that overtake one another, between a model and a bucket."""

    def __init__(self, model, bucket):
        self.model, self.bucket = model, bucket
        self.open: list[Way] = []

    def play(self, until):
        """Let all that happens until then happen, in its order."""
        while self.open:
            way = min(self.open, key=lambda way: way.next)
            if way.next > until:
                return
            if way.limit is None:
                self.serve(way)
            else:
                self.open.remove(way)
                self.end(way)

    def serve(self, way):
        assert self.bucket.take(way.served)
        way.limit = read_headers(self.bucket.headers(way.served))

    def end(self, way):
        if way.fate in {"time-out", "died"}:
            lingers = way.fate == "time-out"
            self.model.lose(way.answered, bulk=False, lingers=lingers)
        else:
            limit = None if way.fate == "bare" else way.limit
            self.model.answer(way.sent, way.answered, limit, bulk=False)


@pytest.mark.property
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 60)),
    st.lists(
        st.tuples(
            st.floats(0, 2),  # seconds until somebody wants to send
            st.floats(0, 2),  # seconds on the way there
            st.floats(0, 2),  # and back
            st.sampled_from(["answer"] * 6 + ["bare", "time-out", "died", "unsent"]),
        ),
        max_size=60,
    ),
    st.sampled_from([*ROUNDINGS]),
)
def test_law_the_level_is_never_above_the_true_one(size, plan, rounding):
    """Whatever overtakes what, or is lost: what may be sent is never refused."""
    bucket = TokenBucket(size[0], float(size[1]), rounding)
    model = BucketModel(random.Random(0))
    ways, now = Ways(model, bucket), 0.0
    for wait, there, back, fate in plan:
        now += wait
        ways.play(now)
        if model.limit is None and (model.in_flight or fate != "answer"):
            continue  # a first request goes ahead
        if model.limit is not None and model.wait(now) > 0.0:
            continue
        model.send(now, bulk=False)
        if fate == "unsent":
            model.take_back(now, bulk=False)
            continue
        ways.open.append(Way(now, now + there, now + there + back, fate))
        if model.limit is not None:
            coming = sum(way.limit is None for way in ways.open)
            assert model.level(now) <= bucket.level(now) - coming + 1e-6
    ways.play(math.inf)


# -- bulk ------------------------------------------------------------------------------


def test_bulk_slows_down_as_the_bucket_empties():
    """Its rate falls with the square of the level, and leaves the rest to others."""
    waits = []
    for remaining in (100, 51, 26, 13, 2):
        model = model_that_knows(remaining)
        model.wait(0.0, math.inf)
        model.bulk.price, model.bulk.credit = 1.0, 0.0
        waits.append(model.wait(0.0, math.inf))
    assert sorted(waits) == waits
    assert 1 / RATE / 16 == pytest.approx(waits[0], rel=0.05)
    assert 1 / RATE == pytest.approx(waits[2], rel=0.1)
    assert waits[4] > 5


def test_a_bulk_may_take_the_last_token():
    """One token is enough for the last id."""
    assert 0.0 == model_that_knows(1).wait(0.0, 1)


def test_a_drain_goes_on_while_answers_may_make_up_for_what_is_missing():
    """What is in flight may be counted already, so a bulk that fitted fits still."""
    model = model_that_knows(10)
    for demand in (10, 9, 8):
        assert 0.0 == model.wait(0.01, demand)
        model.bulk.window = 8
        model.send(0.01, bulk=True)
    model.answer(0.01, 0.02, told(7), bulk=True)  # all three are counted
    assert 5 == pytest.approx(model.level(0.02), abs=0.1)
    assert 0.0 == model.wait(0.02, 7)


def test_a_bulk_that_fits_is_drained():
    """Alone, what fits in the bucket goes as fast as the window lets it."""
    model = model_that_knows(60)
    sent = []
    now, left = 0.0, 50
    flying: list[tuple[float, float]] = []
    bucket = TokenBucket(C, W)
    assert bucket.take(0.0, 40)
    while left or flying:
        while left and not model.wait(now, left):
            model.send(now, bulk=True)
            heapq.heappush(flying, (now + 0.15, now))
            sent.append(now)
            left -= 1
        if not flying:
            now += model.wait(now, left)
            continue
        now, begun = heapq.heappop(flying)
        assert bucket.take(now)
        model.answer(begun, now, read_headers(bucket.headers(now)), bulk=True)
    assert now <= 2.6
    assert 5 <= model.bulk.window


@pytest.mark.parametrize(("window", "half"), [(8, 4), (3, 1), (1, 1)])
def test_the_window_closes_when_others_are_about(window, half):
    """A token that is missing halves the window of a drain, down to one request."""
    model = model_that_knows(90)
    model.wait(0.0, 5)
    model.bulk.window = window
    model.send(0.01, bulk=True)
    model.answer(0.01, 0.02, told(80), bulk=True)
    assert half == model.bulk.window


@pytest.mark.parametrize("bulk", [True, False])
def test_what_asks_whether_a_pause_is_over_is_in_flight(bulk):
    """A probe of a bulk takes room in its window, as its other requests do."""
    model = model_that_knows(50)
    model.send(0.0, bulk=False)
    model.refuse(0.0, 0.0, told(0), 600.0, bulk=False)
    assert not model.probe(59.0, bulk=bulk)
    assert model.probe(61.0, bulk=bulk)
    assert (1, bulk) == (model.in_flight, model.bulk.in_flight)


@pytest.mark.property
@given(
    st.lists(
        st.tuples(st.floats(0.001, 5), st.sampled_from(["bulk", "single", "answer"])),
        max_size=40,
    ),
    st.integers(0, 100),
)
def test_law_a_wait_is_enough(plan, remaining):
    """After the wait that was named, and no news, a request may indeed be sent."""
    model, now, out = model_that_knows(remaining), 0.0, []
    for step, kind in plan:
        now += step
        if kind == "answer" and out:
            sent, bulk = out.pop()
            model.answer(sent, now, told(remaining), bulk=bulk)
            continue
        bulk = kind == "bulk"
        ask = (lambda at: model.wait(at, math.inf)) if bulk else model.wait
        wait = ask(now)
        assume(model.in_flight < remaining + 1)
        assert 0 <= wait < math.inf
        if wait > 0.0:
            full = model.limit.limit - model.in_flight
            assume(model.level(now) + wait * model.others.rate < full)
            now += wait
        assert 1e-3 >= ask(now)
        model.send(now, bulk=bulk)
        out.append((now, bulk))


# -- several processes, in simulated time ----------------------------------------------


@pytest.mark.parametrize(
    ("processes", "refusals", "used"),
    [(1, 0.0, 0.95), (4, 0.005, 0.97), (8, 0.005, 0.97)],
)
@pytest.mark.parametrize("seed", range(3))
def test_endless_demand(processes, refusals, used, seed):
    """Next to nothing is refused, next to nothing is wasted, and all get the same."""
    run = simulate(processes, seed=seed)
    assert run.refusals <= refusals
    assert run.used >= used
    assert run.fairness >= 0.95


@pytest.mark.parametrize("full", [True, False])
def test_a_bulk_alone_takes_the_least_possible_time(full):
    """At the end of a bulk nothing is held back any more."""
    run = simulate(capacity=50, window=5.0, demand=300, full=full)
    least = (300 - 50 * full) / 10
    assert (300, 0) == (run.accepted, run.refused)
    assert run.finished <= 1.03 * least


def test_four_that_fit_alone_and_not_together():
    """Each believes itself alone at first, and finds out in time."""
    for seed in range(5):
        run = simulate(4, capacity=50, window=5.0, demand=40, seed=seed, jitter=0.005)
        assert 160 == run.accepted
        assert run.refused <= 0.03 * 160
        assert run.finished <= 1.15 * 11 + 0.1


@pytest.mark.property
@given(
    st.integers(1, 8),
    st.sampled_from([(50, 5.0), (100, 60.0), (300, 60.0), (500, 5.0)]),
    st.floats(0.0005, 0.1),
    st.integers(0, 1_000),
)
@example(8, (100, 60.0), 0.1, 0)
@example(8, (500, 5.0), 0.078125, 0)
def test_law_several_processes(processes, size, delay, seed):
    """Within what one bucket can serve, refusals are rare and nobody starves."""
    capacity, window = size
    rate = capacity / window
    busy = processes - 1 + rate * 4 * delay
    assume(capacity / 4 >= processes**0.5 * busy)
    seconds = 2 * window
    run = simulate(
        processes,
        capacity=capacity,
        window=window,
        delay=delay,
        jitter=delay,
        seconds=seconds,
        seed=seed,
    )
    assert run.accepted <= capacity + rate * seconds
    assert run.refused <= max(1, 0.01 * run.accepted)
    fair = processes / rate
    for process in run.processes:
        late = [each for each in process.sends if each > window]
        gaps = [b - a for a, b in itertools.pairwise(late)]
        assert max(gaps, default=0) <= 3 * (fair + 4 * delay)


def test_a_later_bulk_begins_as_carefully_as_the_first():
    """On a bucket that is full again, nobody relies on what was true a while ago."""
    run = simulate(
        4,
        capacity=50,
        window=5.0,
        demand=70,
        bulks=3,
        pause=15.0,
        delay=0.06,
        jitter=0.06,
        full=True,
    )
    assert 3 * 4 * 70 == run.accepted
    assert run.refused <= 0.01 * run.accepted


@pytest.mark.parametrize(
    ("capacity", "window"), [(5, 1.0), (10, 1.0), (50, 1.0), (1_000, 10.0), (100, 60.0)]
)
def test_a_bucket_of_unknown_window(capacity, window):
    """A policy that names no window costs next to no time, and no refusal."""
    run = simulate(
        capacity=capacity,
        window=window,
        demand=3 * capacity,
        headers=lambda limit: attrs.evolve(limit, policy=None),
    )
    assert (3 * capacity, 0) == (run.accepted, run.refused)
    assert run.finished <= 1.15 * 2 * window + 0.5


@pytest.mark.parametrize("reset", ["w=10", "w=600"])
def test_a_wrong_policy_does_not_matter_for_long(reset):
    """What level and reset say is believed, not what the policy does."""
    run = simulate(headers=lambda limit: attrs.evolve(limit, policy=f"100;{reset}"))
    assert 0 == run.refused
    assert run.used >= 0.93


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_rate_may_change(factor):
    """Half or three times the refill is found without a refusal or much of a delay."""

    def change(bucket):
        bucket.level(100.0)
        bucket.window = W / factor

    run = simulate(
        events={100.0: change},
        headers=lambda limit: attrs.evolve(limit, policy=None),
    )
    assert run.refused <= 2
    late = [each for each in run.processes[0].sends if each > 130]
    assert len(late) / (300 - 130) == pytest.approx(RATE * factor, rel=0.05)


def test_a_reset_of_one_is_no_bound():
    """A bucket that is full again within a second is used to the full."""
    run = simulate(capacity=1_000, window=1.0, seconds=10.0, delay=0.002, jitter=0.002)
    assert 0 == run.refused
    assert run.used >= 0.95


def test_half_of_the_headers_missing():
    """The other half is enough."""
    chance = random.Random(1)
    run = simulate(headers=lambda limit: limit if chance.random() < 0.5 else None)
    assert 0 == run.refused
    assert run.used >= 0.93


# -- losses and refusals ---------------------------------------------------------------


@pytest.mark.parametrize("lingers", [True, False])
def test_a_lost_answer_may_have_been_served_last(lingers):
    """News from before a request was lost does not tell what that one has taken."""
    model = model_that_knows(10)
    model.send(0.5, bulk=False)
    model.send(1.0, bulk=False)
    model.lose(1.5, bulk=False, lingers=lingers)
    model.answer(1.0, 2.0, told(30), bulk=False)
    assert model.level(2.0) <= 10 + 2 * RATE
    model.send(2.5, bulk=False)
    model.answer(2.5, 2.6, told(30), bulk=False)  # this one tells
    assert 30 - lingers == model.level(2.6)


def test_a_lost_request_may_be_served_as_long_as_it_lingers():
    """News from before that time was up does not tell what it has taken."""
    model = model_that_knows(10)
    model.send(0.5, bulk=False)
    model.lose(1.0, bulk=False, lingers=True)
    model.send(5.5, bulk=False)
    model.answer(5.5, 6.5, told(30), bulk=False)
    assert model.level(6.5) <= 10 + 6.5 * RATE


def test_after_a_refusal_nothing_is_left():
    """An empty bucket has nothing for what is in flight, whatever the headers say."""
    model = model_that_knows(50)
    for _ in range(3):
        model.send(1.0, bulk=False)
    model.refuse(1.0, 1.1, told(50), None, bulk=False)
    assert -2 == model.level(1.1)
    assert model.forecast(1.1, 1) >= 3 / RATE


@pytest.mark.parametrize("others", [0.0, 0.5, 1.0])
def test_a_refused_request_is_taken_for_no_use(others):
    """Refused requests cost no token, so what is missing was used by others."""
    model = model_that_knows(0)
    growth = RATE - others
    for now in map(float, range(1, 61)):
        model.send(now, bulk=False)
        model.refuse(now, now, told(int(now * growth)), 0.0, bulk=False)
    missing = 99 - model.level(60.0)
    assert missing / growth == pytest.approx(model.forecast(60.0, 99), rel=0.1)


def test_pauses_after_a_refusal_differ():
    """Processes that were refused at once do not come back at once."""
    waits = []
    for seed in range(50):
        model = BucketModel(random.Random(seed))
        model.send(0.0, bulk=False)
        model.refuse(0.0, 0.0, told(0), None, bulk=False)
        waits.append(model.wait(0.0) * RATE)
    assert 1.4 < max(waits) <= 1.5
    assert 20 <= len(set(waits))  # the others wait for a token, and no longer


def test_old_bounds_of_the_rate_are_forgotten():
    """A narrow bound is not kept for ever by answers that only leave it as it is."""
    estimate = RateBounds()
    estimate.narrow(told(0, 60))
    narrow = estimate.low
    for _ in range(200):
        estimate.narrow(told(90, 6))
    assert estimate.low < narrow


@pytest.mark.parametrize("end", ["take_back", "lose", "refuse"])
def test_bulk_requests_that_failed_hold_nobody_back(end):
    """What was lost, refused or not sent takes no room in the window of a drain."""
    model = model_that_knows(90)
    for _ in range(20):
        model.send(0.0, bulk=True)
        if end == "lose":
            model.lose(0.0, bulk=True, lingers=False)
        elif end == "refuse":
            model.refuse(0.0, 0.0, told(90), None, bulk=True)
        else:
            model.take_back(0.0, bulk=True)
    assert 0.0 == model.wait(100.0, 5)
    model.send(100.0, bulk=True)
    model.answer(100.0, 100.1, told(int(model.level(100.1))), bulk=True)
    model.send(100.1, bulk=True)
    assert 0.0 == model.wait(100.1, 3)  # two at a time by now


@pytest.mark.parametrize(("missing", "more"), [(0, 5), (2, 5), (4, 0)])
def test_a_drain_goes_on_for_what_may_be_on_its_way(missing, more):
    """With four in flight, two missing tokens are no sign of others, but four are."""
    large = {"capacity": 1_000, "policy": "1000;w=60"}
    model, now = model_that_knows(900, **large), 0.0
    for left in range(899, 892, -1):
        now += 1e-6
        assert 0.0 == model.wait(now, 20)
        model.send(now, bulk=True)
        model.answer(now, now, told(left, **large), bulk=True)
    for _ in range(5):
        assert 0.0 == model.wait(now, 20)
        model.send(now, bulk=True)
    now += 1e-6
    model.answer(now - 1e-7, now, told(892 - missing, **large), bulk=True)
    sent = 0
    while not model.wait(now, 20):
        model.send(now, bulk=True)
        sent += 1
    assert more == sent


def test_the_law_gives_the_same_however_often_it_is_asked():
    """A bulk that waited for an empty bucket goes on when it should, and no sooner."""
    waits = []
    for looks in ([], [0.1 * n for n in range(60)]):
        model = model_that_knows(5)
        for _ in range(12):
            model.send(0.0, bulk=True)
            model.wait(0.0, math.inf)
        for now in looks:
            model.level(now)
        waits.append(model.wait(6.0, math.inf))
    assert waits[0] == pytest.approx(waits[1], rel=1e-6)


def test_what_was_not_sent_lets_no_older_news_be_forgotten():
    """A token that comes back is one token: what is believed rises by no more."""
    model = model_that_knows(10)
    model.send(0.5, bulk=False)
    model.send(0.6, bulk=False)
    model.answer(0.6, 1.0, told(10), bulk=False)
    model.send(1.01, bulk=False)
    model.answer(0.5, 1.02, told(8), bulk=False)
    before = model.level(1.02)
    model.send(1.03, bulk=False)
    model.take_back(1.04, bulk=False)
    model.answer(1.01, 1.05, told(30), bulk=False)
    assert model.level(1.05) <= before + 0.1
