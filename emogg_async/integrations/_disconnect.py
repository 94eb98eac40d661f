"""Cancellation of requests whose visitor has left, for ASGI apps."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

__all__ = ["CancelOnDisconnect"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BODIES: Final = {b"content-length", b"transfer-encoding"}
"""Headers of a request that has a body."""

_PARTS: Final = {"http.response.body", "http.response.pathsend"}
"""Messages that end an answer unless they announce more."""


class CancelOnDisconnect:
    """An ASGI middleware that cancels a GET or HEAD whose visitor has left.

    Middlewares around it then see an empty answer of status 499.

    Requests of other methods, or with a body, go on to their end, because they may
    change something. Work after the answer, such as background tasks, goes on as well.

    Args:
        app: The ASGI app to wrap.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, and cancel it if the visitor leaves before the answer."""
        if _is_plain_read(scope):
            await _Visit(receive, send).run(self._app, scope)
        else:
            await self._app(scope, receive, send)


def _is_plain_read(scope: Scope) -> bool:
    """Tell whether the only message still to come says that the visitor has left."""
    return (
        scope["type"] == "http"
        and scope["method"] in {"GET", "HEAD"}
        and not any(name in _BODIES for name, _ in scope["headers"])
    )


class _Visit:
    """A request without a body, and a watch for the visitor's leaving.

    Args:
        receive: The server's function. It takes one caller, and that is the watch.
        send: The server's function.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._inbox: list[Message] = [{"type": "http.request", "body": b""}]
        self._begun = False
        self._answered = False

    async def run(self, app: App, scope: Scope) -> None:
        # A timeout tells its own cancellation from the server's, which it passes on.
        presence = asyncio.timeout(None)
        try:
            async with presence:  # before the watch: an eager task runs at once
                self._watch = asyncio.create_task(self._wait_and_cancel(presence))
                await app(scope, self._tell, self._pass_on)
        except TimeoutError:
            if not presence.expired():
                raise
            if not self._begun:
                await self._answer_nobody()
        finally:
            self._watch.cancel()

    async def _wait_and_cancel(self, presence: asyncio.Timeout) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answered:
            presence.reschedule(asyncio.get_running_loop().time())

    async def _answer_nobody(self) -> None:
        # Nobody reads it, but a middleware around this one takes silence for an error.
        # Proxies log a 499 in this case.
        with suppress(OSError):  # some servers refuse it
            start = {"type": "http.response.start", "status": 499, "headers": []}
            await self._send(start)
            await self._send({"type": "http.response.body"})

    async def _tell(self) -> Message:
        """Let the app receive an empty body, and then wait until the visitor leaves."""
        if self._inbox:
            return self._inbox.pop()
        await asyncio.shield(self._watch)
        return {"type": "http.disconnect"}

    async def _pass_on(self, message: Message) -> None:
        self._begun = True
        # Noted before the send, because servers report a disconnect right after it.
        if message["type"] in _PARTS and not message.get("more_body"):
            self._answered = True
        await self._send(message)
