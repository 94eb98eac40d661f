"""What every command that meets the service can be told, and the client that follows.

The token is no option: what stands on a command line is seen by every user of the
machine, and kept by the shell.
"""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

import emogg_async
from emogg_async import ConfigurationError

__all__ = ["Connection", "connection_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

TOKEN_VARIABLE: Final = "EMOGG_API_TOKEN"  # noqa: S105 - its name, not its value


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
        """Make a client.

        Raises:
            ConfigurationError: There is no usable token or base URL.
        """
        return emogg_async.AsyncEmoggClient(
            self._token(),
            base_url=self.base_url,
            timeout=self.timeout,
            concurrency=self.concurrency,
            **options,
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


_OPTIONS: Final = (
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
)


def connection_options(command: Command) -> Command:
    """Give a click command these options; it gets them as `connection`."""

    @wraps(command)
    def wrapped(**arguments: Any) -> Any:
        names = (field.name for field in attrs.fields(Connection))
        connection = Connection(**{name: arguments.pop(name) for name in names})
        return command(connection=connection, **arguments)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
