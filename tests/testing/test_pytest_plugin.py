"""The pytest plugin and its fixture."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from emogg_async.testing import EmoggEmulator

_SUITE = """
import os
import pytest

seen = []

@pytest.mark.parametrize("turn", range(3))
def test_fresh(emogg_emulator, turn):
    assert os.environ["EMOGG_BASE_URL"] == emogg_emulator.url
    assert os.environ["EMOGG_API_TOKEN"] == emogg_emulator.token
    assert len(emogg_emulator.sessions) == 25
    assert emogg_emulator.latency == 0
    emogg_emulator.add_session()
    emogg_emulator.latency = 60.0
    seen.append(emogg_emulator.url)

def test_one_server_for_all():
    assert len(set(seen)) == 1
    assert os.environ["EMOGG_BASE_URL"] == "before"

def test_stops(emogg_emulator):
    emogg_emulator.stop()

def test_runs_again(emogg_emulator):
    assert "http://" in repr(emogg_emulator)
"""


def _pytest(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest with our plugin and no other one, in a process of its own."""
    environment = os.environ | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "EMOGG_BASE_URL": "before",
    }
    plugin = "emogg_async.testing.pytest_plugin"
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", plugin, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_test_gets_a_fresh_emulator(tmp_path: Path) -> None:
    """One server serves a whole run, reset and running again for each test."""
    (tmp_path / "test_it.py").write_text(_SUITE)
    run = _pytest(tmp_path, "-q")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout


def test_fixtures_are_listed(tmp_path: Path) -> None:
    """`pytest --fixtures` says what the fixture gives."""
    run = _pytest(tmp_path, "--fixtures")
    assert "emogg_emulator -- " in run.stdout
    assert "An emulator of the Emogg API on loopback, with 25 sessions." in run.stdout


def test_fixture(emogg_emulator: EmoggEmulator) -> None:
    """The environment leads any client to an emulator with sessions."""
    request = urllib.request.Request(
        os.environ["EMOGG_BASE_URL"] + "/v1/sessions?limit=100",
        headers={"Authorization": f"Bearer {os.environ['EMOGG_API_TOKEN']}"},
    )
    with urllib.request.urlopen(request) as answer:
        page = json.load(answer)
    assert len(page["data"]) == 25
    assert [item.path for item in emogg_emulator.requests] == ["/v1/sessions"]


@pytest.mark.parametrize("turn", range(2))
def test_fixture_starts_over(emogg_emulator: EmoggEmulator, turn: int) -> None:
    """Nothing of one test is left for the next."""
    assert emogg_emulator.requests == ()
    assert len(emogg_emulator.sessions) == 25
    emogg_emulator.add_session(name=f"turn {turn}")
    emogg_emulator.fail(status=500)
