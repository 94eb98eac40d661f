import copy
import json
import math
import pickle
from datetime import UTC, datetime

import attrs
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import models, to_dict
from emogg_async._wire.converter import structure
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import InvalidArgumentError, ResponseShapeError
from emogg_async.models import (
    CustomEvent,
    EmotionCounts,
    EmotionIntensities,
    EmotionInterval,
    EmotionMeasure,
    EmotionsTimeline,
    EmotionTotals,
    FrozenMapping,
    Gap,
    RegisteredSource,
    SentimentInterval,
    Sentiments,
    SentimentTimeline,
    Session,
    SessionConfig,
    SessionMeta,
    SessionState,
    SessionType,
    SessionWorkerState,
    Source,
    WorkerState,
)

REFERENCE = """
{"_id": "65ea1530bb50af72b6e3dc1e", "config": {"removeMedia": true},
 "duration": 120,
 "meta": {"expires": "2024-05-01T11:30:00.000Z",
          "healthCheck": "2024-05-01T10:39:30.000Z", "workerState": "working"},
 "name": "Mobile Word Congress Pitch", "product": "65946a77408bd7b32c5189a3",
 "sources": [{"device": "local_camera", "id": "c1fcba18-15ec-457c-a1de-fcbb87aeaa0e",
              "name": "Integrated Webcam", "type": "video"}],
 "state": "active", "timestamp": "2024-04-01T10:30:00.000Z",
 "type": "live_analysis", "user": "65d7a8fb532f66218ecd4cab", "version": 3}
"""
"""The example of the vendor's page "Get a session"."""

SESSION = Session(
    id="65ea1530bb50af72b6e3dc1e",
    name="Mobile Word Congress Pitch",
    type=SessionType.LIVE_ANALYSIS,
    state=SessionState.ACTIVE,
    timestamp=datetime(2024, 4, 1, 10, 30, tzinfo=UTC),
    duration=120.0,
    config=SessionConfig(remove_media=True),
    sources=(
        Source(
            id="c1fcba18-15ec-457c-a1de-fcbb87aeaa0e",
            name="Integrated Webcam",
            type="video",
            device="local_camera",
        ),
    ),
    meta=SessionMeta(
        expires=datetime(2024, 5, 1, 11, 30, tzinfo=UTC),
        health_check=datetime(2024, 5, 1, 10, 39, 30, tzinfo=UTC),
        worker_state=SessionWorkerState.WORKING,
    ),
    product="65946a77408bd7b32c5189a3",
    user="65d7a8fb532f66218ecd4cab",
    version=3,
)
"""The same, written out as models."""

ABSENT = object()

SOURCE = {"id": "1", "name": "n", "type": "video", "device": "d"}


def wire(**changes):
    """Return the reference example with *changes*; ABSENT leaves a field out."""
    payload = json.loads(REFERENCE) | changes
    return {name: value for name, value in payload.items() if value is not ABSENT}


def problems(payload, model=Session):
    """Return the problems that the converter finds in *payload*."""
    with pytest.raises(
        ResponseShapeError, match=f"is not an? {model.__name__}"
    ) as caught:
        structure(payload, model)
    return caught.value.problems


def sorted_text(value):
    """Return *value* as the one JSON text that stands for it."""
    return json.dumps(value, sort_keys=True)


# -- the reference example -------------------------------------------------------------


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Session)])
def test_reference_example_field_by_field(field):
    """Each field of the vendor's example is in the field of the model."""
    session = structure(json.loads(REFERENCE), Session)
    assert getattr(SESSION, field) == getattr(session, field)
    assert type(getattr(SESSION, field)) is type(getattr(session, field))


def test_reference_example_and_back():
    """The vendor's example comes back out as the same JSON text."""
    session = structure(json.loads(REFERENCE), Session)
    assert sorted_text(json.loads(REFERENCE)) == sorted_text(to_dict(session))


def test_dates_are_aware_and_in_utc():
    """Every date is aware, with the one UTC of the standard library."""
    session = structure(wire(), Session)
    moments = (session.timestamp, session.meta.expires, session.meta.health_check)
    assert [moment.tzinfo for moment in moments] == [UTC, UTC, UTC]


def test_smallest_session():
    """A session with only the required fields has empty defaults."""
    payload = wire(config=ABSENT, sources=ABSENT, meta=ABSENT)
    session = structure(payload, Session)
    assert (session.config, session.sources, session.meta) == (None, (), None)
    assert not session.extra


