"""The checks of `emogg doctor`: what lies between here and an answer, in its order.

What they say is made to be pasted into a ticket: of the token only its length, of a
proxy neither user nor password, and of files nothing.
"""

import asyncio
import contextlib
import http.client
import os
import ssl
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import attrs

from emogg_async import (
    AsyncEmoggClient,
    EmoggError,
    NotSentError,
    RateLimit,
    RetryPolicy,
)
from emogg_async._cli.checks import detour, probe, setup
from emogg_async._cli.checks.findings import Finding, failed, failure, skipped, warning
from emogg_async._cli.options import Connection

if TYPE_CHECKING:
    import socket

__all__ = ["NAMES", "examine"]

PATIENCE: Final = 10.0
"""Seconds at most for each check, however long a call may take otherwise."""

SKEW: Final = 5.0
"""Seconds by which clocks may differ."""

EMULATOR: Final = "emogg-emulator"
"""What the emulator calls itself: its clock is made up, and can be moved."""

EXPIRY: Final = 14
"""Days that a certificate should still be good for."""

CALLS: Final = 3
"""How often the latency is measured."""

DEFAULT_BASE_URL: Final = "https://api.emogg.com"


def examine(connection: Connection) -> Iterator[Finding]:
    """Make all checks, each one as far as those before it allow."""
    checkup = _Checkup(connection)
    passed: set[str] = set()
    with contextlib.closing(checkup):
        for name, (check, needed) in _CHECKS.items():
            missing = [other for other in needed if other not in passed]
            finding = skipped(f"needs {missing[0]}") if missing else check(checkup)
            if finding.status in {"ok", "warn"} or name in checkup.unseen:
                passed.add(name)
            yield attrs.evolve(finding, name=name)


