"""Use the package where no extra is installed: `nox -s dist`.

No part of the suite: it is run by the interpreter of an environment in which nothing
but the package has been installed.
"""

import asyncio
import subprocess
import sys
from importlib.util import find_spec

from emogg_async.testing import EmoggEmulator

EXTRAS = ("click", "rich", "redis", "opentelemetry", "orjson", "starlette", "pytest")


async def visit() -> None:
    """List sessions, get one with its emotions, and hear another while it runs."""
    async with EmoggEmulator(sessions=30) as emulator, emulator.client() as client:
        ids = [session.id async for session in client.list_sessions()]
        sessions = await client.get_sessions(ids)
        oldest = await client.get_session(ids[-1])
        assert sessions[oldest.id] == oldest
        totals = await client.get_emotions(oldest.id)
        assert totals.emotions
        print(f"{len(ids)} sessions; {oldest.id}: {', '.join(totals.emotions)}")
        created = await client.create_session("Heard", "rtsp://camera.example/1")
        async with client.live.intensities(created.id, every="1s") as feed:
            event = await anext(aiter(feed))
        assert event.emotions
        print(f"live; {created.id}: {', '.join(event.emotions)}")


def ask_for_command() -> None:
    """Expect the command to say what it needs."""
    ended = subprocess.run(
        [sys.executable, "-m", "emogg_async", "demo"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(ended.stdout, end="")
    assert ended.returncode == 1
    assert "pip install 'emogg-async[cli]'" in ended.stdout
    assert "Traceback" not in ended.stdout


if __name__ == "__main__":
    installed = [name for name in EXTRAS if find_spec(name)]
    assert not installed, f"not bare: {', '.join(installed)}"
    asyncio.run(visit())
    ask_for_command()
