"""`emogg demo`; `showcase` does the work, and is imported when it runs."""

import click

from emogg_async._cli.exits import Exit

__all__ = ["demo"]


@click.command()
def demo() -> Exit:
    """Fetch 300 made-up sessions from an emulated service that breaks now and then.

    Needs no account and no network, and takes a few seconds.
    """
    from emogg_async._cli.commands.showcase import present  # noqa: PLC0415 - draws and connects

    return present()
