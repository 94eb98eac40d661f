"""Get the newest session of the account and print it.

    python examples/quickstart.py

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import asyncio
import sys

from emogg_async import AsyncEmoggClient, EmoggError


async def main() -> None:
    """Open a client, list one session and get it."""
    async with AsyncEmoggClient() as client:
        newest = await client.list_sessions().first()
        if newest is None:
            print("This account has no sessions yet.")
            return
        session = await client.get_session(newest.id)
    print(f"id:       {session.id}")
    print(f"name:     {session.name!r}")  # untrusted text
    print(f"state:    {session.state}")
    print(f"created:  {session.timestamp:%Y-%m-%d %H:%M} UTC")
    print(f"duration: {session.duration / 60:.1f} minutes")
    for source in session.sources:
        print(f"source:   {source.name!r} ({source.type})")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except EmoggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
