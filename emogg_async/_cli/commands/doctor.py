"""`emogg doctor`: checks the configuration, the service and the software."""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from emogg_async import __version__
from emogg_async._cli.exits import Exit
from emogg_async._cli.options import Connection, connection_options
from emogg_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emogg_async._cli.checks import Finding

__all__ = ["doctor"]

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_SIGNS: Final = {"ok": "✓", "warn": "!", "fail": "✗", "skip": "–"}  # noqa: RUF001


@click.command(
    epilog="The exit code is that of the first failure; see `emogg help exit-codes`."
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A report for people, or for programs.",
)
@connection_options
def doctor(connection: Connection, form: str) -> Exit:
    """Check the configuration, the service and the software, for a ticket.

    The report tells what the client's own calls met: proxy, network, certificate,
    clock, token, latency and rate limit. It holds no part of the token. Each call takes
    10 seconds at most.
    """
    from emogg_async._cli.checks import examine  # noqa: PLC0415 - brings the client

    findings = examine(connection)
    if form == "json":
        seen = _write_json(findings)
    else:
        seen = _write_text(findings, quiet=connection.quiet)
    return next((each.code for each in seen if each.code is not Exit.OK), Exit.OK)


def _write_json(findings: "Iterable[Finding]") -> "list[Finding]":
    seen = list(findings)
    checks = [
        {
            "check": each.name,
            "status": each.status,
            "text": each.text,
            "next": each.next_step or None,
            "facts": dict(each.facts),
        }
        for each in seen
    ]
    ok = all(each.status != "fail" for each in seen)
    report = {"time": _now(), "ok": ok, "checks": checks}
    click.echo(json.dumps(report, indent=2))
    return seen


def _write_text(findings: "Iterable[Finding]", *, quiet: bool) -> "list[Finding]":
    """Write each finding as soon as there is one; if *quiet*, only the failures."""
    from rich.text import Text  # noqa: PLC0415 - help does without

    from emogg_async._cli.checks import NAMES  # noqa: PLC0415
    from emogg_async._cli.output.tables import make_console  # noqa: PLC0415

    console, width = make_console(), max(map(len, NAMES))
    seen = []
    if not quiet:
        console.print(f"emogg doctor {__version__}, {_now()}\n", soft_wrap=True)
    for each in findings:
        seen.append(each)
        if quiet and each.status != "fail":
            continue
        mark = f"{_SIGNS[each.status]} {each.status:4}"
        try:
            mark.encode(sys.stdout.encoding)
        except UnicodeEncodeError:
            mark = f"{each.status:4}"
        line = Text(mark, _STYLES[each.status])
        line.append(f"  {each.name:{width}}  {printable(each.text)}", "default")
        if each.next_step:
            line.append(f"\n{'':{len(mark) + width + 4}}{each.next_step}.", "default")
        console.print(line, soft_wrap=True)
    first = {each.status: each.name for each in reversed(seen)}
    summary = "All is well."
    if "fail" in first:
        summary = f"Begin with what failed first: {first['fail']}."
    elif "warn" in first:
        summary = "Nothing failed, but there is something to look at."
    if not quiet:
        console.print(f"\n{summary}", soft_wrap=True)
    return seen


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
