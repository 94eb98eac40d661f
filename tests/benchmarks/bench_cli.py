"""What `emogg --help` costs over a bare click program, in fresh interpreters."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from _terminal import help_seconds

ROUNDS = 15


def main() -> None:
    """Print the figures."""
    bare, ours = help_seconds(ROUNDS)
    print(f"{bare * 1000:6.1f} ms  a bare click program, --help")
    print(f"{ours * 1000:6.1f} ms  emogg --help, {ours / bare:.2f} times as much")


if __name__ == "__main__":
    main()
