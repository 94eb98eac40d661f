"""What the `emogg` command prints and reads, decided without a process or a socket."""

import csv
import io
import json
import shlex
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import attrs
import click
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from emogg_async import DeadlineError, EmoggError, Fetched, ServerError, to_dict
from emogg_async._cli.app import emogg
from emogg_async._cli.commands.export import Position, how_to_go_on
from emogg_async._cli.commands.get import InOrder
from emogg_async._cli.ids import LONGEST, LONGEST_RECORD, SHOWN, IdLines
from emogg_async._cli.options import parse_moment
from emogg_async._cli.output import tables
from emogg_async._cli.output.fields import (
    FIELDS,
    json_value,
    parse_fields,
    record_of,
    text_value,
    value_of,
)
from emogg_async._cli.output.formats import (
    CSVWriter,
    JSONLinesWriter,
    JSONWriter,
    Writer,
    csv_lines,
    put,
)
from emogg_async._cli.running import RetryNotice
from emogg_async._text import clock, json_line, printable
from emogg_async._wire.converter import format_datetime, structure
from emogg_async.events import CacheMiss, RetryScheduled
from emogg_async.models import Session
from emogg_async.testing import EmoggEmulator

SESSIONS = EmoggEmulator(sessions=40).sessions
NOON = datetime(2024, 3, 29, 12, tzinfo=UTC)


