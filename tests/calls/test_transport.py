import asyncio
import contextvars
import gc
import gzip
import inspect
import json
import math
import resource
import socket
import ssl
import time
import traceback
import tracemalloc
import unicodedata
import weakref
import zlib
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import aiohttp
import psutil
import pytest
import trustme
from rawserver import always, http, serving
from waiting import until

from emogg_async import (
    AsyncEmoggClient,
    BadRequestError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimit,
    RateLimitedError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
    StatusError,
    TransportError,
)
from emogg_async._calls import call as call_module
from emogg_async._calls import transport
from emogg_async._calls.failures import translated
from emogg_async._wire.protocol import Request

ID = "65ea1530bb50af72b6e3dc1e"
WIRE = {
    "_id": ID,
    "name": "Pitch",
    "type": "live_analysis",
    "state": "finished",
    "timestamp": "2024-04-01T10:30:00.000Z",
    "duration": 120,
    "product": "p",
    "user": "u",
    "version": 3,
}
BODY = json.dumps(WIRE).encode()
OK = http("200 OK", BODY, "Content-Type: application/json")
ONE_TRY = RetryPolicy(attempts=1)


def client_of(server, **options):
    return AsyncEmoggClient("s3cret-token", base_url=server.url, **options)


class TestHowItAsks:
    async def test_sends_what_it_should_and_no_more(self):
        """The request has the token, our user agent, and no cookie of a server."""
        cookie = http("200 OK", BODY, "Set-Cookie: a=b; Path=/")
        async with serving(always(cookie)) as server, client_of(server) as client:
            await client.get_session(ID)
            await client.get_session(ID, fresh=True)
        head = server.heads[1].decode()
        assert head.startswith(f"GET /v1/sessions/{ID} HTTP/1.1\r\n")
        assert "Authorization: Bearer s3cret-token\r\n" in head
        assert "User-Agent: emogg-async/" in head
        assert "cookie" not in head.lower()
        assert 1 == server.connections

    async def test_keeps_the_prefix_of_its_base_url(self):
        """A base URL with a path is a prefix of every path."""
        async with serving(always(OK)) as server:
            url = f"{server.url}/gateway/"
            async with AsyncEmoggClient("t", base_url=url) as client:
                await client.get_session(ID)
        assert server.heads[0].startswith(f"GET /gateway/v1/sessions/{ID} ".encode())

    async def test_sends_json_as_it_was_given(self):
        """A body is JSON, and its query is encoded."""
        created = http("201 Created", b"{}")
        async with serving(always(created)) as server, client_of(server) as client:
            await client.request(
                "POST", "/v1/x", query={"a b": ["1", True]}, json={"name": "Ünï"}
            )
        assert server.heads[0].startswith(b"POST /v1/x?a+b=1&a+b=true HTTP/1.1")
        assert b"Content-Type: application/json" in server.heads[0]
        assert {"name": "Ünï"} == json.loads(server.bodies[0])

    async def test_an_own_session_gets_the_same_headers(self):
        """Requests through the caller's aiohttp session have the token, too."""
        async with serving(always(OK)) as server, aiohttp.ClientSession() as http_:
            async with client_of(server, http=http_) as client:
                await client.get_session(ID)
        assert b"Authorization: Bearer s3cret-token" in server.heads[0]


class TestRedirects:
    @pytest.mark.parametrize("status", ["301 x", "302 x", "303 x", "307 x", "308 x"])
    async def test_are_never_followed(self, status):
        """A redirect is an error: neither token nor body is sent elsewhere."""
        async with serving(always(OK)) as elsewhere:
            moved = http(status, b"", f"Location: {elsewhere.url}/v1/sessions")
            async with serving(always(moved)) as server, client_of(server) as client:
                for call in (
                    client.get_session(ID),
                    client.request("POST", "/v1/sessions", json={"name": "x"}),
                ):
                    with pytest.raises(StatusError) as caught:
                        await call
                    assert int(status[:3]) == caught.value.status
            assert [] == elsewhere.heads
            assert 2 == len(server.heads)


