"""The operator that cancels scheduled batches: Airflow's parameters around the canceller, and what its report means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.operators.arguments import check_arguments
from airflow_provider_8x8.operators.given_batches import BatchesOperator
from airflow_provider_8x8.operators.links import show_link
from airflow_provider_8x8.operators.masked import named_in_errors
from airflow_provider_8x8.surveys.outcomes.cancellations import (
    Cancellation,
    CancelReport,
    cancel_report,
    judge_cancelling,
)
from airflow_provider_8x8.surveys.outcomes.verdict import Ending, may_go_better

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


class EightByEightCancelBatchOperator(BatchesOperator):
    """
    Cancels what 8x8 has not sent yet of scheduled batches.

    .. code-block:: python

        EightByEightCancelBatchOperator(
            task_id="cancel",
            batch_ids="{{ params.batch_ids }}",
            campaign_id="{{ params.campaign_id }}",
            journal_conn_id="journal",
        )

    It calls `Cancel a batch of SMS <https://developer.8x8.com/connect/reference/cancel-scheduled-batch-of-sms>`__ for
    each batch. 8x8 documents that call for scheduled SMS, and says nothing of surveys, nor until when before its time a
    message can be cancelled: its portal does so until 3 minutes before. Messages that were not scheduled, or have gone
    out, cannot be cancelled. One batch that cannot be cancelled keeps no other from it.

    With a ``campaign_id`` the campaign's SQL journal learns of it: where 8x8 has said in one answer that it cancelled
    as many messages as it can have accepted of a batch, the batch's rows are free again. **The next try or run of a
    task that sends the campaign then sends them**: end a task first that is still to be tried again. The rows of all
    other batches stay held. Without ``campaign_id`` all stay held.

    Whatever is asked twice, 8x8 may count once only. So an answer of 0 is no sign that nothing was cancelled if there
    was a call before whose answer is not known; that batch is ``unknown`` then, and so it stays. The journal remembers
    such calls; without one, what earlier tries were answered is known from Airflow 3.3 on.

    The result, as return value and each entry as an XCom of its own key, is pushed before the task fails, too:
    ``campaign_id``, ``batch_ids``, ``accepted_count`` (None if it is not known), ``cancelled_count``, ``freed_count``
    (messages whose rows the journal has set free; None without ``campaign_id``), ``cancelled_batch_ids``,
    ``not_cancelled_batch_ids`` (not, or not wholly), ``unknown_batch_ids``, and ``batches``: of each ``batch_id``,
    ``outcome`` (``cancelled``, ``partly_cancelled``, ``not_cancelled`` or ``unknown``), ``accepted_count``,
    ``cancelled_count``, ``is_free`` and ``reason``. Where nobody knows how many messages a batch has (no journal, and
    ids alone or the result of several batches), it counts as ``cancelled`` if 8x8 has cancelled any. No phone number is
    in it. Airflow 3.0 takes no XCom of None: there some entries may be in the return value only.

    The task fails if a batch was not wholly cancelled, as far as that is known. It fails for good where another try
    could do no better.

    :param batch_ids: the batch operator's result, its ``batch_ids``, one id, or a list of these, such as a mapped
        task's outputs (templated). None or nothing is no batches, and cancels nothing
    :param campaign_id: of the task that has sent them (templated); its result has it. A batch that is not in the
        campaign is an error, and then nothing is cancelled
    :param journal_conn_id: the campaign's SQL journal; by default the one that the connection to 8x8 names in its
        extra. Without ``campaign_id`` it is not looked at
    :param on_empty: no batches at all: ``skip`` (default), ``fail`` or ``succeed``
    :param eight_by_eight_conn_id: connection of type ``eight_by_eight``, ``eight_by_eight_default`` by default
    :param subaccount_id: another sub-account than the connection's: the one that has sent the batches
    :raises ValueError: an argument is not as it must be, when the DAG is parsed
    """

    template_fields: Sequence[str] = ("batch_ids", "campaign_id")

    def __init__(
        self,
        *,
        batch_ids: Any,
        campaign_id: str | None = None,
        journal_conn_id: str | None = None,
        on_empty: str = "skip",
        eight_by_eight_conn_id: str = DEFAULT_CONN_NAME,
        subaccount_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_ids=batch_ids,
            on_empty=on_empty,
            eight_by_eight_conn_id=eight_by_eight_conn_id,
            subaccount_id=subaccount_id,
            **kwargs,
        )
        self.campaign_id = campaign_id
        self.journal_conn_id = journal_conn_id
        with named_in_errors(self.task_id):
            check_arguments(self, {"campaign_id", "journal_conn_id"})

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Cancel the batches.

        :return: the result, see above
        :raises AirflowFailException: not all was cancelled, and no other try can do better
        :raises AirflowException: not all was cancelled so far
        :raises AirflowSkipException: there are no batches, and ``on_empty`` is ``skip``
        """
        show_link(context, self.eight_by_eight_conn_id, self.subaccount_id)
        batches = self._batches()
        if not batches:
            return self._conclude_nothing(context, CancelReport())
        from airflow_provider_8x8.operators.cancelling import cancel

        self._stop = threading.Event()
        try:
            cancellations, problem = cancel(self, context, self._stop)
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing was cancelled by this try
            fail = AirflowException if may_go_better(error) else AirflowFailException
            reason = mask_phone_numbers(str(error))
            was_tried = context["ti"].try_number > 1
            nothing = [Cancellation(batch_id, is_unanswered=was_tried, reason=reason) for batch_id in batches.ids]
            accepted = batches.accepted
            self._push(context, cancel_report(nothing, accepted=accepted, campaign_id=self._campaign_id()))
            raise fail(reason) from None
        return self._conclude(context, cancellations, problem)

    def _conclude(self, context: Context, cancellations: list[Cancellation], problem: str | None) -> dict[str, Any]:
        accepted = self.batch_ids.batches.accepted
        report = cancel_report(cancellations, accepted=accepted, campaign_id=self._campaign_id())
        self.log.info("%s", report.in_words)
        result = self._push(context, report)
        verdict = judge_cancelling(report, cancellations, self.batch_ids.batches)
        if problem is not None:
            raise AirflowException(with_advice(problem, report.in_words, verdict.reason))
        if verdict.ending is Ending.FAIL:
            raise AirflowException(verdict.reason)
        if verdict.ending is Ending.FAIL_FOR_GOOD:
            raise AirflowFailException(verdict.reason)
        return result

    def _campaign_id(self) -> str | None:
        return self.campaign_id if isinstance(self.campaign_id, str) else None  # else what it was rendered to is none