class _Checkup:
    """The checks, and what the later ones take from those before them."""

    def __init__(self, connection: Connection) -> None:
        self._limit = min(PATIENCE, connection.timeout)
        self._connection = attrs.evolve(connection, timeout=self._limit)
        self.unseen: set[str] = set()  # what is skipped and stops no later check
        self._url: SplitResult = urlsplit(DEFAULT_BASE_URL)
        self._token: str  # set by `token`
        self._proxy: SplitResult | None = None
        self._endpoints: list[probe.Endpoint] = []
        self._endpoint: probe.Endpoint  # set by `tcp`, as the next one is
        self._socket: socket.socket
        self._opened = contextlib.ExitStack()
        self._ahead: float | None = None
        self._emulated = False
        self._laps: list[float] = []
        self._rate_limit: RateLimit | None = None

    def close(self) -> None:
        """Close what is still open."""
        self._opened.close()

    @property
    def _host(self) -> str:
        return self._url.hostname or ""

    @property
    def _next_hop(self) -> tuple[str, int, str]:
        """Host and port to connect to, and what says so."""
        url, source = self._url, "the base URL"
        if self._proxy is not None:
            url, source = self._proxy, detour.VARIABLE
        return url.hostname or "", _port_of(url), source

    # -- configuration -------------------------------------------------------------

    def base_url(self) -> Finding:
        """Find out where the service is said to be."""
        given, source = self._connection.base_url, "--base-url"
        if given is None:
            given, source = os.environ.get("EMOGG_BASE_URL"), "EMOGG_BASE_URL"
        try:
            AsyncEmoggClient("none", base_url=given)
        except EmoggError as error:
            return failed(error)
        url = given or DEFAULT_BASE_URL
        self._url = urlsplit(url.rstrip("/"))
        source = source if given else "the default"
        return Finding(text=f"{url}, {source}", facts={"url": url, "source": source})

    def token(self) -> Finding:
        """Find out whether there is a token that can be sent."""
        try:
            self._token = self._connection.token()
            # Whatever is wrong with the base URL was already told.
            AsyncEmoggClient(self._token, base_url=DEFAULT_BASE_URL)
        except EmoggError as error:
            return failed(error)
        file = self._connection.token_file
        source = "EMOGG_API_TOKEN" if file is None else "a file"
        length = len(self._token)
        text = f"length {length}, from {source}"
        facts = {"length": length, "source": source}
        if file is not None and os.name == "posix":
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077:
                return warning(
                    f"{text}, which others may use: its mode is {mode:o}",
                    "Take their rights away: chmod 600",
                    **facts,
                )
        return Finding(text=text, facts=facts)

    def proxy(self) -> Finding:
        """Find out which proxy is used, if any."""
        finding, self._proxy = detour.find(self._url.geturl())
        return finding

    @property
    def _of_proxy(self) -> str:
        return "of the proxy: " if self._proxy is not None else ""

    def _open(self, endpoint: probe.Endpoint, seconds: float) -> "socket.socket":
        """Connect to an address, and through it to the service, if it is a proxy's."""
        opened = probe.connect(endpoint, seconds)
        if self._proxy is not None and self._proxy.scheme == "http":
            host, port = self._host, _port_of(self._url)
            try:
                # The socket's own limit is for each piece of an answer.
                probe.bounded(lambda: detour.open_tunnel(opened, host, port), seconds)
            except BaseException:
                opened.close()
                raise
        return opened

    # -- network -------------------------------------------------------------------

    def dns(self) -> Finding:
        """Look up the service's name."""
        began = time.perf_counter()
        host, port, source = self._next_hop
        try:
            found = probe.bounded(lambda: probe.resolve(host, port), self._limit)
        except (OSError, UnicodeError) as error:
            return failure(
                f"{host}: {self._reason(error)}",
                f"Check {source} for typing errors, and this machine's DNS",
            )
        seconds = time.perf_counter() - began
        self._endpoints = found
        addresses = list(dict.fromkeys(str(each.address[0]) for each in found))
        return Finding(
            text=f"{self._of_proxy}{', '.join(addresses)} in {_ms(seconds)}",
            facts={"addresses": addresses, "seconds": seconds},
        )

    def tcp(self) -> Finding:
        """Connect to the first address that lets us."""
        ends = time.perf_counter() + self._limit
        failures = []
        for left, endpoint in zip(
            range(len(self._endpoints), 0, -1), self._endpoints, strict=True
        ):
            began = time.perf_counter()
            try:
                # One that never answers must leave time for the others.
                share = max(ends - began, 0.001) / left
                opened = self._open(endpoint, share)
            except (OSError, NotSentError, http.client.HTTPException) as error:
                failures.append(f"{endpoint}: {self._reason(error)}")
                continue
            seconds = time.perf_counter() - began
            self._endpoint = endpoint
            self._socket = self._opened.enter_context(opened)
            self._socket.settimeout(self._limit)
            text = f"{self._of_proxy}{endpoint} in {_ms(seconds)}"
            if failures:
                return warning(
                    f"{text}, but not {'; '.join(failures)}",
                    "Look why this machine cannot reach some of the addresses",
                )
            return Finding(text=text, facts={"seconds": seconds})
        step = "Check that the service runs there, and that no firewall is in between"
        if self._proxy is not None:
            step = f"Check {detour.VARIABLE}, and that the proxy may reach the service"
        return failure(self._of_proxy + "; ".join(failures), step)

    def tls(self) -> Finding:
        """Shake hands, and look at the certificate."""
        if self._url.scheme == "http":
            return Finding(text="none needed: loopback")
        if self._proxy is not None and self._proxy.scheme == "https":
            self.unseen |= {"TLS", "HTTP"}
            return skipped("left to the client: the proxy speaks TLS itself")
        try:
            secured = probe.bounded(self._shake_hands, self._limit)
        except ssl.SSLCertVerificationError as error:
            return self._refuse(error)
        except (OSError, ValueError) as error:
            return failure(
                self._reason(error),
                "Check that the base URL is that of an https server",
            )
        self._socket = self._opened.enter_context(secured)
        certificate = probe.certificate_of(secured)
        days = (certificate.expires - datetime.now(UTC)).days
        text = f"{secured.version()}, {_in_words(certificate)}, in {days} days"
        facts = {"version": secured.version(), "issuer": certificate.issuer}
        facts["expires"] = certificate.expires.isoformat()
        if days < EXPIRY:
            step = "Tell whoever runs the service that it expires soon"
            return warning(text, step, **facts)
        return Finding(text=text, facts=facts)

    def _shake_hands(self) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        return context.wrap_socket(self._socket, server_hostname=self._host)

    def _refuse(self, error: ssl.SSLCertVerificationError) -> Finding:
        text = f"the certificate is refused: {error.verify_message}"
        seen = probe.untrusted_certificate(
            lambda: self._open(self._endpoint, self._limit)
        )
        return failure(
            f"{text}; {_in_words(seen)}" if seen else text,
            "If you trust who issued it, let SSL_CERT_FILE name a file with their "
            "root certificate; else check the base URL and this machine's clock",
        )

    def http(self) -> Finding:
        """Ask for something without a token."""
        if "HTTP" in self.unseen:
            return skipped("left to the client, too")
        try:
            answer = probe.bounded(
                lambda: probe.exchange(self._socket, self._url), self._limit
            )
        except (OSError, http.client.HTTPException) as error:
            return failure(
                self._reason(error),
                "Try again later: something accepts connections there, but does not "
                "answer as a web server",
            )
        self._ahead = answer.ahead
        self._emulated = answer.server == EMULATOR
        text = f"{answer.status} without a token, in {_ms(answer.seconds)}"
        facts = {"status": answer.status, "seconds": answer.seconds}
        if answer.status == 401:
            return Finding(text=text, facts=facts)
        step = "Check the base URL: the Emogg API would answer with 401"
        return warning(text, step, **facts)

    def clock(self) -> Finding:
        """Compare this machine's clock with the service's."""
        if self._ahead is None:
            return skipped("the service does not tell its time")
        facts = {"ahead": self._ahead}
        if self._emulated:
            return Finding(text="not compared: the emulator has its own", facts=facts)
        amount, direction = abs(self._ahead), "ahead" if self._ahead > 0 else "behind"
        if amount < 1.0:
            return Finding(text="right, within a second", facts=facts)
        text = f"{amount:,.0f} s {direction} of the service's"
        text = text.replace("behind of", "behind")
        if amount < SKEW:
            return Finding(text=text, facts=facts)
        step = "Set this machine's clock: dates and certificates depend on it"
        return warning(text, step, **facts)

    # -- the client ----------------------------------------------------------------

    def authentication(self) -> Finding:
        """Ask for the newest session, as the client does."""
        try:
            asyncio.run(self._ask())
        except EmoggError as error:
            return failed(error)
        return Finding(text="the service accepts the token")

    async def _ask(self) -> None:
        once = RetryPolicy(attempts=1)
        new_client = self._connection.client
        async with new_client(token=self._token, cache=None, retry=once) as client:
            with client.deadline(self._limit):
                await client.list_sessions(page_size=1).first()
            self._rate_limit = client.rate_limit
            with contextlib.suppress(EmoggError), client.deadline(self._limit):
                for _ in range(CALLS):
                    began = time.perf_counter()
                    await client.list_sessions(page_size=1).first()
                    self._laps.append(time.perf_counter() - began)

    def latency(self) -> Finding:
        """Tell how long calls take once there is a connection."""
        if not self._laps:
            return skipped("no further call came back")
        best, worst = min(self._laps), max(self._laps)
        return Finding(
            text=f"{_ms(best)} to {_ms(worst)}, of {len(self._laps)} calls",
            facts={"seconds": self._laps},
        )

    def rate_limit(self) -> Finding:
        """Tell how full the token bucket was."""
        if self._rate_limit is None:
            return Finding(text="the service does not tell any")
        facts = attrs.asdict(self._rate_limit)
        text = "{remaining:,} of {limit:,} requests left, policy {policy}"
        return Finding(text=text.format_map(facts), facts=facts)

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._limit:g} s"
        told = getattr(error, "strerror", None) or getattr(error, "message", None)
        return told or f"{type(error).__name__}: {error}"