class TestFaultsOfTheEmulator:
    @pytest.mark.parametrize(
        "fault", ["reset", "close", "cut", "cut_chunked", "garbage", "html", "hang"]
    )
    async def test_one_fault_costs_a_read_nothing_but_time(self, emulator, fault):
        """A get and a list succeed after any single fault."""
        newest = emulator.sessions[0]
        async with emulator.client(attempt_timeout=0.3) as client:
            for call in (
                client.get_session(newest.id),
                client.list_sessions().first(),
            ):
                emulator.fail(fault=fault, times=1)
                assert newest == await call

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("reset", ConnectionLostError),
            ("close", ConnectionLostError),
            ("cut", ConnectionLostError),
            ("cut_chunked", ConnectionLostError),
            ("garbage", ResponseShapeError),
            ("html", ResponseShapeError),
            ("huge", ResponseShapeError),
            ("bomb", ResponseShapeError),
            ("hang", DeadlineError),
        ],
    )
    async def test_a_lasting_fault_is_one_clear_error(self, emulator, fault, error):
        """Each fault has its own error, and other calls go on."""
        sick, well = emulator.sessions[:2]
        emulator.fail(path=f"*/{sick.id}", fault=fault)
        options = {"attempt_timeout": 3.0, "retry": RetryPolicy(attempts=2, base=0.01)}
        if fault == "hang":
            options["attempt_timeout"] = 0.1
        async with emulator.client(**options) as client:
            batch = await client.get_sessions([sick.id, well.id])
        assert [well.id] == list(batch)
        caught = batch.errors[sick.id]
        assert error is type(caught)
        assert 2 == caught.attempts
        assert "\n" not in str(caught)

    @pytest.mark.parametrize("status", [400, 403, 409, 413, 418, 425, 501, 505])
    async def test_final_statuses_are_not_retried(self, emulator, status):
        """A request with a permanent error is sent once."""
        emulator.fail(status=status, headers={"Retry-After": "0"})
        async with emulator.client() as client:
            with pytest.raises(StatusError) as caught:
                await client.get_session(ID)
        assert (status, 1) == (caught.value.status, caught.value.attempts)
        assert 1 == len(emulator.requests)

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
    async def test_failures_of_the_service_are_retried(self, emulator, status):
        """A 5xx is tried again, with `Retry-After: 0` too, but not in a hot loop."""
        emulator.fail(status=status, headers={"Retry-After": "0"})
        policy = RetryPolicy(attempts=3, base=0.01)
        async with emulator.client(retry=policy) as client:
            with pytest.raises(ServerError) as caught:
                await client.get_session(ID)
        assert (status, 3) == (caught.value.status, caught.value.attempts)
        assert 3 == len(emulator.requests)


IDLE = http("408 Request Timeout", b"", "Connection: close")
"""The ways in which servers close an idle connection just as a request is sent."""


class TestIdleConnections:
    @pytest.mark.parametrize(
        ("call", "answers"),
        [
            (lambda client: client.get_session(ID, fresh=True), [OK]),
            (lambda client: client.update_session(ID, name="Pitch"), [OK]),
            (lambda client: client.stop_session(ID), [OK]),
            (
                lambda client: client.stop_session(ID),
                [http("400 Bad Request", b'{"message": "not active"}'), OK],
            ),
            (lambda client: client.delete_session(ID), [http("204 No Content")]),
            (lambda client: client.delete_session(ID), [http("404 Not Found")]),
        ],
        ids=[
            "get",
            "rename",
            "stop",
            "a stop that worked",
            "delete",
            "a repeat of one",
        ],
    )
    async def test_a_408_is_a_lost_answer(self, call, answers):
        """A call is sent again if the server closes its idle connection."""
        async with serving(always(OK, IDLE, *answers)) as server:
            async with client_of(server, retry=RetryPolicy(base=0.01)) as client:
                await client.get_session(ID)
                await call(client)
        assert 2 + len(answers) == len(server.heads)

    async def test_a_408_to_a_create_leaves_it_in_doubt(self):
        """A POST is never sent twice; its outcome is unknown."""
        async with serving(always(OK, IDLE, OK)) as server, client_of(server) as client:
            await client.get_session(ID)
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_session("Pitch", "rtmp://live.example/app/key")
        assert (2, 408) == (len(server.heads), caught.value.__cause__.status)


