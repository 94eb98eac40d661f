"""Live connections of the emulator: WebSockets and the one timer of `Channels`."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from aiohttp import WSMsgType, web

from emogg_async.testing._channels import Channels, Link
from emogg_async.testing._clock import Clock
from emogg_async.testing._guesses import LONGEST_MESSAGE
from emogg_async.testing._messages import DROPPED

__all__ = ["LIVE_PATH", "LiveServer"]

LIVE_PATH: Final = "/ws/v1"

_CLOSING: Final = 2.0
"""Seconds for which a close waits for the client's."""


class LiveServer:
    """Serves `Channels`; all but `wake` belongs to the server's thread.

    Attributes:
        channels: The protocol, which decides what is sent.
    """

    def __init__(self, channels: Channels, clock: Clock) -> None:
        self.channels = channels
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patient: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Do soon what is due, from any thread, because the clock was moved or more."""
        if self._loop is not None:
            self._soon(self._tick)

    async def admit(self, request: web.Request) -> int | None:
        """Wait while the service is silent; return the status of a refusal, or None."""
        self._loop = asyncio.get_running_loop()
        await self._until_heard()
        if not web.WebSocketResponse().can_prepare(request):
            return HTTPStatus.BAD_REQUEST
        return self.channels.admit(request.remote or "", self._clock.elapsed())

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection to its end."""
        socket = web.WebSocketResponse(
            timeout=_CLOSING,
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=LONGEST_MESSAGE,
        )
        filled = asyncio.Event()

        def abort() -> None:
            if request.transport is not None:
                request.transport.abort()

        def look() -> None:
            if link.outbox and link.outbox[0] == DROPPED:
                abort()  # even if the writer waits for the client
            filled.set()

        # Before the answer, so that a client that has it finds itself connected.
        link = self.channels.connect(lambda: self._soon(look), self._clock.elapsed())
        is_clean, writers = False, set()
        try:
            await socket.prepare(request)
            writers.add(asyncio.create_task(_write(socket, link, filled, abort)))
            self._tick()
            is_clean = await self._read(socket, link)
        finally:
            if link.is_open:
                self.channels.disconnect(link, self._clock.elapsed(), clean=is_clean)
                for writer in writers:
                    writer.cancel()
            if writers:
                await asyncio.wait(writers)
        if is_clean:
            await socket.close()
        return socket

    async def _read(self, socket: web.WebSocketResponse, link: Link) -> bool:
        """Read until the end; return whether the client closed the connection."""
        while True:
            frame = await socket.receive()
            match frame.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    text = frame.data if frame.type is WSMsgType.TEXT else None
                    self.channels.receive(link, text, self._clock.elapsed())
                    self._tick()
                case WSMsgType.PING:
                    if not self.channels.is_silent(self._clock.elapsed()):
                        await socket.pong(frame.data)
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    await self._until_heard()
                    return True
                case _:
                    return False

    def _soon(self, call: Callable[[], object]) -> None:
        assert self._loop is not None  # noqa: S101 - a connection has set it
        with suppress(RuntimeError):  # the emulator was stopped, and its loop closed
            self._loop.call_soon_threadsafe(call)

    # -- time --------------------------------------------------------------------------

    def _tick(self) -> None:
        """Do what is due, and set the timer for what comes next."""
        assert self._loop is not None  # noqa: S101 - a connection has set it
        now = self._clock.elapsed()
        self.channels.tick(now)
        if not self.channels.is_silent(now):
            for future in self._patient:
                if not future.done():
                    future.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.channels.next_due()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - now), self._tick)

    async def _until_heard(self) -> None:
        """Wait while the service is silent."""
        while self.channels.is_silent(self._clock.elapsed()):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._patient.add(future)
            self._tick()
            try:
                await future
            finally:
                self._patient.discard(future)


async def _write(
    socket: web.WebSocketResponse,
    link: Link,
    filled: asyncio.Event,
    abort: Callable[[], None],
) -> None:
    """Send what is in the outbox of *link*, until a close or the client's leave."""
    with suppress(ConnectionError):
        while await filled.wait():
            filled.clear()
            while link.outbox:
                output = link.outbox.popleft()
                if isinstance(output, str):
                    await socket.send_str(output)
                    continue
                if output.code is None:
                    abort()
                else:
                    await socket.close(code=output.code)
                return
