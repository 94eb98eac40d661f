"""One HTTP exchange over aiohttp: the only module of the client that knows it.

Its exceptions become ours here, and lose the request's headers: the token is in them.
"""

import os
import socket
import ssl as tls
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import ClientSession
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from emogg_async._calls.alarms import Alarms, Limit
from emogg_async._calls.connector import Connector, UnaskedError, close_spoilt
from emogg_async._calls.frames import bare, without_aiohttp
from emogg_async._wire.protocol import SAFE, TOO_LONG, Request, Response, unpacked
from emogg_async.errors import (
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    NotSentError,
    ResponseShapeError,
    TransportError,
)

__all__ = ["ClientSession", "Proxy", "Route", "Transport", "is_session"]

CONNECT_TIMEOUT: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 15.0
CHUNK: Final = 256 * 1024
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


_OPTIONS: Final[dict[str, Any]] = {
    "allow_redirects": False,
    "raise_for_status": False,
    # It would inflate more than is read, and lose the status of what it cannot.
    "auto_decompress": False,
    "middlewares": None,
    # A connection that pauses would go on in, and keep, the context of a load.
    "read_bufsize": 16 * 1024 * 1024,
}

_PROXY_REFUSES: Final = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED

_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""What a proxy may answer now and not later, of all that blames the request."""


@attrs.frozen(kw_only=True)
class Proxy:
    """A proxy, and what opens it."""

    url: str
    """Scheme, host and port; nothing secret."""

    authorization: str | None = attrs.field(default=None, repr=False)
    """The value of `Proxy-Authorization`; None sends none."""

    def headers(self) -> dict[str, str]:
        """Return what the proxy, and nobody else, is to be told."""
        if self.authorization is None:
            return {}
        return {"Proxy-Authorization": self.authorization}


@attrs.frozen(kw_only=True)
class Route:
    """How the service is reached."""

    proxy: Proxy | None = None
    """None is directly."""

    ssl: tls.SSLContext | None = None
    """None trusts this machine's authorities."""


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
        route: The proxy and the certificates of our own session.
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
        route: Route,
        http: aiohttp.ClientSession | None,
    ) -> None:
        self._alarms = alarms
        self._base_url = base_url
        self._host = URL(base_url).raw_host
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Authorization": f"Bearer {token}",
            "User-Agent": user_agent,
        }
        self._attempt_timeout = attempt_timeout
        # Deadlines are ours: aiohttp's `total` counts queueing, and rounds. Where it
        # matters whether a request was sent, DNS and TLS have a limit of their own.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        self._owns_http = http is None
        self._proxy = route.proxy
        self._tunnels = base_url.startswith("https:")
        # Headers that a session has anyway need no merging for each request; but
        # aiohttp would tell them to a proxy: the token, too.
        shared = http is None and self._proxy is None
        self._http = http or _open_session(route, headers if shared else {})
        self._plain: dict[str, Any] = {
            "headers": None if shared else headers,
            "timeout": timeout,
            **_OPTIONS,
        }
        if self._proxy is not None:
            self._use_proxy(self._proxy, headers)
        self._reserved = {*headers, "Content-Type", "Content-Length", "Host"}

    def _use_proxy(self, proxy: Proxy, headers: dict[str, str]) -> None:
        its = proxy.headers()
        self._plain |= {
            "proxy": proxy.url,
            "proxy_headers": its,
            # Without a tunnel it reads each request, and passes it on.
            "headers": headers if self._tunnels else headers | its,
            # Whoever waits for a tunnel has not sent anything yet.
            "timeout": _connecting(self._attempt_timeout),
        }

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
            ResponseShapeError: What came has not even a status.
            DeadlineError: The attempt's time was up.
        """
        if self._http.closed:
            raise ConfigurationError("the ClientSession passed as http= is closed")
        if not self._owns_http:
            close_spoilt(self._http, self._host)
        limit = min(self._attempt_timeout, time_left)
        try:
            with Limit(self._alarms, self._alarms.loop.time() + limit):
                response = await self._http.request(
                    request.method,
                    URL(self._base_url + request.target, encoded=True),
                    **self._options(request, limit, more_headers),
                )
                return await self._receive(request, response)
        except TimeoutError as error:
            raise self._too_late(request, limit, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error, request, self._proxy) from error
        except Exception as error:
            if self._owns_http or not isinstance(error, RuntimeError | ValueError):
                raise without_aiohttp(error)  # noqa: B904 - it is the same
            raise ConfigurationError(f"the session passed as http=: {error}") from None

    def _options(
        self, request: Request, limit: float, more_headers: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Return what aiohttp has to know of *request* besides where it goes."""
        options = self._plain
        if request.repeat is not SAFE:
            options = options | {"timeout": _connecting(limit)}
        if request.method in _REPEATED_BY_AIOHTTP:
            # Those of a session that was passed in are replaced, unless repeated here.
            outer = getattr(self._http, "_middlewares", ())
            options = options | {"middlewares": (*outer, _SendOnce())}
        if more_headers:
            theirs = {
                name: value
                for name, value in more_headers.items()
                if name.title() not in self._reserved
            }
            options = options | {"headers": {**theirs, **(options["headers"] or {})}}
        if request.body is not None:
            kind = {"Content-Type": "application/json"}
            headers = {**(options["headers"] or {}), **kind}
            options = options | {"headers": headers, "data": request.body}
        return options

    async def _receive(
        self, request: Request, response: aiohttp.ClientResponse
    ) -> Response:
        if self._proxy and not self._tunnels and response.status == _PROXY_REFUSES:
            response.close()
            raise _refused_by_proxy(self._proxy, response.status, request)
        try:
            ok = 200 <= response.status < 300
            limit = request.max_body if ok else MAX_ERROR_BODY
            body = await _read(response, limit)
        except BaseException:
            response.close()
            raise
        headers, problem = response.headers, "" if body is not None else TOO_LONG
        if body and (coding := headers.get("Content-Encoding")):
            body, problem = unpacked(body, coding, limit)
        return Response(response.status, headers, body or b"", not problem, problem)

    def _too_late(
        self, request: Request, limit: float, error: TimeoutError
    ) -> DeadlineError:
        sent = not isinstance(error, aiohttp.ConnectionTimeoutError)
        what = f"no answer within {limit:.3g} s"
        if not sent:
            way = f" through {_named(self._proxy)}" if self._proxy else ""
            what = f"no connection{way} in time"
        return DeadlineError(what, sent=sent, method=request.method, path=request.path)

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


