"""Parts of charts: text, colours, an area with an axis of time, the frame.

A chart needs no script, no stylesheet, and no id that another chart on the page could
have as well. Text and lines take the colour of the text around them, so they suit light
and dark pages. A chart that is a document of its own follows its reader's preference.
A `Look` fixes these colours, paints a background, or leaves all style to the page.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from emogg_async._notebook.markup import escape, named, text_width
from emogg_async._notebook.series import Series, Step, runs, ticks

__all__ = [
    "EDGE",
    "GAP",
    "INKS",
    "NEUTRAL",
    "PALETTE",
    "WIDTH",
    "Look",
    "Plot",
    "at",
    "document",
    "fitted",
    "label_room",
    "text",
]

GAP: Final = 10
"""Pixels between two things side by side."""

WIDTH: Final = 640
"""Pixels; a chart shrinks if the page has less room."""

PALETTE: Final = (
    *("#4963de", "#ae8a0d", "#ea6972", "#974dad"),
    *("#279da8", "#607934", "#c93573", "#9282f1"),
)
"""Colours found by search: each has a contrast of at least 3 to 1 with white and with
#1e1e1e, and they differ from each other for people with colour blindness as well."""

EDGE: Final = 8
"""Pixels left free around a chart."""

NEUTRAL: Final = 'fill="currentColor" fill-opacity=".35"'

INKS: Final = {"light": "#1f2328", "dark": "#e6edf3"}
"""The colour of text and lines in each theme."""

# `:root` is the chart if it is a document of its own. Inside a page the rule matches
# nothing, and the chart inherits the page's colour.
_AUTO: Final = (
    f"<style>svg:root{{color-scheme:light dark;color:{INKS['light']}}}"
    f"@media(prefers-color-scheme:dark){{svg:root{{color:{INKS['dark']}}}}}</style>"
)
_FAINT: Final = ' fill-opacity=".7"'
_FONT: Final = "12px system-ui,sans-serif;font-variant-numeric:tabular-nums"


class Look(NamedTuple):
    """How a chart fits its page.

    Attributes:
        width: Pixels.
        height: Pixels; None for as many as it needs.
        theme: `light` or `dark`; `auto` takes the page's own colour of text or, for a
            document of its own, follows its reader's preference; `page` has no style.
        background: Colour behind the chart, fit for an attribute; None for none.
    """

    width: int = WIDTH
    height: int | None = None
    theme: str = "auto"
    background: str | None = None


def at(pixels: float) -> str:
    """Write a coordinate, to a tenth of a pixel."""
    return f"{pixels:.1f}".removesuffix(".0")


def fitted(words: str, room: float) -> str:
    """Cut *words* to *room* pixels, with an ellipsis where something is missing."""
    words = named(words, 200)
    if text_width(words) <= room:
        return words
    while words and text_width(words + "…") > room:
        words = words[:-1]
    return words.rstrip() + "…"


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    faint: bool = False,
    bold: bool = False,
    room: float | None = None,
) -> str:
    """Write *words*, cut to *room* pixels; None leaves them whole."""
    if room is not None:
        words = fitted(words, room)
    more = f' text-anchor="{anchor}"' if anchor != "start" else ""
    more += _FAINT if faint else ""
    more += ' font-size="14" font-weight="600"' if bold else ""
    return f'<text x="{at(x)}" y="{at(y)}"{more}>{escape(words)}</text>'


def label_room(labels: Iterable[str], width: float) -> float:
    """Return the width of a column of *labels*: at most a third of the chart's."""
    widest = max((text_width(named(label)) for label in labels), default=0.0)
    return min(widest, width / 3) + GAP


def document(
    title: str,
    note: str,
    body: Iterable[str],
    *,
    about: Iterable[str],
    remarks: Iterable[str] = (),
    size: tuple[int, int],
    look: Look = Look(),  # noqa: B008 - it is immutable
) -> str:
    """Put a chart together.

    Args:
        title: Title, in a few words.
        note: Line below the title.
        body: Shapes and labels.
        about: Description in words, for readers who cannot see the drawing.
        remarks: Remarks on the drawing, to the right of the title.
        size: Width and height in pixels, without the edge.
        look: Colours of text and background.
    """
    width, height = size
    right, bottom = width + 2 * EDGE, height + 2 * EDGE
    name = escape(f"{title}, {note}", 200)
    used = text_width(title, 14) + 2 * GAP
    words = " · ".join(remarks)
    aside = ""
    if words and width > used + GAP:
        aside = text(width, 14, words, anchor="end", faint=True, room=width - used)
    theme, behind = look.theme, look.background
    ink = f";color-scheme:{theme};color:{INKS[theme]}" if theme in INKS else ""
    style = f' style="max-width:100%;height:auto;font:{_FONT}{ink}"'
    if theme == "page":
        style = ' font-family="system-ui,sans-serif" font-size="12"'
    box = f'x="{-EDGE}" y="{-EDGE}" width="{right}" height="{bottom}"'
    paper = f'<rect class="paper" {box} fill="{behind}"/>' if behind else ""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" direction="ltr" '
        f'width="{right}" height="{bottom}" '
        f'viewBox="{-EDGE} {-EDGE} {right} {bottom}" fill="currentColor"{style}>'
        f"<title>{name}</title><desc>{escape('; '.join(about), 2000)}</desc>"
        f"{_AUTO if theme == 'auto' else ''}{paper}"
        f"{text(0, 14, title, bold=True, room=width / 1.2)}{aside}"
        f"{text(0, 32, note, faint=True, room=width)}{''.join(body)}</svg>"
    )


