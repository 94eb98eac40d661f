"""One HTTP exchange over aiohttp, and the opening of live connections."""

import asyncio
import ssl as tls
from collections.abc import Callable, Mapping
from contextvars import Context
from http import HTTPStatus
from typing import Any, Final, cast

import aiohttp
import attrs
from aiohttp import ClientSession
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from emogg_async._calls.alarms import Alarms, Limit
from emogg_async._calls.failures import (
    NOT_SENT,
    Proxy,
    TunnelError,
    UnaskedError,
    forget_words,
    named,
    refused_by_proxy,
    translated,
)
from emogg_async._calls.frames import without_aiohttp
from emogg_async._wire.protocol import (
    HANDSHAKE,
    SAFE,
    TOO_LONG,
    Request,
    Response,
    status_error,
    unpacked,
)
from emogg_async.errors import (
    ConfigurationError,
    DeadlineError,
    EmoggError,
    ResponseShapeError,
)

__all__ = ["ClientSession", "Proxy", "Route", "Transport", "is_session"]

CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 15.0
READ_BYTES: Final = 256 * 1024
MAX_ERROR_BODY_BYTES: Final = 64 * 1024
MAX_FRAME_BYTES: Final = 2**20
MAX_SPOILT: Final = 100
"""Connections with unasked answers that are closed before a request gives up."""

_REPEATED_BY_AIOHTTP = frozenset({"DELETE", "PUT"})
"""The writes that aiohttp itself repeats when an idle connection is dead."""


_OPTIONS: Final[dict[str, Any]] = {
    "allow_redirects": False,
    "raise_for_status": False,
    # aiohttp would inflate more than is read, and lose the status of an answer that it
    # cannot inflate.
    "auto_decompress": False,
    "middlewares": None,
    # A smaller buffer pauses the connection, which would resume in the context of a
    # load, and keep it.
    "read_bufsize": 16 * 1024 * 1024,
}

_PROXY_REFUSES: Final = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED


@attrs.frozen(kw_only=True)
class Route:
    """The way to the service.

    Attributes:
        proxy: The proxy; None connects directly.
        ssl: The context for TLS; None trusts this machine's authorities.
    """

    proxy: Proxy | None = None
    ssl: tls.SSLContext | None = None


def is_session(value: object) -> bool:
    """Tell whether *value* is an aiohttp session."""
    return isinstance(value, aiohttp.ClientSession)


