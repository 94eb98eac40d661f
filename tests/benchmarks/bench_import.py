"""What importing the package costs over importing aiohttp, in fresh interpreters.

nox -s bench
nox -s bench -- --against HEAD~1
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from blocks import ROUNDS, Environment, checkouts, ratios, spread

STATEMENTS = (
    "import aiohttp",
    "from emogg_async import AsyncEmoggClient",
    "import emogg_async",
    "import emogg_async.testing.pytest_plugin",
)


def milliseconds(statement: str, environment: Environment) -> float:
    """Return the CPU that one import takes, without the interpreter's own start."""
    program = f"import time; t = time.process_time(); {statement}; "
    program += "print((time.process_time() - t) * 1000)"
    output = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(output.stdout)


def main() -> None:
    """Print the figures."""
    with checkouts() as found:
        rows = [(name, each) for each in STATEMENTS for name in found]
        taken: dict[tuple[str, str], list[float]] = {row: [] for row in rows}
        for _ in range(ROUNDS + 1):
            for (name, statement), figures in taken.items():
                figures.append(milliseconds(statement, found[name]))
    print(f"CPU of an import, the median (least to most) of {ROUNDS} rounds")
    # The first round compiles what it takes.
    for (name, statement), figures in taken.items():
        bare = taken[name, STATEMENTS[0]]
        print(f"{name}: {statement}: {spread(figures[1:], 0)} ms, ", end="")
        print(f"{spread(ratios(figures[1:], bare[1:]))} times aiohttp's")


if __name__ == "__main__":
    main()
