"""The program and the report of `emogg demo`: a tour of an unreliable service."""

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table

from emogg_async import AsyncEmoggClient, Failed, Fetched, Session, Stats
from emogg_async._cli.exits import Exit, explain
from emogg_async._cli.output.tables import make_console, session_table
from emogg_async._cli.signals import run_loop
from emogg_async._text import counted
from emogg_async.testing import EmoggEmulator

__all__ = ["present", "tour"]

SESSIONS: Final = 300
LATENCY: Final = 0.03

RATE_LIMIT: Final = (280, 10.0)
"""Requests and seconds: a little less than needed, so that calls are paced."""

FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"status": 503, "probability": 0.04},
    {"fault": "reset", "probability": 0.02},
    {"fault": "cut", "probability": 0.02},
)

SHOWN: Final = 12
"""Sessions in the table."""


async def tour(client: AsyncEmoggClient, tell: Callable[..., object]) -> None:
    """Fetch all sessions, all of them again, and something 100 times."""
    ids = [session.id async for session in client.list_sessions()]
    tell("listed", ids)
    # The newest last: they may still run, and are then not kept for long.
    async with client.stream_sessions(reversed(ids), via="get") as outcomes:
        async for outcome in outcomes:
            tell("fetched", outcome)
    tell("again", await client.get_sessions(ids))
    calls = map(client.get_emotions, ids[:1] * 100)
    tell("shared", await asyncio.gather(*calls))


PROGRAM: Final = """\
import asyncio
from collections.abc import Callable

from emogg_async import AsyncEmoggClient


{tour}

async def main():
    async with AsyncEmoggClient() as client:
        await tour(client, print)


asyncio.run(main())
"""
"""The program that is printed: the same tour with the reader's own client."""


@attrs.frozen(kw_only=True)
class Report:
    """The results of the tour.

    Attributes:
        sessions: The sessions.
        failures: The ids that failed.
        first_pass: Seconds to get all sessions.
        second_pass: Seconds to get all of them again.
        shared_requests: Requests for 100 equal calls.
        stats: The statistics of the client.
    """

    sessions: Sequence[Session]
    failures: Sequence[Failed]
    first_pass: float
    second_pass: float
    shared_requests: int
    stats: Stats


def present() -> Exit:
    """Fetch made-up sessions, and show the report."""
    console = make_console()
    report = run_loop(lambda: _run(console))
    for failure in report.failures:
        click.echo(explain(failure.error), err=True)
    if report.failures:
        click.echo(f"{len(report.failures)} of {SESSIONS} sessions failed.", err=True)
        return Exit.OTHER
    _show(report, console)
    return Exit.OK


async def _run(console: Console) -> Report:
    emulator = EmoggEmulator(sessions=SESSIONS, latency=LATENCY, rate_limit=RATE_LIMIT)
    async with emulator, emulator.client() as client:
        for fault in FAULTS:
            emulator.fail("GET", "/v1/sessions/*", **fault)
        _introduce(emulator, console)
        fetched: dict[str, Session] = {}
        failures: list[Failed] = []
        reached: dict[str, tuple[float, int]] = {}
        with _progress(console) as progress:
            bar = progress.add_task("", total=SESSIONS, retries=0)

            def tell(what: str, value: Any) -> None:
                reached[what] = time.perf_counter(), client.stats.requests
                if isinstance(value, Failed):
                    failures.append(value)
                elif isinstance(value, Fetched):
                    fetched[value.session_id] = value.value
                done = len(fetched) + len(failures)
                progress.update(bar, completed=done, retries=client.stats.retries)

            await tour(client, tell)
        return Report(
            sessions=[fetched[key] for key in sorted(fetched, reverse=True)],
            failures=failures,
            first_pass=reached["fetched"][0] - reached["listed"][0],
            second_pass=reached["again"][0] - reached["fetched"][0],
            shared_requests=reached["shared"][1] - reached["again"][1],
            stats=client.stats,
        )


def _progress(console: Console) -> Progress:
    """Make a progress bar, which shows only on a terminal."""
    return Progress(
        TextColumn("Fetching them all at once"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[retries]:3} retries"),
        console=console,
        disable=not console.is_terminal,
        expand=True,
    )


def _introduce(emulator: EmoggEmulator, console: Console) -> None:
    requests, seconds = RATE_LIMIT
    console.print(
        f"An emulated Emogg API with {SESSIONS} sessions, at {emulator.url}: no "
        f"account, no network. It answers in {LATENCY * 1_000:.0f} ms and allows "
        f"{requests} requests in {seconds:.0f} s. Of 100 requests, about 4 get a 503, "
        "2 lose their connection and 2 get half an answer.\n"
    )


def _show(report: Report, console: Console) -> None:
    console.print()
    console.print(session_table(report.sessions[:SHOWN], console.width))
    console.print(f"[dim]and {len(report.sessions) - SHOWN} more[/dim]\n")
    console.print(_summary(report))
    console.print("\nIn Python, that is:\n")
    code = PROGRAM.format(tour=inspect.getsource(tour))
    if console.is_terminal:
        console.print(
            Syntax(code, "python", theme="ansi_dark", background_color="default")
        )
    else:
        console.print(code, markup=False)
    console.print(
        "Next: `emogg emulator` serves such sessions to your own programs; with "
        "EMOGG_API_TOKEN set, they meet the real service.",
        markup=False,
    )


def _summary(report: Report) -> Table:
    stats = report.stats
    sharing = (
        "100 calls at once for the same emotions shared "
        f"{counted(report.shared_requests, 'request')}"
    )
    rows = (
        ("sessions", len(report.sessions), "all of them, in spite of the faults"),
        ("requests", stats.requests, "pages of the list and retries included"),
        ("retries", stats.retries, "after a 503, a lost answer or a refusal"),
        (
            "refusals (429)",
            stats.rate_limited,
            "by the rate limit, which the client keeps",
        ),
        ("cache hits", stats.cache_hits, "when all were fetched again"),
        ("coalesced", stats.coalesced, sharing),
        ("first pass", f"{report.first_pass:.2f} s", "over HTTP, many at a time"),
        ("from the cache", f"{report.second_pass * 1_000:.1f} ms", "the second pass"),
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    for name, value, note in rows:
        table.add_row(name, str(value), note)
    return table