class Transport:
    """Sends requests to one base URL with one token.

    Args:
        base_url: The URL of the service, with or without a path, without a slash at
            its end.
        token: The bearer token.
        user_agent: The value of `User-Agent`.
        headers: Headers of the user to add, none of which is ours.
        attempt_timeout: Seconds that an exchange usually has, including the body.
        alarms: The alarms for the limits of exchanges.
        route: The proxy and the certificates of our own session.
        http: The caller's session, which is never closed here; None makes our own.
    """

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        user_agent: str,
        headers: Mapping[str, str],
        attempt_timeout: float,
        alarms: Alarms,
        route: Route,
        http: aiohttp.ClientSession | None,
    ) -> None:
        self._alarms = alarms
        base = URL(base_url)
        self._host, self._url_of = base.raw_host, _urls_below(base)
        common = {
            **headers,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Authorization": f"Bearer {token}",
            "User-Agent": user_agent,
        }
        self._attempt_timeout = attempt_timeout
        # `Limit` bounds the exchange: aiohttp's `total` includes queueing, and rounds.
        # For writes `connect` bounds DNS and TLS, too, to tell whether one was sent.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        self._owns_http = http is None
        self._handshake = {**headers, "User-Agent": user_agent}
        self._sockets: aiohttp.ClientSession | None = None
        self._proxy = route.proxy
        self._tunnels = base_url.startswith("https:")
        # Headers of the session need no merging for each request. With a proxy, aiohttp
        # would send them to the proxy, the token included.
        shared = http is None and self._proxy is None
        self._http = http or _open_session(route, common if shared else {})
        self._plain: dict[str, Any] = {
            "headers": None if shared else common,
            "timeout": timeout,
            **_OPTIONS,
        }
        if self._proxy is not None:
            self._use_proxy(self._proxy, common)
        reserved = {*common, "Content-Type", "Content-Length", "Host"}
        self._reserved = {name.lower() for name in reserved}

    def __del__(self) -> None:
        """Keep aiohttp from warning as well: a forgotten client warns itself."""
        for session in (self._sockets, self._http if self._owns_http else None):
            if session is not None:
                session.detach()

    def _use_proxy(self, proxy: Proxy, headers: dict[str, str]) -> None:
        its = proxy.headers()
        self._plain |= {
            "proxy": proxy.url,
            "proxy_headers": its,
            # Without a tunnel, the proxy reads its credentials from each request.
            "headers": headers if self._tunnels else headers | its,
            # A request that waits for a tunnel is not sent yet.
            "timeout": _connecting(self._attempt_timeout),
        }

    async def send(
        self,
        request: Request,
        limit: float,
        more_headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send *request* once and read the answer, whatever its status.

        Args:
            request: The request.
            limit: Seconds for the exchange, including the body.
            more_headers: Additional headers; ours take precedence.

        Raises:
            NotSentError: The request was not sent.
            ConnectionLostError: The request was sent, and the answer was lost.
            ResponseShapeError: The head of the answer cannot be read.
            DeadlineError: The time of the attempt or the call is up.
            ConfigurationError: The session passed as `http=` cannot send requests.
        """
        if not self._owns_http:
            if self._http.closed:
                raise ConfigurationError("the ClientSession passed as http= is closed")
            _close_spoilt(self._http, self._host)
        # No local variable holds the options: the token is in them, and the frame of a
        # bug in a middleware is shown.
        is_plain = request.repeat is SAFE and request.body is None and not more_headers
        if self._proxy and limit != self._attempt_timeout:
            is_plain = False
        try:
            with Limit(self._alarms, self._alarms.loop.time() + limit):
                response = await self._http.request(
                    request.method,
                    self._url_of(request.target),
                    **(
                        self._plain
                        if is_plain
                        else self._options(request, limit, more_headers)
                    ),
                )
                if self._proxy and not self._tunnels:
                    _check_proxy(self._proxy, response, request)
                return await _received(request, response)
        except TimeoutError as error:
            raise self._too_late(request, limit, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error, request, self._proxy) from error
        except Exception as error:
            if self._owns_http or not isinstance(error, RuntimeError | ValueError):
                raise without_aiohttp(error)  # noqa: B904 - the same error
            raise ConfigurationError(
                f"the session passed as http= cannot send the request: {error}"
            ) from None

    def _options(
        self, request: Request, limit: float, more_headers: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Return the options of aiohttp's `request` for *request*."""
        options = self._plain
        if self._proxy or request.repeat is not SAFE:
            options = options | {"timeout": _connecting(limit)}
        if request.method in _REPEATED_BY_AIOHTTP:
            # Middlewares of a request replace those of the caller's session.
            outer = getattr(self._http, "_middlewares", ())
            options = options | {"middlewares": (*outer, _SendOnce())}
        if more_headers:
            theirs = {
                name: value
                for name, value in more_headers.items()
                if name.lower() not in self._reserved
            }
            options = options | {"headers": {**theirs, **(options["headers"] or {})}}
        if request.body is not None:
            kind = {"Content-Type": "application/json"}
            headers = {**(options["headers"] or {}), **kind}
            options = options | {"headers": headers, "data": request.body}
        return options

    def _too_late(
        self, request: Request, limit: float, error: TimeoutError
    ) -> DeadlineError:
        sent = not isinstance(error, aiohttp.ConnectionTimeoutError)
        what = f"no answer within {limit:.3g} s"
        if not sent:
            way = f" through {named(self._proxy)}" if self._proxy else ""
            what = f"no connection{way} in time"
        return DeadlineError(what, sent=sent, method=request.method, path=request.path)

    async def open_socket(self, limit: float) -> aiohttp.ClientWebSocketResponse:
        """Open a live connection, over the way of all requests but without the token.

        Args:
            limit: Seconds until it must be open.

        Raises:
            StatusError: The service refuses it, or redirects.
            ResponseShapeError: What answers does not speak WebSocket.
            NotSentError: The service was not reached.
            ConnectionLostError: The answer was lost.
            DeadlineError: The time is up.
            ConfigurationError: The session passed as `http=` is closed or fails.
        """
        if self._http.closed:
            raise ConfigurationError("the ClientSession passed as http= is closed")
        if self._sockets is None:
            self._sockets = _session_for_sockets(self._http)
        url = self._url_of(HANDSHAKE.path)
        options = {k: v for k, v in self._plain.items() if k.startswith("proxy")}
        its = options.get("proxy_headers", {}) if not self._tunnels else {}
        try:
            async with asyncio.timeout(limit):
                opened = await self._sockets.ws_connect(
                    url.with_scheme("wss" if self._tunnels else "ws"),
                    headers={**self._handshake, **its},
                    max_msg_size=MAX_FRAME_BYTES,
                    **options,
                )
                return cast("aiohttp.ClientWebSocketResponse", opened)
        except TimeoutError as error:
            raise self._too_late(HANDSHAKE, limit, error) from error
        except aiohttp.WSServerHandshakeError as error:
            raise self._refused_socket(error.status) from None
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error, HANDSHAKE, self._proxy) from error
        except Exception as error:
            if self._owns_http:
                raise without_aiohttp(error)  # noqa: B904 - the same error
            raise ConfigurationError(
                "the session passed as http= cannot open a live connection: "
                f"{type(error).__name__}: {error}"
            ) from None

    def _refused_socket(self, status: int) -> EmoggError:
        if self._proxy and not self._tunnels and status == _PROXY_REFUSES:
            return refused_by_proxy(self._proxy, status, HANDSHAKE)
        if status >= 300:
            return status_error(HANDSHAKE, status, "", "")
        what = f"the service answered {status} and does not speak WebSocket"
        return ResponseShapeError(
            what, problems=(what,), method=HANDSHAKE.method, path=HANDSHAKE.path
        )

    async def close(self) -> None:
        """Close our own session; the caller's stays open."""
        if self._sockets is not None:
            await self._sockets.close()
        if self._owns_http:
            await self._http.close()


