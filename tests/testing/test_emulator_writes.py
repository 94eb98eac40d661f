"""The emulator's writes: sessions, sources and events, and answers that get lost."""

import http.client
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime as as_header
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plainhttp import Answer, call, eventually, refusal

from emogg_async._wire.converter import structure, to_dict
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import CustomEvent, RegisteredSource, Session
from emogg_async.testing import EmoggEmulator

NOBODY = "65ea1530bb50af72b6e3dc1e"
URI = "rtmp://stage.example:1935/live/secret-key"

CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"name": "New"}),
    ("DELETE", "", None),
    ("POST", "/stop", None),
    ("GET", "/emotions", None),
    ("GET", "/emotions/timeline", None),
    ("GET", "/audio/transcription-sentiment", None),
    ("POST", "/events", {"name": "Pulse", "format": "scalar"}),
    ("POST", "/sources/{source}/events", {"time": 0, "data": 1}),
]
"""Every call for one session: its method, what follows the session's path, a body."""

each_call = pytest.mark.parametrize(("method", "rest", "body"), CALLS)


@pytest.fixture
def emulator() -> Iterator[EmoggEmulator]:
    """Serve an emulator without any session, whose bucket hardly refills."""
    with EmoggEmulator(rate_limit=(10_000, 1e9)) as running:
        yield running


@pytest.fixture(scope="module")
def lasting() -> Iterator[EmoggEmulator]:
    """Serve one emulator to all examples of a law."""
    with EmoggEmulator(sessions=20, rate_limit=None) as running:
        yield running


def create(emulator: EmoggEmulator, **fields: object) -> Answer:
    """Ask for a new session."""
    body = {"name": "Pitch", "streamUri": URI} | fields
    return call(emulator, "/v1/sessions", method="POST", body=body)


def created(emulator: EmoggEmulator) -> str:
    """Create a session and return its path."""
    return f"/v1/sessions/{create(emulator).json['_id']}"


def register(emulator: EmoggEmulator, path: str, form: str = "scalar") -> str:
    """Register a source of a session and return the path for its events."""
    body = {"name": "Pulse", "format": form}
    source = call(emulator, f"{path}/events", method="POST", body=body).json
    return f"{path}/sources/{source['id']}/events"