def _bomb(frame):
    """Return a function that makes an answer with so many bytes of empty arrays."""

    def answer(size):
        arrays = b"[%s[]]" % (b"[]," * (size // 3))
        body = json.dumps(frame).encode().replace(b"null", arrays)
        return http("200 OK", gzip.compress(body, 1), "Content-Encoding: gzip")

    return answer


BOMBED = {
    "session": (lambda client: client.get_session(ID), _bomb(WIRE | {"x": None})),
    "sources": (lambda client: client.get_session(ID), _bomb(WIRE | {"sources": None})),
    "bare": (lambda client: client.get_session(ID), _bomb(None)),
    "created": (lambda client: client.create_session("P", "rtmp://h/k"), _bomb(None)),
    "timeline": (
        lambda client: client.get_emotions_timeline(ID),
        _bomb({"session": ID, "timeline": None}),
    ),
    "sentiment": (
        lambda client: client.get_transcription_sentiment(ID),
        _bomb({"session": ID, "timeline": [], "x": None}),
    ),
    "page": (
        lambda client: client.list_sessions().first(),
        _bomb({"hasMore": False, "data": None}),
    ),
    "custom": (lambda client: client.request("GET", "/v1/x"), _bomb(None)),
}
"""Calls, and the bombs that are their answers."""


class TestHostileServers:
    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b"nonsense\r\n\r\n", ResponseShapeError),
            (b"HTTP/1.1 999999 No\r\n\r\n", ResponseShapeError),
            (http("200 OK", b""), ResponseShapeError),
            (http("200 OK", b"[]"), ResponseShapeError),
            (http("200 OK", b"null"), ResponseShapeError),
            (http("200 OK", b"\xff\xfe{}"), ResponseShapeError),
            (http("200 OK", b"[" * 200_000), ResponseShapeError),
            (http("200 OK", b"x" * 50, "Content-Encoding: gzip"), ResponseShapeError),
            (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**20, ResponseShapeError),
            (
                http(
                    "502 Bad Gateway", b"<html>oops</html>", "Content-Type: text/html"
                ),
                ServerError,
            ),
            (http("400 Bad", b'{"message": {"a": 1}}'), BadRequestError),
            (http("503 No", b"x" * 10_000_000), ServerError),
        ],
        ids=range(12),
    )
    async def test_get_one_clear_error(self, answer, error):
        """Every broken answer raises one error of ours."""
        async with serving(always(answer, keep=False)) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                with pytest.raises(error) as caught:
                    await client.get_session(ID)
        assert ID in str(caught.value)
        assert len(str(caught.value)) < 400

    async def test_a_byte_order_mark_is_passed_over(self):
        """JSON that begins with a BOM is still JSON."""
        answer = http("200 OK", b"\xef\xbb\xbf" + BODY)
        async with serving(always(answer)) as server, client_of(server) as client:
            assert ID == (await client.get_session(ID)).id

    @pytest.mark.parametrize(
        ("coding", "packed"),
        [
            ("gzip", gzip.compress(BODY)),
            ("X-GZIP", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
            ("deflate", zlib.compress(BODY)),
            ("deflate", zlib.compress(BODY, wbits=-15)),
            ("identity", BODY),
            ("", BODY),
        ],
        ids=range(6),
    )
    async def test_compressed_answers_are_read(self, coding, packed):
        """A compressed body is a body."""
        answer = http("200 OK", packed, f"Content-Encoding: {coding}")
        async with serving(always(answer)) as server, client_of(server) as client:
            assert ID == (await client.get_session(ID)).id

    async def test_a_bomb_does_not_fill_the_memory(self, emulator):
        """300 MB in 300 kB of gzip are refused at the cap, and memory stays low."""
        session = emulator.sessions[0]
        process = psutil.Process()
        emulator.fail(fault="bomb", times=1)
        async with emulator.client(retry=ONE_TRY) as client:
            before = max(
                process.memory_info().rss,
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            )
            with pytest.raises(ResponseShapeError, match="longer than what is read"):
                await client.get_session(session.id)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        # The emulator, in this process too, holds the bomb's 300 kB and little else.
        assert after - before < 60 * 2**20

    @pytest.mark.parametrize("size", [33_000_000, 1_900_000, 1_000_000])
    @pytest.mark.parametrize("call", BOMBED)
    async def test_nor_does_one_that_is_json(self, call, size):
        """Memory stays low for 33 MB of empty arrays, compressed or not."""
        ask, bomb = BOMBED[call]
        async with serving(always(bomb(size))) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                tracemalloc.start()
                try:
                    with suppress(ResponseShapeError, OutcomeUnknownError):
                        await ask(client)
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
        assert peak < 150 * 2**20

    @pytest.mark.parametrize("kind", ["keys", "words", "text"])
    async def test_nor_does_one_of_other_parts(self, kind):
        """Memory stays low for keys or words that all differ, and for wide letters."""
        if kind == "keys":
            pairs = ",".join(f'"{n:05x}":"ab"' for n in range(1_200_000))
            body = f'{{"session":"{ID}","timeline":[],"x":{{{pairs}}}}}'.encode()
        elif kind == "words":
            body = b"[%s0]" % (
                '"abcdef\N{LATIN SMALL LETTER A WITH MACRON}",'.encode() * 1_520_000
            )
        else:
            body = f'["{"a" * 33_000_000}\N{ROCKET}"]'.encode()
        packed = http("200 OK", gzip.compress(body, 1), "Content-Encoding: gzip")
        del body
        async with serving(always(packed)) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                tracemalloc.start()
                try:
                    with pytest.raises(ResponseShapeError):
                        await client.get_emotions_timeline(ID)
                    with suppress(ResponseShapeError):
                        await client.request("GET", "/v1/x")
                    peak = tracemalloc.get_traced_memory()[1]
                finally:
                    tracemalloc.stop()
        assert peak < 150 * 2**20

    async def test_a_day_of_a_timeline_in_steps_of_5_s_is_read(self):
        """The longest possible answer is read, with room for two more names."""
        level = {"people": 2, "quantity": 13, "intensity": 0.12345678901}
        emotions = {f"emotion{n}": level for n in range(9)}
        steps = [
            {"start": at, "end": at + 5, "detectedFaces": 3, "emotions": emotions}
            for at in range(0, 86_400, 5)
        ]
        body = json.dumps({"session": ID, "timeline": steps}).encode()
        packed = http("200 OK", gzip.compress(body, 1), "Content-Encoding: gzip")
        async with serving(always(packed)) as server, client_of(server) as client:
            timeline = await client.get_emotions_timeline(ID, granularity=5)
        assert len(timeline.intervals) == 17_280

    @pytest.mark.timing
    @pytest.mark.parametrize("call", BOMBED)
    async def test_nor_does_one_hold_the_loop(self, call):
        """Parsing 33 MB of empty arrays stops after a moment."""
        ask, bomb = BOMBED[call]
        async with serving(always(bomb(33_000_000))) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                started = time.process_time()
                with pytest.raises((ResponseShapeError, OutcomeUnknownError)):
                    await ask(client)
                assert time.process_time() - started < 1.0

    async def test_a_whole_day_is_read(self):
        """A timeline of a day in steps of 5 s is below all limits, and so is a page."""
        names = ["exaltation", "focus", "shock", "seriousness", "fatigue", "disgust"]
        measures = {
            name: {"people": 3, "quantity": 2.654, "intensity": 0.8850000000001}
            for name in [*names, "overwhelming"]
        }
        intervals = [
            {"start": n, "end": n + 5, "detectedFaces": 3, "emotions": measures}
            for n in range(0, 86_400, 5)
        ]
        day = http(
            "200 OK", json.dumps({"session": ID, "timeline": intervals}).encode()
        )
        data = [WIRE | {"user": {"_id": "u", "about": "x" * 30_000}}] * 100
        page = http("200 OK", json.dumps({"hasMore": False, "data": data}).encode())
        async with serving(always(day, page)) as server, client_of(server) as client:
            timeline = await client.get_emotions_timeline(ID, granularity=5)
            assert 17_280 == len(timeline.intervals)
            assert ID == (await client.list_sessions(expand=["user"]).first()).id

    @pytest.mark.timing
    @pytest.mark.parametrize("part", [b"X-Slow: ", b"Content-Length: 500\r\n\r\n"])
    async def test_what_trickles_ends_with_the_attempt(self, part):
        """A call ends in time if the server sends its head or body byte by byte."""

        async def trickle(writer, number):
            writer.write(b"HTTP/1.1 200 OK\r\n" + part)
            for byte in b"x" * 500:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
            return False

        async with serving(trickle) as server:
            async with client_of(server, attempt_timeout=0.1, retry=ONE_TRY) as client:
                started = time.monotonic()
                with pytest.raises(DeadlineError):
                    await client.get_session(ID)
                assert time.monotonic() - started < 0.2

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            (("100", "50", "30", "100;w=60"), RateLimit(100, 50, 30.0, "100;w=60")),
            (("100", "50", "0.5", None), RateLimit(100, 50, 0.5, None)),
            (("100", "101", "30", None), None),
            (("0", "0", "30", None), None),
            (("-5", "1", "30", None), None),
            (("1e3", "1", "30", None), None),
            (("١٠٠", "1", "30", None), None),
            (("100", "50", "1000000000", None), None),
            (("100", None, "30", None), None),
        ],
    )
    async def test_rate_headers_are_believed_only_if_they_can_be_true(
        self, headers, expected
    ):
        """Hostile rate limit headers are ignored."""
        names = ("Limit", "Remaining", "Reset", "Policy")
        lines = [
            f"RateLimit-{name}: {value}".encode().decode("latin-1")
            for name, value in zip(names, headers, strict=True)
            if value is not None
        ]
        answer = http("200 OK", BODY, *lines)
        async with serving(always(answer)) as server, client_of(server) as client:
            await client.get_session(ID)
            assert expected == client.rate_limit

    async def test_an_answer_of_status_0_tells_of_the_rate_limit(self):
        """Whatever its status, an answer is one, and its tokens are counted."""
        limit = (
            "RateLimit-Limit: 100",
            "RateLimit-Remaining: 0",
            "RateLimit-Reset: 60",
        )
        answer = http("000 None", BODY, *limit)
        async with serving(always(answer)) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                with pytest.raises(StatusError):
                    await client.get_session(ID)
                with client.deadline(0.1), pytest.raises(RateLimitedError):
                    await client.get_session(ID)
        assert 1 == len(server.heads)

    async def test_an_unread_body_does_not_block_the_next_request(self):
        """A 503 with 20 MB of body is let go before the retry, with one slot too."""
        big = http("503 No", b"x" * 20_000_000)
        async with serving(always(big, OK)) as server:
            policy = RetryPolicy(base=0.001)
            async with client_of(server, concurrency=1, retry=policy) as client:
                assert ID == (await client.get_session(ID)).id
        assert 2 == len(server.heads)


