"""Starlette and FastAPI with one client, and what their visitors are answered."""

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import pytest
from asgi import Connection, Server, served
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    Response,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from emogg_async import AsyncEmoggClient, RetryPolicy
from emogg_async.errors import ClientClosedError, ConfigurationError, NotFoundError
from emogg_async.integrations.starlette import (
    CancelOnDisconnect,
    add_error_handlers,
    emogg_lifespan,
    get_client,
)
from emogg_async.testing import EmoggEmulator

MISSING: Final = "65ea1530bb50af72b6e3dc1e"
Client = Annotated[AsyncEmoggClient, Depends(get_client)]


async def get_session(request: Request) -> Response:
    client = await get_client(request)
    session = await client.get_session(request.path_params["id"])
    return JSONResponse({"id": session.id, "client": id(client)})


async def get_sessions(request: Request) -> Response:
    client = await get_client(request)
    batch = await client.get_sessions(request.path_params["ids"].split("+"))
    batch.raise_for_errors()
    return JSONResponse([*batch])


async def talk(socket: WebSocket) -> None:
    client = await get_client(socket)
    if socket.path_params["when"] == "before":
        await client.get_session(MISSING)
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text((await client.get_session(text)).name)


def starlette_app(**options: Any) -> Starlette:
    inner = Starlette(routes=[Route("/{id}", get_session)])
    add_error_handlers(inner)
    app = Starlette(
        lifespan=emogg_lifespan(**options),
        routes=[
            Route("/sessions/{id}", get_session),
            Route("/batch/{ids}", get_sessions),
            WebSocketRoute("/talk/{when}", talk),
            Mount("/inner", inner),
        ],
    )
    app.add_middleware(CancelOnDisconnect)
    add_error_handlers(app)
    return app


def fastapi_app(**options: Any) -> FastAPI:
    inner = FastAPI()
    app = FastAPI(lifespan=emogg_lifespan(**options))

    async def one(session_id: str, client: Client) -> dict[str, Any]:
        session = await client.get_session(session_id)
        return {"id": session.id, "client": id(client)}

    async def many(ids: str, client: Client) -> list[str]:
        batch = await client.get_sessions(ids.split("+"))
        batch.raise_for_errors()
        return [*batch]

    async def speak(socket: WebSocket, when: str, client: Client) -> None:
        if when == "before":
            await client.get_session(MISSING)
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text((await client.get_session(text)).name)

    app.get("/sessions/{session_id}")(one)
    app.get("/batch/{ids}")(many)
    inner.get("/{session_id}")(one)
    app.websocket("/talk/{when}")(speak)
    app.mount("/inner", inner)
    app.add_middleware(CancelOnDisconnect)
    for each in (app, inner):
        add_error_handlers(each)
    return app


@pytest.fixture(params=[starlette_app, fastapi_app])
async def server(
    request: pytest.FixtureRequest, emulator: EmoggEmulator
) -> AsyncIterator[Server]:
    """Serve an app of each framework."""
    app = request.param(
        base_url=emulator.url, token=emulator.token, retry=RetryPolicy(attempts=1)
    )
    async with served(app) as running:
        yield running


async def test_one_client(server: Server, emulator: EmoggEmulator) -> None:
    """All requests get the same client, also those of a mounted app."""
    clients = set()
    for session, path in zip(emulator.sessions, ("sessions", "inner"), strict=False):
        visit = await server.get(f"/{path}/{session.id}")
        assert (200, session.id) == (visit.status, visit.body["id"])
        clients.add(visit.body["client"])
    (client,) = server.state.values()
    assert {id(client)} == clients


async def test_closed_at_shutdown(emulator: EmoggEmulator) -> None:
    """The client lives as long as the app; each start makes a new one."""
    app = starlette_app(base_url=emulator.url, token=emulator.token)
    clients = []
    for _ in range(2):
        async with served(app) as server:
            clients.append(server.state["emogg_client"])
            assert 404 == (await server.get(f"/sessions/{MISSING}")).status
    assert clients[0] is not clients[1]
    for client in clients:
        with pytest.raises(ClientClosedError):
            await client.get_session(MISSING)


