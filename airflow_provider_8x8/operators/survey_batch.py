"""The operator: Airflow's parameters around the sender."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_8x8.api.models import MAX_BATCH_SIZE
from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.operators.arguments import check_arguments, check_together
from airflow_provider_8x8.operators.checks import is_to_be_resolved
from airflow_provider_8x8.operators.conclusion import conclude
from airflow_provider_8x8.operators.links import EightByEightConnectLink, show_link
from airflow_provider_8x8.operators.masked import CanaryNumber, Masked, Unusable, named_in_errors
from airflow_provider_8x8.operators.metrics import Metrics
from airflow_provider_8x8.operators.survey_texts import SurveyTextsOperator
from airflow_provider_8x8.operators.waiting import is_resumed, wait_without_worker, why_trigger_has_failed
from airflow_provider_8x8.surveys.settings import (
    DEFAULT_BRAKE_AFTER,
    DEFAULT_LOG_SETTLE_TIME,
    DEFAULT_RECONCILE_TIMEOUT,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage
    from jinja2 import Environment

    from airflow_provider_8x8.journals.at_hand import JournalsAtHand

# What only a running task needs (operators.sending, and requests with all that it brings) is imported there: DAG files
# are parsed every minute.

_ARGUMENTS = frozenset(
    {
        *("survey_id", "client_batch_id_prefix", "max_messages", "not_after", "max_rejected", "max_invalid"),
        *("brake_after", "first_batch_size", "on_invalid", "on_empty", "on_unknown", "reconcile_timeout"),
        *("log_settle_time", "canary_destination", "settled_batches", "report_path", "outcome_table"),
        *("outcome_conn_id", "deferrable"),
    }
)
"""Arguments that this operator has beside those of all that make texts of rows."""

_A_CAMPAIGN_PER_RUN = (
    "Each run of this DAG is a campaign of its own: whoever is in the rows of two runs, such as a scheduled and a "
    "manual one of a day, gets two texts. Give campaign_id with the day that is surveyed, and a SQL journal "
    "(journal_conn_id)"
)


class EightByEightSurveyBatchOperator(SurveyTextsOperator):
    """
    Sends `8x8 SMS Engage <https://developer.8x8.com/connect/docs/tutorial-sms-engage>`__ surveys in batches: one for
    each row, and none twice.

    .. code-block:: python

        EightByEightSurveyBatchOperator(
            task_id="send_survey",
            survey_id="order_feedback",
            template_body="Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
            sql='SELECT phone AS destination, first_name AS "firstName", order_nr FROM orders',
            sql_conn_id="warehouse",
        )

    Rows come from XCom (``rows``) or from any warehouse with a ``DbApiHook`` (``sql``). A column named like a message
    field (``destination``, ``country``, ``client_message_id``, ``source``, ``scheduled``, ...), without regard to
    case, underscores, blanks, hyphens and dots, fills that field; a placeholder is filled from the column of its name,
    else from ``template_variables``, without regard to case and blanks around it where none has it exactly. Other
    columns are not sent to 8x8.

    **No survey is POSTed twice within a campaign** unless 8x8 has said, or its logs prove, that the first was not
    accepted, or you chose to resend. A campaign is this task instance, or with a SQL journal whatever shares its
    ``campaign_id``. Each POST is in a journal before it is made: in Airflow's task state store (3.3 and later), which
    reaches over the tries of the task instance, or with ``journal_conn_id`` in a SQL database, which outlives Clear and
    serves several runs and parallel shards. Below Airflow 3.3 without ``journal_conn_id`` there is no journal, and a
    second try refuses to send. What the promise rests on is in ``docs/guarantees.md``. A DAG that is run by a schedule
    or by assets wants a ``campaign_id`` with the day that is surveyed. Without it, a scheduled and a manual run of one
    day are two campaigns, and the log says so.

    It does not wait for delivery, as :class:`~airflow_provider_8x8.operators.delivery_report
    .EightByEightDeliveryReportOperator` does, or for survey answers; those come by 8x8's webhook, and the umid in the
    report says for which row. ``airflow dags test`` and ``airflow tasks test`` really send: point the connection at the
    sandbox.

    The result, as return value and each entry as an XCom of its own key: ``campaign_id``, ``batch_id`` (of the first
    batch), ``batch_ids``, ``client_batch_ids``, ``rows_read``, ``accepted_count``, ``rejected_count``,
    ``invalid_count``, ``duplicate_count``, ``already_sent_count``, ``not_sent_count``, ``unknown_count``,
    ``invalid_samples`` (at most 10) and ``report``. The counts add up to ``rows_read``. It is pushed before the task
    fails or skips, too. Where sending stopped since a limit was passed, there is ``stopped`` as well, which says so.
    Airflow 3.0 takes no XCom of None: there ``batch_id`` and ``report`` may be in the return value only. Assets in
    ``outlets`` get it as their event's extra; that, the metrics, the link to 8x8 Connect and the lineage are in
    ``docs/observing.md``. What the task fails with says why by its class: :mod:`airflow_provider_8x8.exceptions`. On
    Airflow 3.3 and later :class:`~airflow_provider_8x8.retry_policy.EightByEightRetryPolicy` goes by that. As
    ``@task.survey_batch`` a function gives the rows.

    What is text stays text, also with ``render_template_as_native_obj``; a whole number is taken as the text of its
    digits. Once rendered, ``sql``, ``parameters``, ``template_variables``, ``sql_hook_params``, ``source``,
    ``dlr_callback_url`` and ``canary_destination`` are shown without phone numbers and secrets; to a subclass or a
    callback their ``value`` is what was rendered.

    :param survey_id: the id that 8x8 gave the survey (templated)
    :param template_body: the text in 8x8's braces, exactly as 8x8's documentation has it; **not** rendered by Jinja.
        May be absent if every row has a ``template_body``
    :param template_variables: values common to all messages, such as ``{"month": "{{ ds }}"}`` (templated)
    :param rows: mappings, or lists of them from mapped tasks; never rendered by Jinja. None, as of an upstream that
        returned nothing, is no rows. An iterator is read once and kept: at most 1,000,000 rows. Either this or ``sql``
    :param sql: one statement that returns rows (templated, ``.sql`` files)
    :param sql_conn_id: where to run it (templated), over a connection that the database's hook makes; read as a stream
        where the driver has server-side cursors, else the log says so
    :param parameters: a mapping, a list or a tuple, bound in the driver's own style (templated)
    :param sql_hook_params: arguments for the database's hook, by their names (templated)
    :param unique_by: the column whose value makes a survey unique; by default ``client_message_id`` if the source has
        it, else ``destination``. A NULL in it makes the row invalid
    :param source: the sender that phones show: at most 11 letters, digits and spaces, or at most 16 digits (templated)
    :param encoding: ``AUTO`` (8x8's default), ``GSM7`` or ``UCS2`` (templated)
    :param scheduled: when to send, at most 7 days ahead: datetime or ISO 8601 with offset (templated)
    :param expiry: when a message not yet sent is dropped: datetime or ISO 8601 with offset (templated)
    :param dlr_callback_url: where 8x8 posts delivery receipts (templated)
    :param client_batch_id_prefix: to find the batches in 8x8's portal: at most 8 letters A to Z, digits, hyphens,
        underscores and dots, first a letter or digit; none by default
    :param batch_size: messages in one batch, 1 to 10,000, which is the default
    :param max_messages: a guard against a bad join: more sendable rows than this, and nothing is sent at all (the
        source is read twice). A whole number of at least 1, or a template of one (templated), such as the
        ``sendable_count`` of a preview that somebody has approved: 0 is that nothing may be sent. What was sent before
        counts, in this task or by others of the campaign; no limit by default
    :param not_after: a guard against old data: datetime or ISO 8601 with offset (templated). No batch is begun later
        than this; what is missing then is ``not_sent``, and the task fails for good. What became of earlier batches is
        still looked up
    :param max_rejected: more messages that 8x8 rejects than this, and no batch is begun any more: what is missing then
        is ``not_sent``, and the task fails for good, after its results are pushed. A whole number, or a float between 0
        and 1 as a share of the messages that 8x8 has accepted or rejected in all tries; no limit by default
    :param max_invalid: likewise of invalid rows: a whole number, or a share of these and the rows that are to be sent,
        or were; neither duplicates nor what another run of the campaign has; no limit by default
    :param brake_after: a share stops the sending only once it is one of so many; at the end of the source it fails the
        task, however few there are. At least 1, 500 by default
    :param first_batch_size: so many messages are sent first, and the others once 8x8 has answered: if it rejects a
        larger share of them than ``max_rejected``, or all of them where that is a whole number or absent, that is as
        above. At most ``batch_size``; no such batch by default
    :param on_invalid: ``skip`` invalid rows (default), or ``fail`` before anything is sent (the source is read twice)
    :param on_empty: no rows at all: ``skip`` (default), ``fail`` or ``succeed``
    :param on_unknown: 8x8 may have accepted a batch, or not, and its logs did not tell in time: ``fail`` (default), and
        the next try looks again; ``assume_sent``, it is never sent again, and the task succeeds; ``resend``, which may
        text people twice
    :param reconcile_timeout: how long a try waits for 8x8's logs to tell what became of a batch: 0 to 30 days, 15
        minutes by default
    :param log_settle_time: how much later than younger messages a message may show in 8x8's logs: 0 to 30 days, 10
        minutes by default. A batch that is missing from them counts as not accepted only after twice this time
    :param canary_destination: a number of the team's own that gets one survey when nothing else can show how far 8x8's
        logs are (templated)
    :param settled_batches: what somebody has seen in 8x8's portal of batches of unknown outcome: by client batch id,
        ``accepted`` or ``not_accepted``; a mapping, or JSON text, such as a Variable's that is set before Clear
        (templated). ``{"before try 3": "not_accepted"}`` says of all tries before one that they have sent nothing that
        no journal knows
    :param campaign_id: what may not be surveyed twice, over all tasks and runs that share it; at most 768 characters
        that can be printed (templated). Needs ``journal_conn_id``
    :param journal_conn_id: connection to PostgreSQL, MySQL, MariaDB or SQLite for the journal; by default the one that
        the connection to 8x8 names in its extra, if it does
    :param report_path: folder for the report of what became of each row (templated): an absolute path, or the URL of
        a folder in an object store, such as ``s3://connection@bucket/folder``
    :param outcome_table: ``table`` or ``schema.table`` that gets one row for each row read (templated): what became of
        it, under which of 8x8's ids. Made when it is first used; a try after a crash completes it. See
        ``docs/warehouse.md``. Needs ``outcome_conn_id``
    :param outcome_conn_id: connection to its database (templated): PostgreSQL, MySQL, MariaDB, SQLite, DuckDB, or
        another that SQLAlchemy has a way to
    :param deferrable: whether to wait for 8x8's logs in the triggerer, without a worker; by default Airflow's
        ``[operators] default_deferrable``. Surveys are sent by a worker only. Without a journal it has no effect
    :param eight_by_eight_conn_id: connection of type ``eight_by_eight``, ``eight_by_eight_default`` by default
    :param subaccount_id: another sub-account than the connection's
    :raises ValueError: an argument is not as it must be, when the DAG is parsed; likewise a TypeError
    """

    template_fields: Sequence[str] = (
        *SurveyTextsOperator.template_fields,
        "max_messages",
        "not_after",
        "canary_destination",
        "settled_batches",
        "report_path",
        "outcome_table",
        "outcome_conn_id",
    )
    survey_id: str
    operator_extra_links = (EightByEightConnectLink(),)
    ui_color = "#ffe2d9"
    result: dict[str, Any] | None = None
    """What became of the rows, once that is known."""
    _stop: threading.Event | None = None
    _journals: JournalsAtHand | None = None

    def __init__(
        self,
        *,
        survey_id: str,
        template_body: str | None = None,
        template_variables: Mapping[str, Any] | None = None,
        rows: Any = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        sql_hook_params: Mapping[str, Any] | None = None,
        unique_by: str | None = None,
        source: str | None = None,
        encoding: str | None = None,
        scheduled: datetime | str | None = None,
        expiry: datetime | str | None = None,
        dlr_callback_url: str | None = None,
        client_batch_id_prefix: str = "",
        batch_size: int = MAX_BATCH_SIZE,
        max_messages: int | str | None = None,
        not_after: datetime | str | None = None,
        max_rejected: float | None = None,
        max_invalid: float | None = None,
        brake_after: int = DEFAULT_BRAKE_AFTER,
        first_batch_size: int | None = None,
        on_invalid: str = "skip",
        on_empty: str = "skip",
        on_unknown: str = "fail",
        reconcile_timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT,
        log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME,
        canary_destination: str | None = None,
        settled_batches: Mapping[str, str] | str | None = None,
        campaign_id: str | None = None,
        journal_conn_id: str | None = None,
        report_path: str | None = None,
        outcome_table: str | None = None,
        outcome_conn_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        eight_by_eight_conn_id: str = DEFAULT_CONN_NAME,
        subaccount_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            survey_id=survey_id,
            template_body=template_body,
            template_variables=template_variables,
            rows=rows,
            sql=sql,
            sql_conn_id=sql_conn_id,
            parameters=parameters,
            sql_hook_params=sql_hook_params,
            unique_by=unique_by,
            source=source,
            encoding=encoding,
            scheduled=scheduled,
            expiry=expiry,
            dlr_callback_url=dlr_callback_url,
            batch_size=batch_size,
            campaign_id=campaign_id,
            journal_conn_id=journal_conn_id,
            eight_by_eight_conn_id=eight_by_eight_conn_id,
            subaccount_id=subaccount_id,
            **kwargs,
        )
        self.client_batch_id_prefix = client_batch_id_prefix
        self.max_messages = max_messages
        self.not_after = not_after
        self.max_rejected = max_rejected
        self.max_invalid = max_invalid
        self.brake_after = brake_after
        self.first_batch_size = first_batch_size
        self.on_invalid = on_invalid
        self.on_empty = on_empty
        self.on_unknown = on_unknown
        self.reconcile_timeout = reconcile_timeout
        self.log_settle_time = log_settle_time
        self.canary_destination = canary_destination
        self.settled_batches = settled_batches
        self.report_path = report_path
        self.outcome_table = outcome_table
        self.outcome_conn_id = outcome_conn_id
        self.deferrable = deferrable
        with named_in_errors(self.task_id):
            check_arguments(self, _ARGUMENTS)
            check_together(self)

    @property
    def canary_destination(self) -> Any:
        """The canary's number; once it is rendered it shows masked only, as rows do."""
        return self._canary_destination

    @canary_destination.setter
    def canary_destination(self, destination: Any) -> None:
        is_given = destination is None or isinstance(destination, Masked | Unusable) or is_to_be_resolved(destination)
        self._canary_destination = destination if is_given else CanaryNumber(destination)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the surveys that are missing.

        :return: the result, see above
        :raises AirflowFailException: something keeps rows from being accepted, and another try cannot mend it
        :raises AirflowException: something does, and another try may mend it
        :raises AirflowSkipException: there are no rows, and ``on_empty`` is ``skip``
        """
        if self.campaign_id is None and self._is_run_by_a_schedule():
            self.log.warning(_A_CAMPAIGN_PER_RUN)
        return self._send(context)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on once 8x8's logs were waited for without a worker; see :meth:`execute`."""
        from airflow_provider_8x8.surveys.sending.pausing import Pause

        try:
            resumed = Pause.of(event)
        except ValueError:
            return self._send(context, cannot_wait="what the try was to go on with is not what this version writes")
        return self._send(context, resumed=resumed)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a wait; where Airflow's trigger has failed, say what was sent, and fail."""
        why = why_trigger_has_failed(self.log, next_method, next_kwargs)
        if why is None:
            return super().resume_execution(next_method, next_kwargs, context)
        return self._send(context, cannot_wait=f"8x8's logs could not be waited for without a worker: {why}")

    def _send(self, context: Context, **how: Any) -> dict[str, Any]:
        """
        Make the try, or the next part of it, and say how it ends.

        :param how: see :func:`~airflow_provider_8x8.operators.sending.send`
        """
        self._stop = threading.Event()
        show_link(context, self.eight_by_eight_conn_id, self.subaccount_id)
        from airflow_provider_8x8.operators.sending import send

        metrics = Metrics(context["ti"])
        journals = self._journals_of(context)
        try:
            summary, pause = send(self, context, journals, self._stop, metrics, **how)
        finally:
            self._journals = None
            journals.close()
        if pause is not None:
            self.log.info("8x8's logs are waited for without a worker. So far: %s", summary.in_words)
            wait_without_worker(self, pause.wait, pause.as_builtins(), "execute_complete")
        return conclude(self, context, summary, metrics, may_try_again=journals.outlive_try)

    def on_kill(self) -> None:
        """See the batch that is on the wire through, if Airflow leaves it the time, and begin no other."""
        if self._stop is not None:
            self._stop.set()

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return for Airflow's OpenLineage provider the query's tables, and the survey."""
        from airflow_provider_8x8.operators.lineage import lineage_of

        return lineage_of(self, None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the same once the task has ended, also if it has failed, with the counts as a facet."""
        from airflow_provider_8x8.operators.lineage import lineage_of

        return lineage_of(self, self.result)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Environment,
        seen_oids: set[int],
    ) -> None:
        """Leave the mark before anything can fail: what a try without one has sent is not known. Then render."""
        if parent is self and getattr(context.get("ti"), "state", None) == "running":
            self._journals_of(context)  # else somebody only looks at the rendered fields
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def _is_run_by_a_schedule(self) -> bool:
        """Tell whether Airflow makes runs of the DAG by itself, at times or when assets are updated."""
        dag = self.get_dag()
        return dag is not None and dag.timetable.can_be_scheduled

    def _journals_of(self, context: Context) -> JournalsAtHand:
        """Return what this try knows of those before it, and leave there the mark that it has begun."""
        if self._journals is None:
            from airflow_provider_8x8.operators.sending import journals_at_hand

            self._journals = journals_at_hand(self, context, is_resumed=is_resumed(context))
            self._journals.leave_mark()
        return self._journals
