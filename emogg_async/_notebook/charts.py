"""Charts: pure functions from numbers and names to SVG.

Each coloured shape has its name beside it, so no reader has to tell colours apart.
"""

import zlib
from collections.abc import Iterable
from typing import Final

from emogg_async._notebook.markup import (
    clock,
    escape,
    figure,
    figures,
    named,
    percent,
    text_width,
)
from emogg_async._notebook.series import (
    Interval,
    Profile,
    Series,
    Step,
    nice,
    runs,
    series,
    shares,
)
from emogg_async._notebook.svg import (
    EDGE,
    GAP,
    NEUTRAL,
    PALETTE,
    Look,
    Plot,
    at,
    document,
    fitted,
    label_room,
    text,
)

__all__ = ["bars", "colour", "rows", "sentiments", "sparkline", "stacks"]

_MAX_ROWS: Final = 12
_MAX_BARS: Final = 20
_MAX_COLUMNS: Final = 1000
_HEAD: Final = 46
_FOOT: Final = 24
_MORE: Final = 18
_ROW: Final = 16
"""Pixels for a row at least: its label needs them."""

_BAR: Final = 24
_SHARE: Final = 44
_UNIT: Final = "minutes +"
"""The longest label of the axis' unit, in the column of labels, with room to spare."""

_KNOWN: Final = {
    "focus": 0,
    "exaltation": 1,
    "shock": 2,
    "seriousness": 3,
    "fatigue": 4,
    "disgust": 5,
    "overwhelming": 6,
}
_SENTIMENTS: Final = {
    "positive": f'fill="{PALETTE[4]}"',
    "neutral": NEUTRAL,
    "negative": f'fill="{PALETTE[6]}"',
}


def colour(name: str) -> str:
    """Return the colour of an emotion, the same one in every run."""
    place = _KNOWN.get(name)
    if place is None:  # Python's own hash differs from run to run
        place = zlib.crc32(name.encode(errors="replace"))
    return PALETTE[place % len(PALETTE)]


def bars(
    counts: Iterable[tuple[str, int]], *, title: str, note: str, look: Look
) -> str:
    """Draw a bar for each count, the largest first, with its share of all."""
    width = look.width - 2 * EDGE
    known = dict(counts)
    parts = shares(known)
    shown, rest = [*parts][:_MAX_BARS], [*parts.values()][_MAX_BARS:]
    largest = max(parts.values(), default=0.0) or 1.0
    labels = [figure(known[name]) for name in shown]
    left = label_room(shown, width)
    room = width - left - _SHARE - max(map(text_width, labels), default=0.0) - GAP
    body, about = [], []
    for place, name in enumerate(shown):
        top = _HEAD + place * _BAR
        share = percent(parts[name])
        about.append(f"{named(name)}: {labels[place]} ({share})")
        length = max(parts[name] / largest * room, 1) if parts[name] else 0
        body.append(
            f"<g><title>{escape(about[-1])}</title>"
            f"{text(left - GAP, top + 14, name, anchor='end', room=left - GAP)}"
            f'<rect x="{at(left)}" y="{top + 2}" height="16" rx="2" '
            f'width="{at(length)}" fill="{colour(name)}"/>'
            f"{text(width - _SHARE, top + 14, labels[place], anchor='end')}"
            f"{text(width, top + 14, share, anchor='end', faint=True)}</g>"
        )
    bottom = _HEAD + len(body) * _BAR
    if rest:
        more = f"{len(rest):,} more, with {percent(sum(rest))}"
        body.append(text(left, bottom + 14, more, faint=True))
    elif not known:
        body.append(text(0, bottom + 14, "nothing was detected", faint=True))
    height = bottom + (4 if known and not rest else _BAR)
    return document(title, note, body, about=about, size=(width, height), look=look)


