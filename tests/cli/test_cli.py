"""The `emogg` command, run as a real process against a real emulator."""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from _terminal import (
    COMMAND,
    PYTHON,
    Program,
    environment,
    run,
    run_answering,
    run_on_terminal,
    run_python,
    running,
)
from plainhttp import eventually

import emogg_async
from emogg_async._cli.commands import showcase
from emogg_async.testing import EmoggEmulator

MAIN = "from emogg_async._cli import main; sys.exit(main())"

STOPPED = 1 if os.name == "nt" else 0

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has /proc/PID/task"
)

needs_signals = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no such signals"
)
needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")


def ids_of(emulator: EmoggEmulator, count: int) -> list[str]:
    """Return the ids of the newest sessions."""
    return [session.id for session in emulator.sessions[:count]]


# -- the root command ------------------------------------------------------------------


def test_version() -> None:
    """The version is that of the package."""
    assert run("--version").stdout == f"emogg {emogg_async.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["frobnicate"], "emogg --help"),
        (["sesions"], "Did you mean 'sessions'?"),
        (["--frobnicate"], "emogg --help"),
        (["sessions", "get"], "ids, - for standard input, or --from-file"),
        (["sessions", "list", "--limit", "few"], "'few' is not a valid whole number"),
        (["sessions", "list", "--timeout", "1m"], "'1m' is not a valid number"),
        (["completion"], "bash, zsh, fish"),
    ],
)
def test_wrong_usage(arguments: list[str], hint: str) -> None:
    """A wrong command line ends with 2, and two lines say how to get it right."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    what, next_step = done.stderr.splitlines()
    assert what.startswith("Error: ")
    assert next_step.endswith(" --help' for help.")
    assert hint in done.stderr


def test_no_command() -> None:
    """Without a command there is its help, as `emogg help` gives it."""
    done = run()
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == run("help").stdout == run("--help").stdout


@pytest.mark.parametrize("library", ["click", "rich"])
def test_missing_extra(library: str) -> None:
    """Without the extra, it says what is missing, and how to install it."""
    done = run_python(
        "-c",
        f"import sys; sys.modules[{library!r}] = None\n"
        "from emogg_async._cli import main; sys.exit(main())",
    )
    assert done.returncode == 1
    assert done.stdout == ""
    what, next_step = done.stderr.splitlines()
    assert what == f"Error: the command needs {library}."
    assert next_step.endswith(": python -m pip install 'emogg-async[cli]'")


# -- emogg demo ------------------------------------------------------------------------


def test_demo_in_a_pipe(emogg_emulator: EmoggEmulator) -> None:
    """The demo fetches every session despite all faults, and its code does the same."""
    done = run("demo", EMOGG_API_TOKEN=None, EMOGG_BASE_URL=None)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len(re.findall(r"^[0-9a-f]{24} ", done.stdout, flags=re.MULTILINE)) == 12
    figures = dict(
        re.findall(r"^([a-z (0-9)]+?) {2,}(\d+) ", done.stdout, re.MULTILINE)
    )
    assert int(figures["sessions"]) == 300
    assert int(figures["requests"]) > 304
    assert int(figures["retries"]) > 0
    assert int(figures["cache hits"]) >= 290
    assert int(figures["coalesced"]) == 99

    printed = run_python("-c", program_in(done.stdout)).stdout
    assert all(session.id in printed for session in emogg_emulator.sessions)


def program_in(shown: str) -> str:
    """Return the program that the demo shows."""
    pattern = r"^import asyncio\n.*^asyncio\.run\(main\(\)\)\n"
    code = re.search(pattern, shown, re.MULTILINE | re.DOTALL)
    assert code is not None
    return code[0]


def test_demo_shows_what_it_ran(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that is shown asks for the same things as the demo did."""
    ran, shown = (EmoggEmulator(sessions=150, rate_limit=None) for _ in range(2))
    monkeypatch.setattr(showcase, "EmoggEmulator", lambda **_: ran)
    monkeypatch.setattr(showcase, "FAULTS", ())
    assert showcase.present() == 0
    with shown:
        done = run_python(
            *("-c", program_in(capsys.readouterr().out)),
            EMOGG_BASE_URL=shown.url,
            EMOGG_API_TOKEN=shown.token,
        )
    assert done.returncode == 0, done.stderr
    requests = [{each.path for each in emulator.requests} for emulator in (ran, shown)]
    assert requests[0] == requests[1]
    assert len(requests[0]) == 1 + 150 + 1  # the list, each session, emotions


