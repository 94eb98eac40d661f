"""How many requests a bulk of ids takes, of which pages answer most.

nox -s bench
"""

import asyncio
import pathlib
import random
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from server_process import Server, served

from emogg_async import AsyncEmoggClient

ROUNDS = 5


async def requests(server: Server, ids: Sequence[str]) -> int:
    """Return how many requests `get_sessions` takes with nothing cached."""
    async with AsyncEmoggClient(
        server.token, base_url=server.url, cache=None
    ) as client:
        (await client.get_sessions(ids)).raise_for_errors()
        return client.stats.requests


def main() -> None:
    """Print the figures."""
    for count in (3_000, 30_000):
        with served(sessions=count, rate_limit=(100_000_000, 60.0)) as server:
            print(f"requests for 300 of {count} sessions:", end=" ")
            recent = asyncio.run(requests(server, server.ids[:300]))
            chance = random.Random(count)
            scattered = [
                asyncio.run(requests(server, chance.sample(server.ids, 300)))
                for _ in range(ROUNDS)
            ]
            print(f"the newest {recent}, at random {min(scattered)}", end=" ")
            print(f"to {max(scattered)}")


if __name__ == "__main__":
    main()
