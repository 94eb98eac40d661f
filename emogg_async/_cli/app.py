"""The root command, and the list of its subcommands.

Subcommands are imported when they are called, so that help and completions need neither
aiohttp nor rich; their modules import both only when they run.
"""

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from emogg_async import __version__
from emogg_async._cli.exits import Exit, ending

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["TOPICS", "completions", "emogg", "suggest"]

_COMMANDS: Final = {
    "completion": "Print the script that completes this command in a shell.",
    "demo": "See what this package does; needs no account and no network.",
    "doctor": "Check configuration, service and software, for a ticket.",
    "emotions": "See which emotions were detected, in all or over time.",
    "emulator": "Serve made-up sessions as the Emogg API does.",
    "events": "Send events of your own sources to a session.",
    "help": "Explain a command, or one of the topics below.",
    "live": "Follow the emotions of active sessions, as they are seen.",
    "sentiment": "See the sentiment of what was said, over time.",
    "sessions": "Get, list, export, create, change, await, delete sessions.",
    "sources": "Register sources of your own with a session.",
}
"""The subcommands, each defined in the module of its name, and what each does."""

TOPICS: Final = {
    "environment": "The variables that this command reads.",
    "exit-codes": "The exit codes, for scripts.",
}
"""Further pages of `emogg help`."""


class _Root(click.Group):
    """A group that imports commands late, and turns errors into exits."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the subcommands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"emogg_async._cli.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a subcommand, or suggest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            message = f"{error.message}{suggest(args[0], _COMMANDS)}"
            raise click.UsageError(message, ctx) from error

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Describe the subcommands, without importing them, and the topics of help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))
        with formatter.section("Topics of `emogg help`"):
            formatter.write_dl(list(TOPICS.items()))

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Complete a subcommand without importing any."""
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*completions(_COMMANDS, incomplete), *options]

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the options of the root; turn errors into exits."""
        with ending():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand, and exit with its code."""
        with ending():
            code = super().invoke(ctx)
            sys.stdout.flush()
        ctx.exit(code or Exit.OK)


def completions(
    texts: Mapping[str, str], incomplete: str
) -> "list[CompletionItem[str]]":
    """Offer the names that begin with *incomplete*, each with its text."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - seldom needed

    return [
        CompletionItem(name, help=text)
        for name, text in texts.items()
        if name.startswith(incomplete)
    ]


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a question for the nearest of the *known* words; "" if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed

    near = get_close_matches(word, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


@click.group(
    cls=_Root,
    epilog="Set EMOGG_API_TOKEN. Without a token, `emogg demo` shows what this package "
    "does, and `emogg emulator` serves made-up sessions.",
    context_settings={"help_option_names": ["--help", "-h"]},
)
@click.version_option(__version__, message="emogg %(version)s")
def emogg() -> None:
    """Emogg's emotion-analysis API on the command line."""
