"""Text that is safe in HTML and XML, readable figures, and small tables.

Names come from strangers, and numbers may be huge, tiny or not finite: each function
copes with any of them.
"""

import html
import math
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from emogg_async._text import clock as text_clock
from emogg_async._text import printable

__all__ = [
    "amount",
    "clock",
    "cut",
    "escape",
    "facts",
    "figure",
    "figures",
    "fold",
    "grid",
    "named",
    "percent",
    "text_width",
]

_MAX_MARKS: Final = 3
_MAX_LINE: Final = 80
"""Characters; a longer text in a table wraps rather than widen the table."""
_NARROW: Final = frozenset("ijlft.,:;|!'()[] Ir")
_BROAD: Final = frozenset("mwMW@%")
_LARGEST: Final = 1e300
"""Sums of a few larger figures could become infinite."""

_CELL: Final = "text-align:left;vertical-align:top;padding:3px 18px 3px 0"
_TABLE: Final = (
    "border-collapse:collapse;table-layout:auto;margin:4px 0;border:none;"
    "min-width:min(100%,400px);"
    "font-size:13px;line-height:1.4"
)
_RIGHT: Final = "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"
_SHORT: Final = "white-space:nowrap"
_LONG: Final = "white-space:normal;overflow-wrap:anywhere;min-width:9em"
_WHOLE: Final = _LONG.replace("9em", "24em")
# A text without a width of its own fills the width that other cells ask for.
_PARAGRAPH: Final = "width:0;min-width:100%"
_CAPTION: Final = "caption-side:top;text-align:left;padding:2px 0;color:inherit"
_LINE: Final = "border-top:1px solid rgba(128,128,128,.3)"


def cut(text: str, limit: int = 120) -> str:
    """Return *text* on one line of at most *limit* characters.

    Each character that a display would obey rather than show becomes U+FFFD. Of marks
    that pile up on a letter, three are kept.
    """
    line = ""
    marks = 0
    for char in printable(" ".join(text[: 8 * limit].split())):
        marks = marks + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        if marks <= _MAX_MARKS:
            line += char
    if len(line) > limit or len(text) > 8 * limit:
        return line[: limit - 1] + "…"
    return line


def named(name: str, limit: int = 60) -> str:
    """Return *name*, cut to *limit*, or "(no name)" if nothing of it can be seen."""
    return cut(name, limit) or "(no name)"


def escape(text: str, limit: int = 120) -> str:
    """Return *text*, cut to *limit*, escaped for contents and attributes."""
    return html.escape(cut(text, limit))


def text_width(text: str, size: float = 12.0) -> float:
    """Estimate the width of *text* in pixels in a sans-serif font, generously."""
    ems = 0.0
    for char in text:
        if unicodedata.east_asian_width(char) in "WF":
            ems += 1.15
        elif char in _NARROW:
            ems += 0.41
        elif char in _BROAD:
            ems += 1.0
        else:
            ems += 0.76 if char.isupper() else 0.63
    return ems * size


def amount(value: float) -> float:
    """Return *value* as a finite float of at most 1e300; infinity and NaN become 0."""
    try:
        number = float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
    if not math.isfinite(number):
        return 0.0
    return max(-_LARGEST, min(number, _LARGEST))


def figure(value: float, decimals: int | None = None) -> str:
    """Write a number in few digits, or with *decimals*."""
    number = amount(value)
    size = abs(number)
    if size >= _LARGEST:
        return "huge" if number > 0 else "-huge"
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{number:.2g}"
    if isinstance(value, int) or size >= 1000:
        return f"{number:,.0f}"
    if decimals is not None:
        return f"{number:.{decimals}f}"
    return f"{number:.2g}" if size < 1 else f"{number:.3g}"


def figures(values: Sequence[float]) -> list[str]:
    """Write the numbers of a column, all with the same decimals."""
    largest = max((abs(amount(value)) for value in values), default=0.0)
    power = math.floor(math.log10(largest)) if largest else 0
    places = 2 - max(power, 0) - min(power + 1, 0)
    return [figure(value, max(0, min(places, 6))) for value in values]


def percent(share: float) -> str:
    """Write a share of 1 as a whole percentage; small ones as `<1 %`, not 0."""
    if 0 < share < 0.005:
        return "<1 %"
    return f"{100 * amount(share):.0f} %"


def clock(seconds: float) -> str:
    """Write *seconds* as on a stopwatch: `2:05`, `1:02:05`."""
    number = amount(seconds)
    return f"{figure(number)} s" if abs(number) >= 1e9 else text_clock(number)


def _table(caption: str, body: str) -> str:
    if caption:
        caption = f'<caption style="{_CAPTION}">{caption}</caption>'
    return (
        f'<div style="overflow-x:auto"><table style="{_TABLE}">'
        f"{caption}{body}</table></div>"
    )


def _cell(text: str, style: str = "") -> str:
    is_paragraph = len(text) > _MAX_LINE
    text = escape(text, 1_000)
    if is_paragraph:
        text = f'<div style="{_PARAGRAPH}"><bdi>{text}</bdi></div>'
        return f'<td style="{_CELL};{_WHOLE}">{text}</td>'
    # Short texts, like ids and dates, stay on one line. Others break, even if the
    # notebook's own style forbids it.
    style = style or (_SHORT if len(text) <= 24 else _LONG)
    return f'<td style="{_CELL};{style}"><bdi>{text}</bdi></td>'


def facts(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Write a table of two columns: names and values."""
    lines = "".join(
        '<tr style="background:none"><th scope="row" '
        f'style="{_CELL};font-weight:normal;opacity:.7;width:1%;white-space:nowrap">{escape(name)}</th>'
        f"{_cell(value)}</tr>"
        for name, value in rows
    )
    caption = f"<strong><bdi>{escape(named(title, 120))}</bdi></strong>"
    return _table(caption, f"<tbody>{lines}</tbody>")


def grid(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    footer: str = "",
) -> str:
    """Write a table with a head; the last cell of a short row spans the rest.

    Args:
        caption: Caption; empty for none.
        head: Names of the columns.
        rows: Cells of each row.
        right: Names of the columns that are aligned to the right, if they are there.
        footer: Text below the rows; empty for none.
    """
    styles = [_RIGHT if name in right else "" for name in head]
    names = "".join(
        f'<th scope="col" style="{_CELL};{style}">{escape(name)}</th>'
        for name, style in zip(head, styles, strict=True)
    )
    lines = []
    for row in rows:
        cells = [_cell(text, style) for text, style in zip(row, styles, strict=False)]
        if len(row) < len(head):
            span = len(head) - len(row) + 1
            cells[-1] = _cell(row[-1]).replace("<td ", f'<td colspan="{span}" ', 1)
        lines.append(f'<tr style="{_LINE};background:none">{"".join(cells)}</tr>')
    if footer:
        lines.append(
            f'<tr style="{_LINE};background:none"><td colspan="{len(head)}" '
            f'style="{_CELL};opacity:.7">{escape(footer)}</td></tr>'
        )
    return _table(
        f"<strong>{escape(caption)}</strong>" if caption else "",
        f'<thead><tr style="background:none">{names}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody>",
    )


def fold(summary: str, content: str) -> str:
    """Hide *content*, which is HTML, until its reader opens it; needs no script."""
    return (
        '<details style="margin:2px 8px;font-size:13px"><summary style="opacity:.7;'
        f'cursor:pointer">{escape(summary)}</summary>{content}</details>'
    )
