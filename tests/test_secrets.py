import asyncio
import copy
import gc
import json
import logging
import pickle
import re
import traceback
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from aiocache import SimpleMemoryCache
from aiohttp import ClientSession
from aiohttp.http_parser import HttpResponseParserPy
from rawserver import always, http, serving

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ClientClosedError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
    redis_cache,
)
from emogg_async._many import listing, outcomes, stream
from emogg_async.events import (
    AttemptFailed,
    RateLimited,
    RetryScheduled,
    StaleServed,
)

TOKEN = "tok-5ecret-0123456789-abcdef"
FAST = RetryPolicy(attempts=2, base=0.001)


def assert_clean(*texts):
    """Fail if any eight characters in a row of the token are in a text."""
    for text in texts:
        for start in range(len(TOKEN) - 7):
            assert TOKEN[start : start + 8] not in text


def everything_in(error):
    """Show an error, and what led to it, in every way there is."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        error = error.__cause__ or error.__context__


@pytest.fixture
def everything_logged(caplog):
    """Record what all loggers say, aiohttp's and asyncio's too."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


FAULTS = [
    {"fault": "reset"},
    {"fault": "close"},
    {"fault": "cut"},
    {"fault": "garbage"},
    {"fault": "html"},
    {"fault": "hang"},
    {"status": 503},
    {"status": 429, "headers": {"Retry-After": "99999"}},
    {"status": 400, "body": {"error": True, "message": f"bad token {TOKEN}!"}},
    {"status": 401, "body": f'{{"message": "Bearer {TOKEN} is no good"}}'},
    {"status": 200, "body": {"name": TOKEN}},
    {"status": 200, "body": f"not json {TOKEN}"},
    {"status": 302, "body": {"message": f"moved with {TOKEN}"}},
    {"status": 302, "headers": {"Location": f"http://127.0.0.1/?{TOKEN}"}},
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_shows_the_token(emulator, everything_logged, fault):
    """Whatever fails, even if the service echoes it: no error, cause or log has it."""
    emulator.add_token(TOKEN)
    emulator.fail(**fault)
    options = {"attempt_timeout": 0.1, "timeout": 1.0, "retry": FAST}
    async with emulator.client(token=TOKEN, **options) as client:
        calls = [client.get_session("0" * 24)]
        if fault.get("status") != 200:
            calls.append(client.request("POST", "/v1/sessions", json={"name": "x"}))
        for call in calls:
            with pytest.raises(EmoggError) as caught:
                await call
            error = caught.value
            chain = "".join(traceback.format_exception(error))
            assert_clean(chain, *everything_in(error))
            assert_clean(repr(pickle.dumps(error)), repr(vars(copy.copy(error))))
        assert_clean(repr(client), repr(client.stats), repr(client.rate_limit))
    assert_clean(everything_logged.text, repr(emulator), repr(emulator.requests))


STREAM = "rtmp://user:pa55word@live.example/app/s3cret-key@h?auth=qu3ry-key"


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f'"streamUri" with value "{STREAM}" is bad', 'with value "***" is bad'),
        ("stream s3cret-key of app is in use", "stream *** of app is in use"),
        ("cut: rtmp://user:pa55word@live.example/app/s3cret-key@", "live.example"),
        ("auth=qu3ry-key&b", "auth=***&b"),
    ],
)
async def test_no_error_shows_the_key_of_a_stream(
    emulator, everything_logged, status, message, shown
):
    """Not even if the service quotes it, whole or in part."""
    emulator.fail("POST", status=status, body={"message": message})
    async with emulator.client(retry=FAST) as client:
        payload = {"name": "n", "streamUri": STREAM}
        for call in (
            client.create_session("n", STREAM),
            client.request("POST", "/v1/sessions", json=payload),
        ):
            with pytest.raises(EmoggError, match=re.escape(shown)) as caught:
                await call
            chain = "".join(traceback.format_exception(caught.value))
            texts = [chain, *everything_in(caught.value), everything_logged.text]
            for key in ("pa55word", "s3cret-key", "qu3ry-key"):
                assert key not in "".join(texts)


async def test_a_refused_stream_that_is_no_address_is_not_shown(emulator):
    """Whatever `request` sends in its place."""
    emulator.fail("POST", status=400, body={"message": "no s3cret-key here"})
    async with emulator.client() as client:
        for payload in ({"streamUri": 5}, {"streamUri": ""}, ["streamUri"]):
            with pytest.raises(EmoggError, match="no s3cret-key here"):
                await client.request("POST", "/v1/sessions", json=payload)


