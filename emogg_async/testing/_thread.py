"""A server of a web application, in a thread with its own event loop."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

from aiohttp import web

__all__ = ["HOST", "ServerThread", "serving"]

HOST: Final = "127.0.0.1"

_GRACE: Final = 0.1
"""Seconds for which aiohttp may wait for handlers, all of them cancelled already."""

_CATCHING_UP: Final = 5
"""Number of turns of the loop: accept, connect, read, handle, and a spare."""


class ServerThread:
    """A server that runs from the end of the constructor until `stop`.

    Args:
        application: Web application; a new one for each server.
        port: Port to listen on; 0 means any free one.

    Attributes:
        port: Port that it listens on.

    Raises:
        OSError: It cannot listen there.
    """

    port: int

    def __init__(self, application: web.Application, port: int) -> None:
        self._ready: Future[int] = Future()
        self._application = application
        self._requested_port = port
        self._thread = threading.Thread(
            target=self._run, name="emogg-emulator", daemon=True
        )
        self._thread.start()
        try:
            self.port = self._ready.result()
        except OSError:
            self._thread.join()
            raise

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        """Run *call* soon on the server's loop."""
        self._loop.call_soon_threadsafe(call, *arguments)

    def catch_up(self) -> None:
        """Wait until the server has read all connections and requests so far.

        Any thread but the server's may call it.
        """
        asyncio.run_coroutine_threadsafe(_turns(_CATCHING_UP), self._loop).result()

    def stop(self) -> None:
        """Drop all connections, end all requests, and wait for the thread to end.

        Any thread but the server's may call it, once.
        """
        self.call_soon(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with serving(self._application, self._requested_port) as port:
            self._ready.set_result(port)
            await self._stopping.wait()


@asynccontextmanager
async def serving(application: web.Application, port: int) -> AsyncIterator[int]:
    """Serve *application* in the running loop while the block runs.

    In the end all connections are dropped with their requests.

    Args:
        application: Web application; a new one for each server.
        port: Port to listen on; 0 means any free one.

    Yields:
        Port that it listens on.

    Raises:
        OSError: It cannot listen there.
    """
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,  # so that hanging requests end with their client
        shutdown_timeout=_GRACE,
    )
    with _bound(port) as listener:
        await runner.setup()
        try:
            site = web.SockSite(runner, listener, backlog=1024)
            await site.start()
            yield listener.getsockname()[1]
            await _stop_accepting(listener)
            await site.stop()
            await _drop_connections(runner)
        finally:
            await runner.cleanup()


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        if os.name == "posix":  # or a port would stay taken for a while after a stop
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


async def _stop_accepting(listener: socket.socket) -> None:
    """Let connections that were accepted just now be registered, and no others come.

    Once its server is closed, asyncio forgets them without closing them.
    """
    with suppress(NotImplementedError):  # a loop of Windows, which registers at once
        asyncio.get_running_loop().remove_reader(listener)
    await _turns(_CATCHING_UP)


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def _drop_connections(runner: web.AppRunner) -> None:
    """Drop every connection with its request, so that the shutdown waits for none."""
    server = cast("web.Server", runner.server)
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)  # lets their handlers notice
