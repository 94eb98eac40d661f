"""The server's side of ASGI, by hand, so that tests decide what it does and when."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import attrs

Message = MutableMapping[str, Any]
App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]


@attrs.define
class Connection:
    """A visitor's request or WebSocket, as the app sees it."""

    inbox: "asyncio.Queue[Message]" = attrs.field(factory=asyncio.Queue)
    """What the app has still to receive."""

    sent: list[Message] = attrs.field(factory=list)
    """What the app has sent."""

    async def receive(self) -> Message:
        """Receive, as the app."""
        return await self.inbox.get()

    async def send(self, message: Message) -> None:
        """Send, as the app; the end of an answer is an end for who listens, too."""
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.leave()
        await asyncio.sleep(0)

    def leave(self) -> None:
        """Leave, as the visitor."""
        self.inbox.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.sent[0]["status"])

    @property
    def body(self) -> Any:
        """The parsed body of the answer."""
        return json.loads(b"".join(each.get("body", b"") for each in self.sent[1:]))


@attrs.define
class Server:
    """An app that was started, and the state that its lifespan has left."""

    app: App
    state: dict[str, Any] = attrs.field(factory=dict)

    def scope(self, kind: str, path: str, **more: Any) -> dict[str, Any]:
        """Make the scope of a connection."""
        common = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
            "state": self.state.copy(),
        }
        return common | more

    async def get(
        self,
        path: str,
        *,
        connection: Connection | None = None,
        method: str = "GET",
        **more: Any,
    ) -> Connection:
        """Make a request without a body, and wait until the app is done with it."""
        connection = connection or Connection()
        empty = {"type": "http.request", "body": b"", "more_body": False}
        connection.inbox.put_nowait(empty)
        scope = self.scope("http", path, method=method, scheme="http", **more)
        await self.app(scope, connection.receive, connection.send)
        return connection

    async def connect(
        self, path: str, *messages: str, connection: Connection | None = None
    ) -> Connection:
        """Open a WebSocket, send all *messages*, and wait until the app is done."""
        connection = connection or Connection()
        connection.inbox.put_nowait({"type": "websocket.connect"})
        for text in messages:
            connection.inbox.put_nowait({"type": "websocket.receive", "text": text})
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        scope = self.scope("websocket", path, scheme="ws", extensions=extensions)
        await self.app(scope, connection.receive, connection.send)
        return connection


@asynccontextmanager
async def served(app: App) -> AsyncIterator[Server]:
    """Start *app* as a server does, and stop it."""
    server, line = Server(app), Connection()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": server.state}
    line.inbox.put_nowait({"type": "lifespan.startup"})

    async def live() -> None:
        await app(scope, line.receive, line.send)

    life = asyncio.create_task(live())
    while not line.sent and not life.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    try:
        if [{"type": "lifespan.startup.complete"}] == line.sent:
            yield server
        else:
            raise RuntimeError(line.sent[0]["message"])
    finally:
        line.inbox.put_nowait({"type": "lifespan.shutdown"})
        await life
