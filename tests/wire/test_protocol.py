import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import strategies
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from emogg_async._wire import protocol
from emogg_async._wire.protocol import TOO_LONG, RateLimit, Repeat, Request, Response
from emogg_async.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    StatusError,
)

ID = "65ea1530bb50af72b6e3dc1e"
NOW = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
GET = Request("GET", f"/v1/sessions/{ID}")
POST = Request("POST", "/v1/sessions", body=b"{}", repeat=Repeat.ONCE)
PATCH = Request("PATCH", f"/v1/sessions/{ID}", body=b"{}", repeat=Repeat.IDEMPOTENT)
DELETE = Request("DELETE", f"/v1/sessions/{ID}", repeat=Repeat.SETTLE)


def decipher(status, body=b"", headers=(), *, request=GET, complete=True):
    """Return the payload of a response that is read on 2024-04-01 at 10:30."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    problem = "" if complete else TOO_LONG
    response = Response(status, CIMultiDict(headers), body, problem)
    return protocol.decipher(request, response, lambda: NOW, "s3cret")


def refused(status, body=b"", headers=(), *, request=GET):
    """Return the error that a response without a 2xx status ends in."""
    with pytest.raises(StatusError, match=f"^{status}: ") as caught:
        decipher(status, body, headers, request=request)
    return caught.value


# -- statuses --------------------------------------------------------------------------

CLASSES = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}


@pytest.mark.parametrize("request_", [GET, POST, PATCH, DELETE], ids=lambda r: r.method)
def test_every_status_has_its_error(request_):
    """A 2xx is an answer; every other status is the one error that stands for it."""
    for status in range(200, 300):
        answer = decipher(status, {"a": 1}, request=request_)
        assert (None if status == 204 else {"a": 1}) == answer
    for status in range(300, 600):
        default = ServerError if status >= 500 else StatusError
        error = refused(status, {"message": "no"}, request=request_)
        assert CLASSES.get(status, default) is type(error)
        assert (status, "no") == (error.status, error.message)
        assert (request_.method, request_.path) == (error.method, error.path)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_errors(status):
    """A redirect is never an answer, and its error does not show the new address."""
    headers = {"Location": "https://evil.example/?secret"}
    error = refused(status, b"", headers, request=POST)
    assert StatusError is type(error)
    assert "evil" not in str(error)


# -- messages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("x" * 199, "x" * 199),
        ("x" * 200, "x" * 200),
        ("x" * 199 + "…", "x" * 201),
        ("x" * 199 + "…", "x" * 100_000),
        ("no such session", "no such session"),
        ("no such session", "  no\r\nsuch\t\x00\x1b\x7f session \u2028\u202e"),
        ("[31mred", "\x1b[31mred"),
        ("café 会議", "café 会議"),
        ("Not Found", ""),
        ("Not Found", " \n\t "),
        ("Not Found", None),
        ("Not Found", ["a"]),
        ("Not Found", {"a": 1}),
        ("Not Found", 404),
    ],
)
def test_message_is_the_services_own(expected, message):
    """The message is taken in one printable line of at most 200 characters."""
    error = refused(404, {"error": True, "status": 404, "message": message})
    assert expected == error.message
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"message"',
        b"{}",
        b"<html><body>message: secret</body></html>",
        b'{"message": "cut of',
        b'{"message": "\xff\xfe"}',
        b"\x00\x01\x02",
        b"[" * 100_000,
        b'{"message":' * 100_000,
        b"1" * 10_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_without_a_message_the_status_speaks(body):
    """A body without a message gives the usual phrase, and is not quoted."""
    assert refused(404, body).message == "Not Found"
    assert refused(599, body).message == "not a status that HTTP names"


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_byte_order_mark_before_an_error(prefix):
    """A byte order mark costs neither an answer nor an error's message."""
    assert decipher(200, prefix + b'{"a": 1}') == {"a": 1}
    assert refused(404, prefix + b'{"message": "gone"}').message == "gone"


# -- bodies ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{}", "[]", "0", "null", '"é"', ' {"a": [1.5]} \n'])
def test_answers_are_parsed(text):
    """Any JSON value is an answer."""
    assert json.loads(text) == decipher(200, text.encode())


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>"])
@pytest.mark.parametrize("request_", [GET, POST, DELETE], ids=lambda r: r.method)
def test_no_content_is_none(request_, body):
    """A 204 carries nothing, even if it has a body."""
    assert decipher(204, body, request=request_) is None


@pytest.mark.parametrize("request_", [POST, PATCH, DELETE], ids=lambda r: r.method)
@pytest.mark.parametrize("status", [200, 201, 202, 205])
def test_empty_success_of_a_write_is_none(request_, status):
    """A write that answers with nothing has succeeded."""
    assert decipher(status, b"", request=request_) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<!doctype html><title>Sign in</title>",
        b'{"_id": "65ea15',
        b"{'a': 1}",
        b'{"a": 1} trailing',
        b'{"a": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_undecodable_answers_are_shape_errors(body):
    """A 2xx that is no JSON names status and content type, and quotes nothing."""
    headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(ResponseShapeError, match="no valid JSON") as caught:
        decipher(200, body, headers)
    error = caught.value
    assert error.message == "the answer (200, text/html) is no valid JSON"
    assert (GET.method, GET.path) == (error.method, error.path)
    assert error.problems == ("no valid JSON",)
    assert error.__cause__ is None