class TestEveryCall:
    """Rules for each call that names a session."""

    @each_call
    def test_unknown_session(
        self, emulator: EmoggEmulator, method: str, rest: str, body: object
    ) -> None:
        """A session that does not exist is not found."""
        rest = rest.format(source="00000000-0000-4000-8000-000000000000")
        answer = call(
            emulator, f"/v1/sessions/{NOBODY}{rest}", method=method, body=body
        )
        assert refusal(404, "Session not found") == answer.json
        assert "9999" == answer.headers["RateLimit-Remaining"]

    @each_call
    def test_sessions_of_others(
        self, emulator: EmoggEmulator, method: str, rest: str, body: object
    ) -> None:
        """Another user's session is as good as unknown, and stays as it is."""
        path = created(emulator)
        rest = rest.format(source=register(emulator, path).split("/")[5])
        other = f"Bearer {emulator.add_token()}"
        before = emulator.sessions[0]
        answer = call(
            emulator, path + rest, method=method, body=body, authorization=other
        )
        assert refusal(404, "Session not found") == answer.json
        after = emulator.sessions[0]
        assert (before.name, before.state, before.sources) == (
            after.name,
            after.state,
            after.sources,
        )
        assert () == emulator.events(after.id)

    @each_call
    def test_wrong_token(
        self, emulator: EmoggEmulator, method: str, rest: str, body: object
    ) -> None:
        """Without a good token, it does nothing."""
        path = created(emulator)
        answer = call(
            emulator, path + rest, method=method, body=body, authorization="Bearer no"
        )
        assert refusal(401, "Invalid token") == answer.json
        assert "active" == emulator.sessions[0].state

    @each_call
    def test_succeeds_with_rate_headers(
        self, emulator: EmoggEmulator, method: str, rest: str, body: object
    ) -> None:
        """Each call costs one token, and its answer says so."""
        path = created(emulator)
        rest = rest.format(source=register(emulator, path).split("/")[5])
        if method == "DELETE":
            emulator.update_session(path.rpartition("/")[2], state="finished")
        answer = call(emulator, path + rest, method=method, body=body)
        assert answer.status in {200, 201, 204}
        assert "9997" == answer.headers["RateLimit-Remaining"]
        assert "10000;w=1000000000" == answer.headers["RateLimit-Policy"]

    @each_call
    def test_wrong_method(
        self, emulator: EmoggEmulator, method: str, rest: str, body: object
    ) -> None:
        """A path says which methods it has."""
        rest = rest.format(source="any")
        answer = call(emulator, f"/v1/sessions/{NOBODY}{rest}", method="PUT", body=body)
        assert refusal(405, "Method Not Allowed") == answer.json
        assert method in answer.headers["Allow"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe\xfd",
            b"[1]",
            b'"text"',
            b"[" * 100_000,
            b'{"name": NaN}',
            b"1" * 5_000,
        ],
    )
    @pytest.mark.parametrize(
        ("method", "rest"), [(m, rest) for m, rest, body in CALLS if body]
    )
    def test_what_is_no_json_object(
        self, emulator: EmoggEmulator, method: str, rest: str, body: bytes
    ) -> None:
        """A body that is needed must be a JSON object."""
        rest = rest.format(source="any")
        path = f"/v1/sessions/{NOBODY}{rest}"
        answer = call(emulator, path, method=method, body=body)
        assert refusal(400, answer.json["message"]) == answer.json

    def test_too_large_a_body(self, emulator: EmoggEmulator) -> None:
        """A body of more than a megabyte is refused."""
        answer = create(emulator, name="x" * 1_100_000)
        assert refusal(413, answer.json["message"]) == answer.json


