"""The dashboard as its users run it: a process of its own, against an emulator."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

APP: Final = Path(__file__).parents[1] / "examples" / "dashboard" / "app.py"

# Its modules stand beside it, where Python looks for them unless it is safe.
ENVIRONMENT: Final = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}


@attrs.define
class Dashboard:
    """A dashboard that runs."""

    url: str
    process: "subprocess.Popen[str]"

    def stop(self, sign: int = signal.SIGINT) -> tuple[int, str]:
        """End it by a signal; return its exit code and what it has complained of."""
        self.process.send_signal(sign)
        _, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, complaints


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[Dashboard]:
    """Run the dashboard, from its start to its end."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(APP), "--no-browser", *arguments],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            if " http://" not in told:
                raise RuntimeError(f"it does not serve: {process.communicate()[1]}")
            yield Dashboard(told.split()[4], process)
        finally:
            process.kill()
