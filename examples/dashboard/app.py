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
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import Any, Final

import uvicorn
from pages import app
from starlette.middleware.trustedhost import TrustedHostMiddleware

from emogg_async import AsyncEmoggClient, CachePolicy, ConfigurationError
from emogg_async.testing import EmoggEmulator

OPTIONS: Final[dict[str, Any]] = {
    "timeout": 5.0,  # no visitor waits longer
    "cache": CachePolicy(stale_if_error=3600.0, max_entries=600),
}
LIVES: Final = {"Stand-up: design": 45, "Interview: Ada": 240, "Pitch": 7200}
"""The live sessions of the emulator, and the seconds for which they go on."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    text = "show N made-up sessions (60), and three live ones"
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


def main() -> int:
    """Serve until Ctrl-C."""
    given = arguments()
    with ExitStack() as stack:
        try:
            if given.emulator is None:
                app.state.client = AsyncEmoggClient(**OPTIONS)
            else:
                emulator = stack.enter_context(sample_account(given.emulator))
                app.state.client = emulator.client(**OPTIONS)
            listener = socket.create_server((given.host, given.port))
        except (ConfigurationError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        host, port = listener.getsockname()[:2]
        if not ip_address(
            host
        ).is_unspecified:  # no other site may lead its visitors here
            names = [host, given.host, "localhost"]
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=names)
        # Streams end by themselves; nothing else may hold up the end for long.
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
        server = uvicorn.Server(config)
        app.state.is_stopping = lambda: server.should_exit
        url = f"http://{host}:{port}/"
        print(f"The dashboard is at {url} until you press Ctrl-C.", flush=True)
        if not given.no_browser:
            webbrowser.open(url)
        # uvicorn answers all visitors, and then sends itself its signal again.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with stack.pop_all(), suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
