"""`emogg doctor`: what it finds where all is well, and where something is not."""

import asyncio
import json
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click
import pytest
import trustme
from _terminal import run, run_on_terminal
from rawserver import Writer, always, http, serving
from wayside import certified as certificate_for
from wayside import proxying, tls_front

from emogg_async._cli import checks
from emogg_async._cli.app import emogg
from emogg_async._cli.checks import Finding, examine
from emogg_async._cli.exits import Exit
from emogg_async._cli.options import Connection, connection_options
from emogg_async.testing import EmoggEmulator

if TYPE_CHECKING:
    from subprocess import CompletedProcess

EMPTY = b'{"data": [], "hasMore": false, "limit": 1, "offset": 0, "total": 0}'

NETWORK = ["DNS", "TCP", "TLS", "HTTP", "clock"]
CLIENT = ["authentication", "latency", "rate limit"]

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
needs_fifo = pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
needs_modes = pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*checks.PROXIES, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def connection(*arguments: str) -> Connection:
    """Return what a command gets that is told these options."""

    @click.command()
    @connection_options
    def command(connection: Connection) -> Connection:
        return connection

    made = command.main([*arguments], standalone_mode=False)
    assert isinstance(made, Connection)
    return made


def findings(*arguments: str) -> dict[str, Finding]:
    """Make all checks here, without a process of its own."""
    return {each.name: each for each in examine(connection(*arguments))}


async def findings_of(url: str, *arguments: str) -> dict[str, Finding]:
    """Make all checks of a server that this event loop runs."""
    return await asyncio.to_thread(findings, "--base-url", url, *arguments)


def by_status(found: dict[str, Finding], status: str) -> list[str]:
    """Return the names of the checks that ended so."""
    return [name for name, each in found.items() if each.status == status]


def answer(*headers: str) -> bytes:
    """Write an empty page of sessions."""
    return http("200 OK", EMPTY, "Content-Type: application/json", *headers)


# -- where all is well -----------------------------------------------------------------


def test_report(emogg_emulator: EmoggEmulator) -> None:
    """The report has a line for each check, tells what it found, and ends with 0."""
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.findall(r"^✓ ok    (.{14})  (\S.*)$", done.stdout, re.MULTILINE)
    told = {name.strip(): text for name, text in lines}
    assert tuple(told) == checks.NAMES
    assert told["base URL"] == f"{emogg_emulator.url}, EMOGG_BASE_URL"
    length = len(emogg_emulator.token)
    assert told["token"] == f"length {length}, from EMOGG_API_TOKEN"
    assert told["TLS"] == "none needed: loopback"
    assert told["clock"] == "not compared: the emulator has its own"
    assert "10,000 requests left" in told["rate limit"]
    assert "emogg-async " in told["versions"]
    assert all(f"{name} " in told["libraries"] for name in checks.LIBRARIES.split())
    assert done.stdout.endswith("\nAll is well.\n")
    assert emogg_emulator.token not in done.stdout
    assert "\x1b" not in done.stdout


