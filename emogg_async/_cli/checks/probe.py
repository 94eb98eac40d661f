"""One step of the way to the service at a time, by the standard library alone.

The client hides what `emogg doctor` is asked for: where it fails, and the headers.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import SplitResult

import attrs

from emogg_async import EmoggError, __version__

__all__ = [
    "Answer",
    "Certificate",
    "bounded",
    "certificate_of",
    "connect",
    "exchange",
    "resolve",
    "untrusted_certificate",
]

T = TypeVar("T")

_LARGEST_BODY: Final = 65_536

PATH: Final = "/v1/sessions?limit=1"
"""What is asked for without a token: any answer tells that the service is there."""


class Endpoint(NamedTuple):
    """An address of the service."""

    family: socket.AddressFamily
    address: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.address[0]} port {self.address[1]}"


@attrs.frozen(kw_only=True)
class Certificate:
    """What is told of a server's certificate."""

    issuer: str
    expires: datetime


@attrs.frozen(kw_only=True)
class Answer:
    """What came back over HTTP."""

    status: int
    seconds: float
    ahead: float | None
    """Seconds by which this machine's clock is ahead of the service's; None: unknown.

    HTTP tells whole seconds, so this can be wrong by half a second.
    """

    server: str = ""
    """What the service calls itself."""


def bounded(work: Callable[[], T], seconds: float) -> T:
    """Do *work* in a thread, and wait no longer than that for it.

    Nothing else bounds the look-up of a name. The thread ends with the process.

    Raises:
        TimeoutError: The time is up.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # it is raised where it is waited for
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result(seconds)


def resolve(host: str, port: int) -> list[Endpoint]:
    """Look up the addresses of *host*, each once."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(
        dict.fromkeys(Endpoint(family, info) for family, _, _, _, info in found)
    )


def connect(endpoint: Endpoint, seconds: float) -> socket.socket:
    """Connect to an address."""
    opened = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        opened.settimeout(seconds)
        opened.connect(endpoint.address)
    except BaseException:
        opened.close()
        raise
    return opened


def certificate_of(secured: ssl.SSLSocket) -> Certificate:
    """Tell who issued the certificate of a connection, and when it expires."""
    facts: Any = secured.getpeercert()
    names = dict(pair for part in facts["issuer"] for pair in part)
    ways = ("organizationName", "commonName", "organizationalUnitName")
    issuer = ", ".join(dict.fromkeys(names[way] for way in ways if way in names))
    expires = ssl.cert_time_to_seconds(facts["notAfter"])
    return Certificate(issuer=issuer, expires=datetime.fromtimestamp(expires, UTC))


def untrusted_certificate(
    opened: Callable[[], socket.socket],
) -> Certificate | None:
    """Tell the same of a certificate that was refused; nothing is sent over it.

    Whose it is says what refuses it, e.g. a company's proxy. Python only reads what it
    trusts, so the second of two handshakes trusts what the first one was given.

    Args:
        opened: Opens a connection to the server.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, ValueError, EmoggError):
        with context.wrap_socket(opened()) as secured:
            shown = secured.getpeercert(binary_form=True)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=shown)
        with context.wrap_socket(opened()) as secured:
            return certificate_of(secured)
    return None


def exchange(opened: socket.socket, base_url: SplitResult) -> Answer:
    """Ask over a connection for something, without a token, and close it."""
    asker = http.client.HTTPConnection("")
    asker.sock = opened
    with contextlib.closing(asker):
        agent = f"emogg-async/{__version__} doctor"
        headers = {"Host": base_url.netloc, "User-Agent": agent}
        asked, began = time.time(), time.perf_counter()
        asker.request("GET", base_url.path + PATH, headers=headers)
        response = asker.getresponse()
        seconds = time.perf_counter() - began
        response.read(_LARGEST_BODY)
    ahead = None
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        told = parsedate_to_datetime(response.headers["Date"]).timestamp()
        # It was written half-way, and half a second after what it says, on average.
        ahead = asked + seconds / 2 - (told + 0.5)
    return Answer(
        status=response.status,
        seconds=seconds,
        ahead=ahead,
        server=response.headers.get("Server", ""),
    )
