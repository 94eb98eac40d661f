"""The proxy on the way to the service, as `emogg doctor` looks at it.

Of the variable for it only host and port are told; user and password are sent to it,
as the client does.
"""

import http.client
import os
import re
import socket
from base64 import b64encode
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit
from urllib.request import getproxies

from emogg_async import AsyncEmoggClient, EmoggError, NotSentError
from emogg_async._cli.checks.findings import Finding, failed, warning

__all__ = ["PROXIES", "VARIABLE", "find", "open_tunnel"]

VARIABLE: Final = "HTTPS_PROXY"

PROXIES: Final = ("ALL_PROXY", VARIABLE, "HTTP_PROXY")

_LONGEST_HEAD: Final = 65_536

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")


def find(base_url: str) -> tuple[Finding, SplitResult | None]:
    """Find out which proxy the client will use, and who may expect otherwise.

    Args:
        base_url: A usable base URL.
    """
    try:
        url = AsyncEmoggClient("none", base_url=base_url, trust_env=True).proxy
    except EmoggError as error:
        return failed(error), None
    names = [
        name
        for upper in PROXIES
        for name in (upper, upper.lower())
        if os.environ.get(name)
    ]
    given = [name for name in names if name.upper() == VARIABLE]
    facts = {"proxy": url, "variables": names}
    if url is not None:
        source = given[-1] if given else "the system's settings"
        return Finding(text=f"{url}, from {source}", facts=facts), urlsplit(url)
    if given:
        text = f"{' and '.join(given)} set, and not used: this machine, or NO_PROXY"
        return Finding(text=text, facts=facts), None
    if names:
        found = warning(
            f"{' and '.join(names)} set, and not used: connections are direct",
            f"Set {VARIABLE} if the service can only be reached through a proxy",
            **facts,
        )
        return found, None
    return Finding(text="none asked for", facts=facts), None


def open_tunnel(opened: socket.socket, host: str, port: int) -> None:
    """Ask the proxy at the other end for a tunnel.

    Raises:
        NotSentError: It does not open one.
        OSError: It does not answer in time, or hangs up.
        HTTPException: It does not answer as a proxy does.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if authorization := _authorization():
        lines.append(f"Proxy-Authorization: Basic {authorization}")
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = opened.recv(4096)
        if not part or len(head) > _LONGEST_HEAD:
            raise http.client.BadStatusLine("no answer of a proxy")
        head += part
    if (status := _STATUS.match(head)) is None:
        raise http.client.BadStatusLine("no answer of a proxy")
    if status[1] != b"200":
        raise NotSentError(
            f"the proxy answered {status[1].decode()}", stopped_by="proxy"
        )


def _authorization() -> str:
    """Return what the client tells the proxy, too; "" is nothing."""
    url = getproxies().get("https", "")
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.username is None:
        return ""
    credentials = unquote_to_bytes(f"{parts.username}:{parts.password or ''}")
    return b64encode(credentials).decode()
