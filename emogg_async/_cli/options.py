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
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

import emogg_async
from emogg_async import ConfigurationError

if TYPE_CHECKING:
    from emogg_async._cli.output.formats import Writer

__all__ = [
    "EXIT_CODES",
    "Connection",
    "Filters",
    "Output",
    "Part",
    "bundle",
    "connection_options",
    "dry_run_option",
    "expand_option",
    "filter_options",
    "output_options",
    "parse_moment",
    "part_options",
]

Command = Callable[..., Any]
Option = Callable[[Command], Command]

EXIT_CODES: Final = "`emogg help exit-codes` says how it can end."
"""Ends the help of what meets the service."""

TOKEN_VARIABLE: Final = "EMOGG_API_TOKEN"  # noqa: S105 - its name, not its value


def bundle(holder: type, name: str, options: Sequence[Option], **fixed: Any) -> Option:
    """Make a decorator that gives a command *options*, all in one argument *name*.

    Args:
        holder: The class of that argument, whose fields are named as the options are.
        name: What the command calls it.
        options: What makes them.
        fixed: Those of its fields that nobody can choose.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def wrapped(**arguments: Any) -> Any:
            names = {field.name for field in attrs.fields(holder)} - fixed.keys()
            chosen = {each: arguments.pop(each) for each in names}
            value = holder(**chosen, **fixed)
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

    def client(
        self, *, token: str | None = None, **options: Any
    ) -> "emogg_async.AsyncEmoggClient":
        """Make a client.

        Args:
            token: The token, if it was read before.
            options: Further ones of the client.

        Raises:
            ConfigurationError: There is no usable token or base URL, or the proxy of
                the environment is none.
        """
        return emogg_async.AsyncEmoggClient(
            self.token() if token is None else token,
            base_url=self.base_url,
            timeout=self.timeout,
            concurrency=self.concurrency,
            **{"trust_env": True, **options},
        )

    def token(self) -> str:
        """Read the token; a file that is a pipe can be read only once.

        Raises:
            ConfigurationError: There is none.
        """
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
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ConfigurationError(f"{path}: {reason}") from error


def _base_url(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Refuse what a variable that is not set leaves: the token would go elsewhere."""
    if value == "":
        raise click.BadParameter("it is empty")
    return value


connection_options = bundle(
    Connection,
    "connection",
    (
        click.option(
            "--base-url",
            metavar="URL",
            callback=_base_url,
            help="Where the service is.",
        ),
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


def _names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _expand(shown_by: str) -> Option:
    return click.option(
        "--expand",
        metavar="FIELDS",
        default="",
        callback=_names,
        help=f"Have these IDs as the full objects, as user; {shown_by} shows them.",
    )


expand_option = _expand("-o json")
"""Give a click command this option."""


@attrs.frozen(kw_only=True)
class Filters:
    """Which sessions to list, and how; None is no filter."""

    state: str | None
    type: str | None
    started_after: datetime | None
    started_before: datetime | None
    expand: tuple[str, ...]

    def arguments(self) -> dict[str, Any]:
        """Return them as arguments of `list_sessions`."""
        return attrs.asdict(self)


def parse_moment(text: str) -> datetime:
    """Read a date, or a date and time; without an offset it is taken as UTC.

    Raises:
        ValueError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a date nor a time, as 2024-03-29 or "
            "2024-03-29T08:51:26Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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


filter_options = bundle(
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
        _expand("JSON"),  # an export has only lines of it
    ),
)
"""Give a click command these options; it gets them as `filters`."""


# -- which part of a session ----------------------------------------------------------


@attrs.frozen(kw_only=True)
class Part:
    """A part of a session, cut into intervals."""

    granularity: int
    """Seconds of an interval."""

    start: float
    """Seconds from the session's beginning."""

    end: float | None
    """Seconds from the session's beginning; None is its end."""

    def arguments(self) -> dict[str, Any]:
        """Return it as arguments of the client's methods."""
        return attrs.asdict(self)


part_options = bundle(
    Part,
    "part",
    (
        click.option(
            "--granularity",
            metavar="SECONDS",
            type=click.IntRange(5, 3_600),
            default=60,
            show_default=True,
            help="How long an interval is, from 5 to 3600.",
        ),
        click.option(
            "--start",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=0.0,
            help="Begin so long after the session did.",
        ),
        click.option(
            "--end",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            help="End so long after the session began; otherwise where it ends.",
        ),
    ),
)
"""Give a click command these options; it gets them as `part`."""

# -- what to do ------------------------------------------------------------------------

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Send nothing; print what would be sent."
)
"""Give a click command this option."""

# -- how to print them -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Output:
    """How to print what was asked for."""

    kind: str
    """What it is, a key of `fields.FIELDS`."""

    human: str
    """The name of the form for people."""

    form: str | None
    """The name of the form; None is that for people on a terminal, else JSON lines."""

    fields: tuple[str, ...] | None
    """Which fields; None is up to the form."""

    no_header: bool
    """Whether CSV goes without its first line."""

    @property
    def chosen(self) -> str:
        """The name of the form, if need be by where stdout leads."""
        return self.form or (self.human if sys.stdout.isatty() else "jsonl")

    @contextmanager
    def writer(self) -> "Iterator[Writer]":
        """Have a writer, which in the end writes what is missing.

        After a failure that stays missing: an array without its end cannot be taken for
        the whole answer.
        """
        writer = self._open()
        try:
            yield writer
        except BaseException:
            writer.flush()
            raise
        writer.close()

    def _open(self) -> "Writer":
        from emogg_async._cli.output import formats  # noqa: PLC0415 - loads the converter

        match self.chosen:
            case "json":
                return formats.JSONWriter(self.fields)
            case "jsonl":
                return formats.JSONLinesWriter(self.fields)
            case "csv":
                return formats.CSVWriter(
                    self.fields, kind=self.kind, header=not self.no_header
                )
        from emogg_async._cli.output.tables import TableWriter  # noqa: PLC0415 - loads rich

        return TableWriter(self.fields, self.kind)


def _fields(kind: str) -> Callable[..., tuple[str, ...] | None]:
    """Read the names of fields of what is of this *kind*."""

    def read(
        _: click.Context, __: click.Parameter, value: str | None
    ) -> tuple[str, ...] | None:
        from emogg_async._cli.output.fields import parse_fields  # noqa: PLC0415 - loads models

        if value is None:
            return None
        try:
            return parse_fields(value, kind)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


def _complete_fields(kind: str) -> Callable[..., list[str]]:
    """Complete the last of the names."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        from emogg_async._cli.output.fields import FIELDS  # noqa: PLC0415 - loads models

        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{field}"
            for field in FIELDS[kind]
            if field.startswith(last) and field not in given
        ]

    return complete


def output_options(
    *forms: str,
    default: str | None = None,
    kind: str = "session",
    example: str = "id,name,config.remove_media",
) -> Option:
    """Make a decorator that gives a command these options, as `output`.

    Args:
        forms: The names of those that can be chosen; the first one is for people.
        default: Which one to take if none is; None is the first one on a terminal, else
            JSON lines.
        kind: What is printed, a key of `fields.FIELDS`.
        example: Some of its fields, as they are given.
    """
    human = forms[0]
    usual = default or f"{human} on a terminal, else jsonl"
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
            callback=_fields(kind),
            shell_complete=_complete_fields(kind),
            help=f"Print these fields only, as {example}.",
        ),
        click.option("--no-header", is_flag=True, help="Print CSV without its header."),
    )
    return bundle(Output, "output", options, kind=kind, human=human)
