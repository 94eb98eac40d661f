"""One HTTP exchange over aiohttp: the only module of the client that knows it.

Its exceptions become ours here, and lose the request's headers: the token is in them.
"""

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from emogg_async._alarms import Alarms
from emogg_async._protocol import Repeat, Request, Response
from emogg_async.errors import (
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    NotSentError,
    TransportError,
)

__all__ = ["Transport", "is_session"]

CONNECT_TIMEOUT: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 15.0
MAX_BODY: Final = 32 * 1024 * 1024
MAX_ERROR_BODY: Final = 64 * 1024

_REPEATED_BY_AIOHTTP = frozenset({"DELETE", "PUT"})
"""Writes that aiohttp sends again by itself when a kept connection turns out dead."""

_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


def is_session(value: object) -> bool:
    """Tell whether *value* is an aiohttp session."""
    return isinstance(value, aiohttp.ClientSession)


class Transport:
    """Sends requests to one base URL with one token.

    Args:
        base_url: Scheme, host and perhaps a path prefix; no trailing slash.
        token: The bearer token.
        user_agent: What to call ourselves.
        attempt_timeout: Seconds for one exchange, its body included.
        alarms: Where deadlines are watched.
        http: The caller's session, which is never closed here; None to make our own.
    """

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        user_agent: str,
        attempt_timeout: float,
        alarms: Alarms,
        http: aiohttp.ClientSession | None,
    ) -> None:
        self._alarms = alarms
        self._base_url = base_url
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Authorization": f"Bearer {token}",
            "User-Agent": user_agent,
        }
        self._attempt_timeout = attempt_timeout
        # Deadlines are ours: aiohttp's `total` counts queueing, and rounds. Where it
        # matters whether a request was sent, DNS and TLS have a limit of their own.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        self._write_timeout = aiohttp.ClientTimeout(
            total=None, connect=min(CONNECT_TIMEOUT, attempt_timeout)
        )
        self._owns_http = http is None
        # Headers that a session has anyway need no merging for each request.
        self._http = _open_session(headers) if http is None else http
        self._headers = None if http is None else headers
        self._reserved = {*headers, "Content-Type", "Content-Length", "Host"}

    async def send(
        self,
        request: Request,
        time_left: float,
        more_headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send *request* once and read the answer, whatever its status.

        Args:
            request: What to send.
            time_left: Seconds after which the whole call is over.
            more_headers: What it is to carry besides; ours go first.

        Raises:
            NotSentError: It never left.
            ConnectionLostError: It left, and no whole answer came.
            DeadlineError: The attempt's time was up.
        """
        if self._http.closed:
            raise ConfigurationError("the ClientSession passed as http= is closed")
        limit = min(self._attempt_timeout, time_left)
        try:
            with self._alarms.limit(limit):
                return await self._exchange(request, more_headers)
        except TimeoutError as error:
            sent = not isinstance(error, aiohttp.ConnectionTimeoutError)
            what = (
                f"no answer within {limit:.3g} s" if sent else "no connection in time"
            )
            raise DeadlineError(
                what, sent=sent, method=request.method, path=request.path
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, request) from error
        except (RuntimeError, ValueError) as error:
            if self._owns_http:
                raise
            raise ConfigurationError(f"the session passed as http=: {error}") from None

    async def _exchange(
        self, request: Request, more_headers: Mapping[str, str] | None
    ) -> Response:
        headers, timeout = self._headers, self._timeout
        if more_headers:
            theirs = {
                name: value
                for name, value in more_headers.items()
                if name.title() not in self._reserved
            }
            headers = {**theirs, **(headers or {})}
        middlewares: tuple[aiohttp.ClientMiddlewareType, ...] | None = None
        if request.repeat is not Repeat.SAFE:
            timeout = self._write_timeout
        if request.method in _REPEATED_BY_AIOHTTP:
            # Those of a session that was passed in are replaced, unless repeated here.
            outer = getattr(self._http, "_middlewares", ())
            middlewares = (*outer, _SendOnce())
        if request.body is not None:
            headers = {**(headers or {}), "Content-Type": "application/json"}
        response = await self._http.request(
            request.method,
            URL(self._base_url + request.target, encoded=True),
            data=request.body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=middlewares,
        )
        try:
            ok = 200 <= response.status < 300
            body, complete = await _read(response, MAX_BODY if ok else MAX_ERROR_BODY)
        except BaseException:
            response.close()
            raise
        return Response(response.status, response.headers, body, complete)

    async def close(self) -> None:
        """Close our own session; the caller's stays open."""
        if self._owns_http:
            await self._http.close()


class _SendOnce:
    """Stops aiohttp's own silent repeat on a dead connection.

    Retries are ours to count: a DELETE that worked would otherwise come back as a 404
    that nobody can explain.
    """

    def __init__(self) -> None:
        self._sent = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._sent:
            raise aiohttp.ServerDisconnectedError
        self._sent = True
        return await handler(request)


def _open_session(headers: dict[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers=headers,
        # The gate owns the slots; c-ares, where installed, would ignore the hosts file.
        connector=aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            resolver=aiohttp.ThreadedResolver(),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Read the body, or nothing of one over *limit* bytes; say whether it is whole."""
    content = response.content
    chunks: list[bytes] = []
    size = 0
    try:
        while not content.at_eof():
            chunk = await content.readany()
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                response.close()  # the rest is not worth reading, nor the connection
                return b"", False
    except RuntimeError as error:  # how aiohttp says that the connection is gone
        raise aiohttp.ClientPayloadError(str(error)) from error
    response.release()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks), True


def _translated(error: Exception, request: Request) -> TransportError:
    """Say in our words what aiohttp's *error* means for *request*."""
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        _strip_headers(error)
    if isinstance(error, _NOT_SENT):
        return NotSentError(
            f"not sent: {_reason(error)}", method=request.method, path=request.path
        )
    return ConnectionLostError(
        f"the answer was lost ({kind})", method=request.method, path=request.path
    )


def _strip_headers(error: aiohttp.ClientResponseError) -> None:
    """Take out the request's headers, which its `repr` would show."""
    info = getattr(error, "request_info", None)
    if info is not None:
        none = CIMultiDictProxy(CIMultiDict[str]())
        error.request_info = aiohttp.RequestInfo(
            info.url, info.method, none, info.real_url
        )
        error.args = (error.request_info, ())


def _reason(error: Exception) -> str:
    cause = getattr(error, "certificate_error", getattr(error, "os_error", error))
    if isinstance(cause, ssl.SSLError):
        return str(getattr(cause, "reason", None) or "TLS failed")
    if isinstance(cause, OSError) and cause.errno:
        # asyncio's own text repeats the address, and that of a resolver is its own.
        resolver = isinstance(cause, socket.gaierror)
        return str(cause.strerror if resolver else os.strerror(cause.errno))
    return type(error).__name__
