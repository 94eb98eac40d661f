"""Ids that come in lines: from a file, or from standard input while it is written."""

import asyncio
import codecs
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Final

__all__ = ["IdLines", "read_ids"]

CHUNK: Final = 25_000
"""Bytes to read at once: a thousand ids and the ends of their lines."""

LONGEST: Final = 1_000
"""Characters that are kept of a line which does not end; an id has 24."""


class IdLines:
    """Finds the ids in text that comes in pieces: one to a line.

    Blank lines, spaces around an id, and what follows a `#` do not count.
    """

    def __init__(self) -> None:
        # With -sig: PowerShell begins a file with a mark, which belongs to no id.
        decoder = codecs.getincrementaldecoder("utf-8-sig")
        self._decoder = decoder(errors="replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """Take a piece; return the ids of the lines that end in it."""
        *lines, rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        self._rest = rest[:LONGEST]
        return _ids(lines)

    def finish(self) -> list[str]:
        """Return the id of the last line, if it has no end."""
        return _ids([self._rest + self._decoder.decode(b"", final=True)])


def _ids(lines: list[str]) -> list[str]:
    found = (line.partition("#")[0].strip() for line in lines)
    return [session_id for session_id in found if session_id]


async def read_ids(descriptor: int) -> AsyncIterator[list[str]]:
    """Yield the ids that are there, as soon as there are any, about a thousand at most.

    Nothing is read ahead: what comes meanwhile waits in the pipe.

    Raises:
        OSError: It cannot be read.
    """
    lines = IdLines()
    while chunk := await _read(descriptor):
        if ids := lines.feed(chunk):
            yield ids
    if ids := lines.finish():
        yield ids


async def _read(descriptor: int) -> bytes:
    """Read what is there, in a thread that nobody waits for: it may read for ever."""
    result: Future[bytes] = Future()
    result.set_running_or_notify_cancel()  # from now on it cannot be cancelled

    def read() -> None:
        # Not through `sys.stdin`: its lock would be held when Python ends.
        try:
            result.set_result(os.read(descriptor, CHUNK))
        except OSError as error:
            result.set_exception(error)

    threading.Thread(target=read, name="emogg-ids", daemon=True).start()
    return await asyncio.wrap_future(result)
