"""The streams of pages that are open: what they tell, what they cost, how they end."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial

import pytest
import simulated
from dashboard_process import APP
from dashboard_visits import visiting
from simulated import emulated, timed
from waiting import until

sys.path.insert(0, str(APP.parent))
from boards import MOVING, Board, Boards, watch_account, watch_session


@pytest.fixture
async def visitor(dashboard):
    """Visit that dashboard."""
    async with visiting(dashboard.url) as one:
        yield one


def opened(boards, name, watch, *facts):
    """Open a page of that board."""
    return boards.board(name, lambda board: watch(*facts, board))


def finish_all(service):
    """Let no session be live."""
    for each in service.sessions:
        if not each.is_finished:
            service.update_session(each.id, state="finished")


def joy(intensity):
    """Return what an event says of joy."""
    return {"joy": {"people": 1, "quantity": intensity, "intensity": intensity}}


def subscriptions(service, session_id):
    """Return the subscriptions to a session."""
    live = service.live.subscriptions
    return [each.id for each in live if each.key.startswith(session_id)]


def asked(service, session_id):
    """Return how often a session was subscribed to."""
    bodies = [message.body or {} for message in service.live.messages]
    return sum(body.get("key") == f"{session_id}:1s" for body in bodies)


# -- in a process ----------------------------------------------------------------------


async def test_many_pages_of_one_session(visitor, service):
    """Fifty pages are one subscription, and each is told what the others are."""
    session_id = service.add_session(state="active", duration=0).id
    path = f"/live?session={session_id}"
    async with AsyncExitStack() as stack:

        async def opened():
            return await stack.enter_async_context(visitor.stream(path))

        pages = [await opened() for _ in range(50)]
        for page in pages:
            await page.until("No emotions yet")
        service.live.emit(session_id, joy(0.25))
        for page in pages:
            assert "<svg" in await page.until("<bdi>joy</bdi>&nbsp;0.25")
        pages.append(await opened())
        await pages[-1].until("<bdi>joy</bdi>&nbsp;0.25")
        service.live.cut()
        await until(lambda: subscriptions(service, session_id))
        service.live.emit(session_id, joy(0.5))
        for page in pages:
            piece = await page.until("<bdi>joy</bdi>&nbsp;0.50")
            assert "the connection was lost" in piece
        assert 2 == asked(service, session_id)  # the second after the cut
        assert 1 == len(subscriptions(service, session_id))


async def test_the_list_moves(visitor, service):
    """The list shows live sessions by their names, and moves those that have events."""
    finish_all(service)
    name = "<b>Stand-up</b>"
    session_id = service.add_session(state="active", duration=0, name=name).id
    async with visitor.stream() as page:
        assert "<bdi>&lt;b&gt;Stand-up&lt;/b&gt;</bdi>" in await page.until("Stand-up")
        await until(lambda: subscriptions(service, session_id))
        service.live.emit(session_id, joy(0.75))
        piece = await page.until("<bdi>joy</bdi>&nbsp;0.75", f"card-{session_id}")
        assert "<svg" in piece


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_open_streams_at_the_end(visitor, service, dashboard, sign):
    """Open streams end at a signal, and the dashboard with them: with 0, silently."""
    session_id = service.add_session(state="active", duration=0).id
    async with AsyncExitStack() as stack:
        paths = ("/live", *4 * [f"/live?session={session_id}"])
        pages = [
            await stack.enter_async_context(visitor.stream(each)) for each in paths
        ]
        await pages[-1].until("No emotions yet")
        assert (0, "") == await asyncio.to_thread(dashboard.stop, sign)


# -- in simulated time -----------------------------------------------------------------


def words(name, **facts):
    """Write a piece of a page in few words."""
    if name == "live" and facts.get("problem"):
        return facts["problem"].words
    if name == "cards":
        return ", ".join(each.name for each in facts["sessions"])
    return f"{name} {facts.get('state')} {len(facts.keys())}"


@timed
async def test_pages_that_leave_while_all_work_ends():
    """Work that ends slowly holds up no page that leaves, and is left to end."""
    boards, ended = Boards(), []

    async def work(board):
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(5)
            ended.append(board)

    with boards.board("first", work), boards.board("second", work):
        await asyncio.sleep(1)
    await boards.close()
    assert 2 == len(ended)
    assert 6 == simulated.now()


@timed
async def test_an_idle_list():
    """A list without live sessions costs two requests a minute at most."""
    async with emulated(sessions=20) as service, service.client(cache=None) as client:
        finish_all(service)
        boards = Boards()
        with opened(boards, "", watch_account, client, words):
            await asyncio.sleep(600)
        assert 10 <= len(service.requests) <= 20
        assert 0 == service.live.connections
        await asyncio.sleep(10)
        before = len(service.requests)
        await asyncio.sleep(600)
        assert before == len(service.requests)


@timed
async def test_after_the_last_page():
    """Work goes on over a reload, and has ended ten seconds after the last page."""
    async with emulated() as service, service.client(cache=None) as client:
        session_id = service.add_session(state="active", ends_after=900).id
        boards = Boards()

        page = partial(opened, boards, "", watch_session, client, session_id, words)
        with page():
            with page():
                await asyncio.sleep(30)
            await asyncio.sleep(30)
        await asyncio.sleep(2)
        with page():
            await asyncio.sleep(30)
        assert 1 == asked(service, session_id)
        await asyncio.sleep(10)
        assert [] == subscriptions(service, session_id)
        assert not [each for each in asyncio.all_tasks() if "Boards._run" in repr(each)]
        before = len(service.requests)
        await asyncio.sleep(300)
        assert before == len(service.requests)
        assert 0 == service.live.connections


@timed
async def test_a_session_that_ends():
    """A page moves to the end of its session, waits for the results, and is told."""
    async with emulated(processing=20) as service, service.client(cache=None) as client:
        session_id = service.add_session(state="active", ends_after=60).id
        page = opened(Boards(), "", watch_session, client, session_id, words)
        with page as board:
            pieces = [each["live"] async for each in board.pieces(lambda: False)]
        assert ("live live 2", "live processing 1") == (pieces[0], pieces[-1])
        assert board.is_over
        assert 80 <= simulated.now() < 88  # it has looked after some silence


@timed
async def test_a_session_that_goes_away():
    """A page says that its session was deleted, although no event tells of it."""
    async with emulated() as service, service.client(cache=None) as client:
        session_id = service.add_session(state="active", ends_after=900).id
        page = opened(Boards(), "", watch_session, client, session_id, words)
        with page as board:
            await asyncio.sleep(30)
            service.remove_session(session_id)
            pieces = [each async for each in board.pieces(lambda: False)]
        assert "There is no such session" in pieces[-1]["live"]
        assert board.is_over
        assert simulated.now() < 90


@timed
async def test_sessions_that_come_and_go():
    """A list that is open for long tells new pages of what is live now, and no more."""
    async with emulated() as service, service.client(cache=None) as client:
        with opened(Boards(), "", watch_account, client, words) as board:
            for number in range(3 * MOVING):
                service.add_session(name=f"No. {number}", state="active", ends_after=50)
                await asyncio.sleep(60)
            last = service.add_session(name="Last", state="active", ends_after=900)
            await asyncio.sleep(100)
            pieces = await anext(board.pieces(lambda: False))
        assert {"live", f"card-{last.id}"} == {*pieces}
        assert "Last" == pieces["live"]


@pytest.mark.parametrize("turns", range(5))
@timed
async def test_pages_that_leave_as_a_session_ends(turns, monkeypatch):
    """Work ends at once, even if a session ends in the same turn of the loop."""
    ends = asyncio.Event()
    monkeypatch.setattr("boards.follow", lambda *_: ends.wait())
    async with emulated() as service, service.client(cache=None) as client:
        service.add_session(state="active", ends_after=900)
        work = asyncio.create_task(watch_account(client, words, Board()))
        await asyncio.sleep(5)
        ends.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work], timeout=100)
        assert work.cancelled()


@pytest.mark.parametrize("turns", range(5))
@timed
async def test_a_page_that_leaves_as_something_moves(turns):
    """A page that leaves is over, even if there is a new piece in the same turn."""
    board = Board()

    async def read():
        async for _ in board.pieces(lambda: False):
            pass

    page = asyncio.create_task(read())
    await asyncio.sleep(0.5)
    board.show("a", "1")
    for _ in range(turns):
        await asyncio.sleep(0)
    page.cancel()
    await asyncio.wait([page], timeout=100)
    assert page.cancelled()


async def test_a_page_that_reads_slowly():
    """A page that reads slowly skips pieces, keeps the newest, and delays nobody."""
    board = Board()
    slow, fast = board.pieces(lambda: False), board.pieces(lambda: False)
    board.show("a", "0")
    assert [{"a": "0"}, {"a": "0"}] == [await anext(slow), await anext(fast)]
    for number in range(1, 1000):
        board.show("a", f"{number}")
        board.show("b", f"{number // 500}")
        new = {"b": f"{number // 500}"} if number in {1, 500} else {}
        assert {"a": f"{number}"} | new == await anext(fast)
    assert {"a": "999", "b": "1"} == await anext(slow)
    board.show("a", "999")  # nothing new
    board.end()
    assert [] == [each async for each in slow]