UNREADABLE = {
    "br": (
        http("200 OK", b"\x0b\x02\x80{}\x03", "Content-Encoding: br"),
        "packed as br",
    ),
    "zstd": (http("200 OK", b"(\xb5/\xfd", "Content-Encoding: zstd"), "packed as zstd"),
    "unknown": (
        http("200 OK", BODY, "Content-Encoding: x"),
        "packed in an unknown way",
    ),
    "twice": (
        http("200 OK", gzip.compress(BODY), "Content-Encoding: br, gzip"),
        "packed in an unknown way",
    ),
    "gzip": (http("200 OK", BODY, "Content-Encoding: gzip"), "no valid gzip"),
    "deflate": (http("200 OK", BODY, "Content-Encoding: deflate"), "no valid deflate"),
    "half": (
        http("200 OK", gzip.compress(BODY)[:-9], "Content-Encoding: gzip"),
        "no valid gzip",
    ),
    "behind": (
        http("200 OK", gzip.compress(BODY) + b"x", "Content-Encoding: gzip"),
        "no valid gzip",
    ),
    "members": (
        http("200 OK", gzip.compress(b"") * 40_000, "Content-Encoding: gzip"),
        "no valid gzip",
    ),
    "header": (http("200 OK", BODY, "X: " + "a" * 9_000), "a line of its head is too"),
    "reason": (http("200 " + "a" * 9_000, BODY), "a line of its head is too long"),
    "status": (b"HTTP/1.1 no\r\n\r\n", "its head is no valid HTTP"),
    "nonsense": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "its head is no valid HTTP"),
    "control": (http("200 OK", BODY, "X: a\x00b"), "its head is no valid HTTP"),
    "name": (http("200 OK", BODY, "X\x01: a"), "its head is no valid HTTP"),
    "many": (http("200 OK", BODY, *(f"X{n}: a" for n in range(300))), "its head is no"),
}
"""Answers that are unreadable at every attempt, and the reasons."""

