"""Checks of the arguments that tests pass to the emulator."""

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
"""Seconds, about 30 years: more would overflow dates, and means nothing here."""

_HEX_ID = re.compile(r"[0-9a-fA-F]{24}")
_TOKEN = re.compile(r"[!-~]+")


def require(holds: bool, argument: str, rule: str) -> None:
    """Raise an error that names *argument* and its *rule*, unless it *holds*.

    Raises:
        InvalidArgumentError: It does not hold.
    """
    if not holds:
        raise InvalidArgumentError(f"{argument}: {rule}")


def is_count(value: object, least: int = 0) -> bool:
    """Tell whether *value* is an integer, no boolean, and at least *least*."""
    return type(value) is int and value >= least


def is_seconds(value: Any) -> bool:
    """Tell whether *value* is a real number of seconds, within reason."""
    return type(value) in {int, float} and 0 <= value <= _LONGEST


def is_name(value: object) -> bool:
    """Tell whether *value* is what the reference allows as a session's name."""
    return isinstance(value, str) and 1 <= len(value) <= 256


def is_hex_id(value: object) -> bool:
    """Tell whether *value* is 24 hex digits."""
    return isinstance(value, str) and _HEX_ID.fullmatch(value) is not None


def is_token(value: object) -> bool:
    """Tell whether *value* fits a header: visible ASCII characters, at least one."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def are_headers(value: object) -> bool:
    """Tell whether *value* maps names of headers to values, one line of text each."""
    return isinstance(value, Mapping) and all(
        isinstance(text, str) and text.isprintable()
        for text in [*value.keys(), *value.values()]
    )


def is_aware(value: object) -> bool:
    """Tell whether *value* is a date and time with its offset."""
    return isinstance(value, datetime) and value.utcoffset() is not None