class Stdout:
    """A stdout whose bytes can be looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8"):
        self._bytes = io.BytesIO()
        self._text = io.TextIOWrapper(self._bytes, encoding=encoding)
        monkeypatch.setattr(sys, "stdout", self._text)

    @property
    def text(self) -> str:
        """What was written so far."""
        return self._bytes.getvalue().decode(self._text.encoding)


# -- fields ----------------------------------------------------------------------------


def test_fields_are_those_of_the_models() -> None:
    """Every field of a session can be named, and those of what it consists of."""
    unshown = {"expanded", "extra", "stale"}
    own = {field.name for field in attrs.fields(Session)} - unshown
    assert own == {name for name in FIELDS["session"] if "." not in name}
    nested = {"config.remove_media", "meta.worker_state", "sources.name"}
    assert nested <= {*FIELDS["session"]}
    assert not any("extra" in name for names in FIELDS.values() for name in names)


def test_fields_are_read() -> None:
    """Names have commas in between; a wrong one lists all there are."""
    assert ("name", "id") == parse_fields("name, id,name")
    for wrong in ("nam", "", "id,", "extra", "sources.extra"):
        with pytest.raises(
            ValueError, match=r"there are id, name, .*meta\.worker_state"
        ):
            parse_fields(wrong)


@pytest.mark.property
@given(strategies.wire_sessions)
def test_fields_have_the_values_of_the_service(wire: dict[str, object]) -> None:
    """A field of a session is, as JSON, what the service said of it."""
    session = structure(wire, Session)
    record = record_of(session, ("id", "name", "state", "timestamp", "duration"))
    service = to_dict(session)
    assert record.pop("id") == service["_id"]
    assert record == {name: service[name] for name in record}
    every = record_of(session, FIELDS["session"])
    assert every == json.loads(json.dumps(every))
    for field in FIELDS["session"]:
        assert isinstance(text_value(value_of(session, field)), str)


def test_values_of_what_is_not_there() -> None:
    """What the service does not say is null, and in text nothing."""
    session = attrs.evolve(SESSIONS[0], config=None, sources=())
    values = record_of(session, ("config", "config.remove_media", "sources.name"))
    assert values == {"config": None, "config.remove_media": None, "sources.name": []}
    assert ["", ""] == [
        text_value(value_of(session, name)) for name in list(values)[1:]
    ]


def test_values_as_text() -> None:
    """In text, sources are their names, and truth is as JSON writes it."""
    session = next(item for item in SESSIONS if len(item.sources) == 2 and item.config)
    names = ", ".join(source.name for source in session.sources)
    assert names == text_value(value_of(session, "sources"))
    assert names == text_value(value_of(session, "sources.name"))
    assert text_value(value_of(session, "config.remove_media")) in {"true", "false"}
    assert text_value(session.config) == json.dumps(json_value(session.config))
    assert "120" == text_value(120.0)


# -- moments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-03", datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024-03-29", NOON.replace(hour=0)),
        ("2024-03-29T12:00", NOON),
        ("2024-03-29 12:00:00.137Z", NOON.replace(microsecond=137_000)),
        ("2024-03-29T14:00:00+02:00", NOON),
    ],
)
def test_moments_are_read(text: str, moment: datetime) -> None:
    """What has no offset is UTC."""
    assert moment == parse_moment(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", NOON - timedelta(days=7)),
        (" 90m ", NOON - timedelta(minutes=90)),
        ("36h", NOON - timedelta(hours=36)),
        ("2w", NOON - timedelta(days=14)),
        ("0d", NOON),
        ("today", datetime(2024, 3, 29, tzinfo=UTC)),
        ("yesterday", datetime(2024, 3, 28, tzinfo=UTC)),
    ],
)
def test_moments_before_now(text: str, moment: datetime) -> None:
    """Times can be told from now; days begin in UTC, wherever the clock stands."""
    assert moment == parse_moment(text, NOON)
    elsewhere = NOON.astimezone(timezone(timedelta(hours=13)))
    assert moment == parse_moment(text, elsewhere)


def test_now_is_now() -> None:
    """Without another present, it is that of the clock."""
    before = datetime.now(UTC)
    assert before <= parse_moment("0m") <= datetime.now(UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2024-13",
        "2024-13-01",
        "12:00",
        "7",
        "7y",
        "-7d",
        "9" * 20 + "d",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """What is no date is refused, with an example."""
    with pytest.raises(click.BadParameter, match=r"expected a time, e\.g\. 7d"):
        parse_moment(text)


@pytest.mark.property
@given(
    st.datetimes(
        datetime(1900, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.just(timezone(timedelta(hours=-3))) | st.just(UTC),
    )
)
def test_moments_survive(moment: datetime) -> None:
    """A moment that was written is the same when it is read."""
    assert moment == parse_moment(format_datetime(moment))


# -- text ------------------------------------------------------------------------------


def test_no_text_turns_others_round() -> None:
    """Nothing that Unicode has for the direction of text reaches a terminal."""
    every = map(chr, range(sys.maxunicode + 1))
    turning = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    found = [each for each in every if unicodedata.bidirectional(each) in turning]
    text = "".join(found) + "\u200e\u200f\u061c"
    assert "\N{REPLACEMENT CHARACTER}" * 12 == printable(text)


# -- CSV -------------------------------------------------------------------------------

cells = (
    st.text(max_size=12)
    | st.sampled_from(
        ["=1+1", "+1", "-1", "@x", "\t=1", "\r\n=1", "\uff1d1", '"', "a,b"]
    )
    | st.text("=+-@\t\r\n,\"' a\x1b\x9b\u202e", max_size=6)
)


@pytest.mark.property
@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=5))
def test_csv_is_safe(rows: list[list[str]]) -> None:
    """Each row is one line with all its cells; no terminal and no sheet obeys any."""
    text = csv_lines(rows)
    assert len(rows) == text.count("\n")
    read = list(csv.reader(io.StringIO(text), strict=True))
    assert list(map(len, rows)) == list(map(len, read))
    for given_row, row in zip(rows, read, strict=True):
        for cell, found in zip(given_row, row, strict=True):
            assert not found.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"))
            assert found == printable(found)
            assert found.removeprefix("'") == printable(cell).removeprefix("'")


def test_csv_leaves_numbers_alone() -> None:
    """A number below zero is no formula."""
    assert "-1.5,'-1.5\n" == csv_lines([[-1.5, "-1.5"]])


def test_csv_has_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one header, also above nothing, and none where it is not wanted."""
    stdout = Stdout(monkeypatch)
    writer = CSVWriter()
    writer.write(SESSIONS[:1])
    writer.write(SESSIONS[1:2])
    writer.close()
    first, second, third = stdout.text.splitlines()
    assert "id,name,type,state,timestamp,duration,sources,product,user" == first
    assert [SESSIONS[0].id, SESSIONS[1].id] == [second[:24], third[:24]]
    CSVWriter(("id", "name"), header=False).close()
    CSVWriter(("id", "name")).close()
    assert stdout.text.endswith(f"{third}\nid,name\n")


