import json
import math
import posixpath
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._wire import requests
from emogg_async._wire.protocol import Repeat, Request
from emogg_async.errors import InvalidArgumentError

ID = "65ea1530bb50af72b6e3dc1e"
SOURCE = "c1fcba18-15ec-457c-a1de-fcbb87aeaa0e"
URI = "rtmp://live.example/app/key"
GET = Request("GET", f"/v1/sessions/{ID}")
NOW = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)


def custom(method="GET", path="/v1/sessions", query=None, payload=None):
    """Build a custom request."""
    return requests.custom(method, path, query, payload)


# -- session ids -----------------------------------------------------------------------


@pytest.mark.parametrize("text", [ID, ID.upper(), ID.title()])
def test_session_ids_are_used_in_lower_case(text):
    """A session id is 24 hex digits, in either letter case."""
    assert requests.check_session_id(text) == ID


@pytest.mark.parametrize(
    "value",
    [
        "",
        "../users",
        "a?x=1",
        "%2e%2e/admin",
        ID[:-1],
        ID + "0",
        ID + "\n",
        " " + ID,
        ID[:-1] + "g",
        ID[:-1] + "٣",
        "\uff10" * 24,  # fullwidth digits
        ID.encode(),
        None,
        7,
        True,
        [ID],
        "x" * 10_000,
    ],
)
def test_anything_else_is_no_session_id(value):
    """Text that could change the path, or another type, is refused in a short error."""
    with pytest.raises(
        InvalidArgumentError, match=r"^session_id: expected 24 hex digits, got "
    ) as caught:
        requests.check_session_id(value)
    assert len(str(caught.value)) < 120


def test_a_refused_session_id_cannot_break_the_log_line():
    """Control characters of a refused text do not get into the message."""
    with pytest.raises(InvalidArgumentError) as caught:
        requests.check_session_id("a\r\nb\x1b\u2028c")
    assert str(caught.value).endswith(r"got 'a\r\nb\x1b\u2028c'.")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (" " + ID, f"' {ID}'"),
        (ID + "\r\n", rf"'{ID}\r\n'"),
        (ID + "\u200b", rf"'{ID}\u200b'"),
        ("\ufeff" + ID, rf"'\ufeff{ID}'"),
    ],
)
def test_a_refused_session_id_shows_what_is_wrong_with_it(value, told):
    """Spaces and invisible characters around an id are in the message."""
    with pytest.raises(InvalidArgumentError) as caught:
        requests.check_session_id(value)
    assert str(caught.value) == f"session_id: expected 24 hex digits, got {told}."


@pytest.mark.property
@given(st.text() | st.from_regex(r"[0-9a-fA-F]{20,26}"))
def test_law_no_id_changes_the_path(text):
    """A request for any accepted id has a path of the one form."""
    try:
        session_id = requests.check_session_id(text)
    except InvalidArgumentError:
        return
    assert text.lower() == session_id
    path = requests.get_session(session_id).path
    assert {*path.removeprefix("/v1/sessions/")} <= {*"0123456789abcdef"}


# -- requests --------------------------------------------------------------------------


def test_get_session_request():
    """Getting a session is one safe GET without a query."""
    request = requests.get_session(ID)
    assert Request("GET", f"/v1/sessions/{ID}", session_id=ID) == request
    assert request.target == f"/v1/sessions/{ID}"
    assert request.repeat is Repeat.SAFE
    assert request.body is None


def test_list_sessions_request():
    """Listing encodes its query for the wire."""
    request = requests.list_sessions([("state", "a&b"), ("to", "2024-04-01T10:30:00Z")])
    target = "/v1/sessions?state=a%26b&to=2024-04-01T10%3A30%3A00Z"
    assert target == request.target
    assert request.path == "/v1/sessions"
    assert request.repeat is Repeat.SAFE