async def test_no_cache_key_and_no_value_has_the_token(emulator, everything_logged):
    """Keys are made from the token in a way that tells nothing of it."""
    emulator.add_token(TOKEN)
    session = emulator.add_session(token=TOKEN)
    backend = SimpleMemoryCache()
    policy = CachePolicy(backend=backend)
    async with emulator.client(token=TOKEN, cache=policy) as client:
        await client.get_session(session.id)
    assert 1 == len(backend._cache)
    assert_clean(repr(backend._cache), everything_logged.text)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**17 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        http("401 No", b'{"message": "tok\\u002d5ecret-0123456789-abcdef is bad"}'),
        http("400 No", b'{"message": "' + b"x" * 190 + TOKEN.encode() + b'"}'),
        b"HTTP/1.1 200 OK\r\nYou sent " + TOKEN.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + TOKEN.encode() + b"\r\n\r\n",
        b"Bearer " + TOKEN.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Echo: " + TOKEN.encode() + b"\r\nY: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: " + TOKEN.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n"
        + TOKEN.encode()
        + b"\r\n",
    ],
    ids=range(12),
)
@pytest.mark.parametrize("compiled", [True, False])
async def test_no_broken_answer_shows_the_token(
    everything_logged, monkeypatch, answer, compiled
):
    """Nor do the errors of the HTTP library below, or an escaped or cut echo."""
    if not compiled:
        parser = "aiohttp.client_proto.HttpResponseParser"
        monkeypatch.setattr(parser, HttpResponseParserPy)
    async with serving(always(answer, keep=False)) as server:
        async with AsyncEmoggClient(TOKEN, base_url=server.url, retry=FAST) as client:
            with pytest.raises(EmoggError) as caught:
                await client.get_session("0" * 24)
    assert_clean("".join(traceback.format_exception(caught.value)))
    assert_clean(*everything_in(caught.value), everything_logged.text)


async def test_nor_does_a_broken_body(everything_logged, monkeypatch):
    """Also where aiohttp has no compiled parser, whose errors are of other kinds."""
    monkeypatch.setattr("aiohttp.client_proto.HttpResponseParser", HttpResponseParserPy)

    async def answer(writer, _):
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n"
        )
        await writer.drain()
        await asyncio.sleep(0.01)  # or all of it would be read at once
        writer.write(TOKEN.encode() + b"\r\n")
        return False

    async with serving(answer) as server:
        async with AsyncEmoggClient(TOKEN, base_url=server.url, retry=FAST) as client:
            with pytest.raises(ConnectionLostError) as caught:
                await client.get_session("0" * 24)
    assert 2 == caught.value.attempts
    assert_clean("".join(traceback.format_exception(caught.value)))
    assert_clean(*everything_in(caught.value), everything_logged.text)


async def test_a_refused_connection_does_not_show_the_token(everything_logged):
    """Nor is it in what the network layer says."""
    async with AsyncEmoggClient(TOKEN, base_url="http://127.0.0.1:1", retry=FAST) as c:
        with pytest.raises(NotSentError) as caught:
            await c.get_session("0" * 24)
    assert_clean("".join(traceback.format_exception(caught.value)))
    assert_clean(everything_logged.text)


LONG_TOKEN = f"{TOKEN}/with+slashes=and-much-more-than-forty-characters=="


def _named(token, value):
    return json.dumps({"session": "0" * 24, "emotions": {token: value}}).encode()


ECHOES = {
    "type": lambda token: http("200 OK", b"<", f"Content-Type: text/{token}"),
    "other type": lambda token: http("200 OK", b"<", f"Content-Type: {token}/html"),
    "emotion": lambda token: http("200 OK", _named(token, "many")),
    "part of an emotion": lambda token: http("200 OK", _named(f"x.{token}.x", [])),
    "phrase": lambda token: http(f"404 {token}"),
    "policy": lambda token: http(
        "404 No",
        b"",
        *(f"RateLimit-{name}: 9" for name in ("Limit", "Remaining", "Reset")),
        f"RateLimit-Policy: {token};w=60",
    ),
    "wait": lambda token: http("503 No", b"", f"Retry-After: {token}"),
    "other headers": lambda token: http(
        "302 Go", b"", f"Location: /{token}", f"X-Request-Id: {token}"
    ),
}


