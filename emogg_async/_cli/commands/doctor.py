"""`emogg doctor`: checks what lies between here and an answer."""

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

    from emogg_async._cli.checks.findings import Finding

__all__ = ["doctor"]

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_SIGNS: Final = {"ok": "✓", "warn": "!", "fail": "✗", "skip": "–"}  # noqa: RUF001


@click.command(
    epilog="It ends with the code of what failed first; see `emogg help exit-codes`."
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="For people, or for programs.",
)
@connection_options
def doctor(connection: Connection, form: str) -> Exit:
    """Check, step by step, what lies between here and an answer.

    Configuration, network, certificate, clock, token, latency, rate limit, versions.
    The report is made to be pasted into a ticket: it holds no part of the token. Each
    check takes 10 seconds at most.
    """
    from emogg_async._cli.checks.checkup import examine  # noqa: PLC0415 - brings the client

    findings = examine(connection)
    if form == "json":
        seen = _write_json(findings)
    else:
        seen = _write_text(findings, quiet=connection.quiet)
    return next((each.code for each in seen if each.code is not Exit.OK), Exit.OK)


def _write_json(findings: "Iterable[Finding]") -> "list[Finding]":
    seen = list(findings)
    report = {
        "time": _now(),
        "ok": all(each.status != "fail" for each in seen),
        "checks": [
            {
                "check": each.name,
                "status": each.status,
                "text": each.text,
                "next": each.next_step or None,
                "facts": dict(each.facts),
            }
            for each in seen
        ],
    }
    click.echo(json.dumps(report, indent=2))
    return seen


def _write_text(findings: "Iterable[Finding]", *, quiet: bool) -> "list[Finding]":
    """Write a line for each check as soon as it is made; if *quiet*, for failures."""
    from rich.text import Text  # noqa: PLC0415 - help does without

    from emogg_async._cli.checks.checkup import NAMES  # noqa: PLC0415
    from emogg_async._cli.output.console import make_console  # noqa: PLC0415

    console = make_console()
    width = max(map(len, NAMES))
    seen = []
    if not quiet:
        console.print(f"emogg doctor {__version__}, {_now()}\n", soft_wrap=True)
    for each in findings:
        seen.append(each)
        if quiet and each.status != "fail":
            continue
        line = Text(_mark(each.status), _STYLES[each.status])
        line.append(f"  {each.name:{width}}  {printable(each.text)}", "default")
        console.print(line, soft_wrap=True)
        if each.next_step:
            indent = " " * (len(_mark(each.status)) + 2 + width + 2)
            console.print(f"{indent}{each.next_step}.", soft_wrap=True, markup=False)
    if not quiet:
        console.print(f"\n{_summary(seen)}", soft_wrap=True)
    return seen


def _mark(status: str) -> str:
    try:
        _SIGNS[status].encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return f"{status:4}"
    return f"{_SIGNS[status]} {status:4}"


def _summary(seen: "Iterable[Finding]") -> str:
    failed = [each.name for each in seen if each.status == "fail"]
    if failed:
        return f"Begin with what failed first: {failed[0]}."
    if any(each.status == "warn" for each in seen):
        return "Nothing failed, but there is something to look at."
    return "All is well."


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