class TestCreate:
    """`POST /v1/sessions`."""

    def test_is_active_at_once(self, emulator: EmoggEmulator) -> None:
        """The answer is the session as it begins, with its worker and its stream."""
        answer = create(emulator, name="<b>Naïve</b>")
        assert 201 == answer.status
        session = structure(answer.json, Session)
        assert ("<b>Naïve</b>", "live_analysis", "active", 3) == (
            session.name,
            session.type,
            session.state,
            session.version,
        )
        assert abs(emulator.now() - session.timestamp) < timedelta(seconds=5)
        assert int(session.timestamp.timestamp()) == int(session.id[:8], 16)
        assert session.duration < 5
        assert session.meta is not None
        assert "working" == session.meta.worker_state
        (source,) = session.sources
        assert ("stage.example", "rtmp_stream") == (source.name, source.device)
        assert "secret" not in answer.body.decode()
        assert [session.id] == [item.id for item in emulator.sessions]

    def test_grows_with_the_clock(self, emulator: EmoggEmulator) -> None:
        """Its duration is the time since it began, and its worker gives signs."""
        path = created(emulator)
        emulator.advance(100)
        session = structure(call(emulator, path).json, Session)
        assert 100 <= session.duration < 105
        assert session.meta is not None
        assert session.timestamp + timedelta(seconds=90) == session.meta.health_check
        (listed,) = call(emulator, "/v1/sessions", state="active").json["data"]
        assert 100 <= listed["duration"] < 105
        assert 100 <= emulator.sessions[0].duration < 105

    def test_ids_and_sources_are_unique(self, emulator: EmoggEmulator) -> None:
        """Sessions of the same name are different sessions."""
        answers = [create(emulator).json for _ in range(20)]
        assert 20 == len({answer["_id"] for answer in answers})
        assert 20 == len({answer["sources"][0]["id"] for answer in answers})

    @pytest.mark.parametrize("scheme", ["rtmp", "rtsp", "rtmps", "RTMP"])
    def test_schemes(self, emulator: EmoggEmulator, scheme: str) -> None:
        """The three schemes of streams are accepted."""
        assert 201 == create(emulator, streamUri=f"{scheme}://10.0.0.1/a").status

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", "x" * 257),
            ("name", None),
            ("name", 7),
            ("streamUri", "http://stage.example/live"),
            ("streamUri", "rtmp:///live"),
            ("streamUri", "rtmp://stage.example:port/live"),
            ("streamUri", "rtmp://[::1/live"),
            ("streamUri", "stage.example"),
            ("streamUri", ""),
            ("streamUri", None),
            ("streamUri", "rtmp://a/" + "x" * 3_000),
            ("colour", "red"),
        ],
    )
    def test_bad_fields(
        self, emulator: EmoggEmulator, field: str, value: object
    ) -> None:
        """An invalid field is refused by name, and nothing is created."""
        answer = create(emulator, **{field: value})
        assert refusal(400, answer.json["message"]) == answer.json
        assert f'"{field}"' in answer.json["message"]
        assert () == emulator.sessions

    @pytest.mark.parametrize("missing", ["name", "streamUri"])
    def test_missing_fields(self, emulator: EmoggEmulator, missing: str) -> None:
        """Both fields are needed."""
        body = {"name": "Pitch", "streamUri": URI}
        del body[missing]
        answer = call(emulator, "/v1/sessions", method="POST", body=body)
        assert 400 == answer.status
        assert f'"{missing}"' in answer.json["message"]

    def test_the_longest_name(self, emulator: EmoggEmulator) -> None:
        """256 characters are allowed, whatever their number of bytes."""
        assert "😀" * 256 == create(emulator, name="😀" * 256).json["name"]

    async def test_from_the_client(self, emulator: EmoggEmulator) -> None:
        """The client's way out for other calls reaches all of it."""
        async with emulator.client() as client:
            body = {"name": "Pitch", "streamUri": URI}
            made = await client.request("POST", "/v1/sessions", json=body)
            assert "Pitch" == (await client.get_session(made["_id"])).name


class TestUpdate:
    """`PATCH /v1/sessions/{id}`."""

    @pytest.mark.parametrize("state", ["active", "processing", "finished", "paused"])
    def test_renames(self, emulator: EmoggEmulator, state: str) -> None:
        """The name changes, in any state, and nothing else."""
        before = emulator.add_session(name="Old", state=state, colour="red")
        path = f"/v1/sessions/{before.id.upper()}"
        answer = call(emulator, path, method="PATCH", body={"name": "New"})
        assert 200 == answer.status
        assert "New" == answer.json["name"]
        after = structure(answer.json, Session)
        assert (after,) == emulator.sessions
        assert before == structure(answer.json | {"name": "Old"}, Session)

    def test_a_live_one_goes_on(self, emulator: EmoggEmulator) -> None:
        """A session that is renamed while it runs still grows."""
        path = created(emulator)
        emulator.advance(50)
        call(emulator, path, method="PATCH", body={"name": "New"})
        emulator.advance(50)
        assert 100 <= call(emulator, path).json["duration"] < 105

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": ""},
            {"name": "x" * 257},
            {"name": None},
            {"state": "finished"},
            {"name": "New", "state": "finished"},
        ],
    )
    def test_only_names(self, emulator: EmoggEmulator, body: object) -> None:
        """Anything but a good name is refused, and changes nothing."""
        session = emulator.add_session(state="active")
        answer = call(emulator, f"/v1/sessions/{session.id}", method="PATCH", body=body)
        assert refusal(400, answer.json["message"]) == answer.json
        assert (session,) == emulator.sessions


