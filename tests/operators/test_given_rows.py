"""Rows of upstream tasks and of the DAG file, whatever gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.operators.test_survey_batch import BODY, START, person, result_of, survey_dag


def upstream_dag(outputs: list[Any], **arguments: Any) -> Any:
    """
    A DAG whose tasks give outputs to the operator.

    :param arguments: the operator's; ``rows`` is called with the outputs
    """
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    is_native = arguments.pop("is_native", False)
    to_rows = arguments.pop("rows")
    with DAG("survey", schedule=None, start_date=START, catchup=False, render_template_as_native_obj=is_native) as dag:

        @task
        def give(output: Any) -> Any:
            return output

        given = [give.override(task_id=f"give_{number}")(output) for number, output in enumerate(outputs)]
        send = EightByEightSurveyBatchOperator(
            task_id="send",
            survey_id="orders",
            template_body=BODY,
            rows=to_rows(given),
            retries=0,
            reconcile_timeout=timedelta(),
            **arguments,
        )
        given >> send
    return dag


def pulled(*task_ids: str) -> Any:
    wanted = f"'{task_ids[0]}'" if len(task_ids) == 1 else repr(list(task_ids))
    return lambda given: f"{{{{ ti.xcom_pull(task_ids={wanted}) }}}}"


# an upstream that gives nothing


@pytest.mark.parametrize("on_empty", ["skip", "fail", "succeed"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": lambda given: given[0]},
        {"rows": pulled("give_0"), "is_native": True},
        {"rows": lambda given: given[0], "max_messages": 5},
    ],
)
def test_an_upstream_that_returns_none_has_no_rows(
    run_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any], on_empty: str
) -> None:
    run = run_dag(upstream_dag([None], on_empty=on_empty, **arguments))
    states = {"skip": "skipped", "fail": "failed", "succeed": "success"}
    assert run.task_states["send"] == states[on_empty], run.log[-3000:]
    assert result_of(run)["rows_read"] == 0
    assert ("There are no rows" in run.log) == (on_empty != "succeed")


@pytest.mark.parametrize("rows", [lambda given: given, pulled("give_0", "give_1", "give_2")])
def test_one_upstream_of_several_may_return_none(run_dag: Any, sandbox: Any, connection: str, rows: Any) -> None:
    outputs = [[person(1)], None, [person(2), person(3)]]
    run = run_dag(upstream_dag(outputs, rows=rows, is_native=True))
    assert run.task_states["send"] == "success", run.log[-3000:]
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"]) == (3, 3)


def test_several_upstreams_that_all_return_none_have_no_rows(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(upstream_dag([None, None], rows=lambda given: given))
    assert run.task_states["send"] == "skipped", run.log[-3000:]


def test_a_row_that_is_none_is_invalid(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(upstream_dag([[person(1), None, person(2)]], rows=lambda given: given[0]))
    result = result_of(run)
    assert (result["accepted_count"], result["invalid_count"]) == (2, 1)


class OwnRows:
    """Rows that somebody's own object gives, as often as it is asked."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Any:
        return iter(self._rows)


@pytest.mark.parametrize("function", [False, True])
def test_a_none_among_the_rows_of_somebodys_own_object_is_an_invalid_row(
    run_dag: Any, sandbox: Any, connection: str, function: bool
) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    rows = OwnRows([person(1), None, person(2)])
    if function:
        with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:
            task.survey_batch(survey_id="orders", template_body=BODY, task_id="send")(lambda: rows)()
    else:
        dag = survey_dag(rows=rows)
    result = result_of(run_dag(dag))
    assert (result["rows_read"], result["accepted_count"], result["invalid_count"]) == (3, 2, 1)


def mapped_dag(parts: list[Any], *, by_map: bool) -> Any:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def give(number: int) -> Any:
            return parts[number]

        @task
        def numbers() -> list[int]:
            return list(range(len(parts)))

        rows = numbers().map(lambda number: parts[number]) if by_map else give.expand(number=list(range(len(parts))))
        EightByEightSurveyBatchOperator(
            task_id="send", survey_id="orders", template_body=BODY, rows=rows, retries=0, max_messages=10
        )
    return dag


