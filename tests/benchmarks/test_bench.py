"""The benchmark: whoever is measured has done the work, and the figures come out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.conftest import ROOT

pytest.importorskip("airflow.sdk", reason="the figures are those of the newest Airflow")

from benchmarks.contend import stats
from benchmarks.contenders import CONTENDERS
from benchmarks.goals import as_table, of_few_rows, of_shard, of_slow_8x8
from benchmarks.people import make_people
from benchmarks.processes import BenchmarkError, Runner, databases, eight_by_eight
from benchmarks.tables import make_table

if TYPE_CHECKING:
    from benchmarks.tables import Table

ROWS = 1_500


def digits(text: str | None) -> str:
    return re.sub(r"\D", "", text or "")


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("bench")
    with databases(folder) as where:
        yield Runner(folder, where)


@pytest.fixture(scope="module")
def table(runner: Runner) -> Table:
    return make_table(ROWS, runner.databases.warehouse, runner.folder, runner.databases.duckdb)


@pytest.mark.parametrize("contender", CONTENDERS)
def test_every_contender_delivers_all_valid_rows(runner: Runner, table: Table, contender: str) -> None:
    if contender == "by hand, DataFrame":
        pytest.importorskip("pandas")
    with eight_by_eight(remember=True) as url:
        outcome = runner.run(contender, table, url)
        delivered = {digits(destination) for destination in stats(url).destinations}
    valid = {digits(person.phone) for person in make_people(ROWS) if person.trouble is None}
    assert len(valid) == table.sendable
    assert delivered >= valid
    if contender.startswith("ours"):
        assert delivered == valid
        assert outcome.messages == len(valid)


def test_a_contender_that_does_not_deliver_is_not_measured(runner: Runner, table: Table) -> None:
    more = msgspec.structs.replace(table, invalid=table.invalid - 1)
    with eight_by_eight() as url, pytest.raises(BenchmarkError, match=r"ours: \d+ messages have arrived, not \d+"):
        runner.run("ours", more, url)


def test_the_last_line_holds_all_figures_and_nothing_is_left_behind() -> None:
    options = ["--rows", str(ROWS), "--rounds", "1", "--sections", "compare", "parse", "--only", "bare loop"]
    # Not below pytest's folder: as root, PostgreSQL's server is another user, and would have its parents opened.
    with tempfile.TemporaryDirectory() as folder:
        bench = subprocess.run(
            [sys.executable, "-m", "benchmarks", *options],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=True,
        )
        assert {path.name for path in Path(folder).iterdir()} <= {".lockfile"}  # which all such servers share
    figures = msgspec.json.decode(bench.stdout.splitlines()[-1])
    assert set(figures["compare"]["rounds"][0]) == {"ours", "bare loop"}
    assert figures["compare"]["ratios"]["bare loop"]["median"] > 0
    assert [goal["what"] for goal in figures["goals"]] == [
        f"{ROWS:,} rows: times as fast as bare loop",
        f"{ROWS:,} rows: memory growth",
    ]
    assert figures["goals"][0]["measured"] == figures["compare"]["ratios"]["bare loop"]["median"]
    assert len(figures["parse"]["samples"]) == 1
    assert figures["machine"]["cores"] >= 1


def test_a_figure_stands_beside_what_it_is_to_be() -> None:
    goals = [of_few_rows(10_000, 0.8), of_slow_8x8(0.03), *of_shard(0.5, 151 * 2**20)]
    assert [goal.is_reached for goal in goals] == [False, True, True, False]
    assert [line.split()[-1] for line in as_table(goals).splitlines()[1:]] == ["missed", "reached", "reached", "missed"]
    assert "151 MiB" in as_table(goals)


def test_fewer_people_are_the_first_of_more() -> None:
    assert list(make_people(50)) == list(make_people(100))[:50]
