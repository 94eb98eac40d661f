"""Checks of arguments, before any I/O; each error names argument and rule."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from emogg_async.errors import InvalidArgumentError

__all__ = [
    "aware",
    "kind_of",
    "non_negative",
    "number",
    "positive",
    "whole",
    "whole_number",
]

Validator = Callable[[Any, Any, Any], None]
"""An attrs validator: it takes the instance, the attribute and the value."""


def number(
    name: str, value: object, *, above: float = -math.inf, at_most: float = math.inf
) -> float:
    """Return *value* if it is a finite number in the range.

    Raises:
        InvalidArgumentError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(
            f"{name}: expected a number, got {type(value).__name__}"
        )
    try:
        figure = float(value)
    except OverflowError:
        figure = math.inf
    if not (math.isfinite(figure) and figure > above):
        rule = "finite" if above == -math.inf else f"finite and above {above:g}"
        raise InvalidArgumentError(
            f"{name}: expected a number that is {rule}, got {figure:g}"
        )
    if figure > at_most:
        raise InvalidArgumentError(
            f"{name}: expected {at_most:g} at most, got {figure:g}"
        )
    return value


def whole_number(
    name: str, value: object, *, at_least: int, at_most: int | None = None
) -> int:
    """Return *value* if it is an integer in the range.

    Raises:
        InvalidArgumentError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentError(
            f"{name}: expected a whole number, got {type(value).__name__}"
        )
    if value < at_least or (at_most is not None and value > at_most):
        limit = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        got = value if value.bit_length() < 64 else "far more or less"
        raise InvalidArgumentError(f"{name}: expected {limit}, got {got}")
    return value


def aware(name: str, value: object) -> datetime:
    """Return *value* if it is a datetime that knows its offset from UTC.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not isinstance(value, datetime):
        raise InvalidArgumentError(
            f"{name}: expected a datetime, got {type(value).__name__}"
        )
    if value.utcoffset() is None:
        raise InvalidArgumentError(
            f"{name}: expected an aware datetime, got {value.isoformat()} without a "
            "time zone"
        )
    return value


def positive(_: object, attribute: Any, value: object) -> None:
    """Accept finite numbers above 0 (an attrs validator)."""
    number(attribute.name, value, above=0)


def non_negative(_: object, attribute: Any, value: object) -> None:
    """Accept finite numbers from 0 on (an attrs validator)."""
    if number(attribute.name, value) < 0:
        raise InvalidArgumentError(
            f"{attribute.name}: expected 0 or more, got {value!r}"
        )


def kind_of(kind: type) -> Validator:
    """Make an attrs validator that accepts instances of *kind*."""

    def validate(_: object, attribute: Any, value: object) -> None:
        if not isinstance(value, kind):
            raise InvalidArgumentError(
                f"{attribute.name}: expected a {kind.__name__}, "
                f"got {type(value).__name__}"
            )

    return validate


def whole(*, at_least: int) -> Validator:
    """Make an attrs validator that accepts integers from *at_least* on."""

    def validate(_: object, attribute: Any, value: object) -> None:
        whole_number(attribute.name, value, at_least=at_least)

    return validate
