"""The `emogg` command as a real process: with pipes, or on a terminal of its own."""

import codecs
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, AnyStr

import psutil
import pytest

PYTHON = (sys.executable, "-W", "error")
COMMAND = (*PYTHON, "-m", "emogg_async")

BARE = """
import click

@click.group(context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option("1.0", message="bare %(version)s")
def bare():
    "Do nothing, with commands."

@bare.command()
def one():
    "Do one thing."

@bare.command()
def two():
    "Do another."

bare()
"""
"""What a click program costs that has nothing to do."""

_AMBIENT = ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "PYTHONIOENCODING")


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process's environment, but for *changes* and what alters output."""
    wanted = os.environ | dict.fromkeys(_AMBIENT) | {"TERM": "xterm-256color"}
    wanted |= {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"} | changes
    return {name: value for name, value in wanted.items() if value is not None}


class Program(subprocess.Popen[AnyStr]):
    """A process that is killed where its block is left by an error.

    `Popen` would wait for its end, which may never come.
    """

    def kill(self) -> None:
        """Kill it, and all that it has started."""
        with contextlib.suppress(psutil.Error):  # it is gone
            for each in psutil.Process(self.pid).children(recursive=True):
                each.kill()
        super().kill()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Wait for its end."""
        if kind is not None:
            self.kill()
        super().__exit__(kind, *rest)


def run(*arguments: str, **changes: str | None) -> "subprocess.CompletedProcess[str]":
    """Run the command with pipes until it ends."""
    return run_python("-m", "emogg_async", *arguments, **changes)


def run_python(
    *arguments: str, **changes: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run Python with pipes until it ends."""
    return subprocess.run(
        [*PYTHON, *arguments],
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=50,
    )


@contextlib.contextmanager
def running(
    *arguments: str,
    stdin: IO[str] | int | None = None,
    stdout: IO[str] | int = subprocess.PIPE,
    **changes: str | None,
) -> "Iterator[subprocess.Popen[str]]":
    """Have the command run with pipes; it is killed in the end if it still does."""
    with Program(
        [*COMMAND, *arguments],
        env=environment(**changes),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _pty(columns: int) -> Iterator[tuple[int, int]]:
    """Open a terminal: our side, which is closed in the end, and that of a process."""
    import pty  # noqa: PLC0415 - there is none on Windows
    import termios  # noqa: PLC0415

    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (50, columns))
        yield ours, theirs
    finally:
        os.close(ours)


def run_on_terminal(
    *arguments: str,
    columns: int = 80,
    command: Sequence[str] = COMMAND,
    stdin: int | None = None,
    **changes: str | None,
) -> "subprocess.CompletedProcess[str]":
    """Run the command on a terminal of so many columns, but for its stderr."""
    with (
        _pty(columns) as (ours, theirs),
        Program(
            [*command, *arguments],
            env=environment(**changes),
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as process,
    ):
        os.close(theirs)
        output = _read_all(ours)
        assert process.stderr is not None
        complaints = process.stderr.read()
    return subprocess.CompletedProcess(
        process.args, process.returncode, output.decode(), complaints
    )


class Watched:
    """A command on a terminal, which can be looked at while it runs.

    Attributes:
        process: The process.
        shown: What the terminal has been sent so far.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", terminal: int) -> None:
        self.process = process
        self.shown = ""
        self._terminal = terminal
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")()
        with contextlib.suppress(OSError):  # see `_read_all`
            while chunk := os.read(self._terminal, 65_536):
                self.shown += decoder.decode(chunk)

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        self._reader.join(50)
        return self.process.wait(1)


@contextlib.contextmanager
def on_terminal(
    *arguments: str, columns: int = 80, **changes: str | None
) -> Iterator[Watched]:
    """Have the command run on a terminal; it is killed in the end if it still does."""
    with (
        _pty(columns) as (ours, theirs),
        Program(
            [*COMMAND, *arguments],
            env=environment(**changes),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        watched = Watched(process, ours)
        try:
            yield watched
        finally:
            process.kill()
            watched.wait()


def run_in_shell(
    line: str, *arguments: str, **changes: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run a shell's *line* on a terminal, which shows stderr, too; `"$@"` is ours."""
    shell = ("/bin/sh", "-c", f"exec 2>&1; {line}", "sh", *COMMAND)
    return run_on_terminal(*arguments, command=shell, **changes)


def _read_all(terminal: int) -> bytes:
    chunks = []
    with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
        while chunk := os.read(terminal, 65_536):
            chunks.append(chunk)
    return b"".join(chunks)


def run_answering(
    *arguments: str,
    answer: str,
    prompt: str = "[y/N]",
    columns: int = 80,
    command: Sequence[str] = COMMAND,
    **changes: str | None,
) -> "subprocess.CompletedProcess[str]":
    """Run the command on a terminal, and answer when it shows its *prompt*.

    All that is shown is in `stdout`, where people cannot tell streams apart, either.
    """
    with (
        _pty(columns) as (ours, theirs),
        Program(
            [*command, *arguments],
            env=environment(**changes),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            # Only of its own terminal does a process get the signal of Ctrl-C.
            start_new_session=True,
            preexec_fn=_take_terminal,
        ) as process,
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):
            while prompt.encode() not in shown:
                shown += os.read(ours, 65_536)
            os.write(ours, answer.encode())
        shown += _read_all(ours)
    return subprocess.CompletedProcess(
        process.args, process.returncode, shown.decode(), ""
    )


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415 - there is none on Windows
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def run_watched(
    *arguments: str, columns: int = 80, **changes: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run the command with its stderr on a terminal, and its stdout in a file."""
    with (
        _pty(columns) as (ours, theirs),
        tempfile.TemporaryFile("w+", encoding="utf-8") as file,
        Program(
            [*COMMAND, *arguments],
            env=environment(**changes),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=theirs,
        ) as process,
    ):
        os.close(theirs)
        complaints = _read_all(ours).decode()
        process.wait()
        file.seek(0)
        output = file.read()
    return subprocess.CompletedProcess(
        process.args, process.returncode, output, complaints
    )


def call(
    capfd: "pytest.CaptureFixture[str]", *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command in this process: quick, for what needs none of its own."""
    from emogg_async._cli.app import emogg  # noqa: PLC0415 - needs the extra

    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        emogg.main(arguments, prog_name="emogg")
    output, complaints = capfd.readouterr()
    code = caught.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, output, complaints)


def help_seconds(rounds: int) -> tuple[float, float]:
    """Return the least time that `--help` takes: of a bare click program, and of ours.

    They take turns, so that whatever slows the machine slows both.
    """
    # Who measures coverage would start it in both, and hide the difference.
    ambient = environment(COVERAGE_PROCESS_CONFIG=None, COVERAGE_PROCESS_START=None)
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for each, program in enumerate((("-c", BARE), ("-m", "emogg_async"))):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, *program, "--help"],
                env=ambient,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            best[each] = min(best[each], time.perf_counter() - began)
    return best[0], best[1]
