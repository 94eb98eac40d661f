"""What `-v` tells: the log of the package, and what the client did in the end."""

import logging
import sys
import time
from typing import TYPE_CHECKING

import attrs

from emogg_async._text import printable

if TYPE_CHECKING:
    from emogg_async import Stats

__all__ = ["log_to_stderr", "stats_line"]


class _Handler(logging.Handler):
    """Prints to whatever stderr is at the time: a progress bar lends its own."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Print what the package logs to stderr from now on; once is enough."""
    logger = logging.getLogger("emogg_async")
    if any(isinstance(handler, _Handler) for handler in logger.handlers):
        return
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        "%Y-%m-%dT%H:%M:%S",
    )
    formatter.converter = time.gmtime
    handler = _Handler()
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def stats_line(stats: "Stats", seconds: float) -> str:
    """Say in one line what a client did in so many seconds."""
    counted = attrs.asdict(stats) | {"waited": round(stats.waited, 3)}
    del counted["in_flight"]
    facts = counted | {"seconds": round(seconds, 3)}
    return "stats: " + " ".join(f"{name}={value}" for name, value in facts.items())
