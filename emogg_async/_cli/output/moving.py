"""Charts that move: the newest events of live sessions.

They are pure: made of events, and drawn as often as wanted.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from emogg_async._cli.output.charts import LONGEST, Layout, alike
from emogg_async._cli.output.sparklines import Ramp, sparkline
from emogg_async._text import clock, counted, printable
from emogg_async.models import (
    EmotionCounts,
    EmotionIntensities,
    Gap,
    Session,
    WorkerState,
)

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Emotions", "States", "session_lines"]

SHOWN: Final = 5
"""Changes of a worker's state that are shown."""

_REASONS: Final = {
    "reconnected": "the connection was lost",
    "slow": "this command was too slow",
    "unreadable": "they cannot be read",
}

_PROGRESS: Final = {
    "waiting": "connecting",
    "reconnecting": "reconnecting",
    "ended": "ended",
}
"""The words for the states of a feed; one that is live needs none."""


class Emotions:
    """The newest emotions of a session, in cells of one period each.

    A cell without an event is empty, or has the gap that it is part of.

    Args:
        period: The seconds between two events.

    Attributes:
        at: When the newest event was sent; None before the first.
    """

    def __init__(self, period: float) -> None:
        self.at: datetime | None = None
        self._period = period
        self._cells: deque[Mapping[str, float] | Gap | None] = deque(maxlen=LONGEST)
        self._top = 0.0

    def add(self, event: EmotionCounts | EmotionIntensities) -> None:
        """Take the next event."""
        passed = 0
        if self.at is not None:
            seconds = (event.timestamp - self.at).total_seconds()
            passed = round(seconds / self._period) - 1
        # A gap is always seen, even if the next event was in time.
        missing = max(passed, 1 if event.gap else 0)
        self._cells.extend([event.gap] * min(missing, LONGEST))
        values = _values(event)
        self._cells.append(values)
        # The scale stays when a peak leaves the chart: lines would jump.
        self._top = max(self._top, *values.values(), 0.0)
        self.at = event.timestamp

    def lines(self, width: int, ramp: Ramp) -> list[Text]:
        """Draw a line for each emotion, all in one scale."""
        seen = [cell for cell in self._cells if isinstance(cell, Mapping)]
        # By name: lines that change places cannot be followed.
        names = sorted({name for values in seen for name in values})
        peaks = [max(values.get(name, 0.0) for values in seen) for name in names]
        latest = [seen[-1].get(name, 0.0) for name in names]
        # Alike, and with room, so that the columns stay where they are.
        numbers = [f"{text:>5}" for text in alike([*latest, *peaks])]
        columns = zip(numbers[: len(names)], numbers[len(names) :], strict=True)
        layout = Layout.of(names, [("now", "peak"), *columns], width)
        room = min(layout.room, LONGEST)
        cells = [*self._cells][-room:]
        drawn = [self._line(name, cells, ramp).rjust(room) for name in names]
        begin = f"{ramp.mark}{clock(room * self._period)} ago"
        below = begin if len(begin) <= room else ""
        return [*layout.lines(names, drawn, below, room), *_note(cells, ramp)]

    def _line(
        self, name: str, cells: Sequence[Mapping[str, float] | Gap | None], ramp: Ramp
    ) -> str:
        values = [
            cell.get(name, 0.0) if isinstance(cell, Mapping) else None for cell in cells
        ]
        levels = sparkline(values, self._top, ramp.levels)
        return "".join(
            ramp.lost if isinstance(cell, Gap) else level
            for cell, level in zip(cells, levels, strict=True)
        )


def _values(event: EmotionCounts | EmotionIntensities) -> dict[str, float]:
    if isinstance(event, EmotionCounts):
        return {name: float(count) for name, count in event.emotions.items()}
    return {name: measure.intensity for name, measure in event.emotions.items()}


def _note(
    cells: Sequence[Mapping[str, float] | Gap | None], ramp: Ramp
) -> tuple[Text, ...]:
    """Describe the newest gap."""
    gaps = [cell for cell in cells if isinstance(cell, Gap)]
    if not gaps:
        return ()
    gap = gaps[-1]
    since = f"{gap.since:%H:%M:%S} to " if gap.since else "until "
    lost = "events may be" if gap.lost is None else counted(gap.lost, "event")
    why = _REASONS.get(gap.reason, gap.reason)
    text = f"{ramp.lost} {since}{gap.until:%H:%M:%S}: {lost} missing, as {why}"
    return (Text(printable(text), "yellow"),)


class States:
    """The newest states of the worker of a session.

    Attributes:
        at: When the newest one was sent; None before the first.
    """

    def __init__(self) -> None:
        self.at: datetime | None = None
        self._newest: deque[WorkerState] = deque(maxlen=SHOWN)

    def add(self, event: WorkerState) -> None:
        """Take the next state; the last one, sent again, is no change."""
        self.at = event.timestamp
        if not self._newest or self._newest[-1].state != event.state:
            self._newest.append(event)

    def lines(self, width: int, ramp: Ramp) -> list[Text]:
        """Write a line for each change."""
        del width, ramp
        return [
            Text(f"{event.timestamp:%H:%M:%S}  {printable(event.state)}")
            for event in self._newest
        ]


def session_lines(
    session: Session, progress: str, newest: Emotions | States, width: int, ramp: Ramp
) -> list[Text]:
    """Draw one session: its name, how its feed goes, and the newest events.

    Args:
        session: The session.
        progress: The state of its feed.
        newest: Its events.
        width: Cells of the terminal.
        ramp: The characters to draw with.
    """
    name = Text(printable(session.name), "bold")
    name.truncate(width, overflow="ellipsis")
    facts = Text(style="dim")
    if word := _PROGRESS.get(progress):
        facts.append(word, "not dim yellow").append(", ")
    # The time before the id, which narrow terminals cut.
    facts.append(f"{newest.at:%H:%M:%S} UTC, " if newest.at else "no event yet, ")
    facts.append(f"session {session.id}")
    if newest.at is None:
        return [name, facts]
    return [name, facts, *newest.lines(width, ramp)]
