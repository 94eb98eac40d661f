"""The emulator, seen from plain HTTP clients over real sockets."""

import asyncio
import http.client
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from plainhttp import Answer, call, eventually, refusal
from waiting import until

import emogg_async.testing
from emogg_async import RetryPolicy
from emogg_async._wire.converter import structure, to_dict
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import (
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    NotSentError,
)
from emogg_async.models import Session, Source
from emogg_async.testing import EmoggEmulator, RecordedRequest
from emogg_async.testing._bucket import Rounding, TokenBucket

T0 = datetime(2024, 3, 1, 12, tzinfo=UTC)
ID = "65ea1530bb50af72b6e3dc1e"
RESET = struct.pack("ii", 1, 0)  # with SO_LINGER, closing resets the connection


def ids(answer: Answer) -> list[str]:
    """Return the ids of the sessions on a page."""
    return [item["_id"] for item in answer.json["data"]]


class LatePool(ThreadPoolExecutor):
    """Threads that begin, and then wait before they do anything."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def submit(
        self, call: Callable[..., Any], /, *args: Any, **options: Any
    ) -> "Future[Any]":
        def late() -> Any:
            self.has_begun.set()
            self.may_go_on.wait()
            return call(*args, **options)

        return super().submit(late)


@pytest.fixture
def emulator() -> Iterator[EmoggEmulator]:
    """Serve an emulator without any session."""
    with EmoggEmulator() as running:
        yield running


@pytest.fixture
def hanging() -> Iterator[Callable[[EmoggEmulator], None]]:
    """Give a function that leaves a request hanging in an emulator."""
    clients = []

    def hang(emulator: EmoggEmulator) -> None:
        host = urlsplit(emulator.url)
        client = socket.create_connection((host.hostname, host.port), timeout=10)
        clients.append(client)
        client.sendall(b"GET /v1/sessions HTTP/1.1\r\nHost: emulator\r\n\r\n")
        assert eventually(lambda: emulator.in_flight == 1)

    yield hang
    for client in clients:
        client.close()


class TestGetSession:
    """`GET /v1/sessions/{id}`."""

    def test_answers_with_the_wire_form(self, emulator: EmoggEmulator) -> None:
        """A session comes as the JSON that makes the model again."""
        session = emulator.add_session(name="Pitch", meta={"workerState": "working"})
        answer = call(emulator, f"/v1/sessions/{session.id}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.json["_id"] == session.id
        assert structure(answer.json, Session) == session

    def test_letter_case_of_the_id_does_not_matter(
        self, emulator: EmoggEmulator
    ) -> None:
        """An id in upper case finds the same session."""
        emulator.add_session(id=ID)
        assert call(emulator, f"/v1/sessions/{ID.upper()}").json["_id"] == ID

    @pytest.mark.parametrize("session_id", [ID, "nonsense", "..%2fsessions", "%00"])
    def test_unknown_session(self, emulator: EmoggEmulator, session_id: str) -> None:
        """An id that no session has is not found, in any form."""
        answer = call(emulator, f"/v1/sessions/{session_id}")
        assert answer.status == 404
        assert answer.json == refusal(404, "Session not found")
        assert answer.headers["RateLimit-Remaining"] == "9999"

    def test_sessions_of_others_are_not_found(self, emulator: EmoggEmulator) -> None:
        """Another user's session is as good as unknown, and seen by its owner."""
        other = emulator.add_token()
        session = emulator.add_session(token=other)
        path = f"/v1/sessions/{session.id}"
        assert call(emulator, path).status == 404
        assert call(emulator, path, authorization=f"Bearer {other}").status == 200


