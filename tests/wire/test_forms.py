"""Models as dicts, as JSON, and as types of pydantic, FastAPI and their siblings."""

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import attrs
import jsonschema
import litestar
import litestar.testing
import msgspec
import orjson
import pytest
import strategies
from fastapi import Body, FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from test_converter import KINDS, MODELS, SESSION, Stranger, wire

from emogg_async import from_dict, models, to_dict, to_json
from emogg_async.errors import InvalidArgumentError, ResponseShapeError
from emogg_async.models import (
    EmotionCounts,
    EmotionsTimeline,
    Gap,
    Session,
    SessionConfig,
    SessionState,
    Source,
)

WORDS: Final = {"_id", "removeMedia", "healthCheck", "workerState"}
"""Names on the wire that are other than those of the fields."""

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda it: type(it).__name__)


# -- dict and JSON ---------------------------------------------------------------------


@each_model
def test_method_is_the_function(model):
    """`model.to_dict()` says what `to_dict(model)` says."""
    assert to_dict(model) == model.to_dict()


@each_model
def test_model_comes_back_from_its_dict_and_its_json(model):
    """What was written as a dict or as JSON reads as an equal model."""
    assert model == from_dict(type(model), to_dict(model))
    assert model == from_dict(type(model), json.loads(to_json(model)))


@each_model
def test_base_adds_nothing_to_an_instance(model):
    """A model has neither a dict nor a slot more than its fields, and one repr."""
    names = {name for kind in type(model).__mro__ for name in _slots(kind)}
    assert names - {"__weakref__"} == {
        field.name for field in attrs.fields(type(model))
    }
    assert repr(model).startswith(
        f"{type(model).__name__}({attrs.fields(type(model))[0].name}="
    )
    for twin in (
        copy.copy(model),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
    ):
        assert twin == model
        assert hash(twin) == hash(model)


def _slots(kind: type) -> tuple[str, ...]:
    slots: tuple[str, ...] = vars(kind).get("__slots__", ())
    return slots


def test_json_is_one_line_of_ascii():
    """Any file and any terminal can hold it, whatever the name of a session is."""
    session = attrs.evolve(SESSION, name="Frühstück\n\u2028\ud800")
    text = to_json(session)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert session == from_dict(Session, json.loads(text))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, object()])
def test_json_refuses_what_json_cannot_hold(value):
    """A model made by hand can have values that no JSON has."""
    with pytest.raises(InvalidArgumentError, match=r"^model: "):
        to_json(attrs.evolve(SESSION, extra={"new": value}))


@pytest.mark.parametrize("value", [None, {}, Stranger("1"), Session])
def test_json_refuses_what_is_no_model(value):
    """It is the same refusal as that of `to_dict`."""
    with pytest.raises(InvalidArgumentError, match="model: expected a model of"):
        to_json(value)


@pytest.mark.parametrize(
    "kind", [dict, Stranger, SessionState, list[Session], SESSION, "Session", None]
)
def test_from_dict_refuses_what_is_no_class_of_models(kind):
    """The first argument is a class of `emogg_async.models`."""
    with pytest.raises(
        InvalidArgumentError, match=r"model: expected a class of emogg_async\.models"
    ):
        from_dict(kind, wire())


def test_from_dict_names_what_is_wrong():
    """Wrong data is the caller's argument; the cause has each problem with its path."""
    with pytest.raises(InvalidArgumentError) as caught:
        from_dict(Session, wire(duration="120", sources=[{"id": "1"}]))
    assert str(caught.value) == (
        "data: expected the wire form of Session; "
        "duration: expected a number, got a string; "
        "sources[0].name: required, and missing; "
        "sources[0].type: required, and missing; …."
    )
    assert isinstance(caught.value.__cause__, ResponseShapeError)
    assert len(caught.value.__cause__.problems) == 4


def test_from_dict_names_fields_as_in_the_data():
    """Who writes `id` for `_id` is not told that `id` is missing."""
    with pytest.raises(InvalidArgumentError, match=r"; _id: required, and missing"):
        from_dict(Session, {"id": "1"})


@pytest.mark.parametrize("data", [None, [], "{}", SESSION])
def test_from_dict_refuses_what_is_no_dict(data):
    """JSON text must be parsed first, and a model is none of its own form."""
    with pytest.raises(InvalidArgumentError, match=r"data: .* expected an object"):
        from_dict(Session, data)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("finished", True), ("active", False), ("processing", False), ("paused", False)],
)
def test_is_finished(state, expected):
    """A session says whether it is finished; its wire form has no such field."""
    session = from_dict(Session, wire(state=state))
    assert session.is_finished is expected
    assert wire(state=state) == session.to_dict()


# -- pydantic --------------------------------------------------------------------------


