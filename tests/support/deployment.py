"""Airflow as it is deployed, with the LocalExecutor: each part a process of its own, all of them gone in the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

import psutil
import requests

if TYPE_CHECKING:
    from tests.support.databases import Database

PATIENCE = 900
"""
Seconds: on a small machine that has much else to do these processes take minutes to start, and who waits for what comes
loses nothing. A task of which Airflow has lost sight is tried again in this time, also one that waits five minutes.
"""
ENDED = frozenset({"success", "failed"})

_DEBUG = re.compile(r'\[debug | DEBUG |"level": ?"debug"')
"""A line of a log at that level, as each Airflow writes it."""

_LOST_AFTER = "20"
"""Seconds without a heartbeat after which a task is lost: by default 300, for which no test can wait."""

_LOST_AFTER_2 = "30"
"""
The same on Airflow 2: much longer than a batch of a task that is told to end, for who waits there for a task's end
sends no heartbeats.
"""

_PARSED_AGAIN_AFTER = "3600"
"""Seconds: the DAG files stay as they are, and to parse them every half minute, the default, keeps a processor busy."""

_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "12",
    "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",  # by default 30: a test may hold a process up there
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "300",  # by default 30, before it takes itself for lost
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",  # by default 30, before another one has its triggers
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
_SETTINGS_3 = {
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": _PARSED_AGAIN_AFTER,
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": _LOST_AFTER,
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",  # by default 5, after which a busy machine starts no task at all
}
_SETTINGS_2 = {
    "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "300",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": _PARSED_AGAIN_AFTER,
    "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": _LOST_AFTER_2,
    # ZOMBIE_DETECTION_INTERVAL stays at 10: each time that a lost task is found, the DAG processor is told to let it
    # fail. It does so when it comes to that, and what it was told twice may by then strike the next try.
    "AIRFLOW__SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
}


class TaskInstance(NamedTuple):
    """
    A task instance as the metadata database has it.

    :ivar pid: the process that runs the operator
    :ivar next_method: the operator's, by which a try goes on that waits without a worker, or has done so
    """

    run_id: str
    state: str | None
    try_number: int
    pid: int | None
    map_index: int
    next_method: str | None


def wait_for(what: str, ask: Callable[[], Any], *, patience: float = PATIENCE, pause: float = 0.5) -> Any:
    """Return the first answer that is true."""
    ends_at = time.monotonic() + patience
    while time.monotonic() < ends_at:
        with contextlib.suppress(requests.RequestException, KeyError):
            if answer := ask():
                return answer
        time.sleep(pause)
    raise AssertionError(f"waited {patience:g} s for {what}")


class Deployment:
    """
    A running Airflow.

    :param home: its home folder, with the DAGs in ``dags``
    :param database: for its metadata
    :param settings: environment variables, such as connections
    """

    def __init__(self, home: Path, database: Database, settings: Mapping[str, str]) -> None:
        self.home = home
        self._database = database
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.url.replace("postgresql://", "postgresql+psycopg2://"),
            **_SETTINGS,
            **settings,
        }
        self._processes: list[psutil.Popen] = []
        self._triggerer: psutil.Popen | None = None
        self._threads = threading.local()
        self._connections = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self.command("db", "migrate")
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop each process with all its descendants; those of a worker that was killed are found by their session."""
        self._connections.close()
        sessions = {process.pid for process in self._processes}
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(5)
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(process.pid) in sessions:
                    process.kill()
        for process in self._processes:
            process.wait()

    def command(self, *arguments: str) -> None:
        """Run an ``airflow`` command to its end."""
        made = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, f"airflow {' '.join(arguments)} failed:\n{made.stdout}\n{made.stderr}"

    def start_triggerer(self) -> None:
        """Start a triggerer, without which a deferred task waits for ever. It is for the few tests that have one."""
        self._triggerer = self._spawn("triggerer", "--skip-serve-logs")

    def kill_triggerer(self) -> None:
        """Kill it with the process that runs its triggers, as a lost machine does."""
        triggerer, self._triggerer = self._triggerer, None
        assert triggerer is not None
        for process in [triggerer, *triggerer.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        triggerer.wait()
        self._processes.remove(triggerer)

    def triggerer_of(self, dag_id: str) -> int | None:
        """Return by which number Airflow knows the triggerer that has the trigger of a DAG's deferred task."""
        found = self._query(
            "SELECT triggerer_id FROM trigger JOIN task_instance ON trigger_id = trigger.id"
            f" WHERE state = 'deferred' AND triggerer_id IS NOT NULL AND {_is(dag_id, 'send_surveys')}"
        )
        return next((number for (number,) in found), None)

    def make_pool(self, name: str, slots: int) -> None:
        """Make a pool of which deferred tasks take no slot, as is Airflow's default."""
        raise NotImplementedError

    def open_slots(self, pool: str) -> int:
        """Return how many slots of a pool nothing holds, as Airflow counts them."""
        raise NotImplementedError

    def start_run(self, dag_id: str) -> None:
        """Trigger a run of a DAG that was paused until now."""
        raise NotImplementedError

    def clear(self, dag_id: str, run_id: str, task_id: str = "send_surveys") -> None:
        """Clear a task of a run that has ended, as a person does."""
        raise NotImplementedError

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable that DAGs can read."""
        raise NotImplementedError

    def task(self, dag_id: str, task_id: str = "send_surveys") -> TaskInstance | None:
        """Return the task instance of a DAG's one run, if there is one yet."""
        return next(iter(self.tasks(dag_id, task_id)), None)

    def tasks(self, dag_id: str, task_id: str = "send_surveys") -> list[TaskInstance]:
        """Return the instances of a mapped task in a DAG's one run."""
        columns = ", ".join(TaskInstance._fields)
        found = self._query(f"SELECT {columns} FROM task_instance WHERE {_is(dag_id, task_id)}")
        return [TaskInstance(*row) for row in found]

    def wait_for(
        self, what: str, dag_id: str, ask: Callable[[], Any], *, patience: float = PATIENCE, pause: float = 0.5
    ) -> Any:
        """Return the first answer that is true; if none comes, fail with how far the DAG's runs have come."""
        try:
            return wait_for(what, ask, patience=patience, pause=pause)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.account_of(dag_id)}") from None

    def account_of(self, dag_id: str) -> str:
        """Tell how far a DAG's runs have come, for people: states, and the ends of the logs."""
        columns = "run_id, task_id, map_index, state, try_number, pid, next_method, queued_dttm, start_date, end_date"
        states = [
            *self._query(f"SELECT run_id, state, start_date, end_date FROM dag_run WHERE dag_id = '{dag_id}'"),
            *self._query(f"SELECT {columns} FROM task_instance WHERE dag_id = '{dag_id}' ORDER BY queued_dttm"),
        ]
        told = [f"{dag_id} and its tasks ({columns}):", *(", ".join(map(str, row)) for row in states)]
        for file in self._task_logs(dag_id):
            told += [f"{file.relative_to(self.home)}:", *_telling(file.read_text())[-20:]]
        log = _telling(self._own_log())
        told += ["Airflow of it:", *[line for line in log if dag_id in line][-20:]]
        told += ["Airflow in the end:", *log[-20:]]
        return "\n".join(told)

    def run_has_failed(self, dag_id: str) -> bool:
        """Tell whether a DAG's one run has: the scheduler finds that after its task's failure."""
        return bool(self._query(f"SELECT 1 FROM dag_run WHERE dag_id = '{dag_id}' AND state = 'failed'"))

    def result(self, dag_id: str, task_id: str = "send_surveys") -> Any:
        """Return what the task returned."""
        return next(iter(self.results(dag_id, task_id)), None)

    def results(self, dag_id: str, task_id: str = "send_surveys") -> list[Any]:
        """Return what the instances of a mapped task returned."""
        found = self._query(f"SELECT value FROM xcom WHERE {_is(dag_id, task_id)} AND key = 'return_value'")
        return [json.loads(bytes(value)) if isinstance(value, memoryview) else value for (value,) in found]

    def log_text(self, dag_id: str, task_id: str = "send_surveys") -> str:
        """Return the log of all tries of a task."""
        return "".join(file.read_text() for file in self._task_logs(dag_id) if task_id in str(file))

    def owns(self, pid: int) -> bool:
        """Tell whether a process is one of this Airflow's: only such are killed."""
        try:
            return os.getsid(pid) in {process.pid for process in self._processes}
        except ProcessLookupError:
            return False

    def _start(self) -> None:
        raise NotImplementedError

    def _task_logs(self, dag_id: str) -> list[Path]:
        """Return the files that hold the log of a try of a DAG's task each."""
        files = (self.home / "logs").rglob("attempt=*.log")
        return sorted(file for file in files if f"dag_id={dag_id}/" in str(file))

    def _own_log(self) -> str:
        """Return what Airflow's own processes have logged."""
        return (self.home / "processes.log").read_text(errors="replace")

    def _spawn(self, *arguments: str) -> psutil.Popen:
        with (self.home / "processes.log").open("ab") as log:
            command: Sequence[str] = [sys.executable, "-m", "airflow", *arguments]
            process = psutil.Popen(command, env=self._environment, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)
        return process

    def _query(self, select: str) -> list[Any]:
        """Ask the database, by one connection a thread: many are asked many times a second."""
        if not hasattr(self._threads, "cursor"):
            self._threads.cursor = self._connections.enter_context(self._database.connect())
        cursor = self._threads.cursor
        cursor.execute(select)
        return list(cursor.fetchall())