@pytest.mark.parametrize("request_", [GET, POST, PATCH, DELETE], ids=lambda r: r.method)
@pytest.mark.parametrize("body", [b"", b'{"a": 1}'], ids=["left out", "in part"])
def test_too_long_answers_are_shape_errors(request_, body):
    """An answer over the limit is an error, and never an empty or a whole answer."""
    with pytest.raises(ResponseShapeError, match="longer than what is read"):
        decipher(200, body, request=request_, complete=False)


@pytest.mark.parametrize(
    ("expected", "content_type"),
    [
        ("untyped", None),
        ("untyped", ""),
        ("untyped", "html"),
        ("untyped", "<script>/x"),
        ("application/problem+json", "application/problem+json;charset=x"),
        ("text/html", "text/html\r\nX: y"),
        ("untyped", "x" * 1000 + "/html"),
    ],
)
def test_content_type_is_shown_only_if_it_is_one(expected, content_type):
    """The message shows a content type only if it looks like a media type."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    with pytest.raises(ResponseShapeError, match="no valid JSON") as caught:
        decipher(200, b"<", headers)
    assert f"the answer (200, {expected}) is no valid JSON" == caught.value.message


@pytest.mark.property
@given(
    st.integers(200, 599),
    st.binary(max_size=40)
    | strategies.json_values.map(lambda value: json.dumps(value).encode())
    | st.text().map(lambda text: json.dumps({"message": text}).encode()),
    st.sampled_from([GET, POST, PATCH, DELETE]),
    st.booleans(),
)
def test_law_any_response_is_an_answer_or_our_error(status, body, request_, complete):
    """Any response gives a JSON value, or one of two errors in one line."""
    try:
        answer = decipher(status, body, request=request_, complete=complete)
    except (StatusError, ResponseShapeError) as error:
        printed = str(error)
    else:
        assert status in range(200, 300)
        json.dumps(answer)
        return
    assert printed.isprintable()
    assert len(printed) < 500


# -- Retry-After -----------------------------------------------------------------------


def http_date(moment):
    """Write *moment* as headers do."""
    return format_datetime(moment, usegmt=True)


LATER = http_date(NOW + timedelta(seconds=90))
EARLIER = http_date(NOW - timedelta(days=1))


@pytest.mark.parametrize("status", [429, 503, 400, 302])
@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (None, []),
        (0.0, ["0"]),
        (0.5, ["0.5"]),
        (2.0, ["2"]),
        (2.0, ["002"]),
        (86_400.0, ["86400"]),
        (172_800.0, ["172800"]),
        (172_800.0, [http_date(NOW + timedelta(days=2))]),
        (86_400.1, ["86400.1"]),
        (2.0, ["2", "2"]),
        (None, ["2", "3"]),
        (None, ["2", "nonsense"]),
        (None, [""]),
        (None, ["-5"]),
        (None, ["-0"]),
        (None, ["+5"]),
        (None, [" 5"]),
        (None, ["5s"]),
        (None, ["5, 6"]),
        (None, ["1_000"]),
        (None, ["1e3"]),
        (None, ["1e309"]),
        (None, ["0x10"]),
        (None, [".5"]),
        (None, ["5."]),
        (None, ["0.5.5"]),
        (None, ["inf"]),
        (None, ["-inf"]),
        (None, ["Infinity"]),
        (None, ["nan"]),
        (None, ["٣"]),
        (None, ["\uff10"]),
        (None, ["²"]),
        (None, ["9" * 400]),
        (None, ["0." + "9" * 400]),
        (90.0, [LATER]),
        (90.0, [LATER, LATER]),
        (0.0, [EARLIER]),
        (None, [LATER, EARLIER]),
        (None, [LATER.replace("GMT", "CET")]),
        (None, [LATER.replace("GMT", "+0000")]),
        (None, [LATER.lower()]),
        (None, ["Mon, 99 Apr 2024 10:30:00 GMT"]),
        (None, ["Mon, 01 Foo 2024 10:30:00 GMT"]),
        (None, ["Mon, 01 Apr 2024 25:30:00 GMT"]),
        (None, ["Mon, 01 Apr 2024 :::::::: GMT"]),
        (None, ["tomorrow"]),
    ],
)
def test_retry_after_in_each_form(status, expected, values):
    """Seconds or an HTTP date make a wait from now; nonsense makes none."""
    headers = [("Retry-After", value) for value in values]
    assert expected == refused(status, b"", headers).retry_after


@pytest.mark.parametrize(
    ("expected", "date"),
    [
        (30.0, http_date(NOW + timedelta(seconds=60))),
        (0.0, http_date(NOW + timedelta(hours=1))),
        (3690.0, http_date(NOW - timedelta(hours=1))),
        (90.0, "nonsense"),
        (90.0, ""),
    ],
)
def test_retry_after_counts_from_the_services_own_clock(expected, date):
    """A date in `Retry-After` counts from the answer's date: our clock may be wrong."""
    headers = {"retry-after": LATER, "DATE": date}
    assert expected == refused(503, b"", headers).retry_after


