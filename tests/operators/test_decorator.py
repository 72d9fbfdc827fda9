"""``@task.survey_batch``: rows of a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, START, person, result_of, with_state_store
from tests.support.dag_runs import go_on

NUMBER = "+12025550123"


def decorated(**arguments: Any) -> Any:
    """The decorator, as a DAG file has it."""
    from airflow.providers.common.compat.sdk import task

    return task.survey_batch(
        **{
            "task_id": "send",
            "survey_id": "orders",
            "template_body": BODY,
            "retries": 0,
            "reconcile_timeout": timedelta(),
            **arguments,
        }
    )


def dag_of(function: Callable[..., Any], *args: Any, native: bool = False, **arguments: Any) -> Any:
    """
    A DAG of one decorated task.

    :param args: the function's
    :param arguments: the decorator's; ``call`` is the function's keyword arguments, or what calls the decorated one
    """
    from airflow.providers.common.compat.sdk import DAG

    call = arguments.pop("call", {})
    with DAG("survey", schedule=None, start_date=START, catchup=False, render_template_as_native_obj=native) as dag:
        send = decorated(**arguments)(function)
        _ = call(send) if callable(call) else send(*args, **call)
    return dag


def people(count: int) -> list[dict[str, Any]]:
    return [person(number) for number in range(count)]


class Passes:
    """A function that knows how often it was called, and how far it was read."""

    def __init__(self, *passes: int) -> None:
        self.of_pass = list(passes)
        self.calls = 0
        self.given = 0

    def function(self) -> Callable[[], Iterator[Any]]:
        def send() -> Iterator[Any]:
            count = self.of_pass[min(self.calls, len(self.of_pass) - 1)]
            self.calls += 1
            for number in range(count):
                self.given += 1
                yield person(number)

        return send


# what it gives


def as_a_list() -> Any:
    return people(25)


def as_a_generator() -> Any:
    yield from people(25)


def as_pages() -> Any:
    yield people(25)[:20]
    yield ()
    yield people(25)[20:]


async def never() -> list[Any]:
    return []


async def yields() -> Any:
    yield {}


def as_a_map() -> Any:
    return map(person, range(25))


@pytest.mark.parametrize("function", [as_a_list, as_a_generator, as_pages, as_a_map])
def test_rows_of_a_function_are_sent_once_each(run_dag: Any, sandbox: Any, connection: str, function: Any) -> None:
    run = run_dag(dag_of(function, batch_size=10, max_messages=25, on_invalid="fail"))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], len(result["batch_ids"])) == (25, 25, 3)
    assert sandbox.stats()["max_per_key"] == 1
    assert run.rendered["send"]["rows"] == f"<rows of {function.__name__}()>"


def test_the_task_is_named_after_the_function_and_called_by_its_decorator() -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("survey", schedule=None, start_date=START) as dag:

        @task.survey_batch(survey_id="orders", template_body=BODY, retries=0)
        def ask_visitors() -> list[Any]:
            """Whom we ask."""
            return []

        ask_visitors()
    made = dag.get_task("ask_visitors")
    assert made.operator_name == "@task.survey_batch"
    assert made.doc_md == "Whom we ask."


@pytest.mark.parametrize(
    ("rows", "on_empty", "state"), [(None, "skip", "skipped"), ([], "fail", "failed"), (iter(()), "skip", "skipped")]
)
def test_a_function_may_have_no_rows(
    run_dag: Any, sandbox: Any, connection: str, rows: Any, on_empty: str, state: str
) -> None:
    run = run_dag(dag_of(lambda: rows, on_empty=on_empty))
    assert run.task_states == {"send": state}, run.log[-3000:]
    assert result_of(run)["rows_read"] == 0


def test_a_generator_is_read_as_a_stream_and_closed_at_the_end(run_dag: Any, sandbox: Any, connection: str) -> None:
    seen = []

    def send() -> Iterator[Any]:
        try:
            for number in range(5_000):
                if number == 4_999:
                    seen.append(sandbox.stats()["accepted"])
                yield {"destination": f"+1202{5_550_000 + number}"}
        finally:
            seen.append("closed")

    run = run_dag(dag_of(send, template_body="Hi {{url}}", batch_size=500))
    assert result_of(run)["accepted_count"] == 5_000
    assert seen[0] > 0
    assert seen[1:] == ["closed"]


def test_more_rows_than_max_messages_send_nothing_and_are_not_read_to_their_end(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    passes = Passes(100_000)
    run = run_dag(dag_of(passes.function(), max_messages=10))
    assert run.task_states == {"send": "failed"}
    assert "more than max_messages=10 rows to send; no batch was begun" in run.log
    assert passes.given < 10_000
    assert sandbox.stats()["requests"] == 0


def test_a_none_that_a_generator_yields_is_an_invalid_row(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(dag_of(lambda: iter([person(1), None, person(2), "text"])))
    result = result_of(run)
    assert (result["accepted_count"], result["invalid_count"]) == (2, 2)


@pytest.mark.parametrize("given", [b"rows", person(1), 5, object()])
def test_what_are_no_rows_is_an_error(given: Any) -> None:
    from airflow_provider_8x8.rows import FunctionRows
    from airflow_provider_8x8.surveys.messages.builder import SourceError

    with pytest.raises(SourceError, match=r"send\(\) has returned a value of type .*; expected a list of mappings"):
        list(FunctionRows(lambda: given, "send"))


@pytest.mark.parametrize("given", [NUMBER, yields])
def test_what_are_no_rows_is_an_error_that_names_the_function(
    run_dag: Any, sandbox: Any, connection: str, given: Any
) -> None:
    def send() -> Any:
        return given if isinstance(given, str) else given()

    run = run_dag(dag_of(send))
    assert run.task_states == {"send": "failed"}
    kind = "str" if isinstance(given, str) else "async_generator"
    assert f"send() has returned a value of type {kind}; expected a list of mappings" in run.log
    assert run.xcoms["send"]["return_value"]["rows_read"] == 0
    assert NUMBER not in run.log


# how often it is called


@pytest.mark.parametrize(("arguments", "calls"), [({}, 1), ({"on_invalid": "fail", "max_messages": 10}, 2)])
def test_it_is_called_once_for_each_pass(
    run_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any], calls: int
) -> None:
    passes = Passes(10)
    assert result_of(run_dag(dag_of(passes.function(), **arguments)))["accepted_count"] == 10
    assert passes.calls == calls


@pytest.mark.parametrize(("second", "accepted", "state"), [(8, 8, "success"), (12, 0, "failed")])
def test_another_number_of_rows_the_second_time_is_dealt_with(
    run_dag: Any, sandbox: Any, connection: str, second: int, accepted: int, state: str
) -> None:
    run = run_dag(dag_of(Passes(10, second).function(), max_messages=10))
    assert run.task_states == {"send": state}
    assert result_of(run)["accepted_count"] == accepted


def test_an_iterator_that_is_returned_twice_is_an_error(run_dag: Any, sandbox: Any, connection: str) -> None:
    rows = iter(people(10))
    run = run_dag(dag_of(lambda: rows, max_messages=10))
    assert run.task_states == {"send": "failed"}
    assert "has returned the same iterator twice" in run.log
    assert sandbox.stats()["accepted"] == 0


@with_state_store
def test_another_try_calls_it_again_and_sends_what_is_missing(run_dag: Any, sandbox: Any, connection: str) -> None:
    calls: list[int] = []

    def send() -> Iterator[Any]:
        calls.append(len(calls))
        yield from people(15)
        if len(calls) == 1:
            raise ConnectionError(f"lost at {NUMBER}")
        yield from people(25)[15:]

    run = run_dag(dag_of(send, batch_size=5, retries=1, retry_delay=timedelta()))
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert run.try_numbers == {"send": 2}
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], len(calls)) == (25, 25, 2)
    assert sandbox.stats()["max_per_key"] == 1


# how it fails


def test_a_generator_that_raises_midway_ends_in_a_result_that_tells_what_was_sent(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    def send() -> Iterator[Any]:
        yield from people(12)
        raise ArithmeticError(f"no person {NUMBER}")

    run = run_dag(dag_of(send, batch_size=5))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], result["not_sent_count"]) == (12, 10, 2)
    assert "the source failed after 12 rows and was not read to its end: ArithmeticError: no person +12" in run.log
    assert "<rows of send()>: ArithmeticError at:" in run.log
    assert "in send\n" in run.log
    assert NUMBER.lstrip("+") not in run.log + json.dumps(run.xcoms)


class Panicked(BaseException):  # as those of extensions that are written in Rust
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("ending", [SystemExit(), SystemExit(0), SystemExit(f"no {NUMBER!r}"), Panicked(NUMBER)])
def test_what_would_end_the_process_ends_the_source_only(
    run_dag: Any, sandbox: Any, connection: str, ending: BaseException
) -> None:
    def send() -> Iterator[Any]:
        yield from people(12)
        raise ending

    run = run_dag(dag_of(send, batch_size=5))
    assert run.task_states == {"send": "failed"}
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], result["not_sent_count"]) == (12, 10, 2)
    assert f"was not read to its end: RuntimeError: {type(ending).__name__}: " in run.log
    assert NUMBER.lstrip("+") not in run.log + json.dumps(run.xcoms)


@with_state_store
@pytest.mark.parametrize(("kind", "is_final"), [("AirflowFailException", True), ("AirflowException", False)])
def test_a_function_says_whether_another_try_may_do_better(
    run_dag: Any, sandbox: Any, connection: str, kind: str, is_final: bool
) -> None:
    from airflow.providers.common.compat import sdk

    def send() -> Any:
        raise getattr(sdk, kind)("the shop is closed")

    run = run_dag(dag_of(send, retries=1, retry_delay=timedelta()))
    assert run.task_states == {"send": "failed"}
    assert run.try_numbers == {"send": 1 if is_final else 2}
    assert "the shop is closed" in run.log


@pytest.mark.parametrize(("before", "state"), [(0, "skipped"), (3, "failed")])
def test_a_function_may_skip_the_task_before_its_first_row(
    run_dag: Any, sandbox: Any, connection: str, before: int, state: str
) -> None:
    from airflow.providers.common.compat.sdk import AirflowSkipException

    def send() -> Iterator[Any]:
        yield from people(before)
        raise AirflowSkipException("a holiday")

    run = run_dag(dag_of(send))
    assert run.task_states == {"send": state}
    assert "a holiday" in run.log
    assert result_of(run)["not_sent_count"] == before


# its arguments


def test_it_gets_arguments_outputs_of_tasks_and_the_context(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    got: dict[str, Any] = {}
    with DAG("survey", schedule=None, start_date=START, catchup=False, params={"shop": "Harbour Street"}) as dag:

        @task
        def found() -> list[dict[str, Any]]:
            return people(3)

        @decorated(max_messages=3)  # type: ignore[untyped-decorator, unused-ignore]
        def send(rows: Any, shop: str, path: str = "", ds: Any = None, **context: Any) -> Any:
            got.update(shop=shop, path=path, ds=ds, task_id=context["ti"].task_id)
            assert "rows" not in context
            return rows

        send(found(), "{{ params.shop }}", path="orders.sql")
    run = run_dag(dag)
    assert run.task_states == {"found": "success", "send": "success"}, run.log[-3000:]
    assert result_of(run)["accepted_count"] == 3
    assert got == {"shop": "Harbour Street", "path": "orders.sql", "ds": got["ds"], "task_id": "send"}
    assert len(got["ds"]) == len("2026-01-31")
    shown = run.rendered["send"]
    for name, expected in {
        "op_args": ["<list of 3>", "Harbour Street"],
        "op_kwargs": {"path": "orders.sql"},
    }.items():
        assert (shown[name] if isinstance(shown[name], list | dict) else json.loads(shown[name])) == expected


@pytest.mark.parametrize("trigger_fails", [False, True])
def test_it_gets_them_again_after_a_wait_without_a_worker(
    run_due: Any,
    sandbox: Any,
    connection: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trigger_fails: bool,
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    monkeypatch.setenv("AIRFLOW_CONN_JOURNAL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "j.sqlite")}))
    got: list[Any] = []
    with DAG(f"survey_waits_{trigger_fails}", schedule=None, start_date=START, catchup=False) as dag:
        waits = {"deferrable": True, "reconcile_timeout": timedelta(minutes=2), "journal_conn_id": "journal"}

        @decorated(batch_size=1, **waits)  # type: ignore[untyped-decorator, unused-ignore]
        def send(shop: str = "every shop", run_id: Any = None) -> Any:
            got.append((shop, run_id))
            return people(3) if shop == "Harbour Street" else people(9)

        send("Harbour Street")
    shown_late = {"on": "log_export", "kind": "log_lag_seconds", "seconds": 1_000_000, "times": 1}
    sandbox.faults([{"on": "survey_batch", "kind": "close_after_accept"}, shown_late])
    before = run_due(dag, "manual", START)
    assert before.task_states == {"send": "deferred"}, before.log[-3000:]
    run = go_on(dag, before.run_id, trigger_fails=trigger_fails)
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    assert set(got) == {("Harbour Street", run.run_id)}
    assert len(got) == 2
    assert result_of(run)["accepted_count"] == 3
    assert sandbox.stats()["accepted"] == 3


def test_rendered_arguments_show_no_number_and_no_row(run_dag: Any, sandbox: Any, connection: str) -> None:
    def send(rows: Any, *, row: Any, number: Any, day: str, limit: int, password: str) -> Any:
        assert number == NUMBER
        return [*rows, row]

    call = {"row": person(2), "number": NUMBER, "day": "2026-01-31", "limit": 7, "password": "s3cr3t"}
    run = run_dag(dag_of(send, people(2), call=call))
    assert result_of(run)["accepted_count"] == 3
    rendered = json.dumps(run.rendered["send"])
    for secret in ("2025550123", "5550102", "5550101", "Person", "s3cr3t"):
        assert secret not in rendered
        assert secret not in run.log
    for shown in ("<list of 2>", "<dict of 3>", "+12*******23", "2026-01-31"):
        assert shown in rendered


@pytest.mark.parametrize("native", [True, False])
def test_templates_are_rendered_as_those_of_other_tasks_are(
    run_dag: Any, sandbox: Any, connection: str, native: bool
) -> None:
    got = []

    def send(numbers: Any) -> Any:
        got.append(numbers)
        return people(1)

    run = run_dag(dag_of(send, "{{ [1, 2] }}", native=native))
    assert run.task_states == {"send": "success"}
    assert got == [[1, 2] if native else "[1, 2]"]


def test_an_argument_that_cannot_be_rendered_fails_with_a_result(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(dag_of(lambda number: people(1), "{{ nobody.knows.it }}"))
    assert run.task_states == {"send": "failed"}
    assert "op_args could not be rendered: UndefinedError" in run.log
    assert result_of(run)["rows_read"] == 0


def test_it_is_mapped_over_its_arguments(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def shops() -> list[int]:
            return [0, 1]

        @decorated()  # type: ignore[untyped-decorator, unused-ignore]
        def send(shop: int, count: int) -> Any:
            return [person(10 * shop + number) for number in range(count)]

        send.override(max_messages=3).partial(count=3).expand(shop=shops())
    run = run_dag(dag)
    assert run.task_states == {"shops": "success", "send[0]": "success", "send[1]": "success"}, run.log[-3000:]
    assert [run.xcoms[f"send[{shop}]"]["accepted_count"] for shop in (0, 1)] == [3, 3]


# what shows when the DAG is parsed


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"rows": []}, "rows"),
        ({"rows": None}, "rows"),
        ({"sql": "SELECT 1"}, "sql"),
        ({"rows": [], "sql": "SELECT 1"}, "rows and sql"),
    ],
)
def test_another_source_is_refused(arguments: dict[str, Any], found: str) -> None:
    calls: list[Any] = [{}, lambda send: send.expand(number=[1])]
    for call in calls:
        with pytest.raises(ValueError, match=f"Task 'send': @task.survey_batch has {found}; expected neither"):
            dag_of(lambda number=1: [], call=call, **arguments)
    with pytest.raises(ValueError, match=f"@task.survey_batch has {found}; expected neither"):
        dag_of(lambda number=1: [], call=lambda send: send.override(**arguments)())


class Asynchronous:
    __name__ = "asynchronous"
    __annotations__: dict[str, Any] = {}

    async def __call__(self) -> list[Any]:
        return []


@pytest.mark.parametrize("function", [never, yields, Asynchronous()])
def test_an_async_function_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match=r"Task 'send': .*\(\) is an async function; expected one that returns rows"):
        dag_of(function)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"survey_id": ""}, "Task 'send': survey_id is empty"),
        ({"batch_size": 0}, "Task 'send': batch_size is 0"),
        ({"sql_conn_ids": "x"}, "sql_conn_ids"),
    ],
)
def test_wrong_arguments_show_as_the_operators(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(Exception, match=error):
        dag_of(list, **arguments)


def test_a_survey_is_needed() -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("survey", schedule=None, start_date=START), pytest.raises(Exception, match="survey_id"):
        task.survey_batch(people)(5)


def test_it_is_importable_for_type_checkers() -> None:
    from airflow_provider_8x8.decorators.survey_batch import survey_batch_task

    made = survey_batch_task(survey_id="orders", task_id="send", retries=0)(people)
    assert made.function is people