@each_model
def test_pydantic_reads_and_writes_every_model(model):
    """It takes a model as it is, reads its dict and its JSON, and writes `to_dict`."""
    adapter = TypeAdapter(type(model))
    assert adapter.validate_python(model) is model
    assert adapter.validate_python(to_dict(model)) == model
    assert adapter.validate_json(to_json(model)) == model
    assert adapter.dump_python(model) == to_dict(model)
    assert json.loads(adapter.dump_json(model)) == to_dict(model)


@each_model
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_schema_has_every_field_by_its_name_on_the_wire(model, mode):
    """Every key that can be written is described, and is required if it always is."""
    schema = TypeAdapter(type(model)).json_schema(mode=mode)
    body = _body(schema)
    ours = {"extra", "expanded", "stale"}
    fields = [each for each in attrs.fields(type(model)) if each.name not in ours]
    assert len(body["properties"]) == len(fields)
    assert to_dict(model).keys() <= body["properties"].keys()
    required = {each for each in fields if each.default is attrs.NOTHING}
    assert len(required) == len(body.get("required", []))
    assert body["title"] == type(model).__name__
    jsonschema.validate(to_dict(model), schema)


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (
        schema["$defs"][schema["$ref"][8:]] if "$ref" in schema else schema
    )
    return body


def test_schema_of_a_session():
    """It has what the service's reference says, and nothing is repeated."""
    schema = TypeAdapter(Session).json_schema()
    text = {"type": "string"}
    date = {"type": "string", "format": "date-time"}
    maybe_expanded = {"anyOf": [text, {"type": "object"}]}
    assert schema["properties"] == {
        "_id": text,
        "name": text,
        "type": text | {"examples": ["live_analysis"]},
        "state": text | {"examples": ["active", "processing", "finished"]},
        "timestamp": date,
        "duration": {"type": "number"},
        "config": {"$ref": "#/$defs/SessionConfig"},
        "sources": {"type": "array", "items": {"$ref": "#/$defs/Source"}},
        "meta": {"$ref": "#/$defs/SessionMeta"},
        "product": maybe_expanded,
        "user": maybe_expanded,
        "version": {"type": "number"},
    }
    assert schema["required"] == [
        *("_id", "name", "type", "state", "timestamp", "duration"),
        *("product", "user", "version"),
    ]
    assert schema["description"] == "A session whose emotions are analysed, or were."
    assert schema["$defs"]["SessionMeta"]["properties"] == {
        "expires": date,
        "healthCheck": date,
        "workerState": text | {"examples": ["working"]},
    }
    assert "required" not in schema["$defs"]["SessionMeta"]


def test_schema_tells_null_from_absent():
    """A field that is always written can be null; one that can be absent cannot."""
    gap = TypeAdapter(Gap).json_schema()
    assert gap["properties"]["lost"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}]
    }
    assert gap["properties"]["reason"]["enum"] == ["reconnected", "slow", "unreadable"]
    assert "lost" in gap["required"]
    assert "gap" not in TypeAdapter(EmotionCounts).json_schema()["required"]


@pytest.mark.property
@pytest.mark.parametrize(("payloads", "model"), KINDS, ids=lambda kind: str(kind)[-40:])
@given(st.data())
def test_law_schema_admits_what_is_written(payloads, model, data):
    """Whatever the service sent, the wire form keeps to the schema in the OpenAPI."""
    validator = _validator(model)
    validator.validate(to_dict(from_dict(model, data.draw(payloads))))


@pytest.mark.property
@given(st.data())
def test_law_pydantic_accepts_what_from_dict_does(data):
    """Data is read by pydantic exactly if it is read by `from_dict`."""
    payload = data.draw(strategies.wire_sessions)
    field = data.draw(st.sampled_from(sorted({*payload, *WORDS})))
    payload |= {field: data.draw(strategies.json_values)}
    assert _outcome(lambda: from_dict(Session, payload)) == _outcome(
        lambda: TypeAdapter(Session).validate_python(payload)
    )


def _outcome(read: Callable[[], Session]) -> Session | str:
    """Return what *read* returns, or the message of its refusal."""
    try:
        return read()
    except InvalidArgumentError as error:
        return str(error)
    except ValidationError as error:
        return str(error.errors()[0]["ctx"]["error"])


_VALIDATORS: dict[type, Any] = {}


def _validator(model: type) -> Any:
    if model not in _VALIDATORS:
        schema = TypeAdapter(model).json_schema(mode="serialization")
        _VALIDATORS[model] = jsonschema.Draft202012Validator(schema)
    return _VALIDATORS[model]


class Report(BaseModel):
    """A model of a user's own, which holds some of ours."""

    title: str
    session: Session
    parts: list[Source] = []
    config: SessionConfig | None = None


def test_models_are_fields_of_pydantic_models():
    """A user's model reads, writes and describes ours as it does its own."""
    report = Report(title="May", session=SESSION, parts=[*SESSION.sources])
    assert report.session is SESSION
    assert report.model_dump()["session"] == to_dict(SESSION)
    assert report == Report.model_validate_json(report.model_dump_json())
    properties = Report.model_json_schema()["properties"]
    assert properties["session"] == {"$ref": "#/$defs/Session"}
    assert properties["parts"]["items"] == {"$ref": "#/$defs/Source"}


