"""Token and base URL: where they come from, and whether they can be used."""

import os
import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from emogg_async.errors import ConfigurationError

__all__ = ["is_host", "is_loopback", "usable_base_url", "usable_token"]

DEFAULT_BASE_URL: Final = "https://api.emogg.com"

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_VISIBLE = re.compile(r"[!-~]+")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def usable_token(token: str | None) -> str:
    """Return *token*, or `EMOGG_API_TOKEN`, if it can be sent.

    Raises:
        ConfigurationError: There is none, or it cannot; the message does not show it.
    """
    found = os.environ.get("EMOGG_API_TOKEN", "") if token is None else token
    if not isinstance(found, str):
        raise ConfigurationError("token: expected text")
    found = found.strip()
    if not found:
        raise ConfigurationError("no token: pass token= or set EMOGG_API_TOKEN")
    if not (found.isascii() and found.isprintable() and " " not in found):
        raise ConfigurationError("token: it has characters that no token has")
    return found


def usable_base_url(base_url: str | None, *, allow_http: bool) -> str:
    """Return *base_url*, or `EMOGG_BASE_URL`, or the service, with no slash at its end.

    Raises:
        ConfigurationError: It is no base URL, or the token would travel in the open.
    """
    given = os.environ.get("EMOGG_BASE_URL") if base_url is None else base_url
    url = given or DEFAULT_BASE_URL
    if not isinstance(url, str):
        raise ConfigurationError("base_url: expected text")
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
            "base_url: expected http(s)://host, perhaps with a port and a path"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError("base_url: it has a query, a fragment or a password")
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        raise ConfigurationError(
            f"base_url: http:// would send the token to {host} unencrypted; use "
            "https://, or pass allow_http=True"
        )
    # Whether TLS hides what is sent is asked of the text, also elsewhere.
    return parts.scheme + url[len(parts.scheme) :].rstrip("/")


def is_host(host: str) -> bool:
    """Tell whether *host* can be the name or the address of one."""
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
