"""The checks of `emogg doctor`: configuration, calls of the client, versions.

The report may be pasted into a ticket: it holds the token's length and no part of it,
neither user nor password of a proxy, and nothing from a file.
"""

import os
import platform
import socket
import ssl
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib.metadata import distributions
from typing import Any, Final, Literal
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler

import attrs

from emogg_async import AsyncEmoggClient, EmoggError, RateLimit, RetryPolicy, errors
from emogg_async import __version__ as our_version
from emogg_async._cli.exits import OBSTACLES, SEE_DOCTOR, Exit, exit_of, explain
from emogg_async._cli.options import Connection
from emogg_async._cli.running import log_to_stderr
from emogg_async._cli.signals import run_loop
from emogg_async._wire.protocol import DEFAULT_BASE_URL

__all__ = ["LIBRARIES", "NAMES", "PROXIES", "Finding", "examine"]

PATIENCE: Final = 10.0  # seconds at most for a call, whatever --timeout says
SKEW: Final = 5.0  # seconds by which clocks may differ
CALLS: Final = 3  # after a first one, which has to connect
EMULATOR: Final = "emogg-emulator"  # its `Server`; its clock is made up
PROXIES: Final = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
LIBRARIES: Final = "aiocache aiohttp attrs cattrs tenacity click rich"

WAY: Final = ("DNS", "TCP", "TLS", "HTTP")
ACCOUNT: Final = ("authentication", "latency", "rate limit")
SOFTWARE: Final = ("versions", "libraries", "platform")
NAMES: Final = ("base URL", "token", "proxy", *WAY, "clock", *ACCOUNT, *SOFTWARE)

_STEPS: Final = {
    "DNS": "Check the base URL for typing errors, and this machine's DNS",
    "TCP": "Check that the service runs there, and that no firewall is in between",
    "TLS": "Check that the base URL is that of an https server",
    "certificate": "If you trust its issuer, let SSL_CERT_FILE name a file with their "
    "root certificate; else check the base URL and this machine's clock",
    "proxy": OBSTACLES["proxy"].removesuffix(SEE_DOCTOR),
}
"""The next step by obstacle or stage; elsewhere it is the error's own advice."""


@attrs.frozen
class Finding:
    """The result of a check: in text, and as facts for programs."""

    name: str
    status: Literal["ok", "warn", "fail", "skip"]
    text: str
    facts: Mapping[str, Any] = attrs.Factory(dict)
    next_step: str = ""
    code: Exit = Exit.OK


def _failed(name: str, error: EmoggError, next_step: str = "") -> Finding:
    text, advice = explain(error).splitlines()
    text = text.removeprefix("Error: ").rstrip(".")
    if len(home := os.path.expanduser("~")) > 1:
        text = text.replace(home, "~")  # the user's name is often part of it
    step = next_step or advice.rstrip(".").removesuffix(SEE_DOCTOR)
    return Finding(name, "fail", text, next_step=step, code=exit_of(error))


def _skipped(names: Sequence[str], cause: str) -> Iterator[Finding]:
    for name in names:
        yield Finding(name, "skip", f"needs {cause}")


def examine(connection: Connection) -> Iterator[Finding]:
    """Make all checks, each as far as those before it allow."""
    connection = attrs.evolve(connection, timeout=min(PATIENCE, connection.timeout))
    base_url = _base_url(connection)
    yield base_url
    token, finding = _token(connection)
    yield finding
    proxy = _proxy(base_url.facts.get("url", DEFAULT_BASE_URL))
    yield proxy
    if "fail" in (base_url.status, proxy.status):
        cause = proxy if base_url.status == "ok" else base_url
        yield from _skipped((*WAY, "clock", *ACCOUNT), cause.name)
    else:
        connection = attrs.evolve(connection, base_url=base_url.facts["url"])
        yield from _service(connection, token, proxy.facts["proxy"])
    yield from _software()