def test_requests_are_frozen():
    """No hop on the way can change a request; equal ones can be joined."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        GET.path = "/v1/users"
    assert hash(Request("GET", GET.path)) == hash(GET)


@pytest.mark.parametrize(
    ("method", "repeat"),
    [
        ("GET", Repeat.SAFE),
        ("PUT", Repeat.IDEMPOTENT),
        ("PATCH", Repeat.IDEMPOTENT),
        ("DELETE", Repeat.SETTLE),
        ("POST", Repeat.ONCE),
        ("get", Repeat.SAFE),
        ("Post", Repeat.ONCE),
    ],
)
def test_method_decides_whether_to_repeat(method, repeat):
    """A custom request may be repeated as its method allows, in either letter case."""
    request = custom(method)
    assert (method.upper(), repeat) == (request.method, request.repeat)


@pytest.mark.parametrize(
    "method",
    ["", "HEAD", "OPTIONS", "TRACE", "CONNECT", "GET ", "G\nET", None, 1, b"GET"],
)
def test_other_methods_are_refused(method):
    """Only the methods of the service are sent."""
    with pytest.raises(
        InvalidArgumentError, match=r"^method: expected one of GET, PUT"
    ):
        custom(method)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/sessions",
        "/v1/sessions/",
        f"/v1/sessions/{ID}/emotions/timeline",
        "/v1/a.b/..c/d..",
        "/v1/a%20b/%C3%A9",
        "/v1/a:b@c,d;e=f!$&'()*+~_-",
    ],
)
def test_paths_are_sent_as_they_are(path):
    """A path below `/v1/` travels unchanged."""
    request = custom(path=path)
    assert path == request.path == request.target


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v2/sessions",
        "/V1/sessions",
        "v1/sessions",
        "../users",
        "//evil.example/v1/x",
        "https://evil.example/v1/x",
        "/v1//x",
        "/v1/x//y",
        "/v1/..",
        "/v1/.",
        "/v1/../users",
        "/v1/./users",
        "/v1/sessions/../users",
        "/v1/sessions/..",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2e/admin",
        "/v1/.%2e/admin",
        "/v1/sessions/%2e%2e",
        "/v1/a%2f..%2f..%2fadmin",
        "/v1/%2fevil.example",
        "/v1/%252e%252e/admin",
        "/v1/%252e%252e%252fadmin",
        "/v1/%25%32%65./admin",
        "/v1/..\\admin",
        "/v1/a\\..\\..\\admin",
        "/v1/a%5c..%5c..%5cadmin",
        "/v1/a%255c..%255cadmin",
        "/v1/x?a=1",
        "/v1/x#fragment",
        "/v1/x y",
        "/v1/x\n",
        "/v1/x\r\nHost: evil.example",
        "/v1/x\x00",
        "/v1/x\x7f",
        "/v1/é",
        "/v1/x\u2028",
        "/v1/\ud800",
        None,
        b"/v1/x",
        7,
        ["/v1/x"],
    ],
)
def test_other_paths_are_refused(path):
    """A path in any encoding that leaves `/v1/` or has a query is refused."""
    with pytest.raises(InvalidArgumentError, match=r"^path: expected ") as caught:
        custom(path=path)
    assert str(caught.value).isprintable()


SEGMENTS = st.sampled_from(
    [
        "",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        ".%2e",
        "%252e%252e",
        "%5c..",
        "..%2f",
        "%2f",
        "%255c",
        "%252f..",
        "a",
        "v1",
        "%",
        "%25",
        ";",
    ]
)


@pytest.mark.property
@given(st.lists(SEGMENTS, max_size=6).map("/".join) | st.text(max_size=12))
def test_law_no_path_leaves_its_root(rest):
    """Decoded up to twice and resolved, an accepted path is still below `/v1/`."""
    try:
        path = custom(path="/v1/" + rest).path
    except InvalidArgumentError:
        return
    assert "/v1/" + rest == path
    for decoded in (path, unquote(path), unquote(unquote(path))):
        resolved = posixpath.normpath(decoded.replace("\\", "/"))
        assert resolved.startswith("/v1/")
        assert resolved.count("/") == decoded.replace("\\", "/").rstrip("/").count("/")


@pytest.mark.parametrize(
    ("expected", "query"),
    [
        ("", None),
        ("", {}),
        ("", {"a": []}),
        ("?a=1", {"a": 1}),
        ("?a=0.5&b=x", {"a": 0.5, "b": "x"}),
        ("?a=true&b=false", {"a": True, "b": False}),
        ("?a=1&a=x&a=true", {"a": [1, "x", True]}),
        ("?a=1&a=2", {"a": (1, 2)}),
        ("?a=0&a=1", {"a": range(2)}),
        ("?expand%5B%5D=user", {"expand[]": ["user"]}),
        ("?a=b+c%26d%3De%23%2F%3F", {"a": "b c&d=e#/?"}),
        ("?a=%C3%A9%0D%0A%00", {"a": "é\r\n\x00"}),
        ("?a=", {"a": ""}),
    ],
)
def test_query_is_encoded(expected, query):
    """Each value of a parameter is encoded; a sequence repeats its parameter."""
    assert f"/v1/sessions{expected}" == custom(query=query).target


@pytest.mark.parametrize(
    "query",
    [
        {"a": None},
        {"a": b"bytes"},
        {"a": {"b": 1}},
        {"a": {1, 2}},
        {"a": [[1]]},
        {"a": [None]},
        {"a": object()},
        {"a": NOW},
        [("a", 1)],
        "a=1",
        {"a": "\ud800"},
        {"\ud800": "a"},
        {"a": 10**5000},
    ],
    ids=str.split(
        "none bytes dict set nested none-in-list object date pairs text surrogate "
        "surrogate-name huge"
    ),
)
def test_other_queries_are_refused(query):
    """A value that cannot be written as a parameter is refused before any I/O."""
    with pytest.raises(InvalidArgumentError, match=r"^query: expected "):
        _ = custom(query=query).target


def test_a_refused_query_cannot_break_the_log_line():
    """An error shows any name of a parameter in one short line."""
    with pytest.raises(InvalidArgumentError, match=r"^query: expected ") as caught:
        custom(query={"a\r\nb" + 1000 * "x": None})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.property
@given(
    st.dictionaries(
        st.text(),
        st.text()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.lists(st.text() | st.integers(), max_size=3),
        max_size=4,
    )
)
def test_law_query_comes_back(query):
    """An encoded query parses to the same names and values."""
    target = custom(query=query).target
    assert target.isascii()
    assert target.isprintable()
    path, _, encoded = target.partition("?")
    assert path == "/v1/sessions"
    expected = [
        (name, str(item).lower() if isinstance(item, bool) else str(item))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    assert expected == parse_qsl(encoded, keep_blank_values=True)


def test_payload_is_compact_json():
    """A body is JSON in UTF-8 without spaces; None sends no body."""
    body = custom("POST", payload={"a": [1, None, True, "é"], "b": {}}).body
    assert body == b'{"a":[1,null,true,"\\u00e9"],"b":{}}'
    assert custom("POST").body is None
    assert custom("POST", payload=False).body == b"false"
    assert custom("POST", payload="").body == b'""'


def circular():
    """Return a list that contains itself."""
    items = []
    items.append(items)
    return items


def bottomless():
    """Return lists nested deeper than any recursion goes."""
    items = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    "payload",
    [
        {1, 2},
        b"bytes",
        object(),
        NOW,
        {"a": math.nan},
        [math.inf],
        {(1, 2): 3},
        circular(),
        bottomless(),
        10**5000,
    ],
    ids=["set", "bytes", "object", "date", "nan", "inf", "key", "loop", "deep", "huge"],
)
def test_other_payloads_are_refused(payload):
    """A value that JSON cannot express is refused before any I/O."""
    with pytest.raises(InvalidArgumentError, match=r"^json: ") as caught:
        custom("POST", payload=payload)
    assert [str(caught.value)] == str(caught.value).splitlines()


# -- what each call sends --------------------------------------------------------------


def timeline(session_id=ID, granularity=60, start=0, end=None, expand=()):
    """Build the request for a timeline of emotions."""
    return requests.get_emotions_timeline(session_id, granularity, start, end, expand)


def sentiment(session_id=ID, granularity=60, start=0, end=None, expand=()):
    """Build the request for the sentiment of a transcription."""
    return requests.get_transcription_sentiment(
        session_id, granularity, start, end, expand
    )


def create(name="n", stream_uri=URI):
    """Build the request that creates a session."""
    return requests.create_session(name, stream_uri)


def event(session_id=ID, source_id=SOURCE, time=0, data=1):
    """Build the request that sends an event."""
    return requests.send_event(session_id, source_id, time, data)


SPAN = "?granularity=5&start=0.5&end=30&expand%5B%5D=session"
EXPANDED = f"/v1/sessions/{ID}?expand%5B%5D=product&expand%5B%5D=user"


@pytest.mark.parametrize(
    ("expected", "request_"),
    [
        (("GET", EXPANDED), requests.get_session(ID, ["product", "user"])),
        (("GET", f"/v1/sessions/{ID}/emotions"), requests.get_emotions(ID, ())),
        (
            ("GET", f"/v1/sessions/{ID}/emotions?expand%5B%5D=session"),
            requests.get_emotions(ID, ["session"]),
        ),
        (
            ("GET", f"/v1/sessions/{ID}/emotions/timeline?granularity=60&start=0"),
            timeline(ID.upper()),
        ),
        (
            (
                "GET",
                f"/v1/sessions/{ID}/audio/transcription-sentiment{SPAN}",
            ),
            sentiment(granularity=5, start=0.5, end=30.0, expand=["session"]),
        ),
    ],
)
def test_reads(expected, request_):
    """A read is one safe GET of its target, about its session, without a body."""
    assert expected == (request_.method, request_.target)
    assert (Repeat.SAFE, ID, None) == (
        request_.repeat,
        request_.session_id,
        request_.body,
    )


OF_SOURCE = f"/v1/sessions/{ID}/sources/{SOURCE}/events"


@pytest.mark.parametrize(
    ("expected", "payload", "request_"),
    [
        (
            ("POST", "/v1/sessions", Repeat.ONCE, ""),
            {"name": "n", "streamUri": URI},
            create(),
        ),
        (
            ("PATCH", f"/v1/sessions/{ID}", Repeat.IDEMPOTENT, ID),
            {"name": "é"},
            requests.update_session(ID.upper(), "é"),
        ),
        (
            ("POST", f"/v1/sessions/{ID}/stop", Repeat.SETTLE, ID),
            None,
            requests.stop_session(ID),
        ),
        (
            ("DELETE", f"/v1/sessions/{ID}", Repeat.SETTLE, ID),
            None,
            requests.delete_session(ID),
        ),
        (
            ("POST", f"/v1/sessions/{ID}/events", Repeat.ONCE, ID),
            {"name": "n", "format": "text"},
            requests.register_source(ID, "n", "text"),
        ),
        (
            ("POST", OF_SOURCE, Repeat.ONCE, ""),
            {"time": 1.5, "data": "t"},
            event(time=1.5, data="t"),
        ),
    ],
)
def test_writes(expected, payload, request_):
    """A write sends its body to its path, and names the session that it outdates."""
    sent = None if request_.body is None else json.loads(request_.body)
    assert payload == sent
    facts = (request_.method, request_.target, request_.repeat, request_.session_id)
    assert expected == facts


@pytest.mark.parametrize(
    ("expected", "method", "path"),
    [
        (ID, "PATCH", f"/v1/sessions/{ID.upper()}"),
        (ID, "POST", f"/v1/sessions/{ID}/stop"),
        (ID, "DELETE", f"/v1/sessions/{ID}/"),
        ("", "GET", f"/v1/sessions/{ID}"),
        ("", "POST", "/v1/sessions"),
        ("", "POST", f"/v1/sessions/{ID}0"),
        ("", "POST", f"/v1/users/{ID}"),
        (ID, "DELETE", f"/v1/sessions/%36{ID[1:]}"),
        (ID, "POST", f"/v1/%73essions/{ID}%2Fstop"),
    ],
)
def test_a_custom_write_outdates_the_session_in_its_path(expected, method, path):
    """A custom write outdates the session in its path."""
    assert expected == custom(method, path).session_id


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        *(("0", 0), ("0", 0.0), ("0", -0.0), ("60", 60.0), ("0.5", 0.5)),
        *(("0.0000001", 1e-7), ("1" + "0" * 22, 1e22), ("0.1", 0.1)),
    ],
)
def test_seconds_are_written_in_digits(expected, value):
    """Equal numbers are written alike, so that they share a load and an entry."""
    assert expected == dict(timeline(start=value).query)["start"]


def test_names_to_expand_come_in_one_order():
    """Names in another order, or repeated, make the same request."""
    names = requests.check_expand(iter(["user", "a.b", "user", "product"]))
    assert ("a.b", "product", "user") == names
    assert requests.check_expand([]) == ()


def test_requests_tell_what_they_expand():
    """A request tells whether it expands a field."""
    assert requests.is_expanded(timeline(expand=["session"]))
    assert not requests.is_expanded(timeline())


# -- what is refused before any I/O ----------------------------------------------------


@pytest.mark.parametrize("name", ["a", " ", "a" * 256, "😀" * 256, "<script>", "\x1b"])
def test_names_of_1_to_256_characters_are_sent(name):
    """A name of a valid length is sent as it is, with any characters."""
    assert name == requests.check_name(name)
    assert name == json.loads(create(name).body)["name"]


@pytest.mark.parametrize(
    ("got", "name"),
    [
        ("expected 1 to 256 characters, got 0", ""),
        ("expected 1 to 256 characters, got 257", "a" * 257),
        ("expected text, got NoneType", None),
        ("expected text, got bytes", b"name"),
        ("expected text, got int", 7),
        ("expected text without lone surrogates", "a\ud800"),
    ],
)
@pytest.mark.parametrize(
    "build",
    [
        create,
        lambda name: requests.update_session(ID, name),
        lambda name: requests.register_source(ID, name, "text"),
    ],
    ids=["create", "update", "register"],
)
def test_other_names_are_refused(build, got, name):
    """Each call with a name refuses one that is empty, too long or not text."""
    with pytest.raises(InvalidArgumentError, match=f"^name: {got}"):
        build(name)


@pytest.mark.parametrize(
    "uri",
    [
        "rtmp://h/a",
        "rtmps://h:443/a?b=c",
        "rtsp://user:password@10.0.0.1:554/x",
        "RTSP://[::1]/x",
        "rtmp://h",
    ],
)
def test_streams_of_three_schemes_are_sent(uri):
    """A URI that the service can fetch is sent as it is."""
    assert uri == json.loads(create("n", uri).body)["streamUri"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://h/s3cret",
        "https://h/s3cret",
        "rtmpt://h/s3cret",
        "rtmp:/h/s3cret",
        "rtmp:///s3cret",
        "rtmp://:1935/s3cret",
        "rtmp://user@/s3cret",
        "rtmp://h:0/s3cret",
        "rtmp://h:port/s3cret",
        "rtmp://h:99999/s3cret",
        "rtmp://[h/s3cret",
        "rtmp://h/s3cret key",
        "rtmp://h/s3cret\n",
        " rtmp://h/s3cret",
        "s3cret",
        "",
        None,
        b"rtmp://h/s3cret",
        "rtmp://h/\ud800s3cret",
    ],
)
def test_other_streams_are_refused_and_not_shown(uri):
    """A URI that the service cannot fetch is refused, and no error shows its key."""
    with pytest.raises(InvalidArgumentError, match=r"^stream_uri: expected") as caught:
        create("n", uri)
    assert "s3cret" not in f"{caught.value!r}{caught.value}"


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        *(("granularity", {"granularity": value}) for value in (4, 3601, 0, -60)),
        *(("granularity", {"granularity": value}) for value in (60.0, "60", True)),
        *(("granularity", {"granularity": value}) for value in (None, 10**30)),
        *(("start", {"start": value}) for value in (-1, -0.001, math.nan, math.inf)),
        *(("start", {"start": value}) for value in ("0", None, False, 10**400)),
        *(("end", {"end": value}) for value in (0, -1, math.nan, math.inf, "9")),
        *(("end", {"start": 60, "end": value}) for value in (60, 59.9, True)),
        *(("expand", {"expand": value}) for value in ("session", b"session", "")),
        *(("expand", {"expand": value}) for value in (None, 7, ["a b"], ["a[]"])),
        *(("expand", {"expand": value}) for value in ([None], [""], ["a."], [".a"])),
        *(("expand", {"expand": value}) for value in (["a&b=c"], ["a\n"], [[]])),
        *(("session_id", {"session_id": value}) for value in ("", "../x", None)),
    ],
)
@pytest.mark.parametrize("build", [timeline, sentiment])
def test_other_spans_are_refused(build, argument, arguments):
    """Each argument of a timeline that is out of its range is refused by name."""
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        build(**arguments)


@pytest.mark.parametrize("granularity", [5, 3600])
def test_the_edges_of_granularity_are_sent(granularity):
    """Both ends of its range belong to it."""
    query = dict(timeline(granularity=granularity).query)
    assert str(granularity) == query["granularity"]


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        *(("time", {"time": value}) for value in (-1, -1e-9, math.nan, math.inf)),
        *(("time", {"time": value}) for value in ("1", None, True, 10**400)),
        *(("data", {"data": value}) for value in (math.nan, -math.inf, True, None)),
        *(("data", {"data": value}) for value in ([], {}, b"x", "\ud800", 10**400)),
        *(("source_id", {"source_id": value}) for value in ("", None, SOURCE + "0")),
        ("source_id", {"source_id": "../../" + SOURCE[6:]}),
        ("source_id", {"source_id": SOURCE.replace("-", "")}),
        ("session_id", {"session_id": SOURCE}),
    ],
)
def test_other_events_are_refused(argument, arguments):
    """Each argument of an event that is out of its range is refused by name."""
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        event(**arguments)


@pytest.mark.parametrize("data", [0, -1.5, 2**70, "", "<script>", "é"])
def test_numbers_and_text_are_data(data):
    """Any finite number and any text can be reported."""
    assert data == json.loads(event(data=data).body)["data"]


@pytest.mark.parametrize("source_format", ["", "Text", "number", None, 1, ["text"]])
def test_other_formats_are_refused(source_format):
    """The format of a source is text or scalar."""
    with pytest.raises(InvalidArgumentError, match=r"^format: expected one of text"):
        requests.register_source(ID, "n", source_format)


@pytest.mark.parametrize(
    ("data", "source_format"),
    [(1, "scalar"), (0.5, "scalar"), ("1", "text"), ("", "text")]
    + [(data, known) for data in (1, "1") for known in (None, "video")],
)
def test_data_that_fits_its_source_passes(data, source_format):
    """Data is accepted if it fits the format, or if the format is unknown."""
    requests.check_data(data, source_format)


@pytest.mark.parametrize(
    ("expected", "data", "source_format"),
    [
        ("data: expected a number", "1", "scalar"),
        ("data: expected text", 1, "text"),
        ("data: expected text", 0.5, "text"),
    ],
)
def test_data_that_does_not_fit_its_source_is_refused(expected, data, source_format):
    """Text for a scalar source, and a number for one of text, are refused."""
    with pytest.raises(InvalidArgumentError, match=f"^{expected}"):
        requests.check_data(data, source_format)


@pytest.mark.property
@given(st.text(max_size=300))
def test_law_any_name_is_sent_or_refused(text):
    """The body has any accepted name unchanged."""
    try:
        request = requests.update_session(ID, text)
    except InvalidArgumentError:
        assert not 1 <= len(text) <= 256
        return
    assert {"name": text} == json.loads(request.body)


@pytest.mark.property
@given(st.floats(0, 1e12), st.none() | st.floats(0, 1e12))
def test_law_spans_come_back(start, end):
    """A span is written in digits of the same numbers, or refused."""
    try:
        query = dict(timeline(start=start, end=end).query)
    except InvalidArgumentError:
        assert end <= start
        return
    assert start == float(query["start"])
    assert end == (float(query["end"]) if "end" in query else None)
    assert {*query["start"]} <= {*"0123456789."}
