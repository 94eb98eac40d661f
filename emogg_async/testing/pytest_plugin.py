"""The pytest plugin: the fixture `emogg_emulator`.

Pytest loads it into every test run where this package is installed, so it imports
nothing but pytest until a test asks for the fixture.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emogg_async.testing import EmoggEmulator

__all__ = ["emogg_emulator"]


@pytest.fixture(scope="session")
def _emogg_emulator() -> "Iterator[EmoggEmulator]":
    """Keep one emulator for the whole run: a reset is faster than a new server."""
    from emogg_async.testing import EmoggEmulator  # noqa: PLC0415 - see above

    with EmoggEmulator(sessions=25) as emulator:
        yield emulator


@pytest.fixture
def emogg_emulator(
    _emogg_emulator: "EmoggEmulator", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[EmoggEmulator]":
    """An emulator of the Emogg API on loopback, with 25 sessions.

    EMOGG_BASE_URL and EMOGG_API_TOKEN point at it during the test. Each test finds it
    as new. `emogg_emulator.client()` makes a client of it.
    """
    _emogg_emulator.start()  # again, if the test before stopped it
    monkeypatch.setenv("EMOGG_BASE_URL", _emogg_emulator.url)
    monkeypatch.setenv("EMOGG_API_TOKEN", _emogg_emulator.token)
    yield _emogg_emulator
    _emogg_emulator.reset()
