"""Show how strong each emotion of a session is just now, as bars that move.

    python -m pip install '.[cli]'
    python examples/live_meter.py 65ea1530bb50af72b6e3dc1e

The token comes from EMOGG_API_TOKEN. It ends with the session, or by Ctrl-C.
"""

import asyncio
import sys
from contextlib import suppress

from rich.live import Live
from rich.table import Table

from emogg_async import AsyncEmoggClient, EmoggError, EmotionIntensities

WIDTH = 40


def meter(event: EmotionIntensities) -> Table:
    """Draw a bar for each emotion, the strongest first."""
    note = f" · after a gap: {event.gap.reason}" if event.gap else ""
    table = Table.grid(padding=(0, 1))
    table.title = f"{event.timestamp:%H:%M:%S}{note}"
    strongest_first = sorted(event.emotions.items(), key=lambda it: -it[1].intensity)
    for name, measure in strongest_first:
        bar = "█" * round(WIDTH * min(1.0, measure.intensity))
        table.add_row(name, f"{measure.intensity:.2f}", bar)
    return table


async def main(session_id: str) -> None:
    """Draw each event of the session until it ends."""
    async with AsyncEmoggClient() as client:
        feed = client.live.intensities(session_id, every="1s")
        with Live(refresh_per_second=4) as screen:
            async with feed:
                async for event in feed:
                    screen.update(meter(event))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(main(*sys.argv[1:2]))
        except (EmoggError, TypeError) as error:
            sys.exit(f"{error}")
