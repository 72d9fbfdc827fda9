"""Makes one try out of the operator's arguments: what is known of the tries before it, its sender, and its rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_8x8.api.masking import mask_phone_numbers, where_raised
from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.journals.at_hand import JournalsAtHand
from airflow_provider_8x8.operators.arguments import warning_about_source
from airflow_provider_8x8.operators.conclusion import limits_of
from airflow_provider_8x8.operators.masked import unmasked
from airflow_provider_8x8.operators.metrics import CountedJournal, MeasuredPosts, Metrics
from airflow_provider_8x8.operators.rendering import check_rendered
from airflow_provider_8x8.operators.source import (
    builder_of,
    deployment,
    journal_connection,
    source_of_rows,
    template_of,
)
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.texts import Texts
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.outcomes.summary import Summary, Tally, summarize
from airflow_provider_8x8.surveys.outcomes.verdict import may_go_better
from airflow_provider_8x8.surveys.sending.pausing import Pause
from airflow_provider_8x8.surveys.sending.sender import SurveySender
from airflow_provider_8x8.surveys.sending.unanswered import HAS_NOT_LOOKED
from airflow_provider_8x8.surveys.settings import OnInvalid, OnUnknown, Run, Said, Settings

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
    from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable

log = logging.getLogger(__name__)

_LEAST_WAIT = timedelta(minutes=2)


def journals_at_hand(task: EightByEightSurveyBatchOperator, context: Context, *, is_resumed: bool) -> JournalsAtHand:
    """Return what a try can know of those before it, and of itself if it goes on after a wait without a worker."""
    return JournalsAtHand(
        context,
        lambda: journal_connection(task),
        deployment=deployment(),
        clock=SystemClock(threading.Event()),
        is_resumed=is_resumed,
    )


def send(
    task: EightByEightSurveyBatchOperator,
    context: Context,
    journals: JournalsAtHand,
    stop: threading.Event,
    metrics: Metrics,
    *,
    resumed: Pause | None = None,
    cannot_wait: str | None = None,
) -> tuple[Summary, Pause | None]:
    """
    Send what is missing of the rows; whatever fails, the summary says what was sent.

    :param journals: what this try knows of those before it
    :param stop: set from outside when the try is to end
    :param metrics: are told of what is sent
    :param resumed: the try goes on after this pause
    :param cannot_wait: why the try has to end without waiting any longer: it sends nothing then
    :return: the summary, and what is to be waited for before the try goes on, None if it is over
    """
    ti = context["ti"]
    tries_left = max(0, ti.max_tries - ti.try_number + 1)
    run = Run(journals.task_instance, journals.task_instance, ti.try_number, tries_left)
    cause = Cause.OTHER
    try:
        if task.campaign_id is not None:
            run = run._replace(campaign_id=unmasked(task.campaign_id))
        journals.choose(run.campaign_id)
        check_rendered(task)
        said, cause = _settled_batches(task), Cause.JOURNAL
        journal, cause = journals.journal(said), Cause.OTHER
        sender = _sender(
            task,
            run,
            journal,
            stop,
            metrics,
            journal_conn_id=journals.journal_conn_id,
            outcome_table=_outcome_table(task, context, run),
            resumed=resumed,
        )
        rows = source_of_rows(task)
    except Exception as error:  # noqa: BLE001  # whatever it is, the result says what was sent before
        if not isinstance(error, TypeError | ValueError | AirflowException):
            log.error("%s at:\n%s", type(error).__name__, where_raised(error))
        is_final = isinstance(error, AirflowFailException) or not may_go_better(error)
        reason = mask_phone_numbers(str(error))
        return _summary_of_before(journals, run, reason, is_final=is_final, cause=cause), None
    summary = sender.send(rows) if cannot_wait is None else sender.conclude(rows, cannot_wait)
    if summary.was_begun:
        return summary, sender.pause
    before = _summary_of_before(journals, run, str(summary.stop), is_final=summary.is_final, cause=summary.cause)
    return before, None


def _sender(
    task: EightByEightSurveyBatchOperator,
    run: Run,
    journal: Journal,
    stop: threading.Event,
    metrics: Metrics,
    *,
    journal_conn_id: str | None,
    outcome_table: OutcomeTable | None,
    resumed: Pause | None,
) -> SurveySender:
    if warning := warning_about_source(task.source):
        log.warning("%s", warning)
    row_keys = RowKeys(run.campaign_id)
    builder = builder_of(task, row_keys)
    report = None
    if task.report_path:
        from airflow.providers.common.compat.sdk import ObjectStoragePath  # slow, and needed by few

        report = Report(ObjectStoragePath(unmasked(task.report_path)), run.campaign_id, run.task_instance)
    client = EightByEightHook(task.eight_by_eight_conn_id, subaccount_id=task.subaccount_id).client
    log.info(
        "Survey %r by %s, campaign %r, journal: %s",
        task.survey_id,
        client.connection,
        run.campaign_id,
        _journal_in_words(journal_conn_id, journal),
    )
    if task.deferrable and not journal.outlives_try:
        log.warning("deferrable has no effect without a journal: 8x8's logs are waited for in the worker")
    return SurveySender(
        client,
        builder,
        row_keys,
        run=run,
        settings=_settings(task),
        journal=CountedJournal(journal, metrics),
        report=report,
        outcome_table=outcome_table,
        stop=stop,
        poster=MeasuredPosts(metrics),
        keeps_worker=not (task.deferrable and journal.outlives_try),
        resumed=resumed,
    )


def _outcome_table(task: EightByEightSurveyBatchOperator, context: Context, run: Run) -> OutcomeTable | None:
    """
    Return the table that each row's outcome goes into, if there is to be one; nothing is opened yet.

    :raises TypeError: its connection does not lead to a database
    :raises ValueError: there is no such connection, or SQLAlchemy has no way to its database
    """
    if task.outcome_table is None:
        return None
    from airflow_provider_8x8.operators.outcome_tables import database_of, task_instance_of
    from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable

    return OutcomeTable(
        database_of(task.outcome_table, str(task.outcome_conn_id)),
        run.campaign_id,
        task_instance_of(context),
        run.task_instance,
        texts=Texts(template_of(task), unmasked(task.encoding) or None),
        clock=SystemClock(threading.Event()),
    )


def _settings(task: EightByEightSurveyBatchOperator) -> Settings:
    return Settings(
        survey_id=task.survey_id,
        batch_size=task.batch_size,
        client_batch_id_prefix=task.client_batch_id_prefix,
        max_messages=None if task.max_messages is None else int(task.max_messages),
        limits=limits_of(task),
        first_batch_size=task.first_batch_size,
        on_invalid=OnInvalid(task.on_invalid),
        on_unknown=OnUnknown(task.on_unknown),
        reconcile_timeout=task.reconcile_timeout,
        longest_wait=_longest_wait(task),
        log_settle_time=task.log_settle_time,
        canary_destination=None if not task.canary_destination else task.canary_destination.checked(),
        settled_batches=_settled_batches(task),
        deployment=deployment(),
        retry_delay=task.retry_delay,
        not_after=None if task.not_after is None else parse_time("not_after", task.not_after),
    )


def _longest_wait(task: EightByEightSurveyBatchOperator) -> timedelta:
    """Return how long a batch may wait for 8x8 to take it, as ``Retry-After`` asks: the try has no more time."""
    wait = max(task.reconcile_timeout, _LEAST_WAIT)
    return min(wait, task.execution_timeout) if task.execution_timeout else wait


def _settled_batches(task: EightByEightSurveyBatchOperator) -> Mapping[str, Said]:
    said: Mapping[str, Said] = unmasked(task.settled_batches) or {}
    return said


def _summary_of_before(journals: JournalsAtHand, run: Run, reason: str, *, is_final: bool, cause: Cause) -> Summary:
    """Return what earlier tries have sent, for one that could not begin to."""
    known = journals.known_entries()
    run = run._replace(campaign_id=journals.known_campaign_id or run.campaign_id)
    summary = summarize(run, known or (), Tally())
    summary.was_begun, summary.is_final, summary.cause = False, is_final, cause
    summary.outlook = HAS_NOT_LOOKED if any(entry.is_open for entry in known or ()) else None
    if known is None:
        what = "This try sent nothing; what earlier tries have sent could not be read"
    elif summary.rows_read:
        what = "This try sent nothing; what earlier tries have sent is counted"
    else:
        what = "Nothing was sent"
    summary.stop = f"{what}: {reason}"
    return summary


def _journal_in_words(conn_id: str | None, journal: Journal) -> str:
    if conn_id is not None:
        return f"SQL, connection {conn_id!r}"
    if journal.outlives_try:
        return "Airflow's task state store"
    return "none, so that another try cannot know what this one has sent"
