"""Models as tables: what pandas, polars and pyarrow make of their columns."""

from datetime import UTC, datetime, timedelta, timezone

import attrs
import pandas
import polars
import pyarrow
import pytest
from test_exports import loaded_by

from emogg_async import (
    Batch,
    EmotionsTimeline,
    EmotionTotals,
    FrozenMapping,
    InvalidArgumentError,
    NotFoundError,
    SentimentTimeline,
    Session,
    SessionMeta,
    SessionState,
    SessionType,
    Source,
    from_dict,
    to_columns,
)

ID = "6606810e62d82c07cd0c20aa"
MISSING = "65ea1530bb50af72b6e3dc1e"
MOMENT = datetime(2024, 3, 29, 8, 51, 26, 137_000, tzinfo=UTC)
KINDS = [Session, EmotionTotals, EmotionsTimeline, SentimentTimeline]
NAMES = [
    *("id", "name", "type", "state", "timestamp", "duration", "product", "user"),
    *("sources", "expires", "stale"),
]


def session(**changes):
    """Make a session with *changes*."""
    webcam = Source(id="1", name="Webcam", type="video", device="local_camera")
    return attrs.evolve(
        Session(
            id=ID,
            name="Pitch",
            type=SessionType.LIVE_ANALYSIS,
            state=SessionState.FINISHED,
            timestamp=MOMENT,
            duration=3777.837,
            sources=(webcam, webcam),
            meta=SessionMeta(expires=MOMENT + timedelta(days=30)),
            product="a" * 24,
            user="b" * 24,
            version=3,
        ),
        **changes,
    )


def totals(**counts):
    return EmotionTotals(session=ID, emotions=FrozenMapping(counts))


MANY = [
    session(),
    session(id=MISSING, state=SessionState("paused"), meta=None, duration=60),
    session(
        name="half \ud800", timestamp=MOMENT.astimezone(timezone(timedelta(hours=9)))
    ),
]


def test_a_session_has_what_analysts_ask_for():
    """The names, the order and the values of a session's columns are a promise."""
    assert {
        "id": [ID],
        "name": ["Pitch"],
        "type": ["live_analysis"],
        "state": ["finished"],
        "timestamp": [MOMENT],
        "duration": [3777.837],
        "product": ["a" * 24],
        "user": ["b" * 24],
        "sources": [2],
        "expires": [MOMENT + timedelta(days=30)],
        "stale": [False],
    } == session().to_columns()
    assert NAMES == [*session().to_columns()]


def test_states_are_plain_text():
    """No column holds an enum, known or not, and each date is in UTC."""
    columns = to_columns(MANY)
    assert [str] * 6 == [
        type(text) for key in ("type", "state") for text in columns[key]
    ]
    assert ["finished", "paused", "finished"] == columns["state"]
    assert {UTC} == {moment.tzinfo for moment in columns["timestamp"]}
    assert {float} == {*map(type, columns["duration"])}
    late = MOMENT.astimezone(timezone(timedelta(hours=9)))
    (expires,) = session(meta=SessionMeta(expires=late)).to_columns()["expires"]
    assert (MOMENT, UTC) == (expires, expires.tzinfo)
    assert [MOMENT] * 3 == columns["timestamp"]


def test_sessions_in_pandas():
    """Each column of a data frame has the type that it should have."""
    frame = pandas.DataFrame(to_columns(MANY))
    kinds = pandas.api.types
    assert NAMES == [*frame.columns]
    assert (3, len(NAMES)) == frame.shape
    for name in ("id", "name", "type", "state", "product", "user"):
        assert kinds.is_string_dtype(frame[name].dtype), name
    for name in ("timestamp", "expires"):
        assert isinstance(frame[name].dtype, pandas.DatetimeTZDtype), name
        assert "UTC" == str(frame[name].dtype.tz)
    assert kinds.is_float_dtype(frame["duration"].dtype)
    assert kinds.is_integer_dtype(frame["sources"].dtype)
    assert kinds.is_bool_dtype(frame["stale"].dtype)
    assert [False, True, False] == [*frame["expires"].isna()]
    assert frame["timestamp"][0].to_pydatetime() == MOMENT
    assert "half \N{REPLACEMENT CHARACTER}" == frame["name"][2]


def test_sessions_in_polars():
    """Polars infers the same types from the same columns."""
    frame = polars.DataFrame(to_columns(MANY))
    moment, text = polars.Datetime("us", "UTC"), polars.String
    kinds = [text] * 4 + [moment, polars.Float64, text, text]
    kinds += [polars.Int64, moment, polars.Boolean]
    assert dict(zip(NAMES, kinds, strict=True)) == dict(frame.schema)
    assert [1] == [frame[name].null_count() for name in NAMES if name == "expires"]
    assert frame["timestamp"][0] == MOMENT


def test_sessions_in_pyarrow():
    """So does pyarrow, and nothing changes on the way there and back."""
    table = pyarrow.table(to_columns(MANY))
    moment, text = pyarrow.timestamp("us", tz="UTC"), pyarrow.string()
    kinds = [text] * 4 + [moment, pyarrow.float64(), text, text]
    kinds += [pyarrow.int64(), moment, pyarrow.bool_()]
    assert dict(zip(NAMES, kinds, strict=True)) == dict(
        zip(table.schema.names, table.schema.types, strict=True)
    )
    assert table["expires"].null_count == 1
    assert to_columns(MANY) == table.to_pydict()


def test_dates_that_come_late_are_dates():
    """A column that begins with many nulls has the type of what follows."""
    columns = to_columns([session(meta=None)] * 500 + [session()])
    assert polars.DataFrame(columns)["expires"].dtype == polars.Datetime("us", "UTC")
    kind = pandas.DataFrame(columns)["expires"].dtype
    assert isinstance(kind, pandas.DatetimeTZDtype)
    assert pyarrow.table(columns)["expires"].type == pyarrow.timestamp("us", tz="UTC")


