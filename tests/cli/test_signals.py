"""Waits of the command that signals end."""

import asyncio
import signal
import threading
from contextlib import suppress

import pytest

from emogg_async._cli.signals import bell, run_loop


def test_a_signal_after_a_wait(capfd: pytest.CaptureFixture[str]) -> None:
    """A signal that comes after a wait leaves no trace of the socket that is gone."""
    with bell():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_a_thread_that_ends_late(capfd: pytest.CaptureFixture[str]) -> None:
    """A loop waits for no thread, and what a thread finds later bothers nobody."""
    may_end = threading.Event()

    async def leave() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.to_thread(may_end.wait)

    before = {*threading.enumerate()}
    run_loop(leave)
    (late,) = {*threading.enumerate()} - before
    may_end.set()
    late.join()
    assert capfd.readouterr().err == ""