# -- JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [[], [0], [1], [2, 0, 3]])
def test_json_is_valid(monkeypatch: pytest.MonkeyPatch, pages: Sequence[int]) -> None:
    """An array is valid however many sessions it holds."""
    stdout = Stdout(monkeypatch)
    writer = JSONWriter()
    for size in pages:
        writer.write(SESSIONS[:size])
        assert not stdout.text.endswith(",\n")
    writer.close()
    expected = [to_dict(item) for size in pages for item in SESSIONS[:size]]
    assert expected == json.loads(stdout.text)


def test_what_is_written_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are written at once, as whole lines."""
    stdout = Stdout(monkeypatch)
    writer: Writer
    for writer in (JSONLinesWriter(), CSVWriter(("id",), header=False)):
        before = len(stdout.text)
        writer.write(SESSIONS[:3])
        written = stdout.text[before:]
        assert 3 == written.count("\n")
        assert written.endswith("\n")


def test_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoding of a terminal lacks is escaped in JSON, else an error."""
    session = attrs.evolve(SESSIONS[0], name="Übung")
    stdout = Stdout(monkeypatch, "ascii")
    JSONLinesWriter(("name",)).write([session])
    with pytest.raises(UnicodeEncodeError):
        CSVWriter(("name",), header=False).write([session])
    assert '{"name": "\\u00dcbung"}\n' == stdout.text


def test_writes_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a write leaves over, as it can without a buffer, is written then."""

    class Reluctant(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return super().write(data[:3])

    raw = Reluctant()
    text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", text)
    put("whole lines\n")
    assert b"whole lines\n" == raw.getvalue()


# -- tables ----------------------------------------------------------------------------


@pytest.mark.property
@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=8),
    st.integers(1, 200),
)
def test_columns_fit(columns: list[tuple[int, bool]], room: int) -> None:
    """Columns that give way shrink until all fit; the others keep their width."""
    widths, soft = [width for width, _ in columns], [soft for _, soft in columns]
    fitted = tables.fit(widths, soft, room)
    for before, after, gives_way in zip(widths, fitted, soft, strict=True):
        assert after <= before if gives_way else after == before
        assert after >= min(before, tables.NARROWEST)
    if sum(widths) <= room:
        assert widths == fitted
    elif sum(fitted) > room:
        cut = [
            width for width, gives_way in zip(fitted, soft, strict=True) if gives_way
        ]
        assert all(width <= tables.NARROWEST for width in cut)
    else:
        assert room == sum(fitted)


@pytest.mark.property
@given(st.lists(strategies.wire_sessions, min_size=1, max_size=4), st.integers(90, 200))
def test_tables_fit(wires: list[dict[str, object]], width: int) -> None:
    """Whatever sessions say, a table has a line for each and is not too wide."""
    sessions = [
        structure(wire | {"state": "finished", "duration": 60}, Session)
        for wire in wires
    ]
    lines = tables.session_table(sessions, width).plain.split("\n")
    assert 1 + len(sessions) == len(lines)
    assert all(cell_len(line) <= width for line in lines)
    assert [item.id for item in sessions] == [line[:24] for line in lines[1:]]


def test_tables_in_a_pipe_cut_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wider name further down widens the column, and there is one header."""
    stdout = Stdout(monkeypatch)
    writer = tables.TableWriter()
    for name in ("short", "n" * 256):
        writer.write([attrs.evolve(SESSIONS[0], name=name)])
        writer.flush()
    writer.close()
    head, first, second = stdout.text.splitlines()
    assert ["id", "name"] == head.split()[:2]
    assert "short" in first
    assert "n" * 256 in second


