"""The demo as a program: its last line, its exit code, and the real DAG over the real seed."""

from __future__ import annotations

import importlib.util
import json
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import run
from outcome import MismatchError, Outcome, check
from processes import ProcessError
from seed import seed

OUTCOME = Outcome(rows=10, accepted=7, rejected=1, invalid=1, duplicate=1)


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ends_with(ending: BaseException | Outcome, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the demo end so; the folders that it had."""
    folders: list[Path] = []

    def demonstrate(screen: Any, folder: Path) -> Outcome:
        folders.append(folder)
        assert folder.is_dir()
        if isinstance(ending, BaseException):
            raise ending
        return ending

    monkeypatch.setattr(run, "demonstrate", demonstrate)
    return folders


def test_the_last_line_is_the_outcome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ends_with(OUTCOME, monkeypatch)
    assert run.main() == 0
    assert capsys.readouterr().out.endswith("demo: rows=10 accepted=7 rejected=1 invalid=1 duplicate=1\n")
    assert [folder.exists() for folder in folders] == [False]


@pytest.mark.parametrize(
    ("ending", "exit_code", "shown"),
    [
        (MismatchError("The counts of accepted differ"), 1, "The counts of accepted differ"),
        (ProcessError("airflow ended with exit code 1", "Traceback: [all] of it"), 1, "Traceback: [all] of it"),
        (KeyboardInterrupt(), 130, "nothing is left running"),
    ],
)
def test_a_demo_that_fails_says_so_and_leaves_nothing(
    ending: BaseException,
    exit_code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ends_with(ending, monkeypatch)
    assert run.main() == exit_code
    out = capsys.readouterr().out
    assert shown in out
    assert "demo: rows=" not in out
    assert [folder.exists() for folder in folders] == [False]


def test_a_demo_that_is_terminated_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def demonstrate(screen: Any, folder: Path) -> Outcome:
        folders.append(folder)
        signal.raise_signal(signal.SIGTERM)
        return OUTCOME

    monkeypatch.setattr(run, "demonstrate", demonstrate)
    with pytest.raises(SystemExit) as ending:
        run.main()
    assert ending.value.code == 128 + signal.SIGTERM
    assert [folder.exists() for folder in folders] == [False]


def test_every_row_of_the_seed_ends_as_seeded(
    run_dag: Any,
    sandbox: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = seed(path, date(2026, 2, 1), customers=4_000)
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE",
        json.dumps({"conn_type": "duckdb", "host": str(path), "extra": {"read_only": True}}),
    )
    spec = importlib.util.spec_from_file_location(run.DAG_ID, run.ROOT / "example_dags" / f"{run.DAG_ID}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "journal")}))
    # A busy machine may take longer than a minute for so large a batch, and then what became of it would be unknown.
    patient = {**json.loads(sandbox.connection_json), "extra": {"timeout": 600}}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(patient))
    dag = module.survey_from_warehouse()
    for task in dag.tasks:
        task.retries = 0  # what fails says so at once, not after the DAG's five minutes
    march = datetime(2026, 3, 1, tzinfo=UTC)
    finished = run_dag(dag, logical_date=march, conf={"within_days": 100_000})
    assert set(finished.task_states.values()) == {"success"}, finished.log[-4000:]
    result = finished.xcoms[run.SURVEY_TASK_ID]["return_value"]
    outcome = check(result, sandbox.stats(), warehouse)
    assert outcome == Outcome(rows=4_000, accepted=3_760, rejected=40, invalid=120, duplicate=80)


def test_the_lines_of_our_own_are_found_among_airflow_s() -> None:
    log = [
        "2026-11-24T02:10:44Z [info     ] [DAG TEST] starting task_id=send_surveys map_index=-1 [airflow] loc=d.py:1",
        "2026-11-24T02:10:45Z [warning  ] Using `httpx` is deprecated [py.warnings] category=Deprecation lineno=1",
        "2026-11-24T02:10:56Z [info     ] Opening DuckDB database [airflow.task.hooks.duckdb] loc=d.py:2",
        "2026-11-24T02:10:57Z [info     ] Batch 1: 4 accepted [airflow_provider_8x8.surveys.sending.sender] loc=s.py:6",
        "2026-11-24T02:10:58Z [info     ] 25 rows [airflow.task.operators.airflow_provider_8x8.operators.S] loc=s.py:6",
        "2026-11-24T02:11:00Z [warning  ] 9 rows, such as: [1] [unusual_prefix_9c_survey_from_warehouse] loc=s.py:66",
        "2026-11-24T02:11:00Z [info     ] Done. Returned value was: {} [airflow.task.operators.python] loc=p.py:233",
    ]
    found = [match["message"] for line in log if (match := run._OUR_LINE.match(line))]
    assert found == ["Batch 1: 4 accepted", "25 rows", "9 rows, such as: [1]"]
    begun = [match["task_id"] for line in log if (match := run._TASK_BEGINS.search(line))]
    assert begun == ["send_surveys"]
