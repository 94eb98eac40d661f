"""Emotions and sentiment that the emulator finds in its sessions."""

import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plainhttp import call, refusal

from emogg_async._wire.converter import structure, to_dict
from emogg_async.models import (
    EmotionsTimeline,
    EmotionTotals,
    SentimentTimeline,
    Session,
)
from emogg_async.testing import EmoggEmulator
from emogg_async.testing._analysis import Analyst
from emogg_async.testing._reading import Window
from emogg_async.testing._walks import EMOTIONS, SENTIMENTS

WHOLE = Window(60.0, 0.0, math.inf)
FINEST = Window(5.0, 0.0, math.inf)
TIMELINES = ["emotions/timeline", "audio/transcription-sentiment"]
URI = "rtmp://stage.example/live"

ids = st.integers(0, 2**20).map("{:024x}".format)
durations = st.floats(0, 5_000)
granularities = st.sampled_from([5.0, 7.0, 60.0, 3_600.0]) | st.integers(
    5_000, 3_600_000
).map(lambda milliseconds: milliseconds / 1000)
times = st.integers(0, 1_000).map(float) | st.integers(0, 6_000_000).map(
    lambda milliseconds: milliseconds / 1000
)

Interval = dict[str, Any]


def strengths(intervals: list[Interval]) -> Counter[str]:
    """Sum up the quantity of each emotion, in thousandths."""
    found: Counter[str] = Counter()
    for interval in intervals:
        for name, measure in interval["emotions"].items():
            found[name] += round(measure["quantity"] * 1000)
    return found


def moods(intervals: list[Interval]) -> Counter[str]:
    """Sum up the segments of each sentiment."""
    found: Counter[str] = Counter()
    for interval in intervals:
        found.update(interval["sentiments"])
    return +found


class Reader(Analyst):
    """An analyst whose JSON is read."""

    def emotions(self, *args: Any) -> list[Interval]:
        return json.loads(super().emotions(*args))

    def sentiments(self, *args: Any) -> list[Interval]:
        return json.loads(super().sentiments(*args))


