"""The example apps: processes under their real servers, with visitors in this one."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import pytest
from waiting import Clocks, until
from web_process import EXAMPLES, Visited, WebProcess, running, visit

from emogg_async.testing import EmoggEmulator

APPS: Final = ["aiohttp_app.py", "fastapi_app.py"]
CONCURRENCY: Final = 50
MISSING: Final = "65ea1530bb50af72b6e3dc1e"
pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="it has no signals")


@pytest.fixture(scope="module")
def shared() -> Iterator[EmoggEmulator]:
    """Start one emulator for all apps, with more sessions than anybody asks for."""
    with EmoggEmulator(sessions=2_000, rate_limit=(1_000_000, 60.0)) as running_one:
        yield running_one


@pytest.fixture
def service(shared: EmoggEmulator) -> Iterator[EmoggEmulator]:
    """Give that emulator as new."""
    yield shared
    shared.reset()


@pytest.fixture(scope="module", params=APPS)
def name(request: pytest.FixtureRequest) -> str:
    """Give the name of each app."""
    return str(request.param)


@pytest.fixture(scope="module")
def app(
    name: str, shared: EmoggEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebProcess]:
    """Run each of the apps in a process of its own, which lives through many tests.

    Each test asks for other sessions, as they stay in the app's cache.
    """
    directory = tmp_path_factory.mktemp("app")
    with running(name, directory, url=shared.url, token=shared.token) as process:
        yield process


@pytest.fixture
async def visitors(app: WebProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """Give what visits the app over as many connections as there are visitors."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(app.url, connector=connector) as session:
        yield session


async def visit_all(
    visitors: aiohttp.ClientSession, paths: Iterable[str]
) -> list[tuple[str, Visited]]:
    """Visit all *paths*, so many at a time; each has an answer, or this fails."""
    rest = iter(paths)

    async def visitor() -> list[tuple[str, Visited]]:
        return [(path, await visit(visitors, path)) for path in rest]

    all_of_them = await asyncio.gather(*(visitor() for _ in range(CONCURRENCY)))
    return [seen for one in all_of_them for seen in one]


async def test_answers(visitors: aiohttp.ClientSession, service: EmoggEmulator) -> None:
    """One session, a list, many by their ids, and whatever is wrong with an id."""
    newest = service.sessions[0]
    one = await visit(visitors, f"/sessions/{newest.id}")
    assert 200 == one.status
    assert (newest.id, newest.name) == (one.body["id"], one.body["name"])
    emotions = await visit(visitors, f"/sessions/{newest.id}/emotions")
    async with service.client() as client:
        assert (await client.get_emotions(newest.id)).emotions == emotions.body
    listed = await visit(visitors, "/sessions?limit=3&state=finished")
    finished = [each.id for each in service.sessions if each.state == "finished"]
    assert finished[:3] == [each["id"] for each in listed.body]
    batch = await visit(visitors, f"/batch?id={newest.id}&id={MISSING}&id=x")
    assert [one.body] == batch.body["sessions"]
    assert {
        MISSING: {"error": "not_found", "detail": "There is no such thing."},
        "x": {
            "error": "invalid_argument",
            "detail": "The request is not well-formed.",
        },
    } == batch.body["errors"]
    assert 404 == (await visit(visitors, f"/sessions/{MISSING}")).status
    assert 400 == (await visit(visitors, "/sessions/x")).status
    for path in ("/sessions?limit=0", "/sessions?limit=x", "/batch"):
        assert (await visit(visitors, path)).status in {400, 422}


async def test_many_visitors(
    app: WebProcess, visitors: aiohttp.ClientSession, service: EmoggEmulator
) -> None:
    """A thousand requests are all right, over one client, and leave nothing behind."""
    sessions = {each.id: each for each in service.sessions[100:1_000]}
    port = urlsplit(service.url).port
    assert port is not None

    async def burst(ids: Iterable[str]) -> float:
        started = time.monotonic()
        paths = [f"/sessions/{session_id}" for session_id in ids]
        for path, seen in await visit_all(visitors, paths):
            session = sessions[path.rpartition("/")[2]]
            assert (200, session.id) == (seen.status, seen.body["id"])
            assert session.name == seen.body["name"]
        return time.monotonic() - started

    ids = [*sessions]
    earlier = (await visit(visitors, "/health")).body
    await burst(ids[:100])  # opens the connections of both sides
    before, upstream = app.probe(), app.count_upstream(port)
    took = await burst(itertools.islice(itertools.cycle(ids[100:]), 1_000))
    # A visitor has the answer before the server has done the rest.
    await until(lambda: app.probe()["tasks"] <= before["tasks"])
    after = app.probe()
    health = (await visit(visitors, "/health")).body
    print(
        f"\n1,000 requests in {took:.1f} s; before: {before}, after: {after};", end=""
    )
    print(f" {len(service.requests)} upstream, {app.count_upstream(port)} connections")
    assert 1 == after["clients"]
    assert after["sockets"] <= before["sockets"] + 32 - upstream
    assert 1 <= app.count_upstream(port) <= 32
    assert 1_100 == health["calls"] - earlier["calls"]
    assert len(service.requests) == health["requests"] - earlier["requests"] <= 1_100