_Check = Callable[[_Checkup], Finding]

_CHECKS: Final[Mapping[str, tuple[_Check, tuple[str, ...]]]] = {
    "base URL": (_Checkup.base_url, ()),
    "token": (_Checkup.token, ()),
    "proxy": (_Checkup.proxy, ()),
    "DNS": (_Checkup.dns, ("base URL", "proxy")),
    "TCP": (_Checkup.tcp, ("DNS",)),
    "TLS": (_Checkup.tls, ("TCP",)),
    "HTTP": (_Checkup.http, ("TLS",)),
    "clock": (_Checkup.clock, ("HTTP",)),
    "authentication": (_Checkup.authentication, ("token", "TLS")),
    "latency": (_Checkup.latency, ("authentication",)),
    "rate limit": (_Checkup.rate_limit, ("authentication",)),
    "versions": (lambda _: setup.versions(), ()),
    "libraries": (lambda _: setup.libraries(), ()),
    "platform": (lambda _: setup.machine(), ()),
}
"""Each check, and those that it needs."""

NAMES: Final = tuple(_CHECKS)


def _port_of(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _ms(seconds: float) -> str:
    return f"{seconds * 1_000:,.1f} ms"


def _in_words(certificate: probe.Certificate) -> str:
    return f"issued by {certificate.issuer}, expires {certificate.expires:%Y-%m-%d}"