@pytest.mark.property
class TestLaws:
    """Laws for any session, any granularity and any window."""

    @given(ids, durations, granularities)
    def test_granularity_only_aggregates(
        self, session_id: str, duration: float, granularity: float
    ) -> None:
        """Any granularity covers the same sums."""
        analyst, window = Reader(0), Window(granularity, 0.0, math.inf)
        finest = strengths(analyst.emotions(session_id, duration, FINEST))
        found = strengths(analyst.emotions(session_id, duration, window))
        assert finest == found
        said = moods(analyst.sentiments(session_id, duration, FINEST))
        assert said == moods(analyst.sentiments(session_id, duration, window))

    @given(ids, durations)
    def test_totals_are_sums_of_the_timeline(
        self, session_id: str, duration: float
    ) -> None:
        """At the finest granularity each person is one detection."""
        analyst, people = Reader(0), Counter[str]()
        for interval in analyst.emotions(session_id, duration, FINEST):
            for name, measure in interval["emotions"].items():
                people[name] += measure["people"]
        assert dict(people) == analyst.totals(session_id, duration)

    @given(ids, durations, st.sampled_from([10, 60, 65, 600]), st.integers(0, 30))
    def test_intervals_sum_up_their_steps(
        self, session_id: str, duration: float, granularity: int, skipped: int
    ) -> None:
        """Each interval says what follows from its steps, whatever its length."""
        analyst, start = Reader(0), 5.0 * skipped
        steps: dict[int, list[Interval]] = {}
        for step in analyst.emotions(session_id, duration, Window(5, start, math.inf)):
            steps.setdefault(int(step["start"] - start) // granularity, []).append(step)
        window = Window(granularity, start, math.inf)
        found = analyst.emotions(session_id, duration, window)
        assert len(found) == len(steps)
        for interval, parts in zip(found, steps.values(), strict=True):
            assert (
                max(each["detectedFaces"] for each in parts)
                == (interval["detectedFaces"])
            )
            expected = {
                name: _summed([each["emotions"].get(name) for each in parts])
                for name in interval["emotions"]
            }
            assert interval["emotions"] == expected
            assert {*expected} == {name for each in parts for name in each["emotions"]}

    @given(ids, durations, granularities, st.lists(times, max_size=4))
    def test_windows_are_parts_of_the_whole(
        self, session_id: str, duration: float, granularity: float, cuts: list[float]
    ) -> None:
        """However a session is cut into windows, nothing is lost or counted twice."""
        analyst = Reader(0)
        parts, said = Counter[str](), Counter[str]()
        for start, end in pairwise([0.0, *sorted({*cuts} - {0.0}), math.inf]):
            window = Window(granularity, start, end)
            parts += strengths(analyst.emotions(session_id, duration, window))
            said += moods(analyst.sentiments(session_id, duration, window))
        whole = analyst.emotions(session_id, duration, WHOLE)
        assert strengths(whole) == parts
        assert moods(analyst.sentiments(session_id, duration, WHOLE)) == said

    @given(ids, durations, durations, granularities, times)
    def test_time_only_appends(
        self,
        session_id: str,
        some: float,
        more: float,
        granularity: float,
        start: float,
    ) -> None:
        """A longer session begins with the same intervals, but for the last of them."""
        window = Window(granularity, start, math.inf)
        for find in (Reader(0).emotions, Reader(0).sentiments):
            early = find(session_id, some, window)
            late = find(session_id, some + more, window)
            assert early[:-1] == late[: max(0, len(early) - 1)]
            early = find(session_id, some, FINEST)
            assert early == find(session_id, some + more, FINEST)[: len(early)]

    @given(ids, st.lists(durations, min_size=1, max_size=5), st.integers(0, 3))
    def test_the_seed_and_the_id_decide(
        self, session_id: str, asked: list[float], seed: int
    ) -> None:
        """Earlier requests change nothing, however many there were."""
        analyst = Reader(seed)
        for duration in asked:
            analyst.totals(session_id, duration)
            analyst.totals("another", duration)
        found = analyst.emotions(session_id, asked[0], WHOLE)
        assert Reader(seed).emotions(session_id, asked[0], WHOLE) == found

    @given(ids, durations, granularities, times, times)
    def test_intervals_are_sound(
        self,
        session_id: str,
        duration: float,
        granularity: float,
        start: float,
        length: float,
    ) -> None:
        """They are in order, inside their window, and hold what the reference says."""
        analyst = Reader(0)
        window = Window(granularity, start, start + length)
        emotions = analyst.emotions(session_id, duration, window)
        sentiments = analyst.sentiments(session_id, duration, window)
        for intervals in (emotions, sentiments):
            for before, after in pairwise(intervals):
                assert before["end"] <= after["start"]
            for interval in intervals:
                assert start - 0.001 <= interval["start"] < interval["end"]
                assert interval["end"] <= min(duration, start + length) + 0.001
                assert interval["end"] - interval["start"] <= granularity + 0.002
        for interval in emotions:
            _check_measures(interval)
        for interval in sentiments:
            assert [*SENTIMENTS] == [*interval["sentiments"]]
            assert sum(interval["sentiments"].values()) == interval["segments"] > 0


def _summed(steps: list[Interval | None]) -> Interval:
    measures = [step for step in steps if step is not None]
    detected = sum(measure["people"] for measure in measures)
    quantity = sum(round(measure["quantity"] * 1000) for measure in measures)
    return {
        "people": max(measure["people"] for measure in measures),
        "quantity": quantity / 1000,
        "intensity": round(quantity / detected) / 1000,
    }


def _check_measures(interval: Interval) -> None:
    assert 1 <= interval["detectedFaces"] <= 4
    assert {*interval["emotions"]} <= {*EMOTIONS}
    for measure in interval["emotions"].values():
        assert 1 <= measure["people"] <= interval["detectedFaces"]
        assert 0 < measure["intensity"] < 1
        assert measure["quantity"] > 0
        for number in (measure["intensity"], measure["quantity"]):
            assert round(number, 3) == number


@pytest.fixture(scope="module")
def hours() -> list[list[Interval]]:
    """Give the timelines of 40 sessions of an hour."""
    analyst = Reader(0)
    return [analyst.emotions(f"{n:024x}", 3600, WHOLE) for n in range(40)]


class TestPlausible:
    """Emotions and speech that look plausible in a chart."""

    def test_some_intervals_are_left_out(self, hours: list[list[Interval]]) -> None:
        """At times nobody is seen, yet mostly somebody is."""
        missing = [60 - len(intervals) for intervals in hours]
        assert 0 < mean(missing) < 15
        assert min(len(intervals) for intervals in hours) > 20

    def test_numbers_of_people(self, hours: list[list[Interval]]) -> None:
        """Sessions have from one to four people in them."""
        most = {max(each["detectedFaces"] for each in hour) for hour in hours}
        assert {1, 2, 3, 4} == most

    def test_every_emotion_occurs(self, hours: list[list[Interval]]) -> None:
        """All seven occur, and focus more than disgust."""
        found = sum((strengths(hour) for hour in hours), Counter[str]())
        assert {*EMOTIONS} == {*found}
        assert found["focus"] > 3 * found["disgust"]

    def test_moods_last(self, hours: list[list[Interval]]) -> None:
        """From one minute to the next they change less than between any two."""
        steps, spread = [], []
        rng = random.Random(0)
        for hour in hours:
            levels = [
                each["emotions"].get("focus", {"intensity": 0.0})["intensity"]
                for each in hour
            ]
            steps += [abs(after - before) for before, after in pairwise(levels)]
            spread += [abs(rng.choice(levels) - rng.choice(levels)) for _ in levels]
        assert mean(steps) < 0.6 * mean(spread)

    def test_there_are_peaks(self, hours: list[list[Interval]]) -> None:
        """Now and then somebody is very much something."""
        strong = [
            sum(
                measure["intensity"] > 0.8
                for each in hour
                for measure in each["emotions"].values()
            )
            for hour in hours
        ]
        assert 1 < mean(strong) < 80

    def test_sentiment(self) -> None:
        """Of what is said most is neutral, and at times nobody speaks."""
        analyst = Reader(0)
        hours = [analyst.sentiments(f"{n:024x}", 3600, WHOLE) for n in range(40)]
        found = sum((moods(hour) for hour in hours), Counter[str]())
        assert found["neutral"] > found["positive"] > found["negative"] > 0
        assert 30 < mean(len(hour) for hour in hours) < 60

    @pytest.mark.timing
    def test_costs_little(self) -> None:
        """The timeline of two hours of a new session takes about half a millisecond."""
        analyst = Analyst(0)

        def cost(number: int) -> float:
            tracer = sys.gettrace()
            sys.settrace(None)  # what measures coverage would cost most of it
            try:
                before = time.process_time()
                analyst.emotions(f"{number:024x}", 7200, WHOLE)
                return time.process_time() - before
            finally:
                sys.settrace(tracer)

        assert min(map(cost, range(50))) < 0.0025


@pytest.fixture
def emulator() -> Iterator[EmoggEmulator]:
    """Serve an emulator with some sessions."""
    with EmoggEmulator(sessions=12, rate_limit=None) as running:
        yield running


def an_hour(emulator: EmoggEmulator, **fields: Any) -> Session:
    """Add a session with a fixed id, which so has the same emotions in each test."""
    return emulator.add_session(**{"id": "65ea1530bb50af72b6e3dc1e"} | fields)


class TestOverHttp:
    """The three calls that tell what was found."""

    def test_seeded_sessions_have_data(self, emulator: EmoggEmulator) -> None:
        """Every made-up session was analysed, as long as it is."""
        for session in emulator.sessions:
            path = f"/v1/sessions/{session.id}"
            totals = call(emulator, f"{path}/emotions").json
            assert session.id == totals["session"]
            assert sum(totals["emotions"].values()) > 10
            for rest in TIMELINES:
                found = call(emulator, f"{path}/{rest}").json
                assert {"session", "timeline"} == found.keys()
                assert session.id == found["session"]
                assert found["timeline"][-1]["end"] <= session.duration + 0.001

    def test_totals(self, emulator: EmoggEmulator) -> None:
        """They are whole numbers, and the sums of the finest timeline."""
        path = f"/v1/sessions/{an_hour(emulator, duration=3600).id}"
        totals = call(emulator, f"{path}/emotions").json["emotions"]
        timeline = call(emulator, f"{path}/emotions/timeline", granularity=5).json
        people = Counter[str]()
        for interval in timeline["timeline"]:
            for name, measure in interval["emotions"].items():
                people[name] += measure["people"]
        assert dict(people) == totals

    def test_default_window(self, emulator: EmoggEmulator) -> None:
        """A minute from the beginning to the end, unless told otherwise."""
        path = f"/v1/sessions/{an_hour(emulator, duration=3600).id}"
        for rest in TIMELINES:
            plain = call(emulator, f"{path}/{rest}").json
            query = {"granularity": 60, "start": 0, "end": 3600}
            assert plain == call(emulator, f"{path}/{rest}", **query).json
            spans = {item["end"] - item["start"] for item in plain["timeline"]}
            assert {60} == spans

    def test_window(self, emulator: EmoggEmulator) -> None:
        """Intervals are counted from the start, and the last one ends in time."""
        path = f"/v1/sessions/{an_hour(emulator, duration=3600).id}/{TIMELINES[0]}"
        query = {"granularity": 90.5, "start": 600.2500000000001, "end": 1_000}
        found = call(emulator, path, **query).json
        spans = [(item["start"], item["end"]) for item in found["timeline"]]
        assert {(600.25, 690.75), (962.25, 1_000)} <= {*spans}
        assert {*spans} <= {
            (600.25, 690.75),
            (690.75, 781.25),
            (781.25, 871.75),
            (871.75, 962.25),
            (962.25, 1_000),
        }

    @pytest.mark.parametrize("rest", TIMELINES)
    @pytest.mark.parametrize("duration", [0, 3, 4.999])
    def test_too_short(
        self, emulator: EmoggEmulator, rest: str, duration: float
    ) -> None:
        """In less than five seconds nothing is found."""
        path = f"/v1/sessions/{an_hour(emulator, duration=duration).id}"
        assert [] == call(emulator, f"{path}/{rest}").json["timeline"]
        assert {} == call(emulator, f"{path}/emotions").json["emotions"]

    @pytest.mark.parametrize("rest", TIMELINES)
    def test_windows_beyond_the_end(self, emulator: EmoggEmulator, rest: str) -> None:
        """Nothing is reported beyond the session's end."""
        path = f"/v1/sessions/{an_hour(emulator, duration=600).id}/{rest}"
        whole = call(emulator, path).json
        assert whole == call(emulator, path, end=10**9).json
        assert [] == call(emulator, path, start=600).json["timeline"]
        assert [] == call(emulator, path, start=10**9).json["timeline"]

    @pytest.mark.parametrize("rest", TIMELINES)
    def test_very_long_sessions(self, emulator: EmoggEmulator, rest: str) -> None:
        """A session of 30 years is analysed for a day at most."""
        path = f"/v1/sessions/{an_hour(emulator, duration=10**9).id}/{rest}"
        found = call(emulator, path, granularity=3600).json["timeline"]
        assert 86_400 == found[-1]["end"]

    @pytest.mark.parametrize("rest", TIMELINES)
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("granularity", "4"),
            ("granularity", "4.999"),
            ("granularity", "3600.5"),
            ("granularity", "-60"),
            ("granularity", "1m"),
            ("granularity", ""),
            ("granularity", "nan"),
            ("granularity", "٦٠"),
            ("start", "-1"),
            ("start", "1e3"),
            ("start", "9" * 5_000),
            ("end", "-1"),
            ("end", "0"),
            ("end", "0.0000001"),
            ("end", "inf"),
        ],
    )
    def test_bad_parameters(
        self, emulator: EmoggEmulator, rest: str, name: str, value: str
    ) -> None:
        """An invalid parameter is refused, and the message names it."""
        path = f"/v1/sessions/{emulator.sessions[0].id}/{rest}"
        answer = call(emulator, path, **{name: value})
        assert refusal(400, answer.json["message"]) == answer.json
        assert f'"{name}"' in answer.json["message"]

    @pytest.mark.parametrize("rest", TIMELINES)
    def test_end_before_start(self, emulator: EmoggEmulator, rest: str) -> None:
        """A window must have a length."""
        path = f"/v1/sessions/{emulator.sessions[0].id}/{rest}"
        answer = call(emulator, path, start=60, end=60)
        assert refusal(400, '"end" must be after "start"') == answer.json

    @pytest.mark.parametrize("granularity", [5, 3600])
    def test_limits_of_the_granularity(
        self, emulator: EmoggEmulator, granularity: int
    ) -> None:
        """Both ends of its range are good."""
        path = f"/v1/sessions/{emulator.sessions[0].id}/{TIMELINES[0]}"
        assert 200 == call(emulator, path, granularity=granularity).status


