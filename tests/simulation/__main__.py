"""
Simulated histories from the command line.

``python -m tests.simulation --histories 100000`` runs so many, each from its own seed; with ``--tables`` their outcomes
go into a table, too, which is held against what is counted, and takes ten times as long. With ``--doubles`` every
double crash of small campaigns is run after them. ``--seed N`` runs one history, and prints what happened in it;
``--lost`` prints how long it takes until a lost batch is settled.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.crashes import explore_doubles
from tests.simulation.histories import History
from tests.simulation.lost_batches import table
from tests.simulation.outcome_tables import HistoryWithTable
from tests.simulation.seeds import explore, replay


def main() -> int:
    """Run what the arguments say; return 1 if a property does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run the history of this seed, and print it")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--histories", type=int, default=5000, help="how many")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tables", action="store_true", help="write the outcomes into a table, too")
    parser.add_argument("--doubles", action="store_true", help="run every double crash of small campaigns, too")
    parser.add_argument("--every", type=int, default=1, help="or every so many-th of them")
    parser.add_argument("--lost", action="store_true", help="print how long it takes until a lost batch is settled")
    arguments = parser.parse_args()
    if arguments.lost:
        print(table())  # noqa: T201
        return 0
    make = HistoryWithTable if arguments.tables else History
    if arguments.seed is not None:
        text = replay(arguments.seed, make)
        print(text)  # noqa: T201
        return int("VIOLATION" in text)
    began = time.monotonic()
    failed = explore(arguments.first, arguments.histories, processes=arguments.processes, make=make)
    seconds = time.monotonic() - began
    option, added = (" --tables", " with a table") if arguments.tables else ("", "")
    for seed, violations in failed.items():
        print(f"python -m tests.simulation --seed {seed}{option}: {'; '.join(violations)}")  # noqa: T201
    print(  # noqa: T201
        f"{arguments.histories} histories{added} in {seconds:.0f} s ({arguments.histories / seconds:.0f} a second), "
        f"{len(failed)} of them with a violation"
    )
    return int(bool(failed) | (arguments.doubles and run_doubles(arguments.processes, arguments.every)))


def run_doubles(processes: int, every: int) -> bool:
    """Run all double crashes, or every so many-th; tell whether a property does not hold."""
    began = time.monotonic()
    count, found = explore_doubles(processes=processes, every=every)
    print(*found, sep="\n", end="\n" if found else "")  # noqa: T201
    print(f"{count} double crashes in {time.monotonic() - began:.0f} s, {len(found)} of them with a violation")  # noqa: T201
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
