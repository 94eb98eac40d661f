"""Charts and tables in notebooks, for any names and numbers."""

import copy
import html.parser
import math
import pickle
import re
import string
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emogg_async._many.outcomes import Batch
from emogg_async._notebook import charts, colours, markup, series, svg
from emogg_async._text import encodable
from emogg_async.errors import InvalidArgumentError, NotFoundError, ServerError
from emogg_async.models import (
    EmotionInterval,
    EmotionMeasure,
    EmotionsTimeline,
    EmotionTotals,
    FrozenMapping,
    SentimentInterval,
    Sentiments,
    SentimentTimeline,
    Session,
    SessionState,
    SessionType,
    Source,
)

ID = "6606810e62d82c07cd0c20aa"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "]]>&amp;<!--",
    "\x1b]0;owned\x07\x00\x9b",
    "\ud800 half\udfff",
    "\u202eevil\u2066",
    "\ufffe\uffff",
    "long " * 2_000,
    "W" * 256,
    "e" + "\u0301" * 300,
    "",
    " \n\t ",
    "فرح 喜び 😀",
]

names = st.sampled_from(HOSTILE) | st.text(max_size=30)
figures = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.integers()
    | st.sampled_from([0, 10**400, -(10**400), 5e-324, 1.7e308, -1.7e308, 0.5])
)
measures = st.builds(
    EmotionMeasure, people=figures, quantity=figures, intensity=figures
)
emotion_intervals = st.builds(
    EmotionInterval,
    start=figures,
    end=figures,
    detected_faces=figures,
    emotions=st.dictionaries(names, measures, max_size=4).map(FrozenMapping),
)
emotion_timelines = st.builds(
    EmotionsTimeline,
    session=names,
    intervals=st.lists(emotion_intervals, max_size=4).map(tuple),
)
sentiment_timelines = st.builds(
    SentimentTimeline,
    session=names,
    intervals=st.lists(
        st.builds(
            SentimentInterval,
            start=figures,
            end=figures,
            segments=figures,
            sentiments=st.builds(
                Sentiments, positive=figures, neutral=figures, negative=figures
            ),
        ),
        max_size=6,
    ).map(tuple),
)
totals = st.builds(
    EmotionTotals,
    session=names,
    emotions=st.dictionaries(names, figures, max_size=24).map(FrozenMapping),
)
sources = st.builds(Source, id=names, name=names, type=names, device=names)
sessions = st.builds(
    Session,
    id=names,
    name=names,
    type=names.map(SessionType),
    state=names.map(SessionState),
    timestamp=st.datetimes(timezones=st.just(UTC)),
    duration=figures,
    product=st.just(ID),
    user=st.just(ID),
    version=st.just(3),
    sources=st.lists(sources, max_size=3).map(tuple),
)
values = st.one_of(sessions, totals, emotion_timelines, sentiment_timelines)
batches = st.builds(
    Batch,
    st.dictionaries(names, values | figures | names, max_size=4),
    st.dictionaries(
        names, st.builds(NotFoundError, names, status=st.just(404)), max_size=3
    ),
)

