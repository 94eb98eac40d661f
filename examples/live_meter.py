"""Show how strong each emotion of a session is right now, as bars that move.

    python -m pip install '.[cli]'
    python examples/live_meter.py SESSION-ID

The session is active; with the emulator it is one that `emogg sessions create NAME URI`
has made. The meter ends with the session, or by Ctrl-C. The token comes from
EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL.
"""

import asyncio
import sys

from rich.live import Live
from rich.table import Table
from rich.text import Text

from emogg_async import AsyncEmoggClient, EmoggError, EmotionIntensities

WIDTH = 40


def meter(event: EmotionIntensities) -> Table:
    """Draw a bar for each emotion, the strongest first."""
    note = f" · after a gap: {event.gap.reason}" if event.gap else ""
    table = Table.grid(padding=(0, 1))
    table.title = f"{event.timestamp:%H:%M:%S}{note}"
    strongest_first = sorted(event.emotions.items(), key=lambda it: -it[1].intensity)
    for key, measure in strongest_first:
        bar = "█" * round(WIDTH * min(1.0, measure.intensity))
        name = Text(repr(key))  # untrusted text
        table.add_row(name, f"{measure.intensity:.2f}", bar)
    return table


async def main() -> None:
    """Draw each event of the session until it ends."""
    if len(sys.argv) != 2:
        sys.exit("usage: live_meter.py SESSION-ID")
    async with (
        AsyncEmoggClient() as client,
        client.live.intensities(sys.argv[1], every="1s") as feed,
    ):
        with Live(refresh_per_second=4) as screen:
            async for event in feed:
                screen.update(meter(event))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except EmoggError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as shells count: 128 and the number of the signal
