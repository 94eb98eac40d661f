"""`emogg doctor`: checks the configuration, the service and the software."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from emogg_async import __version__
from emogg_async._cli.exits import Exit
from emogg_async._cli.options import Connection, connection_options
from emogg_async._text import printable

if TYPE_CHECKING:
    from rich.text import Text

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
    from emogg_async._cli.output.tables import make_console  # noqa: PLC0415 - brings rich

    console = make_console()
    seen: list[Finding] = []
    time = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    if form == "text" and not connection.quiet:
        console.print(f"emogg doctor {__version__}, {time}\n", soft_wrap=True)
    for each in examine(connection):
        seen.append(each)
        if form == "text" and (each.status == "fail" or not connection.quiet):
            console.print(_line(each, console.encoding), soft_wrap=True)
    if form == "json":
        click.echo(json.dumps({"time": time} | _report(seen), indent=2))
    elif not connection.quiet:
        console.print(f"\n{_summary(seen)}", soft_wrap=True)
    return next((each.code for each in seen if each.code is not Exit.OK), Exit.OK)


def _report(findings: "list[Finding]") -> dict[str, Any]:
    checks = [
        {
            "check": each.name,
            "status": each.status,
            "text": each.text,
            "next": each.next_step or None,
            "facts": dict(each.facts),
        }
        for each in findings
    ]
    return {"ok": all(each.status != "fail" for each in findings), "checks": checks}


def _line(finding: "Finding", encoding: str) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - help does without

    from emogg_async._cli.checks import NAMES  # noqa: PLC0415

    status, width = finding.status, max(map(len, NAMES))
    sign = _SIGNS[status].encode(encoding, "ignore").decode(encoding)
    mark = f"{sign} {status:4}".lstrip()
    line = Text(mark, _STYLES[status])
    line.append(f"  {finding.name:{width}}  {printable(finding.text)}", "default")
    if finding.next_step:
        line.append(f"\n{'':{len(mark) + width + 4}}{finding.next_step}.", "default")
    return line


def _summary(findings: "list[Finding]") -> str:
    first = {each.status: each.name for each in reversed(findings)}
    if "fail" in first:
        return f"Begin with what failed first: {first['fail']}."
    if "warn" in first:
        return "Nothing failed, but there is something to look at."
    return "All is well."
