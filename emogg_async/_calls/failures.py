"""Errors of ours for aiohttp's exceptions.

They lose the headers of the request, because the token is in them.
"""

import os
import socket
import ssl as tls
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from multidict import CIMultiDict, CIMultiDictProxy

from emogg_async._calls.frames import bare
from emogg_async._wire.protocol import Request
from emogg_async.errors import (
    ConnectionLostError,
    NotSentError,
    ResponseShapeError,
    TransportError,
)

__all__ = [
    "NOT_SENT",
    "Proxy",
    "TunnelError",
    "UnaskedError",
    "forget_words",
    "named",
    "refused_by_proxy",
    "translated",
]

NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
"""The errors of aiohttp after which a request was not sent."""

_TEMPORARY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""The 4xx answers of a proxy that a retry may not meet again."""


@attrs.frozen(kw_only=True)
class Proxy:
    """A proxy and its credentials.

    Attributes:
        url: Its scheme, host and port, without credentials.
        authorization: The value of `Proxy-Authorization`; None sends no such header.
    """

    url: str
    authorization: str | None = attrs.field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Return the headers for the proxy alone."""
        if self.authorization is None:
            return {}
        return {"Proxy-Authorization": self.authorization}


class UnaskedError(aiohttp.ClientConnectorError):
    """Every connection received an answer before a request was sent."""


class TunnelError(aiohttp.ClientProxyConnectionError):
    """A proxy closed the connection, or sent no valid answer, instead of a tunnel."""


def translated(
    error: Exception, request: Request, proxy: Proxy | None = None
) -> TransportError | ResponseShapeError:
    """Return the error of ours for aiohttp's *error*."""
    parsing = (
        error.__cause__ if isinstance(error, aiohttp.ClientResponseError) else None
    )
    forget_words(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(proxy, getattr(error, "status", 0), request)
    where: dict[str, Any] = {"method": request.method, "path": request.path}
    if isinstance(parsing, HttpProcessingError):
        is_long = isinstance(parsing.__cause__, LineTooLong)
        what = (
            "a line of its head is too long" if is_long else "its head is no valid HTTP"
        )
        said = f"the answer cannot be read: {what}"
        return ResponseShapeError(said, problems=(what,), **where)
    if not isinstance(error, NOT_SENT):
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
        what = f"not sent: {named(proxy)}: {_reason(error)}"
        return NotSentError(what, stopped_by="proxy", **where)
    return NotSentError(f"not sent: {_reason(error)}", **where)


def refused_by_proxy(
    proxy: Proxy | None, status: int, request: Request
) -> NotSentError:
    known = status in HTTPStatus.__members__.values()
    phrase = f" {HTTPStatus(status).phrase}" if known else ""
    return NotSentError(
        f"not sent: {named(proxy)} answered {status}{phrase}",
        stopped_by="proxy",
        final=400 <= status < 500 and status not in _TEMPORARY,
        method=request.method,
        path=request.path,
    )


def named(proxy: Proxy | None) -> str:
    return f"the proxy {proxy.url}" if proxy else "the proxy"


def _distrust(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Name the host of a refused certificate, perhaps a proxy, and the reason."""
    key = getattr(error, "_conn_key", None)
    cause = getattr(error, "_certificate_error", None)
    why = getattr(cause, "verify_message", "") or "it is not trusted"
    return f"the certificate of {key.host if key else 'the service'} is refused: {why}"


def forget_words(error: Exception) -> None:
    """Remove headers, texts of the server, causes and frames from *error*.

    The token is in the headers of the request, and a server may repeat it.
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
        # aiohttp may put the head of an answer there.
        error.message, error.args = "", ()


def _reason(error: Exception) -> str:
    if isinstance(error, TunnelError):
        return "it closed the connection, or did not answer as a proxy"
    if isinstance(error, UnaskedError):
        return "it answers before it is asked"
    cause = getattr(error, "certificate_error", getattr(error, "os_error", error))
    if isinstance(cause, tls.SSLError):
        return str(getattr(cause, "reason", None) or "TLS failed")
    if isinstance(cause, OSError) and cause.errno:
        # asyncio's text repeats the address. The numbers of a resolver are not errnos.
        resolver = isinstance(cause, socket.gaierror)
        return str(cause.strerror if resolver else os.strerror(cause.errno))
    if isinstance(cause, ConnectionError):
        return "the connection was closed before TLS was set up"
    return type(error).__name__
