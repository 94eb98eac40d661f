"""Moments on the command line: ISO 8601, and UTC where no offset is given."""

from datetime import UTC, datetime

__all__ = ["format_moment", "parse_moment"]


def parse_moment(text: str) -> datetime:
    """Read a date, or a date and time; without an offset it is taken as UTC.

    Raises:
        ValueError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a date nor a time, as 2024-03-29 or "
            "2024-03-29T08:51:26Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_moment(moment: datetime) -> str:
    """Write an aware *moment* as the service does, so that it can be read again."""
    moment = moment.astimezone(UTC)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"
