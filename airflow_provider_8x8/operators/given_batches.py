"""Batches as an argument of operators that do something about what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from airflow.providers.common.compat.sdk import AirflowException, BaseOperator

from airflow_provider_8x8.operators.arguments import is_to_be_resolved
from airflow_provider_8x8.operators.masked import Masked
from airflow_provider_8x8.operators.results import push_result
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class GivenBatches(Masked):
    """Batches as they were given; Airflow shows their ids."""

    def __init__(self, value: Any) -> None:
        self.problem: str | None = None
        self.batches = SentBatches()
        try:
            self.batches = SentBatches.of(value)
        except ValueError as error:
            self.problem = str(error)
        super().__init__(value, f"<{self.problem}>" if self.problem else list(self.batches.ids))

    @classmethod
    def of(cls, given: Any) -> Any:
        """Return batches once they are known; as they were given, if Airflow is still to fill them in."""
        return given if isinstance(given, cls) or _is_to_be_resolved(given) else cls(given)


class BatchesOperator(BaseOperator):
    """What the operators share that are given batches and report on them. It is none to be used by itself."""

    @property
    def batch_ids(self) -> Any:
        """The batches; once they are known, Airflow shows their ids only."""
        return self._batch_ids

    @batch_ids.setter
    def batch_ids(self, given: Any) -> None:
        self._batch_ids = GivenBatches.of(given)

    def _push(self, context: Context, report: msgspec.Struct) -> dict[str, Any]:
        """
        Push the result, also for a task that then fails.

        :raises AirflowException: XCom does not take it
        """
        result: dict[str, Any] = msgspec.to_builtins(report)
        if self.do_xcom_push:
            problem = push_result(context, {**result, "return_value": result})
            if problem is not None:
                raise AirflowException(f"The result could not be pushed: {problem}")
        return result


def _is_to_be_resolved(given: Any) -> bool:
    """Tell whether Airflow fills in batches before the task runs, or some of a list."""
    if isinstance(given, list | tuple):
        return any(map(_is_to_be_resolved, given))
    return is_to_be_resolved(given)
