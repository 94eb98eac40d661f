"""The way of live connections: the token's only place, TLS, proxies and redirects."""

import asyncio
import copy
import json
import logging
import pickle
import traceback

import aiohttp
import pytest
import trustme
from aiohttp import web
from rawserver import always, http, serving
from scene import UNKNOWN, Told, active, balance, playing, reading
from simulated import emulated, timed
from test_secrets import assert_clean, everything_in
from wayside import certified, proxying, tls_front

from emogg_async import (
    AsyncEmoggClient,
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    LiveLimitError,
    LivePolicy,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    ResponseShapeError,
    StatusError,
)

TOKEN = "tok-5ecret-0123456789-abcdef"
FAST = LivePolicy(base=0.05, cap=0.2)


def all_of(error):
    """Show an error in every way there is, with the locals of its frames."""
    yield "".join(traceback.format_exception(error))
    yield from everything_in(error)
    yield repr(pickle.dumps(error))
    yield repr(vars(copy.copy(error)))
    each = error
    while each is not None:
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if "emogg_async" in str(frame.f_globals.get("__name__")):
                yield repr(frame.f_locals)
        each = each.__cause__


# -- the token -------------------------------------------------------------------------


@timed
async def test_a_wrong_token(caplog):
    """401: one attempt, every feed raises, and the token is nowhere."""
    caplog.set_level(logging.DEBUG)
    async with emulated() as emulator:
        told, told_all = Told(), []
        ids = active(emulator, 3)

        def on_event(event):
            told(event)
            told_all.append(repr(event))

        client = emulator.client(cache=None, token=TOKEN, on_event=on_event)
        async with client:
            feeds = [client.live.counts(each) for each in ids]
            feeds.append(client.live.worker_state(ids[0]))
            errors = await asyncio.gather(
                *(feed.__aenter__() for feed in feeds), return_exceptions=True
            )
            await asyncio.sleep(100)
            assert [type(error) for error in errors] == [AuthenticationError] * 4
            assert emulator.live.handshakes == 1
            assert balance(emulator) == {"auth:token": 1}
            assert told.waits == []
            assert "the token was refused" in told.reasons[0]
            for error in errors:
                assert_clean(*all_of(error))
            assert_clean(repr(client), repr(client.live), *map(repr, feeds), *told_all)
    assert_clean(caplog.text, repr(emulator.live.messages), repr(emulator.requests))


@timed
async def test_the_first_message_has_the_token_and_nothing_else(caplog):
    """The token is in no header of the handshake, no URL, and no later message."""
    caplog.set_level(logging.DEBUG)

    async def script(call):
        auth = await call.hear()
        assert auth == {"id": 1, "path": "auth:token", "body": {"token": TOKEN}}
        await call.answer(auth)
        while (message := await call.hear(pings=True)) is not None:
            assert_clean(json.dumps(message))
            await call.answer(message, subscriptionId="x")
            if message["path"] == "channels:subscribe":
                await call.tell("x", 1)

    async with playing(script) as service:
        async with service.client(token=TOKEN, live=FAST) as client:
            async with reading(client.live.counts("a" * 24)) as reader:
                await asyncio.sleep(70)
                assert reader.events
            await asyncio.sleep(10)
        assert_clean(repr(service.headers))
        (headers,) = service.headers
        assert headers["User-Agent"].startswith("emogg-async/")
        assert not {"Authorization", "Cookie", "Origin"} & {*headers}
        assert {path for _, path, _ in service.heard} == {
            "auth:token",
            "ping",
            "channels:subscribe",
            "channels:unsubscribe",
        }
    assert_clean(caplog.text)


@timed
async def test_a_service_that_echoes_the_token(caplog):
    """A token that the service quotes is in no error, event, log or statistic."""
    caplog.set_level(logging.DEBUG)
    told = []

    async def script(call):
        await call.welcome()
        refused = await call.hear()
        words = {"message": f"not with Bearer {TOKEN}!"}
        for where in ("data", "body"):
            answer = {"id": refused["id"], "path": refused["path"], "status": 403}
            await call.socket.send_json(answer | {where: words})
            if refused := await call.hear():
                await call.socket.send_str(f'["{TOKEN}", 1, "{TOKEN}", []]')
                await call.socket.send_str(f"no JSON but {TOKEN}")
        await call.socket.close(code=4000, message=TOKEN.encode())

    async with playing(script) as service:
        options = {"on_event": lambda event: told.append(repr(event)), "timeout": 12}
        async with service.client(token=TOKEN, **options) as client:
            with pytest.raises((LiveLimitError, DeadlineError)) as caught:
                await client.live.counts("a" * 24).__aenter__()
            assert_clean(*all_of(caught.value), repr(client.stats))
    assert told
    assert_clean(caplog.text, *told)