TAGS = {
    *("div", "table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "bdi"),
    *("details", "summary"),
    *("svg", "title", "desc", "style", "g", "text", "rect", "path"),
}
NUMERIC = {"x", "y", "width", "height", "viewBox", "d", "rx", "opacity", "colspan"}


class Checker(html.parser.HTMLParser):
    """Check that each tag and attribute is one of ours, and that each is closed."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        self.open.append(tag)
        for name, value in attributes:
            assert name not in {"id", "src", "href"}
            assert not name.startswith("on")
            assert "url(" not in value

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_comment(self, data):
        pytest.fail(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def checked(markup):
    """Return the parsed *markup*, when it is sound XML, sound HTML, and small."""
    markup.encode()
    tree = ET.fromstring(markup)
    checker = Checker()
    checker.feed(markup)
    checker.close()
    assert checker.open == []
    for element in tree.iter():
        for name in NUMERIC & {*element.attrib}:
            assert re.fullmatch(r"[-\d. MHVZ]*", element.attrib[name]), name
        for text in (element.text, element.tail):
            assert not re.search(
                "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text or ""
            )
    assert len(markup) < 100_000
    return tree


def texts(tree):
    """Return what is written in a chart, in its order."""
    return [element.text for element in tree.iter(f"{SVG}text")]


def timeline(*rows, step=60.0):
    """Make a timeline of intensities; None is a gap."""
    return EmotionsTimeline(
        session=ID,
        intervals=tuple(
            EmotionInterval(
                start=place * step,
                end=(place + 1) * step,
                detected_faces=3,
                emotions=FrozenMapping(
                    {
                        name: EmotionMeasure(
                            people=2, quantity=value * 3, intensity=value
                        )
                        for name, value in row.items()
                    }
                ),
            )
            for place, row in enumerate(rows)
            if row is not None
        ),
    )


def sentiments(*rows):
    """Make a timeline of positive, neutral and negative parts; None is a gap."""
    return SentimentTimeline(
        session=ID,
        intervals=tuple(
            SentimentInterval(
                start=60.0 * place,
                end=60.0 * (place + 1),
                segments=4,
                sentiments=Sentiments(positive=row[0], neutral=row[1], negative=row[2]),
            )
            for place, row in enumerate(rows)
            if row is not None
        ),
    )


def spans(path):
    """Return where each closed part of a path begins and ends, from left to right."""
    found = []
    for part in path.split("Z")[:-1]:
        xs = [float(x) for x in re.findall(r"[MH](-?[\d.]+)", part)]
        found.append((min(xs), max(xs)))
    return found


def paths(tree, kind):
    """Return the data of each path of a class."""
    return [
        element.attrib["d"]
        for element in tree.iter(f"{SVG}path")
        if element.attrib.get("class") == kind
    ]


@pytest.mark.property
@given(values)
def test_whatever_it_is_it_can_be_shown(value):
    """No name and no number makes a picture that is broken, dangerous or large."""
    markup = value._repr_html_()
    checked(markup)
    assert markup == value._repr_html_()


@pytest.mark.property
@given(batches)
def test_any_batch_can_be_shown(batch):
    """A batch of anything is a small table."""
    checked(batch._repr_html_())


@pytest.mark.property
@given(
    emotion_timelines,
    st.integers(200, 4000),
    st.none() | st.integers(120, 4000),
    st.sampled_from(["intensity", "quantity", "people"]),
)
def test_a_picture_has_the_size_that_is_asked_for(series, width, height, measure):
    """Every width, height and measure gives a sound picture of that size."""
    tree = checked(series.to_svg(width=width, height=height, measure=measure))
    assert str(width) == tree.attrib["width"]
    assert height is None or str(height) == tree.attrib["height"]
    assert texts(tree)[0].startswith(measure.capitalize()[:5])


@pytest.mark.property
@given(sentiment_timelines, st.integers(200, 4000), st.integers(120, 4000))
def test_a_picture_of_sentiment_has_the_size_that_is_asked_for(series, width, height):
    """Sentiment is drawn in any size."""
    tree = checked(series.to_svg(width=width, height=height))
    assert (str(width), str(height)) == (tree.attrib["width"], tree.attrib["height"])


@pytest.mark.property
@given(emotion_timelines | sentiment_timelines)
def test_columns_are_equally_long(series):
    """Columns fit together; nothing is missing or changed but unpaired surrogates."""
    columns = series.to_columns()
    assert len({len(column) for column in columns.values()}) == 1
    if isinstance(series, EmotionsTimeline):
        expected = [
            (part.start, encodable(name), it.people, it.quantity, it.intensity)
            for part in series.intervals
            for name, it in part.emotions.items()
        ]
        keys = ("start", "emotion", "people", "quantity", "intensity")
    else:
        expected = [(part.start, part.sentiments.neutral) for part in series.intervals]
        keys = ("start", "neutral")
    rows = [*zip(*(columns[key] for key in keys), strict=True)]
    assert repr(expected) == repr(rows)  # NaN equals nothing, not even itself


@pytest.mark.property
@given(st.lists(st.tuples(figures, figures, st.dictionaries(names, figures))))
@example([(0.0, 1.0, {"a": 3.46e-96}), (1.0, 2.0, {"a": 3.46e-96, "b": 1e227})])
def test_a_series_is_in_order_and_in_proportion(intervals):
    """For any intervals, steps are in order within 0 and 1, and values are in range."""
    whole = series.series(intervals)
    for columns in (1, 3):
        steps = whole.thinned(columns).steps
        assert len(steps) <= max(columns, 0)
        for step in steps:
            assert 0 <= step.left <= step.right <= 1 + 1e-9
            assert all(0 <= value <= 1 + 1e-9 for value in step.values.values())
    for before, after in zip(whole.steps, whole.steps[1:], strict=False):
        assert before.right <= after.left
    for profile in whole.profiles().values():
        assert 0 <= profile.mean <= profile.peak * (1 + 1e-9)
        assert math.isfinite(profile.at)


def test_averages_weigh_by_time():
    """A column has the mean over the time that is covered, and None where none is."""
    parts = [(0.0, 2.0, {"a": 1.0}), (2.0, 3.0, {"b": 2.0}), (9.0, 12.0, {"c": 1.0})]
    first, second, gap = series.averages(parts, 0.0, 1.5, 3)
    assert first == {"a": 1.0}
    assert second == pytest.approx({"a": 1 / 3, "b": 4 / 3})
    assert gap is None
    assert series.averages(parts, 1.0, 1.0, 1) == [{"a": 1.0}]


@pytest.mark.parametrize(("count", "columns"), [(63, 100), (63, 110), (7, 13), (9, 9)])
def test_averages_that_snap_show_every_gap(count, columns):
    """A gap of one interval is seen if columns are not longer than intervals."""
    for gap in range(count):
        parts = [
            (n * 60.0, n * 60.0 + 60, {"a": 1.0}) for n in range(count) if n != gap
        ]
        drawn = series.averages(parts, 0.0, count * 60 / columns, columns, snap=True)
        assert None in drawn
        assert {1.0} == {values["a"] for values in drawn if values}


@pytest.mark.property
@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.integers(2, 60))
def test_ticks_are_few_and_in_place(start, span, most):
    """An axis has some ticks, no two with one label, all within it."""
    unit, marks = series.ticks(start, span, most=most)
    assert unit in {"seconds", "minutes", "hours"}
    assert len(marks) <= most + 2
    assert all(-0.001 <= part <= 1.001 for part, _ in marks)
    assert [*marks] == sorted(marks)


@pytest.mark.parametrize(
    ("expected", "start", "span"),
    [
        (("minutes", ["0", "20", "40", "60", "80", "100", "120"]), 0, 7200),
        (("minutes", ["0", "5", "10", "15", "20", "25"]), 0, 1500),
        (("minutes", ["60", "62", "64", "66", "68", "70", "72"]), 3600, 720),
        (("minutes", ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]), 0, 180),
        (("seconds", ["0", "10", "20", "30", "40", "50", "60"]), 0, 60),
        (("seconds", ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]), 0, 1),
        (("hours", ["0", "2", "4", "6", "8", "10", "12"]), 0, 12 * 3600),
        (("hours", ["0", "24", "48", "72"]), 0, 86_400 * 3.9),
    ],
)
def test_ticks_are_numbers_that_people_count_in(expected, start, span):
    """Time is divided as on a clock, and labelled without pointless decimals."""
    unit, marks = series.ticks(start, span)
    assert expected == (unit, [label for _, label in marks])


def test_the_most_frequent_emotion_comes_first():
    """Bars are sorted by count, with the count and its share of all beside them."""
    counted = EmotionTotals(
        session=ID, emotions=FrozenMapping({"shock": 20, "focus": 1500, "joy": 480})
    )
    tree = checked(counted._repr_html_())
    assert ["focus", "1,500", "75 %", "joy", "480", "24 %", "shock", "20", "1 %"] == (
        texts(tree)[2:]
    )
    widths = [float(bar.attrib["width"]) for bar in tree.iter(f"{SVG}rect")]
    assert sorted(widths, reverse=True) == widths
    assert pytest.approx(480 / 1500, abs=0.001) == widths[1] / widths[0]


def test_many_emotions_are_cut_and_counted():
    """Of forty emotions twenty are drawn, and the rest are summed up."""
    counts = {f"e{n:02}": 10 for n in range(40)}
    tree = checked(
        EmotionTotals(session=ID, emotions=FrozenMapping(counts))._repr_html_()
    )
    assert len([*tree.iter(f"{SVG}rect")]) == 20
    assert texts(tree)[-1] == "20 more, with 50 %"


def test_rows_are_sorted_and_on_one_scale():
    """The emotion with the largest mean comes first, and heights compare."""
    tree = checked(timeline({"a": 0.2, "b": 0.8}, {"a": 0.4, "b": 0.8}).to_svg())
    labels = texts(tree)
    assert labels.index("b") < labels.index("a")
    assert "0.80" in labels
    assert "0.30" in labels
    heights = []
    for path in paths(tree, "area"):
        base, *levels = (float(y) for y in re.findall(r"(?:M[\d.]+ |V)([\d.]+)", path))
        heights.append(base - min(levels))
    assert pytest.approx(2, abs=0.02) == heights[0] / heights[1]


def test_a_gap_is_a_gap():
    """No area, line or block is drawn across missing intervals."""
    rows = [{"a": 1.0, "b": 0.0}] * 4 + [None] * 4 + [{"a": 0.5, "b": 0.0}] * 2
    tree = checked(timeline(*rows).to_svg())
    (hole,) = spans(paths(tree, "gap")[0])
    for path in paths(tree, "area"):
        before, after = spans(path)
        assert before[1] == pytest.approx(hole[0], abs=0.1)
        assert after[0] == pytest.approx(hole[1], abs=0.1)
        assert 2 == pytest.approx((before[1] - before[0]) / (after[1] - after[0]), 0.01)


def test_a_gap_in_sentiment_is_a_gap():
    """The line at 0 ends at a gap, too."""
    rows = [(1, 1, 1)] * 4 + [None] * 4 + [(1, 2, 1)] * 2
    tree = checked(sentiments(*rows).to_svg())
    (hole,) = spans(paths(tree, "gap")[0])
    for line in paths(tree, "level"):
        ends = [float(x) for x in re.findall(r"[MH](-?[\d.]+)", line)]
        assert ends[1] <= hole[0] + 0.1
        assert ends[2] >= hole[1] - 0.1
    for element in tree.iter(f"{SVG}path"):
        if element.attrib.get("class") is None and "Z" in element.attrib["d"]:
            for left, right in spans(element.attrib["d"]):
                assert right <= hole[0] + 0.1 or left >= hole[1] - 0.1


def test_an_emotion_that_an_interval_does_not_name_is_0_there():
    """Not named among others is not seen; it counts as nothing, and is no gap."""
    series = timeline({"a": 1.0, "b": 1.0}, {"b": 1.0})
    tree = checked(series.to_svg())
    assert paths(tree, "gap") == []
    labels = texts(tree)
    assert labels[labels.index("a") + 1] == "0.50"


def test_positive_is_above_negative():
    """Positive parts are drawn upwards, negative ones downwards, on one scale."""
    tree = checked(sentiments((0.6, 0.3, 0.1)).to_svg())
    assert ["positive 60 %", "neutral 30 %", "negative 10 %"] == texts(tree)[-3:]
    boxes = {}
    for element in tree.iter(f"{SVG}path"):
        if element.attrib.get("fill") in svg.PALETTE:
            ys = [
                float(y)
                for y in re.findall(r"(?:M[\d.]+ |V)([\d.]+)", element.attrib["d"])
            ]
            boxes[element.attrib["fill"]] = (min(ys), max(ys))
    up, down = boxes.values()
    assert up[1] == down[0]
    assert 6 == pytest.approx((up[1] - up[0]) / (down[1] - down[0]), rel=0.02)


def test_ten_thousand_intervals_become_as_many_as_there_are_pixels():
    """A long timeline is averaged, says so, and keeps its gaps."""
    rows = [{"a": 0.5 + 0.5 * (place % 2), "b": 0.1} for place in range(10_000)]
    rows[4_000:4_500] = [None] * 500
    svg = timeline(*rows, step=5.0).to_svg()
    tree = checked(svg)
    assert "shaded: no data · averages of 9,500 intervals" in texts(tree)
    assert len(spans(paths(tree, "area")[0])) == 2
    assert "0.75" in texts(tree)
    assert len(svg) < 20_000


def test_no_more_rows_than_fit():
    """Twelve emotions have a row, fewer where height is short; the rest is counted."""
    series = timeline({f"e{n:02}": 1.0 for n in range(20)})
    assert texts(checked(series.to_svg()))[-1] == "and 8 more"
    assert texts(checked(series.to_svg(height=150)))[-1] == "and 18 more"


@pytest.mark.parametrize("height", [120, 150, 200, 300])
def test_rows_of_a_low_picture_do_not_overlap(height):
    """However low a picture is, each row is as high as its label."""
    names = [f"e{n:02}" for n in range(20)]
    tree = checked(timeline(dict.fromkeys(names, 1.0)).to_svg(height=height))
    bases = [float(e.get("y")) for e in tree.iter(f"{SVG}text") if e.text in names]
    assert all(below - above >= 16 for above, below in pairwise(bases))


@pytest.mark.parametrize("width", [200, 250, 300, 400, 640])
def test_the_legend_of_sentiment_fits_its_picture(width):
    """However narrow a picture is, no sentiment's name reaches over its edge."""
    tree = checked(sentiments((38.0, 49.0, 13.0)).to_svg(width=width))
    names = ("pos", "neu", "neg")
    legend = [e for e in tree.iter(f"{SVG}text") if e.text.startswith(names)]
    assert len(legend) == 3
    for label in legend:
        end = float(label.get("x")) + markup.text_width(label.text)
        assert end <= width - 2 * svg.EDGE


@pytest.mark.parametrize(
    "empty",
    [
        EmotionTotals(session=ID, emotions=FrozenMapping({})),
        EmotionsTimeline(session=ID, intervals=()),
        SentimentTimeline(session=ID, intervals=()),
        Batch({}, {}),
    ],
)
def test_nothing_is_shown_as_nothing(empty):
    """An empty value is shown small, and as empty."""
    markup = empty._repr_html_()
    checked(markup)
    assert len(markup) < 1_000
    assert re.search("nothing was detected|no intervals with data|0 fetched", markup)


def test_empty_timelines_have_empty_columns():
    """An empty timeline has all its columns, without rows."""
    for empty in (
        EmotionsTimeline(session=ID, intervals=()),
        SentimentTimeline(session=ID, intervals=()),
    ):
        assert {key: [] for key in empty.to_columns()} == empty.to_columns()


def test_columns_have_these_names():
    """The names and the order of the columns are a promise."""
    assert [
        *("session", "start", "end", "detected_faces", "emotion"),
        *("people", "quantity", "intensity"),
    ] == [*timeline().to_columns()]
    names = ["session", "start", "end", "segments", "positive", "neutral", "negative"]
    assert names == [*sentiments().to_columns()]
    assert {
        "session": [ID, ID],
        "start": [0.0, 120.0],
        "end": [60.0, 180.0],
        "detected_faces": [3, 3],
        "emotion": ["joy", "joy"],
        "people": [2, 2],
        "quantity": [1.5, 3.0],
        "intensity": [0.5, 1.0],
    } == timeline({"joy": 0.5}, {}, {"joy": 1.0}).to_columns()


@pytest.mark.parametrize(
    "options",
    [
        {"measure": "faces"},
        {"measure": None},
        {"measure": ["people"]},
        {"width": 199},
        {"width": 10**9},
        {"width": 640.0},
        {"width": True},
        {"height": 0},
        {"height": "100"},
        {"theme": "black"},
        {"theme": None},
        {"theme": ["dark"]},
        {"background": 0xFFFFFF},
        {"background": ""},
    ],
)
def test_what_cannot_be_drawn_is_refused(options):
    """A wrong argument is named."""
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
        timeline().to_svg(**options)
    if name != "measure":
        with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
            sentiments().to_svg(**options)


def test_colours_are_stable():
    """An emotion has its colour in every chart and every run, known or not."""
    known = ["focus", "exaltation", "shock", "seriousness", "fatigue", "disgust"]
    colours = [charts.colour(name) for name in [*known, "overwhelming"]]
    assert len(colours) == len({*colours})
    assert charts.colour("joy") == "#279da8"
    assert charts.colour("boredom") == "#ea6972"
    assert {*svg.PALETTE} == {charts.colour(f"emotion {n}") for n in range(100)}


def luminance(colour):
    """Return how bright a colour is, as WCAG reckons."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", svg.PALETTE)
def test_colours_stand_out_in_light_and_dark(colour):
    """Each colour has a contrast of 3 to 1 or more on white and on near black."""
    assert (luminance("#ffffff") + 0.05) / (luminance(colour) + 0.05) >= 3
    assert (luminance(colour) + 0.05) / (luminance("#1e1e1e") + 0.05) >= 3


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless_everywhere(name):
    """Names of sessions and emotions are shown, cut, and never obeyed."""
    emotions = FrozenMapping({name: 3, "joy": 2})
    for value in (
        session(name=name, sources=(source(name),)),
        EmotionTotals(session=name, emotions=emotions),
        timeline({name: 1.0}),
        attrs.evolve(sentiments((1, 1, 1)), session=name),
        Batch({name: session(name=name)}, {name + "!": gone(name)}),
        Batch({ID: name}, {}),
        Batch({ID: EmotionTotals(session=name, emotions=emotions)}, {}),
    ):
        markup = value._repr_html_()
        checked(markup)
        assert len(markup) < 8_000


def gone(message):
    return NotFoundError(message, status=404)


def source(name):
    return Source(id="1", name=name, type="video", device="local_camera")


def session(**changes):
    return attrs.evolve(
        Session(
            id=ID,
            name="Pitch",
            type=SessionType.LIVE_ANALYSIS,
            state=SessionState.FINISHED,
            timestamp=datetime(2024, 3, 29, 8, 51, 26, tzinfo=UTC),
            duration=3777.837,
            product=ID,
            user=ID,
            version=3,
        ),
        **changes,
    )


def cells(markup):
    """Return the texts of a table, row by row."""
    rows = [*checked(markup).iter("tr")]
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def test_a_session_shows_its_facts():
    """A session is a table of what it is, under its name; dates are in UTC."""
    local = datetime(2024, 3, 29, 1, 51, tzinfo=timezone(-timedelta(hours=7)))
    markup = session(sources=(source("Webcam"),), timestamp=local)._repr_html_()
    assert [
        ["id", ID],
        ["state", "finished"],
        ["type", "live_analysis"],
        ["created", "2024-03-29 08:51 UTC"],
        ["duration", "1:02:58"],
        ["source", "Webcam (video)"],
    ] == cells(markup)
    assert "".join(checked(markup).find(".//caption").itertext()) == "Pitch"


def test_many_sources_are_counted():
    """A session with very many sources is still a small table."""
    markup = session(sources=(source("x"),) * 500)._repr_html_()
    assert ["", "and 492 more sources"] == cells(markup)[-1]


def test_a_batch_shows_values_and_errors():
    """A batch of sessions has their columns; what failed says why."""
    error = gone("no such session")
    markup = Batch({ID: session()}, {"f" * 24: error})._repr_html_()
    assert [
        ["id", "name", "state", "created (UTC)", "duration"],
        [ID, "Pitch", "finished", "2024-03-29 08:51", "1:02:58"],
        ["f" * 24, f"NotFoundError: {error}"],
    ] == cells(markup)
    assert "Batch: 1 fetched, 1 failed" in markup


@pytest.mark.parametrize(
    "values",
    [
        *({}, {ID: 1}, {ID: session()}, {ID: timeline({"a": 0.3})}),
        {ID: EmotionTotals(session=ID, emotions=FrozenMapping({"a": 3}))},
    ],
)
def test_a_batch_shows_errors_whole(values):
    """A long error breaks into lines wherever it is shown, and its advice is there."""
    error = ServerError(
        " ".join(["down"] * 40),
        status=503,
        method="GET",
        path=f"/v1/sessions/{ID}",
        attempts=6,
    )
    markup = Batch(values, {"f" * 24: error})._repr_html_()
    assert len(str(error)) > 240
    assert f"ServerError: {error}" == cells(markup)[-1][-1]
    (cell,) = checked(markup).findall(".//tbody/tr[last()]/td[last()]")
    assert "white-space:normal" in cell.get("style")
    assert "width:0;min-width:100%" == cell.find("div").get("style")
    assert "nowrap" not in cell.get("style")


def test_a_large_batch_shows_its_first_rows():
    """Of ten thousand, twenty are shown, ten failures, and how many more there are."""
    values = {f"{n:024x}": session() for n in range(10_000)}
    errors = {f"{n:023x}f": gone("gone") for n in range(500)}
    rows = cells(Batch(values, errors)._repr_html_())
    assert len(rows) == 1 + 20 + 10 + 1
    assert rows[-1] == ["and 9,980 more fetched and 490 more failed"]


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (["120", "3:00", "b 0.80, a 0.30"], timeline({"a": 0.3, "b": 0.8}, step=180)),
        (["1", "1:00", "positive 50 %, neutral 25 %, negative 25 %"], (2, 1, 1)),
        (["1,000", "b 90 %, a 10 %"], {"a": 100, "b": 900}),
        (["0", "a 0 %"], {"a": 0}),
        (["62.5"], 62.5),
    ],
)
def test_a_batch_shows_other_values(expected, value):
    """Totals and timelines have a row that sums them up; anything else its repr."""
    if isinstance(value, tuple):
        value = sentiments(value)
    elif isinstance(value, dict):
        value = EmotionTotals(session=ID, emotions=FrozenMapping(value))
    elif isinstance(value, EmotionsTimeline):
        expected = ["1", *expected[1:]]
    _, row = cells(Batch({ID: value}, {})._repr_html_())
    assert [ID, *expected] == row


def test_a_batch_of_different_values_shows_their_repr():
    """Values without common columns are shown by their repr."""
    rows = cells(Batch({"a": 1, "b": timeline()}, {})._repr_html_())
    assert rows[0] == ["id", "value"]
    assert rows[2][1].startswith("EmotionsTimeline(session=")


def test_figures_are_folded_below_a_timeline():
    """Mean, maximum and its time are there to be read, for each emotion."""
    markup = timeline({"a": 0.2}, {"a": 0.6, "b": 0.1})._repr_html_()
    assert [
        ["emotion", "mean", "highest", "at"],
        ["a", "0.4", "0.6", "1:00"],
        ["b", "0.05", "0.1", "1:00"],
    ] == cells(markup)
    assert "<details" in markup


def test_charts_can_be_read_aloud():
    """A chart is one image with a name and a description."""
    root = checked(timeline({"a": 0.2}).to_svg())
    assert root.attrib["role"] == "img"
    assert root.find(f"{SVG}title").text == (
        f"Intensity by emotion, session {ID} · each row 0 to 0.2"
    )
    assert root.find(f"{SVG}desc").text == ("a: 0.20 on average, 0.2 at most, at 0:00")


def test_charts_take_the_colour_of_the_page():
    """No text has a colour of its own, and rules concern the document's root only."""
    svg = timeline({"a": 0.2}).to_svg()
    root = checked(svg)
    assert root.attrib["fill"] == "currentColor"
    assert not any("fill" in element.attrib for element in root.iter(f"{SVG}text"))
    (style,) = root.iter(f"{SVG}style")
    selectors = re.findall(r"([^{}]+)\{(?!svg)", style.text)
    assert {"svg:root"} == {*selectors}


COLOURS = [
    *("white", "RebeccaPurple", "transparent", "#fff", "#FFFA", "#1e1e1e", "#1e1e1e80"),
    *("rgb(255, 255, 255)", "rgb(255,255,255)", "rgba( 0, 0, 0, .5 )", "rgb(1 2 3)"),
    *("rgb(10% 20% 30% / 40%)", "hsl(210, 50%, 98.5%)", "hsla(210deg 50% 98% / 0.25)"),
]
NO_COLOURS = [
    *("whitish", "currentColor", "inherit", "none", "#ff", "#fffff", "#ggg", "fff"),
    *(
        "white;",
        "white ",
        "white\n",
        "#fff\n",
        "#fff #000",
        "red url(#a)",
        "var(--paper)",
    ),
    *("rgb(1, 2)", "rgb(1, 2, 3, 4, 5)", "rgb(1 2 3, 0.5)", "rgb(10%, 2, 3)", "rgb()"),
    *(
        "hsl(1, 2, 3)",
        "rgb(1, 2, 3",
        "rgb(calc(1), 2, 3)",
        "#\uff11\uff11\uff11",
        "9" * 99,
    ),
    *('"/><script>alert(1)</script>', "url(https://example.com)", 'red" onload="x()'),
    *("</style>", "expression(1)", "#fff}svg{display:none"),
]


@pytest.mark.parametrize("kind", [timeline({"a": 0.2}), sentiments((1, 1, 1))])
@pytest.mark.parametrize(("theme", "ink"), svg.INKS.items())
def test_a_theme_fixes_the_colour_of_text(theme, ink, kind):
    """A chart of a theme has its colour of text anywhere, whatever its reader has."""
    tree = checked(kind.to_svg(theme=theme))
    rules = dict(rule.split(":", 1) for rule in tree.attrib["style"].split(";"))
    assert (ink, theme) == (rules["color"], rules["color-scheme"])
    assert tree.attrib["fill"] == "currentColor"
    assert [*tree.iter(f"{SVG}style")] == []
    assert "prefers-color-scheme" in kind.to_svg() == kind.to_svg(theme="auto")


@pytest.mark.parametrize(
    "kind",
    [
        timeline({"a": 0.2}),
        sentiments((1, 1, 1)),
        EmotionTotals(session=ID, emotions=FrozenMapping({"a": 1})),
    ],
    ids=lambda kind: type(kind).__name__,
)
def test_a_chart_of_a_page_has_no_style(kind):
    """A content security policy without inline styles has nothing to report."""
    tree = checked(kind.to_svg(theme="page"))
    assert [*tree.iter(f"{SVG}style")] == []
    assert not any("style" in each.attrib for each in tree.iter())
    assert "12" == tree.attrib["font-size"]
    assert "style" in kind.to_svg()


@given(emotion_timelines, st.sampled_from(["intensity", "quantity", "people"]))
def test_sparklines_are_well_formed(drawn, measure):
    """A sparkline is a whole document inside its box, without text and style."""
    tree = checked(drawn.to_sparkline(width=60, height=20, measure=measure))
    assert {each.tag for each in tree} <= {f"{SVG}title", f"{SVG}path"}
    assert not any("style" in each.attrib for each in tree.iter())
    for path in tree.iter(f"{SVG}path"):
        for x, low, high, end, back in re.findall(
            r"M(\S+) (\S+)V(\S+)H([^V]+)V([^Z]+)Z", path.attrib["d"]
        ):
            assert 0 <= float(x) <= float(end) <= 60
            assert 0 <= float(high) <= float(low) <= 20
            assert low == back


def test_a_sparkline_stacks_emotions():
    """The largest mean is at the bottom, a gap stays empty, and the title has words."""
    drawn = EmotionsTimeline(
        session=ID,
        intervals=tuple(
            EmotionInterval(
                start=start,
                end=start + 10,
                detected_faces=1,
                emotions=FrozenMapping(
                    {
                        name: EmotionMeasure(people=1, quantity=part, intensity=part)
                        for name, part in {"joy": 0.25, "focus": 0.75}.items()
                    }
                ),
            )
            for start in (0, 30)
        ),
    )
    tree = checked(drawn.to_sparkline(width=40, height=20))
    title, gap, focus, joy = tree
    assert title.text == "Intensity by emotion: focus 0.75, joy 0.25"
    assert gap.attrib["d"] == "M10 0H30V20H10Z"
    assert focus.attrib["fill"] == charts.colour("focus")
    assert focus.attrib["d"] == "M0.5 20V5H9.5V20ZM30.5 20V5H39.5V20Z"
    assert joy.attrib["d"] == "M0.5 5V0H9.5V5ZM30.5 5V0H39.5V5Z"
    assert "no data" in timeline().to_sparkline()


@pytest.mark.parametrize(
    "options", [{"measure": "faces"}, {"width": 19}, {"height": 7}, {"height": "9"}]
)
def test_what_cannot_be_a_sparkline_is_refused(options):
    """A wrong argument is named."""
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected"):
        timeline().to_sparkline(**options)


@given(totals, st.integers(200, 900))
def test_charts_of_totals_fit_their_width(drawn, width):
    """Any totals are a document as wide as was asked for."""
    tree = checked(drawn.to_svg(width=width, theme="dark", background="black"))
    assert str(width) == tree.attrib["width"]


def blended(ink, paper, opacity):
    """Return the colour of *ink* that lets some of the *paper* through."""
    pairs = [(int(ink[n : n + 2], 16), int(paper[n : n + 2], 16)) for n in (1, 3, 5)]
    return "#" + "".join(
        f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs
    )


@pytest.mark.parametrize(
    ("theme", "paper"), [("light", "#ffffff"), ("dark", "#1e1e1e")]
)
def test_text_is_legible_in_its_theme(theme, paper):
    """Text has a contrast of 10 to 1 or more, and of 4.5 to 1 where it is faint."""
    faint = blended(svg.INKS[theme], paper, 0.7)
    for least, ink in ((10, svg.INKS[theme]), (4.5, faint)):
        dark, light = sorted(luminance(colour) + 0.05 for colour in (ink, paper))
        assert light / dark >= least


@pytest.mark.parametrize("colour", COLOURS)
def test_a_background_lies_behind_the_whole_chart(colour):
    """Each way to write a colour is taken; the paper is as large as the chart."""
    for kind in (timeline({"a": 0.2}), sentiments((1, 1, 1))):
        tree = checked(kind.to_svg(width=500, height=200, background=colour))
        shapes = [
            each for each in tree if each.tag not in {f"{SVG}title", f"{SVG}desc"}
        ]
        (paper,) = (each for each in tree if each.attrib.get("class") == "paper")
        assert shapes.index(paper) == 1  # only the style is before it
        box = [paper.attrib[name] for name in ("x", "y", "width", "height")]
        assert tree.attrib["viewBox"].split() == box
        assert ["500", "200"] == box[2:]
        assert paper.attrib["fill"] == colour.lower()


@pytest.mark.parametrize("colour", NO_COLOURS)
def test_what_is_no_colour_is_refused(colour):
    """Nothing but a colour gets into a picture; what was refused is shown harmless."""
    for kind in (timeline({"a": 0.2}), sentiments((1, 1, 1))):
        with pytest.raises(
            InvalidArgumentError, match="background: expected"
        ) as caught:
            kind.to_svg(background=colour)
        assert len(str(caught.value)) < 160
        assert str(caught.value).isprintable()


@pytest.mark.property
@given(
    st.sampled_from(COLOURS)
    | st.text("0123456789abcdef#%,./ ()rgbhslade", max_size=30)
    | st.text(max_size=30)
)
def test_a_colour_needs_no_escaping(text):
    """Whatever is taken for a colour has no character that could end an attribute."""
    try:
        colour = colours.css_colour("background", text)
    except InvalidArgumentError:
        return
    assert re.fullmatch(r"[a-z]+|#[0-9a-f]{3,8}|(rgb|hsl)a?\([0-9deg%,./ ]+\)", colour)


def test_models_are_what_they_were():
    """Pictures change neither equality nor hash, pickle, copy and slots."""
    value = timeline({"a": 0.2})
    assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
    assert hash(value) == hash(timeline({"a": 0.2}))
    assert not hasattr(value, "__dict__")
    assert [field.name for field in attrs.fields(EmotionsTimeline)] == [
        *("session", "intervals", "expanded", "extra", "stale")
    ]


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("0", 0),
        ("1,234", 1234),
        ("1,235", 1234.56),
        ("2.65", 2.654),
        ("0.88", 0.8849),
        ("0.0012", 0.00123),
        ("1.2e-05", 0.0000123),
        ("1.2e+16", 12345678901234567),
        ("huge", 10**400),
        ("-huge", -(10**400)),
        ("0", math.nan),
        ("0", math.inf),
    ],
)
def test_figures_are_short(expected, value):
    """Numbers have no more digits than help, however large or small they are."""
    assert expected == markup.figure(value)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("0:00", 0),
        ("2:05", 125.4),
        ("1:02:58", 3777.837),
        ("-0:05", -5),
        ("100:00:00", 360_000),
        ("1,000,000,000,000 s", 1e12),
        ("0:00", math.nan),
    ],
)
def test_times_are_written_as_on_a_stopwatch(expected, seconds):
    """Hours are there only when they are needed."""
    assert expected == markup.clock(seconds)


@pytest.mark.property
@given(st.text(), st.integers(1, 50))
def test_cut_text_is_short_and_safe(text, limit):
    """Cut text is one line, as short as asked, and the same when it is cut again."""
    line = markup.cut(text, limit)
    assert len(line) <= limit
    assert line == markup.cut(line, limit)
    assert not {*line} & {*"\n\r\t\x1b\x00\u202e\ud800"}


def test_plain_text_is_left_alone():
    """Letters of any script, digits and signs stay as they are."""
    plain = f"{string.ascii_letters} 喜び فرح 👩‍👩‍👧 é"
    assert plain == markup.cut(plain)