class TestStop:
    """`POST /v1/sessions/{id}/stop`."""

    def test_finishes(self, emulator: EmoggEmulator) -> None:
        """It is finished, its duration no longer grows, and its worker is gone."""
        path = created(emulator)
        emulator.advance(100)
        answer = call(emulator, f"{path}/stop", method="POST")
        assert 200 == answer.status
        session = structure(answer.json, Session)
        assert "finished" == session.state
        assert 100 <= session.duration < 105
        assert session.meta is not None
        assert (None, None) == (session.meta.worker_state, session.meta.health_check)
        emulator.advance(100)
        assert answer.json == call(emulator, path).json

    def test_finishes_added_ones(self, emulator: EmoggEmulator) -> None:
        """A session that a test added keeps the duration it was given."""
        session = emulator.add_session(state="active", duration=12.5, meta={})
        answer = call(emulator, f"/v1/sessions/{session.id}/stop", method="POST")
        assert ("finished", 12.5, {}) == tuple(
            answer.json[name] for name in ("state", "duration", "meta")
        )

    @pytest.mark.parametrize("state", ["finished", "processing", "paused"])
    def test_only_active_ones(self, emulator: EmoggEmulator, state: str) -> None:
        """A session that is not active cannot be stopped."""
        session = emulator.add_session(state=state)
        answer = call(emulator, f"/v1/sessions/{session.id}/stop", method="POST")
        assert refusal(400, "Session is not active") == answer.json
        assert (session,) == emulator.sessions

    def test_only_once(self, emulator: EmoggEmulator) -> None:
        """Of many who stop it at once, one succeeds."""
        path = created(emulator)
        seen: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: seen.append(
                    call(emulator, f"{path}/stop", method="POST").status
                )
            )
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [200, *[400] * 5] == sorted(seen)

    def test_from_python(self, emulator: EmoggEmulator) -> None:
        """A test that changes the state stops it just so."""
        path = created(emulator)
        emulator.advance(100)
        session = emulator.update_session(path.rpartition("/")[2], state="processing")
        assert 100 <= session.duration < 105
        assert session.meta is not None
        assert session.meta.worker_state is None
        emulator.advance(100)
        assert session == structure(call(emulator, path).json, Session)

    def test_python_can_fix_a_duration(self, emulator: EmoggEmulator) -> None:
        """A duration that a test sets no longer follows the clock."""
        path = created(emulator)
        emulator.update_session(path.rpartition("/")[2], duration=7)
        emulator.advance(100)
        found = call(emulator, path).json
        assert (7, "active") == (found["duration"], found["state"])


class TestDelete:
    """`DELETE /v1/sessions/{id}`."""

    def test_removes_all(self, emulator: EmoggEmulator) -> None:
        """Neither the session nor anything that belongs to it is left."""
        path = created(emulator)
        events = register(emulator, path)
        call(emulator, events, method="POST", body={"time": 1, "data": 2})
        call(emulator, f"{path}/stop", method="POST")
        answer = call(emulator, path, method="DELETE")
        assert (204, b"") == (answer.status, answer.body)
        for rest in ("", "/emotions", "/emotions/timeline"):
            assert 404 == call(emulator, path + rest).status
        again = call(emulator, path, method="DELETE")
        assert refusal(404, "Session not found") == again.json
        assert () == emulator.sessions
        with pytest.raises(InvalidArgumentError, match=r"^session_id: "):
            emulator.events(path.rpartition("/")[2])

    @pytest.mark.parametrize("state", ["active", "processing"])
    def test_not_while_it_runs(self, emulator: EmoggEmulator, state: str) -> None:
        """A session that is not over stays."""
        session = emulator.add_session(state=state)
        answer = call(emulator, f"/v1/sessions/{session.id}", method="DELETE")
        assert refusal(400, f"Session is {state}") == answer.json
        assert (session,) == emulator.sessions

    def test_hidden_ones(self, emulator: EmoggEmulator) -> None:
        """A session that lists leave out can be deleted."""
        session = emulator.add_session(hidden=True)
        answer = call(emulator, f"/v1/sessions/{session.id}", method="DELETE")
        assert 204 == answer.status


