"""Checks of the emulator's arguments."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from emogg_async.errors import InvalidArgumentError

__all__ = [
    "SECONDS",
    "are_headers",
    "is_aware",
    "is_count",
    "is_hex_id",
    "is_name",
    "is_seconds",
    "is_token",
    "require",
]

SECONDS: Final = "seconds, a real number from 0 to 1e9"
"""The rule that `is_seconds` checks."""

_LONGEST: Final = 1e9
"""Seconds, about 30 years: much larger numbers would overflow dates."""

_HEX_ID = re.compile(r"[0-9a-fA-F]{24}")
_TOKEN = re.compile(r"[!-~]+")


def require(holds: bool, argument: str, rule: str) -> None:
    """Raise an error that names *argument* and its *rule*, unless the rule *holds*.

    Raises:
        InvalidArgumentError: The rule does not hold.
    """
    if not holds:
        raise InvalidArgumentError(f"{argument}: expected {rule}")


def is_count(value: object, least: int = 0) -> bool:
    """Tell whether *value* is an integer, but no boolean, of at least *least*."""
    return type(value) is int and value >= least


def is_seconds(value: Any) -> bool:
    """Tell whether *value* is a number of seconds from 0 to 1e9."""
    return type(value) in {int, float} and 0 <= value <= _LONGEST


def is_name(value: object) -> bool:
    """Tell whether *value* is a valid name of a session, by the reference."""
    return isinstance(value, str) and 1 <= len(value) <= 256


def is_hex_id(value: object) -> bool:
    """Tell whether *value* is 24 hex digits."""
    return isinstance(value, str) and _HEX_ID.fullmatch(value) is not None


def is_token(value: object) -> bool:
    """Tell whether *value* is text of visible ASCII characters, at least one."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def are_headers(value: object) -> bool:
    """Tell whether *value* maps names of headers to values, each one line of text."""
    return isinstance(value, Mapping) and all(
        isinstance(text, str) and text.isprintable()
        for text in [*value.keys(), *value.values()]
    )


def is_aware(value: object) -> bool:
    """Tell whether *value* is a date and time with an offset from UTC."""
    return isinstance(value, datetime) and value.utcoffset() is not None
