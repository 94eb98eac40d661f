"""Boards: what open pages show right now, worked out once for all pages of a kind.

A board has a place for each part of a page that moves, and keeps the newest piece of
HTML for it. A page that reads slowly skips pieces, and delays nobody. The work of a
board begins with its first page, and ends soon after its last.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from account import RECENT_SECONDS, Recent
from problems import problem_of

from emogg_async import AsyncEmoggClient, DeadlineError, EmoggError, Session

LINGER: Final = 1.0
"""Seconds for which a board waits for a reload; the client then waits five more."""

LOOK: Final = 40.0
"""Seconds between two looks for sessions that have become live."""

MOVING: Final = 6
"""Live sessions that move in the list; the service allows ten in all."""

Pieces = dict[str, str]
Render = Callable[..., str]
Work = Callable[["Board"], Awaitable[None]]


class Board:
    """The newest piece of HTML for each place of a page."""

    def __init__(self) -> None:
        self.pages = 0
        self.is_over = False
        self._pieces: dict[str, tuple[int, str]] = {}
        self._count = 0
        self._changed = asyncio.Event()

    def show(self, place: str, html: str) -> None:
        """Put a piece into a place."""
        if self._pieces.get(place, (0, ""))[1] != html:
            self._count += 1
            self._pieces[place] = self._count, html
            self._tell()

    def forget(self, place: str) -> None:
        """Drop the piece of a place that is gone."""
        self._pieces.pop(place, None)

    def end(self) -> None:
        """Let the pages know that nothing moves any more."""
        self.is_over = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def pieces(self, is_stopping: Callable[[], bool]) -> AsyncIterator[Pieces]:
        """Yield the pieces of all places, and then those that are new, as they come."""
        seen = 0
        while not is_stopping():
            changed = self._changed
            new = {place: html for place, (n, html) in self._pieces.items() if n > seen}
            seen = self._count
            if new:
                yield new
            if self.is_over:
                return
            # Not `wait_for`, which may lose a cancellation on Python 3.11.
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await changed.wait()


class Boards:
    """The boards of all pages that are open."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Board, asyncio.Task[None]]] = {}

    @contextmanager
    def board(self, name: str, work: Work) -> Iterator[Board]:
        """Give the board of that name to a page; the first page begins its *work*."""
        if name not in self._open:
            board = Board()
            self._open[name] = board, asyncio.create_task(self._run(board, work))
        board, _ = self._open[name]
        board.pages += 1
        try:
            yield board
        finally:
            board.pages -= 1
            asyncio.get_running_loop().call_later(LINGER, self._leave, name, board)

    async def _run(self, board: Board, work: Work) -> None:
        try:
            await work(board)
        except Exception:
            logging.getLogger(__name__).exception("the work for open pages failed")
        finally:
            board.end()

    def _leave(self, name: str, board: Board) -> None:
        if not board.pages and self._open.get(name, [None])[0] is board:
            self._open.pop(name)[1].cancel()

    async def close(self) -> None:
        """End all work."""
        tasks = [task for _, task in self._open.values()]
        self._open.clear()  # so that no page that leaves cancels its work again
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(
    client: AsyncEmoggClient, session: Session, draw: Callable[[Recent, str], None]
) -> None:
    """Draw what is recent of a live session, and the state of its feed, to its end."""
    async with client.live.intensities(session.id, every="1s", buffer=64) as feed:
        start = max(0.0, session.duration - RECENT_SECONDS)
        read = client.get_emotions_timeline
        past = await read(session.id, granularity=5, start=start, fresh=True)
        recent = Recent(session, past)
        silences = 0
        while True:
            draw(recent, feed.state)
            try:
                recent.add(await feed.next(timeout=2.0))
                silences = 0
            except StopAsyncIteration:
                return
            except DeadlineError:
                silences += 1
            if silences == 3:  # the client itself looks after half a minute
                session = await client.get_session(session.id)
                if session.state != "active":
                    return


async def watch_session(
    client: AsyncEmoggClient, session_id: str, render: Render, board: Board
) -> None:
    """Work on the board of one live session, with the place `live`."""

    def draw(recent: Recent, state: str) -> None:
        board.show("live", render("live", recent=recent, state=state))

    while True:
        try:
            session = await client.get_session(session_id)
            if session.state == "active":
                await follow(client, session, draw)
            board.show("live", render("live", state="processing"))
            await client.wait_until_finished(session_id)
        except EmoggError as error:
            problem = problem_of(error, client)
            board.show("live", render("live", problem=problem))
            if problem.wait:
                await asyncio.sleep(problem.wait)
                continue
        return


async def watch_account(client: AsyncEmoggClient, render: Render, board: Board) -> None:
    """Work on the board of the list: `live`, and a place for each live session."""
    moving: dict[str, asyncio.Task[None]] = {}
    sparks: dict[str, str] = {}
    sessions: list[Session] = []
    has_ended = asyncio.Event()

    async def move(session: Session) -> None:
        def show(**facts: object) -> None:
            sparks[session.id] = render("card", **facts)
            board.show(f"card-{session.id}", sparks[session.id])

        try:
            await follow(client, session, lambda recent, _: show(recent=recent))
        except EmoggError as error:
            show(problem=problem_of(error, client))
        else:
            has_ended.set()

    async with asyncio.TaskGroup() as group:
        while True:
            has_ended.clear()
            problem = None
            try:
                listing = client.list_sessions(state="active", page_size=MOVING + 1)
                sessions = await listing.collect(MOVING + 1)
            except EmoggError as error:  # those that move go on, or tell by themselves
                problem = problem_of(error, client)
            shown = {each.id: each for each in sessions[:MOVING]}
            for session_id in moving.keys() - shown.keys():
                moving.pop(session_id).cancel()
                sparks.pop(session_id, None)
                board.forget(f"card-{session_id}")
            for session_id, session in shown.items():
                if session_id not in moving or moving[session_id].done():
                    moving[session_id] = group.create_task(move(session))
            facts = {"sessions": shown.values(), "is_cut": len(sessions) > MOVING}
            board.show("live", render("cards", sparks=sparks, problem=problem, **facts))
            await asyncio.sleep(2.0)  # also if one session after the other ends
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await has_ended.wait()