class TestSources:
    """`POST /v1/sessions/{id}/events`, which registers a source."""

    @pytest.mark.parametrize("form", ["text", "scalar"])
    def test_registers(self, emulator: EmoggEmulator, form: str) -> None:
        """The source is answered, and from then on one of the session's."""
        path = created(emulator)
        body = {"name": "Pulse", "format": form}
        answer = call(emulator, f"{path}/events", method="POST", body=body)
        assert 201 == answer.status
        sensor = {"device": "generic_sensor", "type": "generic_sensor"}
        assert {"id": answer.json["id"], **body, **sensor} == answer.json
        assert answer.json == to_dict(structure(answer.json, RegisteredSource))
        session = structure(call(emulator, path).json, Session)
        assert (None, form) == tuple(source.format for source in session.sources)
        assert answer.json["id"] == session.sources[1].id

    def test_of_a_session_without_sources(self, emulator: EmoggEmulator) -> None:
        """The first source may be a registered one, in a finished session too."""
        session = emulator.add_session(state="finished")
        register(emulator, f"/v1/sessions/{session.id}")
        assert 1 == len(emulator.sessions[0].sources)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", ""),
            ("name", 3),
            ("name", "x" * 257),
            ("format", "number"),
            ("format", None),
            ("format", ["text"]),
            ("unit", "bpm"),
        ],
    )
    def test_bad_fields(
        self, emulator: EmoggEmulator, field: str, value: object
    ) -> None:
        """An invalid field is refused by name, and nothing is registered."""
        path = created(emulator)
        body = {"name": "Pulse", "format": "text"} | {field: value}
        answer = call(emulator, f"{path}/events", method="POST", body=body)
        assert refusal(400, answer.json["message"]) == answer.json
        assert f'"{field}"' in answer.json["message"]
        assert 1 == len(emulator.sessions[0].sources)