async def test_a_lifespan_of_your_own(emulator: EmoggEmulator) -> None:
    """A lifespan that has more to do enters ours and yields its state."""
    make = emogg_lifespan(emulator.token, base_url=emulator.url)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with make(app) as state:
            yield {**state, "mine": "too"}

    async def both(request: Request) -> Response:
        await get_client(request)
        return PlainTextResponse(f'"{request.state.mine}"')

    app = Starlette(lifespan=lifespan, routes=[Route("/", both)])
    async with served(app) as server:
        assert "too" == (await server.get("/")).body


async def test_errors_are_answered(
    server: Server, emulator: EmoggEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The service's message reaches the log, but not the visitor."""
    assert 404 == (await server.get(f"/inner/{MISSING}")).status
    assert [] == caplog.records
    emulator.fail(status=503, body={"message": "secret"}, headers={"Retry-After": "7"})
    visit = await server.get(f"/sessions/{MISSING}")
    assert 502 == visit.status
    assert (b"retry-after", b"7") in visit.sent[0]["headers"]
    assert {
        "error": "upstream_failed",
        "detail": "A service behind this one failed.",
    } == visit.body
    (record,) = caplog.records
    assert logging.WARNING == record.levelno
    assert record.getMessage().startswith("answered 502: 503: secret")


@pytest.mark.parametrize(
    "path", ["/sessions/secret", "/inner/secret", "/batch/x+secret"]
)
async def test_refused_arguments_are_logged(
    server: Server, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the argument and the route, as it may be the app's mistake."""
    assert 400 == (await server.get(path)).status
    (record,) = caplog.records
    line = record.getMessage()
    assert logging.WARNING == record.levelno
    route = r"(/(\w+/)?\{\w+\} )?"  # older Starlettes tell none
    assert re.match(rf"answered 400 to GET {route}\(test_starlette\.", line)
    assert line.endswith("): session_id: expected 24 hex digits")
    assert "secret" not in line


async def test_a_mistake_of_the_app_is_logged(
    emulator: EmoggEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad granularity in a route's own code is found by the log."""
    app = FastAPI(lifespan=emogg_lifespan(emulator.token, base_url=emulator.url))
    add_error_handlers(app)

    @app.get("/moods/{session_id}")
    async def moods(session_id: str, client: Client) -> object:
        return await client.get_emotions_timeline(session_id, granularity=1)

    @app.websocket("/live/{session_id}")
    async def live(socket: WebSocket, session_id: str, client: Client) -> None:
        await socket.accept()
        await client.get_emotions_timeline(session_id, granularity=1)

    async with served(app) as server:
        assert 400 == (await server.get(f"/moods/{MISSING}")).status
        await server.connect(f"/live/{MISSING}")
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("answered 400 to GET /moods/{session_id} (")
    assert second.startswith("answered 400 to WebSocket /live/{session_id} (")
    assert first.endswith("moods): granularity: expected 5 to 3600")
    assert second.endswith("live): granularity: expected 5 to 3600")


async def test_groups_are_answered(
    server: Server, emulator: EmoggEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors of a batch have one answer, and one line in the log."""
    visit = await server.get(f"/batch/{MISSING}+x")
    assert (404, "not_found") == (visit.status, visit.body["error"])
    assert [] == caplog.records
    emulator.fail("GET", f"*/{MISSING}", status=503, body={"message": "secret"})
    assert 502 == (await server.get(f"/batch/x+{MISSING}")).status
    (record,) = caplog.records
    assert record.getMessage().startswith("answered 502: 503: secret")


async def test_groups_with_other_exceptions() -> None:
    """A group with exceptions that are not ours stays what it is, for the app's own."""
    group = ExceptionGroup("-", [NotFoundError("-", status=404), KeyError("-")])
    seen = []

    async def fail(request: Request) -> Response:
        raise group

    async def own(request: Request, error: Exception) -> Response:
        seen.append(error)
        return PlainTextResponse("0", 500)

    app = Starlette(routes=[Route("/", fail)], exception_handlers={500: own})
    add_error_handlers(app)
    with pytest.raises(ExceptionGroup):
        await Server(app).get("/")
    assert [group] == seen


async def test_handlers_of_the_app_come_first(emulator: EmoggEmulator) -> None:
    """A handler of the app's for a nearer class wins."""

    async def own(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f'"{request.url.path}"', 410)

    app = starlette_app(base_url=emulator.url, token=emulator.token)
    app.add_exception_handler(NotFoundError, own)
    async with served(app) as server:
        visit = await server.get(f"/sessions/{MISSING}")
    assert (410, f"/sessions/{MISSING}") == (visit.status, visit.body)


async def test_web_sockets(server: Server, emulator: EmoggEmulator) -> None:
    """A WebSocket gets the client; an error refuses it before, and closes it after."""
    session = emulator.sessions[0]
    talked = await server.connect("/talk/after", session.id, MISSING)
    accepted, answer, closed = talked.sent
    assert "websocket.accept" == accepted["type"]
    assert session.name == answer["text"]
    assert {"type": "websocket.close", "code": 1011, "reason": "not_found"} == closed
    refused = await server.connect("/talk/before")
    assert "websocket.http.response.start" == refused.sent[0]["type"]
    assert (404, "not_found") == (refused.status, refused.body["error"])


@pytest.mark.parametrize("closed", [False, True])
async def test_web_sockets_that_are_over(closed: bool) -> None:
    """A call that fails after the WebSocket's end is not followed by a second error."""

    class Left(Connection):
        async def send(self, message: Any) -> None:
            if self.sent:  # as servers do
                raise OSError
            await super().send(message)

    async def last_words(socket: WebSocket) -> None:
        await socket.accept()
        if closed:
            with contextlib.suppress(WebSocketDisconnect):
                await socket.close()
        raise NotFoundError("-", status=404)

    app = Starlette(routes=[WebSocketRoute("/", last_words)])
    add_error_handlers(app)
    connection = await Server(app).connect("/", connection=Left())
    assert ["websocket.accept"] == [each["type"] for each in connection.sent]


@pytest.mark.parametrize("state", [{}, {"emogg_client": None}])
async def test_an_app_without_client(state: dict[str, Any]) -> None:
    """An app that has no client says what to pass, and that it must also be run."""
    scope = {"type": "http", "state": state}
    with pytest.raises(ConfigurationError) as raised:
        await get_client(HTTPConnection(scope))
    assert "pass lifespan=emogg_lifespan() to the outermost app" in str(raised.value)
    assert "see that it is run, as by `with TestClient(app)`" in str(raised.value)


async def test_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot be made keeps the app from starting."""
    monkeypatch.delenv("EMOGG_API_TOKEN", raising=False)
    app = Starlette(lifespan=emogg_lifespan())
    with pytest.raises(Exception, match="EMOGG_API_TOKEN"):
        async with served(app):
            pass


# -- visitors who leave ------------------------------------------------------------


class Handler:
    """An endpoint that waits, and what became of it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.fate = ""

    async def __call__(self, request: Request) -> Response:
        self.begun.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.fate = "cancelled"
            raise
        self.fate = "done"
        return PlainTextResponse("1", background=BackgroundTask(self.afterwards))

    async def afterwards(self) -> None:
        await asyncio.sleep(0.01)
        self.fate = "done, and what comes after"


@pytest.fixture
def handler() -> Handler:
    """Give an endpoint that waits."""
    return Handler()


@pytest.fixture
def waiting(handler: Handler) -> Server:
    """Give an app with that endpoint."""

    async def wait(request: Request) -> Response:
        return await handler(request)

    methods = ["GET", "POST"]
    app = Starlette(routes=[Route("/", wait, methods=methods)])
    app.add_middleware(CancelOnDisconnect)
    return Server(app)


@pytest.mark.parametrize("around", [False, True])
async def test_leaving_cancels(waiting: Server, handler: Handler, around: bool) -> None:
    """A visitor who leaves cancels the handler, and nobody around hears of an error."""

    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    if around:
        waiting.app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    connection = Connection()
    visit = asyncio.create_task(waiting.get("/", connection=connection))
    await handler.begun.wait()
    connection.leave()
    await visit
    assert "cancelled" == handler.fate
    assert 499 == connection.status  # for logs: nobody is there to read it
    assert 0 == visit.cancelling()
    assert {asyncio.current_task()} == asyncio.all_tasks()


@pytest.mark.parametrize("eager", [False, True])
async def test_who_has_left_already(
    waiting: Server, handler: Handler, eager: bool
) -> None:
    """A visitor who leaves before the app begins cancels it, in eager tasks too."""
    if eager:
        if sys.version_info < (3, 12):
            pytest.skip("has no eager tasks")
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    connection = Connection()
    connection.leave()
    async with asyncio.timeout(5):
        await waiting.get("/", connection=connection)
    assert 499 == connection.status
    assert "done" not in handler.fate


async def test_an_error_beside_the_leaving_is_raised() -> None:
    """An app that fails while it is cancelled is still heard of."""

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("-")

    connection = Connection()
    server = Server(CancelOnDisconnect(fail))
    visit = asyncio.create_task(server.get("/", connection=connection))
    await asyncio.sleep(0)
    connection.leave()
    with pytest.raises(KeyError):
        await visit


@pytest.mark.parametrize(
    "more",
    [
        {"method": "POST"},
        {"headers": [(b"content-length", b"2")]},
        {"headers": [(b"transfer-encoding", b"chunked")]},
    ],
)
async def test_what_may_change_something_goes_on(
    waiting: Server, handler: Handler, more: dict[str, Any]
) -> None:
    """A POST, or whatever has a body, goes on to its end without its visitor."""
    connection = Connection()
    visit = asyncio.create_task(waiting.get("/", connection=connection, **more))
    await handler.begun.wait()
    connection.leave()
    await asyncio.sleep(0.01)
    assert not visit.done()
    handler.goes_on.set()
    await visit
    assert "done, and what comes after" == handler.fate


async def test_what_comes_after_the_answer_goes_on(
    waiting: Server, handler: Handler
) -> None:
    """Background tasks are not cut, though servers tell of an end after the answer."""
    handler.goes_on.set()
    assert 200 == (await waiting.get("/")).status
    assert "done, and what comes after" == handler.fate


async def test_the_server_may_cancel(waiting: Server, handler: Handler) -> None:
    """A cancellation of the server's is not swallowed, and leaves nothing running."""
    connection = Connection()
    visit = asyncio.create_task(waiting.get("/", connection=connection))
    await handler.begun.wait()
    visit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit
    assert "cancelled" == handler.fate
    await asyncio.sleep(0)
    assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_leaving_and_the_server_at_once(
    waiting: Server, handler: Handler
) -> None:
    """The server's cancellation counts, also beside a visitor's leave."""
    connection = Connection()
    visit = asyncio.create_task(waiting.get("/", connection=connection))
    await handler.begun.wait()
    connection.leave()
    await asyncio.sleep(0)
    visit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit


async def test_streams_end_with_their_visitor() -> None:
    """An answer that has begun is cut off when its visitor leaves."""
    fate = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                part = {"type": "http.response.body", "body": b"1", "more_body": True}
                await send(part)
        except asyncio.CancelledError:
            fate.append("cancelled")
            raise

    connection = Connection()
    server = Server(CancelOnDisconnect(stream))
    visit = asyncio.create_task(server.get("/", connection=connection))
    async with asyncio.timeout(5):
        while len(connection.sent) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
        connection.leave()
        await visit
    assert ["cancelled"] == fate


async def test_who_looks_whether_the_visitor_has_left(
    handler: Handler,
) -> None:
    """An app that looks by itself sees it, too, and breaks nothing by looking."""
    seen = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        seen.extend([await request.is_disconnected() for _ in range(3)])
        await handler(request)

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        handler.begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        seen.append((await receive())["type"])

    for app in (look, listen):
        handler.begun.clear()
        connection = Connection()
        server = Server(CancelOnDisconnect(app))
        visit = asyncio.create_task(server.get("/", connection=connection))
        await handler.begun.wait()
        connection.leave()
        await visit
    assert "cancelled" == handler.fate
    assert [False] * 3 + ["http.request", "http.disconnect"] == seen


async def test_the_body_is_read_as_ever() -> None:
    """The body of a GET is read as empty, and that of a POST as it was sent."""

    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/", size, methods=["GET", "POST"])])
    app.add_middleware(CancelOnDisconnect)
    server = Server(app)
    assert 0 == (await server.get("/")).body
    connection = Connection()
    part = {"type": "http.request", "body": b"12345", "more_body": True}
    connection.inbox.put_nowait(part)
    await server.get("/", method="POST", connection=connection)
    assert 5 == connection.body