class TestListSessions:
    """`GET /v1/sessions`."""

    def test_newest_first_and_ties_by_id(self, emulator: EmoggEmulator) -> None:
        """Later ones come first, and of the same millisecond the greater id."""
        for suffix, seconds in (("01", 0), ("03", 5), ("02", 5), ("04", -5)):
            emulator.add_session(
                id=ID[:22] + suffix, timestamp=T0 + timedelta(seconds=seconds)
            )
        answer = call(emulator, "/v1/sessions")
        assert [found[22:] for found in ids(answer)] == ["03", "02", "01", "04"]
        assert [session.id for session in emulator.sessions] == ids(answer)

    def test_pages(self, emulator: EmoggEmulator) -> None:
        """Pages follow each other without gap, and the last one says that it is."""
        for _ in range(25):
            emulator.add_session()
        first = call(emulator, "/v1/sessions")
        assert (first.json["limit"], first.json["offset"]) == (10, 0)
        assert first.json["hasMore"] is True
        last = call(emulator, "/v1/sessions", limit=15, offset=10)
        assert last.json["hasMore"] is False
        assert ids(first) + ids(last) == [item.id for item in emulator.sessions]
        beyond = call(emulator, "/v1/sessions", offset=25)
        assert beyond.json == {"hasMore": False, "offset": 25, "limit": 10, "data": []}

    def test_from_and_to_are_strict(self, emulator: EmoggEmulator) -> None:
        """A session is between two dates only if it equals neither."""
        made = [
            emulator.add_session(timestamp=T0 + timedelta(milliseconds=number)).id
            for number in range(4)
        ]
        later = T0 + timedelta(milliseconds=3)
        query = {"from": format_datetime(T0), "to": format_datetime(later)}
        assert ids(call(emulator, "/v1/sessions", **query)) == [made[2], made[1]]
        assert ids(call(emulator, "/v1/sessions", to=query["to"])) == made[2::-1]
        assert (
            ids(call(emulator, "/v1/sessions", **{"from": query["from"]}))
            == (made[:0:-1])
        )

    def test_offsets_of_dates_count(self, emulator: EmoggEmulator) -> None:
        """A date may be written in any time zone."""
        session = emulator.add_session(timestamp=T0)
        late = "2024-03-01T13:30:00+01:00"
        assert ids(call(emulator, "/v1/sessions", to=late)) == [session.id]
        assert ids(call(emulator, "/v1/sessions", **{"from": late})) == []

    def test_state_and_type(self, emulator: EmoggEmulator) -> None:
        """Filters leave only what matches, before limit and offset apply."""
        active = emulator.add_session(state="active")
        emulator.add_session(state="finished")
        other = emulator.add_session(state="active", type="upload")
        both = call(emulator, "/v1/sessions", state="active", limit=1)
        assert ids(both) == [other.id]
        assert both.json["hasMore"] is True
        one = call(emulator, "/v1/sessions", state="active", type="live_analysis")
        assert ids(one) == [active.id]
        assert one.json["hasMore"] is False
        assert ids(call(emulator, "/v1/sessions", state="paused")) == []

    def test_sorted_by_id(self) -> None:
        """An emulator can sort by id, also where timestamps say otherwise."""
        with EmoggEmulator(sort="id") as emulator:
            for number in range(6):
                second = int(T0.timestamp()) + number * 10
                late = timedelta(seconds=number * 10 + 25 * (number == 2))
                emulator.add_session(id=f"{second:08x}{0:016x}", timestamp=T0 + late)
            listed = call(emulator, "/v1/sessions", limit=4)
            rest = call(emulator, "/v1/sessions", limit=4, offset=4)
            until = format_datetime(T0 + timedelta(seconds=45))
            older = call(emulator, "/v1/sessions", to=until)
            everything = sorted((each.id for each in emulator.sessions), reverse=True)
        assert ids(listed) + ids(rest) == everything
        assert (listed.json["hasMore"], rest.json["hasMore"]) == (True, False)
        assert ids(older) == [everything[n] for n in (1, 2, 4, 5)]

    def test_leaves_out_what_is_hidden(self) -> None:
        """A hidden session is shown by a get, and by no list, also when it changes."""
        with EmoggEmulator(sessions=3) as emulator:
            hidden = emulator.add_session(hidden=True, state="active")
            emulator.update_session(hidden.id, state="finished")
            listed = call(emulator, "/v1/sessions")
            found = call(emulator, f"/v1/sessions/{hidden.id}")
            assert len(emulator.sessions) == 4
        assert len(ids(listed)) == 3
        assert hidden.id not in ids(listed)
        assert (found.status, found.json["state"]) == (200, "finished")

    def test_lists_only_the_own_ones(self, emulator: EmoggEmulator) -> None:
        """A list holds no session of another user."""
        emulator.add_session(token=emulator.add_token("other"))
        own = emulator.add_session()
        assert ids(call(emulator, "/v1/sessions")) == [own.id]
        assert len(emulator.sessions) == 2

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit", "0"),
            ("limit", "101"),
            ("limit", "ten"),
            ("limit", "٣"),
            ("limit", "1.5"),
            ("limit", ""),
            ("offset", "-1"),
            ("offset", "9" * 5000),
            ("from", "yesterday"),
            ("from", "2024-03-01T12:00:00"),
            ("to", ""),
        ],
    )
    def test_bad_parameters(
        self, emulator: EmoggEmulator, name: str, value: str
    ) -> None:
        """An invalid parameter is refused, and the message names it."""
        answer = call(emulator, "/v1/sessions", **{name: value})
        assert answer.status == 400
        assert answer.json == refusal(400, answer.json["message"])
        assert f'"{name}"' in answer.json["message"]

    def test_limits_of_the_limit(self, emulator: EmoggEmulator) -> None:
        """Both 1 and 100 are good limits."""
        for limit in (1, 100):
            assert call(emulator, "/v1/sessions", limit=limit).json["limit"] == limit


class TestOtherRequests:
    """Unknown routes, and users who may not use a route."""

    @pytest.mark.parametrize("path", ["/", "/v1/session", "/v1/sessions/", "//v1"])
    def test_unknown_route(self, emulator: EmoggEmulator, path: str) -> None:
        """An unknown route is not found, in JSON, and costs a token."""
        answer = call(emulator, path)
        assert answer.json == refusal(404, "Not Found")
        assert answer.headers["RateLimit-Remaining"] == "9999"

    def test_wrong_method(self, emulator: EmoggEmulator) -> None:
        """A known route says which methods it has."""
        answer = call(emulator, "/v1/sessions", method="DELETE")
        assert answer.json == refusal(405, "Method Not Allowed")
        assert "GET" in answer.headers["Allow"]

    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer wrong-secret", "Basic emogg-emulator-token"],
    )
    def test_no_or_wrong_token(
        self, emulator: EmoggEmulator, authorization: str
    ) -> None:
        """Without a good token everything is a 401, which has no rate headers."""
        answer = call(emulator, "/nowhere", authorization=authorization)
        assert answer.json == refusal(401, "Invalid token")
        assert not [name for name in answer.headers if name.startswith("RateLimit")]


