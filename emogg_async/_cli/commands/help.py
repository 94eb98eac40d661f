"""`emogg help`: commands and topics."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import click

from emogg_async._cli.app import TOPICS, completions, suggest
from emogg_async._cli.exits import Exit

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["VARIABLES", "help"]

VARIABLES: Final = {
    "EMOGG_API_TOKEN": "The token. --token-file reads it from a file instead.",
    "EMOGG_BASE_URL": "The URL of the service. Default: https://api.emogg.com. "
    "--base-url wins over it.",
    "HTTPS_PROXY": "The proxy, e.g. http://user:password@host:port.",
    "NO_PROXY": "Hosts to reach without the proxy, with all below them, separated by "
    "commas; * is all.",
    "SSL_CERT_FILE": "A file of root certificates to trust instead of the system's.",
    "SSL_CERT_DIR": "A directory of root certificates, as OpenSSL has it.",
    "NO_COLOR": "If it is not empty, there are no colours.",
    "FORCE_COLOR": "If it is not empty, there are colours in a pipe, too.",
    "COLUMNS": "The width of the terminal, if it differs from what it reports.",
    "TERM": "If it is `dumb`, there are no colours and no progress.",
}
"""The environment variables of the command."""


_PAGES: Final[Mapping[str, tuple[str, Mapping[str, str], str]]] = {
    "environment": (
        "Environment variables",
        VARIABLES,
        (
            "This machine itself is always reached directly. HTTP_PROXY and ALL_PROXY "
            "have no effect."
        ),
    ),
    "exit-codes": (
        "Exit codes",
        {f"{code:3}": code.meaning for code in Exit},
        (
            "A failure is two lines on standard error: what failed, and what to do "
            "next. If one of several sessions fails, it is one line of JSON there "
            "instead, or on a terminal part of a summary below the results, and the "
            "others are still done."
        ),
    ),
}
"""The heading, the entries and the last paragraph of each topic."""


def _write_page(topic: str, formatter: click.HelpFormatter) -> None:
    heading, entries, paragraph = _PAGES[topic]
    with formatter.section(heading):
        formatter.write_dl(list(entries.items()))
    formatter.write_paragraph()
    formatter.write_text(paragraph)


def _complete(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> "list[CompletionItem[str]]":
    """Complete the next word: a topic, a command, or a subcommand of it."""
    words = ctx.params.get(str(parameter.name)) or ()
    try:
        found = _find(ctx.find_root(), words)
    except click.UsageError:
        return []
    topics = [] if words else completions(TOPICS, incomplete)
    offers = found.command.shell_complete(found, incomplete)
    return [*topics, *(offer for offer in offers if not offer.value.startswith("-"))]


@click.command()
@click.argument(
    "words", metavar="[COMMAND | TOPIC]", nargs=-1, shell_complete=_complete
)
@click.pass_context
def help(ctx: click.Context, words: Sequence[str]) -> None:  # noqa: A001 - its name
    """Explain a command, as its --help does, or a topic.

    Without either, it lists all of them.
    """
    if len(words) == 1 and words[0] in _PAGES:
        formatter = ctx.make_formatter()
        _write_page(words[0], formatter)
        click.echo(formatter.getvalue(), nl=False)
    else:
        click.echo(_find(ctx.find_root(), words).get_help())


def _find(root: click.Context, words: Sequence[str]) -> click.Context:
    """Return a context of the command that *words* name, starting below *root*."""
    found = root
    for word in words:
        group, known, command = found.command, [], None
        if isinstance(group, click.Group):
            known = group.list_commands(found)
            command = group.get_command(found, word)
        if command is None:
            near = suggest(word, [*known, *TOPICS] if found is root else known)
            raise click.UsageError(f"There is no '{word}' to explain.{near}", found)
        found = click.Context(command, info_name=word, parent=found)
    return found
