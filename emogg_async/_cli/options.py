"""What several commands can be told, and what follows: a client, filters, a writer.

The token is no option: what stands on a command line is seen by every user of the
machine, and kept by the shell.

Nothing here may import the client or rich: `--help` and completion have no use for
them.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

import emogg_async
from emogg_async import ConfigurationError
from emogg_async._cli.moments import parse_moment
from emogg_async._cli.verbose import log_to_stderr

if TYPE_CHECKING:
    from emogg_async._cli.formats import SessionWriter

__all__ = [
    "Connection",
    "Filters",
    "Output",
    "connection_options",
    "filter_options",
    "output_options",
]

Command = Callable[..., Any]
Option = Callable[[Command], Command]

TOKEN_VARIABLE: Final = "EMOGG_API_TOKEN"  # noqa: S105 - its name, not its value


def _bundle(kind: type, name: str, options: Sequence[Option]) -> Option:
    """Make a decorator that gives a command *options*, all in one argument *name*."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(**arguments: Any) -> Any:
            names = (field.name for field in attrs.fields(kind))
            value = kind(**{each: arguments.pop(each) for each in names})
            return command(**{name: value}, **arguments)

        decorated: Command = wrapped
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


# -- whom to ask -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Connection:
    """Whom to ask, in whose name, and how."""

    base_url: str | None
    """Where the service is; None is what the environment says."""

    token_file: Path | None
    """The file that holds the token; None takes it from the environment."""

    timeout: float
    """Seconds for a whole call."""

    concurrency: int
    """Requests in flight at once."""

    verbose: bool
    """Whether to log what happens."""

    quiet: bool
    """Whether to say nothing but errors."""

    def client(self, **options: Any) -> "emogg_async.AsyncEmoggClient":
        """Make a client, and have it log if that is wanted.

        Raises:
            ConfigurationError: There is no usable token or base URL, or the proxy of
                the environment is none.
        """
        if self.verbose:
            log_to_stderr()
        return emogg_async.AsyncEmoggClient(
            self._token(),
            base_url=self.base_url,
            timeout=self.timeout,
            concurrency=self.concurrency,
            **{"trust_env": True, **options},
        )

    def _token(self) -> str:
        if self.token_file is None:
            token, source = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
        else:
            token, source = self._read(self.token_file), f"{self.token_file}"
        if not token.strip():
            raise ConfigurationError(f"{source} holds no token")
        return token.strip()

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ConfigurationError(f"{path}: {reason}") from error


connection_options = _bundle(
    Connection,
    "connection",
    (
        click.option("--base-url", metavar="URL", help="Where the service is."),
        click.option(
            "--token-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Take the token from a file rather than from EMOGG_API_TOKEN.",
        ),
        click.option(
            "--timeout",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            default=60.0,
            show_default=True,
            help="Time for each call, retries included.",
        ),
        click.option(
            "--concurrency",
            metavar="N",
            type=click.IntRange(1),
            default=32,
            show_default=True,
            help="Requests in flight at once.",
        ),
        click.option("-v", "--verbose", is_flag=True, help="Log what happens."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    ),
)
"""Give a click command these options; it gets them as `connection`."""


# -- which sessions --------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Filters:
    """Which sessions to list; None is no filter."""

    state: str | None
    type: str | None
    started_after: datetime | None
    started_before: datetime | None

    def arguments(self) -> dict[str, Any]:
        """Return them as arguments of `list_sessions`."""
        return attrs.asdict(self)


def _moment(
    _: click.Context, __: click.Parameter, value: str | None
) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_moment(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _known(enum: str) -> Callable[..., list[str]]:
    """Complete the known values of an enum of the models; any other passes, too."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        return [
            value
            for value in getattr(emogg_async, enum)
            if value.startswith(incomplete)
        ]

    return complete


filter_options = _bundle(
    Filters,
    "filters",
    (
        click.option(
            "--state",
            metavar="STATE",
            shell_complete=_known("SessionState"),
            help="Only sessions in this state, as active, processing or finished.",
        ),
        click.option(
            "--type",
            metavar="TYPE",
            shell_complete=_known("SessionType"),
            help="Only sessions of this type, as live_analysis.",
        ),
        click.option(
            "--started-after",
            metavar="TIME",
            callback=_moment,
            help="Only sessions created after this time: ISO 8601, as 2024-03-29 or "
            "2024-03-29T10:51:26+02:00. Without an offset it is UTC.",
        ),
        click.option(
            "--started-before",
            metavar="TIME",
            callback=_moment,
            help="Only sessions created before this time.",
        ),
    ),
)
"""Give a click command these options; it gets them as `filters`."""


# -- how to print them -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Output:
    """How to print sessions."""

    form: str | None
    """The name of the form; None is a table on a terminal, else JSON lines."""

    fields: tuple[str, ...] | None
    """Which fields; None is up to the form."""

    no_header: bool
    """Whether CSV goes without its first line."""

    @contextmanager
    def writer(self) -> "Iterator[SessionWriter]":
        """Have a writer, which in the end writes what is missing, whatever happens."""
        writer = self._open()
        try:
            yield writer
        finally:
            writer.close()

    def _open(self) -> "SessionWriter":
        from emogg_async._cli import formats  # noqa: PLC0415 - loads the converter

        form = self.form or ("table" if sys.stdout.isatty() else "jsonl")
        match form:
            case "json":
                return formats.JSONWriter(self.fields)
            case "jsonl":
                return formats.JSONLinesWriter(self.fields)
            case "csv":
                return formats.CSVWriter(self.fields, header=not self.no_header)
        from emogg_async._cli.tables import TableWriter  # noqa: PLC0415 - loads rich

        return TableWriter(self.fields)


def _fields(
    _: click.Context, __: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    from emogg_async._cli.fields import parse_fields  # noqa: PLC0415 - loads models

    if value is None:
        return None
    try:
        return parse_fields(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _complete_fields(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[str]:
    """Complete the last of the names."""
    from emogg_async._cli.fields import FIELDS  # noqa: PLC0415 - loads models

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [
        f"{before}{comma}{field}"
        for field in FIELDS
        if field.startswith(last) and field not in given
    ]


def output_options(*forms: str, default: str | None = None) -> Option:
    """Make a decorator that gives a command these options, as `output`.

    Args:
        forms: The names of those that can be chosen.
        default: Which one to take if none is; None is a table on a terminal, else
            JSON lines.
    """
    usual = default or "table on a terminal, else jsonl"
    options = (
        click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(forms),
            default=default,
            help=f"How to print them. Default: {usual}.",
        ),
        click.option(
            "--fields",
            metavar="NAMES",
            callback=_fields,
            shell_complete=_complete_fields,
            help="Print these fields only, as id,name,config.remove_media.",
        ),
        click.option("--no-header", is_flag=True, help="Print CSV without its header."),
    )
    return _bundle(Output, "output", options)