class TestEvents:
    """`POST /v1/sessions/{id}/sources/{source}/events`."""

    @pytest.mark.parametrize(
        ("form", "data"),
        [("scalar", 71.5), ("scalar", -3), ("text", "<b>"), ("text", "")],
    )
    def test_reports(self, emulator: EmoggEmulator, form: str, data: Any) -> None:
        """The event is answered in an array, and kept for the test to see."""
        path = created(emulator)
        events = register(emulator, path, form)
        body = {"time": 2.5, "data": data}
        answer = call(emulator, events, method="POST", body=body)
        assert 201 == answer.status
        session = emulator.sessions[0]
        event = body | {
            "source": session.sources[1].id,
            "session": session.id,
            "user": session.user,
            "type": "sensor_report",
        }
        assert [event] == answer.json
        (kept,) = emulator.events(session.id)
        assert structure(event, CustomEvent) == kept
        assert event == to_dict(kept)

    def test_in_the_order_of_arrival(self, emulator: EmoggEmulator) -> None:
        """Events are kept as they come, also when the same one comes twice."""
        path = created(emulator)
        events = register(emulator, path)
        for time in (3, 1, 1):
            call(emulator, events, method="POST", body={"time": time, "data": 0})
        kept = emulator.events(path.rpartition("/")[2])
        assert [3, 1, 1] == [event.time for event in kept]

    def test_keeps_the_newest(
        self, emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Only the newest events are kept."""
        monkeypatch.setattr("emogg_async.testing._world._EVENTS_KEPT", 2)
        path = created(emulator)
        events = register(emulator, path)
        for time in range(3):
            call(emulator, events, method="POST", body={"time": time, "data": 0})
        kept = emulator.events(path.rpartition("/")[2])
        assert [1, 2] == [event.time for event in kept]

    @pytest.mark.parametrize(
        ("form", "body"),
        [
            ("scalar", {"time": -1, "data": 1}),
            ("scalar", {"time": "1", "data": 1}),
            ("scalar", {"time": True, "data": 1}),
            ("scalar", {"data": 1}),
            ("scalar", {"time": 1}),
            ("scalar", {"time": 1, "data": None}),
            ("scalar", {"time": 1, "data": True}),
            ("scalar", {"time": 1, "data": "1"}),
            ("scalar", {"time": 1, "data": [1]}),
            ("scalar", b'{"time": 1, "data": 1e999}'),
            ("scalar", b'{"time": 1, "data": 1' + b"0" * 400 + b"}"),
            ("scalar", {"time": 1, "data": 1, "unit": "bpm"}),
            ("text", {"time": 1, "data": 1}),
        ],
    )
    def test_bad_fields(self, emulator: EmoggEmulator, form: str, body: object) -> None:
        """An invalid event is refused, and not kept."""
        path = created(emulator)
        events = register(emulator, path, form)
        answer = call(emulator, events, method="POST", body=body)
        assert refusal(400, answer.json["message"]) == answer.json
        assert () == emulator.events(path.rpartition("/")[2])

    def test_unknown_source(self, emulator: EmoggEmulator) -> None:
        """A source of another session is not found, and a camera takes no events."""
        path, other = created(emulator), created(emulator)
        body = {"time": 1, "data": 1}
        source = register(emulator, other).split("/")[5]
        wrong = f"{path}/sources/{source}/events"
        answer = call(emulator, wrong, method="POST", body=body)
        assert refusal(404, "Source not found") == answer.json
        camera = call(emulator, path).json["sources"][0]["id"]
        right = f"{path}/sources/{camera.upper()}/events"
        answer = call(emulator, right, method="POST", body=body)
        assert refusal(400, "Source takes no events") == answer.json


class TestExpand:
    """`expand[]`, on any endpoint."""

    def test_a_session(self, emulator: EmoggEmulator) -> None:
        """The user's id gives way to an object with that id."""
        path = created(emulator)
        plain = call(emulator, path).json
        answer = call(emulator, path, **{"expand[]": ["user", "product", "user"]})
        assert plain["user"] == answer.json["user"]["_id"]
        assert plain["product"] == answer.json["product"]["_id"]
        assert plain.keys() == answer.json.keys()

    def test_a_list(self, emulator: EmoggEmulator) -> None:
        """In a list, each session's user is expanded, without `data.` in the path."""
        for _ in range(3):
            emulator.add_session()
        answer = call(emulator, "/v1/sessions", **{"expand[]": "user"})
        (user,) = {item["user"]["_id"] for item in answer.json["data"]}
        assert user == emulator.sessions[0].user

    def test_writes(self, emulator: EmoggEmulator) -> None:
        """Writes expand what they answer."""
        query = {"expand[]": "user"}
        body: object = {"name": "Pitch", "streamUri": URI}
        made = call(emulator, "/v1/sessions", method="POST", body=body, **query).json
        path = f"/v1/sessions/{made['_id']}"
        body = {"name": "New"}
        renamed = call(emulator, path, method="PATCH", body=body, **query).json
        body = {"time": 0, "data": 1}
        events = register(emulator, path)
        (event,) = call(emulator, events, method="POST", body=body, **query).json
        stopped = call(emulator, f"{path}/stop", method="POST", **query).json
        users = [item["user"] for item in (made, renamed, event, stopped)]
        assert [users[0]] * 4 == users
        assert users[0]["_id"] == emulator.sessions[0].user

    @pytest.mark.parametrize(
        "rest", ["/emotions", "/emotions/timeline", "/audio/transcription-sentiment"]
    )
    def test_derived_data(self, emulator: EmoggEmulator, rest: str) -> None:
        """Emotions and sentiments can be expanded by their session."""
        session = emulator.add_session(state="finished")
        path = f"/v1/sessions/{session.id}"
        answer = call(emulator, path + rest, **{"expand[]": "session"})
        assert call(emulator, path).json == answer.json["session"]
        refused = call(emulator, path + rest, **{"expand[]": "user"})
        assert 400 == refused.status

    @pytest.mark.parametrize("field", ["", "name", "data.user", "user.product"])
    @pytest.mark.parametrize("rest", ["", f"/{NOBODY}"])
    def test_what_cannot_be_expanded(
        self, emulator: EmoggEmulator, rest: str, field: str
    ) -> None:
        """An `expand[]` that names nothing expandable is refused."""
        path = f"/v1/sessions{rest}"
        answer = call(emulator, path, **{"expand[]": ["user", field]})
        assert refusal(400, f'"expand[]": cannot expand "{field}"') == answer.json

    def test_a_refused_write_did_nothing(self, emulator: EmoggEmulator) -> None:
        """A bad `expand[]` is refused before anything is created."""
        body = {"name": "Pitch", "streamUri": URI}
        query = {"expand[]": "name"}
        path = "/v1/sessions"
        assert 400 == call(emulator, path, method="POST", body=body, **query).status
        assert () == emulator.sessions


class TestLostAnswers:
    """`fail(…, after=True)`: the effect takes place, its answer is lost."""

    @pytest.mark.parametrize("fault", ["reset", "close"])
    def test_create(self, emulator: EmoggEmulator, fault: Any) -> None:
        """The session exists although nobody was told so."""
        emulator.fail("POST", "/v1/sessions", fault=fault, after=True, times=1)
        with pytest.raises(ConnectionError):
            create(emulator, name="Lost")
        assert ["Lost"] == [session.name for session in emulator.sessions]
        assert [None] == [request.status for request in emulator.requests]
        assert "9998" == create(emulator).headers["RateLimit-Remaining"]

    @pytest.mark.parametrize("fault", ["reset", "close"])
    def test_create_before(self, emulator: EmoggEmulator, fault: Any) -> None:
        """Without `after`, nothing was created and nothing paid."""
        emulator.fail("POST", "/v1/sessions", fault=fault, times=1)
        with pytest.raises(ConnectionError):
            create(emulator, name="Lost")
        assert () == emulator.sessions
        assert "9999" == create(emulator).headers["RateLimit-Remaining"]

    @pytest.mark.parametrize("status", [500, 503, 504, 429, 302])
    def test_an_answer_instead(self, emulator: EmoggEmulator, status: int) -> None:
        """A status can hide that all went well."""
        emulator.fail("POST", status=status, after=True)
        assert status == create(emulator).status
        assert 1 == len(emulator.sessions)

    def test_an_answer_instead_before(self, emulator: EmoggEmulator) -> None:
        """Without `after`, a status comes instead of the effect."""
        emulator.fail("POST", status=503)
        assert 503 == create(emulator).status
        assert () == emulator.sessions

    @pytest.mark.parametrize("fault", ["cut", "cut_chunked"])
    def test_cut_answers(self, emulator: EmoggEmulator, fault: Any) -> None:
        """A cut answer comes after the effect anyway."""
        emulator.fail("POST", fault=fault)
        with pytest.raises(http.client.IncompleteRead):
            create(emulator)
        assert 1 == len(emulator.sessions)

    @pytest.mark.parametrize("fault", ["garbage", "html"])
    def test_damaged_answers(self, emulator: EmoggEmulator, fault: Any) -> None:
        """A damaged answer comes after the effect, too."""
        emulator.fail("POST", fault=fault)
        create(emulator)
        assert 1 == len(emulator.sessions)

    def test_delete(self, emulator: EmoggEmulator) -> None:
        """A DELETE whose answer is lost has deleted; the next one finds nothing."""
        session = emulator.add_session()
        path = f"/v1/sessions/{session.id}"
        emulator.fail("DELETE", fault="close", after=True, times=1)
        with pytest.raises(http.client.RemoteDisconnected):
            call(emulator, path, method="DELETE")
        assert 404 == call(emulator, path, method="DELETE").status

    def test_hang(self, emulator: EmoggEmulator) -> None:
        """A hanging answer leaves the effect to be seen meanwhile."""
        emulator.fail("POST", "*/stop", fault="hang", after=True)
        path = created(emulator)
        host = urlsplit(emulator.url)
        with socket.create_connection((host.hostname, host.port), 5) as client:
            head = f"POST {path}/stop HTTP/1.1\r\nHost: emulator\r\nContent-Length: 0"
            client.sendall(
                f"{head}\r\nAuthorization: Bearer {emulator.token}\r\n\r\n".encode()
            )
            assert eventually(lambda: emulator.sessions[0].state == "finished")
            assert 1 == emulator.in_flight

    @pytest.mark.parametrize(
        "options",
        [
            {"after": True},
            {"after": True, "fault": "cut"},
            {"after": True, "fault": "garbage"},
            {"after": 1, "fault": "reset"},
            {"after": None},
        ],
    )
    def test_what_is_refused(self, options: dict[str, Any]) -> None:
        """`after` belongs to what would otherwise come before."""
        with pytest.raises(InvalidArgumentError, match=r"^after: "):
            EmoggEmulator().fail(**options)


class TestDate:
    """The `Date` header, which follows the emulator's clock."""

    @pytest.mark.parametrize("path", ["/v1/sessions", "/nowhere"])
    def test_follows_the_clock(self, emulator: EmoggEmulator, path: str) -> None:
        """Each answer says what time it is in the form of RFC 9110."""
        for seconds in (0, 5e6):
            emulator.advance(seconds)
            headers = call(emulator, path).headers
            assert "emogg-emulator" == headers["Server"]
            text = headers["Date"]
            assert abs(emulator.now() - parsedate_to_datetime(text)) < timedelta(0, 5)
            assert text == as_header(parsedate_to_datetime(text), usegmt=True)

    def test_of_refusals(self) -> None:
        """Refused requests say it, too."""
        with EmoggEmulator(rate_limit=(1, 3600.0)) as emulator:
            emulator.fail(status=503, times=1)
            answers = [call(emulator, "/v1/sessions") for _ in range(2)]
            answers.append(call(emulator, "/v1/sessions", authorization="Bearer no"))
        assert [503, 429, 401] == [answer.status for answer in answers]
        assert {2024} == {
            parsedate_to_datetime(answer.headers["Date"]).year for answer in answers
        }

    def test_rules_can_set_it(self, emulator: EmoggEmulator) -> None:
        """A rule's own date wins, so that clocks can be wrong."""
        text = as_header(datetime(2030, 1, 1, tzinfo=UTC), usegmt=True)
        emulator.fail(headers={"Date": text})
        assert text == call(emulator, "/v1/sessions").headers["Date"]

    async def test_dates_to_retry_after(self, emulator: EmoggEmulator) -> None:
        """A client reads `Retry-After` against it, not against its own clock."""
        soon = as_header(emulator.now() + timedelta(seconds=1), usegmt=True)
        emulator.fail(status=503, headers={"Retry-After": soon}, times=1)
        session = emulator.add_session()
        async with emulator.client(timeout=5.0) as client:
            assert session == await client.get_session(session.id)


class TestReset:
    """`reset()` forgets what was written."""

    def test_forgets_writes(self, emulator: EmoggEmulator) -> None:
        """Sessions made through the API are gone, and made again the same way."""
        before = create(emulator).json["sources"]
        emulator.reset()
        assert () == emulator.sessions
        assert before == create(emulator).json["sources"]


@pytest.mark.property
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda values: st.lists(values) | st.dictionaries(st.text(max_size=3), values),
        max_leaves=8,
    ),
    st.sampled_from([*CALLS, ("POST", None, None)]),
)
def test_any_json_gets_an_answer(
    lasting: EmoggEmulator, value: object, called: tuple[str, str | None, Any]
) -> None:
    """Any JSON sent to any route gets a documented answer."""
    method, rest, _ = called
    path = "/v1/sessions"
    if rest is not None:
        path += f"/{lasting.sessions[0].id}" + rest.format(source="any")
    answer = call(lasting, path, method=method, body=value)
    assert answer.status in {200, 201, 204, 400, 404}
