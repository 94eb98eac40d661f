"""The way of a call: how many of our own functions it enters, and in which rooms."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

import attrs
import pytest
from test_architecture import FLOORS

import emogg_async
from emogg_async.testing import EmoggEmulator

ROOT = Path(emogg_async.__file__).parent
SUSPENDABLE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@attrs.define
class Trace:
    """The calls of our own functions, each once, however often it is resumed.

    Attributes:
        calls: File and function of each, in their order.
        climbs: Calls from a room to one above it.
    """

    calls: list[tuple[str, str]] = attrs.field(factory=list)
    climbs: list[str] = attrs.field(factory=list)
    _seen: dict[FrameType, None] = attrs.field(factory=dict)

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call, as `sys.setprofile` tells of it."""
        place = _place(frame)
        if event != "call" or place is None or frame in self._seen:
            return
        self._seen[frame] = None  # kept, so that no other frame gets its identity
        self.calls.append((place, frame.f_code.co_qualname))
        if (caller := _caller(frame)) and _floor(place) < _floor(caller):
            self.climbs.append(f"{caller} → {place}: {frame.f_code.co_qualname}")

    @property
    def files(self) -> set[str]:
        """The files that the calls were in."""
        return {place for place, _ in self.calls}


def _place(frame: FrameType) -> str | None:
    """Return the file below the package, if *frame* is of the client's, and counts."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    place = path.relative_to(ROOT).as_posix()
    # The decorator lies around the methods of the facade, wherever it is defined.
    apart = ("testing/", "_wire/converter", "_calls/frames")
    return None if place.startswith(apart) else place


def _caller(frame: FrameType) -> str | None:
    outer = frame.f_back
    while outer is not None:
        if place := _place(outer):
            return place
        outer = outer.f_back
    return None


def _floor(place: str) -> int:
    return FLOORS.index(place.partition("/")[0].removesuffix(".py"))


async def traced(call: Callable[[], Awaitable[object]]) -> Trace:
    """Return the trace of a call."""
    trace = Trace()
    sys.setprofile(trace)
    try:
        await call()
        for _ in range(3):  # what ends a load runs in a later turn of the loop
            await asyncio.sleep(0)
    finally:
        sys.setprofile(None)
    return trace


@pytest.fixture
def ids(emulator: EmoggEmulator) -> list[str]:
    """Give the ids of 60 sessions."""
    return [emulator.add_session().id for _ in range(60)]


async def test_a_get_takes_few_calls(emulator: EmoggEmulator, ids: list[str]) -> None:
    """One uncached get takes 56 calls of our own in 13 files at most."""
    async with emulator.client() as client:
        for each in ids[:50]:  # by then the rate of the bucket is known
            await client.get_session(each)
        trace = await traced(lambda: client.get_session(ids[50]))
    assert len(trace.calls) <= 56, trace.calls
    assert len(trace.files) <= 13, trace.files


async def test_a_call_only_walks_down(emulator: EmoggEmulator, ids: list[str]) -> None:
    """Each room of the tower is entered from above, whatever is called."""
    async with emulator.client() as client:
        for call in (
            lambda: client.get_session(ids[0]),
            lambda: client.get_emotions(ids[0]),
            lambda: client.update_session(ids[0], name="Pitch"),
            lambda: client.create_session("Pitch", "rtmps://live.example/app/key"),
            lambda: client.request("GET", "/v1/sessions"),
        ):
            trace = await traced(call)
            assert trace.calls
            assert trace.climbs == []


async def test_a_bulk_takes_few_calls(emulator: EmoggEmulator, ids: list[str]) -> None:
    """`get_sessions` of 5 ids, one of them cached, takes 390 calls at most."""
    async with emulator.client() as client:
        await client.get_sessions(ids[:50])
        await client.get_session(ids[50])
        trace = await traced(lambda: client.get_sessions(ids[50:55]))
    assert len(trace.calls) <= 390, trace.calls
