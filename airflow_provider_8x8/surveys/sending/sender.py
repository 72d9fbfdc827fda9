"""
The loop: rows -> messages -> batches -> journal -> 8x8 -> journal -> report -> summary.

What is pending is settled first, then what is missing is sent, then what has become pending is settled; if that set
row keys free, all goes round again. So it does not matter which rows the source gives this time, or in which order.
Every row read ends in exactly one outcome, whatever happens.

Where 8x8's logs are to be waited for, a try may pause, and go on in another process: it settles first, and once there
is nothing to wait for any more, it reads the source again as another try would.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.chance import Chance, SystemChance
from airflow_provider_8x8.surveys.clock import Clock, SystemClock
from airflow_provider_8x8.surveys.journal.errors import JournalError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.protocol import Journal
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder, Rows
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_RULES, RowKeys
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.outcomes.sinks import Sink, SinkError, both
from airflow_provider_8x8.surveys.outcomes.summary import Summary, summarize
from airflow_provider_8x8.surveys.sending.brake import Brake, HeldBack
from airflow_provider_8x8.surveys.sending.delivery import Delivery
from airflow_provider_8x8.surveys.sending.entering import Entering
from airflow_provider_8x8.surveys.sending.garbage import rarely_collected
from airflow_provider_8x8.surveys.sending.log_exports import LogsAwaited, Wait
from airflow_provider_8x8.surveys.sending.pausing import Pause, Stop
from airflow_provider_8x8.surveys.sending.posting import Poster, PostingThread
from airflow_provider_8x8.surveys.sending.reading import Reading
from airflow_provider_8x8.surveys.sending.refusals import Refusals
from airflow_provider_8x8.surveys.sending.rereading import Rereading
from airflow_provider_8x8.surveys.sending.settling import Settling
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped, note_unexpected
from airflow_provider_8x8.surveys.settings import Run, Settings

log = logging.getLogger(__name__)

CANCELLED_MEANWHILE = "somebody has cancelled batches while this try was sending: {batches}"


class SurveySender:
    """
    Sends the surveys of one campaign, for one try of one task instance.

    :param client: the sub-account to send from
    :param builder: makes messages of rows
    :param row_keys: the campaign's, those of the builder
    :param run: on whose behalf
    :param settings: how
    :param journal: what later tries will know
    :param report: files that each row's outcome is written into
    :param outcome_table: likewise a table
    :param stop: set from outside when the try is to end: no batch is begun any more
    :param clock: tells the time and waits
    :param chance: makes ids, and spreads waits
    :param poster: makes the POSTs, so that a batch is built while the one before is on the wire
    :param keeps_worker: wait for 8x8's logs here; else :attr:`pause` says what is to be waited for
    :param resumed: the try goes on after this pause, in another process
    """

    def __init__(
        self,
        client: EightByEightClient,
        builder: MessageBuilder,
        row_keys: RowKeys,
        *,
        run: Run,
        settings: Settings,
        journal: Journal,
        report: Report | None = None,
        outcome_table: Sink | None = None,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        poster: Poster | None = None,
        keeps_worker: bool = True,
        resumed: Pause | None = None,
    ) -> None:
        self._client = client
        self._builder = builder
        self._row_keys = row_keys
        self._run = run
        self._settings = settings
        self._report_folder = None if report is None else str(report.folder)
        self._outcomes = both(report, outcome_table)
        self._stop = stop or threading.Event()
        self._clock = clock or SystemClock(self._stop)
        chance = chance or SystemChance()
        self._poster = poster or PostingThread()
        self._ledger = Ledger(journal, run)
        self._settling = Settling(
            client,
            self._ledger,
            row_keys,
            run=run,
            settings=settings,
            report=self._outcomes,
            canary=_canary(builder, settings),
            clock=self._clock,
            chance=chance,
            stop=self._stop,
            keeps_worker=keeps_worker,
        )
        self._fates = Fates(self._ledger, self._outcomes)
        self._refusals = Refusals(builder.own_fields)
        self._rereading = Rereading(self._ledger, clock=self._clock, chance=chance)
        self._brake = Brake(self._ledger, settings)
        self._delivery = Delivery(
            client,
            builder,
            self._ledger,
            Entering(
                self._ledger,
                builder,
                run,
                settings=settings,
                clock=self._clock,
                chance=chance,
                timeout=client.timeout,
            ),
            self._refusals,
            self._brake,
            settings=settings,
            report=self._outcomes,
            stop=self._stop,
            clock=self._clock,
            chance=chance,
            poster=self._poster,
        )
        self._stopped: SendingStopped | None = None
        self._is_open = False
        self._open_before: frozenset[str] = frozenset()
        self._resumed = resumed
        self._stopped_before: SendingStopped | None = None
        self.pause: Pause | None = None
        """What is to be waited for before the try goes on, None if it is over."""
        if resumed is not None:
            self._delivery.rejected.rows.update(resumed.rejected)
            if resumed.stop is not None:
                self._stopped_before = resumed.stop.stopped()

    def send(self, rows: Rows) -> Summary:
        """
        Send what is missing of the rows, and find out what is not known.

        What goes wrong on the way is in the summary's ``stop``, beside the outcomes of all rows read until then. Where
        there is a :attr:`pause` then, the summary is that of a try that is not over.
        """
        return self._summary_of(partial(self._send, rows))

    def conclude(self, rows: Rows, reason: str) -> Summary:
        """
        Say what became of the rows, for a try that cannot go on waiting: nothing is sent, and nothing decided.

        :param reason: why it cannot; it ends the try if anything is left to be done
        """
        self._stopped_before = SendingStopped(reason)
        return self._summary_of(partial(self._conclude, rows))

    def _summary_of(self, work: Callable[[], None]) -> Summary:
        try:
            with rarely_collected(), self._outcomes or nullcontext(), self._concluding():
                work()
        except LogsAwaited as awaited:
            self.pause = self._pause(awaited.wait)
        except SinkError as error:
            self._note(SendingStopped(str(error)))
        except JournalError as error:
            self._note(SendingStopped(str(error), is_final=not error.may_go_better, cause=Cause.JOURNAL))
        except Exception as error:  # noqa: BLE001  # whatever it is, the summary says what was sent
            self._note(SendingStopped(note_unexpected(error)))
        finally:
            self._poster.close()
        return self._summary()

    @contextmanager
    def _concluding(self) -> Iterator[None]:
        """Have all rows of the last reading reported in the end, unless the journal or the report has failed."""
        try:
            yield
        except LogsAwaited:
            raise  # the try is not at its end
        except (SinkError, JournalError):
            raise  # they cannot be, or it is not known what the journal says of them by now
        except Exception:
            try:
                self._conclude_report()
            except SinkError as failure:
                log.warning("%s", failure)  # what ends the try matters more
            raise
        self._conclude_report()

    def _conclude_report(self) -> None:
        self._settling.conclude()
        self._fates.conclude()

    def _send(self, rows: Rows) -> None:
        self._open()
        if self._resumed is None:
            self._settling.look()
        else:
            self._settling.go_on(self._resumed)
        while self._stopped is None:
            self._read_once(rows)
            self._rereading.note()
            if self._stopped_before is not None:
                self._note(self._stopped_before)
            self._settling.settle(self._fates.tally)
            if not self._is_to_be_read_again():
                break
            if reason := self._rereading.reason_to_end(self._refusals.last):
                self._note(reason)
            elif self._stopped is None:
                self._rereading.wait()
        if self._settling.unreported:
            missing = ", ".join(sorted(self._settling.unreported))
            self._note(SendingStopped(f"the report lacks the batches {missing}: 8x8's logs do not have them yet"))
        if reason := self._refusals.reason_to_end():
            self._note(reason)
        if self._brake.is_holding_back:
            self._note(self._brake.reason_to_end())
        self._leave_out_what_was_cancelled()

    def _is_to_be_read_again(self) -> bool:
        """Tell whether rows that the last reading has left may be sent now."""
        return (
            self._settling.has_set_rows_free()
            or self._refusals.conclude(self._ledger.entries(), has_open_rows=self._fates.have_open_rows())
            or self._may_let_go()
        )

    def _conclude(self, rows: Rows) -> None:
        self._open()
        self._settling.look()
        self._read_once(rows)
        if (self._fates.have_open_rows() or self._settling.unreported) and self._stopped_before is not None:
            self._note(self._stopped_before)
        self._leave_out_what_was_cancelled()

    def _read_once(self, rows: Rows) -> None:
        """Read the source and send what is missing of it, until something is in the way."""
        try:
            self._send_missing(rows)
        except HeldBack:
            self._refusals.leave_unsent()
        except SendingStopped as stopped:
            self._note(self._stopped_before or stopped)

    def _pause(self, wait: Wait) -> Pause:
        # A limit that was passed is found to be so again, unless what is wrong with the source was mended meanwhile.
        stopped = None if self._brake.passed else self._stopped or self._stopped_before
        return self._settling.pause(
            wait,
            open_before=self._open_before,
            stop=None if stopped is None else Stop.of(stopped),
            read_in_vain=self._rereading.in_vain,
            rejected=self._delivery.rejected,
        )

    def _may_let_go(self) -> bool:
        """Tell whether it was found out what became of the first batch, so that others may follow."""
        return (
            self._brake.is_holding_back and self._refusals.reason_to_end() is None and not self._fates.have_open_rows()
        )

    def _leave_out_what_was_cancelled(self) -> None:
        """
        Leave out the rows of batches that somebody has cancelled since this try began, and end for good.

        They are free for the next try, so none is to come by itself.
        """
        rows_of = self._fates.tally.rows_by_entry
        cancelled = [
            entry
            for entry in self._ledger.entries()
            if self._ledger.is_cancelled_meanwhile(entry)
            and (self._ledger.is_own(entry) or rows_of[entry.client_batch_id] > 0)
        ]
        if not cancelled:
            return
        if self._outcomes:
            for entry in filter(self._ledger.is_own, cancelled):
                has_rows = rows_of[entry.client_batch_id] > 0
                self._outcomes.take_back_batch(entry.client_batch_id, with_rows=has_rows)
        names = ", ".join(entry.client_batch_id for entry in cancelled)
        self._stopped = SendingStopped(
            with_advice(
                CANCELLED_MEANWHILE.format(batches=names),
                "Their rows are not sent. To send them, clear the task",
                None if self._stopped is None else f"Besides, {self._stopped}",
            ),
            is_final=True,
        )

    def _note(self, stopped: SendingStopped) -> None:
        """Keep the first reason to stop: those after it follow from it."""
        self._stopped = self._stopped or stopped

    def _summary(self) -> Summary:
        summary = summarize(self._run, self._ledger.entries(), self._fates.tally, open_before=self._open_before)
        summary.rejected_reasons = self._delivery.rejected
        summary.was_begun = self._is_open
        summary.logs_problem = self._settling.logs_problem
        is_final = self._stopped is not None and self._is_final(self._stopped)
        summary.outlook = self._settling.outlook(is_last_try=is_final) if summary.unknown_client_batch_ids else None
        summary.report = self._report_folder
        if self._stopped is not None:
            summary.stop, summary.is_final = str(self._stopped), is_final
            summary.cause = self._stopped.cause
            summary.braked = self._brake.passed
        return summary

    def _is_final(self, stopped: SendingStopped) -> bool:
        return stopped.is_final or (stopped.is_final_once_settled and not self._fates.have_open_rows())

    def _open(self) -> None:
        """Read what was sent before, by this task instance or another of the campaign."""
        self._ledger.open(
            Header(
                survey_id=self._settings.survey_id,
                subaccount_id=self._client.subaccount_id,
                row_key_rules=ROW_KEY_RULES,
                address=self._client.address,
                deployment=self._settings.deployment,
            ),
            cancelled_before=None if self._resumed is None else self._resumed.cancelled_before,
        )
        self._is_open = True
        self._open_before = (
            frozenset(entry.client_batch_id for entry in self._ledger.entries() if entry.is_open)
            if self._resumed is None
            else frozenset(self._resumed.open_before)
        )
        self._rereading.begin(0 if self._resumed is None else self._resumed.read_in_vain)
        if self._settings.settled_batches:
            self._settling.apply_what_a_person_says(self._settings.settled_batches)
        self._settling.catch_up()

    def _send_missing(self, rows: Rows) -> None:
        """Read the source, twice if something has to be known before the first is sent, and send what is missing."""
        self._ledger.begin_reading()
        self._refusals.begin_reading()
        self._refusals.learn(self._ledger.entries())
        with Fates(self._ledger, self._outcomes) as self._fates:
            self._delivery.begin_reading(self._fates)
            self._brake.begin_reading(self._fates.tally)
            reading = Reading(
                self._builder,
                self._settings,
                self._ledger,
                self._fates,
                self._brake,
                began=self._ledger.first_begun,
            )
            try:
                reading.check_before_sending(rows)
                with closing(reading.batches(rows)) as batches:
                    for batch in batches:
                        if self._stopped_before is not None:
                            raise self._stopped_before
                        self._delivery.send(batch)
                self._delivery.wind_up()
            except BaseException as error:
                # What is on the wire is settled, also when Airflow 2 raises from on_kill's signal handler; but not
                # after an AirflowTaskTimeout, which may have struck in the middle of a word between task and
                # supervisor.
                if isinstance(error, Exception) or self._stop.is_set():
                    self._delivery.wind_up()
                raise


def _canary(builder: MessageBuilder, settings: Settings) -> SurveyMessage | None:
    return None if settings.canary_destination is None else builder.canary(settings.canary_destination)
