"""The root command: where its subcommands are, and how any of them ends.

Subcommands are imported when they are called, so that `--help` and `--version` need
neither aiohttp nor rich.
"""

import os
import sys
from importlib import import_module
from typing import Any, Final

import click

from emogg_async import EmoggError, __version__
from emogg_async._cli.exits import Exit, exit_of, explain

__all__ = ["emogg"]

_COMMANDS: Final = {
    "demo": "See what this package does; needs no account and no network.",
    "emulator": "Serve made-up sessions as the Emogg API does.",
    "sessions": "Get sessions.",
}
"""Every subcommand, an attribute of the module of the same name, and what it does."""


class _Root(click.Group):
    """A group that imports its commands late, and turns what they raise into exits."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the subcommands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"emogg_async._cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Describe the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand and end with its exit code, whatever happens."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except BrokenPipeError:
            _abandon_output()
            ctx.exit(Exit.CLOSED_PIPE)
        except EmoggError as error:
            click.echo(explain(error), err=True)
            ctx.exit(exit_of(error))
        except OSError as error:  # a full disk; what the network does is an EmoggError
            _abandon_output()
            raise click.ClickException(f"cannot write: {error.strerror}") from error
        else:
            ctx.exit(code or Exit.OK)


def _abandon_output() -> None:
    """Let what is still buffered go nowhere, or Python complains when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=_Root,
    epilog="The environment says who asks and whom: EMOGG_API_TOKEN, and "
    "EMOGG_BASE_URL unless it is https://api.emogg.com.",
    context_settings={"help_option_names": ["--help", "-h"]},
)
@click.version_option(__version__, message="emogg %(version)s")
def emogg() -> None:
    """Emogg's emotion-analysis API on the command line."""