class TestRateLimit:
    """The buckets, over HTTP."""

    def test_headers_and_refusal(self) -> None:
        """Each answer says how the bucket stands; an empty one refuses."""
        with EmoggEmulator(rate_limit=(2, 60.0)) as emulator:
            answers = [call(emulator, "/v1/sessions") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        remaining = [answer.headers["RateLimit-Remaining"] for answer in answers]
        assert remaining == ["1", "0", "0"]
        assert [answer.headers["RateLimit-Reset"] for answer in answers] == [
            "30",
            "60",
            "60",
        ]
        assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"2"}
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {"2;w=60"}
        assert answers[2].json == refusal(429, "Too many requests")

    def test_advance_refills(self) -> None:
        """Moving the clock fills the bucket at its rate."""
        with EmoggEmulator(rate_limit=(2, 3600.0)) as emulator:
            for _ in range(2):
                call(emulator, "/v1/sessions")
            emulator.advance(1800)
            assert call(emulator, "/v1/sessions").status == 200
            assert call(emulator, "/v1/sessions").status == 429

    def test_each_user_has_a_bucket(self) -> None:
        """One user's requests cost no other user anything; a 401 costs nobody."""
        with EmoggEmulator(rate_limit=(1, 3600.0)) as emulator:
            other = emulator.add_token()
            call(emulator, "/v1/sessions", authorization="Bearer wrong")
            assert call(emulator, "/v1/sessions").status == 200
            assert call(emulator, "/v1/sessions").status == 429
            authorization = f"Bearer {other}"
            answer = call(emulator, "/v1/sessions", authorization=authorization)
            assert answer.status == 200

    def test_none(self) -> None:
        """Without a limit there are no rate headers."""
        with EmoggEmulator(rate_limit=None) as emulator:
            answer = call(emulator, "/v1/sessions")
        assert not [name for name in answer.headers if name.startswith("RateLimit")]

    @pytest.mark.parametrize(
        ("rounding", "resets"),
        [("up", ["4", "8"]), ("down", ["3", "7"]), ("nearest", ["4", "7"])],
    )
    def test_rounding(self, rounding: Rounding, resets: list[str]) -> None:
        """The rounding of `Reset` is unknown, so tests can choose it."""
        limit = (100, 370.0)  # a token in 3.7 s
        with EmoggEmulator(rate_limit=limit, reset_rounding=rounding) as emulator:
            answers = [call(emulator, "/v1/sessions") for _ in range(2)]
        assert [answer.headers["RateLimit-Reset"] for answer in answers] == resets

    def test_headers_off(self) -> None:
        """The bucket limits just as well without telling how it stands."""
        with EmoggEmulator(rate_limit=(1, 3600.0), rate_headers=False) as emulator:
            answers = [call(emulator, "/v1/sessions") for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 429]
        for answer in answers:
            assert not [name for name in answer.headers if name.startswith("RateLimit")]

    def test_wrong_headers(self) -> None:
        """Some headers can tell something else, those of refusals too."""
        wrong = {"RateLimit-Policy": "1;w=10"}
        with EmoggEmulator(rate_limit=(1, 3600.0), rate_headers=wrong) as emulator:
            answers = [call(emulator, "/v1/sessions") for _ in range(2)]
        for answer in answers:
            assert answer.headers["RateLimit-Policy"] == "1;w=10"
            assert answer.headers["RateLimit-Remaining"] == "0"

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("reset_rounding", "sideways"),
            ("rate_headers", None),
            ("rate_headers", {"RateLimit-Limit": 3}),
        ],
    )
    def test_what_is_refused(self, option: str, value: object) -> None:
        """Options that make no sense are refused by name."""
        with pytest.raises(InvalidArgumentError, match=f"^{option}: expected "):
            EmoggEmulator(**{option: value})

    def test_fractions_count(self) -> None:
        """Two halves of a token, each too little for a request, make one."""
        with EmoggEmulator(rate_limit=(1, 3600.0)) as emulator:
            statuses = []
            for _ in range(4):
                statuses.append(call(emulator, "/v1/sessions").status)
                emulator.advance(1800)
        assert statuses == [200, 429, 200, 429]

    @simulated.timed
    async def test_answers_out_of_order(self) -> None:
        """An answer that lags tells of the bucket as it was before others came."""
        async with (
            simulated.emulated(rate_limit=(9, 3600.0)) as emulator,
            aiohttp.ClientSession(emulator.url) as client,
        ):
            client.headers["Authorization"] = f"Bearer {emulator.token}"
            emulator.fail(lag=0.4, times=1)
            late = asyncio.create_task(client.get("/v1/sessions"))
            await until(lambda: emulator.in_flight)
            early = await client.get("/v1/sessions")
            assert not late.done()
            answers = early, await late
            remaining = [each.headers["RateLimit-Remaining"] for each in answers]
        assert remaining == ["7", "8"]

    def test_faults_with_a_status_cost_a_token(self, emulator: EmoggEmulator) -> None:
        """They come from behind the limiter, except a 401."""
        emulator.fail(status=401, times=1)
        emulator.fail(status=503, times=1)
        answer = call(emulator, "/v1/sessions")
        assert (answer.status, answer.headers["RateLimit-Remaining"]) == (503, "9999")
        refused = call(emulator, "/v1/sessions")
        assert (refused.status, refused.headers.get("RateLimit-Limit")) == (401, None)


times = st.floats(0, 1e6)
buckets = st.builds(TokenBucket, st.integers(1, 1_000), st.floats(0.1, 1e5))


class TestBucket:
    """The bucket itself, in simulated time."""

    @given(buckets, st.lists(st.floats(0, 1e3), max_size=50))
    def test_never_gives_more_than_it_gets(
        self, bucket: TokenBucket, waits: list[float]
    ) -> None:
        """It accepts no more than its capacity and what flowed in meanwhile."""
        now, taken = 0.0, 0
        for wait in waits:
            now += wait
            taken += bucket.take(now)
            assert 0 <= bucket.level(now) <= bucket.capacity
            assert taken <= bucket.capacity * (1 + now / bucket.window) + 1e-6

    @given(buckets, st.integers(0, 1_200), times)
    def test_remaining_is_what_can_be_taken_now(
        self, bucket: TokenBucket, spent: int, now: float
    ) -> None:
        """Exactly as many requests as `Remaining` says are accepted at once."""
        for _ in range(spent):
            bucket.take(now)
        remaining = int(bucket.headers(now)["RateLimit-Remaining"])
        assert remaining == max(0, bucket.capacity - spent)
        assert all(bucket.take(now) for _ in range(remaining))
        assert not bucket.take(now)

    @given(buckets, st.integers(1, 100), times)
    def test_full_after_reset(
        self, bucket: TokenBucket, spent: int, now: float
    ) -> None:
        """After `Reset` seconds it is full, and a second and a bit before it is not."""
        for _ in range(spent):
            bucket.take(now)
        reset = int(bucket.headers(now)["RateLimit-Reset"])
        early = max(now, now + reset - 1.001)
        assert bucket.level(early) < bucket.capacity
        assert bucket.level(now + reset) == pytest.approx(bucket.capacity)

    @given(buckets, st.integers(1, 50), times)
    def test_refills_at_a_constant_rate(
        self, bucket: TokenBucket, steps: int, now: float
    ) -> None:
        """An empty bucket is as full as the share of the window that has passed."""
        while bucket.take(now):
            pass
        for step in range(1, steps + 1):
            share = step / steps
            level = bucket.level(now + share * bucket.window)
            assert level == pytest.approx(share * bucket.capacity, rel=1e-3, abs=1e-3)

    def test_time_does_not_go_back(self) -> None:
        """A time before the last one neither gives nor takes."""
        bucket = TokenBucket(1, 10.0)
        assert bucket.take(100.0)
        assert bucket.level(0.0) == 0.0
        assert not bucket.take(50.0)
        assert bucket.take(110.0)

    def test_dearer_requests(self) -> None:
        """A request of several points is accepted whole or not at all."""
        bucket = TokenBucket(5, 5.0)
        assert bucket.take(0.0, 3)
        assert not bucket.take(0.0, 3)
        assert bucket.level(0.0) == 2.0

    @pytest.mark.parametrize(("window", "text"), [(60.0, "60"), (0.5, "0.5")])
    def test_policy(self, window: float, text: str) -> None:
        """The policy writes whole seconds without decimals."""
        headers = TokenBucket(7, window).headers(0.0)
        assert headers["RateLimit-Policy"] == f"7;w={text}"
        assert headers["RateLimit-Reset"] == "0"