@pytest.mark.parametrize("where", ["data", "body"])
@timed
async def test_the_words_of_a_refusal(where):
    """A 401 brings the service's words, wherever they stand, without the token."""

    async def script(call):
        auth = await call.hear()
        words = {"message": f"Invalid token {TOKEN}"}
        refusal = {"error": True, "id": None, "path": auth["path"], "status": 401}
        await call.socket.send_json(refusal | {where: words})
        await call.socket.close()

    async with playing(script) as service, service.client(token=TOKEN) as client:
        with pytest.raises(
            AuthenticationError, match=r"Invalid token \*\*\*"
        ) as caught:
            await client.live.counts("a" * 24).__aenter__()
        assert_clean(*all_of(caught.value))
        assert service.calls == 1


# -- the first connection --------------------------------------------------------------


FIRST = {401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError}


@pytest.mark.parametrize("status", FIRST)
@timed
async def test_a_first_handshake_that_is_refused(status):
    """A first handshake answered 401, 403 or 404 raises at once in every feed."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        emulator.live.refuse(path="handshake", status=status)
        async with emulator.client(cache=None, token=TOKEN) as client:
            feeds = [client.live.counts(each) for each in ids]
            errors = await asyncio.gather(
                *(feed.__aenter__() for feed in feeds), return_exceptions=True
            )
            assert [type(error) for error in errors] == [FIRST[status]] * 2
            for error in errors:
                assert_clean(*all_of(error))
            assert emulator.live.handshakes == 1


@pytest.mark.parametrize("status", [403, 404])
@timed
async def test_a_later_handshake_that_is_refused(status):
    """A later handshake answered 403 or 404 is repaired, not raised."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, live=FAST) as client:
            async with reading(client.live.counts(session_id)) as reader:
                emulator.live.refuse(path="handshake", status=status, times=5)
                emulator.live.cut()
                await asyncio.sleep(5)
                assert (reader.feed.state, reader.errors) == ("live", [])
    assert emulator.live.handshakes == 7


@timed
async def test_a_later_handshake_that_is_refused_401():
    """A later handshake answered 401 ends every feed."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, live=FAST) as client:
            async with reading(client.live.counts(session_id)) as reader:
                emulator.live.refuse(path="handshake", status=401, times=1)
                emulator.live.cut()
                await asyncio.sleep(5)
                assert [type(error) for error in reader.errors] == [AuthenticationError]
    assert emulator.live.handshakes == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect(status):
    """A redirect is refused at once, and nothing is sent to the other place."""
    async with serving(always(http("200 OK"))) as other:
        location = f"Location: {other.url.replace('http', 'ws')}/ws/v1"
        answer = always(http(f"{status} Elsewhere", b"", location))
        async with serving(answer) as server:
            async with AsyncEmoggClient(TOKEN, base_url=server.url) as client:
                with pytest.raises(StatusError) as caught:
                    await client.live.counts(UNKNOWN).__aenter__()
        assert caught.value.status == status
        assert_clean(*all_of(caught.value), repr(server.heads))
        assert len(server.heads) == 1
        assert other.connections == 0


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
async def test_a_server_that_speaks_no_websocket(status):
    """An answer that is no WebSocket raises at once."""
    async with serving(always(http(status))) as server:
        async with AsyncEmoggClient(TOKEN, base_url=server.url) as client:
            with pytest.raises(ResponseShapeError, match="does not speak WebSocket"):
                await client.live.counts(UNKNOWN).__aenter__()
        assert len(server.heads) == 1


# -- the way there ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    """Make an authority that no machine trusts."""
    return trustme.CA()


async def hear_one(emulator, client):
    """Hear one event of a new session."""
    session = emulator.add_session(token=TOKEN, state="active")
    async with client.live.counts(session.id) as feed:
        emulator.live.emit(session.id, {"joy": 1})
        assert (await feed.next(20)).emotions == {"joy": 1}


async def test_tls(emulator, authority, tmp_path):
    """`ssl=` holds for live connections; an untrusted certificate raises at once."""
    emulator.add_token(TOKEN)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    async with tls_front(emulator.url, certified(authority)) as url:
        async with AsyncEmoggClient(TOKEN, base_url=url, ssl=path) as client:
            await hear_one(emulator, client)
        handshakes = emulator.live.handshakes
        async with AsyncEmoggClient(TOKEN, base_url=url) as client:
            with pytest.raises(NotSentError, match="the certificate of 127") as caught:
                await client.live.counts(UNKNOWN).__aenter__()
            assert caught.value.stopped_by == "certificate"
            assert_clean(*all_of(caught.value))
        assert emulator.live.handshakes == handshakes


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy(emulator, authority, tmp_path, scheme):
    """`proxy=` holds for live connections, with credentials; it gets no token."""
    emulator.add_token(TOKEN)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    async with (
        tls_front(emulator.url, certified(authority)) as front,
        proxying(user="me:pass") as proxy,
    ):
        url = front if scheme == "https" else emulator.url
        options = {
            "base_url": url,
            "proxy": proxy.with_user("me:pass"),
            "allow_http": True,
        }
        if scheme == "https":
            options["ssl"] = path
        async with AsyncEmoggClient(TOKEN, **options) as client:
            await hear_one(emulator, client)
        assert proxy.tunnels == (scheme == "https")
        assert proxy.heads
        assert_clean(repr(proxy.heads))


async def test_a_proxy_that_refuses(authority, tmp_path):
    """A proxy that wants other credentials is told as such at once."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    async with proxying(user="me:pass") as proxy:
        options = {"proxy": proxy.with_user("me:wrong"), "ssl": path}
        url = "https://api.example"
        async with AsyncEmoggClient(TOKEN, base_url=url, **options) as client:
            with pytest.raises(NotSentError, match="407") as caught:
                await client.live.counts(UNKNOWN).__aenter__()
        assert_clean(*all_of(caught.value))
        assert len(proxy.heads) == 1


