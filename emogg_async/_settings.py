"""The arguments of a client, checked once, before any I/O."""

import os
import re
import ssl as tls
from base64 import b64encode
from collections.abc import Callable
from inspect import iscoroutinefunction
from ipaddress import ip_address
from os import PathLike, fspath
from typing import Final, Self, TypeVar
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from emogg_async._caching.policy import CachePolicy
from emogg_async._calls.policy import RetryPolicy
from emogg_async._calls.transport import ClientSession, Proxy, Route, is_session
from emogg_async._checks import number, whole_number
from emogg_async._live.policy import LivePolicy
from emogg_async._wire.protocol import DEFAULT_BASE_URL
from emogg_async.errors import ConfigurationError, InvalidArgumentError
from emogg_async.events import Event

__all__ = ["MAX_TIMEOUT_SECONDS", "Settings"]

T = TypeVar("T")

Listener = Callable[[Event], object]
Trust = tls.SSLContext | str | PathLike[str]

MAX_TIMEOUT_SECONDS: Final = 1e9
"""About 30 years. Much larger numbers overflow where alarms are set."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class Settings:
    """The checked arguments of a client.

    Attributes:
        token: The API token.
        base_url: The URL of the service, without a slash at its end.
        timeout: Seconds for a whole call.
        attempt_timeout: Seconds for one HTTP exchange.
        concurrency: Requests in flight at once.
        retry: How to repeat failed requests.
        cache: What to cache, for how long and where; None caches nothing.
        pace: Whether to stay below the rate limit.
        live: How to use live channels.
        on_event: The function that gets each event; None reports nothing.
        route: The proxy and the certificates.
        http: The caller's aiohttp session; None makes one.
    """

    token: str = attrs.field(repr=False)
    base_url: str
    timeout: float
    attempt_timeout: float
    concurrency: int
    retry: RetryPolicy
    cache: CachePolicy | None
    pace: bool
    live: LivePolicy
    on_event: Listener | None
    route: Route
    http: ClientSession | None

    @classmethod
    def checked(
        cls,
        token: str | None,
        *,
        base_url: str | None,
        timeout: float,
        attempt_timeout: float,
        concurrency: int,
        retry: RetryPolicy,
        cache: CachePolicy | None,
        pace: bool,
        live: LivePolicy,
        on_event: Listener | None,
        allow_http: bool,
        proxy: str | None,
        ssl: Trust | None,
        trust_env: bool,
        http: ClientSession | None,
    ) -> Self:
        """Check the arguments of `AsyncEmoggClient`; its docstring explains them.

        Raises:
            ConfigurationError: The token, base URL, proxy or certificate is missing or
                unusable.
            InvalidArgumentError: Another argument is out of its range.
        """
        usable = usable_base_url(base_url, allow_http=allow_http)
        _check_http(http, has_way=any((proxy, ssl, trust_env)))
        return cls(
            token=usable_token(token),
            base_url=usable,
            timeout=_seconds("timeout", timeout),
            attempt_timeout=_seconds("attempt_timeout", attempt_timeout),
            concurrency=whole_number("concurrency", concurrency, at_least=1),
            retry=_instance("retry", retry, RetryPolicy),
            cache=None if cache is None else _instance("cache", cache, CachePolicy),
            route=usable_route(
                usable,
                proxy=proxy,
                ssl=ssl,
                trust_env=_instance("trust_env", trust_env, bool),
                allow_http=allow_http,
            ),
            pace=_instance("pace", pace, bool),
            live=_instance("live", live, LivePolicy),
            on_event=_listener(on_event),
            http=http,
        )


def _seconds(name: str, value: float) -> float:
    return number(name, value, above=0, at_most=MAX_TIMEOUT_SECONDS)


def _instance(name: str, value: T, kind: type) -> T:
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{name}: expected a {kind.__name__}, got {type(value).__name__}"
        )
    return value


def _listener(on_event: Listener | None) -> Listener | None:
    if on_event is None:
        return None
    call = getattr(on_event, "__call__", None)  # noqa: B004 - an object's may be async
    if call is None or iscoroutinefunction(on_event) or iscoroutinefunction(call):
        raise InvalidArgumentError(
            "on_event: expected a function that is not async, got "
            f"{type(on_event).__name__}"
        )
    return on_event


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


# -- token and base URL ----------------------------------------------------------------

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_VISIBLE = re.compile(r"[!-~]+")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def usable_token(token: str | None) -> str:
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


def usable_base_url(base_url: str | None, *, allow_http: bool) -> str:
    """Return *base_url*, `EMOGG_BASE_URL` or the default, without a slash at its end.

    Raises:
        ConfigurationError: The URL is not a base URL, or the token would travel
            unencrypted to another machine without *allow_http*.
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
        not is_host(host)
        or parts.scheme not in {"http", "https"}
        or not _PATH_PREFIX.fullmatch(parts.path)
        or not _VISIBLE.fullmatch(url)
    ):
        raise ConfigurationError(
            "base_url: expected http(s)://host, with or without a port and a path"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(
            "base_url: expected no query, no fragment and no password in it"
        )
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise ConfigurationError(
            f"base_url: http:// would send the token to {host} unencrypted; use "
            "https://, or pass allow_http=True"
        )
    # The scheme in lower case: other code tests for TLS with `startswith("https:")`.
    return parts.scheme + url[len(parts.scheme) :].rstrip("/")


def is_host(host: str) -> bool:
    """Tell whether *host* is a valid host name or IP address."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether *host* is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def usable_route(
    base_url: str,
    *,
    proxy: str | None,
    ssl: Trust | None,
    trust_env: bool,
    allow_http: bool,
) -> Route:
    """Return the route to *base_url* by these arguments of a client.

    Raises:
        ConfigurationError: The proxy or the certificates cannot be used, or the token
            would travel to the proxy unencrypted without *allow_http*.
        InvalidArgumentError: *ssl* is neither a context nor a path.
    """
    found = None
    if proxy is not None:
        found = _usable_proxy("proxy", proxy)
    elif trust_env:
        found = _proxy_from_environment(urlsplit(base_url))
    if found and base_url.startswith("http:") and not allow_http:
        raise ConfigurationError(
            "base_url: http:// would show the token to the proxy; use https://, or "
            "pass allow_http=True"
        )
    return Route(proxy=found, ssl=None if ssl is None else _trust(ssl))


def _proxy_from_environment(base_url: SplitResult) -> Proxy | None:
    host = base_url.hostname or ""
    port = base_url.port or DEFAULT_PORTS[base_url.scheme]
    proxies = getproxies()
    if (
        base_url.scheme not in proxies
        or is_loopback(host)  # a proxy would connect to its own loopback
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
        or not is_host(host)
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