class TestConnectionFaults:
    """Faults that leave no answer."""

    def test_reset(self, emulator: EmoggEmulator) -> None:
        """The client's connection is reset."""
        emulator.fail(fault="reset")
        with pytest.raises(ConnectionResetError):
            call(emulator, "/v1/sessions")

    def test_close(self, emulator: EmoggEmulator) -> None:
        """The connection ends in order, without an answer."""
        emulator.fail(fault="close")
        with pytest.raises(http.client.RemoteDisconnected):
            call(emulator, "/v1/sessions")

    def test_cut(self, emulator: EmoggEmulator) -> None:
        """Half of the real answer comes, of which all was promised."""
        session = emulator.add_session(id=ID)
        whole = call(emulator, f"/v1/sessions/{session.id}").body
        emulator.fail(fault="cut")
        with pytest.raises(http.client.IncompleteRead) as caught:
            call(emulator, f"/v1/sessions/{session.id}")
        assert caught.value.partial == whole[: len(whole) // 2]
        assert caught.value.expected == len(whole) - len(whole) // 2

    def test_cut_of_a_given_answer(self, emulator: EmoggEmulator) -> None:
        """With a status and a body, these are what is cut."""
        emulator.fail(fault="cut", status=500, body="12345678")
        with pytest.raises(http.client.IncompleteRead) as caught:
            call(emulator, "/v1/sessions")
        assert caught.value.partial == b"1234"

    @pytest.mark.parametrize("fault", ["cut", "cut_chunked"])
    def test_cut_for_nobody(
        self,
        fault: Any,
        emulator: EmoggEmulator,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A client that leaves before its answer is cut leaves no traceback."""
        emulator.fail(fault=fault)
        emulator.latency = 0.2
        host, port = urlsplit(emulator.url).hostname, urlsplit(emulator.url).port
        peers = [socket.create_connection((host, port)) for _ in range(100)]
        head = f"GET /v1/sessions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer"
        for peer in peers:
            peer.sendall(f"{head} {emulator.token}\r\n\r\n".encode())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        peers[0].recv(1)
        for peer in reversed(peers):  # the last ones are about to be answered
            peer.close()
        assert eventually(lambda: emulator.in_flight == 0)
        assert "Traceback" not in caplog.text

    def test_cut_chunked(self, emulator: EmoggEmulator) -> None:
        """The last chunk is missing."""
        emulator.fail(fault="cut_chunked")
        with pytest.raises(http.client.IncompleteRead):
            call(emulator, "/v1/sessions")

    @pytest.mark.parametrize("fault", ["reset", "close", "cut", "cut_chunked"])
    def test_the_log_has_no_status(self, emulator: EmoggEmulator, fault: Any) -> None:
        """A request without a complete answer has no status, and is over."""
        emulator.fail(fault=fault)
        with pytest.raises((OSError, http.client.HTTPException)):
            call(emulator, "/v1/sessions")
        assert eventually(lambda: emulator.in_flight == 0)
        assert [request.status for request in emulator.requests] == [None]

    @pytest.mark.parametrize("fault", ["reset", "close"])
    def test_costs_no_token(self, emulator: EmoggEmulator, fault: Any) -> None:
        """A fault before the limiter costs no token."""
        emulator.fail(fault=fault, times=1)
        with pytest.raises((OSError, http.client.HTTPException)):
            call(emulator, "/v1/sessions")
        answer = call(emulator, "/v1/sessions")
        assert answer.headers["RateLimit-Remaining"] == "9999"

    async def test_hang_until_the_client_leaves(self, emulator: EmoggEmulator) -> None:
        """No answer comes, and the request is over when its client leaves."""
        emulator.fail(fault="hang")
        async with aiohttp.ClientSession() as client:
            task = asyncio.create_task(client.get(emulator.url))
            await until(lambda: emulator.in_flight)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await asyncio.to_thread(eventually, lambda: emulator.in_flight == 0)
        assert [request.status for request in emulator.requests] == [None]


class TestDamagedAnswers:
    """Faults that change the answer."""

    def test_garbage(self, emulator: EmoggEmulator) -> None:
        """A whole answer holds JSON that breaks off."""
        emulator.fail(fault="garbage")
        answer = call(emulator, "/v1/sessions")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.body)

    @pytest.mark.parametrize(("status", "seen"), [(None, 200), (502, 502)])
    def test_html(self, emulator: EmoggEmulator, status: int | None, seen: int) -> None:
        """A page of a proxy comes instead, with any status."""
        emulator.fail(fault="html", status=status)
        answer = call(emulator, "/v1/sessions")
        assert answer.status == seen
        assert answer.headers["Content-Type"].startswith("text/html")
        assert answer.body.startswith(b"<!doctype html>")
        assert answer.headers["RateLimit-Remaining"] == "9999"

    def test_huge(self, emulator: EmoggEmulator) -> None:
        """40 MB come."""
        emulator.fail(fault="huge")
        answer = call(emulator, "/v1/sessions")
        assert len(answer.body) > 40_000_000
        assert answer.body.endswith(b'x"}')

    def test_bomb(self, emulator: EmoggEmulator) -> None:
        """Some 300 kB of sound gzip inflate to 300 MB of JSON."""
        emulator.fail(fault="bomb")
        answer = call(emulator, "/v1/sessions")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert 200_000 < len(answer.body) < 400_000
        inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        size, rest = 0, answer.body
        while not inflater.eof:
            size += len(inflater.decompress(rest, 1 << 20))
            rest = inflater.unconsumed_tail
        assert size == 300_000_002  # and zlib has verified the checksum

    @pytest.mark.parametrize(
        ("body", "seen"),
        [
            (None, b'{"error": true, "status": 418, "message": "I\'m a Teapot"}'),
            ("text", b"text"),
            (b"\xff\xfe", b"\xff\xfe"),
            (["a", 1], b'["a", 1]'),
            ("", b""),
        ],
    )
    def test_status_and_body(
        self, emulator: EmoggEmulator, body: object, seen: bytes
    ) -> None:
        """Any answer can be given; without a body it is the usual one."""
        emulator.fail(status=418, body=body, headers={"Retry-After": "2"})
        answer = call(emulator, "/v1/sessions")
        assert (answer.status, answer.body) == (418, seen)
        assert answer.headers["Retry-After"] == "2"

    def test_unusual_statuses(self, emulator: EmoggEmulator) -> None:
        """A status without a name is fine, and one below 400 has no body."""
        emulator.fail(status=520, times=1)
        assert call(emulator, "/v1/sessions").json == refusal(520, "Error 520")
        emulator.fail(status=302, headers={"Location": "/"})
        answer = call(emulator, "/v1/sessions")
        assert (answer.status, answer.body) == (302, b"")
        assert answer.headers["Location"] == "/"

    def test_headers_win(self, emulator: EmoggEmulator) -> None:
        """Headers of a rule replace the emulator's own, also on a real answer."""
        emulator.fail(headers={"RateLimit-Remaining": "nonsense"})
        answer = call(emulator, "/v1/sessions")
        assert answer.status == 200
        assert answer.headers["RateLimit-Remaining"] == "nonsense"

    def test_delay(self, emulator: EmoggEmulator) -> None:
        """A delay alone lets the real answer come later."""
        emulator.fail(delay=0.03)
        before = time.monotonic()
        assert call(emulator, "/v1/sessions").status == 200
        assert time.monotonic() - before >= 0.03


class TestRules:
    """The choice of requests that meet a rule."""

    @pytest.mark.parametrize(
        ("method", "path", "meets"),
        [
            ("GET", "/v1/sessions/*", True),
            ("get", "*", True),
            ("*", "/v1/sessions/65ea*", True),
            ("POST", "*", False),
            ("*", "/v1/sessions", False),
            ("*", "/V1/*", False),
        ],
    )
    def test_globs(
        self, emulator: EmoggEmulator, method: str, path: str, meets: bool
    ) -> None:
        """Method and path are globs that must match the whole."""
        rule = emulator.fail(method, path, status=503)
        assert (call(emulator, f"/v1/sessions/{ID}").status == 503) is meets
        assert rule.hits == meets

    def test_newest_first(self, emulator: EmoggEmulator) -> None:
        """The newest rule wins until it is used up."""
        old = emulator.fail(status=500)
        new = emulator.fail(status=503, times=2)
        seen = [call(emulator, "/v1/sessions").status for _ in range(3)]
        assert seen == [503, 503, 500]
        assert (old.hits, new.hits) == (1, 2)

    def test_remove(self, emulator: EmoggEmulator) -> None:
        """A removed rule meets nothing more, and may be removed again."""
        rule = emulator.fail(status=500)
        rule.remove()
        rule.remove()
        assert call(emulator, "/v1/sessions").status == 200
        assert rule.hits == 0

    def test_probability_follows_the_seed(self) -> None:
        """Chance strikes about as often as asked, at the same requests each time."""

        def statuses(seed: int) -> list[int]:
            with EmoggEmulator(seed=seed) as emulator:
                emulator.fail(status=500, probability=0.5)
                return [call(emulator, "/v1/sessions").status for _ in range(40)]

        first = statuses(1)
        assert 8 <= first.count(500) <= 32
        assert statuses(1) == first
        assert statuses(2) != first

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("method", None),
            ("path", 7),
            ("status", 99),
            ("status", 600),
            ("status", "500"),
            ("fault", "explode"),
            ("body", "needs a status"),
            ("headers", {"X": "a\r\nb"}),
            ("headers", {"X": 1}),
            ("headers", "X: 1"),
            ("delay", -1.0),
            ("delay", float("nan")),
            ("times", 0),
            ("times", True),
            ("probability", 1.5),
        ],
    )
    def test_bad_options(self, option: str, value: Any) -> None:
        """An option that makes no sense is refused by name."""
        with pytest.raises(InvalidArgumentError, match=f"^{option}: expected "):
            EmoggEmulator().fail(**{option: value})

    def test_bodies_that_are_refused(self) -> None:
        """A body must be JSON, and does not go with a fault that makes its own."""
        emulator = EmoggEmulator()
        with pytest.raises(
            InvalidArgumentError, match=r"^body: expected text, bytes or"
        ):
            emulator.fail(status=500, body=object())
        with pytest.raises(InvalidArgumentError, match=r"^body: expected None"):
            emulator.fail(status=500, body="x", fault="html")


