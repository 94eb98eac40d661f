"""A dashboard of an account: what is live now, what was, and how it felt.

    python -m pip install . 'fastapi>=0.135' jinja2 uvicorn
    python examples/dashboard/app.py --emulator   # made-up sessions, no account
    python examples/dashboard/app.py              # your account

It prints its address, opens the browser, and ends at Ctrl-C. The token comes from
EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL. Visitors see what that token
may see, so only this machine is served unless --host says otherwise. It only reads.
"""

import argparse
import signal
import socket
import sys
import webbrowser
from contextlib import nullcontext
from ipaddress import ip_address
from threading import Thread
from typing import Final

import uvicorn
from pages import app
from starlette.middleware.trustedhost import TrustedHostMiddleware

from emogg_async import AsyncEmoggClient, CachePolicy, EmoggError
from emogg_async.testing import EmoggEmulator

CACHE: Final = CachePolicy(stale_if_error=3600.0, max_entries=600)
LIVES: Final = {"Stand-up: design": 45, "Interview: Ada": 240, "Pitch": 7200}
"""The live sessions of the emulator, and the seconds for which they go on."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show an account in the browser.")
    add = parser.add_argument
    text = "show N made-up sessions (default 60), and three live ones"
    add("--emulator", nargs="?", type=int, const=60, metavar="N", help=text)
    add("--host", default="127.0.0.1", help="address to serve at")
    add("--port", default=0, type=int, help="0 is any free one")
    add("--no-browser", action="store_true", help="open no browser")
    return parser.parse_args()


def sample_account(count: int) -> EmoggEmulator:
    """Make an account of *count* sessions, and of live ones that began before."""
    emulator, past = EmoggEmulator(sessions=count), 120
    for session in emulator.sessions:  # those of the seed are silent
        if not session.is_finished:
            emulator.update_session(session.id, state="finished")
    for name, seconds in LIVES.items():
        emulator.add_session(name=name, state="active", ends_after=past + seconds)
    emulator.advance(past)
    return emulator


def serve(host: str, port: int, *, has_browser: bool) -> None:
    """Serve until a signal."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        address, port = listener.getsockname()[:2]
        name = f"[{address}]" if ":" in host else address
        if not ip_address(address).is_unspecified:  # no other name may lead here
            # Starlette before 1.7 compares what comes before the first colon.
            names = [name, name.partition(":")[0], host, "localhost"]
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)
        # Streams end by themselves; nothing else may hold up the end for long.
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=3)
        server = uvicorn.Server(config)
        app.state.is_stopping = lambda: server.should_exit
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, server.handle_exit)  # before anyone can have seen it
        url = f"http://{name}:{port}/"
        print(f"The dashboard is at {url} until you press Ctrl-C.", flush=True)
        if has_browser:  # some run in this terminal until their page is read
            Thread(target=webbrowser.open, args=[url], daemon=True).start()
        server.run(sockets=[listener])


def main() -> None:
    """Run the command."""
    given = arguments()
    try:
        emulator = None if given.emulator is None else sample_account(given.emulator)
        with emulator or nullcontext():
            make = emulator.client if emulator else AsyncEmoggClient
            app.state.client = make(timeout=5.0, cache=CACHE)  # nobody waits longer
            serve(given.host, given.port, has_browser=not given.no_browser)
    except (EmoggError, OSError, OverflowError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
