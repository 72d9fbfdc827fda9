"""The README's code is run, and what it names exists."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102  # our own README


@pytest.mark.parametrize(
    ("name", "tasks"), [("survey_visitors", ["visitors", "send_surveys"]), ("survey_shops", ["send_surveys"])]
)
def test_the_dags_with_rows_send(run_dag: Any, sandbox: Any, connection: str, name: str, tasks: list[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    (code,) = [code for code in PYTHON if f"def {name}" in code]
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102  # our own README
    run = run_dag(namespace[name]())
    assert run.task_states == dict.fromkeys(tasks, "success")
    assert sandbox.messages(1)[0]["text"].startswith("Hi Zoë, how was your visit? ")


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("export ")])
def test_the_connections_are_8x8s(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    name, _, value = shlex.split(line)[1].partition("=")
    monkeypatch.setenv(name, value)
    client = EightByEightHook().client
    assert (client.subaccount_id, client.base_url) == ("example_hq", "https://sms.8x8.uk")


@pytest.mark.parametrize("line", [line for line in SHELL if not line.startswith("export ")])
def test_the_commands_exist(line: str) -> None:
    command, *arguments = shlex.split(line)
    if command == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif command == "python":
        subprocess.run([sys.executable, *arguments, "--help"], check=True, capture_output=True)
    else:
        assert (command, arguments) == ("pip", ["install", "."])  # what that installs is tried in test_packaging


def test_the_journal_to_try_it_with_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_8x8.journals.sql import prune_journal

    (uri,) = re.findall(r"AIRFLOW_CONN_JOURNAL='(.*?)'", README)
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", uri.replace("/tmp/", f"{tmp_path}/"))  # noqa: S108  # the README's
    assert prune_journal("journal", older_than=timedelta(days=400)) == 0
    assert (tmp_path / "journal.sqlite").exists()


def test_the_pages_that_it_links_to_exist() -> None:
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_guarantees_page_has_the_promise() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text()
    assert (
        "> No survey is POSTed twice within a campaign unless 8x8 has said, or its logs prove, that the first was not "
        "accepted, or you chose to resend."
    ) in page


def test_the_parameters_are_the_operators() -> None:
    import inspect

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    table = README.partition("## Parameters")[2].partition("## When")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    signature = inspect.signature(EightByEightSurveyBatchOperator.__init__)
    assert named == set(signature.parameters) - {"self", "kwargs", "default_args"}


def test_the_report_is_read_as_it_says(run_dag: Any, sandbox: Any, connection: str, tmp_path: Path) -> None:
    from tests.operators.test_survey_batch import person, survey_dag

    (code,) = [code for code in PYTHON if "duckdb" in code]
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102  # our own README
    rows = [person(1), person(2), person(2), person(3, destination="none")]
    run = run_dag(survey_dag(rows=rows, report_path=str(tmp_path)))
    read = namespace["rows_by_umid"](run.xcoms["send"]["report"])
    umids = {message["umid"] for message in sandbox.messages()}
    assert len(umids) == 2
    assert {str(umid) for umid, _, outcome in read if outcome == "accepted"} == umids
    assert sorted(outcome for _, _, outcome in read) == ["accepted", "accepted", "duplicate", "invalid"]
    folder = Path(run.xcoms["send"]["report"].removeprefix("file://"))
    (batch,) = run.xcoms["send"]["client_batch_ids"]
    assert {file.name for file in folder.iterdir()} == {f"{batch}.jsonl", "duplicate.jsonl", "invalid.jsonl"}


# the first DAG, on the days that Airflow's kinds of runs have

OFFSET = (12 - datetime.now(UTC).hour) % 24 * 3600
"""Of a time zone where it is noon now: no day of it ends, and no not_after of such a day passes, while these run."""
MIDNIGHT = datetime.now(timezone(timedelta(seconds=OFFSET))).replace(hour=0, minute=0, second=0, microsecond=0)
MIDNIGHT -= timedelta(days=1)
ZONE = f"""__import__("pendulum").FixedTimezone({OFFSET})"""
DAYS = {-2: ["Uma"], -1: ["Yan", "Zoë"], 0: ["Noa"]}
"""Who ordered how many days before that midnight."""

_NUMBERS = itertools.count()

only_airflow_3 = pytest.mark.skipif(version("apache-airflow").startswith("2."), reason="Airflow 2's runs have a date")


def first_dag(schedule: str = '"@daily"', zone: str = ZONE) -> Any:
    """The DAG in a time zone, under an id that no other test's runs have, in SQLite's style of parameters."""
    code = PYTHON[0].replace("catchup=False)", "catchup=False) as dag").replace("%(day)s", ":day")
    code = (
        code.replace('"survey_orders"', f'"survey_orders_{next(_NUMBERS)}"')
        .replace('"@daily"', schedule)
        .replace("tzinfo=UTC", f"tzinfo={zone}")
    )
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102  # our own README
    return namespace["dag"]


@pytest.fixture
def orders(tmp_path: Path, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warehouse with the orders of some days, and an empty journal."""
    people = [(name, MIDNIGHT + timedelta(days=day)) for day, names in DAYS.items() for name in names]
    rows = [(f"+1202555010{nr}", name, nr, f"{day:%Y-%m-%d}") for nr, (name, day) in enumerate(people)]
    with contextlib.closing(sqlite3.connect(tmp_path / "warehouse")) as warehouse, warehouse:
        warehouse.execute("CREATE TABLE orders (phone, first_name, order_nr, day)")
        warehouse.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
    for name in ("warehouse", "journal"):
        fields = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / name)})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", fields)