def test_report_as_json(emogg_emulator: EmoggEmulator) -> None:
    """`-o json` has the same, and figures."""
    done = run("doctor", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert tuple(each["check"] for each in report["checks"]) == checks.NAMES
    facts = {each["check"]: each["facts"] for each in report["checks"]}
    assert facts["token"]["length"] == len(emogg_emulator.token)
    assert facts["rate limit"]["limit"] == 10_000
    assert facts["clock"]["ahead"] > 0  # of a clock that begins in 2024
    assert emogg_emulator.token not in done.stdout


@needs_terminal
def test_report_on_a_terminal(emogg_emulator: EmoggEmulator) -> None:
    """A terminal gets colours, and the marks that its encoding has."""
    del emogg_emulator
    plain = {"PYTHONUTF8": None, "PYTHONIOENCODING": "ascii"}
    done = run_on_terminal("doctor", columns=60, **plain)
    assert done.returncode == 0
    assert "\x1b[32mok  " in done.stdout
    assert "✓" not in done.stdout


def test_quiet(
    emogg_emulator: EmoggEmulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`-q` says nothing of what is well, and all of what is not."""
    with pytest.raises(SystemExit) as caught:
        emogg.main(["doctor", "-q"])
    assert (caught.value.code, capsys.readouterr().out) == (0, "")
    monkeypatch.setenv("EMOGG_API_TOKEN", "wrong")
    with pytest.raises(SystemExit) as caught:
        emogg.main(["doctor", "-q"])
    assert caught.value.code == Exit.CREDENTIALS
    failed, step = capsys.readouterr().out.splitlines()
    assert "authentication  401" in failed
    assert "Check EMOGG_API_TOKEN" in step
    assert emogg_emulator.requests


# -- configuration ---------------------------------------------------------------------


def test_wrong_token(emogg_emulator: EmoggEmulator) -> None:
    """A refused token ends with 4, and nothing of it or of a proxy's is told."""
    done = run(
        "doctor", EMOGG_API_TOKEN="tok-5ecret", HTTPS_PROXY="http://joe:pass@proxy:80"
    )
    assert done.returncode == 4
    assert "authentication  401: " in done.stdout
    assert "HTTPS_PROXY set, and not used" in done.stdout
    assert "Begin with what failed first: authentication." in done.stdout
    assert not re.search("5ecret|joe|pass@", done.stdout + done.stderr)
    assert emogg_emulator.requests


def test_no_token(
    emogg_emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token the network is looked at all the same."""
    monkeypatch.delenv("EMOGG_API_TOKEN")
    found = findings()
    assert by_status(found, "fail") == ["token"]
    assert found["token"].code is Exit.CREDENTIALS
    assert by_status(found, "skip") == CLIENT
    assert found["HTTP"].facts["status"] == 401
    assert emogg_emulator.requests


def test_forbidden(emogg_emulator: EmoggEmulator) -> None:
    """A token that may not list sessions is told from one that is refused."""
    emogg_emulator.fail(status=403)
    found = findings()
    assert found["authentication"].code is Exit.CREDENTIALS
    assert found["authentication"].next_step == "Use a token that may do this"
    assert by_status(found, "fail") == ["authentication"]


def test_wrong_base_url(
    emogg_emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base URL that cannot be used is not shown: it may hold a password."""
    del emogg_emulator
    monkeypatch.setenv("EMOGG_BASE_URL", "https://joe:hunter2@emogg.invalid")
    found = findings()
    assert by_status(found, "fail") == ["base URL"]
    assert by_status(found, "skip") == NETWORK + CLIENT
    assert not re.search("joe|hunter2", repr(found))


@needs_modes
def test_token_file(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """A token in a file is used, and others should have no right to it."""
    file = tmp_path / "token"
    file.write_text(f"{emogg_emulator.token}\n")
    file.chmod(0o640)
    found = findings("--token-file", str(file))
    assert by_status(found, "warn") == ["token"]
    assert "its mode is 640" in found["token"].text
    file.chmod(0o600)
    found = findings("--token-file", str(file))
    assert by_status(found, "ok") == [*checks.NAMES]
    assert found["token"].text.endswith("from a file")


@needs_fifo
def test_token_from_a_pipe(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """A token that can be read only once, as from `<(…)`, serves all checks."""
    pipe = tmp_path / "token"
    os.mkfifo(pipe, 0o600)
    writer = Thread(target=pipe.write_text, args=[emogg_emulator.token], daemon=True)
    writer.start()
    found = findings("--token-file", str(pipe))
    writer.join()
    assert by_status(found, "fail") == []
    assert found["token"].facts["length"] == len(emogg_emulator.token)


def test_missing_token_file(
    emogg_emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is not there is told without the user's name."""
    del emogg_emulator
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = findings("--token-file", str(tmp_path / "token"))
    assert found["token"].status == "fail"
    assert str(tmp_path) not in found["token"].text


# -- network ---------------------------------------------------------------------------


def test_nobody_listens(emogg_emulator: EmoggEmulator) -> None:
    """Where nobody listens, it ends with 7, and what needs a connection is skipped."""
    emogg_emulator.stop()
    done = run("doctor")
    assert done.returncode == 7
    assert "✗ fail  TCP " in done.stdout
    skipped = re.findall(r"^– skip  (\S+(?: \S+)?)  ", done.stdout, re.MULTILINE)
    assert skipped == [*NETWORK[2:], *CLIENT]


def test_unknown_name(emogg_emulator: EmoggEmulator) -> None:
    """A name that does not resolve is told as such."""
    del emogg_emulator
    found = findings("--base-url", "https://emogg.invalid", "--timeout", "5")
    assert by_status(found, "fail") == ["DNS"]
    assert found["DNS"].code is Exit.NETWORK
    assert found["DNS"].text.startswith("not sent: ")
    assert "DNS" in found["DNS"].next_step
    assert by_status(found, "skip") == NETWORK[1:] + CLIENT


@pytest.mark.parametrize("timeout", ["nan", "inf"])
def test_odd_timeouts(emogg_emulator: EmoggEmulator, timeout: str) -> None:
    """No timeout makes it wait for longer than ten seconds, or not at all."""
    del emogg_emulator
    assert by_status(findings("--timeout", timeout), "ok") == [*checks.NAMES]


def test_slow_name(
    emogg_emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that takes too long ends by the time limit."""
    del emogg_emulator
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5))
    found = findings("--base-url", "https://emogg.invalid", "--timeout", "0.05")
    assert by_status(found, "fail") == ["HTTP"]
    assert "no answer within 0.05 s" in found["HTTP"].text
    assert found["DNS"].text == "unknown: the time was up"


@pytest.fixture
def authority() -> trustme.CA:
    """Make an authority that nobody trusts."""
    return trustme.CA()


def certified(authority: trustme.CA, **options: Any) -> ssl.SSLContext:
    """Make the context of a server with a certificate of *authority*."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", **options).configure_cert(context)
    return context


async def test_untrusted_certificate(
    emogg_emulator: EmoggEmulator, authority: trustme.CA
) -> None:
    """A certificate that is not trusted is told with the reason; no token is sent."""
    del emogg_emulator
    async with serving(always(answer()), ssl=certified(authority)) as server:
        found = await findings_of(server.url)
    assert by_status(found, "fail") == ["TLS"]
    assert "the certificate of 127.0.0.1 is refused: " in found["TLS"].text
    assert "SSL_CERT_FILE" in found["TLS"].next_step
    assert server.heads == []


async def test_trusted_certificate(
    emogg_emulator: EmoggEmulator, authority: trustme.CA, tmp_path: Path
) -> None:
    """SSL_CERT_FILE makes it trusted."""
    del emogg_emulator
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    ssl_context = certified(authority)
    async with serving(always(answer()), ssl=ssl_context) as server:
        changes = {"EMOGG_BASE_URL": server.url, "SSL_CERT_FILE": str(trusted)}
        done = await asyncio.to_thread(run, "doctor", **changes)
    assert done.returncode == 0, done.stdout
    assert re.search("✓ ok    TLS +the certificate is trusted", done.stdout)
    assert "✓ ok    authentication" in done.stdout
    assert "the service does not tell any" in done.stdout


@pytest.mark.parametrize(
    ("ahead", "text", "status"),
    [
        (0, "right, within a second", "ok"),
        (3, "[234] s ahead of the service's", "ok"),
        (60, "(59|60|61) s ahead of the service's", "warn"),
        (-3_600, "3,(599|600|601) s behind the service's", "warn"),
    ],
)
async def test_clock(
    emogg_emulator: EmoggEmulator, ahead: int, text: str, status: str
) -> None:
    """A clock that is wrong by five seconds or more is a warning."""
    del emogg_emulator

    async def tell_time(writer: Writer, _: int) -> bool:
        writer.write(answer(f"Date: {formatdate(time.time() - ahead, usegmt=True)}"))
        return True

    async with serving(tell_time) as server:
        found = await findings_of(server.url)
    assert re.fullmatch(text, found["clock"].text)
    assert found["clock"].status == status


@pytest.mark.parametrize("date", ["Date: yesterday", "X-Nothing: 0"])
async def test_no_clock(emogg_emulator: EmoggEmulator, date: str) -> None:
    """A service that does not tell its time is no failure."""
    del emogg_emulator
    async with serving(always(answer(date))) as server:
        found = await findings_of(server.url)
    assert by_status(found, "skip") == ["clock"]
    assert by_status(found, "fail") == []


async def hang(_: Writer, __: int) -> bool:
    """Never answer."""
    await asyncio.sleep(60)
    return False


async def test_hang(emogg_emulator: EmoggEmulator) -> None:
    """A service that does not answer costs one call's time, and no more."""
    del emogg_emulator
    async with serving(hang) as server:
        for url in (server.url, server.url.replace("http", "https")):
            found = await findings_of(url, "--timeout", "0.2")
            assert by_status(found, "fail") == ["HTTP"]
            assert "no answer within 0.2 s" in found["HTTP"].text
            assert found["TLS"].text == "unknown: the time was up"
        assert len(server.heads) == 1


async def test_no_web_server(emogg_emulator: EmoggEmulator) -> None:
    """Something else that listens there is told as such."""
    del emogg_emulator
    async with serving(always(b"SSH-2.0\r\n", keep=False)) as server:
        found = await findings_of(server.url)
    assert by_status(found, "fail") == ["HTTP"]
    assert by_status(found, "skip") == ["clock", *CLIENT]


async def test_calls_that_fail_later(emogg_emulator: EmoggEmulator) -> None:
    """When only the calls for the latency fail, only that is unknown."""
    del emogg_emulator
    gone = http("503 Gone")
    async with serving(always(answer(), gone)) as server:
        found = await findings_of(server.url)
    assert by_status(found, "skip") == ["clock", "latency"]


def test_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library whose version nobody knows does not break the report."""
    monkeypatch.setattr(checks, "LIBRARIES", "no-such-library")
    monkeypatch.setenv("EMOGG_BASE_URL", "nonsense")
    text = findings()["libraries"].text
    assert text == "no-such-library of unknown version"


# -- through a proxy -------------------------------------------------------------------

USER = "j.doe:s3cret"


@pytest.fixture
async def service(
    emogg_emulator: EmoggEmulator,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AsyncIterator[str]:
    """Serve the emulator by a name that only a proxy can resolve; it is trusted."""
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = certificate_for(authority, "api.example")
    async with tls_front(emogg_emulator.url, context) as front:
        url = front.replace("127.0.0.1", "api.example")
        monkeypatch.setenv("EMOGG_BASE_URL", url)
        yield url


async def doctor(**changes: str | None) -> "CompletedProcess[str]":
    """Run it in a process, which trusts what SSL_CERT_FILE names from its start on."""
    return await asyncio.to_thread(run, "doctor", **changes)


@pytest.mark.usefixtures("service")
async def test_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check goes through the proxy, as the client does; no password is told."""
    async with proxying(user=USER) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.with_user(USER))
        done = await doctor()
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        told = dict(re.findall(r"^✓ ok    (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
        assert told["proxy"] == f"{proxy.url}, from HTTPS_PROXY"
        assert told["DNS"] == f"the name was found by the proxy {proxy.url}"
        assert told["TCP"] == f"connected by the proxy {proxy.url}"
        assert told["TLS"] == "the certificate is trusted"
        assert told["HTTP"] == "the service answered with 200"
        assert "authentication" in told
        assert not re.search("doe|s3cret", done.stdout)
        assert proxy.tunnels == 2
        listed = await asyncio.to_thread(run, "sessions", "list", "--limit", "1")
        assert (listed.returncode, proxy.tunnels) == (0, 3)


@pytest.mark.usefixtures("service")
async def test_secure_proxy(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    """Through an https:// proxy all but the clock is checked."""
    async with proxying(certified(authority)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        done = await doctor()
    assert done.returncode == 0, done.stdout
    assert f"{proxy.url}, from https_proxy" in done.stdout
    skipped = re.findall(r"^– skip  (\S+) ", done.stdout, re.MULTILINE)
    assert skipped == ["clock"]
    assert "the service accepts the token" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"user": USER}, "answered 407 Proxy Authentication Required"),
        ({"fault": "502 Busy"}, "answered 502 Bad Gateway"),
        ({"fault": "close"}, "it closed the connection, or did not answer"),
        ({"fault": "nonsense"}, "it closed the connection, or did not answer"),
        ({"fault": "hang"}, "no connection through the proxy http"),
        ({"fault": "trickle"}, "no connection through the proxy http"),
    ],
)
async def test_proxy_that_refuses(
    service: str,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    said: str,
) -> None:
    """What the proxy says is told, with HTTPS_PROXY as the place to look at."""
    async with proxying(**options) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.with_user("joe:hunter2"))
        found = await findings_of(service, "--timeout", "0.3")
    assert by_status(found, "fail") == ["TCP"]
    assert said in found["TCP"].text
    assert "HTTPS_PROXY" in found["TCP"].next_step
    assert "hunter2" not in repr(found)


@pytest.mark.usefixtures("service")
async def test_proxy_that_looks_inside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate that is not trusted is told through the proxy, too."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    async with proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        done = await doctor(SSL_CERT_FILE=str(other))
        listed = await asyncio.to_thread(
            run, "sessions", "list", SSL_CERT_FILE=str(other)
        )
    assert done.returncode == 7
    assert re.search(
        "fail  TLS .*the certificate of api.example is refused", done.stdout
    )
    what, step = listed.stderr.splitlines()
    assert (listed.returncode, listed.stdout) == (7, "")
    assert "the certificate of api.example is refused: " in what
    assert "SSL_CERT_FILE" in step


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"HTTPS_PROXY": "http://p.test:1"}, "ok", "http://p.test:1, from HTTPS_PROXY"),
        ({"https_proxy": "p.test"}, "ok", "http://p.test:80, from https_proxy"),
        (
            {"HTTPS_PROXY": "http://p.test", "NO_PROXY": "api.example"},
            "ok",
            "HTTPS_PROXY set, and not used: this machine, or NO_PROXY",
        ),
        (
            {"ALL_PROXY": "http://p.test", "http_proxy": "http://p.test"},
            "warn",
            "ALL_PROXY and http_proxy set, and not used: connections are direct",
        ),
        ({"HTTPS_PROXY": "socks5://joe:hunter2@p.test"}, "fail", "HTTPS_PROXY: expec"),
    ],
)
def test_proxy_variables(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], status: str, text: str
) -> None:
    """Which proxy is used is told, and which variable says so."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    found = next(
        each
        for each in examine(connection("--base-url", "https://api.example"))
        if each.name == "proxy"
    )
    assert found.status == status
    assert found.text.startswith(text)
    assert bool(found.facts.get("proxy")) is (", from " in text)
    assert "hunter2" not in repr(found)


def test_unusable_proxy(emogg_emulator: EmoggEmulator) -> None:
    """What is no proxy ends every command with 4, and names the variable."""
    del emogg_emulator
    changes = {"HTTPS_PROXY": "socks5://joe:hunter2@p.test"}
    changes["EMOGG_BASE_URL"] = "https://api.example"
    for command in (("doctor",), ("sessions", "list")):
        done = run(*command, **changes)
        assert done.returncode == Exit.CREDENTIALS
        assert "Correct HTTPS_PROXY" in done.stdout + done.stderr
        assert "hunter2" not in done.stdout + done.stderr
