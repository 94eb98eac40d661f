"""Commands that change something at the service, and `--dry-run`."""

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Self

import attrs
import click

from emogg_async import (
    AsyncEmoggClient,
    BadRequestError,
    EmoggError,
    OutcomeUnknownError,
    RetryPolicy,
    Session,
    SessionState,
    StatusError,
)
from emogg_async._cli.asking import asks
from emogg_async._cli.commands.get import for_each
from emogg_async._cli.exits import Advice, CommandError, Exit, advising
from emogg_async._cli.ids import Wanted
from emogg_async._cli.options import Connection, Output
from emogg_async._cli.output.formats import Writer, put
from emogg_async._cli.running import run
from emogg_async._cli.signals import run_loop
from emogg_async._text import counted, json_line
from emogg_async._wire.protocol import format_datetime

__all__ = ["DELETE", "STOP", "change_each", "lines", "look_for_it", "write"]

Call = Callable[[AsyncEmoggClient], Awaitable[Any]]

SKEW: Final = timedelta(minutes=1)
"""How far this machine's clock may be ahead of the service's."""


# -- one write -------------------------------------------------------------------------


def write(
    call: Call,
    unknown: Advice,
    *,
    dry_run: bool,
    output: Output,
    connection: Connection,
) -> int:
    """Make a call that writes, and print the answer.

    Args:
        call: The call, which returns a model or several.
        unknown: The next step if it is unknown whether the call took effect.
        dry_run: Whether to print the request instead of sending it.
        output: The form of the answer.
        connection: The settings of the client.
    """
    if dry_run:
        return rehearse(partial(_show, call))
    began = datetime.now(UTC)
    used: list[AsyncEmoggClient] = []

    async def work(client: AsyncEmoggClient) -> Exit:
        used.append(client)
        with output.writer() as writer, advising({OutcomeUnknownError: unknown}):
            answer = await call(client)
            writer.write(answer if isinstance(answer, Sequence) else [answer])
        return Exit.OK

    try:
        return run(connection, work)
    except (KeyboardInterrupt, click.exceptions.Exit):
        if used and used[0].stats.requests:
            error = OutcomeUnknownError("interrupted", since=began)
            step = unknown if isinstance(unknown, str) else unknown(error)
            click.echo(f"It may have taken effect. {step}.", err=True)
        raise


async def _show(call: Call, rehearsal: "Rehearsal") -> Exit:
    put(f"{await rehearsal.line(call(rehearsal.client))}\n")
    return Exit.OK


def look_for_it(error: OutcomeUnknownError) -> str:
    """Return the next step: to look for a session that may have been created."""
    since = (error.since - SKEW).replace(microsecond=0)
    return (
        "Look before you repeat it: "
        f"`emogg sessions list --started-after {format_datetime(since)}`"
    )


# -- the same write to many sessions ---------------------------------------------------


@attrs.frozen(kw_only=True)
class _Change:
    """A change to each of several sessions.

    Attributes:
        do: Makes the change to the session with an id.
        prompt: The question before it.
        done: The verb of the report after it.
        advice: Returns the next steps after errors, by the id.
        check: Raises an error for a session that cannot be changed so.
    """

    do: Callable[[AsyncEmoggClient, str], Awaitable[Any]]
    prompt: str
    done: str
    advice: Callable[[str], Mapping[type[EmoggError], Advice]]
    check: Callable[[Session], None] = lambda _: None

    async def to(self, client: AsyncEmoggClient, session_id: str) -> Any:
        """Make the change to one session."""
        with advising(self.advice(session_id)):
            return await self.do(client, session_id)


async def _delete(client: AsyncEmoggClient, session_id: str) -> str:
    await client.delete_session(session_id)
    return session_id.lower()


def _only_active(session_id: str) -> str:
    return (
        "Only an active session can be stopped; look at this one: "
        f"`emogg sessions get {session_id}`"
    )


def _check_running(session: Session) -> None:
    if session.state in {SessionState.PROCESSING, SessionState.FINISHED}:
        what = f"session {session.id} is {session.state}"
        raise CommandError(what, _only_active(session.id))


