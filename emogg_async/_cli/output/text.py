"""Text that is safe to print, whoever wrote it."""

import json
import re
from typing import Any, Final

__all__ = ["clock", "counted", "json_line", "printable"]

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: escape sequences begin with one
    "\u2028\u2029"  # separators of lines
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns text round
    "\ud800-\udfff]"  # halves of characters, which no encoding takes
)


def printable(text: str) -> str:
    """Replace everything in *text* that a terminal would obey rather than show."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def json_line(value: Any, encoding: str = "ascii") -> str:
    r"""Write *value* as one line of JSON that any terminal can show.

    Nothing is lost: what *encoding* lacks, or a terminal would obey, becomes `\u….`.
    """
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def counted(number: int, thing: str) -> str:
    """Say how many of a thing there are."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def clock(seconds: float) -> str:
    """Write so many seconds as minutes and seconds, and hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
