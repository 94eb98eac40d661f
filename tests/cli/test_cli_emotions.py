"""Emotions and sentiments on the command line: as charts, as rows and as JSON."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _terminal import call, run, run_on_terminal, run_watched
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from emogg_async._cli.options import Part
from emogg_async._cli.output.charts import (
    LONGEST,
    emotions_chart,
    sentiment_chart,
    totals_chart,
)
from emogg_async._cli.output.fields import FIELDS
from emogg_async._cli.output.sparklines import (
    WIDEST,
    Grid,
    axis,
    bar,
    ramp_for,
    sample,
    sparkline,
)
from emogg_async._notebook.series import shares
from emogg_async.models import (
    EmotionInterval,
    EmotionMeasure,
    EmotionsTimeline,
    EmotionTotals,
    FrozenMapping,
    SentimentInterval,
    Sentiments,
    SentimentTimeline,
)
from emogg_async.testing import EmoggEmulator

if TYPE_CHECKING:
    import subprocess

SESSION = "6606810e62d82c07cd0c20aa"
UNKNOWN_ID = "f" * 24
HOSTILE = "\x1b]0;pwned\x07\x1b[31m\x9b2J\r\n[red]x[/red] <script>\u202e"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")

BLOCKS = ramp_for("utf-8")
PLAIN = ramp_for("ascii")

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")

Emogg = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def emogg(capfd: pytest.CaptureFixture[str]) -> Emogg:
    """Give the command as a function, in this process."""
    return partial(call, capfd)


def shown(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what is left on a terminal when it has done as it was told."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", done.stdout).replace("\r\n", "\n")


def timeline(
    values: dict[str, list[float | None]], granularity: float = 60
) -> EmotionsTimeline:
    """Make a timeline; where all are None there is no interval."""
    intervals = []
    for number, row in enumerate(zip(*values.values(), strict=True)):
        measured = {
            name: EmotionMeasure(people=1, quantity=value, intensity=value / 10)
            for name, value in zip(values, row, strict=True)
            if value is not None
        }
        if measured:
            intervals.append(
                EmotionInterval(
                    start=number * granularity,
                    end=(number + 1) * granularity,
                    detected_faces=1,
                    emotions=FrozenMapping(measured),
                )
            )
    return EmotionsTimeline(session=SESSION, intervals=tuple(intervals))


def drawn(
    found: EmotionsTimeline, width: int = 80, measure: str = "quantity", **span: Any
) -> list[str]:
    """Draw a timeline, and return the lines."""
    part = Part(**({"start": 0, "end": None, "granularity": 60} | span))
    chart = emotions_chart(found, measure=measure, part=part, width=width, ramp=BLOCKS)
    return [line.rstrip() for line in chart.plain.splitlines()]


# -- cells -----------------------------------------------------------------------------

spans = st.tuples(
    st.floats(0, 1e5),
    st.floats(0, 1e6),
    st.integers(5, 3_600),
    st.integers(8, 200),
)


@pytest.mark.property
@given(spans)
def test_grid_fills_the_room(span: tuple[float, float, int, int]) -> None:
    """Cells cover the whole time, and fill the width where there are enough of them."""
    start, length, granularity, width = span
    grid = Grid.of(start, start + length, granularity, width)
    assert grid.start == start
    assert grid.span == pytest.approx(max(length, granularity))
    assert 1 <= grid.cells <= width
    if length >= width * granularity / (WIDEST - 1):
        assert grid.cells == width


@pytest.mark.property
@given(
    st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=300),
    st.integers(8, 150),
)
def test_gaps_are_seen(values: list[float | None], width: int) -> None:
    """Data are never passed over, nor is a gap that is as long as two cells."""
    grid = Grid.of(0, len(values) * 60, 60, width)
    sampled = sample(
        grid,
        [
            (i * 60, i * 60 + 60, {"joy": value})
            for i, value in enumerate(values)
            if value is not None
        ],
    )
    assert len(sampled) == grid.cells
    assert (None in values) >= (None in sampled)
    for number, value in enumerate(values):
        scale = 60 * grid.cells / grid.span
        first, last = number * scale, (number + 1) * scale
        cells = sampled[math.floor(first + 1e-9) : math.ceil(last - 1e-9)]
        if value is not None:
            assert any(cell is not None for cell in cells)
        elif last - first >= 2 - 1e-9:
            assert None in cells
    known = [value for value in values if value is not None]
    largest = max(known, default=0) or 1
    for cell in sampled:
        if cell is not None:
            assert min(known) - 1e-9 <= cell["joy"] * largest <= max(known) + 1e-9


@pytest.mark.parametrize(("count", "width"), [(63, 100), (63, 110), (7, 13), (99, 100)])
def test_every_gap_has_a_cell(count: int, width: int) -> None:
    """Where each interval has a cell, a gap of a single one is seen."""
    grid = Grid.of(0, count * 60, 60, width)
    for gap in range(count):
        points = [(i * 60, i * 60 + 60, {"a": 1}) for i in range(count) if i != gap]
        assert None in sample(grid, points)


def test_a_cell_of_several_intervals() -> None:
    """A cell shows the mean of its intervals, however many others are missing."""
    grid = Grid.of(0, 1200, 60, 10)
    points = [(0, 60, {"joy": 2.0}), (60, 120, {"joy": 0.0})]
    assert sample(grid, points) == [{"joy": 0.5}, *[None] * 9]


def test_intervals_of_another_length() -> None:
    """Intervals that are not as asked for, or outside, do no harm."""
    grid = Grid.of(0, 300, 60, 5)
    values = {"joy": 2.0}
    points = [(-100, 30), (60, 180), (200, 900), (400, 300)]
    found = sample(grid, [(60, 180, values)])
    assert found == [None, {"joy": 1}, {"joy": 1}, None, None]
    assert len(sample(grid, [(*each, values) for each in points])) == grid.cells


def test_levels() -> None:
    """Nothing is lowest, a little is more than nothing, and a gap is no level."""
    assert sparkline([0, 1e-9, 0.5, 1, None, 2], 1, BLOCKS.levels) == "▁▂▄▇ ▇"
    assert sparkline([0, 0], 0, BLOCKS.levels) == "▁▁"
    assert sparkline([0, None, 1], 1, PLAIN.levels) == "_ #"


@pytest.mark.property
@given(spans)
def test_times_stand_where_they_are(span: tuple[float, float, int, int]) -> None:
    """Each time stands behind a mark in its own cell, and none is cut."""
    start, length, granularity, width = span
    grid = Grid.of(start, start + length, granularity, width)
    line = axis(grid, "|")
    assert len(line) <= grid.cells
    for found in re.finditer(r"\|((?:\d+:)?\d+:\d\d)", line):
        seconds = 0
        for part in found[1].split(":"):
            seconds = seconds * 60 + int(part)
        assert int((seconds - start) * grid.cells / grid.span + 1e-6) == pytest.approx(
            found.start(), abs=1
        )
    assert len(re.findall(r"\|", line)) == len(line.split())


@given(st.floats(0, 1), st.integers(1, 100))
def test_bars(part: float, width: int) -> None:
    """A bar is as long as its part of the width, to an eighth of a cell."""
    cells = len(bar(part, width, BLOCKS.bars))
    assert part * width - 0.1 <= cells < part * width + 1.1
    assert bar(1, width, PLAIN.bars) == "#" * width


def test_shares() -> None:
    """Shares are sorted, and nothing divides by nothing."""
    assert list(shares({"a": 1, "c": 2, "b": 1}).items()) == [
        ("c", 0.5),
        ("a", 0.25),
        ("b", 0.25),
    ]
    assert shares({"a": 0}) == {"a": 0.0}


# -- charts ----------------------------------------------------------------------------


def test_chart_of_emotions() -> None:
    """Each emotion is a line with share and peak, the largest first; gaps are gaps."""
    found = timeline({"shock": [1, 0, None, 1, 2], "focus": [8, 4, None, 0, 8]})
    title, head, *lines, times, note = drawn(found)
    assert title == f"Emotions by quantity, session {SESSION}"
    assert head.split() == ["share", "peak"]
    assert lines == [
        "focus ▇▇▇▇▄▄▄▄    ▁▁▁▁▇▇▇▇  83.3 %     8",
        "shock ▄▄▄▄▁▁▁▁    ▄▄▄▄▇▇▇▇  16.7 %     2",
    ]
    assert times == "      ╵0:00"
    assert note == (
        "From 0:00 to 5:00; each line has its own scale; a gap is where there are no "
        "data."
    )
    intensity = drawn(found, measure="intensity")
    assert intensity[0].startswith("Emotions by intensity")
    assert intensity[2].endswith(" 83.3 %  0.80")


def test_chart_of_a_part() -> None:
    """The part that was asked for is drawn, also where nothing was measured."""
    found = timeline({"focus": [1, 1, 1]})
    assert "focus ▇▇▇▇▇▇▇▇▇▇▇▇  100" in drawn(found)[2]
    longer = drawn(found, end=360)
    assert f"focus {'▇' * 12}{' ' * 12}  100" in longer[2]
    assert "a gap is" in longer[-1]
    assert "a gap is" not in drawn(found)[-1]


names = st.text(max_size=30) | st.just(HOSTILE)
figures = st.none() | st.floats(0, 1e9)


@pytest.mark.property
@given(
    st.dictionaries(names, st.lists(figures, min_size=4, max_size=4), max_size=9),
    st.sampled_from([20, 40, 80, 140]),
)
def test_charts_fit_and_are_harmless(
    values: dict[str, list[float | None]], width: int
) -> None:
    """Whatever emotions are called, each has one line, which fits and is harmless."""
    found = timeline(values)
    named = {name for part in found.intervals for name in part.emotions}
    lines = drawn(found, width)
    assert sum(" %  " in line for line in lines) == len(named)
    for line in lines[1:-1]:
        assert not OBEYED.search(line)
        assert cell_len(line) <= max(width, 60)
    totals = EmotionTotals(
        session=SESSION, emotions=FrozenMapping(dict.fromkeys(values, 3))
    )
    bars = totals_chart(totals, width=width, ramp=BLOCKS).plain.splitlines()
    assert len(bars) == len(values) + 2
    assert all(cell_len(line) <= max(width, 60) for line in bars[1:])
    assert not any(OBEYED.search(line) for line in bars)


def test_chart_of_totals() -> None:
    """The longest bar is that of the most frequent emotion, and none is too long."""
    emotions = FrozenMapping({"shock": 500, "focus": 1_500, "joy": 0})
    totals = EmotionTotals(session=SESSION, emotions=emotions)
    chart = totals_chart(totals, width=300, ramp=BLOCKS).plain
    assert [re.sub(" +", " ", line) for line in chart.splitlines()[1:]] == [
        " share times",
        f"focus {'█' * LONGEST} 75.0 % 1,500",
        f"shock {'█' * (LONGEST // 3)} 25.0 % 500",
        "joy 0.0 % 0",
    ]


def test_chart_of_sentiments() -> None:
    """Sentiments have one scale, since they are parts of a whole."""
    intervals = tuple(
        SentimentInterval(
            start=start,
            end=start + 60.0,
            segments=4,
            sentiments=Sentiments(positive=0.5, neutral=1, negative=0),
        )
        for start in (0.0, 120.0)
    )
    found = SentimentTimeline(session=SESSION, intervals=intervals)
    part = Part(start=0, end=None, granularity=60)
    chart = sentiment_chart(found, part=part, width=80, ramp=PLAIN).plain
    assert chart.splitlines()[2:5] == [
        "positive ====    ====  33.3 %  0.50",
        "neutral  ####    ####  66.7 %  1.00",
        "negative ____    ____   0.0 %  0.00",
    ]
    assert chart.splitlines()[-1].startswith(
        "From 0:00 to 3:00; all lines have one scale; a gap"
    )


# -- the commands ----------------------------------------------------------------------


@needs_terminal
@pytest.mark.parametrize("columns", [80, 140])
def test_timeline_on_a_terminal(emogg_emulator: EmoggEmulator, columns: int) -> None:
    """On a terminal the timeline is a chart as wide as it, in colours."""
    del emogg_emulator
    done = run_on_terminal("emotions", "timeline", SESSION, columns=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\x1b\[[\d;]*38;5;\d+m", done.stdout)
    _, head, *lines, times, _ = shown(done).splitlines()
    assert {len(line) for line in (head, *lines)} == {columns}
    found = [float(re.findall(r"([\d.]+) %", line)[0]) for line in lines]
    assert len(found) == 7
    assert found == sorted(found, reverse=True)
    assert sum(found) == pytest.approx(100, abs=0.4)
    assert "╵15:00" in times or "╵10:00" in times


@needs_terminal
def test_charts_without_blocks_and_colours(emogg_emulator: EmoggEmulator) -> None:
    """Where there are neither blocks nor colours, other characters do."""
    del emogg_emulator
    plain = {"NO_COLOR": "1", "PYTHONUTF8": None, "PYTHONIOENCODING": "ascii"}
    done = run_on_terminal("sentiment", SESSION, **plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert not re.search(r"\x1b\[(?:\d;)*[349]\d", done.stdout)
    assert re.search(r"^neutral +[_.=+*# -]{30,} +\d", shown(done), re.MULTILINE)
    assert "?" not in done.stdout


@needs_terminal
def test_totals_on_a_terminal(emogg_emulator: EmoggEmulator) -> None:
    """Totals of several sessions are charts below each other; failures are told."""
    other = emogg_emulator.sessions[0].id
    done = run_on_terminal("emotions", "totals", SESSION, UNKNOWN_ID, other)
    assert done.returncode == 3
    assert json.loads(done.stderr)["id"] == UNKNOWN_ID
    first, second = shown(done).strip().split("\n\n")
    assert first.startswith(f"Emotions in all, session {SESSION}\n")
    assert second.startswith(f"Emotions in all, session {other}\n")
    assert max(map(len, shown(done).splitlines())) == 80


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("emotions", "timeline", SESSION), "emotion"),
        (("emotions", "totals", SESSION), "total"),
        (("sentiment", SESSION), "sentiment"),
    ],
)
def test_rows(
    emogg_emulator: EmoggEmulator, emogg: Emogg, command: tuple[str, ...], kind: str
) -> None:
    """JSON lines and CSV have the same rows, with figures as the service has them."""
    del emogg_emulator
    rows = [json.loads(line) for line in emogg(*command).stdout.splitlines()]
    assert rows
    assert {tuple(row) for row in rows} == {FIELDS[kind]}
    read = list(csv.DictReader(io.StringIO(emogg(*command, "-o", "csv").stdout)))
    assert read == [
        {name: v if isinstance(v, str) else json.dumps(v) for name, v in row.items()}
        for row in rows
    ]
    chosen = emogg(*command, "--fields", "session", "-o", "csv", "--no-header")
    assert chosen.stdout == f"{SESSION}\n" * len(rows)


def test_json_is_the_services_own(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """JSON is what the service says, whole."""
    body: dict[str, Any] = {"session": SESSION, "emotions": {"joy": 1}, "new": [1.5]}
    emogg_emulator.fail("GET", "*/emotions", status=200, body=body)
    done = emogg("emotions", "totals", SESSION, "-o", "json")
    assert json.loads(done.stdout) == [body]
    body = {"session": SESSION, "timeline": [], "new": 1}
    emogg_emulator.fail("GET", "*/timeline", status=200, body=body)
    done = emogg("emotions", "timeline", SESSION, "-o", "json")
    assert json.loads(done.stdout) == body


def test_the_part_reaches_the_service(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """Granularity, start and end are sent as they are given."""
    part = ("--granularity", "30", "--start", "60", "--end", "150.5")
    for command in (("emotions", "timeline"), ("sentiment",)):
        done = emogg(*command, SESSION, *part)
        assert done.returncode == 0, done.stderr
        query = dict(emogg_emulator.requests[-1].query)
        assert {name: float(value) for name, value in query.items()} == {
            "granularity": 30,
            "start": 60,
            "end": 150.5,
        }


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--granularity", "4"), "5<=x<=3600"),
        (("--start", "-1"), "--start"),
        (("--start", "9", "--end", "9"), "end"),
        (("--measure", "joy"), "intensity"),
        (("--fields", "name"), "detected_faces"),
        (("-o", "table"), "chart"),
    ],
)
def test_refused(
    emogg_emulator: EmoggEmulator, emogg: Emogg, options: tuple[str, ...], hint: str
) -> None:
    """What cannot be asked for is wrong usage, and nothing is sent."""
    done = emogg("emotions", "timeline", SESSION, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 2
    assert emogg_emulator.requests == ()


@needs_terminal
def test_nothing_to_show(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """A session without emotions is no failure, and who watches is told."""
    body = {"session": SESSION, "timeline": []}
    emogg_emulator.fail("GET", "*/timeline", status=200, body=body)
    done = run_watched("emotions", "timeline", SESSION)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "There is nothing in this part of the session.\r\n"
    done = emogg("emotions", "timeline", SESSION, "-o", "csv")
    assert done.stdout == ",".join(FIELDS["emotion"]) + "\n"
    assert emogg("emotions", "timeline", SESSION, "-o", "chart").stdout == ""


def test_hostile_emotions_are_harmless(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """What an emotion is called is shown, and obeyed by nothing."""
    measure = {"people": 1, "quantity": 2.5, "intensity": 0.5}
    interval = {"start": 0, "end": 60, "detectedFaces": 1}
    emotions = {f"={HOSTILE}": measure}
    body = {"session": SESSION, "timeline": [interval | {"emotions": emotions}]}
    emogg_emulator.fail("GET", "*/timeline", status=200, body=body)
    for form in ("chart", "csv", "jsonl", "json"):
        done = emogg("emotions", "timeline", SESSION, "-o", form)
        assert done.returncode == 0, done.stderr
        assert "pwned" in done.stdout
        assert not OBEYED.search(done.stdout)
        if form == "csv":
            assert ",'=\ufffd" in done.stdout


def test_totals_of_a_file(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """Totals come in the order of the ids of a file."""
    ids = [session.id for session in emogg_emulator.sessions[:5]]
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(ids))
    done = emogg("emotions", "totals", "--from-file", str(path))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(dict.fromkeys(row["session"] for row in rows)) == ids
    for each in ids:
        own = [row for row in rows if row["session"] == each]
        assert sum(row["share"] for row in own) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        ("sessions get ID -o json", "user"),
        ("sessions list --limit 2 -o json", "user"),
        ("sessions export --limit 2", "user"),
        ("emotions totals ID -o json", "session"),
        ("emotions timeline ID -o json", "session"),
        ("sentiment ID -o json", "session"),
    ],
)
def test_expand(emogg_emulator: EmoggEmulator, command: str, field: str) -> None:
    """With --expand, JSON has the full object in the place of its ID."""
    session_id = emogg_emulator.sessions[0].id
    words = command.replace("ID", session_id).split()
    done = run(*words, "--expand", field)
    assert done.returncode == 0, done.stderr
    found = json.loads(
        done.stdout.splitlines()[0] if "export" in words else done.stdout
    )
    first = found[0] if isinstance(found, list) else found
    assert isinstance(first[field], dict)
    assert "_id" in first[field]
