"""The question on a terminal before a stop or a deletion."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, TextIO

import click
from rich.console import Console

from emogg_async import Batch, Session
from emogg_async._cli.exits import Exit
from emogg_async._cli.ids import Wanted
from emogg_async._cli.options import Connection
from emogg_async._cli.output.tables import session_table
from emogg_async._cli.running import run
from emogg_async._text import counted, printable

__all__ = ["ask", "asks", "question"]

SHOWN: Final = 10
"""Sessions shown with the question."""


class _NeedsYes(click.UsageError):
    next_step = "Add --yes to do it without a question"


def asks(
    prompt: str,
    wanted: Wanted,
    connection: Connection,
    check: Callable[[Session], None],
) -> Batch[Session]:
    """Show sessions, and ask whether to change them.

    Args:
        prompt: The question, with `{}` for the sessions.
        wanted: Their ids.
        connection: The settings of the client that looks them up.
        check: Raises an error if there is only one session, and no need to ask.

    Returns:
        The sessions that were found, with the errors of the other ids.

    Raises:
        click.UsageError: There is no terminal to ask.
        EmoggError: There is only one id, and its session cannot be shown.
        CommandError: There is only one session, and *check* refuses it.
        click.exceptions.Exit: The answer is no.
    """
    if wanted.reads_stdin or not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        raise _NeedsYes("There is no terminal to ask whether to go on.")
    ids = wanted.read()
    batch = run(connection, lambda client: client.get_sessions(ids))
    if len(ids) == 1:
        for error in batch.errors.values():
            wanted.name_place(error)
            raise error
        for session in batch.values():
            check(session)
    if batch and not _is_agreed(prompt, tuple(batch.values()), len(batch.errors)):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(Exit.OTHER)
    return batch


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