def check(payload, model=Session):
    """Check that *payload* makes a model, or an error with its problems."""
    try:
        made = structure(payload, model)
    except ResponseShapeError as error:
        made = error
    if isinstance(made, model):
        assert len({made, made}) == 1
        assert made == copy.deepcopy(made)
        assert made == structure(to_dict(made), model)
    else:
        assert made.problems
        assert all(isinstance(problem, str) and problem for problem in made.problems)
        assert [str(made)] == str(made).splitlines()


# -- strictness ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("duration: expected a number, got a string", {"duration": "120"}),
        ("duration: expected a number, got a boolean", {"duration": True}),
        ("duration: expected a number, got null", {"duration": None}),
        ("duration: expected a finite number, got a number", {"duration": math.nan}),
        ("duration: expected a finite number, got a number", {"duration": math.inf}),
        (
            "duration: expected a number that fits 64 bits, got a number",
            {"duration": 10**400},
        ),
        ("duration: required, and missing", {"duration": ABSENT}),
        ("name: expected a string, got null", {"name": None}),
        ("name: expected a string, got a number", {"name": 7}),
        ("name: required, and missing", {"name": ABSENT}),
        ("_id: required, and missing", {"_id": ABSENT}),
        ("type: expected a string, got a number", {"type": 1}),
        ("state: expected a string, got null", {"state": None}),
        ("state: expected a string, got an array", {"state": ["active"]}),
        ("user: expected a string, got an object", {"user": {"name": "1"}}),
        ("product: expected a string, got an object", {"product": {"_id": 1}}),
        ("name: expected a string, got an object", {"name": {"_id": "1"}}),
        ("product: required, and missing", {"product": ABSENT}),
        ("version: expected a number, got a string", {"version": "3"}),
        ("version: expected a number, got null", {"version": None}),
        ("version: expected a finite number, got a number", {"version": -math.inf}),
        ("sources: expected an array, got an object", {"sources": {"0": SOURCE}}),
        ("sources: expected an array, got a string", {"sources": "video"}),
        ("sources[0]: expected an object, got null", {"sources": [None]}),
        ("sources[0]: expected an object, got an array", {"sources": [[]]}),
        (
            "sources[1].id: required, and missing",
            {"sources": [SOURCE, {k: v for k, v in SOURCE.items() if k != "id"}]},
        ),
        (
            "sources[2].name: expected a string, got a boolean",
            {"sources": [SOURCE, SOURCE, {**SOURCE, "name": False}]},
        ),
        (
            "sources[0].format: expected a string, got a number",
            {"sources": [{**SOURCE, "format": 1}]},
        ),
        ("config: expected an object, got an array", {"config": []}),
        (
            "config.removeMedia: expected a boolean, got a string",
            {"config": {"removeMedia": "false"}},
        ),
        (
            "config.removeMedia: expected a boolean, got a number",
            {"config": {"removeMedia": 0}},
        ),
        ("meta: expected an object, got a boolean", {"meta": False}),
        (
            "meta.workerState: expected a string, got a number",
            {"meta": {"workerState": 1}},
        ),
    ],
)
def test_nothing_is_coerced(expected, changes):
    """A value of another JSON type than the field's is refused with its path."""
    assert (expected,) == problems(wire(**changes))


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("2024-04-01T10:30:00", "a string"),
        ("2024-04-01", "a string"),
        ("yesterday", "a string"),
        ("", "a string"),
        ("2024-02-30T10:30:00Z", "a string"),
        ("0001-01-01T00:00:00+14:00", "a string"),
        ("\ud800", "a string"),
        (1711967400, "a number"),
        (None, "null"),
    ],
)
def test_dates_are_iso_8601_with_an_offset(text, got):
    """A date without its offset, or in another form, is refused."""
    expected = f"expected a date and time in ISO 8601 with its offset, got {got}"
    assert (f"timestamp: {expected}",) == problems(wire(timestamp=text))