# -- FastAPI ---------------------------------------------------------------------------

TIMELINE: Final = next(each for each in MODELS if type(each) is EmotionsTimeline)

app = FastAPI()


@app.get("/session")
async def get_session() -> Session:
    """Answer with a model."""
    return SESSION


@app.get("/sessions", response_model=list[Session])
async def get_sessions() -> Any:
    """Answer with a model and with the dict of another."""
    return [SESSION, to_dict(SESSION)]


@app.get("/timeline")
async def get_timeline() -> EmotionsTimeline:
    """Answer with another model."""
    return TIMELINE


@app.post("/session")
async def post_session(session: Annotated[Session, Body()]) -> Session:
    """Answer with what was sent."""
    return session


@pytest.fixture(scope="module")
def visitor() -> Iterator[TestClient]:
    """Give a visitor of the app."""
    with TestClient(app) as client:
        yield client


def test_fastapi_answers_with_the_wire_form(visitor):
    """What a handler returns is answered as `to_dict` writes it."""
    assert visitor.get("/session").json() == to_dict(SESSION)
    assert visitor.get("/sessions").json() == [to_dict(SESSION)] * 2
    assert visitor.get("/timeline").json() == to_dict(TIMELINE)


def test_fastapi_reads_a_body(visitor):
    """A body is read as `from_dict` reads it, and a wrong one is told why."""
    sent = wire(new={"a": [1]})
    assert visitor.post("/session", json=sent).json() == sent
    refused = visitor.post("/session", json=wire(duration="120"))
    assert refused.status_code == 422
    assert (
        "duration: expected a number, got a string"
        in refused.json()["detail"][0]["msg"]
    )


def test_fastapi_describes_the_models(visitor):
    """The OpenAPI page has one schema for each model, and answers refer to it."""
    page = visitor.get("/openapi.json").json()
    schemas = page["components"]["schemas"]
    assert {*schemas} == {
        *("EmotionInterval", "EmotionMeasure", "EmotionsTimeline"),
        *("Session", "SessionConfig", "SessionMeta", "Source"),
        *("HTTPValidationError", "ValidationError"),
    }
    for path, expected in {
        "/session": {"$ref": "#/components/schemas/Session"},
        "/timeline": {"$ref": "#/components/schemas/EmotionsTimeline"},
    }.items():
        answer = page["paths"][path]["get"]["responses"]["200"]["content"]
        assert answer["application/json"]["schema"] == expected
    refers = schemas["EmotionInterval"]["properties"]["emotions"]
    assert refers == {
        "type": "object",
        "additionalProperties": {"$ref": "#/components/schemas/EmotionMeasure"},
    }


def test_pydantic_is_not_imported_by_ours():
    """A program that writes and reads models loads no pydantic, though it is there."""
    script = (
        "import sys\n"
        "from emogg_async import SessionConfig, from_dict, to_json\n"
        "to_json(from_dict(SessionConfig, SessionConfig().to_dict()))\n"
        "print(sorted(n for n in sys.modules if n.startswith('pydantic')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


# -- other libraries -------------------------------------------------------------------


def test_orjson_writes_models_by_to_dict():
    """`default=to_dict` is enough, at any depth."""
    text = orjson.dumps({"sessions": [SESSION]}, default=to_dict)
    assert json.loads(text) == {"sessions": [to_dict(SESSION)]}
    assert from_dict(Session, orjson.loads(text)["sessions"][0]) == SESSION


def test_msgspec_writes_the_dict():
    """Msgspec is given dicts, and what it decodes is read."""
    text = msgspec.json.encode([SESSION.to_dict()])
    assert from_dict(Session, msgspec.json.decode(text)[0]) == SESSION


def test_msgspec_never_writes_a_session_wrongly():
    """Msgspec takes attrs classes apart by itself, so it fails rather than be wrong."""
    with pytest.raises(InvalidArgumentError, match="got FrozenMapping"):
        msgspec.json.encode(SESSION, enc_hook=to_dict)


@litestar.get("/session", sync_to_thread=False)
def litestar_session() -> dict[str, Any]:
    """Answer with the wire form."""
    return SESSION.to_dict()


def test_litestar_answers_with_the_dict():
    """Litestar writes by msgspec, so a handler returns the dict."""
    app = litestar.Litestar([litestar_session], logging_config=None)
    with litestar.testing.TestClient(app) as visitor:
        assert visitor.get("/session").json() == to_dict(SESSION)


def test_every_model_is_tried():
    """The models above are all that there are."""
    kinds = {getattr(models, name) for name in models.__all__}
    assert {kind for kind in kinds if attrs.has(kind)} == {*map(type, MODELS)}
