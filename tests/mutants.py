"""Change the code at random, and see what the tests notice: `nox -s mutants`.

mutmut makes the changes and chooses the tests that reach each. The changes are taken
by a seed, and tried in a copy of the checkout, two at a time.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = """
[mutmut]
source_paths = emogg_async/
only_mutate =
    emogg_async/_calls/bucket.py
    emogg_async/_calls/gate.py
    emogg_async/_calls/policy.py
    emogg_async/_calls/retry.py
    emogg_async/_caching/policy.py
pytest_add_cli_args_test_selection =
    tests/caching/test_cache.py
    tests/caching/test_coherence.py::TestDerived
    tests/caching/test_coherence.py::TestExpiry
    tests/caching/test_coherence.py::TestParameters
    tests/caching/test_memory.py
    tests/calls/test_gate.py
    tests/calls/test_pacing.py
    tests/calls/test_rate_limit.py
    tests/calls/test_retry.py
    tests/calls/test_small_buckets.py
    tests/many/test_bulk.py::TestTimeOfItems
    tests/many/test_bulk_pages.py::TestCache
    tests/test_views.py
pytest_add_cli_args =
    --timeout=20
    -m=not soak and not timing
timeout_multiplier = 3
timeout_constant = 5
"""
NOTICED = {"killed", "timeout", "segfault"}


def mutmut(*arguments: str, folder: pathlib.Path, **options: object) -> str:
    """Run mutmut, and return what it prints."""
    env = {**os.environ, "HYPOTHESIS_PROFILE": "mutants"}
    command = (sys.executable, "-m", "mutmut", *arguments)
    options |= {"cwd": folder, "env": env, "encoding": "utf-8"}
    ended = subprocess.run(command, check=False, **options)
    if ended.returncode:
        sys.exit(f"mutmut {arguments[0]} has failed")
    return ended.stdout


def copy_to(folder: pathlib.Path) -> None:
    """Copy what the tests need, and tell mutmut what to do."""
    for name in ("emogg_async", "tests", "examples"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "setup.cfg").write_text(CONFIG, encoding="utf-8")


def results(folder: pathlib.Path) -> dict[str, str]:
    """Return how each of the changes ended."""
    listed = mutmut("results", "--all", "true", folder=folder, stdout=subprocess.PIPE)
    return dict(re.findall(r"(emogg_async\S+__mutmut_\d+): (.+)", listed))


def change_of(mutant: str, folder: pathlib.Path) -> str:
    """Return where the code was changed, and how."""
    shown = mutmut("show", mutant, folder=folder, stdout=subprocess.PIPE).strip()
    _, file, _, hunk, *lines = shown.splitlines()
    file = file.removeprefix("--- ")
    # Its lines are counted from the `def` on.
    names = re.split("ǁ|^x_", mutant.rpartition(".")[2].partition("__mutmut_")[0])[1:]
    code = (folder / file).read_text(encoding="utf-8").splitlines()
    at = 0
    for name in names:
        begins = re.compile(rf"\s*(class|def|async def) {name}\b")
        at = next(n for n in range(at, len(code)) if begins.match(code[n]))
    first = next(n for n, line in enumerate(lines) if line[0] in "-+")
    at += int(re.findall(r"\d+", hunk)[0]) + first
    changes = [f"\n    {line}" for line in lines if line[0] in "-+"]
    return f"{file}:{at}{''.join(changes)}"


def main() -> None:
    """Print what was not noticed, and how much was."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=0, help="decides which")
    options.add_argument("--count", type=int, default=300, help="of so many changes")
    options.add_argument("--all", action="store_true", help="print the noticed, too")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        copy_to(folder)
        mutmut("run", "*backoff__mutmut_1", folder=folder)  # which makes all of them
        mutants = sorted(results(folder))
        rng = random.Random(chosen.seed)
        sample = rng.sample(mutants, min(chosen.count, len(mutants)))
        mutmut("run", "--max-children", "2", *sample, folder=folder)
        ends = results(folder)
        # On a busy machine also what changes nothing may take too long.
        if late := [each for each in sample if ends[each] == "timeout"]:
            mutmut("run", "--max-children", "1", *late, folder=folder)
            ends = results(folder)
        counts = collections.Counter(ends[each] in NOTICED for each in sample)
        for mutant in sorted(sample):
            if chosen.all or ends[mutant] not in NOTICED:
                print(f"{ends[mutant]}: {change_of(mutant, folder)}")
    print(f"{counts[True]} of {len(sample)} noticed, of {len(mutants)} in all")


if __name__ == "__main__":
    main()
