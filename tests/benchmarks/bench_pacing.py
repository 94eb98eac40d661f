"""How well processes share one token bucket, in simulated time.

Each has endless demand for 300 seconds, on a bucket of 100 per 60 s that is full at
first; the worst of ten runs each.

    nox -s bench
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from simulation import Run, simulate

RUNS = 10


def measured(processes: int) -> list[Run]:
    """Return so many runs, which differ in what is random."""
    return [simulate(processes, seed=seed) for seed in range(RUNS)]


def main() -> None:
    """Print the table."""
    print(f"100 per 60 s, 300 s, 40 to 80 ms round trip, the worst of {RUNS} runs")
    print("| processes | refused | of C + r·T used | Jain's fairness |")
    print("| --------: | ------: | --------------: | --------------: |")
    for processes in (1, 4, 8, 12, 16):
        runs = measured(processes)
        refused = max(run.refusals for run in runs)
        used = min(run.used for run in runs)
        fairness = min(run.fairness for run in runs)
        print(f"| {processes:9} | {refused:7.2%} | {used:15.1%} | {fairness:15.3f} |")


if __name__ == "__main__":
    main()
