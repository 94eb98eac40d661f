"""The command that serves the dashboard."""

import aiohttp
from dashboard_process import serving


def test_it_ends_at_ctrl_c(dashboard):
    """Ctrl-C ends it with 0, silently."""
    assert (0, "") == dashboard.stop()


async def test_it_shows_made_up_sessions():
    """With `--emulator` it needs no account."""
    with serving("--emulator", "12", EMOGG_API_TOKEN="") as running:
        async with aiohttp.ClientSession() as visitor, visitor.get(running.url) as page:
            assert 200 == page.status
            assert 15 == (await page.text()).count("data-row=")
