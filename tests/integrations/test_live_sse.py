"""The example that sends live events to browsers, under its real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from waiting import until
from web_process import WebProcess, running, visit

from emogg_async.testing import EmoggEmulator

MISSING: Final = "65ea1530bb50af72b6e3dc1e"
pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="it has no signals")


@pytest.fixture(scope="module")
def shared() -> Iterator[EmoggEmulator]:
    """Start one emulator for all tests, without sessions."""
    with EmoggEmulator(sessions=0, rate_limit=None) as running_one:
        yield running_one


@pytest.fixture(scope="module")
def app(
    shared: EmoggEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebProcess]:
    """Run the app in a process of its own, which lives through most tests."""
    directory = tmp_path_factory.mktemp("app")
    with running("live_sse.py", directory, url=shared.url, token=shared.token) as one:
        yield one


@pytest.fixture
async def browsers(app: WebProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """Give what visits the app."""
    async with aiohttp.ClientSession(app.url) as session:
        yield session


async def told(response: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Return the kind and the data of the next event that a browser gets."""
    kind = ""
    async with asyncio.timeout(20):
        while line := await response.content.readline():
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                return kind, json.loads(value)
    return kind, None


async def streams(
    stack: AsyncExitStack, browsers: aiohttp.ClientSession, session_id: str, count: int
) -> list[aiohttp.ClientResponse]:
    """Let so many browsers look at a session, until the block is left."""
    path = f"/sessions/{session_id}/live"
    seen = [await stack.enter_async_context(browsers.get(path)) for _ in range(count)]
    assert {200} == {each.status for each in seen}
    return seen


def subscriptions(service: EmoggEmulator, session_id: str) -> list[str]:
    """Return the ids of the subscriptions to a session."""
    key = f"{session_id}:1s"
    return [each.id for each in service.live.subscriptions if each.key == key]


def measured(intensity: float) -> dict[str, object]:
    """Return an emotion of one person."""
    return {"people": 1, "quantity": intensity, "intensity": intensity}


async def test_browsers(browsers: aiohttp.ClientSession, shared: EmoggEmulator) -> None:
    """Browsers of a session share one subscription, which ends after the last one."""
    live = shared.live
    session_id = shared.add_session(state="active").id
    async with AsyncExitStack() as stack:
        seen = await streams(stack, browsers, session_id, 20)
        assert {"text/event-stream"} == {each.content_type for each in seen}
        for intensity in (0.25, 0.5):
            live.emit(session_id, {"joy": measured(intensity)})
            for kind, data in [await told(each) for each in seen]:
                assert ("emotions", session_id) == (kind, data["session"])
                assert intensity == data["emotions"]["joy"]["intensity"]
                assert "gap" not in data or data["gap"] is None
        assert 1 == len(subscriptions(shared, session_id))
        seen[0].close()
        (late,) = await streams(stack, browsers, session_id, 1)
        assert 0.5 == (await told(late))[1]["emotions"]["joy"]["intensity"]
        live.emit(session_id, {"joy": measured(0.75)})
        for each in (*seen[1:], late):
            assert 0.75 == (await told(each))[1]["emotions"]["joy"]["intensity"]
        bodies = [message.body for message in live.messages if message.body]
        assert 1 == sum(body.get("key") == f"{session_id}:1s" for body in bodies)
    await until(lambda: not subscriptions(shared, session_id))


async def test_a_gap(browsers: aiohttp.ClientSession, shared: EmoggEmulator) -> None:
    """A gap is an event of its own, just before the event that came after it."""
    live = shared.live
    session_id = shared.add_session(state="active").id
    async with AsyncExitStack() as stack:
        (seen,) = await streams(stack, browsers, session_id, 1)
        live.emit(session_id, {"joy": measured(0.25)})
        _, first = await told(seen)
        live.cut()
        await until(lambda: subscriptions(shared, session_id))
        live.emit(session_id, {"joy": measured(0.5)})
        kind, gap = await told(seen)
        assert ("gap", "reconnected", None) == (kind, gap["reason"], gap["lost"])
        kind, second = await told(seen)
        assert ("emotions", 0.5) == (kind, second["emotions"]["joy"]["intensity"])
        assert first["timestamp"] == gap["since"]
        assert second["timestamp"] == gap["until"]


async def test_the_end_of_a_session(
    browsers: aiohttp.ClientSession, shared: EmoggEmulator
) -> None:
    """The stream of a session that is over ends with an event that says so."""
    session_id = shared.add_session(state="active").id
    async with AsyncExitStack() as stack:
        seen = await streams(stack, browsers, session_id, 2)
        async with shared.client() as client:
            await client.stop_session(session_id)
        shared.live.cut(1001)  # the app looks at a session after each reconnect
        for each in seen:
            assert ("end", {}) == await told(each)
            assert b"" == (await each.read()).strip()


async def test_what_is_wrong(browsers: aiohttp.ClientSession) -> None:
    """A session that does not exist, and an ID that is none, have a status."""
    seen = await visit(browsers, f"/sessions/{MISSING}/live")
    assert (404, "not_found") == (seen.status, seen.body["error"])
    seen = await visit(browsers, "/sessions/x/live")
    assert (400, "invalid_argument") == (seen.status, seen.body["error"])


async def test_no_free_subscription(shared: EmoggEmulator, tmp_path: Path) -> None:
    """A browser for whom no subscription becomes free is asked to try again."""
    session_id = shared.add_session(state="active").id
    shared.live.refuse(status=429)
    with running("live_sse.py", tmp_path, url=shared.url, token=shared.token) as app:
        async with aiohttp.ClientSession(app.url) as browsers:
            seen = await visit(browsers, f"/sessions/{session_id}/live")
        assert (503, "busy") == (seen.status, seen.body["error"])
        assert "1" == seen.headers["Retry-After"]
        assert 0 == app.stop()
    shared.reset()


async def test_sigterm(shared: EmoggEmulator, tmp_path: Path) -> None:
    """At SIGTERM open streams end, and the process ends with 0, silent."""
    session_id = shared.add_session(state="active").id
    with running("live_sse.py", tmp_path, url=shared.url, token=shared.token) as app:
        async with (
            aiohttp.ClientSession(app.url) as browsers,
            AsyncExitStack() as stack,
        ):
            seen = await streams(stack, browsers, session_id, 3)
            shared.live.emit(session_id, {"joy": measured(0.25)})
            assert {"emotions"} == {(await told(each))[0] for each in seen}
            code = await asyncio.to_thread(app.stop)
            assert {"end"} == {(await told(each))[0] for each in seen}
        assert (0, []) == (code, app.complaints())
