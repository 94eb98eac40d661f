"""Statements about the service, and the table of what became of them."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, LiteralString

import attrs
import pytest

from contract.seeing import Seen

__all__ = [
    "Finding",
    "NotTried",
    "Row",
    "Statement",
    "found",
    "guess",
    "promise",
    "table",
]

GUESSES: Final = Path(__file__).parents[2] / "emogg_async" / "testing" / "_guesses.py"

_LONGEST: Final = {"holds": 80, "deviates": 400, "not tried": 80}
"""Characters of what was seen that the table shows, by verdict."""

Verdict = Literal["holds", "deviates", "not tried"]
Kind = Literal["promise", "guess"]
Check = Callable[..., Awaitable["Finding"]]
Test = Callable[..., None]
Stated = Callable[[Check], Test]


class NotTried(Exception):  # noqa: N818 - it is no error
    """A check cannot be made here; the reason is a literal of the check's source."""

    def __init__(self, reason: LiteralString) -> None:
        super().__init__(reason)


@attrs.frozen
class Finding:
    """Whether a statement holds, and what was seen."""

    holds: bool
    seen: tuple[Seen, ...]


def found(holds: object, *seen: Seen) -> Finding:
    """Return a finding; what was seen must have come through `contract.seeing`."""
    if not all(isinstance(each, Seen) for each in seen):
        raise TypeError("only what contract.seeing made may be told")
    return Finding(bool(holds), seen)


@attrs.frozen
class Statement:
    """A statement about the service.

    Attributes:
        kind: Whether the reference says so, or the emulator guesses.
        place: Page of the reference, or the guess, as `_guesses.py` has it.
        what: What is so.
    """

    kind: Kind
    place: str
    what: str

    @property
    def source(self) -> str:
        """The kind and where to read on: a page, or a line of `_guesses.py`."""
        if self.kind == "promise":
            return f'promise, "{self.place}"'
        return f"guess, emogg_async/testing/_guesses.py:{line_of(self.place)}"


@attrs.frozen
class Row:
    """What became of a statement."""

    statement: Statement
    seen: str
    verdict: Verdict


def promise(page: str, what: str, cases: Iterable[Any] | None = None) -> Stated:
    """State what *page* of the reference says, once or for each of *cases*."""
    return _stated("promise", page, what, cases)


def guess(name: str, what: str, cases: Iterable[Any] | None = None) -> Stated:
    """State a guess by the *name* of its constant, its switch, or its first words."""
    line_of(name)
    return _stated("guess", name, what, cases)


@cache
def line_of(name: str) -> int:
    """Return the line of `_guesses.py` where a guess stands."""
    text = GUESSES.read_text(encoding="utf-8")
    spaced = r"\s+".join(map(re.escape, name.removeprefix("LiveGuesses.").split()))
    if re.fullmatch(r"[A-Z_]+", name):
        pattern = rf"^{spaced}: "
    elif name.startswith("LiveGuesses."):
        pattern = rf"^    {spaced}: .*attrs\.field"
    else:
        pattern = spaced
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise LookupError(f"_guesses.py has no guess {name!r}")
    return text.count("\n", 0, match.start()) + 1


def _stated(kind: Kind, place: str, what: str, cases: Iterable[Any] | None) -> Stated:
    def decorate(check: Check) -> Test:
        def test(judge: Test) -> None:
            judge(Statement(kind, place, what), check)

        def test_each(judge: Test, case: Any) -> None:
            judge(Statement(kind, place, what.format(case)), check, case)

        if cases is None:
            return test
        listed = [*cases]
        each: Test = pytest.mark.parametrize("case", listed, ids=map(str, listed))(
            test_each
        )
        return each

    return decorate


def table(rows: Sequence[Row], heading: str, left: int) -> str:
    """Return the report as Markdown; *left* sessions could not be removed."""
    lines = [
        heading,
        "",
        "| promise or guess | what | what was seen | verdict |",
        "|---|---|---|---|",
    ]
    for row in rows:
        longest = _LONGEST[row.verdict]
        seen = row.seen if len(row.seen) <= longest else f"{row.seen[:longest]}…"
        cells = (row.statement.source, row.statement.what, seen, row.verdict)
        lines.append(f"| {' | '.join(each.replace('|', '/') for each in cells)} |")
    lines += ["", *(_count(rows, kind) for kind in ("promise", "guess"))]
    if left:
        lines.append(f"Sessions that this run made and could not remove: {left}.")
    return "\n".join(lines) + "\n"


def _count(rows: Sequence[Row], kind: str) -> str:
    verdicts: list[str] = [row.verdict for row in rows if row.statement.kind == kind]
    held, broken, untried = map(verdicts.count, ("holds", "deviates", "not tried"))
    plural = "promises" if kind == "promise" else "guesses"
    counts = f"{held} hold, {broken} deviate, {untried} not tried"
    return f"{len(verdicts)} {plural}: {counts}."