def test_tables_hold_little_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long table is written in parts."""
    stdout = Stdout(monkeypatch)
    writer = tables.TableWriter(("id",))
    for _ in range(tables.HELD // len(SESSIONS)):
        assert "" == stdout.text
        writer.write(SESSIONS)
    assert 1 + tables.HELD == stdout.text.count("\n")


# -- ids -------------------------------------------------------------------------------


@pytest.mark.property
@given(
    st.lists(st.text("ab# \t\r\n\u00e9", max_size=8), max_size=8),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_ids_are_found_in_any_pieces(lines: list[str], cuts: list[int]) -> None:
    """Wherever the text is cut, the ids are those of its lines."""
    data = "\n".join(lines).encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parser = IdLines()
    found = [i for a, b in pairwise(edges) for i in parser.feed(data[a:b])]
    found += parser.finish()
    stripped = (line.split("#")[0].strip() for line in "\n".join(lines).split("\n"))
    assert [session_id for session_id in stripped if session_id] == found


def test_odd_lines() -> None:
    """A mark at the beginning is no part of an id; endless lines are cut."""
    parser = IdLines()
    assert ["a"] == parser.feed(b"\xef\xbb\xbfa\r\n  # nothing\n\n" + b"x" * 5_000)
    assert [] == parser.feed(b"x" * 5_000)
    assert ["x" * LONGEST] == parser.finish()
    assert ["\ufffd"] == IdLines().feed(b"\xff\n")


@pytest.mark.property
@given(
    st.lists(st.tuples(strategies.wire_sessions, st.integers(0, 2)), max_size=4),
    st.lists(st.integers(1, 4_000), max_size=6),
)
def test_ids_are_found_in_records(
    wires: list[tuple[dict[str, object], int]], cuts: list[int]
) -> None:
    """Lines are records of the service, records of chosen fields, or ids, mixed."""
    lines, ids = [], []
    for wire, form in wires:
        session = structure(wire, Session)
        chosen = json_line(record_of(session, ("name", "id")))
        lines.append((json_line(to_dict(session)), chosen, session.id)[form])
        ids.append(session.id)
    data = "\n".join(lines).encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parser = IdLines()
    found = [i for a, b in pairwise(edges) for i in parser.feed(data[a:b])]
    assert ids == found + parser.finish()


@pytest.mark.parametrize(
    "line",
    ['{"name": "a # b"}', '{"_id": 7}', '{"id": ""}', '{"_id": "6', '{"a":' * 9_999],
)
def test_records_without_an_id(line: str) -> None:
    """A record without an id is a bad id that shows where it begins."""
    parser = IdLines()
    (found,) = [*parser.feed(line.encode()), *parser.finish()]
    assert found[:8] == line[:8]
    assert len(found) <= SHOWN


def test_long_records() -> None:
    """A record may be long, and an endless one is cut."""
    record = {"name": "#" * (2 * LONGEST), "_id": "a" * 24}
    parser = IdLines()
    assert [] == parser.feed(json.dumps(record).encode())
    assert ["a" * 24] == parser.finish()
    for _ in range(4):
        assert [] == parser.feed(b'{"' + b"x" * LONGEST_RECORD)
    assert ["a" * 24, "b" * 24] == parser.feed(
        b"\n" + b"a" * 24 + b"\n" + b"b" * 24 + b"\n"
    )[1:]


@pytest.mark.property
@given(st.data())
def test_outcomes_come_in_order(data: st.DataObject) -> None:
    """However outcomes come, they are passed on in the order of the ids."""
    ids = data.draw(st.lists(st.sampled_from(["a", "b", "C", "c", "d"]), max_size=8))
    distinct = list({given.lower(): None for given in ids})
    arriving = data.draw(st.permutations(distinct))
    queue = InOrder(ids)
    passed = []
    for key in arriving:
        passed += queue.pass_on(Fetched(key, SESSIONS[0]))
    assert [given.lower() for given in ids] == [item.session_id for item in passed]


# -- how to go on ----------------------------------------------------------------------


def parse_export(*arguments: str) -> click.Context:
    """Parse the arguments of `emogg sessions export`."""
    root = click.Context(emogg, info_name="emogg")
    group = emogg.get_command(root, "sessions")
    assert isinstance(group, click.Group)
    parent = click.Context(group, info_name="sessions", parent=root)
    export = group.commands["export"]
    return export.make_context("export", list(arguments), parent=parent)


def at(*seconds: float) -> Position:
    """Return where an export is that has written sessions of these seconds."""
    position = Position()
    position.add(
        attrs.evolve(SESSIONS[0], timestamp=NOON + timedelta(seconds=each))
        for each in seconds
    )
    return position


def test_nothing_to_go_on_from() -> None:
    """Before the first session there is nothing to say."""
    assert "" == how_to_go_on(parse_export(), Position())


def test_going_on() -> None:
    """The command that goes on asks for what is older, which need not be all."""
    said = how_to_go_on(parse_export("-q", "--state", "it's new"), at(10, 5.137))
    first, second = said.split("\n")
    assert first == (
        "Stopped after 2 sessions. To go on, append; the last ones may come twice, "
        "and some are left out if the list is not sorted by time:"
    )
    assert second == (
        "  emogg sessions export --state 'it'\"'\"'s new' "
        "--started-before 2024-03-29T12:00:05.138Z --quiet >> FILE"
    )


def test_going_on_with_a_limit() -> None:
    """What is left of the limit counts the last millisecond again."""
    context = parse_export("--limit", "10", "--timeout", "7", "-o", "csv")
    said = how_to_go_on(context, at(9, 5, 5))
    assert "--limit 9 --output csv --no-header --timeout 7 >>" in said
    assert "after 1 session." in how_to_go_on(context, at(9))


def test_no_going_on_without_order() -> None:
    """Where the list was not sorted by time, time does not tell what is missing."""
    said = how_to_go_on(parse_export(), at(1, 5, 3))
    assert "start again" in said
    assert ">>" not in said


texts = st.text(min_size=1, max_size=8) | st.sampled_from(["-", "--", "--limit"])


@pytest.mark.property
@given(
    state=st.none() | texts,
    after=st.none() | st.just("2024-01-01T00:00:00+02:00"),
    fields=st.none()
    | st.lists(st.sampled_from(FIELDS["session"]), min_size=1, unique=True),
    limit=st.none() | st.integers(3, 99),
)
def test_going_on_keeps_everything_else(
    state: str | None,
    after: str | None,
    fields: list[str] | None,
    limit: int | None,
) -> None:
    """A shell that reads the command that goes on sees the same filters and fields."""
    given_options = {
        "--state": state,
        "--started-after": after,
        "--fields": fields and ",".join(fields),
        "--limit": limit and str(limit),
    }
    words = [word for pair in given_options.items() if pair[1] for word in pair]
    before = parse_export(*map(str, words))
    command = how_to_go_on(before, at(2, 1)).partition("\n")[2]
    *again, _, _ = shlex.split(command)
    assert ["emogg", "sessions", "export"] == again[:3]
    after_it = parse_export(*again[3:])
    expected = before.params | {
        "started_before": NOON + timedelta(seconds=1, milliseconds=1),
        "limit": limit and limit - 1,
    }
    assert expected == after_it.params


# -- retries -------------------------------------------------------------------------


def retried(
    attempt: int, wait: float, error: EmoggError | None = None, path: str = "/a"
) -> RetryScheduled:
    """Return the event of a retry."""
    return RetryScheduled(
        method="GET",
        path=path,
        template=path,
        session_id=None,
        attempt=attempt,
        wait=wait,
        error=error or ServerError("Bad\x1b", status=502),
    )


def test_retries_are_told_after_a_second() -> None:
    """A line comes once, when a request is retried for a second or will be."""
    notice = RetryNotice()
    assert "" == notice.take(retried(2, 0.3), 50.0)
    assert "" == notice.take(retried(3, 0.4), 50.5)
    told = notice.take(retried(4, 0.6), 51.0)
    assert told == "502: Bad\ufffd; trying again, attempt 4 in 0.6 s."
    assert "" == notice.take(retried(5, 9.0), 51.7)


def test_long_waits_are_told_at_once() -> None:
    """So is an attempt that ran out of time, which has lost more than a second."""
    assert "in 30.0 s" in RetryNotice().take(retried(2, 30.0), 0.0)
    late = DeadlineError("no answer in 15 s")
    assert "no answer" in RetryNotice().take(retried(2, 0.1, late), 20.0)


def test_failures_now_and_then_are_not_told() -> None:
    """Failures of several requests, and of the same one later, do not add up."""
    notice = RetryNotice()
    for second in range(5):
        assert "" == notice.take(retried(2, 0.3), second)
        assert "" == notice.take(retried(2, 0.3, path=f"/{second}"), second)
    other = CacheMiss(method="GET", path="/a", template="/a", session_id=None)
    assert "" == notice.take(other, 9.0)


# -- texts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (3_675.2, "1:01:15")]
)
def test_clock(seconds: float, text: str) -> None:
    """Hours are shown if there are any."""
    assert text == clock(seconds)