@pytest.mark.parametrize("token", [TOKEN, LONG_TOKEN], ids=["short", "long"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_wherever_a_service_repeats_the_token_it_is_not_shown(
    everything_logged, echo, token
):
    """Neither in the error, nor in an event, a log line, or what is known of limits."""
    told = []
    options = {"retry": FAST, "on_event": told.append}
    async with serving(always(ECHOES[echo](token))) as server:
        async with AsyncEmoggClient(token, base_url=server.url, **options) as client:
            with pytest.raises(EmoggError) as caught:
                await client.get_emotions("0" * 24)
            assert_clean(repr(client.rate_limit))
    assert told
    assert_clean(*everything_in(caught.value), everything_logged.text, repr(told))


async def test_nor_does_a_type_show_the_key_of_a_stream(everything_logged):
    """What a service makes of a request that it quotes is no matter."""
    answer = http("200 OK", b"<", "Content-Type: text/s3cret-key")
    async with serving(always(answer)) as server:
        async with AsyncEmoggClient(TOKEN, base_url=server.url, retry=FAST) as client:
            with pytest.raises(EmoggError) as caught:
                await client.create_session("n", STREAM)
    texts = [*everything_in(caught.value), everything_logged.text]
    assert "s3cret-key" not in "".join(texts)


async def test_what_is_known_of_limits_is_otherwise_as_the_service_says(knowing):
    """A policy without the token is shown as it is."""
    async with knowing.client(token=TOKEN) as client:
        await client.list_sessions().first()
        assert "1000000;w=60" == client.rate_limit.policy


def chain_of(error):
    """Yield an error, its causes, its contexts, and the members of its groups."""
    waiting = [error]
    while waiting:
        if (each := waiting.pop()) is not None:
            yield each
            waiting += [
                each.__cause__,
                each.__context__,
                *getattr(each, "exceptions", ()),
            ]


@pytest.fixture
def knowing(emulator):
    """Give the emulator, which knows the token."""
    emulator.add_token(TOKEN)
    return emulator


def opened(emulator, **options):
    """Make a client whose token is in no local variable of a test."""
    options = {"attempt_timeout": 0.05, "timeout": 0.5, "retry": FAST} | options
    return emulator.client(token=TOKEN, **options)


MAY_SHOW = {__file__, asyncio.timeouts.__file__} | {
    module.__file__ for module in (listing, outcomes, stream)
}
"""The caller's frames, and those of public methods that are generators, or raise."""


def assert_only_the_caller_shows(error):
    """Fail if *error* leads to a frame below the call, or shows a secret in one."""
    for each in chain_of(error):
        codes = [frame.f_code for frame, _ in traceback.walk_tb(each.__traceback__)]
        assert {code.co_filename for code in codes} <= MAY_SHOW, each
        assert {"collect", "first", "take"}.isdisjoint(code.co_name for code in codes)
    tracked = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(tracked.format())
    assert_clean(text)
    for key in ("pa55word", "s3cret-key", "qu3ry-key"):
        assert key not in text


ID = "0" * 24
SOURCE = "00000000-0000-0000-0000-000000000000"
SINCE = datetime(2024, 4, 1, tzinfo=UTC)


async def _batch(coming):
    (await coming).raise_for_errors()


async def _iteration(listing):
    async for _ in listing:
        pass


async def _streaming(client, call):
    async with client.stream(call, [ID]) as outcomes:
        async for outcome in outcomes:
            outcome.unwrap()


CALLS = {
    "get": lambda client: client.get_session(ID),
    "expanded": lambda client: client.get_session(ID, expand=["user"]),
    "emotions": lambda client: client.get_emotions(ID),
    "timeline": lambda client: client.get_emotions_timeline(ID),
    "sentiment": lambda client: client.get_transcription_sentiment(ID),
    "create": lambda client: client.create_session("n", STREAM),
    "find": lambda client: client.find_created_sessions("n", since=SINCE),
    "update": lambda client: client.update_session(ID, name="n"),
    "stop": lambda client: client.stop_session(ID),
    "delete": lambda client: client.delete_session(ID),
    "register": lambda client: client.register_source(ID, name="n", format="text"),
    "event": lambda client: client.send_event(ID, SOURCE, time=1, data="d"),
    "bulk": lambda client: _batch(client.get_sessions([ID, "1" * 24])),
    "pages": lambda client: _batch(
        client.get_sessions([f"{n:024x}" for n in range(9)], via="pages")
    ),
    "gather": lambda client: _batch(client.gather(client.get_emotions, [ID, ID[1:]])),
    "stream": lambda client: _streaming(client, client.get_emotions),
    "collect": lambda client: client.list_sessions().collect(),
    "first": lambda client: client.list_sessions().first(),
    "iteration": lambda client: _iteration(client.list_sessions()),
    "iterated pages": lambda client: _iteration(client.list_sessions().pages()),
    "request": lambda client: client.request("GET", "/v1/sessions"),
    "post": lambda client: client.request(
        "POST", "/v1/sessions", json={"streamUri": STREAM}
    ),
}


ENDS = [
    *({"fault": fault} for fault in ("reset", "close", "cut", "garbage", "hang")),
    {"status": 503},
    {"status": 401},
    {"status": 404},
    {"status": 429, "headers": {"Retry-After": "9999"}},
    {"status": 200, "body": {"data": 5}},
]


def fail_with(fault):
    """Return the calls that fail with *fault*."""
    if fault == {"fault": "garbage"}:
        return [call for name, call in CALLS.items() if name != "delete"]
    if fault.get("status") == 200:
        taken = {"delete", "request", "post"}
        return [call for name, call in CALLS.items() if name not in taken]
    return CALLS.values()


@pytest.mark.parametrize("fault", ENDS, ids=str)
async def test_no_error_keeps_a_frame_below_the_call(knowing, fault):
    """An error tracker that prints locals sees those of the caller, and no secret."""
    knowing.fail(**fault)
    async with opened(knowing) as client:
        for call in fail_with(fault):
            with pytest.raises((EmoggError, ExceptionGroup)) as caught:
                await call(client)
            assert_only_the_caller_shows(caught.value)


async def _ended(client, call, end):
    """Make a call that ends in another way than by an answer; return its error."""
    before = asyncio.create_task(client.request("GET", "/v1/other"))
    await asyncio.sleep(0)

    async def ended():
        with client.deadline(0.05 if end == "gate" else 10):
            async with asyncio.timeout(0.05 if end == "timeout" else None):
                await call(client)

    task = asyncio.create_task(ended())
    if end != "gate":
        before.cancel()
    if end in {"closed", "cancelled"}:
        for _ in range(9):
            await asyncio.sleep(0.002)
        if end == "closed":
            await client.aclose()
        else:
            task.cancel()
    await asyncio.wait([task])
    before.cancel()
    await asyncio.gather(before, return_exceptions=True)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a cancellation, too
        await task
    return caught.value


@pytest.mark.parametrize("end", ["refused", "gate", "closed", "cancelled", "timeout"])
async def test_nor_does_one_that_no_answer_led_to(knowing, end):
    """That holds however the call ends."""
    knowing.fail(fault="hang")
    options = {"concurrency": 1, "timeout": 60, "attempt_timeout": 15}
    if end == "refused":
        options["base_url"] = "http://127.0.0.1:1"
    kinds = {
        "refused": NotSentError,
        "gate": DeadlineError,
        "closed": (ClientClosedError, OutcomeUnknownError),
        "cancelled": asyncio.CancelledError,
        "timeout": TimeoutError,
    }
    for call in CALLS.values():
        async with opened(knowing, **options) as client:
            error = await _ended(client, call, end)
            ends = [each for each in chain_of(error) if isinstance(each, kinds[end])]
            assert ends, error
            assert_only_the_caller_shows(error)


async def test_an_error_tells_what_was_handled_when_it_came(emulator):
    """What the caller was handling is still its context, with the caller's frames."""
    async with emulator.client() as client:
        with pytest.raises(NotFoundError) as caught:
            try:
                {}["of the caller"]
            except KeyError:
                await client.get_session(ID)
    context = caught.value.__context__
    assert isinstance(context, KeyError)
    assert context.__traceback__ is not None


async def test_an_event_carries_no_frame_and_no_secret(knowing):
    """What is told of a failure, while its call goes on, is as clean."""
    session = knowing.add_session(token=TOKEN)
    told, problems = [], []

    def listen(event):
        if (error := getattr(event, "error", None)) is not None:
            told.append(type(event))
            try:
                assert_only_the_caller_shows(error)
            except AssertionError as problem:  # which would hurt no call
                problems.append(problem)

    gone = CachePolicy(ttl=1e-6, live_ttl=1e-6, stale_if_error=60)
    async with opened(knowing, on_event=listen, cache=gone) as client:
        await client.get_session(session.id)
        rule = knowing.fail(status=503)
        assert (await client.get_session(session.id)).stale
        rule.remove()
    for fault in ENDS:
        rule = knowing.fail(**fault)
        async with opened(knowing, on_event=listen) as client:
            for call in (client.get_session(ID), client.create_session("n", STREAM)):
                with pytest.raises(EmoggError):
                    await call
        rule.remove()
    assert {AttemptFailed, RateLimited, RetryScheduled, StaleServed} == {*told}
    assert [] == problems


async def test_nor_does_one_of_a_failure_that_did_no_harm(knowing):
    """What was told of an answer to a stop has no frames once a get has settled it."""
    session = knowing.add_session(token=TOKEN, state="active")
    told = []
    knowing.fail("POST", fault="garbage")
    async with opened(knowing, on_event=told.append, timeout=5) as client:
        task = client.stop_session(session.id)
        with suppress(OutcomeUnknownError):
            await task
        errors = [event.error for event in told if isinstance(event, AttemptFailed)]
    assert errors
    for error in errors:
        assert_only_the_caller_shows(error)


def test_a_client_that_cannot_be_made_does_not_show_its_token():
    """Nor does its constructor stay alive in the error."""
    for wrong in ({"concurrency": 0}, {"base_url": "nonsense"}, {"retry": None}):
        with pytest.raises(EmoggError) as caught:
            AsyncEmoggClient(TOKEN, **wrong)
        assert_only_the_caller_shows(caught.value)


def test_nor_does_a_shared_cache_its_password():
    """The URL that was refused is in no frame that the error keeps."""
    with pytest.raises(EmoggError) as caught:
        redis_cache(STREAM)
    assert_only_the_caller_shows(caught.value)


async def test_an_argument_that_is_refused_is_not_shown(emulator):
    """A stream whose address is of the wrong kind may still hold a key."""
    async with emulator.client() as client:
        with pytest.raises(EmoggError) as caught:
            await client.create_session("n", STREAM.replace("rtmp", "http"))
    assert_only_the_caller_shows(caught.value)


@pytest.mark.parametrize("fault", [{"fault": "reset"}, {"status": 503}], ids=str)
async def test_a_failed_id_of_a_bulk_costs_two_kilobytes_at_most(emulator, fault):
    """However a call fails, its error keeps little more than its words."""
    ids = [f"{number:024x}" for number in range(100)]
    retry = RetryPolicy(attempts=2, base=1e-9, budget=1e9)
    async with emulator.client(retry=retry, cache=None) as client:
        emulator.fail(**fault)
        await client.get_sessions(ids, via="get")
        tracemalloc.start()
        try:
            batch = await client.get_sessions(ids, via="get")
            assert len(ids) == len(batch.errors)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            del batch
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert before - after < len(ids) * 2048


@pytest.mark.parametrize("token", [f"{TOKEN}\n{TOKEN}", f"{TOKEN}é", f"{TOKEN} x"])
def test_a_refused_token_is_not_shown(token):
    """The error about a token that cannot be sent does not quote it."""
    with pytest.raises(EmoggError) as caught:
        AsyncEmoggClient(token)
    assert_clean("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize("kind", [LookupError, ExceptionGroup])
async def test_a_bug_of_a_middleware_shows_its_own_frames_and_no_token(knowing, kind):
    """What a session passed as `http=` raises leads to the bug, and not to aiohttp."""

    async def broken(request, handler):
        raise kind("a bug", [OSError()]) if kind is ExceptionGroup else kind("a bug")

    async with ClientSession(middlewares=(broken,)) as http:
        async with opened(knowing, http=http) as client:
            for call in (CALLS["get"], CALLS["create"], CALLS["stream"]):
                with pytest.raises(kind, match="a bug") as caught:
                    await call(client)
                error = caught.value
                shown = traceback.TracebackException.from_exception(
                    error, capture_locals=True
                )
                assert_clean("".join(shown.format()))
                assert "broken" == shown.stack[-1].name
