"""The command that serves the dashboard."""

import socket
import subprocess
import sys

import aiohttp
import pytest
from dashboard_process import APP, ENVIRONMENT, serving

READER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=10) as page:
    print("read", page.status, flush=True)
"""


def test_it_ends_at_ctrl_c(dashboard):
    """Ctrl-C ends it with 0, silently."""
    assert (0, "") == dashboard.stop()


async def test_it_shows_made_up_sessions():
    """With `--emulator` it needs no account."""
    with serving("--emulator", "12", EMOGG_API_TOKEN="") as running:
        async with aiohttp.ClientSession() as visitor, visitor.get(running.url) as page:
            assert 200 == page.status
            assert 15 == (await page.text()).count("data-row=")


async def test_it_serves_without_docstrings():
    """It serves under PYTHONOPTIMIZE=2, which leaves no docstring."""
    with serving("--emulator", "1", PYTHONOPTIMIZE="2") as running:
        async with aiohttp.ClientSession() as visitor, visitor.get(running.url) as page:
            assert 200 == page.status


@pytest.mark.parametrize("host", ["::1", "0:0:0:0:0:0:0:1"])
async def test_it_serves_at_an_ipv6_address(host):
    """At an IPv6 address it prints one for browsers, and heeds only its own name."""
    try:
        with socket.create_server((host, 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("needs IPv6")
    with serving("--emulator", "1", "--host", host) as running:
        assert running.url.startswith("http://[::1]:")
        async with aiohttp.ClientSession() as visitor:
            for headers, status in (({}, 200), ({"Host": "evil.example"}, 400)):
                async with visitor.get(running.url, headers=headers) as page:
                    assert status == page.status


def test_a_browser_that_needs_the_terminal(tmp_path):
    """A browser that runs until its page is read can read it."""
    browser = tmp_path / "browser.py"
    browser.write_text(READER)
    command = [sys.executable, str(APP), "--emulator", "1"]
    environment = ENVIRONMENT | {"BROWSER": f"{sys.executable} {browser} %s"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert "http://" in process.stdout.readline()
            assert "read 200\n" == process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none(port):
    """A number that is no port is refused in one line."""
    command = [sys.executable, str(APP), "--emulator", "1", "--port", port]
    told = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, check=False, encoding="utf-8"
    )
    assert (1, 1) == (told.returncode, told.stderr.count("\n"))
    assert "port must be 0-65535" in told.stderr
