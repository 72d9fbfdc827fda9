"""The operator that shows what would be sent, and sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.operators.results import push_result
from airflow_provider_8x8.operators.survey_texts import SurveyTextsOperator
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class EightByEightSurveyPreviewOperator(SurveyTextsOperator):
    """
    Shows what :class:`~airflow_provider_8x8.operators.survey_batch.EightByEightSurveyBatchOperator` would send, before
    it does: how many texts, to where, in how many parts, at what cost, and which rows are left out.

    .. code-block:: python

        survey = {"survey_id": "order_feedback", "template_body": "...", "sql": "...", "sql_conn_id": "warehouse"}
        preview = EightByEightSurveyPreviewOperator(task_id="preview", **survey)
        send = EightByEightSurveyBatchOperator(task_id="send", **survey)
        preview >> send

    It reads the source once, as sending would. It POSTs nothing and leaves nothing in a journal: of 8x8 it asks the
    price list and the balance (for which the connection needs an ``account_id``), and a SQL journal it only reads. What
    cannot be had of these is said in the result, and fails nothing. The source is read anew when it is sent: what is in
    it by then may be more, or less.

    The result is the return value, and each entry an XCom of its own key. Phone numbers in it are masked; sample texts
    hold what else the rows have.

    - ``rows_read``, ``would_be_sent_count``, ``invalid_count``, ``duplicate_count``, ``already_sent_count`` and
      ``unknown_count``, which add up. The last two are None where it is not known what the campaign has sent before:
      then ``already_sent_note`` says why. It is known with ``campaign_id`` and a SQL journal. ``sendable_count`` is how
      many rows could be sent if none had been before: what ``max_messages`` of the operator that sends is compared with
    - ``invalid_reasons``: the first kinds of reasons, at most 10, each with its ``first_row`` and its ``rows``. Of the
      invalid rows ``too_long_count`` have a text of more than 10 parts, and ``lost_link_count`` of these would lose
      their link to the survey if 8x8 cut them off
    - ``parts``: ``total``, ``longest``, and ``histogram``, by parts how many texts
    - ``ucs2_count``, and ``ucs2_by_one_character``: at most 10 characters without which texts would be GSM7, with the
      ``texts`` and the ``extra_parts`` that each costs
    - ``recipients``: ``texts`` and ``parts`` by ``country``. Where countries share a calling code, it names them all
    - ``cost``: ``currency``, ``lowest`` and ``highest``, over the prices of all operators in the recipients' countries,
      or None; ``cost_note`` says why, or what is not in it. ``balance``: ``amount`` and ``currency``, or None and
      ``balance_note``
    - ``samples``: three texts at most, the first ones and the longest
    - ``markdown``: all of it as a page for an approval or a chat message

    :param survey_id: the survey's id (templated); may be left out
    :param kwargs: the source, the texts and where to, by the names and with the meaning that they have for the operator
        that sends: ``template_body``, ``template_variables``, ``rows``, ``sql``, ``sql_conn_id``, ``parameters``,
        ``sql_hook_params``, ``unique_by``, ``source``, ``encoding``, ``scheduled``, ``expiry``, ``dlr_callback_url``,
        ``batch_size``, ``campaign_id``, ``journal_conn_id``, ``eight_by_eight_conn_id``, ``subaccount_id``
    :raises ValueError: an argument is not as it must be, when the DAG is parsed; likewise a TypeError
    """

    ui_color = "#ffe2d9"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Read the rows, and send nothing.

        :return: the result, see above
        :raises AirflowFailException: these arguments or this source could not be sent, and another try mends nothing
        :raises AirflowException: the source failed, and another try may read it
        """
        from airflow_provider_8x8.operators.previewing import preview
        from airflow_provider_8x8.surveys.preview.result import as_result

        try:
            previewed = preview(self)
        except SendingStopped as stopped:
            raise (AirflowFailException if stopped.is_final else AirflowException)(str(stopped)) from None
        except JournalError as error:
            raise (AirflowException if error.may_go_better else AirflowFailException)(str(error)) from None
        except (TypeError, ValueError) as error:
            raise AirflowFailException(mask_phone_numbers(str(error))) from None
        result = as_result(previewed)
        for reasons in previewed.summary.reasons_in_words:
            self.log.warning("%s", reasons)
        self.log.info("%s rows were read; %s would be sent", result["rows_read"], result["would_be_sent_count"])
        if self.do_xcom_push and (problem := push_result(context, result)):
            raise AirflowException(f"The result could not be pushed: {problem}")
        return result
