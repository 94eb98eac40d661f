"""`emogg help` and `emogg completion`, and what neither of them costs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import click
import pytest
from _terminal import (
    BARE,
    PYTHON,
    environment,
    run,
    run_on_terminal,
    run_python,
)

from emogg_async._cli.app import TOPICS, emogg
from emogg_async._cli.commands.help import VARIABLES
from emogg_async._cli.exits import Exit
from emogg_async.testing import EmoggEmulator

INNER = ("app", "exits")
"""The modules of the command that help itself needs."""

HEAVY = {"aiocache", "aiohttp", "cattrs", "rich", "tenacity"}

COMMANDS = [
    *("completion", "demo", "doctor", "emotions", "emulator"),
    *("events", "help", "live", "sentiment", "sessions", "sources"),
]

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")


def asking(line: str) -> dict[str, str]:
    """Return the environment in which bash asks for what may end *line*."""
    return {
        "_EMOGG_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": f"{line.count(' ')}",
    }


def imported_by(*arguments: str, **changes: str) -> set[str]:
    """Return the names of the modules that Python imports for what succeeds."""
    done = run_python("-X", "importtime", *arguments, **changes)
    assert done.returncode == 0
    assert done.stdout
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def complete(line: str) -> list[str]:
    """Return what a shell offers at the end of *line*."""
    done = run(**asking(line))
    assert done.returncode == 0, done.stderr
    return [offer.partition(",")[2] for offer in done.stdout.split()]


@pytest.mark.parametrize("words", [(), ("sessions",), ("sessions", "get")])
def test_short_option(words: tuple[str, ...]) -> None:
    """`-h` is the same as `--help`, for each command."""
    short = run(*words, "-h")
    assert short.returncode == 0
    assert short.stdout == run(*words, "--help").stdout


def test_help_tells_how_to_begin() -> None:
    """The first help names what works without an account."""
    shown = run("-h", EMOGG_API_TOKEN=None).stdout
    assert "Without a token, `emogg demo` shows" in shown
    assert "`emogg emulator` serves made-up sessions" in " ".join(shown.split())


# -- what it costs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "--version",
        "help",
        "help exit-codes",
        "help environment",
        "help sessions get",
        "doctor --help",
        "completion bash",
        "TAB ",
        "TAB help ",
        "TAB sessions ",
        "TAB sessions get --",
        "TAB doctor --",
        "help sessions delete",
        "help emotions timeline",
        "help live",
        "TAB live --every ",
        "TAB sessions wait --",
        "TAB emotions ",
        "TAB sources register --",
    ],
)
def test_help_is_cheap(line: str) -> None:
    """Help and completions import neither the network nor the drawing libraries."""
    words, asked = line.split(" "), {}
    if words[0] == "TAB":
        words, asked = [], asking(line.replace("TAB", "emogg"))
    imported = imported_by("-m", "emogg_async", *words, **asked)
    assert "click" in imported
    assert imported & HEAVY == set()


def test_help_is_quick() -> None:
    """The help needs a few modules more than a click program that does nothing.

    They are the standard library's or ours, and none is that of a subcommand.
    """
    needed = imported_by("-m", "emogg_async", "--help")
    needed -= imported_by("-c", BARE, "--help")
    assert len(needed) <= 30
    ours = {name for name in needed if name.startswith("emogg_async")}
    assert {name.split(".")[0] for name in needed - ours} <= sys.stdlib_module_names
    inner = {"emogg_async._cli", *(f"emogg_async._cli.{name}" for name in INNER)}
    pure = {f"emogg_async.{name}" for name in ("_text", "_version", "errors")}
    assert ours <= {"emogg_async", *pure, *inner}


# -- emogg help ------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["", "sessions", "emotions", "sentiment", "sources"])
def test_help_is_not_cut(group: str) -> None:
    """The line of each command fits into a terminal of 80 columns."""
    assert "..." not in run(*group.split(), "--help").stdout.partition("Commands:")[2]


def test_help_names_everything() -> None:
    """The help shows all commands and topics in full, and each has its own."""
    shown = run("help").stdout
    named = re.findall(r"^  ([a-z][a-z-]+)  +\S.*\.$", shown, flags=re.MULTILINE)
    assert named == [*COMMANDS, *TOPICS]
    for command in ("demo", "emulator"):
        assert f"Usage: emogg {command}" in run("help", command).stdout


def test_help_of_a_subcommand() -> None:
    """`emogg help sessions get` is what `emogg sessions get --help` says."""
    shown = run("help", "sessions", "get").stdout
    assert shown == run("sessions", "get", "--help").stdout
    assert shown.startswith("Usage: emogg sessions get ")


def _all_commands(
    command: click.Command = emogg,
    name: str = "emogg",
    parent: click.Context | None = None,
) -> Iterator[click.Context]:
    """Yield contexts of a command and of all below it."""
    context = click.Context(command, info_name=name, parent=parent)
    yield context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from _all_commands(below, each, context)


def test_examples() -> None:
    """Examples stand as they are written, and begin with commands that there are."""
    texts = [context.get_help() for context in _all_commands()]
    usages = {
        found[1] for text in texts if (found := re.match(r"Usage: (.*?) [\[A-Z]", text))
    }
    examples = []
    for text in texts:
        assert "\b" not in text
        assert "\\b" not in text
        examples += re.findall(r"^    (emogg [a-z]+ (?:[a-z]+ )?)", text, re.MULTILINE)
    assert len(examples) > 12
    for example in examples:
        words = example.split()
        assert " ".join(words) in usages or " ".join(words[:2]) in usages


BY_PATH = {context.command_path: context.command for context in _all_commands()}


def _choices(command: click.Command) -> dict[str, Sequence[str] | None]:
    """Return the options of a command, each with the values that it takes, if few."""
    known: dict[str, Sequence[str] | None] = {"--help": None, "-h": None}
    for option in command.params:
        given = option.type.choices if isinstance(option.type, click.Choice) else None
        known |= dict.fromkeys((*option.opts, *option.secondary_opts), given)
    return known


def _wrong_words(words: Sequence[str], command: click.Command) -> list[str]:
    """Return those of *words* that are no option of a command, or no value of one."""
    known, wrong = _choices(command), []
    for word, following in pairwise([*words, ""]):
        if re.fullmatch(r"--?[a-z][a-z-]*", word) and word not in known:
            wrong.append(word)
        if (choices := known.get(word)) and following not in choices:
            wrong.append(f"{word} {following}")
    return wrong


def _command_of(words: Sequence[str]) -> click.Command:
    """Return the command that a line begins with."""
    paths = (" ".join(words[:length]) for length in (3, 2, 1))
    return next(BY_PATH[path] for path in paths if path in BY_PATH)


@pytest.mark.parametrize("path", BY_PATH)
def test_help_names_what_there_is(path: str) -> None:
    """Each option and form that a help text names is accepted by the command."""
    command = BY_PATH[path]
    told = [command.help, command.epilog]
    told += [getattr(option, "help", None) for option in command.params]
    text = re.sub(r"\\\n\s*", " ", "\n".join(filter(None, told)))
    example = r"\bemogg [a-z][^`\n|>)]*"
    for line in re.findall(example, text):
        words = line.split()
        assert _wrong_words(words, _command_of(words)) == []
    words = re.findall(r"[\w-]+", re.sub(example, "", text))
    if path != "emogg completion":  # which has lines of other commands
        assert _wrong_words(words, command) == []
    if forms := _choices(command).get("-o"):
        named = re.findall(r"\b(jsonl|csv|table|chart)s?\b", text.lower())
        assert {*named} <= {*forms}


def test_exit_codes() -> None:
    """Each exit code is explained."""
    shown = run("help", "exit-codes").stdout
    for code in Exit:
        assert re.search(rf"^ +{code}  {code.meaning}$", shown, re.MULTILINE)


def test_environment() -> None:
    """Each variable is explained, in as many columns as there are."""
    shown = run("help", "environment", COLUMNS="60").stdout
    names = re.findall(r"^  ([A-Z_]+)  ", shown, re.MULTILINE)
    assert names == list(VARIABLES)
    assert max(map(len, shown.splitlines())) <= 60


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["exitcodes"], "Did you mean 'exit-codes'?"),
        (["sessions", "gte"], "Did you mean 'get'?"),
        (["demo", "more"], "'more'"),
        (["exit-codes", "environment"], "'exit-codes'"),
    ],
)
def test_no_such_help(words: list[str], hint: str) -> None:
    """What cannot be explained is wrong usage, and says what may have been meant."""
    done = run("help", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    what, next_step = done.stderr.splitlines()
    assert hint in what
    assert "--help' for help." in next_step


# -- the environment, as the help has it -----------------------------------------------

_COLOUR = re.compile(r"\x1b\[(?:\d;)*[349]\d")


def test_force_color(emogg_emulator: EmoggEmulator) -> None:
    """FORCE_COLOR colours in a pipe, and NO_COLOR wins over it."""
    del emogg_emulator
    assert not _COLOUR.search(run("doctor").stdout)
    assert _COLOUR.search(run("doctor", FORCE_COLOR="1").stdout)
    assert not _COLOUR.search(run("doctor", FORCE_COLOR="1", NO_COLOR="1").stdout)


@needs_terminal
def test_dumb_terminal(emogg_emulator: EmoggEmulator) -> None:
    """A terminal that says it is dumb gets nothing that it would have to obey."""
    ids = [session.id for session in emogg_emulator.sessions[:2]]
    done = run_on_terminal("sessions", "get", *ids, TERM="dumb")
    assert ids[0] in done.stdout
    assert "\x1b" not in done.stdout


@needs_terminal
def test_columns(emogg_emulator: EmoggEmulator) -> None:
    """COLUMNS makes a table as wide as it says."""
    session_id = emogg_emulator.sessions[0].id
    done = run_on_terminal("sessions", "get", session_id, columns=80, COLUMNS="140")
    assert "sources" in done.stdout


def test_no_columns(emogg_emulator: EmoggEmulator) -> None:
    """Where COLUMNS says that there are none, everything is printed all the same."""
    session_id = emogg_emulator.sessions[0].id
    done = run("sessions", "get", session_id, "-o", "table", COLUMNS="0")
    assert session_id in done.stdout


# -- emogg completion ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("emogg ", COMMANDS),
        ("emogg s", ["sentiment", "sessions", "sources"]),
        ("emogg sessions g", ["get"]),
        ("emogg emotions t", ["timeline", "totals"]),
        ("emogg completion ", ["bash", "zsh", "fish"]),
        ("emogg doctor --ti", ["--timeout"]),
        ("emogg help ", [*TOPICS, *COMMANDS]),
        ("emogg help sessions g", ["get"]),
        ("emogg help nonsense ", []),
    ],
)
def test_completions(line: str, offers: list[str]) -> None:
    """A shell is offered commands, options, values and topics."""
    assert complete(line) == offers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str, tmp_path: Path) -> None:
    """Each script is one that its shell understands, and names the command."""
    done = run("completion", shell, PATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_EMOGG_COMPLETE={shell}_complete" in done.stdout
    script = tmp_path / "script"
    script.write_text(done.stdout)
    if found := shutil.which(shell):
        subprocess.run([found, "-n", script], check=True)


@needs_bash
def test_bash_completes(tmp_path: Path) -> None:
    """In a real bash, with the script loaded, the command completes itself."""
    command = tmp_path / "emogg"
    command.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} -m emogg_async "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    program = """
        eval "$(emogg completion bash)"
        [[ $(complete -p emogg) == *"-F _emogg_completion emogg" ]] || exit 1
        COMP_WORDS=(emogg se) COMP_CWORD=1
        _emogg_completion emogg se emogg
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        env=environment(PATH=path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "sentiment sessions\n",
        "",
    )


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
@pytest.mark.parametrize(
    ("line", "offers"),
    [
        (
            "emogg dem",
            "demo\tSee what this package does; needs no account and no network.\n",
        ),
        ("emogg sessions list --fields id,na", "id,name\n"),
    ],
)
def test_fish_completes(tmp_path: Path, line: str, offers: str) -> None:
    """In a real fish, a comma is part of what is offered."""
    command = tmp_path / "emogg"
    command.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} -m emogg_async "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    program = f"emogg completion fish | source; complete --do-complete '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "--command", program],
        env=environment(PATH=path),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, offers, "")


def test_fish_splits_once() -> None:
    """The script for fish takes nothing after the first comma for a separator."""
    script = run("completion", "fish").stdout
    assert 'string split --max 1 "," $completion' in script