SMALL_DEMO = """
import sys
from emogg_async._cli import main
from emogg_async._cli.commands import showcase
showcase.SESSIONS, showcase.LATENCY, showcase.RATE_LIMIT = 40, 0, (10_000, 60)
showcase.FAULTS = {faults}
sys.argv = ["emogg", "demo"]
sys.exit(main())
"""


@needs_terminal
def test_demo_on_a_terminal() -> None:
    """On a terminal the demo shows its progress, and colours its code."""
    command = (*PYTHON, "-c", SMALL_DEMO.format(faults="()"))
    done = run_on_terminal(columns=140, command=command)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "40/40" in done.stdout
    assert "\x1b[" in done.stdout
    assert "Integrated Webcam" in done.stdout


def test_demo_admits_failures() -> None:
    """When a session cannot be fetched, the demo says so and ends with 1."""
    faults = "({'status': 418, 'times': 1},)"
    done = run_python("-c", SMALL_DEMO.format(faults=faults))
    assert done.returncode == 1
    assert "418" in done.stderr
    assert "1 of 40 sessions failed" in done.stderr
    assert "Traceback" not in done.stderr


# -- emogg emulator --------------------------------------------------------------------


@needs_signals
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)]
)
def test_emulator_serves_until_told(number: signal.Signals, code: int) -> None:
    """The emulator says where it is, serves, and stops at once on a signal."""
    with running("emulator", "--sessions", "7", "--rate-limit", "50/30") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        exports = process.stdout.read()  # ends although the emulator runs on
        assert process.poll() is None
        assert "7 made-up sessions" in process.stderr.readline()
        pattern = r"export EMOGG_BASE_URL=(\S+)\nexport EMOGG_API_TOKEN=(\S+)\n"
        found = re.fullmatch(pattern, exports)
        assert found is not None
        request = urllib.request.Request(
            f"{found[1]}/v1/sessions?limit=100",
            headers={"Authorization": f"Bearer {found[2]}"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["RateLimit-Policy"] == "50;w=30"
            assert len(json.load(answer)["data"]) == 7
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert "Traceback" not in process.stderr.read()


@needs_terminal
def test_emulator_on_a_terminal() -> None:
    """On a terminal the emulator goes on writing to it."""
    code = (
        "import atexit, sys\n"
        "from emogg_async._cli import main\n"
        "sys.argv = ['emogg', 'emulator']\n"
        "atexit.register(print, 'still open')\n"
        "sys.exit(main())"
    )
    command = (*PYTHON, "-c", code)
    done = run_answering(command=command, prompt="sessions get", answer="\x03")
    assert done.returncode == 130
    assert "still open" in done.stdout


def test_emulator_without_a_limit() -> None:
    """`--rate-limit none` serves without rate headers, and no sessions need no hint."""
    with running("emulator", "--rate-limit", "none", "--sessions", "0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().partition("=")[2]
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/v1/sessions")
        with caught.value as answer:
            assert answer.code == 401
            assert "RateLimit-Limit" not in answer.headers
        process.terminate()
        assert process.wait(timeout=10) == STOPPED


def test_emulator_port_in_use(emogg_emulator: EmoggEmulator) -> None:
    """A port that is taken is two clear lines, and no traceback."""
    port = str(urlsplit(emogg_emulator.url).port)
    done = run("emulator", "--port", port)
    assert done.returncode == 1
    assert done.stdout == ""
    what, next_step = done.stderr.splitlines()
    reason = os.strerror(errno.EADDRINUSE).lower()
    assert what == f"Error: cannot listen on 127.0.0.1, port {port}: {reason}"
    assert next_step == "Choose another --port."


@pytest.mark.parametrize("limit", ["100", "0/60", "1/0", "x/y", "1/-1"])
def test_emulator_refuses_odd_limits(limit: str) -> None:
    """A rate limit that means nothing is wrong usage."""
    done = run("emulator", "--rate-limit", limit)
    assert done.returncode == 2
    assert "--help" in done.stderr


# -- emogg emulator --background -------------------------------------------------------


def asked(url: str) -> int:
    """Return the status with which an emulator answers."""
    request = urllib.request.Request(
        f"{url}/v1/sessions?limit=1",
        headers={"Authorization": "Bearer emogg-emulator-token"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def exports_of(output: str) -> dict[str, str]:
    """Return the variables that an output for a shell sets, which is all it does."""
    lines = output.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "export EMOGG_BASE_URL",
        "export EMOGG_API_TOKEN",
    ]
    name, token = (line.partition("=")[2] for line in lines)
    return {"EMOGG_BASE_URL": name, "EMOGG_API_TOKEN": token}


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a temporary directory to the command; what listens there is ended."""
    # A path of pytest's would be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="emogg") as name:
        monkeypatch.setenv("TMPDIR", name)
        for variable in ("EMOGG_BASE_URL", "EMOGG_API_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        yield Path(name)
        for path in Path(name).glob("*.sock"):
            with socket.socket(socket.AF_UNIX) as left, contextlib.suppress(OSError):
                left.connect(str(path))


@needs_signals
def test_background_until_stop(temporary: Path) -> None:
    """The command returns once the emulator serves, and `--stop` once it is gone."""
    begun = run("emulator", "--background", "--sessions", "7")
    assert begun.returncode == 0, begun.stderr
    assert "7 made-up sessions" in begun.stderr
    found = exports_of(begun.stdout)
    assert run("sessions", "list", **found).stdout.count("\n") == 7
    (left,) = temporary.iterdir()
    assert left.stat().st_mode & 0o077 == 0
    ended = run("emulator", "--stop", **found)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "unset EMOGG_BASE_URL EMOGG_API_TOKEN\n"
    with pytest.raises(urllib.error.URLError):
        asked(found["EMOGG_BASE_URL"])
    assert [*temporary.iterdir()] == []
    again = run("emulator", "--stop", **found)
    assert again.returncode == 1
    assert len(again.stderr.splitlines()) == 2


@needs_signals
def test_background_that_ends_slowly(temporary: Path) -> None:
    """`--stop` waits until the process of the emulator is gone."""
    code = (
        "import atexit, os, pathlib, sys, time\n"
        f"last = pathlib.Path({str(temporary)!r}, 'last')\n"
        "def end_slowly():\n"
        "    time.sleep(1)\n"
        "    last.touch()\n"
        "os.register_at_fork(after_in_child=lambda: atexit.register(end_slowly))\n"
        "sys.argv = ['emogg', 'emulator', '--background']\n"
        f"{MAIN}"
    )
    begun = run_python("-c", code)
    found = exports_of(begun.stdout)
    assert run("emulator", "--stop", **found).returncode == 0
    assert (temporary / "last").exists()


@needs_signals
def test_background_outlives_its_shell(temporary: Path) -> None:
    """Nothing that is sent to all of a shell's processes reaches the emulator."""
    script = 'eval "$("$@")"; echo "$EMOGG_BASE_URL"; exec sleep 60'
    with Program(
        ["/bin/sh", "-c", script, "sh", *COMMAND, "emulator", "--background"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    ) as shell:
        assert shell.stdout is not None
        url = shell.stdout.readline().strip()
        os.killpg(shell.pid, signal.SIGINT)
        os.killpg(shell.pid, signal.SIGHUP)
        os.killpg(shell.pid, signal.SIGKILL)
        assert shell.stdout.read() == ""  # nothing holds it any more
    assert asked(url) == 200


@needs_terminal
def test_background_and_ctrl_c_at_the_prompt(temporary: Path) -> None:
    """Ctrl-C on the terminal on which it was begun leaves the emulator alone."""
    prompt = (
        "import os, signal; signal.signal(2, signal.SIG_DFL)\n"
        "print(os.environ['EMOGG_BASE_URL'], '>', flush=True); signal.pause()"
    )
    script = 'prompt=$1; shift; eval "$("$@")"; exec "$1" -c "$prompt"'
    done = run_answering(
        *("emulator", "--background"),
        answer="\x03",
        prompt=">",
        command=("/bin/sh", "-c", script, "sh", prompt, *COMMAND),
    )
    assert done.returncode == -signal.SIGINT
    url = re.search(r"(http://\S+) >", done.stdout)
    assert url is not None
    assert asked(url[1]) == 200


@needs_signals
def test_background_holds_nothing_of_its_shell(temporary: Path) -> None:
    """What the shell had opened besides, as a lock, is not held by the emulator."""
    reading, writing = os.pipe()
    subprocess.run(
        [*COMMAND, "emulator", "--background"],
        env=environment(),
        capture_output=True,
        check=True,
        pass_fds=[writing],
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b""


@needs_signals
def test_several_in_the_background(temporary: Path) -> None:
    """Each is ended by itself: by its URL, or by its port; without either, by none."""
    first, second = (
        exports_of(run("emulator", "--background").stdout)["EMOGG_BASE_URL"]
        for _ in range(2)
    )
    ports = {url: url.rpartition(":")[2] for url in (first, second)}
    unclear = run("emulator", "--stop")
    assert unclear.returncode == 1
    assert all(port in unclear.stderr.splitlines()[1] for port in ports.values())
    ended = run("emulator", "--stop", "--port", ports[first], EMOGG_BASE_URL=second)
    assert (ended.returncode, ended.stdout) == (0, "")  # this shell's is another
    with pytest.raises(urllib.error.URLError):
        asked(first)
    assert asked(second) == 200


@needs_signals
def test_stop_leaves_others_alone(
    temporary: Path, emogg_emulator: EmoggEmulator
) -> None:
    """What has the port, and was not begun by `--background`, is not ended."""
    done = run("emulator", "--stop", EMOGG_BASE_URL=emogg_emulator.url)
    assert done.returncode == 1
    assert "no emulator is in the background" in done.stderr
    assert asked(emogg_emulator.url) == 200
    assert emogg_emulator.requests[0].path == "/v1/sessions"  # nothing was asked before


@needs_signals
def test_background_that_was_killed(temporary: Path) -> None:
    """One that died without a word is in nobody's way, and what it left is removed."""
    begun = run("emulator", "--background")
    found = re.search(r"kill (\d+)", begun.stderr)
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)
    done = run("emulator", "--stop", **exports_of(begun.stdout))
    assert done.returncode == 1
    assert [*temporary.iterdir()] == []


@needs_signals
def test_background_ends_on_a_signal(temporary: Path) -> None:
    """SIGTERM ends it as `--stop` does."""
    begun = run("emulator", "--background")
    url = exports_of(begun.stdout)["EMOGG_BASE_URL"]
    found = re.search(r"kill (\d+)", begun.stderr)
    assert found is not None
    (left,) = temporary.iterdir()
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(left))  # it accepts this one while it ends, or not at all
        os.kill(int(found[1]), signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            end.recv(1)
    # It is refused, or reset by what is about to end.
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        asked(url)
    assert [*temporary.iterdir()] == []


@needs_signals
def test_background_that_cannot_start(
    temporary: Path, emogg_emulator: EmoggEmulator
) -> None:
    """What keeps it from serving is told by the command itself, and nothing stays."""
    port = str(urlsplit(emogg_emulator.url).port)
    done = run("emulator", "--background", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1] == "Choose another --port."
    assert [*temporary.iterdir()] == []
    deep = temporary / ("x" * 99)  # too long a name for a socket
    deep.mkdir()
    nowhere = run("emulator", "--background", TMPDIR=f"{deep}")
    assert [*deep.iterdir()] == []
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.splitlines()[1] == "Let TMPDIR name another directory."


# -- emogg emulator -- COMMAND ---------------------------------------------------------

LISTENER = """
import os, signal, sys, time
heard = []
def hear(number, _):
    heard.append(signal.Signals(number).name)
    if number == signal.SIGINT:
        os.kill(os.getppid(), signal.SIGTERM)  # which is passed on after the other
    else:
        print("heard", *heard, flush=True)
        sys.exit(9)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, hear)
print("ready", os.environ["EMOGG_BASE_URL"], flush=True)
while True:
    time.sleep(0.05)  # a signal just before `signal.pause` would not end that
"""
"""Tells which signals it gets, and has another one follow on Ctrl-C."""


def test_emulator_for_a_command() -> None:
    """A command finds the emulator in its environment; both end with its code."""
    code = "import os; print(os.environ['EMOGG_BASE_URL']); raise SystemExit(7)"
    done = run("emulator", "--sessions", "5", "--", *PYTHON, "-c", code)
    assert (done.returncode, done.stderr) == (7, "")
    with pytest.raises(urllib.error.URLError):
        asked(done.stdout.strip())
    listed = run("emulator", "--sessions", "5", *COMMAND, "sessions", "list", "-q")
    assert listed.stdout.count("\n") == 5


@pytest.mark.parametrize(
    ("command", "code"),
    [(["no-such-command"], 127), (["/"], 126), (["sh", "-c", "kill -9 $$"], 137)],
)
@needs_signals
def test_commands_that_fail(command: list[str], code: int) -> None:
    """A command that cannot be run, or is killed, ends as it does in a shell."""
    done = run("emulator", "--", *command)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == (0 if code == 137 else 2)


@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_reach_the_command(name: str) -> None:
    """Signals are passed on, and the command decides what comes of them."""
    with Program(
        [*COMMAND, "emulator", "--", *PYTHON, "-c", LISTENER],
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # there is no terminal, whoever runs the tests
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        process.send_signal(signal.Signals[name])
        heard = "SIGINT SIGTERM" if name == "SIGINT" else name
        assert process.stdout.readline() == f"heard {heard}\n"
        assert process.wait(timeout=10) == 9


@needs_terminal
def test_ctrl_c_reaches_the_command_once() -> None:
    """Ctrl-C, which the terminal sends to the command, is not sent again."""
    arguments = ("emulator", "--", *PYTHON, "-c", LISTENER)
    done = run_answering(*arguments, answer="\x03", prompt="ready")
    assert done.stdout.endswith("heard SIGINT SIGTERM\r\n")
    assert done.returncode == 9


BUSY = f"""
import signal, subprocess, sys
from emogg_async._cli.signals import bell
class Late(subprocess.Popen):
    def __init__(self, *args, **options):
        with bell() as ringing:
            super().__init__(*args, **options)
            while signal.SIGTERM not in ringing.recv(4_096):
                pass
subprocess.Popen = Late
{MAIN}
"""
"""The command on a machine so busy that what it starts gets signals first."""


@needs_terminal
def test_ctrl_c_as_the_command_starts() -> None:
    """Ctrl-C is not sent again either if it comes just after the start."""
    command = (*PYTHON, "-c", BUSY, "emulator", "--", *PYTHON, "-c", LISTENER)
    done = run_answering(command=command, answer="\x03", prompt="ready")
    assert done.stdout.endswith("heard SIGINT SIGTERM\r\n")
    assert done.returncode == 9


EARLY = f"""
import signal, subprocess, sys
from emogg_async._cli.signals import bell
class Early(subprocess.Popen):
    def __init__(self, *args, **options):
        with bell() as ringing:
            print("ready", flush=True)
            while signal.SIGINT not in ringing.recv(4_096):
                pass
        super().__init__(*args, **options)
subprocess.Popen = Early
{MAIN}
"""
"""The command on a machine so busy that signals come before what it starts."""


@needs_terminal
def test_ctrl_c_before_the_command_starts() -> None:
    """Ctrl-C that comes before the command has a process ends it all the same."""
    command = (*PYTHON, "-c", EARLY, "emulator", "--", "sleep", "50")
    done = run_answering(command=command, answer="\x03", prompt="ready")
    assert done.returncode == 130


def signal_another_thread(process: int, number: int) -> None:
    """Send a signal that the system gives to another thread than the main one."""
    until = time.monotonic() + 20
    while True:
        threads = {int(name) for name in os.listdir(f"/proc/{process}/task")}
        if others := threads - {process}:
            break
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)  # it has begun to wait by now; a busy machine only asks for less
    os.kill(others.pop(), number)


@needs_linux
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("emulator", signal.SIGTERM, 0),
        ("emulator -- sleep 50", signal.SIGTERM, 143),
        ("live -", signal.SIGTERM, 143),
        ("sessions get -", signal.SIGTERM, 143),
        ("sessions stop --dry-run -", signal.SIGINT, 130),
    ],
)
def test_signals_that_other_threads_get(
    command: str,
    number: signal.Signals,
    code: int,
    emogg_emulator: EmoggEmulator,
) -> None:
    """A signal is heard at once, whichever thread the system gives it to."""
    with running(*command.split(), stdin=subprocess.PIPE) as process:
        signal_another_thread(process.pid, number)
        assert process.wait(timeout=10) == code


@needs_linux
def test_signals_that_other_threads_in_the_background_get(temporary: Path) -> None:
    """An emulator in the background hears them at once, too."""
    begun = run("emulator", "--background")
    process = int(begun.stderr.partition("or: kill ")[2].split()[0])
    signal_another_thread(process, signal.SIGTERM)
    assert eventually(lambda: not [*temporary.iterdir()])


SLOW_NAMES = f"""
import socket, sys, threading
def look_up(*_, **__):
    print("asked", flush=True)
    threading.Event().wait()
socket.getaddrinfo = look_up
{MAIN}
"""
"""The command on a machine whose DNS does not answer."""


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        ("sessions list", "SIGINT", 130),
        ("sessions list", "SIGTERM", 143),
        ("sessions list", "--timeout", 7),
        ("doctor", "SIGINT", 130),
        ("doctor", "--timeout", 7),
    ],
)
def test_no_wait_for_names(command: str, name: str, code: int) -> None:
    """A name that is being looked up holds up neither a signal nor a timeout."""
    if os.name == "nt" and name != "--timeout":
        pytest.skip("Windows has no such signals")
    words = [*command.split(), "--base-url", "https://emogg.test"]
    words += ["--timeout", "0.2"] if code == 7 else []
    with Program(
        [*PYTHON, "-c", SLOW_NAMES, *words],
        env=environment(EMOGG_API_TOKEN="secret"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        assert "asked\n" in iter(process.stdout.readline, "")
        if code != 7:
            process.send_signal(signal.Signals[name])
        assert process.wait(timeout=10) == code


FOREIGN = f"""
import os, sys
def kill(*_):
    raise PermissionError
os.kill = kill
{MAIN}
"""
"""The command for whom another one belongs to another user, as by sudo."""


@needs_signals
def test_a_command_that_may_not_be_signalled() -> None:
    """A signal that may not be passed on ends nothing before the command's end."""
    script = "print('ready', flush=True); input(); raise SystemExit(7)"
    with Program(
        [*PYTHON, "-c", FOREIGN, "emulator", "--", *PYTHON, "-c", script],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=20) == 7


@needs_signals
def test_blocked_end_of_the_command() -> None:
    """The end of the command is noticed where whoever started it blocks SIGCHLD."""
    start = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    script = "raise SystemExit(7)"
    with Program(
        [*PYTHON, "-c", start, *COMMAND, "emulator", "--", *PYTHON, "-c", script],
        env=environment(),
    ) as process:
        assert process.wait(timeout=20) == 7


@needs_signals
def test_ignored_signals_stay_ignored() -> None:
    """A signal that is ignored, as by `nohup`, is ignored by the command, too."""
    code = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
    script = "trap '' HUP; exec \"$@\""
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *COMMAND, "emulator", *PYTHON, "-c", code],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.stdout == "SIG_IGN\n"


@needs_signals
def test_ignored_ctrl_c(emogg_emulator: EmoggEmulator) -> None:
    """In the background of a script, where shells ignore Ctrl-C, it ends nothing."""
    script = "trap '' INT; exec \"$@\""
    with Program(
        ["/bin/sh", "-c", script, "sh", *COMMAND, "sessions", "get", "-"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{emogg_emulator.sessions[0].id}\n")
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143


@pytest.mark.parametrize(
    "words",
    ["--background --stop", "--background -- true", "--stop -- true"],
)
def test_one_way_to_serve(words: str) -> None:
    """Only one of the ways to serve can be chosen."""
    done = run("emulator", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "Give only one of" in done.stderr


# -- what is written, in which encoding ------------------------------------------------

NAME = "会議 Übung"

AMBIENT: list[dict[str, str | None]] = [
    {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    {"PYTHONIOENCODING": "ascii:replace", "PYTHONUTF8": None},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
"""Environments that would have Python write something else than UTF-8."""


@pytest.mark.parametrize("ambient", AMBIENT, ids=["cp1252", "ascii", "C"])
@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "table"])
def test_pipes_get_utf_8(
    emogg_emulator: EmoggEmulator, ambient: dict[str, str | None], form: str
) -> None:
    """Pipes get UTF-8 in every form, whatever the environment says of encodings."""
    emogg_emulator.add_session(name=NAME)
    command = ("sessions", "list", "--limit", "1", "--fields", "name", "-o", form)
    done = run(*command, **ambient)
    assert (done.returncode, done.stderr) == (0, "")
    assert NAME in done.stdout


@pytest.mark.parametrize("ambient", AMBIENT, ids=["cp1252", "ascii", "C"])
def test_charts_in_pipes_are_utf_8(
    emogg_emulator: EmoggEmulator, ambient: dict[str, str | None]
) -> None:
    """A chart in a pipe is drawn with the same characters everywhere."""
    session_id = emogg_emulator.sessions[-1].id
    done = run("emotions", "totals", session_id, "-o", "chart", **ambient)
    assert "█" in done.stdout


def test_messages_in_pipes_are_utf_8() -> None:
    """Messages are in the encoding of the data, with which `2>&1` mixes them."""
    done = run(NAME, PYTHONIOENCODING="cp1252", PYTHONUTF8="0", LC_ALL="C.UTF-8")
    assert done.returncode == 2
    assert NAME in done.stderr


@needs_terminal
def test_terminals_have_their_encoding(emogg_emulator: EmoggEmulator) -> None:
    """What a terminal cannot show is replaced, and escaped in JSON."""
    emogg_emulator.add_session(name="会議")
    command = ("sessions", "list", "--limit", "1", "--fields", "name", "-o")
    ambient = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    assert "\r\n??\r\n" in run_on_terminal(*command, "csv", **ambient).stdout
    assert "\\u4f1a" in run_on_terminal(*command, "jsonl", **ambient).stdout


@needs_signals
def test_names_that_cannot_be_read(emogg_emulator: EmoggEmulator) -> None:
    """A name that the locale cannot read is refused rather than sent in pieces."""
    session_id = emogg_emulator.sessions[0].id
    done = run("sessions", "rename", session_id, NAME, **AMBIENT[2])
    assert done.returncode == 2
    assert "name: expected text" in done.stderr
    assert emogg_emulator.requests == ()


def test_ids_in_pipes_need_no_locale(emogg_emulator: EmoggEmulator) -> None:
    """Ids and the comments beside them are read as UTF-8 in every locale."""
    session_id = emogg_emulator.sessions[0].id
    done = subprocess.run(
        [*COMMAND, "sessions", "get", "-", "--fields", "id", "-o", "csv"],
        env=environment(**AMBIENT[2]),
        input=f"{session_id} # {NAME}\n".encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"id\n{session_id}\n"


# -- how it ends when others end it ----------------------------------------------------


@needs_signals
@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_closed_pipe(emogg_emulator: EmoggEmulator, form: str) -> None:
    """A reader that has had enough ends the command without a word."""
    first, second = ids_of(emogg_emulator, 2)
    reading, writing = os.pipe()
    with (
        open(reading) as ids,
        open(writing, "w") as more,
        running("sessions", "get", "-", "-o", form, stdin=ids) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        print(first, file=more, flush=True)
        if form == "jsonl":
            process.stdout.readline()
        process.stdout.close()
        print(second, file=more)
        more.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""


@needs_signals
def test_interrupt(emogg_emulator: EmoggEmulator) -> None:
    """Ctrl-C ends the command at once with 130, and without a traceback."""
    emogg_emulator.fail(fault="hang")
    with running("sessions", "get", *ids_of(emogg_emulator, 3)) as process:
        assert process.stderr is not None
        while not emogg_emulator.in_flight:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr.read() == ""


@needs_signals
def test_interrupt_before_it_begins(tmp_path: Path) -> None:
    """Ctrl-C ends it just so while it is still being imported."""
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {MAIN}"
    done = run_python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@needs_signals
@pytest.mark.parametrize("command", ["help", "sessions export", "sessions list"])
def test_closed_from_the_beginning(emogg_emulator: EmoggEmulator, command: str) -> None:
    """Data that nobody can have are an error, not lost without a word."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *command.split()],
        env=environment(),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "Error: cannot write: Bad file descriptor",
        "Write elsewhere.",
    ]


@needs_signals
def test_nobody_to_complain_to() -> None:
    """Who closes stderr before it begins gets the exit code alone."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "sessions", "get", "odd"],
        env=environment(EMOGG_API_TOKEN="token"),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk")
def test_full_disk(emogg_emulator: EmoggEmulator) -> None:
    """A disk that is full is two clear lines."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "sessions", "get", *ids_of(emogg_emulator, 1)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 1
    what, next_step = done.stderr.splitlines()
    assert what == "Error: cannot write: No space left on device"
    assert next_step == "Write elsewhere."