@pytest.mark.parametrize(
    "parts", [[[person(1)], None, [person(2), person(3)]], [person(1), None, person(2), person(3)]]
)
@pytest.mark.parametrize("by_map", [False, True])
def test_one_output_of_mapped_tasks_may_be_none(
    run_dag: Any, sandbox: Any, connection: str, parts: list[Any], by_map: bool
) -> None:
    run = run_dag(mapped_dag(parts, by_map=by_map))
    assert run.task_states["send"] == "success", run.log[-3000:]
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"]) == (3, 3)


def test_a_mapped_instance_whose_rows_are_none_is_skipped(run_dag: Any, sandbox: Any, connection: str) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task
        def give() -> list[Any]:
            return [[person(1)], None, [person(2)]]

        EightByEightSurveyBatchOperator.partial(
            task_id="send", survey_id="orders", template_body=BODY, retries=0
        ).expand(rows=give())
    run = run_dag(dag)
    states = {name: state for name, state in run.task_states.items() if name.startswith("send")}
    assert states == {"send[0]": "success", "send[1]": "skipped", "send[2]": "success"}, run.log[-3000:]


# an iterator


@pytest.mark.parametrize("arguments", [{}, {"max_messages": 25}, {"on_invalid": "fail"}])
def test_rows_of_an_iterator_are_sent_once_each(
    run_dag: Any, sandbox: Any, connection: str, arguments: dict[str, Any]
) -> None:
    dag = survey_dag(rows=(person(number) for number in range(25)), batch_size=10, **arguments)
    run = run_dag(dag)
    assert run.task_states == {"send": "success"}, run.log[-3000:]
    result = result_of(run)
    assert (result["rows_read"], result["accepted_count"], len(result["batch_ids"])) == (25, 25, 3)
    assert sandbox.stats()["max_per_key"] == 1
    assert run.rendered["send"]["rows"] == "<rows of an iterator>"


def test_an_iterator_of_lists_gives_their_rows(run_dag: Any, sandbox: Any, connection: str) -> None:
    parts = iter([[person(1)], None, [person(2), person(3)]])
    assert result_of(run_dag(survey_dag(rows=parts)))["accepted_count"] == 3


def test_another_pass_has_the_rows_of_an_iterator_too(run_dag: Any, sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "close_before_accept", "times": 1}])
    rows = (person(number) for number in range(15))
    dag = survey_dag(
        rows=rows, batch_size=5, retries=1, retry_delay=timedelta(), log_settle_time=timedelta(), on_unknown="resend"
    )
    run = run_dag(dag)
    assert result_of(run)["accepted_count"] == 15
    assert sandbox.stats()["max_per_key"] == 1


def test_more_than_max_messages_of_an_iterator_send_nothing(run_dag: Any, sandbox: Any, connection: str) -> None:
    run = run_dag(survey_dag(rows=(person(number) for number in range(11)), batch_size=5, max_messages=10))
    assert run.task_states == {"send": "failed"}
    assert sandbox.stats()["requests"] == 0


def test_an_iterator_without_end_is_refused(
    run_dag: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_8x8.rows._MAX_KEPT_ROWS", 50)
    run = run_dag(survey_dag(rows=(person(number % 100) for number in iter(int, 1)), batch_size=5))
    assert run.task_states == {"send": "failed"}
    assert "rows is an iterator of more than 50 rows" in run.log
    assert sandbox.stats()["requests"] == 0


def test_an_iterator_that_fails_does_so_in_every_pass() -> None:
    from airflow_provider_8x8.rows import GivenRows

    def failing() -> Iterator[dict[str, Any]]:
        yield person(1)
        raise ArithmeticError("no more")

    rows = GivenRows(failing())
    for _ in range(2):
        with pytest.raises(ArithmeticError, match="no more"):
            list(rows)


def test_an_iterator_is_left_alone_when_the_dag_is_parsed() -> None:
    rows: Iterator[Any] = map(pytest.fail, ["the rows were asked for"])
    assert repr(survey_dag(rows=rows).get_task("send").rows) == "<rows of an iterator>"


# rows that Airflow fetches one after the other


def test_rows_of_mapped_tasks_are_not_fetched_all_at_once() -> None:
    from collections.abc import Sequence

    from airflow_provider_8x8.rows import GivenRows

    class Fetched(Sequence[Any]):
        asked: list[int] = []

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: Any) -> Any:
            if index >= 3:
                raise IndexError
            self.asked.append(index)
            return [person(index)]

    fetched = Fetched()
    rows = GivenRows(fetched)
    first = iter(rows)
    next(first)
    assert fetched.asked == [0]
    assert len(list(rows)) == len(list(rows)) == 3


