"""Fetch many sessions and write them as JSON lines, each as soon as it is there.

    python examples/bulk_fetch.py ids.txt > sessions.jsonl 2> failures.jsonl

The file has one id per line; `-` is standard input. Sessions go to standard output;
failures, and at last a summary, go to standard error. The exit code is 0 when all were
fetched, 3 when some were not, and 1 when nothing could be done at all.

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import asyncio
import json
import sys
from pathlib import Path

from emogg_async import AsyncEmoggClient, EmoggError, Failed, Fetched, to_dict


def read_ids(source: str) -> list[str]:
    """Return the lines of a file, or of standard input for `-`."""
    text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


async def fetch(ids: list[str]) -> int:
    """Fetch all *ids* and return how many failed."""
    fetched = failed = 0
    async with (
        AsyncEmoggClient() as client,
        client.stream_sessions(ids) as outcomes,
    ):
        async for outcome in outcomes:
            match outcome:
                case Fetched(value=session):
                    fetched += 1
                    print(json.dumps(to_dict(session)), flush=True)
                case Failed(session_id, error):
                    failed += 1
                    report(
                        id=session_id, error=type(error).__name__, message=str(error)
                    )
    report(fetched=fetched, failed=failed)
    return failed


def report(**facts: object) -> None:
    """Write a line of JSON to standard error."""
    print(json.dumps(facts), file=sys.stderr)


def main() -> int:
    """Do what the command line says and return the exit code."""
    if len(sys.argv) != 2:
        sys.exit("usage: bulk_fetch.py FILE-OF-IDS (or - for standard input)")
    ids = read_ids(sys.argv[1])
    return 3 if asyncio.run(fetch(ids)) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (EmoggError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
