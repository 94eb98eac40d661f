"""Visitors who leave, for ASGI apps, whose servers only tell those who listen."""

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
"""Messages that end an answer unless they say that there is more."""


class CancelOnDisconnect:
    """An ASGI middleware that cancels a GET or HEAD whose visitor has left.

    To middlewares around it, the answer then is an empty one of status 499.

    What may change something goes on to its end, as does whatever an app does after its
    answer, like background tasks.

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
    """Tell whether nothing but the visitor's leaving is left to be received."""
    return (
        scope["type"] == "http"
        and scope["method"] in {"GET", "HEAD"}
        and not any(name in _BODIES for name, _ in scope["headers"])
    )


class _Visit:
    """One request without a body, and who watches whether its visitor is still there.

    Args:
        receive: The server's; only the watch calls it, as it is for one caller.
        send: The server's.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._begun = False
        self._answered = False
        self._left = False
        self._asked = False

    async def run(self, app: App, scope: Scope) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._watch = asyncio.create_task(self._wait_and_cancel(task))
        try:
            await app(scope, self._tell, self._pass_on)
        except asyncio.CancelledError:
            # Somebody else's cancellation, like the server's, goes on.
            if not self._left or task.cancelling() > 1:
                raise
            if not self._begun:
                await self._say_that_they_left()
        finally:
            self._watch.cancel()
            if self._left:
                task.uncancel()

    async def _wait_and_cancel(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answered:
            self._left = True
            task.cancel()

    async def _say_that_they_left(self) -> None:
        # Nobody reads it, but a middleware around this one takes silence for an error.
        with suppress(OSError):  # some servers refuse it
            # As logs of proxies call it.
            start = {"type": "http.response.start", "status": 499, "headers": []}
            await self._send(start)
            await self._send({"type": "http.response.body"})

    async def _tell(self) -> Message:
        """Receive, as the app sees it: an empty body, then nothing until they leave."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.shield(self._watch)
        return {"type": "http.disconnect"}

    async def _pass_on(self, message: Message) -> None:
        self._begun = True
        # Before it is sent: servers tell of a disconnect as soon as it is.
        if message["type"] in _PARTS and not message.get("more_body"):
            self._answered = True
        await self._send(message)
