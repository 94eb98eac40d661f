"""What `emogg demo` shows: this package, on a service that misbehaves."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import attrs
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table

from emogg_async import AsyncEmoggClient, Failed, Session, Stats
from emogg_async._cli.exits import Exit, explain
from emogg_async._cli.output import make_console
from emogg_async._cli.tables import session_table
from emogg_async.testing import EmoggEmulator

__all__ = ["present"]

SESSIONS: Final = 300
LATENCY: Final = 0.03

RATE_LIMIT: Final = (280, 10.0)
"""Requests and seconds: a little less than needed, so that there is a pace to keep."""

FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"status": 503, "probability": 0.04},
    {"fault": "reset", "probability": 0.02},
    {"fault": "cut", "probability": 0.02},
)

CALLERS: Final = 100
"""How many ask for one session at the same time."""

SHOWN: Final = 12
"""Sessions in the table."""

CODE: Final = """\
import asyncio
from emogg_async import AsyncEmoggClient

async def main():
    async with AsyncEmoggClient() as client:
        ids = [session.id async for session in client.list_sessions()]
        async with client.stream_sessions(ids) as outcomes:
            async for outcome in outcomes:
                session = outcome.unwrap()
                print(session.id, session.state, session.name)
        print(client.stats)

asyncio.run(main())
"""


@attrs.frozen(kw_only=True)
class Report:
    """What happened, and how long it took in seconds."""

    sessions: Sequence[Session]
    failures: Sequence[Failed]
    first_pass: float
    second_pass: float
    shared_requests: int
    """Requests that it took to answer all `CALLERS`."""
    stats: Stats


def present() -> Exit:
    """Fetch made-up sessions, and show what it took."""
    console = make_console()
    report = asyncio.run(_run(console))
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
        ids = [session.id async for session in client.list_sessions()]
        began = time.perf_counter()
        fetched, failures = await _fetch(client, ids, console)
        first_pass = time.perf_counter() - began

        began = time.perf_counter()
        await client.get_sessions(fetched)
        second_pass = time.perf_counter() - began

        before = client.stats.requests
        new = emulator.add_session()
        await asyncio.gather(*(client.get_session(new.id) for _ in range(CALLERS)))
        return Report(
            sessions=[
                fetched[session_id] for session_id in ids if session_id in fetched
            ],
            failures=failures,
            first_pass=first_pass,
            second_pass=second_pass,
            shared_requests=client.stats.requests - before,
            stats=client.stats,
        )


async def _fetch(
    client: AsyncEmoggClient, ids: Sequence[str], console: Console
) -> tuple[dict[str, Session], list[Failed]]:
    """Fetch all sessions at once, with a progress bar if *console* is a terminal."""
    fetched: dict[str, Session] = {}
    failures: list[Failed] = []
    progress = Progress(
        TextColumn("Fetching them all at once"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[retries]:3} retries"),
        console=console,
        disable=not console.is_terminal,
        expand=True,
    )
    # Those that still run are the newest, and are kept for the shortest time: last.
    # And one by one: pages would need three requests, which leaves nothing to go wrong.
    async with client.stream_sessions(reversed(ids), via="get") as outcomes:
        with progress:
            bar = progress.add_task("", total=len(ids), retries=0)
            async for outcome in outcomes:
                if isinstance(outcome, Failed):
                    failures.append(outcome)
                else:
                    fetched[outcome.session_id] = outcome.value
                progress.update(bar, advance=1, retries=client.stats.retries)
    return fetched, failures


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
    if console.is_terminal:
        console.print(
            Syntax(CODE, "python", theme="ansi_dark", background_color="default")
        )
    else:
        console.print(CODE, markup=False)
    console.print(
        "Next: `emogg emulator` serves such sessions to your own programs; with "
        "EMOGG_API_TOKEN set, they meet the real service.",
        markup=False,
    )


def _summary(report: Report) -> Table:
    stats = report.stats
    sharing = (
        f"{CALLERS} calls at once for one session shared "
        f"{_count(report.shared_requests, 'request')}"
    )
    rows = (
        ("sessions", len(report.sessions), "every one of them, in spite of it all"),
        ("requests", stats.requests, "pages of the list and retries included"),
        ("retries", stats.retries, "after a 503, a lost answer or a refusal"),
        ("refusals (429)", stats.rate_limited, "by the rate limit: it is kept to"),
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


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
