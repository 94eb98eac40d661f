"""An emulator with something to see: sessions of every state, one of them live."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from contract.asking import Service
from emogg_async import testing

__all__ = ["alone", "emulated"]


@contextmanager
def emulated() -> Iterator[testing.EmoggEmulator]:
    """Serve an emulator."""
    with testing.EmoggEmulator(sessions=25, rate_limit=(100_000, 60.0)) as emulator:
        now = emulator.now()
        emulator.add_session(
            state="active", timestamp=now - timedelta(minutes=7), ends_after=7_200
        )
        # The ids of these are in another order than they are, and two began at once.
        for minutes, head in ((1, "5"), (2, "7"), (3, "6"), (3, "4")):
            emulator.add_session(
                id=head + 23 * "0",
                timestamp=now - timedelta(minutes=minutes),
                duration=600.0,
                config={"removeMedia": True},
            )
        yield emulator


@asynccontextmanager
async def alone(**options: Any) -> AsyncIterator[Service]:
    """Give another emulator, of which nothing is used so far, to be asked."""
    with testing.EmoggEmulator(**options) as emulator:
        async with Service(emulator.url, emulator.token, is_ours=True) as asker:
            yield asker