def test_every_problem_is_named_at_once():
    """All problems are in `problems`; the message shows the first three."""
    payload = wire(
        name=None, duration="1", config=[], sources=[{}], meta={"expires": 1}
    )
    with pytest.raises(ResponseShapeError, match="is not a Session: ") as caught:
        structure(payload, Session)
    paths = {problem.partition(":")[0] for problem in caught.value.problems}
    assert {
        "name",
        "duration",
        "config",
        "sources[0].id",
        "sources[0].name",
        "sources[0].type",
        "sources[0].device",
        "meta.expires",
    } == paths
    shown = caught.value.message.removeprefix("the answer is not a Session: ")
    assert [*caught.value.problems[:3], "…"] == shown.split("; ")


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        (wire(sources=[[]] * 100_000), Session),
        ({"session": "s", "timeline": [1] * 100_000}, models.EmotionsTimeline),
        (
            {"session": "s", "emotions": dict.fromkeys(map(str, range(100_000)), "")},
            models.EmotionTotals,
        ),
    ],
    ids=["sources", "timeline", "emotions"],
)
def test_of_many_problems_a_hundred_are_named(payload, model):
    """The converter stops in an array or object after a hundred problems."""
    assert 100 == len(problems(payload, model))


@pytest.mark.parametrize("payload", [None, True, 1, 1.5, "text", [], [{}]])
def test_other_json_is_no_session(payload):
    """A JSON value that is not an object is refused as a whole."""
    (problem,) = problems(payload)
    assert problem.startswith("expected an object, got ")


def test_values_are_not_quoted():
    """No part of the body gets into an error, and so into a log."""
    payload = wire(name=["secret"], duration="secret", timestamp="secret")
    with pytest.raises(ResponseShapeError, match="is not a Session") as caught:
        structure(payload, Session)
    assert "secret" not in f"{caught.value}{caught.value!r}{caught.value.problems}"


def test_cattrs_does_not_show():
    """The error stands for itself: no exception group of cattrs is printed with it."""
    with pytest.raises(ResponseShapeError, match="is not a Session") as caught:
        structure({}, Session)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# -- what is open ----------------------------------------------------------------------


def test_null_in_an_optional_field_is_its_absence():
    """Each optional field may be null, at every level."""
    payload = wire(
        config=None, sources=None, meta={"expires": None, "workerState": None}
    )
    session = structure(payload, Session)
    assert (None, (), SessionMeta()) == (session.config, session.sources, session.meta)
    assert to_dict(session)["meta"] == {}
    assert "config" not in to_dict(session)


def test_unknown_fields_survive_at_every_level():
    """Unknown fields are in `extra`, and are written back from it."""
    payload = wire(
        mood={"a": [1, {"b": None}]},
        nothing=None,
        config={"removeMedia": False, "zoom": 2},
        sources=[SOURCE | {"fps": 25}],
        meta={"region": ["eu"]},
    )
    session = structure(payload, Session)
    assert session.extra == {"mood": {"a": [1, {"b": None}]}, "nothing": None}
    assert session.config.extra == {"zoom": 2}
    assert session.sources[0].extra == {"fps": 25}
    assert session.meta.extra == {"region": ["eu"]}
    assert sorted_text(payload) == sorted_text(to_dict(session))


@pytest.mark.parametrize("name", ["extra", "id", "remove_media", "health_check", ""])
def test_unknown_fields_may_have_any_name(name):
    """A field called like one of the model's own attributes is still unknown."""
    payload = wire(
        **{name: {"a": 1}},
        config={name: 1},
        sources=[SOURCE | {"extra": None}],
        meta={name: [2]},
    )
    session = structure(payload, Session)
    assert {name: {"a": 1}} == session.extra
    assert {name: 1} == session.config.extra
    assert session.sources[0].extra == {"extra": None}
    assert {name: [2]} == session.meta.extra
    assert payload == to_dict(session)


def test_unknown_enum_values_survive():
    """An undeclared state is kept as it is, in the model and in its wire form."""
    payload = wire(type="recorded", state="paused", meta={"workerState": "asleep"})
    session = structure(payload, Session)
    assert (session.type, session.state) == ("recorded", "paused")
    assert not session.state.known
    assert isinstance(session.meta.worker_state, SessionWorkerState)
    assert payload == to_dict(session)


@pytest.mark.parametrize("version", [4, 3.5, 0, -1, 2**60])
def test_new_versions_pass(version):
    """The schema's version may be any number."""
    session = structure(wire(version=version), Session)
    assert version == session.version
    assert str(version) == json.dumps(to_dict(session)["version"])