HEADLESS = ("header", "reason", "status", "nonsense", "control", "name", "many")
"""The answers among them whose status cannot be read either."""


class TestUnreadableAnswers:
    @pytest.mark.parametrize("kind", UNREADABLE)
    async def test_say_what_they_are_after_a_second_try(self, kind):
        """A read is tried twice, and its error says what came instead of an answer."""
        answer, problem = UNREADABLE[kind]
        async with serving(always(answer, keep=False)) as server:
            async with client_of(server, retry=RetryPolicy(base=0.001)) as client:
                with pytest.raises(ResponseShapeError, match=problem) as caught:
                    await client.get_session(ID)
        assert 2 == len(server.heads) == caught.value.attempts
        assert problem in caught.value.problems[0]
        assert 300 > len(str(caught.value))

    @pytest.mark.parametrize("kind", UNREADABLE)
    async def test_leave_the_fate_of_a_write_unknown(self, kind):
        """A write with an unreadable answer is sent once."""
        answer, problem = UNREADABLE[kind]
        async with serving(always(answer, keep=False)) as server:
            async with client_of(server, retry=RetryPolicy(base=0.001)) as client:
                for write in (
                    lambda: client.create_session("Pitch", "rtmp://host/key"),
                    lambda: client.update_session(ID, name="Pitch"),
                ):
                    with pytest.raises(OutcomeUnknownError, match=problem):
                        await write()
        assert 2 == len(server.heads)

    @pytest.mark.parametrize("kind", UNREADABLE)
    async def test_of_a_delete_count_by_their_status(self, kind):
        """A DELETE has worked if its answer said so, packed or not, and only then."""
        answer, problem = UNREADABLE[kind]
        async with serving(always(answer, keep=False)) as server:
            async with client_of(server) as client:
                if kind in HEADLESS:
                    with pytest.raises(OutcomeUnknownError, match=problem):
                        await client.delete_session(ID)
                else:
                    await client.delete_session(ID)
        assert 1 == len(server.heads)

    @pytest.mark.parametrize("kind", ["status", "br"])
    async def test_of_a_stop_are_settled(self, kind):
        """After an unreadable answer to a stop, one get decides."""
        answer, _ = UNREADABLE[kind]
        async with serving(always(answer, OK)) as server, client_of(server) as client:
            assert "finished" == (await client.stop_session(ID)).state
        assert [b"POST", b"GET "] == [head[:4] for head in server.heads]

    @pytest.mark.parametrize("coding", ["br", "gzip", "x"])
    async def test_with_a_status_are_that_status(self, coding):
        """An error whose body cannot be unpacked is the error that its status names."""
        answer = http("404 Not Found", b"???", f"Content-Encoding: {coding}")
        async with serving(always(answer)) as server, client_of(server) as client:
            with pytest.raises(NotFoundError, match="404: Not Found"):
                await client.get_session(ID)
        assert 1 == len(server.heads)

    async def test_show_nothing_of_what_came(self):
        """A head that cannot be read is not quoted: it may repeat the token."""
        answer = b"HTTP/1.1 s3cret-token\r\nX: s3cret-token\r\n\r\n"
        async with serving(always(answer, keep=False)) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                with pytest.raises(ResponseShapeError) as caught:
                    await client.get_session(ID)
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))


