"""Damage that faults do to connections and answers."""

import asyncio
import functools
import socket
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

__all__ = ["CONNECTION_FAULTS", "CUTS", "GARBLES", "send_nothing"]

# SO_LINGER takes two numbers: 1 for on, and 0 seconds. Windows has shorter ones.
_LINGER_NOT: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_HUGE: Final = 40_000_000
"""Size of a huge body in bytes."""

_MEGABYTES: Final = 300
"""Size of an inflated bomb, in MB."""

_PAGE: Final = (
    "<!doctype html><html><head><title>Gateway</title></head>"
    "<body><h1>Something is not right</h1></body></html>"
)


async def send_nothing() -> None:
    """Wait until the server cancels this: the client has left, or the server stops."""
    await asyncio.get_running_loop().create_future()


async def _reset(request: web.Request) -> None:
    """Read the request to its end, then drop the connection by RST, not FIN."""
    await request.read()
    transport = request.transport
    if transport is not None:
        peer: socket.socket = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()
    await send_nothing()


async def _close(request: web.Request) -> None:
    """Read the request to its end, then close the connection."""
    await request.read()
    if request.transport is not None:
        request.transport.close()
    await send_nothing()


async def _hang(request: web.Request) -> None:
    await request.read()
    await send_nothing()


async def _cut(request: web.Request, answer: web.Response) -> None:
    """Promise the whole body of *answer*, send half of it, and close."""
    body = _body(answer)
    damaged = web.StreamResponse(status=answer.status, headers=answer.headers)
    damaged.content_length = len(body)
    await damaged.prepare(request)
    await damaged.write(body[: len(body) // 2])
    await _close(request)


async def _cut_chunked(request: web.Request, answer: web.Response) -> None:
    """Send the body of *answer* in chunks, and close before the last, empty one."""
    damaged = web.StreamResponse(status=answer.status, headers=answer.headers)
    damaged.headers.popall("Content-Length", None)
    damaged.enable_chunked_encoding()
    await damaged.prepare(request)
    await damaged.write(_body(answer))
    await _close(request)


def _garbage(answer: web.Response) -> web.Response:
    """Send half of a JSON text as if it were the whole."""
    body = _body(answer) or b'{"_id": "65ea1530bb50"}'
    return _replaced(answer, body[: len(body) // 2], "application/json")


def _html(answer: web.Response) -> web.Response:
    return _replaced(answer, _PAGE.encode(), "text/html")


def _huge(answer: web.Response) -> web.Response:
    body = b'{"padding": "' + b"x" * _HUGE + b'"}'
    return _replaced(answer, body, "application/json")


def _bomb(answer: web.Response) -> web.Response:
    bomb = _replaced(answer, _make_bomb(), "application/json")
    bomb.headers["Content-Encoding"] = "gzip"
    return bomb


@functools.cache
def _make_bomb() -> bytes:
    """Make gzip of valid JSON that consists almost only of padding.

    A block that ends with a full flush refers to nothing before it, so one compressed
    megabyte can be repeated 300 times. Only the checksum takes time (50 ms).
    """
    blank = b" " * 1_000_000
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    opening = deflate.compress(b"{") + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(blank) + deflate.flush(zlib.Z_FULL_FLUSH)
    closing = deflate.compress(b"}") + deflate.flush()
    checksum = zlib.crc32(b"{")
    for _ in range(_MEGABYTES):
        checksum = zlib.crc32(blank, checksum)
    checksum = zlib.crc32(b"}", checksum)
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    trailer = struct.pack("<II", checksum, _MEGABYTES * len(blank) + len(b"{}"))
    return header + opening + block * _MEGABYTES + closing + trailer


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _replaced(answer: web.Response, body: bytes, content_type: str) -> web.Response:
    answer.body = body
    answer.content_type = content_type
    return answer


CONNECTION_FAULTS: Final[Mapping[str, Callable[[web.Request], Awaitable[None]]]] = {
    "reset": _reset,
    "close": _close,
    "hang": _hang,
}
"""Faults that leave no answer, of a request handled or not. They never return."""

CUTS: Final[Mapping[str, Callable[[web.Request, web.Response], Awaitable[None]]]] = {
    "cut": _cut,
    "cut_chunked": _cut_chunked,
}
"""Faults that lose an answer in the middle of its body. They never return."""

GARBLES: Final[Mapping[str, Callable[[web.Response], web.Response]]] = {
    "garbage": _garbage,
    "html": _html,
    "huge": _huge,
    "bomb": _bomb,
}
"""Faults that change an answer; the changed answer is sent to its end."""