class _TunnelError(aiohttp.ClientProxyConnectionError):
    """A proxy closed the connection, or answered nonsense, before a tunnel stood."""


class _Tunneller(Connector):
    """Says of what goes wrong at a proxy that nothing was sent yet.

    aiohttp says only that the server disconnected, as it does of a request that was
    sent and whose answer is lost.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Any:
        try:
            return await super().connect(req, traces, timeout)
        except (TimeoutError, *_NOT_SENT):
            raise
        except (aiohttp.ClientError, OSError) as error:
            _forget_words(error)
            closed = OSError("no tunnel")
            raise _TunnelError(req.connection_key, closed) from error


def _open_session(route: Route, headers: dict[str, str]) -> aiohttp.ClientSession:
    kind = _Tunneller if route.proxy else Connector
    return aiohttp.ClientSession(
        headers=headers,
        # The gate owns the slots; c-ares, where installed, would ignore the hosts file.
        connector=kind(
            limit=0,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            resolver=aiohttp.ThreadedResolver(),
            ssl=route.ssl or True,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _connecting(limit: float) -> aiohttp.ClientTimeout:
    """Limit what comes before a send; it ends early enough to say that none was."""
    return aiohttp.ClientTimeout(total=None, connect=min(CONNECT_TIMEOUT, 0.9 * limit))


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Read the body, packed as it may be; None if it has more than *limit* bytes."""
    content = response.content
    chunks: list[bytes] = []
    size = 0
    try:
        while not content.at_eof():
            chunk = await content.read(CHUNK)
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                response.close()  # the rest is not worth reading, nor the connection
                return None
    # How aiohttp says that the connection is gone, and without its compiled parser also
    # that a chunk is none.
    except (RuntimeError, HttpProcessingError) as error:
        raise aiohttp.ClientPayloadError(type(error).__name__) from error
    response.release()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _translated(
    error: Exception, request: Request, proxy: Proxy | None = None
) -> TransportError | ResponseShapeError:
    """Say in our words what aiohttp's *error* means for *request*."""
    parsing = (
        error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else None
    )
    _forget_words(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(proxy, getattr(error, "status", 0), request)
    where: dict[str, Any] = {"method": request.method, "path": request.path}
    if isinstance(parsing, HttpProcessingError):
        is_long = isinstance(parsing.__cause__, LineTooLong)
        what = (
            "a line of its head is too long" if is_long else "its head is no valid HTTP"
        )
        said = f"the answer cannot be read: {what}"
        return ResponseShapeError(said, problems=(what,), **where)
    if not isinstance(error, _NOT_SENT):
        kind = type(error).__name__
        return ConnectionLostError(f"the answer was lost ({kind})", **where)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotSentError(
            f"not sent: {_distrust(error)}",
            stopped_by="certificate",
            final=True,
            **where,
        )
    if proxy or isinstance(error, aiohttp.ClientProxyConnectionError):
        what = f"not sent: {_named(proxy)}: {_reason(error)}"
        return NotSentError(what, stopped_by="proxy", **where)
    return NotSentError(f"not sent: {_reason(error)}", **where)


def _refused_by_proxy(
    proxy: Proxy | None, status: int, request: Request
) -> NotSentError:
    known = status in HTTPStatus.__members__.values()
    phrase = f" {HTTPStatus(status).phrase}" if known else ""
    return NotSentError(
        f"not sent: {_named(proxy)} answered {status}{phrase}",
        stopped_by="proxy",
        final=400 <= status < 500 and status not in _PASSING,
        method=request.method,
        path=request.path,
    )


def _named(proxy: Proxy | None) -> str:
    return f"the proxy {proxy.url}" if proxy else "the proxy"


def _distrust(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Say whose certificate is refused, and why; it may be that of a proxy."""
    key = getattr(error, "_conn_key", None)
    cause = getattr(error, "_certificate_error", None)
    why = getattr(cause, "verify_message", "") or "it is not trusted"
    return f"the certificate of {key.host if key else 'the service'} is refused: {why}"


def _forget_words(error: Exception) -> None:
    """Take out what was said, and what led to it, which may quote that.

    The token is in the headers of the request, and whoever answers may repeat it.
    """
    error.__cause__ = None
    bare(error)
    for part in vars(error).values():
        if isinstance(part, BaseException):
            bare(part)
    if isinstance(error, aiohttp.ClientResponseError):
        if (info := getattr(error, "request_info", None)) is not None:
            none = CIMultiDictProxy(CIMultiDict[str]())
            error.request_info = aiohttp.RequestInfo(
                info.url, info.method, none, info.real_url
            )
            error.args = (error.request_info, ())
        error.message, error.headers = "", None
    if isinstance(error, aiohttp.ServerDisconnectedError):
        error.message, error.args = "", ()  # it can be the head of an answer


def _reason(error: Exception) -> str:
    if isinstance(error, _TunnelError):
        return "it closed the connection, or did not answer as a proxy"
    if isinstance(error, UnaskedError):
        return "it answers before it is asked"
    cause = getattr(error, "certificate_error", getattr(error, "os_error", error))
    if isinstance(cause, tls.SSLError):
        return str(getattr(cause, "reason", None) or "TLS failed")
    if isinstance(cause, OSError) and cause.errno:
        # asyncio's own text repeats the address, and that of a resolver is its own.
        resolver = isinstance(cause, socket.gaierror)
        return str(cause.strerror if resolver else os.strerror(cause.errno))
    if isinstance(cause, ConnectionError):
        return "the connection was closed before TLS stood"
    return type(error).__name__
