"""Options that several commands have: connection, filters, part, output.

The token is no option: every user of the machine can see a command line, and the shell
keeps it.

Imports of the client and of rich wait until a command runs: `--help` and completion do
without them.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

import emogg_async
from emogg_async import ConfigurationError
from emogg_async._cli.numbers import Number, WholeNumber

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
"""The last line of the help of commands that call the service."""

TOKEN_VARIABLE: Final = "EMOGG_API_TOKEN"  # noqa: S105 - its name, not its value


def bundle(holder: type, name: str, options: Sequence[Option], **fixed: Any) -> Option:
    """Make a decorator that passes *options* to a command as one argument *name*.

    Args:
        holder: The class of the argument; its fields are named like the options.
        name: The name of the argument.
        options: The decorators of the options.
        fixed: Fields of *holder* that are not options.
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


# -- connection ------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Connection:
    """The settings of the client, and how much to say.

    Attributes:
        base_url: The URL of the service; None takes it from the environment.
        token_file: The file that holds the token; None takes it from the environment.
        timeout: Seconds for a whole call.
        concurrency: Requests in flight at once.
        verbose: Whether to log.
        quiet: Whether to print only results and errors.
    """

    base_url: str | None
    token_file: Path | None
    timeout: float
    concurrency: int
    verbose: bool
    quiet: bool

    def client(
        self, *, token: str | None = None, **options: Any
    ) -> "emogg_async.AsyncEmoggClient":
        """Make a client.

        Args:
            token: The token, if it was read already.
            options: Further arguments of the client.

        Raises:
            ConfigurationError: The token, the base URL or the proxy cannot be used.
        """
        return emogg_async.AsyncEmoggClient(
            self.token() if token is None else token,
            base_url=self.base_url,
            timeout=self.timeout,
            concurrency=self.concurrency,
            **{"trust_env": True, **options},
        )

    def token(self) -> str:
        """Read the token; if its file is a pipe, that works only once.

        Raises:
            ConfigurationError: There is no token.
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


def _base_url(value: str) -> str:
    """Refuse an empty URL, as of an unset variable: the default would get the token."""
    if not value:
        raise click.BadParameter("expected a URL, got an empty text")
    return value


connection_options = bundle(
    Connection,
    "connection",
    (
        click.option(
            "--base-url",
            metavar="URL",
            type=_base_url,
            help="The URL of the service.",
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Read the token from a file instead of EMOGG_API_TOKEN.",
        ),
        click.option(
            "--timeout",
            metavar="SECONDS",
            type=Number(0, min_open=True),
            default=60.0,
            show_default=True,
            help="Time limit of each call, with its retries.",
        ),
        click.option(
            "--concurrency",
            metavar="N",
            type=WholeNumber(1),
            default=32,
            show_default=True,
            help="Requests in flight at once.",
        ),
        click.option(
            "-v", "--verbose", is_flag=True, help="Log requests, retries and waits."
        ),
        click.option(
            "-q", "--quiet", is_flag=True, help="Print only results and errors."
        ),
    ),
)
"""Decorator of a click command, which gets a `Connection` as `connection`."""


# -- filters ---------------------------------------------------------------------------


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _expand(shown_by: str) -> Option:
    return click.option(
        "--expand",
        metavar="FIELDS",
        default="",
        type=_names,
        help=f"Get these IDs as full objects, e.g. user; {shown_by} shows them.",
    )


expand_option = _expand("-o json")
"""Decorator of a click command, which gets `expand`."""


@attrs.frozen(kw_only=True)
class Filters:
    """The filters of `list_sessions`, and what to expand; None does not filter."""

    state: str | None
    type: str | None
    started_after: datetime | None
    started_before: datetime | None
    expand: tuple[str, ...]


_AGO: Final = re.compile(r"(\d+)([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_DAYS: Final = {"today": 0, "yesterday": 1}
"""How many days ago each day was."""


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """Read a time, in UTC unless it has an offset.

    Args:
        text: A month, a date, a date and time, `today`, `yesterday`, or how long ago:
            a number of `m`inutes, `h`ours, `d`ays or `w`eeks. A month or a day is its
            beginning.
        now: The present; None looks at the clock.

    Raises:
        click.BadParameter: *text* is none of these.
    """
    text, now = text.strip(), now or datetime.now(UTC)
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if text in _DAYS:
            return _midnight(now) - timedelta(days=_DAYS[text])
        moment = datetime.fromisoformat(
            f"{text}-01" if _MONTH.fullmatch(text) else text
        )
    except (ValueError, OverflowError):
        raise click.BadParameter(
            "expected a time, e.g. 7d, yesterday, 2024-03, 2024-03-29 or "
            f"2024-03-29T08:51:26Z, got {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _known(enum: str) -> Callable[..., list[str]]:
    """Complete the known values of an enum of the models; others are allowed."""

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
            help="Only sessions in this state, e.g. active, processing or finished.",
        ),
        click.option(
            "--type",
            metavar="TYPE",
            shell_complete=_known("SessionType"),
            help="Only sessions of this type, e.g. live_analysis.",
        ),
        click.option(
            "--started-after",
            metavar="TIME",
            type=parse_moment,
            help="Only sessions created after this time: 7d (days ago; also m, h, w), "
            "yesterday, 2024-03, 2024-03-29 or 2024-03-29T10:51:26+02:00. Days and "
            "months count from their start; without an offset all is UTC.",
        ),
        click.option(
            "--started-before",
            metavar="TIME",
            type=parse_moment,
            help="Only sessions created before this time.",
        ),
        _expand("JSON"),  # an export has only lines of it
    ),
)
"""Decorator of a click command, which gets `Filters` as `filters`."""


# -- which part of a session ----------------------------------------------------------


@attrs.frozen(kw_only=True)
class Part:
    """A part of a session, cut into intervals; its fields are the client's arguments.

    Attributes:
        granularity: Seconds of an interval.
        start: Seconds from the session's beginning.
        end: Seconds from the session's beginning; None is its end.
    """

    granularity: int
    start: float
    end: float | None


part_options = bundle(
    Part,
    "part",
    (
        click.option(
            "--granularity",
            metavar="SECONDS",
            type=WholeNumber(5, 3_600),
            default=60,
            show_default=True,
            help="Length of an interval, from 5 to 3600.",
        ),
        click.option(
            "--start",
            metavar="SECONDS",
            type=Number(0),
            default=0.0,
            help="Start of the part, from the session's start.",
        ),
        click.option(
            "--end",
            metavar="SECONDS",
            type=Number(0, min_open=True),
            help="End of the part, from the session's start. Default: its end.",
        ),
    ),
)
"""Decorator of a click command, which gets a `Part` as `part`."""

# -- dry run ---------------------------------------------------------------------------

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print the requests instead of sending them."
)
"""Decorator of a click command, which gets `dry_run`."""

# -- output ----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Output:
    """The form in which results are printed.

    Attributes:
        kind: The kind of the results, a key of `fields.FIELDS`.
        human: The name of the form for people.
        form: The name of the form; None is *human* on a terminal, else `jsonl`.
        fields: The fields to print; None leaves it to the form.
        no_header: Whether to leave out the first line of CSV.
    """

    kind: str
    human: str
    form: str | None
    fields: tuple[str, ...] | None
    no_header: bool

    @property
    def chosen(self) -> str:
        """The name of the form; where none was given, it depends on stdout."""
        return self.form or (self.human if sys.stdout.isatty() else "jsonl")

    @contextmanager
    def writer(self, *, is_single: bool = False) -> "Iterator[Writer]":
        """Open a writer, and close it in the end.

        After a failure it is only flushed: a JSON array without its end cannot be
        taken for the whole answer.

        Args:
            is_single: Whether there is only one session, which gets a page instead of a
                table, unless a table was asked for.
        """
        writer = self._open(is_page=is_single and self.form is None)
        try:
            yield writer
        except BaseException:
            writer.flush()
            raise
        writer.close()

    def _open(self, *, is_page: bool) -> "Writer":
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
        if is_page:
            from emogg_async._cli.output.page import PageWriter  # noqa: PLC0415 - as below

            return PageWriter(self.fields)
        from emogg_async._cli.output.tables import TableWriter  # noqa: PLC0415 - loads rich

        return TableWriter(self.fields, self.kind)


def _fields(kind: str) -> Callable[[str], tuple[str, ...]]:
    """Make the function that reads names of fields of *kind*."""

    def read(value: str) -> tuple[str, ...]:
        from emogg_async._cli.output.fields import parse_fields  # noqa: PLC0415 - loads models

        try:
            return parse_fields(value, kind)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


def _complete_fields(kind: str) -> Callable[..., list[str]]:
    """Make the completion of the last name of a list."""

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
    human: str = "table",
    *others: str,
    default: str | None = None,
    kind: str = "session",
    example: str = "id,name,config.remove_media",
) -> Option:
    """Make a decorator of a click command, which gets an `Output` as `output`.

    Args:
        human: The name of the form for people.
        others: The names of the other forms; none are those for programs.
        default: The default form; None is *human* on a terminal, else JSON lines.
        kind: The kind of the results, a key of `fields.FIELDS`.
        example: Some of its fields, as a user would give them.
    """
    forms = (human, *(others or ("json", "jsonl", "csv")))
    usual = default or f"{human} on a terminal, else jsonl"
    options = (
        click.option(
            "-o",
            "--output",
            "form",
            type=click.Choice(forms),
            default=default,
            help=f"Form of the results. Default: {usual}.",
        ),
        click.option(
            "--fields",
            metavar="NAMES",
            type=_fields(kind),
            shell_complete=_complete_fields(kind),
            help=f"Print only these fields, e.g. {example}.",
        ),
        click.option("--no-header", is_flag=True, help="Print CSV without the header."),
    )
    return bundle(Output, "output", options, kind=kind, human=human)