def surveyed(sandbox: Any) -> list[str]:
    return sorted(message["text"].split()[1].rstrip(",") for message in sandbox.messages())


def timetable(module: str, name: str) -> str:
    return f"""__import__("importlib").import_module("airflow.timetables.{module}").{name}("@daily", timezone={ZONE})"""


SCHEDULES = [
    '"@daily"',
    timetable("trigger", "CronTriggerTimetable"),
    timetable("interval", "CronDataIntervalTimetable"),
]
ASSET = """[__import__("importlib").import_module("airflow.providers.common.compat.sdk").Asset("orders")]"""


@pytest.mark.parametrize(
    ("schedule", "kind", "after"),
    [
        *[(schedule, kind, after) for schedule in SCHEDULES for kind, after in (("scheduled", 0), ("manual", 15))],
        pytest.param('"@daily"', "undated", 15, marks=only_airflow_3),
        ("None", "manual", 15),
        (ASSET, "asset", 1),
        (ASSET, "manual", 15),
    ],
)
def test_the_first_dag_surveys_the_day_before(
    run_due: Any, sandbox: Any, orders: None, schedule: str, kind: str, after: int
) -> None:
    run = run_due(first_dag(schedule), kind, MIDNIGHT + timedelta(hours=after))
    assert run.task_states == {"send_surveys": "success"}
    assert surveyed(sandbox) == DAYS[-1]
    assert run.xcoms["send_surveys"]["campaign_id"] == f"order-feedback {MIDNIGHT - timedelta(days=1):%Y-%m-%d}"


def test_the_first_dag_surveys_nobody_twice_by_whatever_runs_of_a_day(
    run_due: Any, sandbox: Any, orders: None, recwarn: pytest.WarningsRecorder
) -> None:
    dag = first_dag()
    runs = [run_due(dag, "manual", MIDNIGHT + timedelta(hours=15)), run_due(dag, "scheduled", MIDNIGHT)]
    runs.append(run_due(first_dag(ASSET), "asset", MIDNIGHT + timedelta(hours=1)))
    for run in runs:
        assert run.task_states == {"send_surveys": "success"}
        assert "campaign of its own" not in run.log
    assert surveyed(sandbox) == DAYS[-1]
    assert not [warning for warning in recwarn if "retries" in str(warning.message)]


def test_the_first_dag_sends_nothing_when_it_is_days_late(run_due: Any, sandbox: Any, orders: None) -> None:
    run = run_due(first_dag(), "scheduled", MIDNIGHT - timedelta(days=1))
    assert run.task_states == {"send_surveys": "failed"}
    assert "it is later than not_after" in run.log
    assert surveyed(sandbox) == []


@pytest.mark.parametrize(
    ("due", "day"),
    [
        ("2026-03-09T04:00:00+00:00", "2026-03-08"),  # a day of 23 hours is over
        ("2026-11-02T05:00:00+00:00", "2026-11-01"),  # one of 25
        ("2026-07-01T03:59:59+00:00", "2026-06-29"),  # still the evening of the 30th
    ],
)
def test_the_first_dags_day_is_that_of_its_time_zone(due: str, day: str) -> None:
    import pendulum

    dag = first_dag(zone='__import__("pendulum").timezone("America/New_York")')
    template = dag.get_task("send_surveys").parameters["day"]
    macros = importlib.import_module(
        "airflow.macros" if version("apache-airflow").startswith("2.") else "airflow.sdk.execution_time.macros"
    )
    for moment in (pendulum.parse(due), datetime.fromisoformat(due)):
        dated = {"data_interval_end": moment, "dag_run": object()}
        undated = {"dag_run": SimpleNamespace(run_after=moment)}
        for context in (dated, undated, {**undated, "data_interval_end": None}):
            assert dag.get_template_env().from_string(template).render(dag=dag, macros=macros, **context) == day