@pytest.mark.parametrize(
    ("text", "duration"),
    [("120", 120.0), ("0", 0.0), ("119.25", 119.25), ("120.0", 120), ("-1", -1)],
)
def test_durations_are_floats_and_whole_ones_print_whole(text, duration):
    """A duration is a float in the model; 120 goes back as 120, not as 120.0."""
    session = structure(wire(duration=json.loads(text)), Session)
    assert duration == session.duration
    assert type(session.duration) is float
    assert text.removesuffix(".0") == json.dumps(to_dict(session)["duration"])


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("2024-04-01T10:30:00.000Z", "2024-04-01T10:30:00Z"),
        ("2024-04-01T10:30:00.000Z", "2024-04-01T10:30:00+00:00"),
        ("2024-04-01T10:30:00.000Z", "2024-04-01T12:30:00.000+02:00"),
        ("2024-04-01T10:30:00.000Z", "2024-04-01T05:00:00-05:30"),
        ("2024-04-01T10:30:00.120Z", "2024-04-01T10:30:00.12Z"),
        ("2024-04-01T10:30:00.123456Z", "2024-04-01T10:30:00.123456Z"),
        ("2024-04-01T10:30:00.123456Z", "2024-04-01T10:30:00.123456789Z"),
        ("2024-04-01T10:30:00.000001Z", "2024-04-01T10:30:00.000001Z"),
    ],
)
def test_dates_are_normalised_to_utc(expected, text):
    """Every offset becomes UTC; microseconds are kept, and written only if needed."""
    session = structure(wire(timestamp=text), Session)
    assert session.timestamp.tzinfo is UTC
    assert expected == to_dict(session)["timestamp"]


def test_format_datetime_takes_any_aware_moment():
    """A moment in another zone is written in UTC."""
    moment = datetime.fromisoformat("2024-04-01T12:30:00.5+02:00")
    assert format_datetime(moment) == "2024-04-01T10:30:00.500Z"


@pytest.mark.parametrize("depth", [50, 250, 600])
@pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")])
def test_deep_nesting_is_a_session_or_a_shape_error(opening, closing, depth):
    """A body that JSON parses, however deep, never ends in a RecursionError."""
    check(wire(deep=json.loads(opening * depth + "1" + closing * depth)))


# -- the other models ------------------------------------------------------------------

MEASURE = {"people": 3, "quantity": 2.654, "intensity": 0.885}
INTERVAL = {"start": 0, "end": 60, "detectedFaces": 4, "emotions": {"focus": MEASURE}}
TALK = {"positive": 1, "neutral": 4, "negative": 0}
TALKS = {"start": 0, "end": 60, "segments": 5, "sentiments": TALK}
EVENT = {"time": 1.5, "source": "s", "session": "i", "user": "u", "type": "t"}
REGISTERED = {"id": "s", "name": "n", "device": "d", "type": "t", "format": "scalar"}

OTHERS = [
    (
        {"session": "i", "emotions": {"focus": 3, "awe": 0}},
        EmotionTotals(session="i", emotions=FrozenMapping({"focus": 3, "awe": 0})),
    ),
    (
        {"session": "i", "timeline": [INTERVAL]},
        EmotionsTimeline(
            session="i",
            intervals=(
                EmotionInterval(
                    start=0.0,
                    end=60.0,
                    detected_faces=4,
                    emotions=FrozenMapping(
                        {
                            "focus": EmotionMeasure(
                                people=3, quantity=2.654, intensity=0.885
                            )
                        }
                    ),
                ),
            ),
        ),
    ),
    (
        {"session": "i", "timeline": [TALKS]},
        SentimentTimeline(
            session="i",
            intervals=(
                SentimentInterval(
                    start=0.0,
                    end=60.0,
                    segments=5,
                    sentiments=Sentiments(positive=1.0, neutral=4.0, negative=0.0),
                ),
            ),
        ),
    ),
    (
        REGISTERED,
        RegisteredSource(id="s", name="n", device="d", type="t", format="scalar"),
    ),
    *(
        (
            EVENT | {"data": data},
            CustomEvent(
                time=1.5, data=data, source="s", session="i", user="u", type="t"
            ),
        )
        for data in ("text", 2.5, 3)
    ),
]


@pytest.mark.parametrize(("payload", "model"), OTHERS)
def test_other_models_and_back(payload, model):
    """Each of the service's answers becomes its model, and has the same wire form."""
    assert model == structure(payload, type(model))
    assert sorted_text(payload) == sorted_text(to_dict(model))


NEW = {"new": {"a": [1, None]}, "extra": 1, "expanded": [2]}


