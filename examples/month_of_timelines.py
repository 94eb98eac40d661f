"""Fetch the emotion timelines of a month's sessions, each as soon as it is there.

    python examples/month_of_timelines.py > last_month.jsonl
    python examples/month_of_timelines.py 2024-03 > march.jsonl

Without an argument it takes last month, in UTC. The emulator's sessions began in
2024-03, whatever today is. Timelines go to standard output as JSON lines; failures, and
at last a summary, go to standard error. The exit code is 0 when all were fetched, 3
when some were not, and 1 when nothing could be done.

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from functools import partial

from emogg_async import AsyncEmoggClient, EmoggError, Failed, Fetched, to_dict

GRANULARITY = 300  # seconds in an interval


def month(arguments: list[str]) -> tuple[datetime, datetime]:
    """Return the moments at which the month begins and ends."""
    if arguments:
        begin = datetime.strptime(arguments[0], "%Y-%m").replace(tzinfo=UTC)
    else:
        this = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0)
        begin = (this.replace(microsecond=0) - timedelta(days=1)).replace(day=1)
    return begin, (begin + timedelta(days=31)).replace(day=1)


async def fetch(begin: datetime, end: datetime) -> int:
    """Fetch the timelines of all sessions of the month and return how many failed."""
    fetched = failed = 0
    async with AsyncEmoggClient() as client:
        # The filter leaves out its own moment, at which a session may have begun.
        after = begin - timedelta(milliseconds=1)
        listing = client.list_sessions(started_after=after, started_before=end)
        ids = [session.id async for session in listing]
        if not ids:
            report(hint=f"no session began in {begin:%Y-%m}; the emulator has 2024-03")
        timeline_of = partial(client.get_emotions_timeline, granularity=GRANULARITY)
        async with client.stream(timeline_of, ids) as outcomes:
            async for outcome in outcomes:
                match outcome:
                    case Fetched(value=timeline):
                        fetched += 1
                        print(json.dumps(to_dict(timeline)), flush=True)
                    case Failed(session_id, error):
                        failed += 1
                        report(session=session_id, error=str(error))
    report(fetched=fetched, failed=failed)
    return failed


def report(**facts: object) -> None:
    """Write a line of JSON to standard error."""
    print(json.dumps(facts), file=sys.stderr)


def main() -> int:
    """Do what the command line says and return the exit code."""
    try:
        begin, end = month(sys.argv[1:])
    except ValueError:
        sys.exit("usage: month_of_timelines.py [YYYY-MM]")
    return 3 if asyncio.run(fetch(begin, end)) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EmoggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
