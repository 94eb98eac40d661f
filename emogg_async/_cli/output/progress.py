"""The progress of a command on stderr, in one line that vanishes in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from emogg_async._text import clock, counted

__all__ = ["counting", "waiting"]


class _Counts(ProgressColumn):
    """Sessions, requests, and the sessions per second of the last half minute."""

    def render(self, task: Task) -> Text:
        sessions, requests = int(task.completed), task.fields["requests"]
        if not sessions:
            return Text("Exporting")
        facts = f"{counted(sessions, 'session')}, {counted(requests, 'request')}"
        return Text(f"{facts}, {task.speed:,.0f}/s" if task.speed else facts)


@contextmanager
def counting() -> Iterator[Callable[[int, int], None]]:
    """Show the progress inside; what is logged there appears above it.

    Yields:
        A function that takes the numbers of sessions and requests so far.
    """
    progress = Progress(
        _Counts(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # the data go there
        speed_estimate_period=30.0,
    )
    task = progress.add_task("", total=None, requests=0)
    with progress:
        yield lambda sessions, requests: progress.update(
            task, completed=sessions, requests=requests
        )


class _Waiting(ProgressColumn):
    """Sessions that have finished, and the time that has passed."""

    def render(self, task: Task) -> Text:
        done = f"{counted(int(task.completed), 'session')} finished"
        return Text(f"Waiting, {done}, {clock(task.elapsed or 0.0)}")


@contextmanager
def waiting() -> Iterator[Callable[[], None]]:
    """Show inside how many sessions have finished.

    Yields:
        A function that counts one more.
    """
    progress = Progress(
        _Waiting(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        refresh_per_second=4,
    )
    task = progress.add_task("", total=None)
    with progress:
        yield lambda: progress.advance(task)