OTHER = json.dumps(WIRE | {"_id": "1" * 24, "name": "Other"}).encode()
STRAYS = {
    "201": http("201 Created", OTHER),
    "200": http("200 OK", BODY),
    "404": http("404 Not Found", b'{"message": "Session not found"}'),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "bytes": b"{}",
    "half": b"HTTP/1.1 20",
    "lines": b"\r\n\r\n",
}
"""Unasked answers of a broken server or proxy."""


@pytest.mark.parametrize("own", [True, False], ids=["own", "passed"])
@pytest.mark.parametrize("stray", STRAYS)
class TestUnaskedAnswers:
    """An unasked answer follows an answer on the same connection."""

    @staticmethod
    @asynccontextmanager
    async def after_one(stray, own, answer):
        """Give a client that has got a session and then an unasked answer."""

        async def answer_twice(writer, number):
            writer.write(OK if number == 1 else answer)
            if number == 1:
                asyncio.get_running_loop().call_later(0.02, writer.write, STRAYS[stray])
            return True

        async with serving(answer_twice) as server, aiohttp.ClientSession() as passed:
            options = {} if own else {"http": passed}
            async with client_of(server, retry=ONE_TRY, **options) as client:
                await client.get_session(ID)
                await asyncio.sleep(0.05)
                yield client
        assert 2 == len(server.heads)

    async def test_are_not_taken_for_that_to_a_create(self, stray, own):
        """A create returns the session that it has made."""
        made = http("201 Created", BODY)
        async with self.after_one(stray, own, made) as client:
            session = await client.create_session("Pitch", "rtmp://host/key")
        assert (ID, "Pitch") == (session.id, session.name)

    async def test_are_not_taken_for_that_to_a_rename(self, stray, own):
        """A rename that returns has renamed the session."""
        renamed = http("200 OK", BODY.replace(b"Pitch", b"New"))
        async with self.after_one(stray, own, renamed) as client:
            assert "New" == (await client.update_session(ID, name="New")).name

    async def test_are_not_taken_for_that_to_a_delete(self, stray, own):
        """A delete that returns has deleted that session and no other."""
        async with self.after_one(stray, own, STRAYS["204"]) as client:
            assert await client.delete_session(ID) is None

    async def test_are_not_taken_for_that_to_a_get(self, stray, own):
        """A get returns an answer that was sent after the get."""
        newer = http("200 OK", BODY.replace(b"Pitch", b"New"))
        async with self.after_one(stray, own, newer) as client:
            assert "New" == (await client.get_session(ID, fresh=True)).name


async def test_a_server_that_always_answers_first(monkeypatch):
    """The request is not sent after too many connections with unasked answers."""
    monkeypatch.setattr(transport, "MAX_SPOILT", 1)

    async def answer_twice(writer, number):
        writer.write(OK)
        asyncio.get_running_loop().call_later(0.02, writer.write, OK)
        return True

    async with serving(answer_twice) as server:
        async with client_of(server, retry=ONE_TRY) as client:
            await client.get_session(ID)
            await asyncio.sleep(0.05)
            with pytest.raises(NotSentError, match="answers before it is asked"):
                await client.create_session("Pitch", "rtmp://host/key")
    assert 1 == len(server.heads)


