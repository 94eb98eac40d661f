"""A server of raw bytes, for what no well-behaved server would send."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass
class RawServer:
    """What arrived so far, request by request, and where."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def serving(answer: Callable[[Writer, int], Awaitable[bool]], ssl=None):
    """Serve on loopback: *answer* gets the writer and the request's number.

    It returns whether the connection may be used again.
    """
    server = RawServer()

    async def connected(reader: Reader, writer: Writer) -> None:
        server.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                server.heads.append(head)
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                server.bodies.append(await reader.readexactly(length))
                if not await answer(writer, len(server.heads)):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl)
    host, port = running.sockets[0].getsockname()
    server.url = f"{'https' if ssl else 'http'}://{host}:{port}"
    try:
        yield server
    finally:
        running.close()
        await asyncio.sleep(0)


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Write a whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def always(*responses: bytes, keep: bool = True):
    """Answer each request with the next of *responses*, the last one for ever."""

    async def answer(writer: Writer, number: int) -> bool:
        writer.write(responses[min(number, len(responses)) - 1])
        await writer.drain()
        return keep

    return answer
