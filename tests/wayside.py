"""What may stand between a client and the service: a proxy, and TLS before it."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import trustme

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]


def certified(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    """Make the context of a server with a certificate of *authority*."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


@asynccontextmanager
async def listening(handler: Handler, **options: object) -> AsyncIterator[int]:
    """Listen on loopback, and give the port; in the end nothing is left running."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    # A refused certificate is told to the handler of the loop, and is no failure.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _splice(one: tuple[Reader, Writer], other: tuple[Reader, Writer]) -> None:
    """Pass on what either side says, until both have nothing more to say."""

    async def pump(reader: Reader, writer: Writer) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    await asyncio.gather(
        pump(one[0], other[1]), pump(other[0], one[1]), return_exceptions=True
    )


@asynccontextmanager
async def tls_front(url: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Serve what *url* serves with TLS, and give the https:// URL."""
    target = urlsplit(url)

    async def forward(reader: Reader, writer: Writer) -> None:
        upstream = await asyncio.open_connection(target.hostname, target.port)
        await _splice((reader, writer), upstream)

    async with listening(forward, ssl=context) as port:
        yield f"https://127.0.0.1:{port}"


@dataclass
class ConnectProxy:
    """A proxy, and what it was asked for."""

    port: int = 0
    user: str | None = None
    """`name:password` that it asks for; None asks for nothing."""

    fault: str = ""
    """What goes wrong: hang, trickle, close, nonsense, echo, cut (after its answer), or
    a status."""

    times: int = 10**9
    """How often that goes wrong, before all is well."""

    heads: list[bytes] = field(default_factory=list)
    tunnels: int = 0
    open: int = 0
    """Connections to it that are open now."""

    tls: bool = False

    @property
    def url(self) -> str:
        """Where it listens; without credentials."""
        return f"http{'s' * self.tls}://127.0.0.1:{self.port}"

    def with_user(self, credentials: str) -> str:
        """Return its URL with *credentials*."""
        return self.url.replace("://", f"://{credentials}@")

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answer one connection."""
        self.open += 1
        try:
            await self._serve(reader, writer)
        finally:
            self.open -= 1

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.times > 0 and self.fault:
            self.times -= 1
            await self._fail(head, writer)
            return
        if self.user is not None:
            expected = base64.b64encode(self.user.encode())
            if b"Proxy-Authorization: Basic " + expected + b"\r\n" not in head:
                echo = head.replace(b"\r\n", b" ")[:200]
                writer.write(
                    b"HTTP/1.1 407 No: " + echo + b"\r\nProxy-Authenticate: Basic\r\n"
                    b"X-Echo: " + echo + b"\r\nContent-Length: 0\r\n\r\n"
                )
                await writer.drain()
                return
        await self._pass_on(head, reader, writer)

    async def _fail(self, head: bytes, writer: Writer) -> None:
        match self.fault:
            case "hang":
                await asyncio.sleep(60)
            case "trickle":
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)
            case "close":
                return
            case "nonsense":
                writer.write(b"SSH-2.0\r\n\r\n")
            case "echo":
                sent = head.replace(b"\r\n", b" ")
                writer.write(b"HTTP/1.1 200 OK\r\nYou sent " + sent + b"\r\n\r\n")
            case "cut":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            case status:
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async def _pass_on(self, head: bytes, reader: Reader, writer: Writer) -> None:
        method, target, _ = head.split(b" ", 2)
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            host = "127.0.0.1" if host.endswith(".example") else host
            upstream = await asyncio.open_connection(host, int(port))
            self.tunnels += 1
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            url = urlsplit(target.decode())
            upstream = await asyncio.open_connection(url.hostname, url.port)
            upstream[1].write(head.replace(target, url.path.encode(), 1))
        await _splice((reader, writer), upstream)


@asynccontextmanager
async def proxying(
    context: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[ConnectProxy]:
    """Run a proxy on loopback; with a *context*, it is spoken to over TLS."""
    proxy = ConnectProxy(tls=context is not None, **options)
    async with listening(proxy.serve, ssl=context) as port:
        proxy.port = port
        yield proxy