class TestSessions:
    """Changes of the emulator's sessions by tests."""

    def test_seeded_ones_are_sound(self) -> None:
        """They are valid models whose ids hold the second of their timestamps."""
        emulator = EmoggEmulator(sessions=200)
        sessions = emulator.sessions
        assert len({session.id for session in sessions}) == 200
        assert list(sessions) == sorted(
            sessions, key=lambda item: (item.timestamp, item.id), reverse=True
        )
        for session in sessions:
            assert int(session.id[:8], 16) == int(session.timestamp.timestamp())
            assert session.timestamp < datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
            assert session.timestamp > datetime(2024, 2, 10, tzinfo=UTC)
            assert 1 <= len(session.sources) <= 3
            assert 60 < session.duration < 4 * 3600
        assert sum(item.state == "finished" for item in sessions) == 195
        assert {"active", "processing"} < {str(item.state) for item in sessions}
        assert len({session.name for session in sessions}) > 100
        assert any(session.config for session in sessions)
        assert any(session.meta for session in sessions)

    def test_the_seed_decides(self) -> None:
        """The same seed gives the same sessions, another one gives others."""
        assert (
            EmoggEmulator(sessions=30).sessions == EmoggEmulator(sessions=30).sessions
        )
        first, other = EmoggEmulator(sessions=5), EmoggEmulator(sessions=5, seed=1)
        assert not {item.id for item in first.sessions} & {
            item.id for item in other.sessions
        }

    def test_new_ones_take_the_clock(self) -> None:
        """A session without a date begins now, by the clock that tests move."""
        emulator = EmoggEmulator()
        before = emulator.now()
        emulator.advance(3600)
        session = emulator.add_session()
        passed = session.timestamp - before
        assert abs(passed - timedelta(hours=1)) < timedelta(seconds=5)
        assert session.timestamp.microsecond % 1000 == 0
        assert int(session.id[:8], 16) == int(session.timestamp.timestamp())
        assert (session.state, session.type) == ("finished", "live_analysis")
        assert session.name
        assert session.duration > 0

    def test_a_given_id_stays(self) -> None:
        """An id is kept where the timestamp disagrees, and else gives its second."""
        emulator = EmoggEmulator()
        assert emulator.add_session(id=ID, timestamp=T0).id == ID
        second = emulator.add_session(id=ID[:-1] + "F")
        assert second.id == ID[:-1] + "f"
        assert second.timestamp == datetime.fromtimestamp(int(ID[:8], 16), UTC)

    def test_all_fields(self) -> None:
        """A session has all given fields, unknown ones included."""
        source = Source(id="1", name="Cam", type="video", device="local_camera")
        session = EmoggEmulator().add_session(
            id=ID,
            name="x" * 256,
            state="paused",
            type="upload",
            timestamp=T0.astimezone() + timedelta(microseconds=1999),
            duration=1.5,
            sources=[source, to_dict(source) | {"id": "2"}],
            config={"removeMedia": True},
            colour="red",
            version=4,
        )
        assert session.timestamp == T0 + timedelta(milliseconds=1)
        assert [item.id for item in session.sources] == ["1", "2"]
        assert session.config is not None
        assert session.config.remove_media is True
        assert session.extra == {"colour": "red"}
        assert (session.state, session.type, session.version) == ("paused", "upload", 4)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("id", "nonsense"),
            ("id", 7),
            ("name", ""),
            ("name", "x" * 257),
            ("name", 1),
            ("timestamp", datetime(2024, 1, 1)),  # noqa: DTZ001 - the point
            ("timestamp", "2024-01-01T00:00:00Z"),
            ("timestamp", datetime(1960, 1, 1, tzinfo=UTC)),
            ("duration", -1),
            ("duration", "120"),
            ("state", 5),
            ("sources", 5),
            ("sources", [{}]),
            ("meta", []),
            ("user", "somebody"),
            ("fields", object()),
            ("token", "nobody's"),
        ],
    )
    def test_bad_fields(self, field: str, value: Any) -> None:
        """A field that breaks its rule is refused by name, and nothing is added."""
        emulator = EmoggEmulator()
        with pytest.raises(
            InvalidArgumentError, match=rf"^{field}[^:]*: (expected|required)"
        ):
            emulator.add_session(**{field: value})
        assert emulator.sessions == ()

    def test_an_id_occurs_once(self) -> None:
        """An id that is in use, in either letter case, is refused."""
        emulator = EmoggEmulator()
        emulator.add_session(id=ID)
        with pytest.raises(InvalidArgumentError, match=r"^id: "):
            emulator.add_session(id=ID.upper())

    def test_update(self, emulator: EmoggEmulator) -> None:
        """Fields change, None removes one, and the order follows the timestamp."""
        old = emulator.add_session(state="active", timestamp=T0, config={})
        emulator.add_session(timestamp=T0 + timedelta(hours=1))
        new = emulator.update_session(
            old.id, state="finished", config=None, timestamp=T0 + timedelta(hours=2)
        )
        assert (new.id, new.name, new.state) == (old.id, old.name, "finished")
        assert new.config is None
        assert emulator.sessions[0] == new
        answer = call(emulator, f"/v1/sessions/{old.id}")
        assert structure(answer.json, Session) == new

    def test_a_refused_update_changes_nothing(self) -> None:
        """A session stays as it is when a change is refused."""
        emulator = EmoggEmulator(sessions=1)
        before = emulator.sessions
        for changes in ({"name": ""}, {"state": None}, {"_id": ID}):
            with pytest.raises(InvalidArgumentError):
                emulator.update_session(before[0].id, **changes)
        assert emulator.sessions == before

    def test_remove(self, emulator: EmoggEmulator) -> None:
        """A removed session is not found any more, and cannot be removed again."""
        session = emulator.add_session()
        emulator.remove_session(session.id.upper())
        assert call(emulator, f"/v1/sessions/{session.id}").status == 404
        assert ids(call(emulator, "/v1/sessions")) == []
        with pytest.raises(InvalidArgumentError, match=r"^session_id: "):
            emulator.remove_session(session.id)


