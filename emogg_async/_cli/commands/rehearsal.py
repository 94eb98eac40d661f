"""What `--dry-run` does: it has a write sent to this machine itself, and shows it.

So it shows what the client really sends, after its checks, and no other token or place
is needed than those of this play.
"""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from emogg_async import AsyncEmoggClient, RetryPolicy, StatusError
from emogg_async._text import json_line

__all__ = ["Rehearsal", "rehearse"]

_REFUSED: Final = b"HTTP/1.1 418 Only A Rehearsal\r\nContent-Length: 0\r\n\r\n"


class Rehearsal:
    """A client, and a service on loopback that notes what it is sent and refuses it."""

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._turn = asyncio.Lock()
        self._line = ""
        self._server = await asyncio.start_server(self._listen, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.client = AsyncEmoggClient(
            "none",
            base_url=f"http://127.0.0.1:{port}",
            retry=RetryPolicy(attempts=1),
            cache=None,
            pace=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        await self.client.aclose()
        self._server.close()

    async def line(self, call: Awaitable[Any]) -> str:
        """Make the one *call* with the client; return its request as a line.

        Raises:
            InvalidArgumentError: The client sends no such thing.
        """
        async with self._turn:
            with suppress(StatusError):  # which is ours
                await call
            return self._line

    async def _listen(self, reader: StreamReader, writer: StreamWriter) -> None:
        while head := await _head(reader):
            request, *headers = head.split("\r\n")
            fields = dict(each.lower().split(": ", 1) for each in headers if each)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            method, target, _ = request.split(" ", 2)
            self._line = f"{method} {target}"
            if body:
                self._line += f" {json_line(json.loads(body))}"
            writer.write(_REFUSED)
        writer.close()


async def _head(reader: StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""  # the client has closed


def rehearse(work: Callable[[Rehearsal], Awaitable[int]]) -> int:
    """Do *work* that writes, where it changes nothing; return its exit code."""

    async def run() -> int:
        async with Rehearsal() as rehearsal:
            return await work(rehearsal)

    return asyncio.run(run())