def grown(value, key=""):
    """Return *value* with new fields in each object, and with a new emotion."""
    if isinstance(value, list):
        return [grown(item) for item in value]
    if not isinstance(value, dict):
        return value
    inside = {name: grown(item, name) for name, item in value.items()}
    if key == "emotions":  # its names are no fields
        return {"ennui" if name == "focus" else name: v for name, v in inside.items()}
    return inside | NEW


@pytest.mark.parametrize(("payload", "model"), OTHERS)
def test_other_models_keep_what_they_do_not_know(payload, model):
    """A new field and a new emotion are kept, wherever they are."""
    payload = grown(payload)
    structured = structure(payload, type(model))
    assert {*NEW} == {*structured.extra}
    assert sorted_text(payload) == sorted_text(to_dict(structured))


@pytest.mark.parametrize(
    ("expected", "model", "payload"),
    [
        (
            "emotions['focus']: expected a whole number, got a number",
            EmotionTotals,
            {"session": "i", "emotions": {"shock": 1, "focus": 2.5}},
        ),
        *(
            (
                "emotions['focus']: expected a whole number of 64 bits, got a number",
                EmotionTotals,
                {"session": "i", "emotions": {"shock": 2**63 - 1, "focus": each}},
            )
            for each in (2**63, -(2**63) - 1, 2**70, 1e300)
        ),
        (
            "emotions['focus']: expected a number, got a boolean",
            EmotionTotals,
            {"session": "i", "emotions": {"focus": True}},
        ),
        (
            "emotions['…']: expected a number, got a string",
            EmotionTotals,
            {"session": "i", "emotions": {"<b> @ secret": "secret"}},
        ),
        (
            "emotions: expected an object, got an array",
            EmotionTotals,
            {"session": "i", "emotions": []},
        ),
        ("emotions: required, and missing", EmotionTotals, {"session": "i"}),
        (
            "session: expected a string, got an object",
            EmotionTotals,
            {"session": {}, "emotions": {}},
        ),
        (
            "timeline[1].emotions['focus'].people: expected a number, got null",
            EmotionsTimeline,
            {
                "session": "i",
                "timeline": [
                    INTERVAL,
                    INTERVAL | {"emotions": {"focus": MEASURE | {"people": None}}},
                ],
            },
        ),
        (
            "timeline[0].emotions['focus']: expected an object, got a number",
            EmotionsTimeline,
            {"session": "i", "timeline": [INTERVAL | {"emotions": {"focus": 1}}]},
        ),
        (
            "timeline[0].detectedFaces: expected a whole number, got a number",
            EmotionsTimeline,
            {"session": "i", "timeline": [INTERVAL | {"detectedFaces": 0.5}]},
        ),
        (
            "timeline: expected an array, got null",
            SentimentTimeline,
            {"session": "i", "timeline": None},
        ),
        (
            "timeline[0].sentiments.neutral: expected a number, got a string",
            SentimentTimeline,
            {
                "session": "i",
                "timeline": [TALKS | {"sentiments": TALK | {"neutral": "4"}}],
            },
        ),
        (
            "data: expected a string or a number, got a boolean",
            CustomEvent,
            EVENT | {"data": True},
        ),
        (
            "data: expected a string or a number, got null",
            CustomEvent,
            EVENT | {"data": None},
        ),
        (
            "data: expected a finite number, got a number",
            CustomEvent,
            EVENT | {"data": math.inf},
        ),
        ("format: required, and missing", RegisteredSource, SOURCE),
    ],
)
def test_other_models_are_as_strict(expected, model, payload):
    """Each problem has its path, down to a single emotion."""
    assert (expected,) == problems(payload, model)


def test_whole_numbers_may_be_written_as_fractions():
    """JSON has one kind of number: 3.0 is the count 3, and goes back as 3."""
    totals = structure({"session": "i", "emotions": {"focus": 3.0}}, EmotionTotals)
    assert type(totals.emotions["focus"]) is int
    assert json.dumps(to_dict(totals)["emotions"]) == '{"focus": 3}'


def test_lists_of_models():
    """A list of models becomes a tuple of them, and each problem has its index."""
    event = EVENT | {"data": 1}
    assert 2 == len(structure([event, event], tuple[CustomEvent, ...]))
    with pytest.raises(
        ResponseShapeError, match=r"not a list of CustomEvent: \[1\].data: required"
    ):
        structure([event, EVENT], tuple[CustomEvent, ...])


# -- what was expanded -----------------------------------------------------------------


