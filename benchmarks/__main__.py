"""
``python -m benchmarks``: how fast, and how lean, beside what people write by hand.

Every contender reads the same rows from PostgreSQL and sends them to a server on this machine that answers at once,
each time in a process of its own, in turn, several rounds. Prints tables, and all figures as one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.contend import Outcome
from benchmarks.contenders import BATCH_SIZE
from benchmarks.parsing import added_by_the_operator
from benchmarks.processes import BenchmarkError, Runner, databases, eight_by_eight
from benchmarks.tables import Table, make_table

_CONTENDERS = ("ours", "by hand", "by hand, counts only", "by hand, DataFrame", "bare loop")
_OTHER_SOURCES = ("ours, state store", "ours, from DuckDB", "ours, from XCom")
_SLOW_SECONDS = 0.4
_MIB = 1024 * 1024

Figures = dict[str, Any]


def main() -> int:
    """Run what was asked for."""
    options = _options()
    figures: Figures = {"machine": _machine(), "rows": options.rows, "rounds": options.rounds}
    print("  ".join(f"{name}: {value}" for name, value in figures["machine"].items()), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="airflow-provider-8x8-bench-") as name:
            folder = Path(name)
            with databases(folder) as where:
                runner = Runner(folder, where)

                def table_of(rows: int) -> Table:
                    return make_table(rows, where.warehouse, folder, where.duckdb)

                _compare(runner, table_of, options, figures)
            figures["import"] = _import(folder)
    except BenchmarkError as error:
        print(f"The benchmark failed: {error}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(figures).decode())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the main comparison (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of the main comparison (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000], help="other numbers of rows, ours")
    parser.add_argument("--slow-rows", type=int, default=200_000, help="for a slow 8x8 (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=_CONTENDERS, help="contenders beside ours in the main comparison")
    return parser.parse_args()


def _compare(runner: Runner, table_of: Callable[[int], Table], options: argparse.Namespace, figures: Figures) -> None:
    table = table_of(options.rows)
    with eight_by_eight() as url:
        contenders = _contenders(options.only)
        rounds = [_round(runner, contenders, table, url, number) for number in range(options.rounds)]
        figures["contenders"] = _table_of_contenders(rounds, contenders)
        figures["ratios"] = _table_of_ratios(rounds, contenders[1:])
        print("\nOurs, other journals and sources, and other sizes", flush=True)
        figures["sources"] = {name: _line(name, [runner.run(name, table, url)]) for name in _OTHER_SOURCES}
        figures["sizes"] = {
            rows: _line(f"ours, {rows:,} rows", [runner.run("ours", table_of(rows), url)]) for rows in options.sizes
        }
    with eight_by_eight(latency=_SLOW_SECONDS) as url:
        figures["slow"] = _slow(runner, table_of(options.slow_rows), url)


def _contenders(only: Sequence[str] | None) -> list[str]:
    chosen = ["ours", *(only if only is not None else _CONTENDERS[1:])]
    if "by hand, DataFrame" in chosen and importlib.util.find_spec("pandas") is None:
        print("by hand, DataFrame: left out, since pandas is not installed")
        chosen.remove("by hand, DataFrame")
    return list(dict.fromkeys(chosen))


def _round(runner: Runner, contenders: Sequence[str], table: Table, url: str, number: int) -> dict[str, Outcome]:
    """Run every contender once, in another order each time: what comes later finds warmer caches."""
    start = number % len(contenders)
    order = [*contenders[start:], *contenders[:start]]
    return {name: runner.run(name, table, url) for name in order}


def _table_of_contenders(rounds: Sequence[dict[str, Outcome]], contenders: Sequence[str]) -> Figures:
    print(f"\n{'':24}{'messages/s':>28}{'CPU s':>9}{'memory MiB':>12}{'server us/message':>19}", flush=True)
    return {name: _line(name, [outcomes[name] for outcomes in rounds]) for name in contenders}


def _line(name: str, outcomes: Sequence[Outcome]) -> Figures:
    """Print and return the median, and the speed's span, of one contender's runs."""
    speeds = sorted(outcome.speed for outcome in outcomes)
    figures = {
        "messages_per_second": statistics.median(speeds),
        "slowest": speeds[0],
        "fastest": speeds[-1],
        "cpu_seconds": statistics.median(outcome.measurement.cpu_seconds for outcome in outcomes),
        "memory_mib": statistics.median(outcome.measurement.memory for outcome in outcomes) / _MIB,
        "server_microseconds": statistics.median(outcome.server_seconds / outcome.messages for outcome in outcomes)
        * 1e6,
    }
    span = f"{figures['messages_per_second']:>10,.0f} ({speeds[0]:,.0f} to {speeds[-1]:,.0f})"
    print(
        f"{name:24}{span:>28}{figures['cpu_seconds']:>9.1f}{figures['memory_mib']:>12.0f}"
        f"{figures['server_microseconds']:>19.1f}",
        flush=True,
    )
    return figures


def _table_of_ratios(rounds: Sequence[dict[str, Outcome]], others: Sequence[str]) -> Figures:
    print("\nOurs is so many times as fast as", flush=True)
    figures = {}
    for other in others:
        ratios = sorted(outcomes["ours"].speed / outcomes[other].speed for outcomes in rounds)
        figures[other] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
        print(f"{other:24}{figures[other]['median']:>10.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)
    return figures


def _slow(runner: Runner, table: Table, url: str) -> Figures:
    """Measure how much longer than 8x8's own time the whole takes, if each batch takes 8x8 so long."""
    outcome = runner.run("ours", table, url)
    waiting = -(-table.sendable // BATCH_SIZE) * _SLOW_SECONDS
    overhead = outcome.measurement.seconds / waiting - 1
    print(
        f"\nA slow 8x8, {_SLOW_SECONDS * 1000:.0f} ms a batch, {table.rows:,} rows: {outcome.measurement.seconds:.2f} s, "
        f"{overhead:.1%} over the {waiting:.1f} s of waiting alone",
        flush=True,
    )
    return {"seconds": outcome.measurement.seconds, "waiting": waiting, "overhead": overhead}


def _import(folder: Path) -> Figures:
    added = added_by_the_operator(folder, times=5)
    print(
        f"\nImporting the operator adds {added.seconds * 1000:.0f} ms and {added.memory / _MIB:.1f} MiB to BaseOperator"
    )
    return {"milliseconds": added.seconds * 1000, "mib": added.memory / _MIB}


def _machine() -> Figures:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "Python": platform.python_version(),
        "Airflow": version("apache-airflow"),
    }


if __name__ == "__main__":
    sys.exit(main())