class _SendOnce:
    """A middleware that prevents aiohttp's silent repeat on a dead connection.

    Only our own retries know that a 404 after a repeated DELETE means that the first
    one worked.
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


class _Connector(aiohttp.TCPConnector):
    """A connector that closes connections with unasked answers.

    aiohttp would take such an answer for the one to the next request.

    Connections, and the timer that closes them, are made in an empty context, because
    they outlive the load that makes them and would keep its context alive.
    """

    def __del__(self, *_: object) -> None:
        """Close connections like aiohttp, without its warning: the client warns."""
        if not self.closed:
            self._close()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Any:
        for _ in range(MAX_SPOILT):
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                return connection
            connection.close()
        raise UnaskedError(req.connection_key, OSError())

    async def _create_connection(self, *args: Any) -> Any:
        task: asyncio.Task[Any] = Context().run(
            self._loop.create_task, super()._create_connection(*args)
        )
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()  # connected, but the request is gone
            raise

    def _release(self, *args: Any, **options: Any) -> None:
        if getattr(self, "_cleanup_handle", None) is None:  # the call starts the timer
            Context().run(super()._release, *args, **options)
        else:
            super()._release(*args, **options)


class _Tunneller(_Connector):
    """A connector whose errors at a proxy say that no request was sent.

    aiohttp raises the same error for a proxy that disconnects as for a request that was
    sent and lost its answer.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Any:
        try:
            return await super().connect(req, traces, timeout)
        except (TimeoutError, *NOT_SENT):
            raise
        except (aiohttp.ClientError, OSError) as error:
            forget_words(error)
            closed = OSError("no tunnel")
            raise TunnelError(req.connection_key, closed) from error