class Plot(NamedTuple):
    """An area with an axis of time, and ways to draw on it.

    Attributes:
        left: Left edge in pixels.
        top: Upper edge in pixels.
        width: Width in pixels.
        height: Height in pixels.
        whole: Series that the axis shows.
    """

    left: float
    top: float
    width: float
    height: float
    whole: Series

    def x(self, part: float) -> str:
        """Return the coordinate of a *part* of the whole time."""
        return at(self.left + part * self.width)

    def gaps(self) -> str:
        """Shade the gaps between intervals, if there are any."""
        top, bottom = at(self.top), at(self.top + self.height)
        holes = "".join(
            f"M{self.x(before[-1].right)} {top}H{self.x(after[0].left)}"
            f"V{bottom}H{self.x(before[-1].right)}Z"
            for before, after in pairwise(runs(self.whole.steps))
        )
        return f'<path class="gap" d="{holes}" opacity=".09"/>' if holes else ""

    def axis(self) -> str:
        """Draw the ticks of the axis and their labels, if there is any data."""
        if not self.whole.steps:
            return text(0, self.top + 14, "no intervals with data", faint=True)
        most = max(2, int(self.width // 60))
        unit, marks = ticks(self.whole.start, self.whole.span, most=most)
        bottom = self.top + self.height
        high, low = at(self.top), at(bottom + 4)
        lines = "".join(f"M{self.x(part)} {high}V{low}" for part, _ in marks)
        labels = "".join(
            text(
                self.left + part * self.width,
                bottom + 17,
                label,
                anchor="middle",
                faint=True,
            )
            for part, label in marks
        )
        # A long first label reaches to the left of the area.
        x = self.left - max(GAP, text_width(marks[0][1]) / 2 + 6 if marks else 0)
        x = max(x, text_width(unit))
        return (
            f'<path d="{lines}" stroke="currentColor" opacity=".15"/>'
            f"{text(x, bottom + 17, unit, anchor='end', faint=True)}{labels}"
        )

    def area(self, name: str, base: float, tall: float, fill: str) -> str:
        """Fill the area between the base and the values, in steps."""
        pieces = []
        for run in runs(self.whole.steps):
            pieces.append(f"M{self.x(run[0].left)} {at(base)}")
            level = ""
            for step in run:
                height = at(base - step.values.get(name, 0.0) * tall)
                if height != level:
                    pieces.append(f"H{self.x(step.left)}V{height}")
                    level = height
            pieces.append(f"H{self.x(run[-1].right)}V{at(base)}Z")
        return (
            f'<path class="area" d="{"".join(pieces)}" fill="{fill}" '
            f'fill-opacity=".75" stroke="{fill}" stroke-linejoin="round"/>'
        )

    def blocks(self, spans: Iterable[tuple[Step, float, float]], fill: str) -> str:
        """Fill a block for each step, between two heights."""
        pieces = []
        for step, low, high in spans:
            # A space between narrow blocks would leave nothing of them.
            inset = 0.5 if (step.right - step.left) * self.width >= 5 else 0.0
            start = at(self.left + step.left * self.width + inset)
            end = at(self.left + step.right * self.width - inset)
            if at(low) != at(high):
                pieces.append(f"M{start} {at(low)}V{at(high)}H{end}V{at(low)}Z")
        return f'<path d="{"".join(pieces)}" {fill}/>'

    def level(self, y: float, label: str, *, strong: bool = False) -> str:
        """Draw a line across all intervals, with its label at the left."""
        lines = "".join(
            f"M{self.x(run[0].left)} {at(y)}H{self.x(run[-1].right)}"
            for run in runs(self.whole.steps)
        )
        return (
            f'<path class="level" d="{lines}" '
            f'stroke="currentColor" opacity="{".6" if strong else ".15"}"/>'
            f"{text(self.left - GAP, y + 4, label, anchor='end', faint=True)}"
        )
