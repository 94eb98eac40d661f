"""Sessions to hear, readers of feeds, and a service that follows a script."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import simulated
from aiohttp import web

from emogg_async import AsyncEmoggClient, EmoggError, Feed
from emogg_async.events import GapSeen, LiveConnected, LiveDisconnected
from emogg_async.testing import EmoggEmulator
from emogg_async.testing._clock import EPOCH
from emogg_async.testing._thread import HOST, serving

UNKNOWN = "f" * 24


def active(emulator: EmoggEmulator, count: int = 1, **options: Any) -> list[str]:
    """Add active sessions, which tell nothing by themselves, and give their ids."""
    options = {"state": "active"} | options
    return [emulator.add_session(**options).id for _ in range(count)]


@asynccontextmanager
async def talking(
    emulator: EmoggEmulator, ids: Iterable[str], every: float = 1.0
) -> AsyncIterator[None]:
    """Let sessions tell something again and again: the count of joy is a number."""
    ids = [*ids]

    async def talk() -> None:
        for number in itertools.count(1):
            await asyncio.sleep(every)
            for each in ids:
                emulator.live.emit(each, {"joy": number})

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def sent(emulator: EmoggEmulator, path: str) -> list[Any]:
    """Return the messages of that path which have arrived."""
    return [each for each in emulator.live.messages if each.path == path]


def times(messages: Iterable[Any]) -> list[float]:
    """Return when messages have arrived, in seconds since the emulator's start."""
    return [round((each.at - EPOCH).total_seconds(), 3) for each in messages]


def balance(emulator: EmoggEmulator) -> Counter[str]:
    """Count the messages by their path."""
    return Counter(each.path for each in emulator.live.messages)


def busiest(moments: Iterable[float], seconds: float) -> int:
    """Return the most moments that lie within so many seconds."""
    ordered = sorted(moments)
    return max(
        (sum(start <= each < start + seconds for each in ordered) for start in ordered),
        default=0,
    )


class Told:
    """What `on_event` was told, and when.

    Args:
        then: Gets called soon after each connection; None does nothing.
        after: Seconds until then.
    """

    def __init__(
        self, then: Callable[[], object] | None = None, after: float = 0.0
    ) -> None:
        self._then = then
        self._after = after
        self.connected: list[float] = []
        self.disconnected: list[tuple[float, LiveDisconnected]] = []
        self.gaps: list[GapSeen] = []

    def __call__(self, event: object) -> None:
        now = asyncio.get_running_loop().time()
        if isinstance(event, LiveConnected):
            self.connected.append(now)
            if self._then is not None:
                asyncio.get_running_loop().call_later(self._after, self._then)
        elif isinstance(event, LiveDisconnected):
            self.disconnected.append((now, event))
        elif isinstance(event, GapSeen):
            self.gaps.append(event)

    @property
    def reasons(self) -> list[str]:
        """Why connections have ended."""
        return [event.reason for _, event in self.disconnected]

    @property
    def waits(self) -> list[float]:
        """Seconds to wait after each connection that is made again."""
        waits = [event.wait for _, event in self.disconnected]
        return [wait for wait in waits if wait is not None]


class Reader:
    """What a feed has brought so far, and how it ended."""

    def __init__(self, feed: Feed[Any]) -> None:
        self.feed = feed
        self.events: list[Any] = []
        self.errors: list[EmoggError] = []
        self.ended_at: float | None = None

    async def read(self) -> None:
        """Read to the end, past errors."""
        while True:
            try:
                async for event in self.feed:
                    self.events.append(event)
                break
            except EmoggError as error:
                self.errors.append(error)
        self.ended_at = asyncio.get_running_loop().time()

    @property
    def gaps(self) -> list[Any]:
        """The gaps in what was read."""
        return [event.gap for event in self.events if event.gap]

    def stamps(self, session_id: str) -> list[Any]:
        """Return the timestamps of a session's events."""
        return [e.timestamp for e in self.events if e.session == session_id]


@asynccontextmanager
async def reading(feed: Feed[Any]) -> AsyncIterator[Reader]:
    """Enter a feed, read it beside the block, and leave it."""
    async with feed:
        reader = Reader(feed)
        task = asyncio.create_task(reader.read())
        try:
            yield reader
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def nothing_left(emulator: EmoggEmulator) -> None:
    """Check, after all clients have closed, that no task and no connection is left."""
    await asyncio.sleep(5)
    assert emulator.live.connections == 0
    assert emulator.live.subscriptions == ()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- a service that follows a script ---------------------------------------------------


class Call:
    """A connection, as the script sees it.

    Attributes:
        number: Its number, from 1 on.
    """

    def __init__(self, service: "Service", socket: web.WebSocketResponse) -> None:
        self.service = service
        self.socket = socket
        self.number = service.calls

    async def hear(self, *, pings: bool = False) -> dict[str, Any] | None:
        """Return the next message; answer pings, unless they are asked for."""
        while True:
            frame = await self.socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                return None
            message: dict[str, Any] = json.loads(frame.data)
            self.service.heard.append((self.number, message["path"], simulated.now()))
            if message["path"] != "ping" or pings:
                return message
            await self.answer(message)

    async def answer(
        self, message: dict[str, Any], status: int = 200, **body: Any
    ) -> None:
        """Answer a message."""
        answer = {"id": message["id"], "path": message["path"], "status": status}
        await self.socket.send_json(answer | {"body": body})

    async def tell(self, subscription: str, number: int) -> None:
        """Send an event, whose timestamp and only count is that number."""
        event = [subscription, 1000 * number, "sec", [{"joy": number}]]
        await self.socket.send_json(event)

    async def welcome(self) -> None:
        """Accept the token."""
        message = await self.hear()
        if message is not None:
            await self.answer(message)

    async def serve(self) -> None:
        """Accept all that comes, to the end; ids name the connection and the key."""
        while (message := await self.hear()) is not None:
            key = message.get("body", {}).get("key", "")
            await self.answer(message, subscriptionId=f"{self.number}/{key}")


class Service:
    """A service that serves WebSockets by a script, and refuses all other requests.

    Attributes:
        url: Its base URL.
        calls: Number of connections so far.
        heard: The connection, path and time of each message.
        headers: The headers of each handshake.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls = 0
        self.heard: list[tuple[int, str, float]] = []
        self.headers: list[dict[str, str]] = []

    def client(self, **options: Any) -> AsyncEmoggClient:
        """Make a client of it."""
        options = {"token": "tok", "base_url": self.url, "cache": None} | options
        return AsyncEmoggClient(**options)

    def paths(self, number: int) -> list[str]:
        """Return the paths of what a connection has sent, without pings."""
        return [p for n, p, _ in self.heard if n == number and p != "ping"]


@asynccontextmanager
async def playing(script: Callable[[Call], Awaitable[None]]) -> AsyncIterator[Service]:
    """Serve by a script, which gets each connection."""
    service = Service()

    async def connected(request: web.Request) -> web.StreamResponse:
        service.headers.append(dict(request.headers))
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        service.calls += 1
        with suppress(ConnectionError):
            await script(Call(service, socket))
        return socket

    async def refused(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "out of order"}, status=501)

    application = web.Application()
    application.router.add_get("/ws/v1", connected)
    application.router.add_route("*", "/{other:.*}", refused)
    async with serving(application, 0) as port:
        service.url = f"http://{HOST}:{port}"
        yield service
