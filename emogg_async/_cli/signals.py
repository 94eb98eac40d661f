"""Waits that end when a signal has come.

Python's handlers of signals run in the main thread, between its lines. A wait outlasts
a signal that comes just before it, or that the system gives to another thread.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["bell", "run_loop"]

T = TypeVar("T")


@contextmanager
def bell() -> Iterator[socket.socket]:
    """Yield a socket that can be read once a signal with a handler has come."""
    reading, writing = socket.socketpair()
    with reading, writing:
        if threading.current_thread() is not threading.main_thread():
            yield reading  # no handler runs here
            return
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(before)


class _Threads(ThreadPoolExecutor):
    """Threads that the end of neither a loop nor the process waits for."""

    def submit(
        self, call: Callable[..., T], /, *args: Any, **options: Any
    ) -> Future[T]:
        result: Future[T] = Future()
        result.set_running_or_notify_cancel()  # from now on it cannot be cancelled

        def run() -> None:
            try:
                result.set_result(call(*args, **options))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, name="emogg-wait", daemon=True).start()
        return result


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do *work* as `asyncio.run` does, in a loop that signals wake until it is closed.

    It does not wait for the end of threads: nothing can interrupt the look-up of a
    name, which may take half a minute, or a read, which may never end.
    """
    with bell() as ringing, asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_default_executor(_Threads())
        if os.name != "nt":  # where each loop is woken by itself
            loop.add_reader(ringing, ringing.recv, 4_096)
        return runner.run(work())
