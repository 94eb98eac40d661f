"""Headers of requests that users choose, and the id that an answer gives its request.

Source: https://www.rfc-editor.org/rfc/rfc9110, "Fields" and "User-Agent".
"""

import re
from collections.abc import Mapping
from typing import Final

from emogg_async._text import Secret, one_line, redacted, shown
from emogg_async._wire.protocol import Headers
from emogg_async.errors import InvalidArgumentError

__all__ = ["check_headers", "check_user_agent", "request_id"]

MAX_VALUE: Final = 4096
"""The most characters of a header: servers refuse more than 8 KiB of them."""

MAX_USER_AGENT: Final = 256
MAX_REQUEST_ID: Final = 128

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAME = re.compile(_WORD)
_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?")
_PRODUCTS = re.compile(rf"{_WORD}(/{_WORD})?( {_WORD}(/{_WORD})?)*")

_OURS: Final = re.compile(
    "accept|authorization|connection|date|expect|host|keep-alive|range|te|trailer"
    "|transfer-encoding|upgrade|user-agent|via"
    "|(accept|content|if|proxy|sec)-.*",
    re.IGNORECASE,
)
"""Matches the names of headers that the client, aiohttp or a proxy decides on."""


def check_user_agent(user_agent: str | None) -> str | None:
    """Return the *user_agent* if it consists of products, as `my-app/1.2`.

    Raises:
        InvalidArgumentError: It does not.
    """
    if user_agent is None or (
        isinstance(user_agent, str)
        and len(user_agent) <= MAX_USER_AGENT
        and _PRODUCTS.fullmatch(user_agent)
    ):
        return user_agent
    raise InvalidArgumentError(
        "user_agent: expected names with or without a version, as 'my-app/1.2', of "
        f"{MAX_USER_AGENT} characters at most, got {shown(user_agent)}"
    )


def check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of *headers* if they can be added to requests.

    No error shows a value, as it may be secret.

    Raises:
        InvalidArgumentError: They cannot; the message names the header.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidArgumentError(
            f"headers: expected a mapping, got {type(headers).__name__}"
        )
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"headers: expected the name of a header, got {shown(name)}"
            )
        if _OURS.fullmatch(name):
            raise InvalidArgumentError(
                f"headers: expected none that the client sets itself, got {shown(name)}"
            )
        if name.lower() in {each.lower() for each in checked}:
            raise InvalidArgumentError(
                f"headers: expected each name once, got {shown(name)} twice"
            )
        is_value = isinstance(value, str) and _VALUE.fullmatch(value)
        if not is_value or len(value) > MAX_VALUE:
            raise InvalidArgumentError(
                f"headers: expected printable ASCII text of {MAX_VALUE} characters at "
                f"most for {shown(name)}"
            )
        checked[name] = value
    return checked


def request_id(headers: Headers, secret: Secret) -> str | None:
    """Return the `X-Request-Id` of an answer in one printable line; None without one.

    It is cut at `MAX_REQUEST_ID` characters, after the *secret* is removed.
    """
    values = headers.getall("X-Request-Id", ())
    text = redacted(values[0], secret) if values else ""
    return one_line(text, MAX_REQUEST_ID) or None
