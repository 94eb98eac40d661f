"""The `emogg` command.

It uses the public names of this package, and a few pure functions below them.

===============  ================================================================
module           what it holds
===============  ================================================================
`commands/`      a module for each command or group, imported when it is called
`  get`          calls for many ids, in order
`  listing`      pages of the list
`  writing`      calls that change something, and `--dry-run`
`  showcase`     the program and the report of `emogg demo`
`output/`        forms of the results
`  formats`      JSON, JSON lines and CSV
`  tables`       tables, and the console of stdout
`  page`         one session on a page of its own
`  charts`       charts, made of the lines and bars in `sparklines`
`  figures`      the choice between charts, rows and JSON
`  fields`       the names that `--fields` takes
`  rows`         figures as rows
`  progress`     the line that an export shows
`app`            the root command
`options`        options that several commands have
`numbers`        numbers as options
`ids`            ids as arguments, in files, and on standard input
`running`        how a command runs and is stopped; what `-v` logs
`signals`        waits that end when a signal has come
`asking`         the question before a stop or a deletion
`exits`          exit codes, and the two lines about an error
`checks`         the checks of `emogg doctor`
`serving`        how `emogg emulator` serves
`background`     its `--background` and `--stop`
===============  ================================================================
"""

import os
import signal
import sys
from importlib.util import find_spec
from typing import Final

__all__ = ["main"]

_EXTRA: Final = ("click", "rich")
"""The packages of the extra `cli`."""


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
        # Python would print a traceback for a Ctrl-C while it ends.
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
    # A closed stdout is opened for reading, so that data which nobody can have are an
    # error; a closed stderr takes everything.
    for name, mode in (("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, mode)
            setattr(sys, name, open(nowhere, "w", closefd=False))  # noqa: SIM115
    _choose_encodings()
    from emogg_async._cli.app import emogg  # noqa: PLC0415 - needs click

    return int(emogg.main(prog_name="emogg"))


def _choose_encodings() -> None:
    """Write UTF-8 to files and pipes; characters that a terminal lacks are replaced.

    A file or a pipe does not tell in which locale it was written.
    """
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        encoding = None if stream.isatty() else "utf-8"
        stream.reconfigure(encoding=encoding, errors=errors)  # type: ignore[union-attr]