class TestLog:
    """The emulator's log of requests."""

    def test_requests(self, emulator: EmoggEmulator) -> None:
        """Each request is there with its path as sent, its query and its status."""
        call(emulator, "/v1/sessions/%41", **{"expand[]": "user", "to": "a b"})
        (request,) = emulator.requests
        assert request == RecordedRequest(
            method="GET",
            path="/v1/sessions/%41",
            query=(("expand[]", "user"), ("to", "a b")),
            status=404,
            at=request.at,
        )
        assert emulator.now() - request.at < timedelta(seconds=5)
        assert pickle.loads(pickle.dumps(request)) == request
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            request.status = 200  # type: ignore[misc]

    def test_keeps_the_newest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The log is bounded, and forgets the oldest ones."""
        monkeypatch.setattr("emogg_async.testing._journal.KEPT", 2)
        with EmoggEmulator() as emulator:
            for number in range(3):
                call(emulator, f"/{number}")
            assert [request.path for request in emulator.requests] == ["/1", "/2"]

    def test_the_token_is_nowhere(self) -> None:
        """Neither the log nor any repr shows a token or a header."""
        with EmoggEmulator(token="very-secret") as emulator:
            rule = emulator.fail(status=500, times=1)
            for _ in range(2):
                call(emulator, "/v1/sessions")
            state = emulator._state
            seen = [emulator, emulator.requests, rule, state, state.world]
            seen += [emulator._settings, state.world.user("very-secret")]
            assert "very-secret" not in repr(seen)
            assert emulator.url in repr(emulator)

    async def test_in_flight(self, emulator: EmoggEmulator) -> None:
        """Requests count while they are handled, and the most at once is kept."""
        emulator.latency = 0.05
        async with aiohttp.ClientSession() as client:
            calls = [asyncio.ensure_future(client.get(emulator.url)) for _ in range(3)]
            reached = await asyncio.to_thread(
                eventually, lambda: emulator.in_flight == 3
            )
            assert reached
            for answer in await asyncio.gather(*calls):
                answer.release()
        assert (emulator.in_flight, emulator.max_in_flight) == (0, 3)

    def test_status_is_there_when_the_answer_is(self, emulator: EmoggEmulator) -> None:
        """A request whose answer was read is in the log, and no longer in flight."""
        for _ in range(50):
            call(emulator, "/v1/sessions")
            assert emulator.requests[-1].status == 200
            assert emulator.in_flight == 0


class TestReset:
    """`reset()` brings back the state after the start."""

    def test_everything_starts_over(self) -> None:
        """Sessions, tokens, faults, log, bucket, latency and clock are as at first."""
        with EmoggEmulator(sessions=3, rate_limit=(5, 3600.0)) as emulator:
            url, sessions = emulator.url, emulator.sessions
            other = emulator.add_token()
            emulator.add_session(token=other)
            emulator.remove_session(sessions[0].id)
            emulator.advance(1e6)
            call(emulator, "/v1/sessions")
            rule = emulator.fail(status=500)
            emulator.latency = 5.0
            emulator.reset()
            assert (emulator.sessions, emulator.url) == (sessions, url)
            assert (emulator.requests, emulator.max_in_flight) == ((), 0)
            assert emulator.latency == 0.0
            assert emulator.now().date() == datetime(2024, 4, 1).date()  # noqa: DTZ001
            answer = call(emulator, "/v1/sessions")
            assert answer.headers["RateLimit-Remaining"] == "4"
            refused = call(emulator, "/v1/sessions", authorization=f"Bearer {other}")
            assert refused.status == 401
            rule.remove()

    def test_hanging_requests_end(
        self, emulator: EmoggEmulator, hanging: Callable[[EmoggEmulator], None]
    ) -> None:
        """Requests under way are dropped, and never seen in the new state."""
        emulator.fail(fault="hang")
        hanging(emulator)
        old = emulator._state
        emulator.reset()
        assert eventually(lambda: old.journal.in_flight == 0)
        assert not old.transports
        assert (emulator.requests, emulator.in_flight) == ((), 0)

    def test_before_the_start(self) -> None:
        """An emulator that does not run can be reset too."""
        emulator = EmoggEmulator()
        emulator.add_session()
        emulator.reset()
        assert emulator.sessions == ()


def emulator_threads() -> list[threading.Thread]:
    """Return the threads of all emulators."""
    return [item for item in threading.enumerate() if item.name == "emogg-emulator"]


class TestLifecycle:
    """Starting and stopping."""

    def test_start_and_stop_twice(self) -> None:
        """Both may be repeated, and an emulator can run again with what it held."""
        emulator = EmoggEmulator(sessions=1)
        before = len(emulator_threads())
        emulator.start()
        emulator.start()
        assert len(emulator_threads()) == before + 1
        emulator.stop()
        emulator.stop()
        assert len(emulator_threads()) == before
        with pytest.raises(ConnectionRefusedError):
            call(emulator, "/v1/sessions")
        with emulator:
            assert len(ids(call(emulator, "/v1/sessions"))) == 1

    async def test_a_client_outlives_a_restart(self) -> None:
        """An emulator that starts again has the address that its clients know."""
        async with EmoggEmulator(sessions=1) as emulator:
            (session,) = emulator.sessions
            retry = RetryPolicy(attempts=1)
            async with emulator.client(retry=retry, cache=None) as client:
                assert await client.get_session(session.id) == session
                await asyncio.to_thread(emulator.stop)
                with pytest.raises(NotSentError):
                    await client.get_session(session.id)
                await asyncio.to_thread(emulator.start)
                assert await client.get_session(session.id) == session

    @pytest.mark.parametrize("fault", ["hang", None])
    def test_stops_at_once_under_load(
        self, hanging: Callable[[EmoggEmulator], None], fault: Any
    ) -> None:
        """Hanging and delayed requests do not hold it up, and end without a status."""
        emulator = EmoggEmulator()
        with emulator:
            emulator.fail(fault=fault, delay=0.0 if fault else 60.0)
            hanging(emulator)
            before = time.monotonic()
        assert time.monotonic() - before < 10
        assert emulator.in_flight == 0
        assert [request.status for request in emulator.requests] == [None]

    def test_stops_while_a_client_does_not_read(self) -> None:
        """An answer that nobody takes does not hold it up."""
        with EmoggEmulator() as emulator, socket.socket() as client:
            emulator.fail(fault="huge")
            host = urlsplit(emulator.url)
            client.connect((host.hostname, host.port))
            request = f"GET / HTTP/1.1\r\nAuthorization: Bearer {emulator.token}"
            client.sendall(f"{request}\r\nHost: emulator\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            before = time.monotonic()
            emulator.stop()
            assert time.monotonic() - before < 10

    def test_stops_while_clients_come(self) -> None:
        """Connections that it is only about to accept end with it."""
        with ExitStack() as clients:
            for _ in range(20):
                with EmoggEmulator() as emulator:
                    host = urlsplit(emulator.url)
                    place = host.hostname or "", host.port or 0
                    came = [
                        clients.enter_context(socket.create_connection(place, 10))
                        for _ in range(20)
                    ]
                for each in came:
                    with suppress(ConnectionError):
                        assert each.recv(1) == b""

    def test_idle_connections_are_closed(self, emulator: EmoggEmulator) -> None:
        """A kept connection ends with the emulator."""
        host = urlsplit(emulator.url)
        client = http.client.HTTPConnection(host.hostname or "", host.port, timeout=5)
        client.request("GET", "/")
        client.getresponse().read()
        emulator.stop()
        assert client.sock.recv(1) == b""
        client.close()

    def test_stop_from_many_threads(self) -> None:
        """Any number of threads may stop and start it; nothing dead-locks."""
        emulator = EmoggEmulator()
        steps = [emulator.start, emulator.stop, emulator.reset] * 10
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda step: step(), steps))
        emulator.stop()

    async def test_async_with(self) -> None:
        """It serves async tests with a client on their own loop."""
        async with EmoggEmulator() as emulator:
            headers = {"Authorization": f"Bearer {emulator.token}"}
            url = f"{emulator.url}/v1/sessions"
            async with aiohttp.ClientSession(headers=headers) as client:
                for _ in range(3):
                    async with client.get(url) as answer:
                        assert (await answer.json())["data"] == []
            assert emulator.max_in_flight == 1
        assert emulator.url not in repr(emulator)

    async def test_cancelled_entry_leaves_nothing(self) -> None:
        """Cancelled while it starts, it does not run."""
        before = len(emulator_threads())
        emulator = EmoggEmulator()
        entry = asyncio.ensure_future(emulator.__aenter__())
        await asyncio.sleep(0)
        entry.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entry
        assert len(emulator_threads()) == before

    async def test_entry_cancelled_before_the_start(self) -> None:
        """Cancelled before its thread has started it, it is not started later."""
        pool = LatePool()
        asyncio.get_running_loop().set_default_executor(pool)
        emulator = EmoggEmulator()
        entry = asyncio.ensure_future(emulator.__aenter__())
        await asyncio.sleep(0)
        assert pool.has_begun.wait(10)
        entry.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entry
        pool.may_go_on.set()
        pool.shutdown()
        assert "not running" in repr(emulator)

    async def test_exit_cancelled_while_all_threads_are_busy(self) -> None:
        """Cancelled before a thread is free to stop it, it is stopped all the same."""
        pool, go_on = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(pool)
        pool.submit(go_on.wait)
        emulator = EmoggEmulator()
        emulator.start()
        leaving = asyncio.ensure_future(emulator.__aexit__())
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        assert "not running" in repr(emulator)

    async def test_client(self) -> None:
        """Its client has its address and token, unless told otherwise."""
        async with EmoggEmulator(sessions=1) as emulator:
            (session,) = emulator.sessions
            async with emulator.client() as client:
                assert await client.get_session(session.id) == session
            async with emulator.client(token=emulator.add_token()) as client:
                with pytest.raises(NotFoundError):
                    await client.get_session(session.id)

    def test_url_needs_a_start(self) -> None:
        """There is no address before the first start."""
        with pytest.raises(ConfigurationError, match="not running"):
            _ = EmoggEmulator().url

    def test_port(self, emulator: EmoggEmulator) -> None:
        """A port can be chosen, and one that is taken is refused without leftovers."""
        before = len(emulator_threads())
        taken = urlsplit(emulator.url).port or 0
        with pytest.raises(ConfigurationError, match=f"port {taken}"):
            EmoggEmulator(port=taken).start()
        assert len(emulator_threads()) == before
        emulator.stop()
        with EmoggEmulator(port=taken) as other:
            assert other.url == f"http://127.0.0.1:{taken}"

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("sessions", -1),
            ("sessions", True),
            ("sort", "name"),
            ("seed", "x"),
            ("token", ""),
            ("token", "two words"),
            ("token", None),
            ("rate_limit", (0, 60.0)),
            ("rate_limit", (10, 0.0)),
            ("rate_limit", (10,)),
            ("rate_limit", 10),
            ("latency", -0.1),
            ("latency", float("inf")),
            ("port", 65_536),
        ],
    )
    def test_bad_options(self, option: str, value: Any) -> None:
        """An option that makes no sense is refused by name."""
        with pytest.raises(InvalidArgumentError, match=f"^{option}: expected "):
            EmoggEmulator(**{option: value})

    def test_bad_arguments(self) -> None:
        """Other arguments are refused by name as well, and tokens are not repeated."""
        emulator = EmoggEmulator()
        with pytest.raises(InvalidArgumentError, match=r"^latency: "):
            emulator.latency = -1.0
        with pytest.raises(InvalidArgumentError, match=r"^seconds: "):
            emulator.advance(-1.0)
        with pytest.raises(InvalidArgumentError, match=r"^token: ") as caught:
            emulator.add_token(emulator.token)
        assert emulator.token not in str(caught.value)
        with pytest.raises(InvalidArgumentError, match=r"^token: "):
            emulator.add_token("two words")


class TestModule:
    """The package `emogg_async.testing`."""

    def test_names(self) -> None:
        """It exports what it says, and nothing else answers."""
        for name in emogg_async.testing.__all__:
            assert getattr(emogg_async.testing, name).__name__ == name
        assert set(emogg_async.testing.__all__) < set(dir(emogg_async.testing))
        with pytest.raises(AttributeError, match="no attribute 'Emulator'"):
            _ = emogg_async.testing.Emulator

    def test_importing_it_is_cheap(self) -> None:
        """Neither the package nor the plugin imports aiohttp, attrs or the server."""
        code = (
            "import sys, emogg_async.testing, emogg_async.testing.pytest_plugin;"
            "heavy = {'aiohttp', 'attr', 'cattrs'} & set(sys.modules);"
            "assert not heavy, heavy"
        )
        environment = dict(os.environ)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
