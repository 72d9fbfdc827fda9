"""What a task tells Airflow's metrics, seen where a StatsD server would get it."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.version import Version

from airflow_provider_8x8.journals.sql import engine_of
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from tests.journals.entries import HEADER, always, entry_of, keys, settled
from tests.operators.changes import lead
from tests.operators.test_survey_batch import person, result_of, survey_dag
from tests.support.airflow_version import AIRFLOW

PREFIX = "airflow.eight_by_eight.survey."
TAGS = ",dag_id=survey,task_id=send"


class StatsdServer:
    """Gets what is sent by UDP."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]

    def received(self) -> list[tuple[str, float, str]]:
        """Return name, value and kind of each metric of ours that has come since."""
        lines = []
        while True:
            try:
                lines.append(self._socket.recv(65_536).decode())
            except BlockingIOError:
                break
        metrics = [line.rpartition(":") for line in lines if line.startswith(PREFIX)]
        return [(name.removeprefix(PREFIX), *of(value)) for name, _, value in metrics]

    def counted(self) -> dict[str, float]:
        """Return what is counted, summed up."""
        sums: Counter[str] = Counter()
        for name, value, kind in self.received():
            if kind == "c":
                assert name.endswith(TAGS)
                sums[name.removesuffix(TAGS)] += int(value)
        return dict(sums)

    def close(self) -> None:
        self._socket.close()


def of(value: str) -> tuple[float, str]:
    number, _, kind = value.partition("|")
    return float(number), kind


def use(monkeypatch: pytest.MonkeyPatch, factory: Callable[..., Any] | None) -> None:
    """Have Airflow make what sends its metrics anew: by its configuration where no factory is given."""
    if Version("3.2") <= AIRFLOW:
        stats = import_module("airflow.sdk._shared.observability.metrics.stats")
        by_configuration = import_module("airflow.sdk.observability.metrics.stats_utils").get_stats_factory
        monkeypatch.setattr(stats, "_factory", factory or by_configuration())
        monkeypatch.setattr(stats, "_backend", None)
        return
    stats = import_module("airflow.stats").Stats
    by_configuration = import_module("airflow.metrics.statsd_logger").get_statsd_logger
    monkeypatch.setattr(type(stats), "factory", factory or by_configuration)
    monkeypatch.setattr(stats, "instance", None)


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdServer]:
    server = StatsdServer()
    for name, value in {
        "ON": "True",
        "HOST": "127.0.0.1",
        "PORT": str(server.port),
        "INFLUXDB_ENABLED": "True",
    }.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
    use(monkeypatch, None)
    yield server
    server.close()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The argument that makes the operator remember on any Airflow."""
    lead(monkeypatch, "journal", tmp_path / "journal.sqlite")
    return {"journal_conn_id": "journal"}


def test_each_message_is_counted_by_its_outcome_and_each_batch_is_timed(
    run_dag: Any, sandbox: Any, connection: str, statsd: StatsdServer
) -> None:
    no_country = person(30, destination="+21055501230")
    rows = [*map(person, range(25)), no_country, person(1), person(31, destination="none"), person(32, order_nr=None)]
    sandbox.faults([{"on": "survey_batch", "kind": "429"}])
    result = result_of(run_dag(survey_dag(rows=rows, batch_size=10)))
    received = statsd.received()
    assert Counter({name: value for name, value, kind in received if kind == "c"}).keys() == {
        f"{name}{TAGS}" for name in ("accepted", "rejected", "invalid")
    }
    sums = {name: sum(each[1] for each in received if each[0] == name + TAGS) for name in ("accepted", "rejected")}
    assert sums == {"accepted": result["accepted_count"], "rejected": result["rejected_count"]}
    assert result["rejected_count"] == 1
    assert [value for name, value, _ in received if name == f"invalid{TAGS}"] == [result["invalid_count"]] == [2]
    timed = [(value, kind) for name, value, kind in received if name == f"batch_duration{TAGS}"]
    assert len(timed) == sandbox.stats()["requests"] == 4
    assert all(kind == "ms" and value > 0 for value, kind in timed)


def test_over_several_tries_nothing_is_counted_twice(
    run_dag: Any, sandbox: Any, connection: str, statsd: StatsdServer, journal: dict[str, Any], at_batch: Any
) -> None:
    rows = [*map(person, range(20)), person(20, destination="none")]
    at_batch(2, lambda: None)
    run = run_dag(survey_dag(rows=rows, batch_size=5, retries=1, retry_delay=timedelta(), **journal))
    assert run.try_numbers == {"send": 2}
    assert result_of(run)["accepted_count"] == 20
    assert statsd.counted() == {"accepted": 20, "unknown": 5, "invalid": 1}


def test_what_8x8s_logs_tell_in_the_same_try_was_never_unknown(
    run_dag: Any, sandbox: Any, connection: str, statsd: StatsdServer
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}])
    run = run_dag(survey_dag(rows=[*map(person, range(4)), person(4, destination="+21055501230")]))
    assert result_of(run)["unknown_count"] == 0
    assert statsd.counted() == {"accepted": 4, "rejected": 1}


def test_a_row_that_8x8_refuses_alone_is_counted_as_rejected(
    run_dag: Any, sandbox: Any, connection: str, statsd: StatsdServer
) -> None:
    run = run_dag(survey_dag(rows=[*map(person, range(4)), person(4, country="ZZ")]))
    assert result_of(run)["rejected_count"] == 1
    assert statsd.counted() == {"accepted": 4, "rejected": 1}


def test_of_two_runs_that_find_out_about_a_batch_one_counts_it(
    sandbox: Any, connection: str, statsd: StatsdServer, journal: dict[str, Any]
) -> None:
    from airflow_provider_8x8.operators.metrics import CountedJournal, Metrics

    # One has it from 8x8's logs while the other, which has sent it, still waits for the answer.
    memories = [task_memory("one"), task_memory("other")]
    metrics = Metrics(SimpleNamespace(dag_id="survey", task_id="send"))
    one, other = (CountedJournal(memory.journal("orders"), metrics) for memory in memories)
    for each in (one, other):
        each.open(HEADER)
    one.begin(always(entry_of("batch-1", keys(1, 2, 3))))
    other.news()
    for each in (other, one):
        each.settle(settled(entry_of("batch-1", keys(1, 2, 3)), rejected_keys=keys(1)))
    for memory in memories:
        memory.close()
    assert statsd.counted() == {"accepted": 2, "rejected": 1}


def task_memory(task_instance: str) -> TaskMemory:
    memory = SqlMemory(JournalDatabase(engine_of("journal"), "journal"), task_instance)
    clock = SystemClock(threading.Event())
    return TaskMemory(task_instance, 1, [memory], connect=lambda name: memory, clock=clock)


def test_a_backend_that_fails_keeps_no_survey_from_being_sent(
    run_dag: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.common.compat.sdk import Stats

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no metrics for +12025550123")

    # Not the factory: Airflow's own metrics would fail their tasks.
    for name in ("incr", "timing"):
        theirs = getattr(Stats, name)
        monkeypatch.setattr(
            Stats,
            name,
            lambda stat, *arguments, _theirs=theirs, **options: (
                fail() if stat.startswith("eight_by_eight") else _theirs(stat, *arguments, **options)
            ),
        )
    rows = [person(number) for number in range(20)] + [person(20, destination="none")]
    run = run_dag(survey_dag(rows=rows, batch_size=5))
    assert result_of(run)["accepted_count"] == 20
    assert run.log.count("Metrics could not be sent") == 1
    assert "+12025550123" not in run.log.partition("Metrics could not be sent")[2]
