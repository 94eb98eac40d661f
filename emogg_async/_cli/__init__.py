"""The `emogg` command. It uses nothing but the public names of this package.

============  =====================================================
module        what it holds
============  =====================================================
`app`         the root command, and where its subcommands are
`completion`  `emogg completion`
`demo`        `emogg demo`
`showcase`    what it shows
`doctor`      `emogg doctor`
`checkup`     its checks
`findings`    what these find
`probe`       what these do to the network
`emulator`    `emogg emulator`
`serving`     how it serves: until Ctrl-C, or for a command
`background`  `--background`, and `--stop`
`help`        `emogg help`
`sessions`    `emogg sessions …`: what its commands can be told
`get`         `emogg sessions get`, and whatever takes many ids
`wanted`      the ids that it is given
`ids`         ids that come in lines
`tally`       what came of them
`listing`     `emogg sessions list`
`export`      `emogg sessions export`
`horizon`     where an export will end
`progress`    its progress bar
`resume`      how to go on with it
`emotions`    `emogg emotions …`: what its commands can be told
`sentiment`   `emogg sentiment`
`intervals`   which part of a session they look at
`rows`        what they print, as rows
`charts`      the same, drawn
`sparklines`  its lines and bars: numbers as text
`figures`     which of these is printed
`sources`     `emogg sources …`
`events`      `emogg events …`
`writing`     how commands work that change something
`asking`      the question before some of them
`rehearsal`   what `--dry-run` does instead
`options`     what several commands can be told
`running`     how a command runs, and is told to stop
`verbose`     what `-v` tells
`fields`      the fields of what is printed, by name
`formats`     that as JSON, JSON lines and CSV
`tables`      that as a table
`output`      the console that draws on stdout
`moments`     dates and times, as they are given
`text`        text that no terminal obeys
`exits`       exit codes, and what is said about an error
============  =====================================================
"""

import os
import signal
import sys
from importlib.util import find_spec
from typing import Final

__all__ = ["main"]

_EXTRA: Final = ("click", "rich")
"""What the extra `cli` installs."""


def main() -> int:
    """Run the command, or say how to install what it needs.

    Returns:
        The exit code.
    """
    try:
        return _main()
    except KeyboardInterrupt:  # before the root command could see to it
        return 130
    finally:
        # While Python ends, Ctrl-C would only make it complain.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _main() -> int:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        print(
            f"Error: the command needs {' and '.join(missing)}.\n"
            "Install what it needs: python -m pip install 'emogg-async[cli]'",
            file=sys.stderr,
        )
        return 1
    # What was closed before we began: whoever cannot see complaints gets none, but data
    # that nobody can have are an error, as anywhere.
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, mode)
            setattr(sys, name, open(nowhere, "w", closefd=False))  # noqa: SIM115
    _choose_encodings()
    from emogg_async._cli.app import emogg  # noqa: PLC0415 - needs click

    return int(emogg.main(prog_name="emogg"))


def _choose_encodings() -> None:
    """Write UTF-8 to files and pipes; what a terminal cannot show is replaced.

    A file or a pipe does not tell in which locale it was written.
    """
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        encoding = None if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors=errors)  # type: ignore[union-attr]
