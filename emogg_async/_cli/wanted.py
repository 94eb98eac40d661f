"""Which sessions a command is about: ids as arguments, from a file, or from stdin."""

import sys
from collections.abc import Sequence
from typing import IO, Self

import attrs
import click

from emogg_async._cli.options import bundle

__all__ = ["Wanted", "wanted_options"]


@attrs.frozen(kw_only=True)
class Wanted:
    """The ids of some sessions, or where they come from."""

    session_ids: tuple[str, ...]
    """The arguments."""

    from_file: IO[bytes] | None
    """The file that holds them, one to a line."""

    def __attrs_post_init__(self) -> None:
        """Refuse what is none of these.

        Raises:
            click.UsageError: There are no ids, or they come from two places.
        """
        given, file = self.session_ids, self.from_file
        if bool(given) + bool(file) != 1 or (self.reads_stdin and given[1:]):
            raise click.UsageError(
                "Give either ids, or - for standard input, or a file."
            )
        if self.reads_stdin and sys.stdin is None:
            raise click.UsageError("Standard input is closed.")

    @property
    def reads_stdin(self) -> bool:
        """Whether they come from standard input."""
        return "-" in self.session_ids

    @property
    def source(self) -> Sequence[str] | int:
        """The ids, or the descriptor of the file to read them from."""
        if self.reads_stdin:
            return sys.stdin.buffer.fileno()
        return self.from_file.fileno() if self.from_file else self.session_ids

    def without_repeats(self) -> Self:
        """Return the same, with each argument once, in whichever letter case."""
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
            help="Read the ids from a file.",
        ),
    ),
)
"""Give a click command these options; it gets them as `wanted`."""
