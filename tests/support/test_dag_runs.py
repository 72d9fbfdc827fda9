"""The tests' own way to run a DAG, tried with plain operators."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.dag_runs import DagRunResult

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_states_xcoms_and_rendered_fields_are_found(run_dag: Callable[..., DagRunResult]) -> None:
    from airflow.providers.common.compat.sdk import DAG, BaseOperator

    class Greet(BaseOperator):
        template_fields = ("greeting",)

        def __init__(self, *, greeting: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.greeting = greeting

        def execute(self, context: Any) -> dict[str, Any]:
            context["ti"].xcom_push(key="length", value=len(self.greeting))
            return {"greeting": self.greeting, "numbers": [1, 2]}

    with DAG("greetings", schedule=None, start_date=START, catchup=False) as dag:
        Greet(task_id="one", greeting="Hi {{ dag.dag_id }}")
        Greet.partial(task_id="many").expand(greeting=["a", "bc"])
    run = run_dag(dag)
    assert run.state == "success"
    assert run.task_states == {"one": "success", "many[0]": "success", "many[1]": "success"}
    assert run.xcoms["one"] == {"return_value": {"greeting": "Hi greetings", "numbers": [1, 2]}, "length": 12}
    assert run.xcoms["many[1]"] == {"return_value": {"greeting": "bc", "numbers": [1, 2]}, "length": 2}
    assert run.rendered["one"] == {"greeting": "Hi greetings"}
    assert run.rendered["many[0]"] == {"greeting": "a"}


def test_all_that_a_task_logs_is_found_once_with_its_task(run_dag: Callable[..., DagRunResult]) -> None:
    from airflow.providers.common.compat.sdk import DAG, BaseOperator

    class Speak(BaseOperator):
        def execute(self, context: Any) -> None:
            self.log.debug("operator of %s at debug", self.task_id)
            self.log.info("operator of %s at info", self.task_id)
            logging.getLogger("airflow_provider_8x8.somewhere").debug("module of %s at debug", self.task_id)
            print(f"printed by {self.task_id}")  # noqa: T201  # what a user's task may do

    with DAG("speakers", schedule=None, start_date=START, catchup=False) as dag:
        Speak(task_id="first") >> Speak(task_id="second")
    for _ in range(2):
        run = run_dag(dag)
        assert set(run.task_logs) == {"first", "second"}
        for task, other in (("first", "second"), ("second", "first")):
            for line in (f"operator of {task} at debug", f"operator of {task} at info"):
                assert run.task_logs[task].count(line) == 1
            for line in (f"module of {task} at debug", f"printed by {task}"):
                assert run.task_logs[task].count(line) == 1
            assert f"printed by {other}" not in run.task_logs[task]
            assert run.task_logs[task] in run.log


def test_a_failed_task_is_tried_again_and_shows_why(run_dag: Callable[..., DagRunResult]) -> None:
    from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException, BaseOperator

    class Stumble(BaseOperator):
        def execute(self, context: Any) -> str:
            if context["ti"].try_number == 1:
                raise AirflowException("stumbled once")
            return "up again"

    class Refuse(BaseOperator):
        def execute(self, context: Any) -> None:
            raise AirflowFailException("never again")

    retried: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(0)}
    with DAG("stumbling", schedule=None, start_date=START, catchup=False) as dag:
        Stumble(task_id="retried", **retried) >> Refuse(task_id="refused", **retried) >> Stumble(task_id="waiting")
    run = run_dag(dag)
    assert run.state == "failed"
    assert run.task_states == {"retried": "success", "refused": "failed", "waiting": "upstream_failed"}
    assert run.try_numbers["retried"] == 2
    assert run.try_numbers["refused"] == 1
    assert run.xcoms["retried"] == {"return_value": "up again"}
    assert run.task_logs["retried"].count("stumbled once") >= 1
    assert "never again" in run.task_logs["refused"]


def test_a_skipped_task_is_skipped(run_dag: Callable[..., DagRunResult]) -> None:
    from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, task

    with DAG("skipping", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def skip() -> None:
            raise AirflowSkipException("nothing to do")

        skip()
    assert run_dag(dag).task_states == {"skip": "skipped"}


def test_a_run_has_its_configuration_and_logical_date(run_dag: Callable[..., DagRunResult]) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("configured", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def show(ds: Any = None, dag_run: Any = None) -> list[Any]:
            return [ds, dag_run.conf]

        show()
    run = run_dag(dag, logical_date=datetime(2026, 2, 3, tzinfo=UTC), conf={"a": 1})
    assert run.xcoms["show"]["return_value"] == ["2026-02-03", {"a": 1}]


def test_a_cleared_task_is_run_again_as_the_dag_now_has_it(
    run_dag: Callable[..., DagRunResult], clear_and_run: Callable[..., DagRunResult]
) -> None:
    from airflow.providers.common.compat.sdk import DAG, AirflowException, BaseOperator

    class Count(BaseOperator):
        def __init__(self, *, fails_at: int = 0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.fails_at = fails_at

        def execute(self, context: Any) -> list[Any]:
            if context["ti"].try_number == self.fails_at:
                raise AirflowException("stumbled")
            return [context["ti"].try_number, self.fails_at]

    def counting(fails_at: int) -> Any:
        with DAG("counting", schedule=None, start_date=START, catchup=False) as dag:
            Count(task_id="before") >> Count(task_id="count", fails_at=fails_at, retries=1, retry_delay=timedelta(0))
        return dag

    first = run_dag(counting(0))
    second = clear_and_run(counting(2), first.run_id, "count")
    assert (first.run_id, second.state) == (second.run_id, "success")
    assert second.try_numbers == {"before": 1, "count": 3}
    assert second.xcoms["count"]["return_value"] == [3, 2]
    assert set(second.task_logs) == {"count"}
    assert "stumbled" in second.task_logs["count"]
    assert clear_and_run(counting(4), first.run_id).try_numbers == {"before": 2, "count": 5}