async def test_a_proxy_of_the_environment(emulator, authority, tmp_path, monkeypatch):
    """`trust_env=` holds for live connections."""
    emulator.add_token(TOKEN)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = certified(authority, "api.example")
    async with tls_front(emulator.url, context) as front, proxying() as proxy:
        url = front.replace("127.0.0.1", "api.example")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        options = {"base_url": url, "trust_env": True, "ssl": path}
        async with AsyncEmoggClient(TOKEN, **options) as client:
            await hear_one(emulator, client)
        assert proxy.tunnels == 1
        assert_clean(repr(proxy.heads))


async def test_the_callers_session(emulator):
    """`http=` holds, too, with its headers and cookies, and stays open."""
    emulator.add_token(TOKEN)
    seen = []

    async def front(request):
        seen.append(dict(request.headers))
        raise web.HTTPServiceUnavailable

    application = web.Application()
    application.router.add_get("/ws/v1", front)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(headers={"X-Team": "7"}, cookie_jar=jar) as http:
        jar.update_cookies({"route": "b"})
        options = {"http": http, "live": FAST}
        async with AsyncEmoggClient(TOKEN, base_url=emulator.url, **options) as client:
            await hear_one(emulator, client)
        url = f"http://127.0.0.1:{port}"
        async with AsyncEmoggClient(
            TOKEN, base_url=url, timeout=0.5, **options
        ) as client:
            with pytest.raises(DeadlineError):
                await client.live.counts(UNKNOWN).__aenter__()
        assert not http.closed
    await runner.cleanup()
    assert seen[0]["X-Team"] == "7"
    assert "route=b" in seen[0]["Cookie"]
    assert_clean(repr(seen))


async def test_the_callers_session_that_is_closed(emulator):
    """A session of the caller's that was closed is told as such."""
    http = aiohttp.ClientSession()
    await http.close()
    async with AsyncEmoggClient(TOKEN, base_url=emulator.url, http=http) as client:
        with pytest.raises(ConfigurationError, match="http= is closed"):
            await client.live.counts(UNKNOWN).__aenter__()


async def test_plain_http_needs_a_word():
    """A live connection without TLS is refused as for requests."""
    with pytest.raises(ConfigurationError, match="allow_http"):
        async with AsyncEmoggClient(TOKEN, base_url="http://api.example") as client:
            await client.live.counts(UNKNOWN).__aenter__()


@timed
async def test_an_outage_tells_no_token():
    """The errors of an outage and their causes have no token."""
    async with emulated() as emulator:
        emulator.add_token(TOKEN)
        (session_id,) = active(emulator, token=TOKEN)
        policy = LivePolicy(outage=5)
        client = emulator.client(cache=None, token=TOKEN, live=policy)
        async with client, reading(client.live.counts(session_id)) as reader:
            emulator.live.refuse(path="handshake", status=500)
            emulator.live.cut()
            await asyncio.sleep(10)
            (error,) = reader.errors
            assert isinstance(error, ConnectionLostError)
            assert_clean(*all_of(error))