@pytest.mark.parametrize("key", ["_id", "id"])
def test_an_expanded_id_is_its_id_and_the_object_beside_it(key):
    """`user` is always the ID; the full object is in `expanded`, and goes back."""
    user = {key: "u1", "name": "Ada", "teams": [{"id": 1}]}
    payload = wire(user=user)
    session = structure(payload, Session)
    assert "u1" == session.user
    assert {"user": user} == session.expanded
    assert isinstance(session.expanded["user"]["teams"][0], FrozenMapping)
    assert sorted_text(payload) == sorted_text(to_dict(session))
    assert session == pickle.loads(pickle.dumps(session))
    assert 1 == len({session, copy.deepcopy(session)})


def test_mongos_id_comes_first():
    """The ID of an expanded object is `_id`, or `id` if the first is no string."""
    session = structure(wire(user={"id": "b", "_id": "a"}), Session)
    assert session.user == "a"
    session = structure(wire(product={"id": "b", "_id": 7}), Session)
    assert session.product == "b"


@pytest.mark.parametrize(
    ("model", "rest"),
    [
        (EmotionTotals, {"emotions": {}}),
        (EmotionsTimeline, {"timeline": []}),
        (SentimentTimeline, {"timeline": []}),
    ],
)
def test_an_expanded_session(model, rest):
    """Emotions and sentiment may have their session expanded."""
    payload = {"session": wire(), **rest}
    derived = structure(payload, model)
    assert SESSION.id == derived.session
    assert derived.expanded["session"] == wire()
    assert payload == to_dict(derived)


def test_nothing_expanded():
    """A session without expanded objects has an empty `expanded`."""
    assert not structure(wire(), Session).expanded


# -- models as values ------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_sessions_survive_copies(duplicate):
    """A whole session, unknown parts included, is copied whole and stays hashable."""
    session = structure(wire(state="paused", new={"a": [{}]}), Session)
    restored = duplicate(session)
    assert session == restored
    assert hash(session) == hash(restored)
    assert {session} == {session, restored}
    assert repr(session) == repr(restored)
    assert to_dict(session) == to_dict(restored)


_TIMELINE, _TALKS = OTHERS[1][1], OTHERS[2][1]
_GAP = Gap(
    since=None,
    until=datetime(2024, 4, 1, tzinfo=UTC),
    reason="reconnected",
    lost=None,
)
_NOW = {"session": SESSION.id, "timestamp": _GAP.until}
LIVE = (
    EmotionCounts(**_NOW, emotions=FrozenMapping({"focus": 2}), gap=_GAP),
    EmotionIntensities(**_NOW, emotions=_TIMELINE.intervals[0].emotions),
    WorkerState(**_NOW, state=SessionWorkerState.WORKING),
)
MODELS = [
    *(SESSION, SESSION.config, SESSION.meta, *SESSION.sources),
    *(model for _, model in OTHERS[:5]),
    *(_TIMELINE.intervals[0], _TIMELINE.intervals[0].emotions["focus"]),
    *(_TALKS.intervals[0], _TALKS.intervals[0].sentiments),
    *(_GAP, *LIVE),
]


def test_examples_cover_every_model():
    """The list of examples has every model."""
    kinds = [getattr(models, name) for name in models.__all__]
    assert {kind for kind in kinds if attrs.has(kind)} == set(map(type, MODELS))


@pytest.mark.parametrize("instance", MODELS, ids=lambda model: type(model).__name__)
def test_models_are_frozen_slotted_and_keyword_only(instance):
    """No model can be changed, grow attributes, or be built by position."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, attrs.fields(type(instance))[0].name, {})
    assert not hasattr(instance, "__dict__")
    assert all(field.kw_only for field in attrs.fields(type(instance)))


# -- to_dict ---------------------------------------------------------------------------


@pytest.mark.parametrize("event", LIVE, ids=lambda event: type(event).__name__)
def test_live_events_have_a_form_for_json(event):
    """It has the session, the moment, what is told, and the gap if there is one."""
    wire = to_dict(event)
    assert json.loads(json.dumps(wire)) == wire
    assert wire["timestamp"] == "2024-04-01T00:00:00.000Z"
    assert ("gap" in wire) == (event.gap is not None)
    assert structure(wire, type(event)) == event


@attrs.frozen
class Stranger:
    """An attrs class that is not a model of the package."""

    id: str


@pytest.mark.parametrize(
    "value", [None, {}, "text", 3, SessionState.ACTIVE, Stranger("1"), Session]
)
def test_to_dict_refuses_what_is_no_model(value):
    """A value that is not a model of the package is refused as an argument."""
    with pytest.raises(InvalidArgumentError, match="model: expected a model of"):
        to_dict(value)


def test_to_dict_takes_parts_of_a_session():
    """Any model has a wire form, not only a whole session."""
    assert to_dict(SESSION.config) == {"removeMedia": True}
    assert json.loads(REFERENCE)["sources"][0] == to_dict(SESSION.sources[0])
    assert json.loads(REFERENCE)["meta"] == to_dict(SESSION.meta)


def test_to_dict_gives_a_new_dict_each_time():
    """The wire form is the caller's: changing it changes no session."""
    session = structure(wire(new={"a": []}), Session)
    to_dict(session)["new"]["a"].append(1)
    to_dict(session)["sources"].clear()
    assert wire(new={"a": []}) == to_dict(session)


