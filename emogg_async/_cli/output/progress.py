"""The progress of an export on stderr, in one line that vanishes in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from emogg_async._text import counted

__all__ = ["counting"]


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
