"""The operator that waits for deliveries: Airflow's parameters around the follower, and what its report means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, conf

from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.operators.arguments import check_arguments, check_outcome_table
from airflow_provider_8x8.operators.given_batches import BatchesOperator
from airflow_provider_8x8.operators.links import show_link
from airflow_provider_8x8.operators.masked import named_in_errors
from airflow_provider_8x8.operators.outlets import tell_outlets
from airflow_provider_8x8.operators.waiting import wait_without_worker, why_trigger_has_failed
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.outcomes.deliveries import DeliveryReport
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.surveys.outcomes.table_deliveries import DeliveryColumns
    from airflow_provider_8x8.surveys.sending.following import Follower, Job, Progress

# What only a running task needs (the follower, the hook, the trigger) is imported there: DAG files are parsed every
# minute.

log = logging.getLogger(__name__)

_ARGUMENTS = frozenset(
    {
        *("sent_after", "final_share", "timeout", "poll_interval", "min_delivered"),
        *("outcome_table", "outcome_conn_id", "deferrable"),
    }
)
"""Arguments that this operator has beside those of all that are given batches."""

_JOB_KEY = "8x8/log_export"


class EightByEightDeliveryReportOperator(BatchesOperator):
    """
    Waits until the messages of some batches have arrived, or have not, and reports what became of them.

    .. code-block:: python

        EightByEightDeliveryReportOperator(
            task_id="delivery_report",
            batch_ids=send_surveys.output,
            final_share=0.95,
            min_delivered=0.8,
            timeout=timedelta(hours=2),
            deferrable=True,
        )

    It sends nothing. It asks 8x8 for `exports of its logs
    <https://developer.8x8.com/connect/reference/start-log-export-job>`__ until ``final_share`` of the messages is
    ``delivered``, ``undelivered``, ``rejected``, ``read``, ``failed`` or ``error``, or ``timeout`` is over. Only an
    export that was read to its end counts. 8x8 filters exports by time only, so each has all that the sub-account has
    sent since ``sent_after``.

    Give it the batch operator's whole result where you can: it says how many messages 8x8 has accepted, and shares are
    of those. With ids alone nobody knows how many there are. Shares are then of the messages that the logs have, and
    they count as complete once two exports in a row have equally many, and some of each batch.

    With ``deferrable=True`` no worker waits: a trigger asks, by GET requests alone, whether an export is ready, and
    waits until the next one is due. The end of ``timeout`` is a moment, which no restart of a triggerer moves. On
    Airflow 3.3 and later another try reads the export that the one before has asked for; elsewhere it asks for
    another one, which does no harm. A try has the whole ``timeout`` of its own.

    The result, as return value and each entry as an XCom of its own key, is pushed before the task fails or skips, too:
    ``batch_ids``, ``as_of`` (when 8x8 was asked for the logs that it is from), ``messages_expected``,
    ``messages_seen``, ``final_count``, ``delivered_count`` (``delivered`` or ``read``), ``share_final``,
    ``share_delivered``, ``states``, ``details``, ``errors`` (the ten most frequent codes, each with ``code``,
    ``description`` and ``count``), ``cost`` (by currency), ``priced_count``, ``batches_not_seen`` and ``timed_out``. No
    phone number is in it. Airflow 3.0 takes no XCom of None: there some entries may be in the return value only.

    :param batch_ids: the batch operator's result, its ``batch_ids``, one id, or a list of these, such as a mapped
        task's outputs (templated). None or nothing is no batches
    :param sent_after: none of the messages was sent before: datetime or ISO 8601 with offset (templated). By default
        the time when the run was due, or began if that was earlier: right for what tasks of the same run have sent. The
        export begins an hour before it, since clocks differ, and ends when it is asked for, so that scheduled messages
        are in it as soon as 8x8 has them. Batches of which it has nothing are in ``batches_not_seen``
    :param final_share: of the messages, above 0 and at most 1; 0.95 by default. A share in ``min_delivered`` that is
        larger stands in its place
    :param timeout: how long a try waits for that, 0 to 30 days, an hour by default. That it is over does not fail the
        task, and is ``timed_out`` in the result. The last export may take some minutes more
    :param poll_interval: how long after one export the next one is asked for, from a second on, 5 minutes by default
    :param min_delivered: fewer delivered messages than this fail the task, after its result is pushed: a whole number,
        or a float above 0 and at most 1 as a share; no limit by default. If ``final_share`` was reached, for good
    :param on_empty: no batches at all: ``skip`` (default), ``fail`` or ``succeed``
    :param outcome_table: the table that the batch operator has written outcomes into (templated): after each look into
        the logs, the rows of the messages get their state, error and price. See ``docs/warehouse.md``. Needs
        ``outcome_conn_id``
    :param outcome_conn_id: connection to its database (templated)
    :param deferrable: whether to wait in the triggerer; by default Airflow's ``[operators] default_deferrable``
    :param eight_by_eight_conn_id: connection of type ``eight_by_eight``, ``eight_by_eight_default`` by default
    :param subaccount_id: another sub-account than the connection's: the one that has sent the batches
    :raises ValueError: an argument is not as it must be, when the DAG is parsed
    """

    template_fields: Sequence[str] = ("batch_ids", "sent_after", "outcome_table", "outcome_conn_id")

    def __init__(
        self,
        *,
        batch_ids: Any,
        sent_after: datetime | str | None = None,
        final_share: float = 0.95,
        timeout: timedelta = timedelta(hours=1),
        poll_interval: timedelta = timedelta(minutes=5),
        min_delivered: float | None = None,
        on_empty: str = "skip",
        outcome_table: str | None = None,
        outcome_conn_id: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
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
        self.sent_after = sent_after
        self.final_share = final_share
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.min_delivered = min_delivered
        self.outcome_table = outcome_table
        self.outcome_conn_id = outcome_conn_id
        self.deferrable = deferrable
        with named_in_errors(self.task_id):
            check_arguments(self, _ARGUMENTS)
            check_outcome_table(outcome_table, outcome_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Wait, and report.

        :return: the result, see above
        :raises AirflowFailException: too few messages were delivered, or no other try can do better
        :raises AirflowException: too few messages were delivered so far, or 8x8's logs could not be read
        :raises AirflowSkipException: there are no batches, and ``on_empty`` is ``skip``
        """
        show_link(context, self.eight_by_eight_conn_id, self.subaccount_id)
        if not self._batches():
            return self._report_nothing(context)
        with self._pushing_what_is_unread(context):
            self._check_rendered()
            if (table := self._delivery_columns()) is not None:
                try:
                    table.prepare()
                except SinkError as error:
                    raise AirflowException(str(error)) from None
            follower = self._follower(context)
        progress = follower.begin(self.timeout.total_seconds(), _remembered(context))
        return self._follow(context, follower, progress, has_waited=False)

    def resume(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on where the wait has begun; see :meth:`execute`."""
        from airflow_provider_8x8.surveys.sending.following import Progress

        if not self._batches():  # by now: the DAG file may be another
            return self._report_nothing(context)
        with self._pushing_what_is_unread(context):
            self._check_rendered()
            follower = self._follower(context)
        try:
            progress = Progress.of(event)
        except ValueError:
            raise self._conclude_unread(
                context, "what the report was to go on with is not what this version writes"
            ) from None
        return self._follow(context, follower, progress, has_waited=True)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a wait; where Airflow's trigger has failed, say that nothing is known, and fail."""
        why = why_trigger_has_failed(self.log, next_method, next_kwargs)
        if why is None:
            return super().resume_execution(next_method, next_kwargs, context)
        raise self._conclude_unread(context, f"8x8's logs could not be waited for without a worker: {why}")

    def _follower(self, context: Context) -> Follower:
        from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
        from airflow_provider_8x8.surveys.sending.following import Follower

        since = _run_is_due(context) if self.sent_after is None else parse_time("sent_after", self.sent_after)
        self._stop = threading.Event()
        table = self._delivery_columns()
        return Follower(
            EightByEightHook(self.eight_by_eight_conn_id, subaccount_id=self.subaccount_id).client,
            self._batches(),
            since=since.timestamp(),
            final_share=self._share_to_be_final(),
            poll_interval=self.poll_interval.total_seconds(),
            clock=SystemClock(self._stop),
            stop=self._stop,
            write=None if table is None else table.write,
        )

    def _share_to_be_final(self) -> float:
        """Return how many of the messages are waited for: no fewer than are to be delivered."""
        return max(self.final_share, self.min_delivered if isinstance(self.min_delivered, float) else 0.0)

    def _delivery_columns(self) -> DeliveryColumns | None:
        """Return the table that deliveries go into, if there is one; nothing is opened yet."""
        if self.outcome_table is None:
            return None
        from airflow_provider_8x8.operators.outcome_tables import database_of
        from airflow_provider_8x8.surveys.outcomes.table_deliveries import DeliveryColumns

        try:
            return DeliveryColumns(database_of(self.outcome_table, str(self.outcome_conn_id)))
        except (TypeError, ValueError) as error:
            raise AirflowFailException(str(error)) from None

    def _follow(self, context: Context, follower: Follower, progress: Progress, *, has_waited: bool) -> dict[str, Any]:
        """
        Look into the logs until all is over.

        :param has_waited: whether what the progress is about was waited for
        """
        while not (has_waited and follower.read(progress)):
            wait = follower.ask(progress)
            if wait is None:
                break
            _remember(context, progress.job)
            if self.deferrable:
                wait_without_worker(self, wait, progress.as_builtins(), "resume")
            follower.wait(wait)
            has_waited = True
        _remember(context, None)
        return self._conclude(context, progress)

    def _conclude_unread(self, context: Context, reason: str) -> AirflowException:
        """Push that the logs were not read; return what the task fails with, which another try may mend."""
        self._push_unread(context)
        return AirflowException(reason)

    @contextmanager
    def _pushing_what_is_unread(self, context: Context) -> Iterator[None]:
        """Push that the logs were not read if what is done meanwhile fails, whatever it is."""
        try:
            yield
        except Exception:
            self._push_unread(context)
            raise

    def _push_unread(self, context: Context) -> None:
        batches = self._batches()
        self._push(context, DeliveryReport(batch_ids=list(batches.ids), messages_expected=batches.accepted))

    def _report_nothing(self, context: Context) -> dict[str, Any]:
        result = self._conclude_nothing(context, DeliveryReport(batch_ids=[]))
        tell_outlets(self, context, result)
        return result

    def _conclude(self, context: Context, progress: Progress) -> dict[str, Any]:
        batches = self._batches()
        report = progress.report or DeliveryReport(
            batch_ids=list(batches.ids), messages_expected=batches.accepted, timed_out=True
        )
        is_to_end = self._stop is not None and self._stop.is_set()
        if progress.is_hopeless or is_to_end:  # not the time has ended it
            report = msgspec.structs.replace(report, timed_out=False)
        self.log.info("%s", report.in_words)
        if report.as_of is not None and report.batches_not_seen:
            self.log.warning(
                "8x8's logs have nothing of the batches %s: if they were sent before the run was due, give sent_after",
                ", ".join(report.batches_not_seen),
            )
        result = self._push(context, report)
        if is_to_end:
            raise AirflowException("Deliveries are not waited for any more, since the task is to end")
        if progress.is_hopeless:  # whatever was seen before: its time was not over
            raise AirflowFailException(progress.problem)
        if report.as_of is None:
            raise AirflowException(progress.problem)
        if progress.table_problem is not None:
            raise AirflowException(progress.table_problem)
        if self.min_delivered is not None and not report.has_delivered(self.min_delivered):
            # Later, more may have arrived.
            fail = AirflowException if report.timed_out else AirflowFailException
            raise fail(f"Less than min_delivered={self.min_delivered} was delivered\n{report.in_words}")
        tell_outlets(self, context, result)
        return result


def _remembered(context: Context) -> Job | None:
    """Return an export that an earlier try has asked for and not read, where Airflow knows of it."""
    from airflow_provider_8x8.surveys.sending.following import Job

    store = context.get("task_state_store")
    try:
        written = None if store is None else store.get(_JOB_KEY)
        return None if written is None else msgspec.convert(written, Job)
    except Exception as error:  # noqa: BLE001  # a custom backend's; another export does no harm
        log.warning("Whether an earlier try has asked for 8x8's logs is not known: %s", type(error).__name__)
        return None


def _remember(context: Context, job: Job | None) -> None:
    """Leave an export that is not read yet to another try; None if there is none."""
    store = context.get("task_state_store")
    if store is None:
        return
    try:
        if job is None:
            store.delete(_JOB_KEY)
        else:
            store.set(_JOB_KEY, msgspec.to_builtins(job))
    except Exception as error:  # noqa: BLE001  # a custom backend's; another export does no harm
        log.warning("That 8x8 was asked for its logs is not remembered: %s", type(error).__name__)


def _run_is_due(context: Context) -> datetime:
    """Return a time before which no task of the run can have sent anything."""
    run: Any = context["dag_run"]
    # A run that is cleared begins anew, and what it has sent before is older than that. Airflow 2 has no run_after.
    due = getattr(run, "run_after", None) or run.data_interval_end or run.logical_date
    times: list[datetime] = [moment for moment in (due, run.start_date) if moment is not None]
    return min(times)
