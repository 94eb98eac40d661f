"""What importing the package costs over importing aiohttp, in fresh interpreters."""

import subprocess
import sys

ROUNDS = 9
STATEMENTS = (
    "import aiohttp",
    "import aiohttp; from emogg_async import AsyncEmoggClient",
    "import emogg_async",
    "import emogg_async.testing.pytest_plugin",
)


def seconds(statement: str) -> float:
    """Return what one import takes, without the interpreter's own start."""
    program = f"import time; t = time.perf_counter(); {statement}; "
    program += "print(time.perf_counter() - t)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(output.stdout)


def main() -> None:
    """Print the figures."""
    for statement in STATEMENTS:
        best = min(seconds(statement) for _ in range(ROUNDS))
        print(f"{best * 1000:6.0f} ms  {statement}")


if __name__ == "__main__":
    main()