# what may hold many rows, and is no list


class Frame:
    """As a DataFrame: iterated over, it gives its columns' names."""

    columns = ("destination", "firstName", "order_nr")

    def __init__(self, protocol: str) -> None:
        setattr(self, protocol, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


FRAMES = [Frame("__dataframe__"), Frame("__arrow_c_stream__"), Frame("__arrow_c_array__")]
MAPPINGS = "df.to_dict('records') in pandas, df.to_dicts() in polars"


@pytest.mark.parametrize("frame", FRAMES)
def test_a_dataframe_is_no_rows_but_says_how_to_make_them(frame: Frame) -> None:
    from airflow_provider_8x8.rows import FunctionRows, GivenRows
    from airflow_provider_8x8.surveys.messages.builder import SourceError

    with pytest.raises(TypeError, match="rows is of type Frame; expected a list of mappings") as given:
        GivenRows(frame)
    with pytest.raises(SourceError, match=r"send\(\) has returned a value of type Frame; expected") as returned:
        list(FunctionRows(lambda: frame, "send"))
    with pytest.raises(SourceError, match="among the rows is a value of type Frame, which may hold many") as yielded:
        list(FunctionRows(lambda: iter([frame]), "send"))
    assert all(MAPPINGS in str(caught.value) for caught in (given, returned, yielded))


@pytest.mark.parametrize(
    "among",
    [
        FRAMES[0],
        (person(number) for number in range(3)),
        {1: person(1)}.values(),
        deque([person(1)]),
        [person(1), "something else"],
        [[person(1)], FRAMES[0]],
        (0, deque(["+12025550101"])),
    ],
)
def test_what_may_hold_many_rows_does_not_count_as_one(among: Any) -> None:
    from airflow_provider_8x8.rows import FunctionRows, GivenRows
    from airflow_provider_8x8.surveys.messages.builder import SourceError

    for make in (
        lambda: GivenRows([person(1), among]),
        lambda: list(GivenRows(iter([person(1), among]))),
        lambda: list(FunctionRows(lambda: [person(1), among], "send")),
        lambda: list(FunctionRows(lambda: iter([person(1), among]), "send")),
    ):
        with pytest.raises(SourceError, match=r"among the rows is a value of type \w+, which may hold many"):
            make()


@pytest.mark.parametrize("row", [5, "+12025550101", b"x", ("+12025550101", "Zoë"), ["a", ["b"]], object()])
def test_what_holds_no_rows_is_one_invalid_row(row: Any) -> None:
    from airflow_provider_8x8.rows import GivenRows

    rows = GivenRows([person(1), row])
    assert (repr(rows), list(rows)) == ("<2 rows>", [person(1), row])


def test_a_function_that_yields_a_dataframe_among_rows_leaves_nobody_out_unsaid(
    run_dag: Any, sandbox: Any, connection: str
) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    with DAG("survey", schedule=None, start_date=START, catchup=False) as dag:

        @task.survey_batch(survey_id="orders", template_body=BODY, retries=1, task_id="send")
        def send() -> Iterator[Any]:
            yield [person(1), person(2)]
            yield FRAMES[0]

        send()
    run = run_dag(dag)
    assert (run.task_states, run.try_numbers) == ({"send": "failed"}, {"send": 1})
    assert MAPPINGS in run.log
    assert sandbox.stats()["accepted"] == result_of(run)["accepted_count"] == 0
