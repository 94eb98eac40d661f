"""Text that is safe to show: pure functions, without I/O."""

import json
import re
from typing import Any, Final

__all__ = [
    "UNSAFE",
    "Secret",
    "clock",
    "counted",
    "encodable",
    "json_line",
    "one_line",
    "printable",
    "redacted",
    "shown",
]

UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters; escape sequences begin with one
    "\u2028\u2029"  # separators of lines and paragraphs
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions of text
    "\ud800-\udfff"  # surrogates, which cannot be encoded
    "\ufdd0-\ufdef\ufffe\uffff]"  # noncharacters, which XML forbids
)
"""Matches a character that a terminal or a browser would obey, or cannot show."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace each unsafe character in *text* by U+FFFD."""
    return UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def encodable(text: str) -> str:
    """Replace each unpaired surrogate in *text*, which no encoding has, by U+FFFD."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def json_line(value: Any, encoding: str = "ascii") -> str:
    r"""Write *value* as one line of JSON that any terminal can show.

    Nothing is lost: unsafe characters become `\u....`, and if *encoding* lacks any
    character, so do all that are not ASCII.
    """
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def one_line(text: str, length: int) -> str:
    """Return *text* in one printable line of at most *length* characters."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = " ".join(words)
    return line if len(line) <= length else line[: length - 1] + "…"


Secret = str | tuple[str, ...]
"""What no text may show: one secret, or several."""


def redacted(text: str, *secrets: Secret) -> str:
    """Return *text* with each of the *secrets* replaced by `***`.

    Secrets of fewer than six characters are left alone: they are part of many words.
    The longest go first, as others may be a part of them.
    """
    parts: set[str] = set()
    for each in secrets:
        parts.update((each,) if isinstance(each, str) else each)
    for secret in sorted(parts, key=len, reverse=True):
        if len(secret) > 5:
            text = text.replace(secret, "***")
    return text


def shown(value: object) -> str:
    """Describe a refused argument: the beginning of a text, else the type."""
    if isinstance(value, str):
        # Escapes, because nobody finds a space or a newline that is not shown.
        return repr(value if len(value) <= 40 else value[:39] + "…")
    return type(value).__name__


def counted(number: int, thing: str) -> str:
    """Write *number* and *thing*, in the plural unless *number* is 1."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def clock(seconds: float) -> str:
    """Write *seconds* as `minutes:seconds`, or `hours:minutes:seconds` from an hour."""
    whole = round(abs(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and whole else ""
    if hours:
        return f"{sign}{hours}:{minutes:02}:{rest:02}"
    return f"{sign}{minutes}:{rest:02}"