class TestWritesAreWhatWasAsked:
    @pytest.mark.parametrize("name", ["Pitch", " Pitch ", "Cafe\u0301"])
    async def test_as_far_as_spelling_goes(self, name):
        """A service may trim a name, or write its accents in another way."""
        spelt = unicodedata.normalize("NFC", name.strip())
        answer = http("201 Created", json.dumps(WIRE | {"name": spelt}).encode())
        async with serving(always(answer)) as server, client_of(server) as client:
            session = await client.create_session(name, "rtmp://host/key")
            assert (
                spelt
                == session.name
                == (await client.update_session(ID, name=name)).name
            )

    async def test_or_in_doubt(self):
        """The outcome of a write is unknown if its answer is about something else."""
        source = {"id": "s", "device": "d", "type": "t", "name": "Pulse"}
        answers = [
            WIRE,
            WIRE,
            source | {"format": "scalar", "name": "Other"},
            source | {"format": "text"},
        ]
        answers = [http("201 Created", json.dumps(each).encode()) for each in answers]
        async with serving(always(*answers)) as server, client_of(server) as client:
            for write, field in (
                (lambda: client.create_session("New", "rtmp://host/key"), "name"),
                (lambda: client.update_session(ID, name="New"), "name"),
                (
                    lambda: client.register_source(ID, name="Pulse", format="scalar"),
                    "name",
                ),
                (
                    lambda: client.register_source(ID, name="Pulse", format="scalar"),
                    "format",
                ),
            ):
                with pytest.raises(
                    OutcomeUnknownError, match=f"{field}: not what was asked for"
                ):
                    await write()
        assert 4 == len(server.heads)

    @pytest.mark.parametrize("later", ["finished", "active"])
    async def test_or_looked_at(self, later):
        """A get settles a stop whose answer is an active session."""
        active = json.dumps(WIRE | {"state": "active"}).encode()
        now = json.dumps(WIRE | {"state": later}).encode()
        answers = always(http("200 OK", active), http("200 OK", now))
        async with serving(answers) as server, client_of(server) as client:
            if later == "active":
                with pytest.raises(OutcomeUnknownError, match="still active"):
                    await client.stop_session(ID)
            else:
                assert later == (await client.stop_session(ID)).state
        assert [b"POST", b"GET "] == [head[:4] for head in server.heads]


WHO = ContextVar("WHO")


class TestContext:
    """Code that a call runs below itself has the context of the call."""

    async def test_is_that_of_the_caller(self):
        """Traces and middlewares of the caller's session see its context variables."""
        seen = []

        async def traced(session, context, params):
            seen.append(WHO.get())

        async def between(request, handler):
            seen.append(WHO.get())
            return await handler(request)

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(traced)
        options = {"trace_configs": [trace], "middlewares": [between]}
        async with serving(always(OK)) as server:
            async with aiohttp.ClientSession(**options) as http_:
                async with client_of(server, http=http_) as client:
                    WHO.set("get")
                    await client.get_session(ID)
                    WHO.set("bulk")
                    await client.get_sessions([ID], fresh=True)
                    WHO.set("write")
                    await client.update_session(ID, name="Pitch")
        assert ["get"] * 2 + ["bulk"] * 2 + ["write"] * 2 == seen

    async def test_has_nothing_of_ours(self):
        """A call made by a middleware has neither our deadline nor our priority."""
        seen = []

        async def between(request, handler):
            ours = call_module.deadline, call_module.priority, call_module.backlog
            seen.append([variable.get() for variable in ours])
            return await handler(request)

        async with serving(always(OK)) as server:
            async with aiohttp.ClientSession(middlewares=[between]) as http_:
                async with client_of(server, http=http_) as client:
                    with client.deadline(9.0):
                        await client.get_sessions([ID])
        assert [[math.inf, call_module.SINGLE, call_module.UNKNOWN]] == seen

    @pytest.mark.parametrize("size", [0, 900_000])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_is_let_go_with_the_call(self, method, size):
        """Neither a connection nor a timer keeps the context of an ended call."""

        class Visit:
            pass

        answer = http("200 OK", json.dumps({"x": "x" * size}).encode())
        async with serving(always(answer)) as server, client_of(server) as client:
            visit = Visit()
            gone = weakref.ref(visit)
            context = contextvars.copy_context()
            context.run(WHO.set, visit)
            call = client.request(method, "/v1/x")
            await asyncio.create_task(call, context=context)
            del visit, context, call
            await asyncio.sleep(0)  # the loop itself lets go of the task
            gc.collect()
            assert gone() is None
            await client.request("GET", "/v1/x")
        assert 1 == server.connections