async def test_outage(
    app: WebProcess, visitors: aiohttp.ClientSession, service: EmoggEmulator
) -> None:
    """While the service fails, each visitor is told so, and no request gets lost."""
    ids = (each.id for each in service.sessions[1_100:])  # each is asked for once
    visits: list[tuple[float, float, Visited]] = []
    stop = asyncio.Event()
    complaints = len(app.complaints())

    async def visitor() -> None:
        while not stop.is_set():
            asked = time.monotonic()
            seen = await visit(visitors, f"/sessions/{next(ids)}")
            visits.append((asked, time.monotonic(), seen))
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(visitor())
        await until(lambda: len(visits) >= 20)
        broken = time.monotonic()
        rule = service.fail(status=503, body={"message": "secret of the service"})
        await until(lambda: sum(seen.status == 502 for *_, seen in visits) >= 20)
        rule.remove()
        mended = time.monotonic()
        await until(lambda: sum(start > mended for start, *_ in visits) >= 20)
        stop.set()
    before = Counter(seen.status for _, end, seen in visits if end < broken)
    after = Counter(seen.status for start, _, seen in visits if start > mended)
    counts = Counter(seen.status for _, _, seen in visits)
    print(f"\nbefore: {before}, after: {after}, all: {counts}")
    assert {200} == before.keys() == after.keys()
    assert {200, 502} == counts.keys()
    body = {"error": "upstream_failed", "detail": "A service behind this one failed."}
    assert all(body == seen.body for _, _, seen in visits if seen.status == 502)
    logged = app.complaints()[complaints:]
    assert counts[502] == len(logged)
    assert all("answered 502: 503: " in line for line in logged)


@pytest.mark.soak
@pytest.mark.timing
async def test_outage_with_stale_entries(
    app: WebProcess, visitors: aiohttp.ClientSession, service: EmoggEmulator
) -> None:
    """Visitors of sessions seen before notice nothing of an outage of ten seconds."""
    # Active ones are fresh for two seconds only, so that most visits meet a stale one.
    added = [service.add_session(state="active") for _ in range(200)]
    paths = [f"/sessions/{session.id}" for session in added]
    assert {200} == {seen.status for _, seen in await visit_all(visitors, paths)}
    await asyncio.sleep(3.0)
    service.fail(status=503)
    before, started = len(service.requests), time.monotonic()
    visits = []
    for number, path in enumerate(itertools.islice(itertools.cycle(paths), 2_000)):
        await asyncio.sleep(started + number / 200 - time.monotonic())
        visits.append(asyncio.create_task(visit(visitors, path)))
    counts = Counter(seen.status for seen in await asyncio.gather(*visits))
    requests = len(service.requests) - before
    print(
        f"\n2,000 visits in an outage of 10 s: {counts}, {requests} requests upstream"
    )
    assert {200} == counts.keys()
    assert requests <= 1.05 * len(visits)  # a visit is one load at most


async def test_a_visitor_who_leaves(
    app: WebProcess,
    visitors: aiohttp.ClientSession,
    service: EmoggEmulator,
    clocks: Clocks,
) -> None:
    """Leaving cancels the visitor's own call, and nobody else's."""
    shared, alone = (each.id for each in service.sessions[1_000:1_002])
    await visit(visitors, "/sessions?limit=1")  # the pacer's first sends go one by one
    before = app.probe()
    service.fail("GET", f"*/{shared}", delay=10.0, times=1)
    service.fail("GET", f"*/{alone}", fault="hang")
    stays, leaves = (
        asyncio.create_task(visit(visitors, f"/sessions/{shared}")) for _ in range(2)
    )
    lonely = asyncio.create_task(visit(visitors, f"/sessions/{alone}"))
    await until(lambda: service.in_flight == 2)
    await asyncio.sleep(0.1)  # until both are waiting for the same answer
    leaves.cancel()
    lonely.cancel()
    await until(lambda: service.in_flight == 1)  # the lonely one's request is dropped
    assert 3 == len(service.requests)
    await clocks.forward(10.0)
    await visit(visitors, "/sessions?limit=1")  # from which the emulator wakes
    assert shared == (await stays).body["id"]
    # A connection that was kept may be one more task of the server's.
    await until(lambda: app.probe()["tasks"] <= before["tasks"] + 2)
    assert 200 == (await visit(visitors, "/health")).status


async def test_sigterm(name: str, service: EmoggEmulator, tmp_path: Path) -> None:
    """At SIGTERM what is in flight is answered, and the process ends with 0, silent."""
    ids = [each.id for each in service.sessions[:30]]
    with running(name, tmp_path, url=service.url, token=service.token) as app:
        async with aiohttp.ClientSession(app.url) as visitors:
            await visit(visitors, "/sessions?limit=1")
            service.latency = 0.5
            visits = [
                asyncio.create_task(visit(visitors, f"/sessions/{session_id}"))
                for session_id in ids
            ]
            await until(lambda: len(service.requests) == 31)
            code = await asyncio.to_thread(app.stop)
            seen = await asyncio.gather(*visits)
        assert {200} == {each.status for each in seen}
        assert ids == [each.body["id"] for each in seen]
        assert (0, []) == (code, app.complaints())


async def test_refused_token(name: str, service: EmoggEmulator, tmp_path: Path) -> None:
    """A refused token is no visitor's fault: they get a 500, and the log says why."""
    with running(name, tmp_path, url=service.url, token="not-the-one") as app:
        async with aiohttp.ClientSession(app.url) as visitors:
            seen = await visit(visitors, "/sessions")
        assert (500, "internal") == (seen.status, seen.body["error"])
        assert 0 == app.stop()
        (line,) = app.complaints()
    assert line.startswith("ERROR:emogg_async.integrations:answered 500: 401: ")
    assert "not-the-one" not in line


@pytest.mark.parametrize(
    ("program", "code"),
    [("aiohttp_app.py", 1), ("fastapi_app.py", 3), ("live_sse.py", 3)],
)
def test_no_token(program: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token an app does not start, and says which variable to set."""
    monkeypatch.delenv("EMOGG_API_TOKEN", raising=False)
    run = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert code == run.returncode  # 3 is uvicorn's, for all that fails at its start
    assert "no token: pass token= or set EMOGG_API_TOKEN.\n" in run.stderr
