"""aiohttp's server with one client, and what its visitors are answered."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from emogg_async import AsyncEmoggClient, RetryPolicy
from emogg_async.errors import ClientClosedError, ConfigurationError, ServerError
from emogg_async.integrations.aiohttp_web import (
    emogg_client,
    error_middleware,
    get_client,
)
from emogg_async.testing import EmoggEmulator

MISSING: Final = "65ea1530bb50af72b6e3dc1e"
CLIENTS: Final = web.AppKey("clients", list[AsyncEmoggClient])


async def get_session(request: web.Request) -> web.Response:
    client = get_client(request)
    request.config_dict[CLIENTS].append(client)
    session = await client.get_session(request.match_info["id"])
    return web.json_response({"id": session.id})


async def get_moods(request: web.Request) -> web.Response:
    client = get_client(request)
    await client.get_emotions_timeline(request.match_info["id"], granularity=1)
    return web.Response()


async def begin_and_fail(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half")
    raise ServerError("-", status=503)


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    session = await get_client(request).get_session(await socket.receive_str())
    await socket.send_str(session.name)
    await socket.close()
    return socket


async def get_sessions(request: web.Request) -> web.Response:
    batch = await get_client(request).get_sessions(request.query.getall("id"))
    batch.raise_for_errors()
    return web.json_response([*batch])


async def get_side_by_side(request: web.Request) -> web.Response:
    async with asyncio.TaskGroup() as group:
        group.create_task(get_client(request).get_session(MISSING))
        group.create_task(conflict(request))
    return web.Response()


async def conflict(request: web.Request) -> web.Response:
    raise web.HTTPConflict(text=request.path)


def make_app(emulator: EmoggEmulator, **options: Any) -> web.Application:
    options = {"base_url": emulator.url, "token": emulator.token} | options
    app = web.Application(middlewares=[error_middleware])
    app[CLIENTS] = []
    app.cleanup_ctx.append(emogg_client(**options))
    inner = web.Application()
    inner.router.add_get("/{id}", get_session)
    app.add_subapp("/inner/", inner)
    app.router.add_get("/sessions/{id}", get_session)
    app.router.add_get("/batch", get_sessions)
    app.router.add_get("/moods/{id}", get_moods)
    app.router.add_get("/side-by-side", get_side_by_side)
    app.router.add_get("/half", begin_and_fail)
    app.router.add_get("/talk", talk)
    app.router.add_get("/conflict", conflict)
    return app


@pytest.fixture
async def visitor(emulator: EmoggEmulator) -> AsyncIterator[TestClient[Any, Any]]:
    """Give a visitor of an app."""
    app = make_app(emulator, retry=RetryPolicy(attempts=1))
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_one_client(
    visitor: TestClient[Any, Any], emulator: EmoggEmulator
) -> None:
    """All requests get the same client, also those of an app inside."""
    for session, path in zip(emulator.sessions, ("sessions", "inner"), strict=False):
        async with visitor.get(f"/{path}/{session.id}") as response:
            assert {"id": session.id} == await response.json()
    one, other = visitor.app[CLIENTS]
    assert one is other
    await visitor.close()
    with pytest.raises(ClientClosedError):
        await one.get_session(MISSING)


async def test_started_again(emulator: EmoggEmulator) -> None:
    """Each start of what makes apps has a client of its own."""
    for _ in range(2):
        async with TestClient(TestServer(make_app(emulator))) as visitor:
            async with visitor.get(f"/sessions/{MISSING}") as response:
                assert 404 == response.status


async def test_errors_are_answered(
    visitor: TestClient[Any, Any],
    emulator: EmoggEmulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service's message reaches the log, but not the visitor."""
    async with visitor.get(f"/inner/{MISSING}") as response:
        assert 404 == response.status
    assert [] == caplog.records
    emulator.fail(status=503, body={"message": "secret"}, headers={"Retry-After": "7"})
    async with visitor.get(f"/sessions/{MISSING}") as response:
        assert (502, "7") == (response.status, response.headers["Retry-After"])
        assert {
            "error": "upstream_failed",
            "detail": "A service behind this one failed.",
        } == await response.json()
    (record,) = caplog.records
    assert (logging.WARNING, "emogg_async.integrations") == (
        record.levelno,
        record.name,
    )
    assert record.getMessage().startswith("answered 502: 503: secret")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/sessions/secret", "GET /sessions/{id}: session_id: expected 24 hex digits"),
        ("/inner/secret", "GET /inner/{id}: session_id: expected 24 hex digits"),
        ("/batch?id=x&id=secret", "GET /batch: session_id: expected 24 hex digits"),
        (f"/moods/{MISSING}", "GET /moods/{id}: granularity: expected 5 to 3600"),
    ],
)
async def test_refused_arguments_are_logged(
    visitor: TestClient[Any, Any],
    path: str,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the argument and the route, as it may be the app's mistake."""
    async with visitor.get(path) as response:
        assert 400 == response.status
    (record,) = caplog.records
    assert logging.WARNING == record.levelno
    assert f"answered 400 to {told}" == record.getMessage()


async def test_other_exceptions_are_let_through(
    visitor: TestClient[Any, Any],
) -> None:
    """Other exceptions pass through."""
    async with visitor.get("/conflict") as response:
        assert (409, "/conflict") == (response.status, await response.text())


async def test_groups_are_answered(
    visitor: TestClient[Any, Any],
    emulator: EmoggEmulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The errors of a batch have one answer, and one line in the log."""
    async with visitor.get(f"/batch?id={MISSING}&id=x") as response:
        assert (404, "not_found") == (response.status, (await response.json())["error"])
    assert [] == caplog.records
    emulator.fail("GET", f"*/{MISSING}", status=503, body={"message": "secret"})
    async with visitor.get(f"/batch?id=x&id={MISSING}") as response:
        assert 502 == response.status
    (record,) = caplog.records
    assert record.getMessage().startswith("answered 502: 503: secret")


async def test_groups_with_other_exceptions(visitor: TestClient[Any, Any]) -> None:
    """A group with exceptions that are not ours stays what it is."""
    async with visitor.get("/side-by-side") as response:
        assert 500 == response.status
        assert "Server got itself in trouble" in await response.text()


async def test_an_answer_that_has_begun(
    visitor: TestClient[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """No second answer follows into what has begun: the connection is cut."""
    async with visitor.get("/half") as response:
        assert 200 == response.status
        body = b""
        with pytest.raises(Exception, match="payload is not completed"):
            async for chunk in response.content.iter_any():
                body += chunk
    assert b"half" == body
    assert "emogg_async.integrations" not in {each.name for each in caplog.records}


async def test_web_sockets(
    visitor: TestClient[Any, Any], emulator: EmoggEmulator
) -> None:
    """A WebSocket's handler gets the client, too."""
    session = emulator.sessions[0]
    async with visitor.ws_connect("/talk") as socket:
        await socket.send_str(session.id)
        assert session.name == await socket.receive_str()


async def test_an_app_without_client(caplog: pytest.LogCaptureFixture) -> None:
    """An app that was given no client says what to append."""
    app = web.Application(middlewares=[error_middleware])
    app.router.add_get("/{id}", get_session)
    async with TestClient(TestServer(app)) as visitor:
        async with visitor.get("/x") as response:
            assert 500 == response.status
    (record,) = caplog.records
    assert logging.ERROR == record.levelno
    assert "append emogg_client() to its cleanup_ctx" in record.getMessage()


async def test_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot be made keeps the app from starting."""
    monkeypatch.delenv("EMOGG_API_TOKEN", raising=False)
    app = web.Application()
    app.cleanup_ctx.append(emogg_client())
    runner = web.AppRunner(app)
    with pytest.raises(ConfigurationError, match="EMOGG_API_TOKEN"):
        await runner.setup()
    await runner.cleanup()


async def test_leaving(visitor: TestClient[Any, Any], emulator: EmoggEmulator) -> None:
    """With cancelled handlers, a visitor who leaves ends the client's request."""
    emulator.fail(fault="hang")
    visit = asyncio.ensure_future(visitor.get(f"/sessions/{MISSING}"))
    async with asyncio.timeout(5):
        while not emulator.in_flight:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)
        visit.cancel()
        while emulator.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
