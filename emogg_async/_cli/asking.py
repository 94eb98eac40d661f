"""The question on a terminal before a stop or a deletion."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

import attrs
import click
from rich.console import Console

from emogg_async import AsyncEmoggClient, Batch, EmoggError, Session
from emogg_async._cli.exits import Exit
from emogg_async._cli.ids import Wanted
from emogg_async._cli.options import Connection
from emogg_async._cli.output.tables import session_table
from emogg_async._cli.running import run
from emogg_async._text import counted, printable

__all__ = ["Agreed", "ask", "asks", "question"]

SHOWN: Final = 10
"""Sessions shown with the question."""


class _NeedsYes(click.UsageError):
    next_step = "Add --yes to do it without a question"


@attrs.frozen
class Agreed:
    """The answer to the question.

    Attributes:
        ids: The ids of the sessions that were found.
        failed: The errors of the other ids, which are left alone.
    """

    ids: tuple[str, ...]
    failed: Mapping[str, EmoggError]


def asks(prompt: str, wanted: Wanted, connection: Connection) -> Agreed:
    """Show the sessions, and ask whether to change them.

    Args:
        prompt: The question, with `{}` for the sessions.
        wanted: Their ids.
        connection: The settings of the client that looks them up.

    Raises:
        click.UsageError: There is no terminal to ask.
        EmoggError: There is only one id, and its session cannot be shown.
        click.exceptions.Exit: The answer is no.
    """
    if wanted.reads_stdin or not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        raise _NeedsYes("There is no terminal to ask whether to go on.")
    ids = wanted.read()
    batch = run(connection, lambda client: _look_up(client, ids))
    if len(ids) == 1:
        for error in batch.errors.values():
            raise error
    if batch and not _is_agreed(prompt, tuple(batch.values()), len(batch.errors)):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.OTHER)
    return Agreed(tuple(batch), batch.errors)


async def _look_up(client: AsyncEmoggClient, ids: Sequence[str]) -> Batch[Session]:
    return await client.get_sessions(ids)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _is_agreed(prompt: str, sessions: Sequence[Session], missing: int) -> bool:
    console = Console(stderr=True, highlight=False)
    table = session_table(sessions[:SHOWN], console.width)
    console.print(table, soft_wrap=True)
    if (rest := len(sessions) - SHOWN) > 0:
        console.print(f"and {rest:,} more", style="dim")
    if missing:
        left = f"{counted(missing, 'id')} could not be looked up: left alone."
        console.print(left, style="yellow")
    return ask(question(prompt, sessions))


def question(prompt: str, sessions: Sequence[Session]) -> str:
    """Write the question, with the number of the sessions and their states."""
    states = Counter(session.state for session in sessions)
    if len(sessions) == 1:
        what = f"this {sessions[0].state} session"
    elif len(states) == 1:
        what = f"these {len(sessions):,} {sessions[0].state} sessions"
    else:
        parts = (f"{count:,} {state}" for state, count in states.most_common())
        what = f"these {counted(len(sessions), 'session')} ({', '.join(parts)})"
    return printable(prompt.format(what))


def ask(text: str) -> bool:
    """Ask for a yes on stderr, since stdout may be a file; anything else is a no.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        click.echo(f"{text} [y/N] ", nl=False, err=True)
        answer = sys.stdin.buffer.readline()
    except KeyboardInterrupt:
        click.echo(err=True)
        raise
    if not answer.endswith(b"\n"):  # Ctrl-D
        click.echo(err=True)
    return answer.strip().lower() in {b"y", b"yes"}
