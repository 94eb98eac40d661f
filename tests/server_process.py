"""The emulator in a process of its own, so that what it costs is not ours."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from emogg_async.testing import EmoggEmulator

T = TypeVar("T")


class Server(NamedTuple):
    """Where a served emulator is, what it has, and the id of its process."""

    url: str
    token: str
    ids: list[str]
    talk: Connection
    pid: int

    def tell(self, method: str, *args: Any, **options: Any) -> None:
        """Call a method of the emulator over there, e.g. `live.cut`, and wait."""
        self.talk.send((method, args, options))
        self.talk.recv()

    def count_requests(self) -> int:
        """Ask how many requests have arrived, faulty ones too."""
        self.talk.send(("count", (), {}))
        return int(self.talk.recv())

    def ask(self, question: Callable[[EmoggEmulator], T]) -> T:
        """Have a function at the top of a module called with the emulator."""
        self.talk.send((question, (), {}))
        answer: T = self.talk.recv()
        return answer


def _serve(talk: Connection, options: dict[str, Any]) -> None:
    with EmoggEmulator(**options) as emulator:
        emulator._state.journal._entries = deque(maxlen=1_000_000)  # not 10,000
        ids = [each.id for each in emulator.sessions]
        talk.send((emulator.url, emulator.token, ids))
        with suppress(EOFError):  # the other side has closed its end, or is gone
            while True:
                method, args, kwargs = talk.recv()
                if callable(method):
                    talk.send(method(emulator))
                elif method == "count":
                    talk.send(len(emulator.requests))
                else:
                    attrgetter(method)(emulator)(*args, **kwargs)
                    talk.send(None)


@contextmanager
def served(**options: Any) -> Iterator[Server]:
    """Serve an emulator with *options* from another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    theirs.close()  # or no end of the process would end a wait for what it tells
    try:
        url, token, ids = ours.recv()
        yield Server(url, token, ids, ours, process.pid or 0)
    finally:
        ours.close()
        process.join(10)
        process.kill()
