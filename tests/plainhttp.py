"""A plain HTTP client for tests of the emulator, with nothing of ours in it."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from emogg_async.testing import EmoggEmulator


@attrs.frozen
class Answer:
    """What a plain client received."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, parsed."""
        return json.loads(self.body)


def call(
    emulator: EmoggEmulator,
    path: str,
    *,
    method: str = "GET",
    authorization: str | None = None,
    body: object = None,
    **query: object,
) -> Answer:
    """Send one request on a new connection, with the token unless told otherwise.

    A *body* of bytes is sent as it is, any other one as JSON.
    """
    host = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=10)
    if authorization is None:
        authorization = f"Bearer {emulator.token}"
    target = f"{path}?{urlencode(query, doseq=True)}" if query else path
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        headers = {"Authorization": authorization} if authorization else {}
        connection.request(method, target, body=content, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()


def refusal(status: int, message: str) -> dict[str, object]:
    """Return the body of an error as the reference documents it."""
    return {"error": True, "status": status, "message": message}


def eventually(holds: Callable[[], object]) -> bool:
    """Wait until something holds in the server's thread, for 20 seconds at most."""
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(holds())
