"""Batches as an argument of operators that do something about what was sent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSkipException

from airflow_provider_8x8.operators.arguments import check_arguments
from airflow_provider_8x8.operators.checks import is_to_be_resolved
from airflow_provider_8x8.operators.links import EightByEightConnectLink
from airflow_provider_8x8.operators.masked import Masked, Unusable, named_in_errors
from airflow_provider_8x8.operators.rendering import RenderedOperator, check_rendered
from airflow_provider_8x8.operators.results import push_result
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches
from airflow_provider_8x8.surveys.outcomes.verdict import OnEmpty

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class GivenBatches(Masked):
    """Batches as they were given; Airflow shows their ids, or what is wrong with them."""

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
        return given if isinstance(given, cls | Unusable) or _is_to_be_resolved(given) else cls(given)


class BatchesOperator(RenderedOperator):
    """
    What the operators share that are given batches and report on them. It is none to be used by itself.

    :param batch_ids: the batches, as :meth:`SentBatches.of` takes them
    :param on_empty: what to do where there are none
    :param eight_by_eight_conn_id: connection to the 8x8 that has them
    :param subaccount_id: likewise
    :raises ValueError: an argument is not as it must be, when the DAG is parsed
    """

    operator_extra_links = (EightByEightConnectLink(),)
    ui_color = "#ffe2d9"
    _stop: threading.Event | None = None

    def __init__(
        self, *, batch_ids: Any, on_empty: str, eight_by_eight_conn_id: str, subaccount_id: str | None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batch_ids = batch_ids
        self.on_empty = on_empty
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id
        with named_in_errors(self.task_id):
            if isinstance(self.batch_ids, GivenBatches) and self.batch_ids.problem:
                raise ValueError(self.batch_ids.problem)
            check_arguments(self, {"on_empty", "eight_by_eight_conn_id", "subaccount_id"})

    @property
    def batch_ids(self) -> Any:
        """The batches; once they are known, Airflow shows their ids only."""
        return self._batch_ids

    @batch_ids.setter
    def batch_ids(self, given: Any) -> None:
        self._batch_ids = GivenBatches.of(given)

    def on_kill(self) -> None:
        """Ask 8x8 for nothing more."""
        if self._stop is not None:
            self._stop.set()

    def _batches(self) -> SentBatches:
        """
        Return the batches, once they are known.

        :raises AirflowFailException: they are none
        :raises AirflowException: they could not be rendered
        """
        given = self.batch_ids
        if isinstance(given, Unusable):
            self._check_rendered()
        if given.problem:
            raise AirflowFailException(given.problem)
        batches: SentBatches = given.batches
        return batches

    def _check_rendered(self) -> None:
        """
        Check what only rendering has told.

        :raises AirflowFailException: an argument was rendered to something that it cannot be
        :raises AirflowException: one could not be rendered
        """
        try:
            check_rendered(self)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None

    def _conclude_nothing(self, context: Context, report: msgspec.Struct) -> dict[str, Any]:
        """
        Push the report of no batches, and return it if there may be none.

        :raises AirflowException: there may not
        :raises AirflowSkipException: the task is to be skipped then
        """
        result = self._push(context, report)
        if self.on_empty == OnEmpty.SKIP:
            raise AirflowSkipException("There are no batches")
        if self.on_empty == OnEmpty.FAIL:
            raise AirflowException("There are no batches")
        return result

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
