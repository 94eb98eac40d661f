"""The one that asks: plain HTTP and WebSocket, slowly, and gone without a trace."""

import asyncio
import json
import math
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
from yarl import URL

from contract.seeing import Seen, joined, number, said, shape
from contract.stating import NotTried

__all__ = ["CLOSED", "Answer", "Line", "Pace", "Service", "Window", "proxy_to"]

T = TypeVar("T")

CLOSED: Final = object()
"""What comes on a line when the service has closed it."""

NO_JSON: Final = object()

_SHARE: Final = 5
"""Part of each limit that is left to others: all but a fifth."""

_PATIENCE: Final = 15.0
"""Seconds to wait for an answer."""

_PROCESSING: Final = 30.0
"""Seconds for which a session that is processed may refuse to be removed."""

_POLICY = re.compile(r"(\d{1,9});w=(\d{1,9}(?:\.\d{1,9})?)", re.ASCII)


@attrs.define
class Pace:
    """Spaces requests so that they cost less than a fifth of the rate limit.

    Until a header tells the limit, and wherever none does, one request goes a second.
    """

    every: float = 1.0
    _latest: float = -math.inf

    def wait(self, now: float) -> float:
        """Return for how many seconds the next request, which it counts, must wait."""
        start = max(now, self._latest + self.every)
        self._latest = start
        return start - now

    def learn(self, headers: Mapping[str, str]) -> None:
        """Learn the limit that an answer tells."""
        told = _POLICY.fullmatch(headers.get("RateLimit-Policy", ""))
        capacity, window = map(float, told.groups()) if told else (0.0, 0.0)
        # A little slower than a fifth, so that rounding never makes it more.
        usable = capacity and window
        self.every = 1.01 * _SHARE * window / capacity if usable else 1.0


@attrs.define
class Window:
    """Lets less than a fifth of what is allowed happen in any minute."""

    allowed: int
    seconds: float = 60.0
    _times: deque[float] = attrs.field(factory=deque)

    def wait(self, now: float) -> float:
        """Return for how many seconds the next one, which it counts, must wait."""
        most = self.allowed // _SHARE - 1
        full = len(self._times) >= most
        start = max(now, self._times[-most] + self.seconds) if full else now
        self._times.append(start)
        while len(self._times) > most:
            self._times.popleft()
        return start - now


