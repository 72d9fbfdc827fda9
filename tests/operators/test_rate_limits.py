"""8x8 asks to wait, in whatever way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operators.test_survey_batch import person, result_of, survey_dag


@pytest.mark.parametrize(
    "retry_after",
    [86_400, "9" * 20, "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"],
    ids=["a day", "digits", "a year"],
)
def test_a_wait_that_is_too_long_for_the_try_is_not_begun(
    run_dag: Any, sandbox: Any, connection: str, retry_after: int | str
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "retry_after": retry_after}])
    run = run_dag(survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "failed"}
    assert "it asks to wait" in run.log
    assert " UTC" in run.log
    assert result_of(run)["not_sent_count"] == 1
    assert sandbox.stats() | {"requests": 1, "accepted": 0} == sandbox.stats()


@pytest.mark.parametrize("retry_after", ["-1", "nan", "soon", "0, 0"])
def test_a_wait_that_is_none_is_as_if_8x8_had_not_said_any(
    run_dag: Any, sandbox: Any, connection: str, retry_after: str
) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "retry_after": retry_after}])
    run = run_dag(survey_dag(rows=[person(1)]))
    assert run.task_states == {"send": "success"}
    assert sandbox.stats() | {"requests": 2, "accepted": 1} == sandbox.stats()
