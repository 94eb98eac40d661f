"""Two checkouts of the package, measured in turns in one run; how figures are shown."""

import argparse
import io
import os
import pathlib
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

ROUNDS = 20

Environment = Mapping[str, str]


@contextmanager
def checkouts() -> Iterator[dict[str, Environment]]:
    """Give the environment in which each checkout is imported, by its name.

    One is the package as it is installed, another what `--against` names: a directory
    that has `emogg_async` in it, or a revision of this repository.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", metavar="DIRECTORY-OR-REVISION")
    against = parser.parse_args().against
    found: dict[str, Environment] = {"this": dict(os.environ)}
    with tempfile.TemporaryDirectory() as scratch:
        if against:
            where = pathlib.Path(against)
            if not (where / "emogg_async").is_dir():
                where = pathlib.Path(scratch)
                _extract(against, where)
            path = os.fspath(where.absolute())
            found[against] = os.environ | {"PYTHONPATH": path}
        yield found


def _extract(revision: str, directory: pathlib.Path) -> None:
    archive = subprocess.run(
        ["git", "archive", revision, "emogg_async"],
        cwd=pathlib.Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")


def spread(figures: Sequence[float], digits: int = 2) -> str:
    """Write the median of *figures*, and between which they are."""
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide figures of the same round by each other."""
    return [one / other for one, other in zip(above, below, strict=True)]