class TestDeadConnections:
    @staticmethod
    async def once_then_gone(writer, number):
        """Answer the first request, and close at the second without a word."""
        if number == 2:
            return False
        writer.write(OK if number != 3 else http("404 Not Found"))
        return True

    async def test_a_read_on_one_is_repeated(self):
        """A get on a connection that has died succeeds."""
        async with serving(self.once_then_gone) as server, client_of(server) as client:
            await client.get_session(ID)
            with pytest.raises(EmoggError):
                await client.get_session(ID, fresh=True)  # the third answers 404
        assert 3 == len(server.heads)

    async def test_a_delete_on_one_is_settled(self):
        """A DELETE that worked is no 404: aiohttp's silent repeat is prevented."""
        async with serving(self.once_then_gone) as server, client_of(server) as client:
            await client.get_session(ID)
            assert await client.request("DELETE", f"/v1/sessions/{ID}") is None
        assert 3 == len(server.heads)
        assert 1 == client.stats.retries

    async def test_a_post_on_one_is_in_doubt(self):
        """A POST on a connection that died is not sent a second time."""
        async with serving(self.once_then_gone) as server, client_of(server) as client:
            await client.get_session(ID)
            with pytest.raises(OutcomeUnknownError):
                await client.request("POST", "/v1/sessions", json={})
        assert 2 == len(server.heads)


class TestNotSent:
    async def test_refused(self):
        """A request to a closed port is not sent, and a POST is tried again."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            policy = RetryPolicy(attempts=3, base=0.01)
            async with AsyncEmoggClient("t", base_url=url, retry=policy) as client:
                for call in (
                    client.get_session(ID),
                    client.request("POST", "/v1/sessions", json={}),
                ):
                    with pytest.raises(NotSentError) as caught:
                        await call
                    assert 3 == caught.value.attempts

    async def test_a_post_that_was_refused_first_is_made_once(self):
        """One request reaches a service that comes up between two attempts."""
        place = socket.socket()
        place.bind(("127.0.0.1", 0))
        arrived = []

        async def connected(reader, writer):
            arrived.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(http("201 Created", b'{"ok": true}'))
            writer.close()

        async def come_up():
            await until(lambda: client.stats.retries)
            return await asyncio.start_server(connected, sock=place)

        url = f"http://127.0.0.1:{place.getsockname()[1]}"
        policy = RetryPolicy(attempts=50, base=0.05, cap=0.05)
        async with AsyncEmoggClient("t", base_url=url, retry=policy) as client:
            server = asyncio.create_task(come_up())
            assert {"ok": True} == await client.request("POST", "/v1/x", json={})
            (await server).close()
        assert 1 == len(arrived)

    async def test_no_such_host(self, monkeypatch):
        """A request to a name that does not resolve is not sent."""

        async def fail(*args, **options):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
        async with AsyncEmoggClient(
            "t", base_url="https://emogg.invalid", retry=ONE_TRY
        ) as client:
            with pytest.raises(NotSentError, match="not known"):
                await client.get_session(ID)

    async def test_an_untrusted_certificate(self):
        """The token is not sent if the certificate cannot be verified."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # the server's side of it
        async with serving(always(OK), ssl=context) as server:
            async with client_of(server, retry=ONE_TRY) as client:
                with pytest.raises(NotSentError):
                    await client.get_session(ID)
        assert [] == server.heads


def _aiohttp_errors():
    for name, kind in vars(aiohttp).items():
        if inspect.isclass(kind) and issubclass(kind, aiohttp.ClientError):
            yield pytest.param(kind, id=name)


@pytest.mark.parametrize("kind", list(_aiohttp_errors()))
def test_every_error_of_aiohttp_has_a_counterpart(kind):
    """Every error of aiohttp, even one of a later version, becomes one of ours."""
    error = kind.__new__(kind)
    ours = translated(error, Request("GET", "/v1/sessions"))
    assert isinstance(ours, TransportError)
    surely_not_sent = issubclass(
        kind,
        aiohttp.ClientConnectorError
        | aiohttp.InvalidURL
        | aiohttp.ServerFingerprintMismatch
        | aiohttp.ClientHttpProxyError
        | aiohttp.NonHttpUrlClientError,
    )
    assert surely_not_sent is isinstance(ours, NotSentError)
