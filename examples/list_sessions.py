"""List sessions, newest first, one line each.

    python examples/list_sessions.py --state finished --started-after 2024-03-01

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime

from emogg_async import AsyncEmoggClient, EmoggError


def iso_date(text: str) -> datetime:
    """Read an ISO 8601 date; one without an offset is taken as UTC."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def natural(text: str) -> int:
    """Read a number from 0 on."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="List sessions, newest first.")
    parser.add_argument("--state", help="only in this state, e.g. finished")
    parser.add_argument("--type", help="only of this type, e.g. live_analysis")
    parser.add_argument("--started-after", type=iso_date, help="later, e.g. 2024-03-01")
    parser.add_argument("--limit", type=natural, help="how many at most; default: all")
    return parser.parse_args()


async def main(options: argparse.Namespace) -> None:
    """Print a line for each session that matches."""
    async with AsyncEmoggClient() as client:
        listing = client.list_sessions(
            state=options.state,
            type=options.type,
            started_after=options.started_after,
        )
        sessions = await listing.collect(limit=options.limit)
    if not sessions:
        print("no session matches", file=sys.stderr)
    for session in sessions:
        created = f"{session.timestamp:%Y-%m-%d %H:%M}"
        minutes = f"{session.duration / 60:6.1f} min"
        # Names are untrusted text: repr() shows control characters as escapes.
        print(session.id, created, f"{session.state:10}", minutes, repr(session.name))


if __name__ == "__main__":
    try:
        asyncio.run(main(parse_arguments()))
    except EmoggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