STOP: Final = _Change(
    do=lambda client, session_id: client.stop_session(session_id),
    prompt="Stop {}?",
    done="Stopped",
    advice=lambda session_id: {
        BadRequestError: _only_active(session_id),
        OutcomeUnknownError: f"Look at its state: `emogg sessions get {session_id}`",
    },
    check=_check_running,
)

DELETE: Final = _Change(
    do=_delete,
    prompt="Delete {} for good, with the emotional data?",
    done="Deleted",
    advice=lambda session_id: {
        BadRequestError: "An active session has to be stopped first: "
        f"`emogg sessions stop {session_id}`; one that is processing has to finish",
        OutcomeUnknownError: "Run it again: to delete it twice does no harm",
    },
)


def lines() -> AbstractContextManager[Writer]:
    """Open a writer of lines."""
    return nullcontext(Writer())


def change_each(
    change: _Change,
    open_writer: Callable[[], AbstractContextManager[Writer]],
    *,
    wanted: Wanted,
    yes: bool,
    dry_run: bool,
    connection: Connection,
) -> int:
    """Make a change to each of several sessions, and print the results.

    Args:
        change: The change.
        open_writer: Opens the writer of the results.
        wanted: The ids of the sessions.
        yes: Whether to do it without a question.
        dry_run: Whether to print the requests instead of sending them.
        connection: The settings of the client.
    """
    wanted = wanted.without_repeats()
    if dry_run:
        return rehearse(partial(_show_each, change, wanted))
    agreed = None if yes else asks(change.prompt, wanted, connection, change.check)

    async def work(client: AsyncEmoggClient) -> Exit:
        stream = partial(client.stream, partial(change.to, client))
        with open_writer() as writer:
            tally = await for_each(stream, wanted, writer, agreed)
        if sys.stderr.isatty() and not connection.quiet:
            done = counted(tally.succeeded, "session")
            click.echo(f"{change.done} {done}.", err=True)
        return tally.exit

    return run(connection, work)


async def _show_each(change: _Change, wanted: Wanted, rehearsal: "Rehearsal") -> Exit:
    async def show(session_id: str) -> str:
        return await rehearsal.line(change.do(rehearsal.client, session_id))

    stream = partial(rehearsal.client.stream, show)
    return (await for_each(stream, wanted, Writer())).exit


# -- without a service -----------------------------------------------------------------

_REFUSED: Final = b"HTTP/1.1 418 Only A Rehearsal\r\nContent-Length: 0\r\n\r\n"


class Rehearsal:
    """A client, and a server on loopback that notes each request and refuses it.

    So `--dry-run` shows what the client really sends, and needs no token.
    """

    async def __aenter__(self) -> Self:
        """Start the server."""
        self._turn = asyncio.Lock()
        self._line = ""
        self._server = await asyncio.start_server(self._listen, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.client = AsyncEmoggClient(
            "none",
            base_url=f"http://127.0.0.1:{port}",
            retry=RetryPolicy(attempts=1),
            cache=None,
            pace=False,
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop the server."""
        await self.client.aclose()
        self._server.close()

    async def line(self, call: Awaitable[Any]) -> str:
        """Make the one *call* with the client; return its request as a line.

        Raises:
            InvalidArgumentError: The client refuses to send it.
        """
        async with self._turn:
            with suppress(StatusError):  # our refusal
                await call
            return self._line

    async def _listen(self, reader: StreamReader, writer: StreamWriter) -> None:
        while head := await _head(reader):
            request, *headers = head.split("\r\n")
            fields = dict(each.lower().split(": ", 1) for each in headers if each)
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            method, target, _ = request.split(" ", 2)
            self._line = f"{method} {target}"
            if body:
                self._line += f" {json_line(json.loads(body))}"
            writer.write(_REFUSED)
        writer.close()


async def _head(reader: StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""  # the client has closed


def rehearse(work: Callable[[Rehearsal], Awaitable[int]]) -> int:
    """Do *work* with a rehearsal; return its exit code."""

    async def run() -> int:
        async with Rehearsal() as rehearsal:
            return await work(rehearsal)

    return run_loop(run)
