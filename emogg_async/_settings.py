"""The arguments of a client, checked once, before any I/O."""

import os
import re
import ssl as tls
from base64 import b64encode
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from ipaddress import ip_address
from os import PathLike, fspath
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
from attrs.validators import optional

from emogg_async._caching.policy import CachePolicy
from emogg_async._calls.policy import RetryPolicy
from emogg_async._calls.terms import Terms, is_seconds
from emogg_async._calls.transport import ClientSession, Proxy, Route, is_session
from emogg_async._checks import kind_of, whole
from emogg_async._live.policy import LivePolicy
from emogg_async._wire.headers import check_headers, check_user_agent
from emogg_async._wire.protocol import DEFAULT_BASE_URL
from emogg_async.errors import ConfigurationError, InvalidArgumentError
from emogg_async.events import Event

__all__ = ["Settings"]

Listener = Callable[[Event], object]
Trust = tls.SSLContext | str | PathLike[str]

LEAST_SECRET: Final = 8
"""Characters of a header that may be a key; shorter ones are words of messages, too."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


# -- token and base URL ----------------------------------------------------------------

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_VISIBLE = re.compile(r"[!-~]+")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def _usable_token(token: str | None) -> str:
    """Return *token*, or if that is None `EMOGG_API_TOKEN`, without outer spaces.

    Raises:
        ConfigurationError: The token is missing, or cannot be sent in a header. The
            message does not show it.
    """
    found = os.environ.get("EMOGG_API_TOKEN", "") if token is None else token
    if not isinstance(found, str):
        raise ConfigurationError(f"token: expected text, got {type(found).__name__}")
    found = found.strip()
    if not found:
        raise ConfigurationError("no token: pass token= or set EMOGG_API_TOKEN")
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise ConfigurationError(
            "token: expected printable ASCII characters without spaces"
        )
    return found


def _usable_base_url(base_url: str | None) -> str:
    """Return *base_url*, `EMOGG_BASE_URL` or the default, without a slash at its end.

    Raises:
        ConfigurationError: The URL is not a base URL.
    """
    given = os.environ.get("EMOGG_BASE_URL") if base_url is None else base_url
    url = given or DEFAULT_BASE_URL
    if not isinstance(url, str):
        raise ConfigurationError(f"base_url: expected text, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if (
        not _is_host(host)
        or parts.scheme not in {"http", "https"}
        or not _PATH_PREFIX.fullmatch(parts.path)
        or not _VISIBLE.fullmatch(url)
    ):
        raise ConfigurationError(
            "base_url: expected http(s)://host, with or without a port and a path"
        )
    if "?" in url or "#" in url or "@" in parts.netloc:
        raise ConfigurationError(
            "base_url: expected no query, no fragment and no password in it"
        )
    # The scheme in lower case: other code tests for TLS with `startswith("https:")`.
    return parts.scheme + url[len(parts.scheme) :].rstrip("/")


def _is_host(host: str) -> bool:
    """Tell whether *host* is a valid host name or IP address."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None