def test_to_dict_gives_plain_json_values():
    """The wire form is what `json.loads` would give: no enum, no tuple."""

    def kinds(value):
        if isinstance(value, dict):
            return {type(value)}.union(*map(kinds, value.values()))
        if isinstance(value, list | tuple):
            return {type(value)}.union(*map(kinds, value))
        return {type(value)}

    wire_form = to_dict(structure(wire(state="paused", new={"a": [1.5]}), Session))
    assert {dict, list, str, int, float, bool} == kinds(wire_form)


# -- laws ------------------------------------------------------------------------------


@pytest.mark.property
@given(strategies.wire_sessions)
def test_law_wire_form_comes_back(payload):
    """The wire form equals the service's JSON; absent sources become an empty array."""
    assert {"sources": [], **payload} == to_dict(structure(payload, Session))


@pytest.mark.property
@given(strategies.wire_sessions)
def test_law_session_comes_back_through_json(payload):
    """A session written as JSON and read again is the same session."""
    session = structure(payload, Session)
    restored = structure(json.loads(json.dumps(to_dict(session))), Session)
    assert session == restored
    assert hash(session) == hash(restored)


@pytest.mark.property
@given(strategies.wire_sessions)
def test_law_session_comes_back(payload):
    """The wire form that `to_dict` gives can be structured as it is."""
    session = structure(payload, Session)
    assert session == structure(to_dict(session), Session)


KINDS = [
    (strategies.expanded_sessions, Session),
    (strategies.wire_totals, EmotionTotals),
    (strategies.wire_timelines, EmotionsTimeline),
    (strategies.wire_sentiment_timelines, SentimentTimeline),
    (strategies.wire_registered_sources, RegisteredSource),
    (strategies.wire_events, CustomEvent),
]


@pytest.mark.property
@pytest.mark.parametrize(("payloads", "model"), KINDS, ids=lambda kind: str(kind)[-40:])
@given(st.data())
def test_law_every_model_comes_back(payloads, model, data):
    """The wire form equals the service's JSON, and reads as the same model again."""
    payload = data.draw(payloads)
    structured = structure(payload, model)
    defaults = {"sources": []} if model is Session else {}
    assert {**defaults, **payload} == to_dict(structured)
    again = structure(json.loads(json.dumps(to_dict(structured))), model)
    assert structured == again == pickle.loads(pickle.dumps(again))
    assert hash(structured) == hash(again)


@pytest.mark.property
@pytest.mark.parametrize(("payloads", "model"), KINDS, ids=lambda kind: str(kind)[-40:])
@given(st.data())
def test_law_damage_to_any_model_is_accepted_or_named(payloads, model, data):
    """A field that is replaced by any JSON is accepted, or is a shape error."""
    payload = data.draw(payloads)
    field = data.draw(st.sampled_from([*payload]))
    payload[field] = data.draw(strategies.json_values)
    check(payload, model)


@pytest.mark.property
@given(strategies.json_values)
def test_law_any_json_is_a_session_or_a_shape_error(payload):
    """Any JSON is a session, or an error with its problems."""
    check(payload)


@pytest.mark.property
@given(strategies.wire_sessions, strategies.json_objects)
def test_law_damaged_sessions_are_sessions_or_shape_errors(payload, damage):
    """A field that is replaced by any JSON ends in an error, or is accepted."""
    values = list(damage.values())
    damaged = dict(payload, **dict(zip(payload, values, strict=False)))
    check(damaged)