def _open_session(route: Route, headers: dict[str, str]) -> aiohttp.ClientSession:
    kind = _Tunneller if route.proxy else _Connector
    return aiohttp.ClientSession(
        headers=headers,
        # No limit, because the gate has one. The resolver is threaded, because c-ares
        # would ignore the hosts file.
        connector=kind(
            limit=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
            resolver=aiohttp.ThreadedResolver(),
            ssl=route.ssl or True,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _refuse_redirect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Refuse to be redirected: the first message of a connection has the token."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.WSServerHandshakeError(
            response.request_info, response.history, status=response.status
        )
    return response


def _session_for_sockets(http: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Make a session for live connections that goes the same way as *http*.

    It has the headers of *http* but the one with the token.
    """
    outer = getattr(http, "_middlewares", ())
    headers = http.headers.copy()
    headers.popall("Authorization", None)
    return aiohttp.ClientSession(
        connector=http.connector,
        connector_owner=False,
        cookie_jar=http.cookie_jar,
        headers=headers,
        trust_env=http.trust_env,
        trace_configs=http.trace_configs,
        proxy=getattr(http, "_default_proxy", None),
        middlewares=(*outer, _refuse_redirect),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


def _close_spoilt(http: aiohttp.ClientSession, host: str | None) -> None:
    """Close the idle connections to *host* that have received an unasked answer.

    The session is the caller's, so its connector is not a `_Connector`. `_conns` is
    private to aiohttp; without it, this does nothing.
    """
    for key, idle in getattr(http.connector, "_conns", {}).items():
        if key.host == host:
            for protocol, *_ in idle:
                if protocol.should_close:
                    protocol.close()


def _urls_below(base: URL) -> Callable[[str], URL]:
    """Return a function that puts a target behind *base*, without parsing it."""
    scheme, authority, root = base.scheme, base.raw_authority, base.raw_path.rstrip("/")

    def url_of(target: str) -> URL:
        path, _, query = target.partition("?")
        return URL.build(
            scheme=scheme,
            authority=authority,
            path=root + path,
            query_string=query,
            encoded=True,
        )

    return url_of


def _connecting(limit: float) -> aiohttp.ClientTimeout:
    """Limit the time to connect, so that it ends before *limit*, the attempt's."""
    return aiohttp.ClientTimeout(total=None, connect=min(CONNECT_SECONDS, 0.9 * limit))


def _check_proxy(
    proxy: Proxy, response: aiohttp.ClientResponse, request: Request
) -> None:
    """Raise the error for an answer that is of *proxy* itself."""
    if response.status == _PROXY_REFUSES:
        response.close()
        raise refused_by_proxy(proxy, response.status, request)


async def _received(request: Request, response: aiohttp.ClientResponse) -> Response:
    """Read the answer, without its body if that is longer than *request* allows."""
    ok = 200 <= response.status < 300
    limit = request.max_body if ok else MAX_ERROR_BODY_BYTES
    content = response.content
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= limit and not content.at_eof():
            chunk = await content.read(READ_BYTES)
            chunks.append(chunk)
            size += len(chunk)
    except BaseException as error:
        response.close()
        # aiohttp raises these for a lost connection and, without its compiled parser,
        # for an invalid chunk.
        if isinstance(error, RuntimeError | HttpProcessingError):
            raise aiohttp.ClientPayloadError(type(error).__name__) from error
        raise
    if size > limit:
        response.close()  # closing is cheaper than reading the rest
        return Response(response.status, response.headers, b"", TOO_LONG)
    if not response.closed:  # it is, unless the connection was upgraded
        response.release()
    body, problem = b"".join(chunks), ""
    if body and (coding := response.headers.get("Content-Encoding")):
        body, problem = unpacked(body, coding, limit)
    return Response(response.status, response.headers, body, problem)
