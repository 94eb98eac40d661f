"""The console that draws on stdout."""

from rich.console import Console

__all__ = ["make_console"]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the root command, which ends quietly; rich would exit with 1."""
        raise BrokenPipeError


def make_console() -> Console:
    """Make the console of stdout."""
    console = _Console(highlight=False)
    if not console.width:  # as COLUMNS=0 says, by which it would print nothing
        console.width = 80
    return console