@attrs.frozen
class Answer:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)

    @property
    def json(self) -> Any:
        """Its body, parsed, or None if that is no JSON."""
        value = self._parsed()
        return None if value is NO_JSON else value

    @property
    def seen(self) -> Seen:
        """Its status and the shape of its body, to be told."""
        if not self.body:
            body = said("no body")
        else:
            value = self._parsed()
            body = said("no JSON") if value is NO_JSON else shape(value)
        return joined(number(self.status), body)

    def _parsed(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return NO_JSON


class Line:
    """A live connection."""

    def __init__(
        self, service: "Service", socket: aiohttp.ClientWebSocketResponse
    ) -> None:
        self.socket = socket
        self.events: list[Any] = []
        self._service = service

    async def say(self, text: str) -> None:
        """Send *text*."""
        await self._service.slowly(self._service.messages)
        await self.socket.send_str(text)

    async def next(self, seconds: float = _PATIENCE) -> Any:
        """Return what comes next, parsed, or CLOSED.

        Raises:
            TimeoutError: Nothing came; the line is of no use any more.
        """
        frame = await self.socket.receive(timeout=seconds)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            self._service.latest = said("a close")
            return CLOSED
        self._service.latest = said("no JSON")
        value = json.loads(frame.data)
        self._service.latest = shape(value)
        if isinstance(value, list):
            self.events.append(value)
        return value

    async def hear(self) -> Any:
        """Return the next answer, which is no event, or CLOSED."""
        async with asyncio.timeout(_PATIENCE):
            while isinstance(value := await self.next(), list):
                pass
        return value

    async def ask(self, path: str, body: object = None, **fields: object) -> Any:
        """Send a message and return its answer, or CLOSED."""
        message = {"path": path} | ({} if body is None else {"body": body}) | fields
        await self.say(json.dumps(message))
        return await self.hear()

    async def subscribe(self, channel: object, key: object) -> Any:
        """Return the answer to a subscription, or CLOSED."""
        body = {"channel": channel, "key": key}
        return await self.ask("channels:subscribe", body, id="subscribe")


def proxy_to(url: str) -> URL | None:
    """Return the proxy of the environment; a token goes through it only encrypted.

    Raises:
        ValueError: What the environment names is no HTTP proxy.
    """
    parts = urlsplit(url)
    names = parts.hostname or "", f"{parts.hostname}:{parts.port or 443}"
    if parts.scheme != "https" or any(map(proxy_bypass, names)):
        return None
    named = getproxies().get("https")
    if named is None:
        return None
    proxy = URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in {"http", "https"} or not proxy.host:
        raise ValueError("no HTTP proxy")
    return proxy


class Service:
    """A service under test, and what is known of it so far.

    Args:
        url: Base URL.
        token: Token of the account.
        is_ours: Whether it is an emulator of this run, whose limits nobody else needs.
        may_change: Whether sessions may be made, and be removed again.
        others_token: Token of another account, if there is one.

    Attributes:
        latest: What the latest answer looked like.
        pace: How fast it asks.
        messages: What may be said on all lines.
        name: Beginning of the names of the sessions that it makes, by which it finds
            them again.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        is_ours: bool = False,
        may_change: bool = False,
        others_token: str | None = None,
    ) -> None:
        self.url = url
        self.token = token
        self.is_ours = is_ours
        self.may_change = may_change or is_ours
        self.others_token = others_token
        self.latest: Seen = said("no answer")
        self.name = f"contract {secrets.token_hex(8)}"
        self._listed: list[Any] | None = None
        self._made: set[str] = set()
        self._unknown = 0
        self.pace = Pace()
        self.messages, self._connections = Window(80), Window(90)
        self._known: dict[Any, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_PATIENCE),
            proxy=proxy_to(self.url),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.close()

    async def once(self, ask: Callable[["Service"], Awaitable[T]]) -> T:
        """Return what *ask* returns, or raises, and ask only once."""
        if ask not in self._known:
            self._known[ask] = asyncio.ensure_future(ask(self))
        result: T = await self._known[ask]
        return result

    # -- requests ----------------------------------------------------------------------

    async def ask(
        self, method: str, path: str, *, body: Any = None, token: str = "", **query: Any
    ) -> Answer:
        """Send a request when it is its turn, and return the answer."""
        await self.slowly(self.pace)
        sent = self._http.request(
            method,
            f"{self.url}{path}",
            params=query,
            json=body,
            headers={"Authorization": f"Bearer {token or self.token}"},
            allow_redirects=False,
        )
        try:
            async with sent as response:
                answer = Answer(
                    response.status, response.headers, await response.read()
                )
        except (aiohttp.ClientError, TimeoutError):
            raise NotTried("no answer came") from None
        if not token:
            self.pace.learn(answer.headers)
        self.latest = answer.seen
        if answer.status == 429 and not self.is_ours:
            raise NotTried("the rate limit was used up, by others as well")
        return answer

    async def get(self, path: str, **query: Any) -> Answer:
        """Send a GET."""
        return await self.ask("GET", path, **query)

    async def listed(self) -> list[Any]:
        """Return the newest hundred sessions of the account; there is one at least."""
        if self._listed is None:
            answer = await self.get("/v1/sessions", limit=100)
            if answer.status != 200:
                raise NotTried("the sessions of the account could not be listed")
            self._listed = answer.json["data"]
        if not self._listed:
            raise NotTried("the account has no session")
        return self._listed

    async def session(self, state: str = "") -> Any:
        """Return a session of the account, the newest one, in *state* if given."""
        for session in await self.listed():
            if state in {"", session["state"]}:
                return session
        raise NotTried("no session of the account is in the state that this needs")

    # -- live --------------------------------------------------------------------------

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Line]:
        """Open a line, which has not said yet whose it is."""
        await self.slowly(self._connections)
        try:
            async with asyncio.timeout(_PATIENCE):
                socket = await self._http.ws_connect(f"{self.url}/ws/v1")
        except (aiohttp.ClientError, TimeoutError):
            if self.is_ours:
                raise
            raise NotTried("no live connection could be made") from None
        try:
            yield Line(self, socket)
        finally:
            await socket.close()

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """Open a line of the account."""
        async with self.connected() as line:
            answer = await line.ask("auth:token", {"token": self.token}, id=1)
            if answer is CLOSED or answer.get("status") != 200:
                raise NotTried("the service does not let the token in")
            yield line

    async def slowly(self, limit: Pace | Window) -> None:
        """Wait until it is the turn of what *limit* limits."""
        if not self.is_ours:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(limit.wait(now))

    # -- changes -----------------------------------------------------------------------

    async def create(self, **fields: Any) -> Answer:
        """Try to make a session, which `clean` removes.

        Raises:
            NotTried: No changes are allowed.
        """
        if not self.may_change:
            raise NotTried("changes are not allowed")
        uri = "rtmps://stream.example.com/contract"
        body = {"name": self.name, "streamUri": uri} | fields
        self._unknown += 1
        answer = await self.ask("POST", "/v1/sessions", body=body)
        if answer.status < 300:
            self._made.add(answer.json["_id"])
        if answer.status < 500:  # a gateway may have given up too early
            self._unknown -= 1
        return answer

    def forget(self, session_id: str) -> None:
        """Note that a session is removed."""
        self._made.discard(session_id)

    @property
    def left(self) -> int:
        """Number of sessions that it has made and not removed."""
        return len(self._made) + self._unknown

    async def clean(self) -> None:
        """Remove what it has made, in three rounds: an answer may fail."""
        for _ in range(3):
            if self._unknown:
                with suppress(Exception):  # they are counted as left
                    await self._find_made()
            for session_id in [*self._made]:
                with suppress(NotTried):
                    await self._remove(session_id)

    async def _find_made(self) -> None:
        """Find sessions whose creation was not answered, by their names."""
        newest = await self.get("/v1/sessions", limit=100)
        for session in newest.json["data"]:
            if session["name"].startswith(self.name):
                self._made.add(session["_id"])
        self._unknown = 0

    async def _remove(self, session_id: str) -> None:
        path = f"/v1/sessions/{session_id}"
        await self.ask("POST", f"{path}/stop")
        answer = await self.delete(path)
        if answer.status in {200, 204, 404}:
            self.forget(session_id)

    async def delete(self, path: str) -> Answer:
        """Delete a session that it has stopped, which may be processed for a while."""
        end = asyncio.get_running_loop().time() + _PROCESSING
        while True:
            answer = await self.ask("DELETE", path)
            if answer.status != 400 or asyncio.get_running_loop().time() > end:
                return answer
            await asyncio.sleep(1.0)
