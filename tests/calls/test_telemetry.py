"""The warning about a client that was forgotten open."""

import asyncio
import gc
import logging
import subprocess
import sys
import warnings

import aiohttp
import pytest

from emogg_async.testing import EmoggEmulator

FORGETFUL = """
import asyncio
from emogg_async import AsyncEmoggClient

async def main():
    client = AsyncEmoggClient()
    await client.__aenter__()
    {end}

{name} = asyncio.run(main())
"""
"""A program that forgets its client; the client is made in line 6."""


def run(*options: str, end: str = "", name: str = "_") -> str:
    """Run a program with a client; return what is on its stderr."""
    done = subprocess.run(
        [
            sys.executable,
            *options,
            "-c",
            FORGETFUL.format(end=end or "pass", name=name),
        ],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def test_forgotten_client(emogg_emulator: EmoggEmulator) -> None:
    """A program that forgets its client is told so in the client's own name."""
    told = run("-W", "default")
    assert f"ResourceWarning: AsyncEmoggClient {emogg_emulator.url} was not cl" in told
    assert "made at" not in told
    assert emogg_emulator.token not in told
    assert "AsyncEmoggClient" not in run()  # as Python hides such warnings


def test_forgotten_client_in_debug_mode(emogg_emulator: EmoggEmulator) -> None:
    """In asyncio's debug mode the warning has the place where the client was made."""
    told = run("-X", "dev")
    assert f"{emogg_emulator.url} was not closed; it was made at <string>:6" in told
    assert emogg_emulator.token not in told


@pytest.mark.parametrize(
    ("end", "late", "warnings_of_ours"),
    [
        ("pass", "", 1),
        ("client = [client]; client.append(client)", "", 1),  # a cycle
        ("return client", "del client", 1),  # the loop is closed by then
        ("return client", "", 0),  # until Python itself ends
    ],
)
def test_only_the_client_warns(
    emogg_emulator: EmoggEmulator, end: str, late: str, warnings_of_ours: int
) -> None:
    """A forgotten client with open connections warns, and aiohttp does not as well."""
    session_id = emogg_emulator.add_session(state="active", ends_after=3600).id
    program = f"""
import asyncio, gc
from emogg_async import AsyncEmoggClient

async def main():
    client = AsyncEmoggClient()
    await client.__aenter__()
    await client.get_session({session_id!r})
    async with client.live.worker_state({session_id!r}):
        pass
    {end}

client = asyncio.run(main())
gc.collect()
{late}
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert warnings_of_ours == done.stderr.count("ResourceWarning: AsyncEmoggClient")
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("emogg_emulator")
@pytest.mark.parametrize(
    ("end", "name"),
    [
        ("await client.aclose()", "_"),
        ("return client", "kept"),  # until Python itself ends
    ],
)
def test_no_warning(end: str, name: str) -> None:
    """There is none for a client that was closed, or lives as long as Python."""
    told = run("-X", "dev", end=end, name=name)
    assert "AsyncEmoggClient" not in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told


async def test_forgotten_client_in_the_log(
    emogg_emulator: EmoggEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it as well; and the debug mode of a running loop counts."""
    asyncio.get_running_loop().set_debug(True)
    async with aiohttp.ClientSession() as http:
        client = emogg_emulator.client(http=http)
        await client.get_session(emogg_emulator.sessions[0].id)
        with pytest.warns(ResourceWarning, match=r"test_telemetry\.py:\d+$"):
            del client
    told = [each for each in caplog.records if each.name == "emogg_async"]
    assert [logging.WARNING] == [each.levelno for each in told]
    assert f"{emogg_emulator.url} was not closed; it was" in told[0].getMessage()
    assert emogg_emulator.token not in caplog.text


async def test_clients_that_need_no_closing(emogg_emulator: EmoggEmulator) -> None:
    """A client that was never opened, or was closed, is forgotten in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unraised: list[object] = []
        hook, sys.unraisablehook = sys.unraisablehook, unraised.append
        try:
            emogg_emulator.client()
            async with emogg_emulator.client():
                pass
            gc.collect()
        finally:
            sys.unraisablehook = hook
    assert unraised == []
