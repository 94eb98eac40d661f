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

__all__ = ["bell", "in_thread", "run_loop"]

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


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Do *work* in a thread that the end of the process does not wait for."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()  # from now on it cannot be cancelled

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="emogg-wait", daemon=True).start()
    return result


class _Threads(ThreadPoolExecutor):
    """Threads that the end of a loop does not wait for either."""

    def submit(
        self, call: Callable[..., T], /, *args: Any, **options: Any
    ) -> Future[T]:
        return in_thread(lambda: call(*args, **options))


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do *work* as `asyncio.run` does, in a loop that signals wake until it is closed.

    It does not wait for the end of threads: to look up a name, in which nothing can
    interrupt the system, may take half a minute.
    """
    with bell() as ringing, asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_default_executor(_Threads())
        if os.name != "nt":  # where each loop is woken by itself
            loop.add_reader(ringing, ringing.recv, 4_096)
        return runner.run(work())