async def test_totals_and_timelines_of_an_account(client, emulator):
    """A batch is one table, with the rows of each of its sessions in their order."""
    ids = [each.id for each in emulator.sessions][:4]
    counts = await client.gather(client.get_emotions, ids)
    frame = pandas.DataFrame(counts.to_columns())
    assert ["session", "emotion", "count"] == [*frame.columns]
    assert ids == [*frame["session"].unique()]
    assert {"i"} == {frame["count"].dtype.kind}
    sums = frame.groupby("session")["count"].sum()
    assert all(sum(counts[id_].emotions.values()) == sums[id_] for id_ in ids)
    for call in ("get_emotions_timeline", "get_transcription_sentiment"):
        batch = await client.gather(getattr(client, call), ids)
        columns = batch.to_columns()
        rows = [len(each.to_columns()["start"]) for each in batch.values()]
        assert min(rows) > 0
        for table in (
            pandas.DataFrame(columns),
            polars.DataFrame(columns),
            pyarrow.table(columns),
        ):
            assert (sum(rows), len(columns)) == table.shape
        schema = polars.DataFrame(columns).schema
        assert {polars.String, polars.Float64, polars.Int64} == {*schema.values()}
        assert (schema["start"], schema["end"]) == (polars.Float64, polars.Float64)


async def test_failed_ids_are_no_rows(client, emulator):
    """A batch has the rows of what was fetched; the rest is in its errors."""
    there = emulator.sessions[0].id
    batch = await client.get_sessions([there, MISSING])
    assert [there] == batch.to_columns()["id"]
    assert [MISSING] == [*batch.errors]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_has_the_names_of_its_columns(kind):
    """Where every id failed, a table has its columns, and no rows."""
    columns = Batch({}, {ID: NotFoundError("gone", status=404)}).to_columns(of=kind)
    assert columns == to_columns([], of=kind)
    assert {"id" if kind is Session else "session"} == {next(iter(columns))}
    assert [[]] * len(columns) == [*columns.values()]
    for frame in (pandas.DataFrame, polars.DataFrame, pyarrow.table):
        assert (0, len(columns)) == frame(columns).shape


def test_nothing_is_a_table_of_sessions():
    """Without a word on the class, no models are no sessions."""
    assert NAMES == [*to_columns([])] == [*Batch({}, {}).to_columns()]


def test_any_iterable_will_do():
    """A generator is read once, and models keep their order."""
    models = (totals(**{name: 1}) for name in "ba")
    assert {"session": [ID, ID], "emotion": ["b", "a"], "count": [1, 1]} == to_columns(
        models
    )


HALF = "half \ud800"
PART = {"start": 0, "end": 60}
MEASURE = {"people": 1, "quantity": 1, "intensity": 1}
SHARES = {"positive": 1, "neutral": 1, "negative": 1}


@pytest.mark.parametrize(
    "model",
    [
        attrs.evolve(
            session(id=HALF, name=HALF, product=HALF, user=HALF),
            type=SessionType(HALF),
            state=SessionState(HALF),
        ),
        EmotionTotals(session=HALF, emotions=FrozenMapping({HALF: 1})),
        from_dict(
            EmotionsTimeline,
            {
                "session": HALF,
                "timeline": [PART | {"detectedFaces": 1, "emotions": {HALF: MEASURE}}],
            },
        ),
        from_dict(
            SentimentTimeline,
            {
                "session": HALF,
                "timeline": [PART | {"segments": 1, "sentiments": SHARES}],
            },
        ),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize(
    "table",
    [pandas.DataFrame, polars.DataFrame, pyarrow.table],
    ids=["pandas", "polars", "pyarrow"],
)
def test_text_that_cannot_be_encoded_does_not_cost_the_table(table, model):
    """Half a character of the service's is shown as a replacement character."""
    columns = model.to_columns()
    assert len(columns) == table(columns).shape[1]
    texts = [text for column in columns.values() for text in column]
    assert HALF not in texts
    assert "half \N{REPLACEMENT CHARACTER}" in texts


@pytest.mark.parametrize(
    ("message", "models"),
    [
        ("models: expected an iterable of models, got Session", session()),
        ("models: expected an iterable of models, got int", 5),
        ("models: expected sessions, totals or timelines, got str", "text"),
        ("models: expected sessions, totals or timelines, got NoneType", [None]),
        ("models: expected Session only, got EmotionTotals", [session(), totals()]),
        ("models: expected EmotionTotals only, got dict", [totals(), {}]),
    ],
)
def test_other_things_are_refused(message, models):
    """What is no table says which argument it was, and what it holds."""
    with pytest.raises(InvalidArgumentError, match=rf"^{message}\.$"):
        to_columns(models)


def test_other_kinds_are_refused():
    """The class of the models is one that has columns, and is their class."""
    names = "Session, EmotionTotals, EmotionsTimeline, SentimentTimeline"
    with pytest.raises(
        InvalidArgumentError, match=f"^of: expected one of {names}, got"
    ):
        to_columns([], of=Source)
    with pytest.raises(InvalidArgumentError, match="of: expected one of"):
        to_columns([], of=[Session])
    with pytest.raises(InvalidArgumentError, match="expected EmotionTotals only"):
        Batch({ID: session()}, {}).to_columns(of=EmotionTotals)


def test_no_library_is_loaded_for_it():
    """Columns are plain lists, and cost the import of no library of tables."""
    loaded = loaded_by("from emogg_async import to_columns")
    assert {"attrs"} == loaded
