"""Waits that end when a signal has come.

Python's handlers of signals run in the main thread, between its lines. A wait outlasts
a signal that comes just before it, or that the system gives to another thread.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["bell", "waking_the_loop"]


@contextmanager
def bell() -> Iterator[socket.socket]:
    """Yield a socket that can be read once a signal with a handler has come."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(before)


@contextmanager
def waking_the_loop() -> Iterator[None]:
    """Let signals wake the running loop, so that their handlers run at once."""
    if os.name == "nt":  # where each loop does so by itself
        yield
        return
    loop = asyncio.get_running_loop()
    with bell() as ringing:
        loop.add_reader(ringing, ringing.recv, 4_096)
        try:
            yield
        finally:
            loop.remove_reader(ringing)