def _base_url(connection: Connection) -> Finding:
    source = "--base-url" if connection.base_url else "EMOGG_BASE_URL"
    given = connection.base_url or os.environ.get("EMOGG_BASE_URL")
    try:
        AsyncEmoggClient("none", base_url=given)
    except EmoggError as error:
        return _failed("base URL", error)
    url, source = given or DEFAULT_BASE_URL, source if given else "the default"
    return Finding("base URL", "ok", f"{url}, {source}", {"url": url, "source": source})


def _token(connection: Connection) -> tuple[str | None, Finding]:
    try:
        token = connection.token()
        # The base URL has a check of its own.
        AsyncEmoggClient(token, base_url=DEFAULT_BASE_URL)
    except EmoggError as error:
        return None, _failed("token", error)
    file = connection.token_file
    source = "EMOGG_API_TOKEN" if file is None else "a file"
    text = f"length {len(token)}, from {source}"
    facts = {"length": len(token), "source": source}
    mode = stat.S_IMODE(file.stat().st_mode) if file and os.name == "posix" else 0
    if mode & 0o077:
        text += f", which others may use: its mode is {mode:o}"
        step = "Take their rights away: chmod 600"
        return token, Finding("token", "warn", text, facts, step)
    return token, Finding("token", "ok", text, facts)


def _proxy(url: str) -> Finding:
    """Tell which proxy a client of *url* uses, and which variables it ignores."""
    try:
        used = AsyncEmoggClient("none", base_url=url, trust_env=True).proxy
    except EmoggError as error:
        return _failed("proxy", error)
    both = (name for upper in PROXIES for name in (upper, upper.lower()))
    names = [name for name in both if os.environ.get(name)]
    given = [name for name in names if name.upper() == "HTTPS_PROXY"]
    facts = {"proxy": used, "variables": names}
    if used:
        source = given[-1] if given else "the system's settings"
        return Finding("proxy", "ok", f"{used}, from {source}", facts)
    if not names:
        return Finding("proxy", "ok", "none asked for", facts)
    text = f"{' and '.join(given or names)} set, and not used: "
    if given:
        return Finding("proxy", "ok", f"{text}this machine, or NO_PROXY", facts)
    step = "Set HTTPS_PROXY if the service can only be reached through a proxy"
    return Finding("proxy", "warn", f"{text}connections are direct", facts, step)


def _service(
    connection: Connection, token: str | None, proxy: str | None
) -> Iterator[Finding]:
    if connection.verbose:
        log_to_stderr()
    laps, error, rate_limit = run_loop(lambda: _call(connection, token))
    yield from _way(connection, proxy, error)
    if stage := _stopped_at(error):
        yield from _skipped(("clock", *ACCOUNT), stage)
        return
    yield _clock(connection, proxy)
    if token is None:
        yield from _skipped(ACCOUNT, "token")
    elif error:
        yield _failed("authentication", error)
        yield from _skipped(ACCOUNT[1:], "authentication")
    else:
        yield Finding("authentication", "ok", "the service accepts the token")
        yield _latency(*laps)
        yield _rate_limit(rate_limit)


async def _call(
    connection: Connection, token: str | None
) -> tuple[list[float], EmoggError | None, RateLimit | None]:
    """Ask for the newest session; return how long each call took, and what failed.

    Without a token, the refusal of a made-up one shows that the service is there.
    """
    laps: list[float] = []
    once, limit = RetryPolicy(attempts=1), connection.timeout
    # The error of an attempt tells more than that of the call, which ends later.
    link = attrs.evolve(connection, timeout=2 * limit)
    client = link.client(
        token=token or "none", cache=None, retry=once, attempt_timeout=limit
    )
    async with client:
        try:
            for _ in range(1 + CALLS):
                began = time.perf_counter()
                await client.list_sessions(page_size=1).first()
                laps.append(time.perf_counter() - began)
        except EmoggError as error:
            return laps, None if laps else error, client.rate_limit
        return laps, None, client.rate_limit


def _stopped_at(error: EmoggError | None) -> str:
    """Return the stage at which *error* stopped a request; "" if none."""
    if error is None or isinstance(error, errors.StatusError):
        return ""
    if isinstance(error, errors.DeadlineError) and not error.sent:
        return "TCP"
    if not isinstance(error, errors.NotSentError):
        return "HTTP"
    # Of these, only the error of the system tells the stage.
    cause = getattr(error.__cause__, "os_error", None)
    if isinstance(cause, socket.gaierror):
        return "DNS"
    is_tls = error.stopped_by == "certificate" or isinstance(cause, ssl.SSLError)
    return "TLS" if is_tls else "TCP"


