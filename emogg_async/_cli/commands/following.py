"""`emogg live`: sessions under way, as a chart that moves or as JSON lines."""

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import attrs
import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from emogg_async import (
    AsyncEmoggClient,
    DeadlineError,
    Feed,
    Frequency,
    LivePolicy,
    NotFoundError,
    Session,
    SessionState,
    to_dict,
)
from emogg_async._cli.commands.get import Tally, for_each
from emogg_async._cli.exits import advising
from emogg_async._cli.ids import Wanted
from emogg_async._cli.options import Connection
from emogg_async._cli.output.formats import Kept, put
from emogg_async._cli.output.moving import Emotions, States, session_lines
from emogg_async._cli.output.sparklines import ramp_for
from emogg_async._cli.output.tables import make_console
from emogg_async._cli.running import run
from emogg_async._text import json_line
from emogg_async._wire.live import FREQUENCIES

__all__ = ["Following", "follow"]

FRAME: Final = 0.25
"""Seconds between two drawings."""

_ENDED: Final = (SessionState.PROCESSING, SessionState.FINISHED)

_NO_WORKER: Final = "Only sessions that were created through the API tell it"


class _TooManyError(click.UsageError):
    next_step = "Follow fewer of them"


@attrs.frozen(kw_only=True)
class Following:
    """What to follow, and its form.

    Attributes:
        kind: The kind of the events.
        every: The time between two events.
        form: The form; None is a chart where it can move, else JSON lines.
    """

    kind: Literal["intensities", "counts", "state"]
    every: Frequency
    form: Literal["chart", "jsonl"] | None

    def feed(self, client: AsyncEmoggClient, session_id: str) -> Feed[Any]:
        """Make the feed of a session."""
        if self.kind == "state":
            return client.live.worker_state(session_id)
        if self.kind == "counts":
            return client.live.counts(session_id, every=self.every)
        return client.live.intensities(session_id, every=self.every)

    def newest(self) -> Emotions | States:
        """Make what keeps the newest events of a session."""
        if self.kind == "state":
            return States()
        return Emotions(FREQUENCIES[self.every])


def follow(following: Following, wanted: Wanted, connection: Connection) -> int:
    """Show what several sessions tell live until all of them have ended."""

    async def work(client: AsyncEmoggClient) -> int:
        found = Kept()
        # A look first: a feed notices only after half a minute that nothing comes.
        tally = await for_each(client.stream_sessions, wanted, found)
        sessions = _active(found.items, quiet=connection.quiet)
        most = LivePolicy().subscriptions
        if len(sessions) > most:
            raise _TooManyError(
                f"The service lets you follow {most} sessions at once, "
                f"and {len(sessions)} are active."
            )
        if sessions:
            feeds = {each.id: following.feed(client, each.id) for each in sessions}
            with _view(following, sessions, feeds) as view:
                await _pass_on(client, feeds, view, tally)
        return tally.exit

    with advising({NotFoundError: _NO_WORKER} if following.kind == "state" else {}):
        return run(connection, work)


def _active(sessions: Sequence[Session], *, quiet: bool) -> Sequence[Session]:
    """Return each session once that has not ended; tell of the others."""
    once = {session.id: session for session in sessions}
    for session_id, session in once.items():
        if session.state in _ENDED and not quiet:
            click.echo(
                f"{session_id} is {session.state}, so nothing of it is live. `emogg "
                f"emotions timeline {session_id}` shows what was seen.",
                err=True,
            )
    return [each for each in once.values() if each.state not in _ENDED]


async def _pass_on(
    client: AsyncEmoggClient,
    feeds: Mapping[str, Feed[Any]],
    view: "_Lines | _Chart",
    tally: Tally,
) -> None:
    """Show the events of *feeds* until all of them have ended.

    An error of a merged feed names its session, in its words or in its path.
    """
    async with client.live.merge(feeds.values()) as feed:
        while True:
            view.look()
            try:
                view.take(await feed.next(timeout=FRAME))
            except DeadlineError:
                pass
            except StopAsyncIteration:
                return
            except NotFoundError as error:
                if len(feeds) == 1:
                    raise
                gone = next(id_ for id_ in feeds if id_.lower() in str(error))
                tally.tell(gone, error)


@contextmanager
def _view(
    following: Following, sessions: Sequence[Session], feeds: Mapping[str, Feed[Any]]
) -> "Iterator[_Lines | _Chart]":
    console = make_console()
    can_move = sys.stdout.isatty() and not console.is_dumb_terminal
    form = following.form or ("chart" if can_move else "jsonl")
    if form == "jsonl":
        yield _Lines()
        return
    newest = {session.id: following.newest() for session in sessions}
    chart = _Chart(console, sessions, feeds, newest)
    with chart.live:
        chart.draw()
        try:
            yield chart
        finally:
            chart.draw()


class _Lines:
    """Writes each event as a line of JSON at once, after its gap."""

    def take(self, event: Any) -> None:
        """Write an event."""
        facts = to_dict(event)
        gap = facts.pop("gap", None)
        lines = [facts]
        if gap is not None:
            lines.insert(0, {"session": event.session, "gap": gap})
        encoding = sys.stdout.encoding
        put("".join(f"{json_line(line, encoding)}\n" for line in lines))

    def look(self) -> None:
        """Do nothing: lines are written when events come."""


class _Chart:
    """Draws the newest events of sessions again and again, in their place.

    Args:
        console: The console of stdout.
        sessions: The sessions.
        feeds: Their feeds, by their ids.
        newest: What keeps their events.

    Attributes:
        live: What moves; it has to be entered.
    """

    def __init__(
        self,
        console: Console,
        sessions: Sequence[Session],
        feeds: Mapping[str, Feed[Any]],
        newest: Mapping[str, Any],
    ) -> None:
        self._console = console
        self._ramp = ramp_for(console.encoding)
        self._sessions = sessions
        self._feeds = feeds
        self._newest = newest
        self._next_frame = 0.0
        self.live = Live(
            console=console,
            auto_refresh=False,
            transient=True,  # until there is something to leave behind
            redirect_stdout=False,
            # Elsewhere it is not in the way.
            redirect_stderr=sys.stderr.isatty(),
        )

    def take(self, event: Any) -> None:
        """Take an event, to be drawn soon."""
        self._newest[event.session].add(event)
        self.live.transient = False

    def look(self) -> None:
        """Draw, unless that was done just now."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_frame:
            self._next_frame = now + FRAME
            self.draw()

    def draw(self) -> None:
        """Draw all sessions."""
        lines: list[Text] = []
        for session in self._sessions:
            progress = self._feeds[session.id].state
            newest = self._newest[session.id]
            width = self._console.width
            if lines:
                lines.append(Text())
            lines += session_lines(session, progress, newest, width, self._ramp)
        chart = Text("\n").join(lines)
        chart.no_wrap, chart.overflow = True, "ellipsis"
        self.live.update(chart, refresh=True)
