"""The emulator in a process of its own, so that what it costs is not ours."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from emogg_async.testing import EmoggEmulator


class Server(NamedTuple):
    """Where a served emulator is, what it has, and the id of its process."""

    url: str
    token: str
    ids: list[str]
    talk: Connection
    pid: int

    def tell(self, method: str, *args: Any, **options: Any) -> None:
        """Call a method of the emulator over there, and wait until it is done."""
        self.talk.send((method, args, options))
        self.talk.recv()

    def count_requests(self) -> int:
        """Ask how many requests have arrived, faulty ones too."""
        self.talk.send(("count", (), {}))
        return int(self.talk.recv())


def _serve(talk: Connection, options: dict[str, Any]) -> None:
    with EmoggEmulator(**options) as emulator:
        ids = [each.id for each in emulator.sessions]
        talk.send((emulator.url, emulator.token, ids))
        while (command := talk.recv()) is not None:
            method, args, kwargs = command
            if method == "count":
                talk.send(len(emulator.requests))
            else:
                getattr(emulator, method)(*args, **kwargs)
                talk.send(None)


@contextmanager
def served(**options: Any) -> Iterator[Server]:
    """Serve an emulator with *options* from another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    try:
        url, token, ids = ours.recv()
        yield Server(url, token, ids, ours, process.pid or 0)
    finally:
        ours.send(None)
        process.join(10)
        process.kill()