def _telling(log: str) -> list[str]:
    """Return the lines of a log that tell a person something."""
    return [line for line in log.splitlines() if not _DEBUG.search(line)]


def _is(dag_id: str, task_id: str) -> str:
    return f"dag_id = '{dag_id}' AND task_id = '{task_id}'"


class Airflow3(Deployment):
    """Scheduler, DAG processor and API server, driven through its API."""

    def __init__(self, home: Path, database: Database, settings: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        execution_api = {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/"}
        super().__init__(home, database, {**_SETTINGS_3, **execution_api, **settings})
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=24))  # many threads share it

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the API."""
        response = self._session.request(method, self.url + path, timeout=60, **arguments)
        response.raise_for_status()
        return response.json()

    def start_run(self, dag_id: str, **conf: Any) -> None:
        """See :class:`Deployment`."""
        self.unpause(dag_id)
        self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        wait_for(f"the DAG {dag_id}", lambda: self.call("GET", f"/api/v2/dags/{dag_id}"))
        self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})

    def make_pool(self, name: str, slots: int) -> None:
        """See :class:`Deployment`."""
        self.call("POST", "/api/v2/pools", json={"name": name, "slots": slots})

    def open_slots(self, pool: str) -> int:
        """See :class:`Deployment`."""
        return int(self.call("GET", f"/api/v2/pools/{pool}")["open_slots"])

    def mark_failed(self, dag_id: str, run_id: str, task_id: str = "send_surveys") -> None:
        """Mark a running task as failed, as a person does."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}/taskInstances/{task_id}"
        self.call("PATCH", path, json={"new_state": "failed"})

    def clear(self, dag_id: str, run_id: str, task_id: str = "send_surveys") -> None:
        """See :class:`Deployment`."""
        what = {"dag_run_id": run_id, "task_ids": [task_id], "dry_run": False, "only_failed": False}
        self.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json={**what, "reset_dag_runs": True})

    def has_seen_the_end_of(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> bool:
        """
        Tell whether the scheduler knows that the process of a task which now waits for something is gone.

        Airflow tells it in its log alone. Until then it takes that process's end for one of the process that goes on,
        should there be one already, and lets the task fail.
        """
        said = f"TaskInstance Finished: dag_id={dag_id}, task_id={task_id}, run_id={run_id}, "
        return any(said in line and f" try_number={try_number}," in line for line in self._own_log().splitlines())

    def set_variable(self, name: str, value: str) -> None:
        """See :class:`Deployment`."""
        self.call("POST", "/api/v2/variables", json={"key": name, "value": value})

    def _start(self) -> None:
        self._spawn("api-server", "--host", "127.0.0.1", "--port", str(self._port))
        self._spawn("scheduler")
        self._spawn("dag-processor")
        wait_for("the API server", lambda: self._session.get(f"{self.url}/api/v2/version", timeout=60).ok)
        token = self._session.get(f"{self.url}/auth/token", timeout=60).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"


class Airflow2(Deployment):
    """The scheduler, which parses the DAGs and runs the tasks, driven by commands."""

    def __init__(self, home: Path, database: Database, settings: Mapping[str, str]) -> None:
        super().__init__(home, database, {**_SETTINGS_2, **settings})

    def start_run(self, dag_id: str) -> None:
        """See :class:`Deployment`."""
        wait_for(f"the DAG {dag_id}", lambda: self._database.execute(f"SELECT 1 FROM dag WHERE dag_id = '{dag_id}'"))
        self.command("dags", "unpause", dag_id)
        self.command("dags", "trigger", dag_id)

    def make_pool(self, name: str, slots: int) -> None:
        """See :class:`Deployment`."""
        self.command("pools", "set", name, str(slots), "of a test")

    def open_slots(self, pool: str) -> int:
        """See :class:`Deployment`. No command tells: so it is what Airflow's own pools reckon by."""
        holds = "state IN ('running', 'queued') OR (state = 'deferred' AND include_deferred)"
        taken = f"SELECT coalesce(sum(pool_slots), 0) FROM task_instance WHERE pool = slot_pool.pool AND ({holds})"
        ((free,),) = self._query(f"SELECT slots - ({taken}) FROM slot_pool WHERE pool = '{pool}'")
        return int(free)

    def clear(self, dag_id: str, run_id: str, task_id: str = "send_surveys") -> None:
        """See :class:`Deployment`. The DAG has no other run."""
        self.command("tasks", "clear", "--yes", "--task-regex", f"^{task_id}$", dag_id)

    def set_variable(self, name: str, value: str) -> None:
        """See :class:`Deployment`."""
        self.command("variables", "set", name, value)

    def _start(self) -> None:
        self._spawn("scheduler")
