"""Airflow 3 as it is deployed: scheduler, DAG processor, API server and LocalExecutor, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import API_KEY, ROOT
from tests.examples.test_example_dags import CUSTOMERS, TABLES

pytestmark = pytest.mark.skipif(
    not version("apache-airflow").startswith("3."), reason="the API that this drives is Airflow 3's"
)

PATIENCE = 240  # seconds; these processes take a while to start on a small machine


class Deployment:
    """A running Airflow, driven through its API."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.home = home
        self._session = requests.Session()
        self._session.trust_env = False

    def sign_in(self) -> None:
        token = self._session.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        response = self._session.request(method, self.url + path, timeout=60, **arguments)
        response.raise_for_status()
        return response.json()

    def log_text(self) -> str:
        """All task logs."""
        return "".join(file.read_text() for file in (self.home / "logs").rglob("attempt=*.log"))


def wait_for(what: str, ask: Callable[[], Any]) -> Any:
    ends_at = time.monotonic() + PATIENCE
    while time.monotonic() < ends_at:
        try:
            if answer := ask():
                return answer
        except (requests.RequestException, KeyError):
            pass
        time.sleep(1)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[Any]:
    from airflow_provider_8x8.sandbox.server import Sandbox

    with Sandbox(port=0, api_key=API_KEY, subaccount="sandbox_hq") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, sandbox_url: Any) -> Iterator[Deployment]:
    import duckdb

    home = tmp_path_factory.mktemp("airflow-home")
    shutil.copytree(ROOT / "example_dags", home / "dags")
    with duckdb.connect(home / "warehouse.duckdb") as warehouse:
        for table in TABLES:
            warehouse.execute(table)
        warehouse.executemany("INSERT INTO customers VALUES (?, ?, ?)", CUSTOMERS)
        warehouse.execute(
            "INSERT INTO orders SELECT customer_id, customer_id, 'completed', "
            "date_trunc('month', current_date) - INTERVAL 1 DAY FROM customers"
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW_CONN_WAREHOUSE": json.dumps({"conn_type": "duckdb", "host": str(home / "warehouse.duckdb")}),
        "AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT": json.dumps(
            {"conn_type": "eight_by_eight", "host": sandbox_url.url, "login": "sandbox_hq", "password": API_KEY}
        ),
    }
    command = [sys.executable, "-m", "airflow"]
    subprocess.run([*command, "db", "migrate"], env=environment, check=True, capture_output=True)
    processes = []
    with (home / "processes.log").open("wb") as log:
        for arguments in (["api-server", "--host", "127.0.0.1", "--port", str(port)], ["scheduler"], ["dag-processor"]):
            processes.append(
                subprocess.Popen(
                    [*command, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
                )
            )
        try:
            deployment = Deployment(url, home)
            wait_for("the API server", lambda: requests.get(f"{url}/api/v2/version", timeout=5).ok)
            deployment.sign_in()
            yield deployment
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def run_of(airflow: Deployment, dag_id: str, *, trigger: bool) -> dict[str, str]:
    """Let a DAG run once; the states of its tasks."""
    wait_for(f"the DAG {dag_id}", lambda: airflow.call("GET", f"/api/v2/dags/{dag_id}"))
    airflow.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
    if trigger:
        airflow.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None})

    def ended() -> Any:
        runs = airflow.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        return [run for run in runs if run["state"] in {"success", "failed"}]

    run_id = wait_for(f"a run of {dag_id}", ended)[0]["dag_run_id"]
    path = f"/api/v2/dags/{dag_id}/dagRuns/{requests.utils.quote(run_id, safe='')}/taskInstances"
    return {task["task_id"]: task["state"] for task in airflow.call("GET", path)["task_instances"]}


def test_the_connections_form_shows_its_fields(airflow: Deployment) -> None:
    metas = airflow.call("GET", "/ui/connections/hook_meta")
    meta = next(meta for meta in metas if meta["connection_type"] == "eight_by_eight")
    assert meta["hook_name"] == "8x8"
    assert set(meta["extra_fields"]) == {"region", "account_id", "timeout"}
    assert "europe" in meta["extra_fields"]["region"]["schema"]["enum"]
    assert meta["standard_fields"]["password"]["title"] == "API key"
    assert meta["standard_fields"]["url_schema"]["hidden"] is True


def test_test_connection_works_and_fails_clearly(airflow: Deployment, sandbox_url: Any) -> None:
    good = {
        "connection_id": "try",
        "conn_type": "eight_by_eight",
        "host": sandbox_url.url,
        "login": "sandbox_hq",
        "password": API_KEY,
    }
    answer = airflow.call("POST", "/api/v2/connections/test", json=good)
    assert answer["status"] is True, answer
    answer = airflow.call("POST", "/api/v2/connections/test", json={**good, "password": "wrong-key"})
    assert answer["status"] is False
    assert "code 1200" in answer["message"]
    assert "wrong-key" not in answer["message"]


@pytest.mark.parametrize(("dag_id", "trigger"), [("survey_from_xcom", True), ("survey_from_warehouse", False)])
def test_the_example_dags_run_green(airflow: Deployment, sandbox_url: Any, dag_id: str, trigger: bool) -> None:
    sandbox_url.forget()
    states = run_of(airflow, dag_id, trigger=trigger)
    assert set(states.values()) == {"success"}, airflow.log_text()[-4000:]
    assert sandbox_url.stats()["accepted"] == 3
    assert sandbox_url.stats()["max_per_key"] == 1


def test_the_survey_tasks_logs_at_debug_level_hold_neither_key_nor_number(airflow: Deployment) -> None:
    logs = [file.read_text() for file in (airflow.home / "logs").rglob("attempt=*.log") if "send_surveys" in str(file)]
    assert len(logs) == 2
    for log in logs:
        assert '"debug"' in log
        assert API_KEY not in log
        digits = re.sub(r"[\s().-]", "", log)
        assert not [phone for _, _, phone in CUSTOMERS if phone.replace(" ", "").lstrip("+") in digits]
        assert not [number for number in ("12025550123", "447700900123", "33639981234") if number in digits]