def test_seconds_do_not_depend_on_a_date():
    """A wait in seconds does not depend on any clock."""
    headers = {"Retry-After": "5", "Date": EARLIER}
    assert refused(503, b"", headers).retry_after == 5.0


header_lists = st.lists(strategies.header_texts, max_size=2)


@pytest.mark.property
@given(header_lists, header_lists)
@example(["Mon, 31 Dec 9999 23:59:59 GMT"], ["Mon, 01 Jan 0100 00:00:00 GMT"])
def test_law_retry_after_is_in_range_or_absent(waits, dates):
    """The wait is finite and not negative, or None, for any text in the headers."""
    headers = [("Retry-After", wait) for wait in waits]
    headers += [("Date", date) for date in dates]
    wait = refused(503, b"", headers).retry_after
    assert wait is None or (type(wait) is float and 0 <= wait < math.inf)


# -- rate limit ------------------------------------------------------------------------


def rate_headers(limit="100", remaining="42", reset="34.8", policy="100;w=60"):
    """Return the four headers; None leaves one out, a list repeats it."""
    headers = CIMultiDict()
    for name, value in (
        ("Limit", limit),
        ("Remaining", remaining),
        ("Reset", reset),
        ("Policy", policy),
    ):
        for text in value if isinstance(value, list) else [value]:
            if text is not None:
                headers.add(f"RateLimit-{name}", text)
    return headers


def test_rate_limit_is_read_from_its_headers():
    """The four headers make one snapshot of the bucket, in any letter case."""
    limit = RateLimit.from_headers(rate_headers())
    assert RateLimit(100, 42, 34.8, "100;w=60") == limit
    assert limit.window == 60.0
    lower = CIMultiDict((name.lower(), text) for name, text in rate_headers().items())
    assert limit == RateLimit.from_headers(lower)


@pytest.mark.parametrize(
    "changes",
    [
        {"remaining": "0"},
        {"remaining": "100", "reset": "0"},
        {"limit": "1", "remaining": "1"},
        {"limit": "999999999"},
        {"reset": "86400"},
        {"policy": None},
        {"policy": "nonsense"},
        {"limit": ["100", "100"]},
    ],
)
def test_honest_rate_limits_are_taken(changes):
    """Every state a bucket can be in is taken; the policy is optional."""
    assert RateLimit.from_headers(rate_headers(**changes)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": None},
        {"remaining": None},
        {"reset": None},
        {"limit": "0", "remaining": "0"},
        {"limit": "-1"},
        {"remaining": "-1"},
        {"remaining": "101"},
        {"reset": "-1"},
        {"reset": "86401"},
        {"reset": "1e3"},
        {"reset": "inf"},
        {"reset": "nan"},
        {"limit": "100.0"},
        {"remaining": "4.2"},
        {"limit": "1" * 10},
        {"limit": "9" * 5000},
        {"limit": "\u0661\u0660\u0660"},
        {"remaining": "²"},
        {"limit": "0x64"},
        {"limit": "1_00"},
        {"limit": ""},
        {"limit": " 100"},
        {"limit": "100, 100"},
        {"limit": ["100", "200"]},
    ],
)
def test_hostile_rate_limits_are_absent(changes):
    """A header that is missing, contradictory or out of range makes no snapshot."""
    assert RateLimit.from_headers(rate_headers(**changes)) is None


@pytest.mark.parametrize(
    ("expected", "policy"),
    [
        (60.0, "100;w=60"),
        (60.0, "100; w=60"),
        (60.0, '100;w=60;comment="fair"'),
        (60.0, "100;w=60, 1000;w=3600"),
        (60.0, '100;name="w";w=60'),
        (None, None),
        (None, ""),
        (None, "100"),
        (None, "w=60"),
        (None, "100;w=0"),
        (None, "100;w=-60"),
        (6.5, "100;w=6.5"),
        (None, "100;w=1e3"),
        (None, "100;w=nan"),
        (None, "100;w=٦"),
        (None, "100;w=" + "9" * 400),
        (None, "100;window=60"),
    ],
)
def test_window_is_read_from_the_policy(expected, policy):
    """The policy's window is a whole number of seconds above 0, or not known."""
    assert expected == RateLimit(100, 42, 34.8, policy).window


@pytest.mark.property
@given(header_lists, header_lists, header_lists, header_lists)
@example(["100"], ["42"], ["34"], ["100;w=60"])
def test_law_rate_limit_is_in_range_or_absent(limit, remaining, reset, policy):
    """Any text in the headers gives a snapshot that makes sense, or none."""
    seen = RateLimit.from_headers(rate_headers(limit, remaining, reset, policy))
    if seen is not None:
        assert 0 <= seen.remaining <= seen.limit
        assert seen.limit >= 1
        assert 0 <= seen.reset <= 86_400
        assert seen.window is None or 0 < seen.window < math.inf
