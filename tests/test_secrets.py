import asyncio
import copy
import logging
import pickle
import re
import traceback

import pytest
from aiocache import SimpleMemoryCache
from aiohttp.http_parser import HttpResponseParserPy
from rawserver import always, http, serving

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ConnectionLostError,
    EmoggError,
    NotSentError,
    RetryPolicy,
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
    ],
    ids=range(9),
)
async def test_no_broken_answer_shows_the_token(everything_logged, answer):
    """Nor do the errors of the HTTP library below, or an escaped or cut echo."""
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


@pytest.mark.parametrize("token", [f"{TOKEN}\n{TOKEN}", f"{TOKEN}é", f"{TOKEN} x"])
def test_a_refused_token_is_not_shown(token):
    """The error about a token that cannot be sent does not quote it."""
    with pytest.raises(EmoggError) as caught:
        AsyncEmoggClient(token)
    assert_clean("".join(traceback.format_exception(caught.value)))
