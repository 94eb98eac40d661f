"""How to go on with an export that ended early.

The list is sorted by time, newest first, so what is missing is what is older than the
last session written. Its own millisecond is asked for again: other sessions may share
it.
"""

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import click
from click.core import ParameterSource

from emogg_async._cli.moments import format_moment
from emogg_async._text import counted
from emogg_async.models import Session

__all__ = ["Position", "command_again", "how_to_go_on"]

MILLISECOND: Final = timedelta(milliseconds=1)


class Position:
    """How far an export has come."""

    def __init__(self) -> None:
        self.count = 0
        """Sessions written."""
        self.newest: datetime | None = None
        """When the first of them was created."""
        self.reached: datetime | None = None
        """When the last of them was created."""
        self.ties = 0
        """How many at the end were created in one millisecond."""
        self.is_sorted = True
        """Whether none was newer than the one before."""

    def add(self, sessions: Iterable[Session]) -> None:
        """Take note of *sessions* that were written."""
        for session in sessions:
            moment, before = session.timestamp, self.reached
            if before is not None and moment > before:
                self.is_sorted = False
            self.ties = self.ties + 1 if moment == before else 1
            self.newest = self.newest or moment
            self.reached = moment
            self.count += 1


def how_to_go_on(context: click.Context, position: Position) -> str:
    """Say how to go on; nothing, if nothing was written yet."""
    if position.reached is None:
        return ""
    stopped = f"Stopped after {counted(position.count, 'session')}."
    if not position.is_sorted:
        return f"{stopped} They are not sorted by time: to have all, start again."
    changes: dict[str, Any] = {"started_before": position.reached + MILLISECOND}
    if (limit := context.params.get("limit")) is not None:
        changes["limit"] = limit - position.count + position.ties
    if context.params.get("form") == "csv":
        changes["no_header"] = True
    command = command_again(context, changes)
    twice = "the last ones may come twice"
    return f"{stopped} To go on, append; {twice}:\n  {command} >> FILE"


def command_again(context: click.Context, changes: Mapping[str, Any]) -> str:
    """Write the command line of *context* again, with *changes*, for a shell."""
    values = dict(changes)
    for name, value in context.params.items():
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in values:
            values[name] = value
    words = context.command_path.split()
    for option in context.command.params:
        if option.name in values:
            words += _words(option, values[option.name])
    return shlex.join(words)


def _words(option: click.Parameter, value: Any) -> list[str]:
    name = max(option.opts, key=len)
    if isinstance(option, click.Option) and option.is_flag:
        return [name] if value else []
    return [name, _text(value)]


def _text(value: Any) -> str:
    match value:
        case datetime():
            return format_moment(value)
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