class TestModels:
    """Answers have all fields of the models, and no others."""

    @pytest.mark.parametrize(
        ("rest", "model"),
        [
            ("emotions", EmotionTotals),
            (TIMELINES[0], EmotionsTimeline),
            (TIMELINES[1], SentimentTimeline),
        ],
    )
    def test_round_trip(
        self, emulator: EmoggEmulator, rest: str, model: type[Any]
    ) -> None:
        """Each answer survives being made a model and written again."""
        for session in emulator.sessions:
            answer = call(emulator, f"/v1/sessions/{session.id}/{rest}").json
            found = structure(answer, model)
            assert not found.extra
            assert answer == to_dict(found)


class TestLive:
    """A session that runs is analysed while it does."""

    def test_grows_with_the_clock(self, emulator: EmoggEmulator) -> None:
        """As time passes, more is found, and what was found stays."""
        body = {"name": "Pitch", "streamUri": URI}
        made = call(emulator, "/v1/sessions", method="POST", body=body).json
        path = f"/v1/sessions/{made['_id']}"
        seen: list[Interval] = []
        amounts = []
        for _ in range(4):
            found = call(emulator, f"{path}/emotions/timeline", granularity=5).json
            assert seen == found["timeline"][: len(seen)]
            seen = found["timeline"]
            totals = call(emulator, f"{path}/emotions").json["emotions"]
            amounts.append(sum(totals.values()))
            emulator.advance(300)
        assert sorted(amounts) == amounts
        assert 0 == amounts[0] < amounts[1] < amounts[3]

    def test_stopping_ends_it(self, emulator: EmoggEmulator) -> None:
        """After a stop nothing is added."""
        body = {"name": "Pitch", "streamUri": URI}
        made = call(emulator, "/v1/sessions", method="POST", body=body).json
        path = f"/v1/sessions/{made['_id']}"
        emulator.advance(600)
        before = call(emulator, f"{path}/emotions/timeline", granularity=5).json
        call(emulator, f"{path}/stop", method="POST")
        emulator.advance(600)
        after = call(emulator, f"{path}/emotions/timeline", granularity=5).json
        assert before == after

    def test_the_seed_decides(self) -> None:
        """The same session has the same emotions in each emulator of a seed."""

        def found(seed: int) -> Any:
            with EmoggEmulator(seed=seed) as emulator:
                path = f"/v1/sessions/{an_hour(emulator, duration=900).id}"
                return [call(emulator, f"{path}/{rest}").json for rest in TIMELINES]

        assert found(1) == found(1)
        assert found(1)[0] != found(2)[0]
        assert found(1)[1] != found(2)[1]

    def test_a_python_change_of_the_duration(self, emulator: EmoggEmulator) -> None:
        """A test that makes a session longer finds more in it."""
        session = an_hour(emulator, duration=600)
        path = f"/v1/sessions/{session.id}/emotions/timeline"
        before = call(emulator, path).json["timeline"]
        later = session.timestamp + timedelta(days=1)
        emulator.update_session(session.id, duration=1200, timestamp=later)
        after = call(emulator, path).json["timeline"]
        assert before == after[: len(before)]
        assert len(after) > len(before)
