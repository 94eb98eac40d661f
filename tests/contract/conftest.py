"""How the contract is run: against whom, how, and what is told at the end."""

import asyncio
import ipaddress
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import pytest

from contract.asking import Service, proxy_to
from contract.emulated import emulated
from contract.seeing import said
from contract.stating import Finding, NotTried, Row, Statement, found, table


@attrs.define
class Report:
    """What is told at the end."""

    rows: list[Row] = attrs.field(factory=list)
    left: int = 0


_SLOWEST: Final = 60
"""The most seconds between two requests of a run, which has some 130."""

REPORT: Final = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract")
    group.addoption(
        "--service",
        action="store_true",
        help="ask the service at EMOGG_BASE_URL with EMOGG_API_TOKEN, not the emulator",
    )
    group.addoption(
        "--allow-changes",
        action="store_true",
        help="make a session there, try all changes on it, and remove it",
    )
    group.addoption("--report", metavar="FILE", help="write the table to FILE, too")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()
    folder = Path(config.getoption("report") or ".").parent
    if not folder.is_dir():
        raise pytest.UsageError(f"--report: there is no folder {folder}")


@pytest.fixture(scope="session")
def running(
    pytestconfig: pytest.Config,
) -> Iterator[tuple[asyncio.Runner, Service]]:
    """Give the service and the loop to ask it in; in the end, remove what was made."""
    with ExitStack() as stack:
        service = _choose(pytestconfig, stack)
        runner = stack.enter_context(asyncio.Runner())
        runner.run(service.__aenter__())
        try:
            runner.run(_knock(service))
            yield runner, service
        finally:
            try:
                runner.run(service.clean())
            finally:
                pytestconfig.stash[REPORT].left = service.left
                runner.run(service.__aexit__())


def _choose(config: pytest.Config, stack: ExitStack) -> Service:
    if not config.getoption("service"):
        emulator = stack.enter_context(emulated())
        others = emulator.add_token()
        return Service(emulator.url, emulator.token, is_ours=True, others_token=others)
    url = os.environ.get("EMOGG_BASE_URL", "https://api.emogg.com").rstrip("/")
    token = os.environ.get("EMOGG_API_TOKEN", "")
    if not token:
        pytest.exit("set EMOGG_API_TOKEN to a token of the service", returncode=4)
    if not token.isprintable() or " " in token:
        pytest.exit("EMOGG_API_TOKEN is no token: it has spaces", returncode=4)
    if not _is_safe(url):
        complaint = "EMOGG_BASE_URL must be an address that begins with https://"
        pytest.exit(complaint, returncode=4)
    try:
        proxy_to(url)
    except ValueError:
        pytest.exit("HTTPS_PROXY must name an HTTP proxy", returncode=4)
    return Service(url, token, may_change=config.getoption("allow_changes"))


async def _knock(service: Service) -> None:
    """Leave if nothing can be asked at all."""
    try:
        answer = await service.get("/v1/sessions", limit=1)
    except NotTried as reason:
        pytest.exit(str(reason), returncode=4)
    if answer.status == 401:
        pytest.exit("the service does not know the token", returncode=4)
    if answer.status != 200:
        seen = answer.seen.text
        pytest.exit(f"the service does not list sessions: {seen}", returncode=4)
    if (every := round(service.pace.every)) > _SLOWEST and not service.is_ours:
        share = f"a fifth of the rate limit is one request in {every} s"
        pytest.exit(f"this would take hours: {share}", returncode=4)


def _is_safe(url: str) -> bool:
    """Tell whether a token may travel there: encrypted, or within this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # which may be no number
    except ValueError:
        return False
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)


@pytest.fixture
def judge(
    pytestconfig: pytest.Config, running: tuple[asyncio.Runner, Service]
) -> Callable[..., None]:
    """Give what makes a check, notes the row, and passes, skips or fails the test.

    A promise that does not hold fails. So does a guess, on the emulator, which is made
    of them; of a service, it is news.
    """
    runner, service = running
    rows = pytestconfig.stash[REPORT].rows

    def judge(
        statement: Statement, check: Callable[..., Awaitable[Finding]], *case: Any
    ) -> None:
        try:
            finding = runner.run(_find(service, check, *case))
        except NotTried as reason:
            rows.append(Row(statement, str(reason), "not tried"))
            pytest.skip(str(reason))
        seen = " · ".join(each.text for each in finding.seen)
        rows.append(Row(statement, seen, "holds" if finding.holds else "deviates"))
        if finding.holds:
            return
        if statement.kind == "guess" and not service.is_ours:
            pytest.xfail("a guess that does not hold")
        pytest.fail(f"{statement.what}: {seen}", pytrace=False)

    return judge


async def _find(
    service: Service, check: Callable[..., Awaitable[Finding]], *case: Any
) -> Finding:
    service.latest = said("no answer")
    try:
        return await check(service, *case)
    except NotTried:
        raise
    except Exception:
        return found(False, service.latest, said("which is of another shape, or late"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    report = config.stash[REPORT]
    if not report.rows:
        return
    asked = "a service" if config.getoption("service") else "the emulator"
    with_changes = config.getoption("allow_changes") or asked == "the emulator"
    how = "changes allowed" if with_changes else "read only"
    text = table(report.rows, f"The contract, asked of {asked}, {how}.", report.left)
    terminalreporter.section("contract")
    terminalreporter.write_line(text)
    if path := config.getoption("report"):
        Path(path).write_text(text, encoding="utf-8")
