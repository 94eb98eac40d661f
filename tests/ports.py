"""A port for a server that is started later, or again."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def free_port() -> Iterator[int]:
    """Give a port of loopback, which on Linux nobody gets by chance in the meantime.

    A server that is told of it can listen there, and nobody does until then.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":  # where a port that is bound is bound once
            held.close()
        yield port