def _way(
    connection: Connection, proxy: str | None, error: EmoggError | None
) -> Iterator[Finding]:
    """Tell how far the first request came."""
    stage, through = _stopped_at(error), f" by the proxy {proxy}" if proxy else ""
    secure = f"{connection.base_url}".startswith("https:")
    status = getattr(error, "status", 200)
    passed = WAY[: WAY.index(stage)] if stage else WAY
    texts = {
        "DNS": f"the name was found{through}",
        "TCP": f"connected{through}",
        "TLS": "the certificate is trusted" if secure else "none needed: loopback",
        "HTTP": f"the service answered with {status}",
    }
    for name in passed:
        if isinstance(error, errors.DeadlineError):
            yield Finding(name, "skip", "unknown: the time was up")
        else:
            facts = {"status": status} if name == "HTTP" else {}
            yield Finding(name, "ok", texts[name], facts)
    if error and stage:
        obstacle = getattr(error, "stopped_by", "network")
        if obstacle == "network":
            obstacle = "proxy" if proxy and stage == "TCP" else stage
        yield _failed(stage, error, _STEPS.get(obstacle, ""))
        yield from _skipped(WAY[len(passed) + 1 :], stage)


def _clock(connection: Connection, proxy: str | None) -> Finding:
    """Compare this machine's clock with the `Date` of an answer.

    The client shows no headers, so this asks once more, without a token.
    """
    opener, began = OpenerDirector(), time.time()
    # The client says whether there is a proxy; the environment says which.
    for handler in (ProxyHandler(None if proxy else {}), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    url = f"{connection.base_url}".rstrip("/") + "/v1/sessions?limit=1"
    try:
        with opener.open(url, timeout=connection.timeout) as answer:
            told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (OSError, HTTPException, TypeError, ValueError, OverflowError):
        return Finding("clock", "skip", "the service does not tell its time")
    # On average, `Date` is written half-way through and half a second late.
    ahead = (began + time.time()) / 2 - (told + 0.5)
    step, text = "", "right, within a second"
    if answer.headers["Server"] == EMULATOR:
        text = "not compared: the emulator has its own"
    elif abs(ahead) >= 1:
        direction = "ahead of" if ahead > 0 else "behind"
        text = f"{abs(ahead):,.0f} s {direction} the service's"
        if abs(ahead) >= SKEW:
            step = "Set this machine's clock: dates and certificates depend on it"
    return Finding("clock", "warn" if step else "ok", text, {"ahead": ahead}, step)


def _latency(first: float, *others: float) -> Finding:
    if not others:
        return Finding("latency", "skip", "no further call came back")
    best, worst, slow = (
        f"{each * 1_000:,.1f} ms" for each in (min(others), max(others), first)
    )
    text = f"{best} to {worst}, of {len(others)} calls; the first took {slow}"
    return Finding("latency", "ok", text, {"seconds": others, "first": first})


def _rate_limit(limit: RateLimit | None) -> Finding:
    if limit is None:
        return Finding("rate limit", "ok", "the service does not tell any")
    text = "{remaining:,} of {limit:,} requests left, policy {policy}"
    facts = attrs.asdict(limit)
    return Finding("rate limit", "ok", text.format_map(facts), facts)


def _software() -> Iterator[Finding]:
    ours = {
        "emogg-async": our_version,
        platform.python_implementation(): platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
    }
    found = {each.name: each.version for each in distributions()}
    unknown = "of unknown version"
    libraries = {name: found.get(name, unknown) for name in LIBRARIES.split()}
    for name, facts in (("versions", ours), ("libraries", libraries)):
        text = ", ".join(f"{each} {its}" for each, its in facts.items())
        yield Finding(name, "ok", text, facts)
    system = platform.platform()
    yield Finding("platform", "ok", system, {"platform": system})
