"""What the dashboard costs: its start, a large account, and pages that are open.

The dashboard is a process of its own, and its figures are those of that process. Its
visitors, and the emulator it asks, are in this one.

    nox -s bench
"""

import asyncio
import pathlib
import platform
import sys
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import psutil

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from dashboard_process import Dashboard, serving
from dashboard_visits import Visitor, visiting

from emogg_async.testing import EmoggEmulator

SESSIONS = 10_000
CLIENTS = 50
SECONDS = 60
PAST = 300.0
"""Seconds of the live session that its pages draw from the beginning."""

EMOTIONS = ("exaltation", "fatigue", "focus", "overwhelming", "seriousness", "shock")
ROUNDS = 3
ROWS = 20
"""Charts that a page asks for at once."""


def dashboard(service: EmoggEmulator) -> dict[str, str]:
    """Return the environment of a dashboard of that account."""
    return {"EMOGG_BASE_URL": service.url, "EMOGG_API_TOKEN": service.token}


async def start() -> float:
    """Return the seconds from the command to the second picture of a live session."""
    began = time.perf_counter()
    with serving("--emulator") as running:
        async with visiting(running.url) as visitor:
            await visitor.get()
            pictures: dict[str, set[str]] = {}
            async with visitor.stream() as stream:
                while not any(len(each) > 1 for each in pictures.values()):
                    _, pieces = await stream.event()
                    for place, piece in pieces.items():
                        if place != "live" and "<svg" in piece:
                            pictures.setdefault(place, set()).add(piece)
        return time.perf_counter() - began


async def scroll(visitor: Visitor) -> tuple[int, int]:
    """Read all pages of the list and all charts; return their numbers."""
    pages = charts = 0
    path: str | None = "/"
    while path:
        seen = await visitor.get(path)
        pages, path = pages + 1, seen.more
        for at in range(0, len(seen.rows), ROWS):
            lines = await visitor.charts(seen.rows[at : at + ROWS])
            charts += sum("<svg" in each.get("html", "") for each in lines)
    return pages, charts


async def large() -> None:
    """Print what an account with many sessions costs."""
    with EmoggEmulator(sessions=SESSIONS, rate_limit=None) as service:
        with serving(**dashboard(service)) as running:
            process = psutil.Process(running.process.pid)
            async with visiting(running.url) as visitor:
                began = time.perf_counter()
                await visitor.get()
                first = time.perf_counter() - began
                before = process.memory_info().rss
                began = time.perf_counter()
                pages, charts = await scroll(visitor)
                took = time.perf_counter() - began
                grown = (process.memory_info().rss - before) / 1e6
    print(f"{SESSIONS:,} sessions: the first page after {first:.2f} s")
    print(f"    {pages} pages, {charts:,} charts: {took:.1f} s, {grown:+.1f} MB")


async def busy(running: Dashboard, service: EmoggEmulator) -> None:
    """Print what many pages of one live session cost."""
    begun = service.now() - timedelta(seconds=PAST)
    session = service.add_session(state="active", timestamp=begun, duration=PAST)
    process = psutil.Process(running.process.pid)
    told = 0

    async def look(visitor: Visitor, stack: AsyncExitStack) -> None:
        nonlocal told
        path = f"/live?session={session.id}"
        stream = await stack.enter_async_context(visitor.stream(path))
        while True:
            await stream.event()
            told += 1

    async with visiting(running.url) as visitor, AsyncExitStack() as stack:
        tasks = [asyncio.create_task(look(visitor, stack)) for _ in range(CLIENTS)]
        while told < CLIENTS:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        before, told = sum(process.cpu_times()[:2]), 0
        for number in range(SECONDS):
            measure = {"people": 1, "quantity": 0.5, "intensity": number / SECONDS}
            service.live.emit(session.id, dict.fromkeys(EMOTIONS, measure))
            await asyncio.sleep(1.0)
        spent = sum(process.cpu_times()[:2]) - before
        subscriptions = len(service.live.subscriptions)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print(f"{CLIENTS} pages of a live session: {subscriptions} subscription, ", end="")
    print(f"{told / CLIENTS / SECONDS:.2f} pieces a second to each, ", end="")
    print(f"{100 * spent / SECONDS:.1f} % of a core")


async def idle(running: Dashboard, service: EmoggEmulator) -> None:
    """Print what a page costs where nothing is live."""
    for session in service.sessions:
        service.update_session(session.id, state="finished")
    async with visiting(running.url) as visitor, visitor.stream() as stream:
        await stream.event()
        before = len(service.requests)
        await asyncio.sleep(2 * SECONDS)
        asked = (len(service.requests) - before) / 2
    print(f"a page where nothing is live: {asked:.1f} requests a minute")


async def main() -> None:
    """Print the figures."""
    print(f"Python {platform.python_version()}")
    starts = sorted([await start() for _ in range(ROUNDS)])
    print(
        f"from the command to a chart that moves: {starts[ROUNDS // 2]:.2f} s", end=""
    )
    print(f" ({starts[0]:.2f} to {starts[-1]:.2f})")
    await large()
    with (
        EmoggEmulator(rate_limit=None) as one,
        EmoggEmulator(sessions=20, rate_limit=None) as other,
        serving(**dashboard(one)) as watched,
        serving(**dashboard(other)) as unwatched,
    ):
        await asyncio.gather(busy(watched, one), idle(unwatched, other))


if __name__ == "__main__":
    asyncio.run(main())
