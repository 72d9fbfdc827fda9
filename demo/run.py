"""
``make demo``: 25,000 surveys from a warehouse through Airflow to a local 8x8, and what became of each.

Everything is made for the run and removed after it: the warehouse, Airflow's home, the sandbox.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import processes
from outcome import MismatchError, Outcome, check
from presentation import Screen
from processes import ProcessError, Sandbox
from rich.console import Console
from seed import seed

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "survey_from_warehouse"
SURVEY_TASK_ID = "send_surveys"

# Lines of "airflow dags test": a task begins; a line that our package or the DAG's own tasks log.
_TASK_BEGINS = re.compile(r"\[DAG TEST\] starting task_id=(?P<task_id>\w+)")
_OUR_LINE = re.compile(rf"^\S+ \[\w+ *\] (?P<message>.*?) *\[\S*(?:airflow_provider_8x8\.\S+|{DAG_ID})\] loc=")


def main() -> int:
    """Run the demo; 0 if all went well."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _exit)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # both are text streams
    screen = Screen(Console(highlight=False))
    try:
        with tempfile.TemporaryDirectory(prefix="airflow-provider-8x8-demo-") as folder:
            outcome = demonstrate(screen, Path(folder))
    except ProcessError as error:
        screen.failure(str(error), error.log)
        return 1
    except MismatchError as error:
        screen.failure(str(error), "")
        return 1
    except KeyboardInterrupt:
        screen.say("Stopped; nothing is left running.")
        return 130
    print(outcome)
    return 0


def demonstrate(screen: Screen, folder: Path) -> Outcome:
    """
    Seed, send, show.

    :param folder: for everything that the run needs on disk
    :raises ProcessError: a process failed
    :raises MismatchError: the task, the sandbox and the seed tell different stories
    """
    first_of_month = datetime.now(UTC).date().replace(day=1)
    screen.title(
        "8x8 surveys from a warehouse, sent by Airflow",
        "To a local 8x8, the sandbox. No SMS is sent, and nothing leaves this machine.",
    )
    began = time.monotonic()
    with screen.step("Seeding a DuckDB warehouse"):
        warehouse = seed(folder / "warehouse.duckdb", first_of_month - timedelta(days=1))
    screen.done("Warehouse", f"{warehouse.customers:,} customers with {warehouse.orders:,} orders, in DuckDB")
    with processes.sandbox(folder / "sandbox.log") as sandbox:
        screen.done("Sandbox", f"a local 8x8 at {sandbox.url}")
        environment = _environment(folder, sandbox)
        with screen.step("Airflow is making its database (about 15 seconds)"):
            processes.run(_airflow("db", "migrate"), environment, on_line=lambda line: None)
        screen.done("Airflow", f"{version('apache-airflow')}, with a home of its own")
        _run_dag(screen, environment, first_of_month)
        result = _result(folder)
        outcome = check(result, sandbox.stats(), warehouse)
        screen.heading("What became of the rows")
        screen.summary(outcome, result["invalid_samples"], warehouse)
        screen.heading("Three of the texts, as phones show them")
        screen.phones(sandbox.messages(limit=5_000))
        _show_sandbox(screen, sandbox)
    _show_next(screen)
    screen.say(f"All of it took {time.monotonic() - began:.0f} seconds, and nothing is left running.")
    return outcome


def _exit(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # so that everything is stopped on the way out


def _environment(folder: Path, sandbox: Sandbox) -> dict[str, str]:
    """Airflow's settings: a home of its own, and the connections that the example DAG names."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return others | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_WAREHOUSE": json.dumps(
            {"conn_type": "duckdb", "host": str(folder / "warehouse.duckdb"), "extra": {"read_only": True}}
        ),
        "AIRFLOW_CONN_JOURNAL": json.dumps({"conn_type": "sqlite", "host": str(folder / "journal.sqlite")}),
        "AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT": json.dumps(
            {
                "conn_type": "eight_by_eight",
                "host": sandbox.url,
                "login": sandbox.subaccount,
                "password": sandbox.api_key,
            }
        ),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
    }


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _run_dag(screen: Screen, environment: Mapping[str, str], logical_date: date) -> None:
    """Run the example DAG, and show what its tasks log while they run."""
    any_day_of_the_month = json.dumps({"within_days": 31})
    command = ("dags", "test", DAG_ID, logical_date.isoformat(), "--conf", any_day_of_the_month)
    screen.heading(f"$ airflow {' '.join(command)}")
    task_id = ""
    with screen.step("Airflow is loading (about 20 seconds)") as now:

        def show(line: str) -> None:
            nonlocal task_id
            if begins := _TASK_BEGINS.search(line):
                task_id = begins["task_id"]
                now(f"Airflow is running {task_id}")
            elif ours := _OUR_LINE.match(line):
                screen.log_line(task_id, ours["message"])

        processes.run(_airflow(*command), environment, show)


def _result(folder: Path) -> dict[str, Any]:
    """Read the survey task's result from Airflow's database: no command of Airflow shows an XCom."""
    with closing(sqlite3.connect(folder / "airflow" / "airflow.db")) as database:
        (value,) = database.execute(
            "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = 'return_value'", (DAG_ID, SURVEY_TASK_ID)
        ).fetchone()
    result: dict[str, Any] = json.loads(value)
    return result


def _show_sandbox(screen: Screen, sandbox: Sandbox) -> None:
    stats = sandbox.stats()
    screen.heading("What the sandbox counts")
    screen.say(
        f"    {stats['requests']} requests with {stats['batches']} batches: {stats['accepted']:,} messages accepted, "
        f"{stats['rejected']:,} rejected\n"
        f"    {stats['distinct_keys']:,} people surveyed, nobody more than {_times(stats['max_per_key'])}"
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _show_next(screen: Screen) -> None:
    screen.heading("Where to look next")
    for what, why in (
        ("README.md", "how to use it in your own Airflow"),
        (f"example_dags/{DAG_ID}.py", "the DAG that has just run"),
        (
            f"{_shown_python()} -m airflow_provider_8x8.sandbox",
            "the sandbox, with a page to look at, for as long as you like",
        ),
    ):
        screen.say(f"    {what}\n        {why}")
    screen.say()


def _shown_python() -> str:
    python = Path(sys.executable)
    return str(python.relative_to(ROOT)) if python.is_relative_to(ROOT) else "python"


if __name__ == "__main__":
    sys.exit(main())