def _is_loopback(host: str) -> bool:
    """Tell whether *host* is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy_from_environment(base_url: SplitResult) -> Proxy | None:
    host = base_url.hostname or ""
    port = base_url.port or DEFAULT_PORTS[base_url.scheme]
    proxies = getproxies()
    if (
        base_url.scheme not in proxies
        or _is_loopback(host)  # a proxy would connect to its own loopback
        or any(proxy_bypass(name) for name in (host, f"{host}:{port}"))
    ):
        return None
    url = proxies[base_url.scheme]
    name = f"{base_url.scheme.upper()}_PROXY"
    return _usable_proxy(name, url if "://" in url else f"http://{url}")


def _usable_proxy(name: str, url: str) -> Proxy:
    """Read the URL of a proxy; no error shows any of it, as it may hold a password."""
    if not isinstance(url, str):
        raise ConfigurationError(f"{name}: expected text, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = SplitResult("", "", "", "", ""), "", None
    if (
        parts.scheme not in DEFAULT_PORTS
        or not _is_host(host)
        or port == 0
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or not (url.isprintable() and " " not in url)
    ):
        raise ConfigurationError(
            f"{name}: expected http(s)://host:port or "
            "http(s)://user:password@host:port, with user and password percent-encoded"
        )
    host = f"[{host}]" if ":" in host else host
    return Proxy(
        url=f"{parts.scheme}://{host}:{port or DEFAULT_PORTS[parts.scheme]}",
        authorization=_authorization(name, parts),
    )


def _authorization(name: str, parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    # Bytes, because only the proxy knows their encoding.
    user = unquote_to_bytes(parts.username)
    password = unquote_to_bytes(parts.password or "")
    if b":" in user or any(byte < 32 or byte == 127 for byte in user + password):
        raise ConfigurationError(
            f"{name}: expected a user without a colon, and no control characters in "
            "the user or the password"
        )
    return f"Basic {b64encode(user + b':' + password).decode()}"


def _trust(ssl: Trust) -> tls.SSLContext:
    if isinstance(ssl, tls.SSLContext):
        if ssl.protocol is tls.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "ssl: expected a context for clients, got one for servers"
            )
        return ssl
    if not isinstance(ssl, str | PathLike):
        raise InvalidArgumentError(
            "ssl: expected an ssl.SSLContext or the path of a PEM file, got "
            f"{type(ssl).__name__}"
        )
    path = fspath(ssl)
    try:
        if path:  # an empty one would trust this machine's authorities
            return tls.create_default_context(cafile=path)
        reason = "the path is empty"
    except tls.SSLError:
        reason = "the file has no certificate in PEM form"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise ConfigurationError(f"ssl: cannot use {path!r}: {reason}")


# -- all arguments ---------------------------------------------------------------------


def _is_listener(_: object, __: object, on_event: Listener | None) -> None:
    call = getattr(on_event, "__call__", None)  # noqa: B004 - an object's may be async
    if on_event is not None and (
        call is None or iscoroutinefunction(on_event) or iscoroutinefunction(call)
    ):
        raise InvalidArgumentError(
            "on_event: expected a function that is not async, got "
            f"{type(on_event).__name__}"
        )


def _check_http(http: object, *, has_way: bool) -> None:
    if http is None:
        return
    if not is_session(http):
        raise InvalidArgumentError(
            f"http: expected an aiohttp.ClientSession, got {type(http).__name__}"
        )
    if has_way:
        raise InvalidArgumentError(
            "http: your session has its own proxy, ssl and trust_env; set them there"
        )


@attrs.frozen(kw_only=True)
class Settings:
    """The checked arguments of `AsyncEmoggClient`, whose docstring explains them.

    Attributes:
        base_url: The URL of the service, without a slash at its end.
        token: The API token.
        route: The proxy and the certificates.

    Raises:
        ConfigurationError: The token, base URL, proxy or certificate is missing or
            unusable.
        InvalidArgumentError: Another argument is out of its range.
    """

    allow_http: bool
    base_url: str = attrs.field(converter=_usable_base_url)
    token: str = attrs.field(converter=_usable_token, repr=False)
    timeout: float = attrs.field(validator=is_seconds)
    attempt_timeout: float = attrs.field(validator=is_seconds)
    concurrency: int = attrs.field(validator=whole(at_least=1))
    retry: RetryPolicy = attrs.field(validator=kind_of(RetryPolicy))
    cache: CachePolicy | None = attrs.field(validator=optional(kind_of(CachePolicy)))
    pace: bool = attrs.field(validator=kind_of(bool))
    live: LivePolicy = attrs.field(validator=kind_of(LivePolicy))
    on_event: Listener | None = attrs.field(validator=_is_listener)
    proxy: str | None = attrs.field(repr=False)
    ssl: Trust | None
    trust_env: bool = attrs.field(validator=kind_of(bool))
    http: ClientSession | None
    user_agent: str | None = attrs.field(converter=check_user_agent)
    headers: Mapping[str, str] = attrs.field(converter=check_headers, repr=False)
    route: Route = attrs.field(init=False)

    @property
    def terms(self) -> Terms:
        """What a view of the client may change."""
        return Terms(
            timeout=self.timeout,
            attempt_timeout=self.attempt_timeout,
            retry=self.retry,
            cache=self.cache is not None,
            pace=self.pace,
        )

    @property
    def secret(self) -> tuple[str, ...]:
        """What no error may show: the token, and headers that may be keys."""
        long = (each for each in self.headers.values() if len(each) >= LEAST_SECRET)
        return self.token, *long

    @route.default
    def _usable_route(self) -> Route:
        _check_http(self.http, has_way=any((self.proxy, self.ssl, self.trust_env)))
        base_url = urlsplit(self.base_url)
        is_refused = base_url.scheme == "http" and not self.allow_http
        if is_refused and not _is_loopback(host := base_url.hostname or ""):
            raise ConfigurationError(
                f"base_url: http:// would send the token to {host} unencrypted; use "
                "https://, or pass allow_http=True"
            )
        proxy = None
        if self.proxy is not None:
            proxy = _usable_proxy("proxy", self.proxy)
        elif self.trust_env:
            proxy = _proxy_from_environment(base_url)
        if proxy and is_refused:
            raise ConfigurationError(
                "base_url: http:// would show the token to the proxy; use https://, or "
                "pass allow_http=True"
            )
        return Route(proxy=proxy, ssl=None if self.ssl is None else _trust(self.ssl))
