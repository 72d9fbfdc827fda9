"""A task whose journal, arguments and connections change between its tries."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import COUNTS, person, result_of, survey_dag, with_state_store
from tests.support.dag_runs import DagRunResult

PEOPLE = [person(number) for number in range(20)]

STORE: dict[str, Any] = {"journal_conn_id": None}
A: dict[str, Any] = {"journal_conn_id": "journal_a"}
B: dict[str, Any] = {"journal_conn_id": "journal_b"}

every_change = pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(STORE, A, marks=with_state_store, id="added"),
        pytest.param(A, STORE, marks=with_state_store, id="removed"),
        pytest.param(A, B, marks=with_state_store, id="another one"),
        pytest.param(A, A, id="none"),
    ],
)

any_journal = pytest.mark.parametrize(
    "journal", [pytest.param(STORE, marks=with_state_store, id="store"), pytest.param(A, id="sql")]
)

Run = Callable[..., DagRunResult]


def lead(monkeypatch: pytest.MonkeyPatch, conn_id: str, file: Path) -> None:
    """Have a connection lead to a SQLite file."""
    fields = json.dumps({"conn_type": "sqlite", "host": str(file)})
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", fields)


def dag_of(**arguments: Any) -> Any:
    return survey_dag(**{"rows": PEOPLE, "batch_size": 5, "retry_delay": timedelta(), **arguments})


def change(dag: Any, **arguments: Any) -> None:
    """Give the task other arguments from its next try on, as an edited DAG file does."""
    for name, value in arguments.items():
        setattr(dag.get_task("send"), name, value)


def assert_sent_once(sandbox: Any, run: DagRunResult, *, people: int = 20) -> None:
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (people, people, 1)
    assert run.task_states == {"send": "success"}
    assert [result_of(run)[name] for name in COUNTS] == [people, 0, 0, 0, 0, 0, 0]


def empty_the_store() -> None:
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(TaskStateStoreModel).delete()
