"""Ids of sessions: as arguments, or in the lines of a file or of standard input."""

import asyncio
import codecs
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final, Self

import attrs
import click

from emogg_async import EmoggError, InvalidArgumentError
from emogg_async._cli.exits import CommandError
from emogg_async._cli.options import bundle
from emogg_async._text import one_line, printable

__all__ = ["IdLines", "Wanted", "read_ids", "wanted_options"]

CHUNK: Final = 25_000
"""Bytes of one read: a thousand ids with the ends of their lines."""

LONGEST: Final = 1_000
"""Characters kept of an unfinished line; an id has 24."""

LONGEST_RECORD: Final = 1_000_000
"""Characters kept of an unfinished line that is a record; a session has about 1,000."""

SHOWN: Final = 60
"""Characters of a record without an id that its failure shows."""

_RECORD: Final = "{"
"""The beginning of a line that is a JSON object."""

_ARRAY: Final = "["
"""The beginning of a JSON array, whose end may never come."""


class IdLines:
    """Finds ids, one to a line, in text that comes in pieces.

    A line is an id, or a JSON object with an `_id` or `id`, as `-o jsonl` writes them.
    Blank lines, spaces around an id, and comments from a `#` on are skipped.
    """

    def __init__(self) -> None:
        # PowerShell begins a file with a byte-order mark, which -sig drops.
        decoder = codecs.getincrementaldecoder("utf-8-sig")
        self._decoder = decoder(errors="replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """Take a piece; return the ids of the lines that end in it.

        Raises:
            InvalidArgumentError: A line begins a JSON array.
        """
        *lines, rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        if any(line.lstrip().startswith(_ARRAY) for line in (*lines, rest)):
            error = InvalidArgumentError(
                "ids: expected one to a line, got a JSON array"
            )
            error.add_note("Write JSON lines instead, by -o jsonl")
            raise error
        is_record = rest.lstrip().startswith(_RECORD)
        self._rest = rest[: LONGEST_RECORD if is_record else LONGEST]
        return _ids(lines)

    def finish(self) -> list[str]:
        """Return the id of the last line, if it has no end."""
        return _ids([self._rest + self._decoder.decode(b"", final=True)])


def _ids(lines: list[str]) -> list[str]:
    return [session_id for line in lines if (session_id := _id_in(line.strip()))]


def _id_in(line: str) -> str:
    """Return the id in *line*; "" if there is none, a bad id if it cannot be read."""
    if not line.startswith(_RECORD):
        return line.partition("#")[0].strip()
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = {}
    found = record.get("_id", record.get("id"))
    return found if isinstance(found, str) and found else one_line(line, SHOWN)


@contextmanager
def _readable() -> Iterator[None]:
    """Say what to do about a file that cannot be read."""
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"cannot read ids: {error.strerror}", "Name another file by --from-file"
        ) from error


async def read_ids(descriptor: int) -> AsyncIterator[list[str]]:
    """Yield ids as soon as there are any, about a thousand at once at most.

    Nothing is read ahead: ids that come meanwhile wait in the pipe.

    Raises:
        CommandError: It cannot be read.
        InvalidArgumentError: It holds a JSON array.
    """
    lines = IdLines()
    while chunk := await _read(descriptor):
        if ids := lines.feed(chunk):
            yield ids
    if ids := lines.finish():
        yield ids


async def _read(descriptor: int) -> bytes:
    """Read what is there, in a thread that `run_loop` does not wait for."""
    with _readable():  # `sys.stdin` would hold its lock
        return await asyncio.to_thread(os.read, descriptor, CHUNK)


@attrs.frozen(kw_only=True)
class Wanted:
    """The ids of some sessions, or where they come from.

    Attributes:
        session_ids: The arguments.
        from_file: A file of ids, one to a line.
    """

    session_ids: tuple[str, ...]
    from_file: IO[bytes] | None

    def __attrs_post_init__(self) -> None:
        """Refuse none or several sources of ids.

        Raises:
            click.UsageError: There is no source, or more than one.
        """
        given, file = self.session_ids, self.from_file
        if bool(given) + bool(file) != 1 or (self.reads_stdin and given[1:]):
            raise click.UsageError("Give ids, - for standard input, or --from-file.")
        if self.reads_stdin and sys.stdin is None:
            raise click.UsageError("Standard input is closed.")

    @property
    def reads_stdin(self) -> bool:
        """Whether the ids come from standard input."""
        return "-" in self.session_ids

    @property
    def is_single(self) -> bool:
        """Whether there is only one id, as an argument."""
        return len(self.session_ids) == 1 and not self.reads_stdin

    @property
    def source(self) -> Sequence[str] | int:
        """The ids, or the descriptor of a file to read them from."""
        if self.reads_stdin:
            return sys.stdin.buffer.fileno()
        return self.from_file.fileno() if self.from_file else self.session_ids

    def name_place(self, error: EmoggError) -> None:
        """Name the file or the input in the next step after a bad id that it holds."""
        is_argument = isinstance(error, InvalidArgumentError)
        if not is_argument or not error.message.startswith("session_id:"):
            return
        if self.from_file:
            error.add_note(f"Correct {printable(self.from_file.name)}")
        elif self.reads_stdin:
            error.add_note("Correct the ids on standard input")

    def read(self) -> Sequence[str]:
        """Return the ids that are not on standard input.

        Raises:
            CommandError: The file cannot be read.
            InvalidArgumentError: The file holds a JSON array.
        """
        if self.from_file is None:
            return self.session_ids
        lines = IdLines()
        with _readable():
            return [*lines.feed(self.from_file.read()), *lines.finish()]

    def without_repeats(self) -> Self:
        """Return a copy with each id once; letter case does not count."""
        once: dict[str, str] = {}
        for given in self.session_ids:
            once.setdefault(given.lower(), given)
        return attrs.evolve(self, session_ids=tuple(once.values()))


wanted_options = bundle(
    Wanted,
    "wanted",
    (
        click.argument("session_ids", metavar="ID...|-", nargs=-1),
        click.option(
            "--from-file",
            metavar="FILE",
            type=click.File("rb"),
            help="Read the ids from a file, as - does from standard input.",
        ),
    ),
)
"""Decorator of a click command, which gets a `Wanted` as `wanted`."""
