"""``python -m benchmarks``: section after section, each with its table; all figures as JSON in the last line."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.contend import Outcome
from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Machine, Spread, decimals, mebibytes, table, whole
from benchmarks.goals import Goal, as_table, of_comparison, of_few_rows, of_shard, of_slow_8x8
from benchmarks.parsing import measure_parsing
from benchmarks.processes import BenchmarkError, Runner, databases, eight_by_eight
from benchmarks.tables import Table, make_table

ROWS = 1_000_000
"""What the contenders are compared at; more rows than this are for those whose memory can hold them."""

SMALLER = (10_000, 100_000)
COMPARED = ("ours", "by hand", "by hand, counts only", "by hand, DataFrame", "bare loop")
GROWING = ("ours", "by hand", "bare loop")
NOT_HOLDING_ALL = ("ours", "bare loop")
OTHER_WAYS = ("ours, state store", "ours, from DuckDB", "ours, from XCom", "ours, one of ten shards")
SLOW_SECONDS = 0.4
SLOW_ROWS = 200_000
PARSING_SAMPLES = 7


@dataclass
class Bench:
    """
    One run of the benchmark.

    :ivar rows: of the largest table
    :ivar rounds: of the comparison
    :ivar contenders: what is compared
    :ivar sizes: smaller tables, to show how cost grows
    :ivar slow_rows: of the table that goes to a slow 8x8
    :ivar compared: outcomes of the first section, for those after it
    :ivar goals: what was to be reached in the sections until now, and what was
    """

    runner: Runner
    rows: int
    rounds: int
    contenders: Sequence[str]
    sizes: Sequence[int]
    slow_rows: int
    compared: list[Outcome] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    _tables: dict[int, Table] = field(default_factory=dict)

    def compare(self) -> Any:
        """The contenders in turn, each round in the other order."""
        rows = min(self.rows, ROWS)
        print(f"\n== {rows:,} rows from PostgreSQL, rounds: {self.rounds}; median (min-max)")
        order = list(self.contenders)
        rounds: list[dict[str, Outcome]] = []
        with eight_by_eight() as url:
            for _ in range(self.rounds):
                rounds.append({contender: self._run(contender, rows, url) for contender in order})
                order.reverse()
        self.compared = [outcome for each in rounds for outcome in each.values()]
        print(_costs({contender: [each[contender] for each in rounds] for contender in self.contenders}))
        ratios = _ratios(rounds)
        for contender, ratio in ratios.items():
            print(f"  ours is {ratio.shown(decimals(2))} times as fast as {contender}")
        medians = {contender: ratio.median for contender, ratio in ratios.items()}
        growth = median(each["ours"].measurement.memory for each in rounds)
        self.goals += of_comparison(rows, medians, growth)
        return {"rows": rows, "rounds": rounds, "ratios": ratios}

    def other_ways(self) -> Any:
        """The operator with its other journal, from its other sources, and beside nine times as many row keys."""
        rows = min(self.rows, ROWS)
        print(f"\n== Ours otherwise, {rows:,} rows")
        with eight_by_eight() as url:
            found = {contender: [self._run(contender, rows, url)] for contender in OTHER_WAYS}
        print(_costs(found))
        (shard,) = found["ours, one of ten shards"]
        if alone := [outcome for outcome in self.compared if outcome.contender == "ours"]:
            speed = median(outcome.speed for outcome in alone)
            growth = median(outcome.measurement.memory for outcome in alone)
            self.goals += of_shard(shard.speed / speed, shard.measurement.memory - growth)
        return {"rows": rows, "outcomes": found}

    def grow(self) -> Any:
        """What it costs by the number of rows."""
        print("\n== By the number of rows")
        sizes = [size for size in (*self.sizes, ROWS) if size < self.rows] + [self.rows]
        found: dict[int, dict[str, list[Outcome]]] = {}
        with eight_by_eight() as url:
            for size in sizes:
                contenders = GROWING if size <= ROWS else NOT_HOLDING_ALL
                known = self.compared if size == min(self.rows, ROWS) else []
                times = self.rounds if size < ROWS else 1  # a small one is over before the machine has settled
                found[size] = {
                    contender: [outcome for outcome in known if outcome.contender == contender]
                    or [self._run(contender, size, url) for _ in range(times)]
                    for contender in contenders
                }
        print(_growth(found))
        fewest = {contender: median(each.speed for each in runs) for contender, runs in found[min(sizes)].items()}
        if "by hand" in fewest:
            self.goals.append(of_few_rows(min(sizes), fewest["ours"] / fewest["by hand"]))
        return found

    def slow(self) -> Any:
        """An 8x8 that takes its time: how much longer the whole takes than waiting for it."""
        rows = min(self.rows, self.slow_rows)
        print(f"\n== An 8x8 that takes {SLOW_SECONDS * 1000:.0f} ms a batch, {rows:,} rows")
        with eight_by_eight(latency=SLOW_SECONDS) as url:
            outcome = self._run("ours", rows, url)
        waiting = outcome.requests * SLOW_SECONDS
        overhead = outcome.measurement.seconds / waiting - 1
        print(
            f"  {outcome.requests} batches: {outcome.measurement.seconds:.2f} s, of which {waiting:.2f} s are waiting: "
            f"{overhead:.1%} longer"
        )
        self.goals.append(of_slow_8x8(overhead))
        return {"rows": rows, "waiting": waiting, "overhead": overhead, "outcome": outcome}

    def parse(self) -> Any:
        """What a DAG file pays."""
        samples = PARSING_SAMPLES if self.rounds > 1 else 1
        print(f"\n== Importing the operator after Airflow's BaseOperator, processes: {samples}; median (min-max)")
        found = measure_parsing(samples, self.runner.folder)
        milliseconds = Spread.of([1000 * each.added_seconds for each in found])
        memory = Spread.of([each.added_memory for each in found])
        base_memory = Spread.of([each.base_memory for each in found])
        base = Spread.of([1000 * each.base_seconds for each in found])
        print(
            f"  {milliseconds.shown(whole)} ms and {memory.shown(mebibytes)} MiB more than BaseOperator's "
            f"{base.shown(whole)} ms and {base_memory.shown(mebibytes)} MiB"
        )
        return {"milliseconds": milliseconds, "memory": memory, "samples": found}

    def _run(self, contender: str, rows: int, url: str) -> Outcome:
        outcome = self.runner.run(contender, self._table(rows), url)
        _progress(f"{contender}, {rows:,} rows: {whole(outcome.speed)} messages/s")
        return outcome

    def _table(self, rows: int) -> Table:
        if rows not in self._tables:
            _progress(f"making {rows:,} rows")
            databases, folder = self.runner.databases, self.runner.folder
            self._tables[rows] = make_table(rows, databases.warehouse, folder, databases.duckdb)
        return self._tables[rows]


SECTIONS = {
    "compare": Bench.compare,
    "other-ways": Bench.other_ways,
    "grow": Bench.grow,
    "slow": Bench.slow,
    "parse": Bench.parse,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The benchmark was told to end"))  # what it started ends, too
    options = _options(arguments)
    machine = Machine.here()
    print(machine)
    figures: dict[str, Any] = {"machine": machine}
    with _bench(options) as bench:
        for name, section in SECTIONS.items():
            if name in options.sections:
                figures[name.replace("-", "_")] = section(bench)
        if bench.goals:
            print(f"\n== What is to be reached\n{as_table(bench.goals)}")
            figures["goals"] = bench.goals
        figures["load_average_after"] = os.getloadavg()[0]  # much more than one: others were at work, too
    print(f"\nThe load was {figures['load_average_after']:.1f} after")
    print(msgspec.json.encode(figures, enc_hook=str).decode())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, help=f"{ROWS:,} by default; above it, those that hold all in memory rest")
    parser.add_argument("--rounds", type=int, help="3 by default")
    parser.add_argument("--quick", action="store_true", help="100,000 rows, one round")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="all by default")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, help="who is compared with ours")
    parser.add_argument("--sizes", type=int, nargs="*", default=SMALLER, help="smaller tables, to show how cost grows")
    parser.add_argument("--slow-rows", type=int, default=SLOW_ROWS, help="for a slow 8x8 (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.rows = options.rows or (100_000 if options.quick else ROWS)
    options.rounds = options.rounds or (1 if options.quick else 3)
    compared = COMPARED if options.only is None else ("ours", *options.only)
    options.contenders = _installed(list(dict.fromkeys(compared)))
    return options


def _installed(contenders: Sequence[str]) -> Sequence[str]:
    if "by hand, DataFrame" not in contenders or importlib.util.find_spec("pandas"):
        return contenders
    print("Without by hand, DataFrame: pandas is not installed (pip install 'airflow-provider-8x8[bench]')")
    return [contender for contender in contenders if contender != "by hand, DataFrame"]


@contextlib.contextmanager
def _bench(options: argparse.Namespace) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="airflow-provider-8x8-bench-") as name, databases(Path(name)) as where:
        yield Bench(
            Runner(Path(name), where),
            options.rows,
            options.rounds,
            options.contenders,
            options.sizes,
            options.slow_rows,
        )


def _costs(found: dict[str, list[Outcome]]) -> str:
    rows = [("", "messages/s", "CPU s", "memory growth MiB", "8x8's CPU, us a message")]
    for contender, outcomes in found.items():
        measured = [outcome.measurement for outcome in outcomes]
        cells = (
            Spread.of([outcome.speed for outcome in outcomes]).shown(whole),
            Spread.of([each.cpu_seconds for each in measured]).shown(decimals(1)),
            Spread.of([each.memory for each in measured]).shown(mebibytes),
            Spread.of([1e6 * outcome.server_cpu_seconds / outcome.messages for outcome in outcomes]).shown(decimals(2)),
        )
        rows.append((contender, *cells))
    return table(*rows)


def _ratios(rounds: Sequence[dict[str, Outcome]]) -> dict[str, Spread]:
    others = [contender for contender in rounds[0] if contender != "ours"]
    return {other: Spread.of([each["ours"].speed / each[other].speed for each in rounds]) for other in others}


def _growth(found: dict[int, dict[str, list[Outcome]]]) -> str:
    rows = [("", "rows", "seconds", "messages/s", "memory growth MiB")]
    for size, by_contender in found.items():
        for contender, outcomes in by_contender.items():
            measured = [outcome.measurement for outcome in outcomes]
            cells = (
                Spread.of([each.seconds for each in measured]).shown(decimals(2)),
                Spread.of([outcome.speed for outcome in outcomes]).shown(whole),
                Spread.of([each.memory for each in measured]).shown(mebibytes),
            )
            rows.append((contender, whole(size), *cells))
    return table(*rows)


def _progress(text: str) -> None:
    print(f"  ... {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"The benchmark failed: {error}")
