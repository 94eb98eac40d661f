import math
import re
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._checks import (
    aware,
    non_negative,
    number,
    positive,
    whole,
    whole_number,
)
from emogg_async.errors import InvalidArgumentError

HUGE = 10**5000
"""An integer that neither fits a float nor can be printed."""


def refused(rule):
    """Expect an error that names the argument and the *rule*."""
    return pytest.raises(InvalidArgumentError, match=f"^{re.escape(f'size: {rule}')}")


@attrs.frozen
class Settings:
    """What the validators are for."""

    above_zero: float = attrs.field(default=1.0, validator=positive)
    from_zero: float = attrs.field(default=1.0, validator=non_negative)
    count: int = attrs.field(default=1, validator=whole(at_least=1))


@pytest.mark.parametrize("value", [0, -1, 2.5, 1e300, -0.0, sys.float_info.min])
def test_finite_numbers_pass(value):
    """Whole or not, a finite number is returned as it is."""
    assert value is number("size", value)


@pytest.mark.parametrize(
    "value", ["1", None, True, False, b"1", [1], 1j, datetime(2024, 4, 1, tzinfo=UTC)]
)
def test_other_types_are_no_numbers(value):
    """Nothing is coerced: neither text nor a boolean is a number."""
    with refused(f"expected a number, got {type(value).__name__}"):
        number("size", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value):
    """A wait of nan or of infinite seconds would never end."""
    with refused(f"expected a number that is finite, got {value!r}"):
        number("size", value)
    with refused(f"expected a number that is finite and above 0, got {value!r}"):
        number("size", value, above=0)


@pytest.mark.parametrize("value", [0, -0.0, -1, -0.5])
def test_numbers_have_a_lower_limit(value):
    """The limit itself is refused."""
    with refused(f"expected a number that is finite and above 0, got {value:g}"):
        number("size", value, above=0)
    assert number("size", 0.001, above=0) == 0.001


@pytest.mark.parametrize("value", [10**400, HUGE, -HUGE], ids=["big", "huge", "-huge"])
@pytest.mark.parametrize("above", [-math.inf, 0])
def test_numbers_fit_a_float(value, above):
    """An integer beyond every float is refused like any other bad number."""
    with refused("expected a number"):
        number("size", value, above=above)


@pytest.mark.parametrize("value", [1, 2, 100])
def test_whole_numbers_in_the_range_pass(value):
    """Both limits are in the range."""
    assert value == whole_number("size", value, at_least=1, at_most=100)


def test_whole_numbers_may_have_no_upper_limit():
    """Without an upper limit any larger number passes."""
    assert whole_number("size", HUGE, at_least=1) == HUGE


@pytest.mark.parametrize("value", ["1", None, True, 1.0, 1.5, b"1", [1], math.nan])
def test_other_types_are_no_whole_numbers(value):
    """Not even 1.0 is taken for 1."""
    with refused(f"expected a whole number, got {type(value).__name__}"):
        whole_number("size", value, at_least=1)


@pytest.mark.parametrize("value", [0, -1, 101])
def test_whole_numbers_outside_the_range_are_refused(value):
    """The message names both limits, and the value."""
    with refused(f"expected 1 to 100, got {value}"):
        whole_number("size", value, at_least=1, at_most=100)


def test_message_without_an_upper_limit():
    """Where there is only a lower limit, the message names that one."""
    with refused("expected 1 or more, got 0"):
        whole_number("size", 0, at_least=1)


@pytest.mark.parametrize("value", [HUGE, -HUGE], ids=["huge", "-huge"])
def test_a_whole_number_that_cannot_be_printed_is_refused(value):
    """An integer too long to print is out of range like any other."""
    with refused("expected 1 to 100"):
        whole_number("size", value, at_least=1, at_most=100)


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=-5, minutes=-30)), timezone.max]
)
def test_aware_datetimes_pass(zone):
    """A datetime with any zone is returned as it is."""
    moment = datetime(2024, 4, 1, tzinfo=zone)
    assert moment is aware("size", moment)


def test_naive_datetimes_are_refused():
    """A datetime without its zone could mean any of a day's moments."""
    with refused("expected an aware datetime, got 2024-04-01T00:00:00 without a time"):
        aware("size", datetime(2024, 4, 1))  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    "value", [None, 0, 1.5, "2024-04-01T10:30:00Z", date(2024, 4, 1)]
)
def test_other_types_are_no_datetimes(value):
    """Neither text nor a date without time is a moment."""
    with refused(f"expected a datetime, got {type(value).__name__}"):
        aware("size", value)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("above_zero", 0, "expected a number that is finite and above 0, got 0"),
        ("above_zero", "1", "expected a number, got str"),
        ("from_zero", -0.5, "expected 0 or more, got -0.5"),
        ("from_zero", math.nan, "expected a number that is finite, got nan"),
        ("count", 0, "expected 1 or more, got 0"),
        ("count", 1.0, "expected a whole number, got float"),
    ],
)
def test_validators_name_the_attribute(name, value, rule):
    """A settings class refuses a value under the name of its attribute."""
    with pytest.raises(InvalidArgumentError, match=f"^{name}: {re.escape(rule)}"):
        Settings(**{name: value})


def test_validators_accept_what_is_in_range():
    """The limits of a settings class are where it says they are."""
    settings = Settings(above_zero=0.001, from_zero=0, count=1)
    assert (settings.above_zero, settings.from_zero, settings.count) == (0.001, 0, 1)


@pytest.mark.property
@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes()
    | st.lists(st.integers(), max_size=1)
)
def test_law_any_value_passes_or_is_refused(value):
    """Whatever is passed comes back in range, or is refused with our own error."""
    for check in (
        lambda: number("size", value, above=0) > 0,
        lambda: 1 <= whole_number("size", value, at_least=1, at_most=9) <= 9,
        lambda: aware("size", value).utcoffset() is not None,
    ):
        try:
            in_range = check()
        except InvalidArgumentError as error:
            printed = str(error)
            in_range = printed.startswith("size: expected ")
        assert in_range
