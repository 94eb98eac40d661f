"""The way to the service: through which proxy, and whose certificates are trusted.

A proxy from the environment is found here, once, and not by aiohttp, which would look
for it at each request, in a thread; would offer the credentials of a netrc file beside
the token, and so fail; and would go past a proxy of a kind that it does not know.
"""

import ssl as tls
from base64 import b64encode
from os import PathLike, fspath
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from emogg_async._config import is_host, is_loopback
from emogg_async.errors import ConfigurationError, InvalidArgumentError

__all__ = ["Proxy", "Route", "usable_route"]

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


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


def usable_route(
    base_url: str,
    *,
    proxy: str | None,
    ssl: tls.SSLContext | str | PathLike[str] | None,
    trust_env: bool,
    allow_http: bool,
) -> Route:
    """Return the way to *base_url* that these arguments of a client mean.

    Raises:
        ConfigurationError: The proxy or the certificates cannot be used, or the token
            would travel in the open.
        InvalidArgumentError: *ssl* is none of its kinds.
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
        or is_loopback(host)  # a proxy's own loopback is another machine
        or any(proxy_bypass(name) for name in (host, f"{host}:{port}"))
    ):
        return None
    url = proxies[base_url.scheme]
    name = f"{base_url.scheme.upper()}_PROXY"
    return _usable_proxy(name, url if "://" in url else f"http://{url}")


def _usable_proxy(name: str, url: str) -> Proxy:
    """Read the URL of a proxy; no message shows any of it, since it may be secret."""
    if not isinstance(url, str):
        raise ConfigurationError(f"{name}: expected text")
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
            f"{name}: expected http(s)://user:password@host:port, with user and "
            "password percent-encoded, or without them; other kinds are not supported"
        )
    host = f"[{host}]" if ":" in host else host
    return Proxy(
        url=f"{parts.scheme}://{host}:{port or DEFAULT_PORTS[parts.scheme]}",
        authorization=_authorization(name, parts),
    )


def _authorization(name: str, parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    # As bytes: which text they are is known to the proxy alone.
    user = unquote_to_bytes(parts.username)
    password = unquote_to_bytes(parts.password or "")
    if b":" in user or any(byte < 32 or byte == 127 for byte in user + password):
        raise ConfigurationError(f"{name}: its user or password cannot be sent")
    return f"Basic {b64encode(user + b':' + password).decode()}"


def _trust(ssl: tls.SSLContext | str | PathLike[str]) -> tls.SSLContext:
    if isinstance(ssl, tls.SSLContext):
        if ssl.protocol is tls.PROTOCOL_TLS_SERVER:
            raise ConfigurationError("ssl: the context is one for servers")
        return ssl
    if not isinstance(ssl, str | PathLike):
        raise InvalidArgumentError(
            "ssl: expected an ssl.SSLContext or the path of a PEM file, got "
            f"{type(ssl).__name__}"
        )
    path = fspath(ssl)
    try:
        if path:  # without one, Python would trust this machine's authorities
            return tls.create_default_context(cafile=path)
        reason = "it names no file"
    except tls.SSLError:
        reason = "it holds no certificate in PEM form"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise ConfigurationError(f"ssl: cannot use {path!r}: {reason}")