def rows(intervals: Iterable[Interval], *, title: str, note: str, look: Look) -> str:
    """Draw a row for each name, all on one scale; gaps between intervals stay empty."""
    width, height = look.width - 2 * EDGE, look.height
    whole = series(intervals)
    profiles = whole.profiles()
    space = None if height is None else height - 2 * EDGE - _HEAD - _FOOT
    shown = [*profiles][:_MAX_ROWS]
    if space is not None and space < len(profiles) * _ROW:
        shown = shown[: max(1, (space - _MORE) // _ROW)]
    more = len(profiles) - len(shown)
    means = figures([profiles[name].mean for name in shown])
    left = label_room([_UNIT, *shown], width)
    room = width - left - max(map(text_width, ["mean", *means])) - 2 * GAP
    drawn = _thinned(whole, room)
    if space is None:
        space = 30 * max(len(shown), 1) + (_MORE if more else 0)
    plot = Plot(left, _HEAD, room, space - (_MORE if more else 0), drawn)
    largest = max((s.values.get(n, 0.0) for s in drawn.steps for n in shown), default=0)
    body, about = [plot.gaps(), plot.axis()], []
    each = plot.height / max(len(shown), 1)
    tall = max(each - 5, each / 2) / (largest or 1.0)
    for place, (name, mean) in enumerate(zip(shown, means, strict=True), start=1):
        about.append(_in_words(name, profiles[name], mean))
        base = _HEAD + place * each
        body.append(
            f"<g><title>{escape(about[-1])}</title>"
            f"{text(left - GAP, base - 3, name, anchor='end', room=left - GAP)}"
            f"{plot.area(name, base, tall, colour(name))}"
            f"{text(width, base - 3, mean, anchor='end')}</g>"
        )
    bottom = _HEAD + plot.height + 17
    if shown:
        note += f" · each row 0 to {figure(largest * whole.peak)}"
        body.append(text(width, bottom, "mean", anchor="end", faint=True))
    if more:
        body.append(text(left, bottom + _MORE, f"and {more:,} more", faint=True))
    size, remarks = (width, _HEAD + space + _FOOT), _remarks(whole, drawn)
    return document(
        title, note, body, about=about, remarks=remarks, size=size, look=look
    )


def stacks(intervals: Iterable[Interval], *, title: str, note: str, look: Look) -> str:
    """Draw positive values upwards, negative ones downwards, and neutral around them.

    The intervals' values are named `positive`, `neutral` and `negative`.
    """
    width, height = look.width - 2 * EDGE, look.height
    whole = series(intervals)
    if height is not None:
        height -= 2 * EDGE
    else:
        height = 240 if whole.steps else _HEAD + _BAR
    left = label_room([_UNIT], width)
    room = width - left - GAP
    drawn = _thinned(whole, room)
    top = _HEAD + 20 if whole.steps else _HEAD
    plot = Plot(left, top, room, max(height - top - _FOOT, 1), drawn)
    parts = [(step, *_parts(step)) for step in drawn.steps]
    up = max((plus + around for _, plus, around, _ in parts), default=0.0)
    down = max((minus + around for _, _, around, minus in parts), default=0.0)
    tall = plot.height / ((up + down) or 1.0)
    zero = top + up * tall
    around = [(s, zero - p * tall, zero - (p + n) * tall) for s, p, n, _ in parts]
    around += [(s, zero + m * tall, zero + (m + n) * tall) for s, _, n, m in parts]
    above = [(s, zero, zero - p * tall) for s, p, _, _ in parts]
    below = [(s, zero, zero + m * tall) for s, _, _, m in parts]
    about = sentiments(whole)
    body = [
        plot.gaps(),
        plot.axis(),
        _levels(plot, zero, tall, whole.peak),
        plot.blocks(around, _SENTIMENTS["neutral"]),
        plot.blocks(above, _SENTIMENTS["positive"]),
        plot.blocks(below, _SENTIMENTS["negative"]),
        _legend(about, left if width > 400 else 0, width) if whole.steps else "",
    ]
    size, remarks = (width, height), _remarks(whole, drawn)
    return document(
        title, note, body, about=about, remarks=remarks, size=size, look=look
    )


def sparkline(
    intervals: Iterable[Interval], *, title: str, width: int, height: int
) -> str:
    """Stack the areas of the largest names, without any text; gaps stay empty."""
    whole = series(intervals)
    profiles = whole.profiles()
    shown = [*profiles][:_MAX_ROWS]
    drawn = _thinned(whole, width)
    plot = Plot(0, 0, width, height, drawn)
    tops = [sum(step.values.get(n, 0.0) for n in shown) for step in drawn.steps]
    tall = height / (max(tops, default=0.0) or 1.0)
    below = [0.0] * len(drawn.steps)
    body = []
    for name in shown:
        above = [
            low + step.values.get(name, 0.0)
            for low, step in zip(below, drawn.steps, strict=True)
        ]
        spans = [
            (step, height - low * tall, height - high * tall)
            for step, low, high in zip(drawn.steps, below, above, strict=True)
        ]
        body.append(plot.blocks(spans, f'fill="{colour(name)}"'))
        below = above
    means = figures([profiles[name].mean for name in shown])
    told = [f"{named(n)} {mean}" for n, mean in zip(shown, means, strict=True)]
    about = escape(f"{title}: {', '.join(told) or 'no data'}", 200)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"<title>{about}</title>{plot.gaps()}{''.join(body)}</svg>"
    )


def sentiments(whole: Series) -> list[str]:
    """Return the name of each sentiment, with its share if the series has values."""
    profiles = whole.profiles()
    parts = shares({name: profile.mean for name, profile in profiles.items()})
    if not any(parts.values()):
        return [*_SENTIMENTS]
    return [f"{name} {percent(parts.get(name, 0.0))}" for name in _SENTIMENTS]


def _thinned(whole: Series, room: float) -> Series:
    return whole.thinned(max(1, min(int(room), _MAX_COLUMNS)))


def _remarks(whole: Series, drawn: Series) -> list[str]:
    """Return remarks on gaps and averages, where a chart has some."""
    remarks = []
    if len(runs(drawn.steps)) > 1:
        remarks.append("shaded: no data")
    if len(drawn.steps) < len(whole.steps):
        remarks.append(f"averages of {len(whole.steps):,} intervals")
    return remarks


def _in_words(name: str, profile: Profile, mean: str) -> str:
    return (
        f"{named(name)}: {mean} on average, {figure(profile.peak)} at most, "
        f"at {clock(profile.at)}"
    )


def _parts(step: Step) -> tuple[float, float, float]:
    """Return the positive part, half of the neutral one, and the negative one."""
    get = step.values.get
    return get("positive", 0.0), get("neutral", 0.0) / 2, get("negative", 0.0)


def _legend(words: Iterable[str], x: float, width: float) -> str:
    """Draw the name of each sentiment, with its share if all of them fit."""
    labels, mark, apart = [*words], 15, 14
    if sum(mark + text_width(label) + apart for label in labels) > width - x + apart:
        room = (width - x + apart) / len(labels) - mark - apart
        labels = [fitted(name, room) for name in _SENTIMENTS]
    drawn = ""
    for label, fill in zip(labels, _SENTIMENTS.values(), strict=True):
        drawn += (
            f'<rect x="{at(x)}" y="{_HEAD - 1}" width="10" height="10" rx="2" {fill}/>'
            f"{text(x + mark, _HEAD + 8, label)}"
        )
        x += mark + text_width(label) + apart
    return drawn


def _levels(plot: Plot, zero: float, tall: float, peak: float) -> str:
    """Draw the line at 0, and lines at round numbers above and below it."""
    if not plot.whole.steps:
        return ""
    drawn = plot.level(zero, "0", strong=True)
    step = nice(plot.height / tall * peak / 5) if peak else 0.0
    apart = step / peak * tall if peak else 0.0
    for place in range(-6, 7) if apart > 14 else ():
        y = zero - place * apart
        if place and plot.top <= y <= plot.top + plot.height:
            drawn += plot.level(y, figure(abs(place) * step))
    return drawn
