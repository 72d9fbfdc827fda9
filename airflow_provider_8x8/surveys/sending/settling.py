"""
What is pending of a campaign: it is looked up in 8x8's logs, waited for, and in the end decided about.

A try waits only while the logs can still prove something in its time. What it has seen of them is kept in the journal,
so that another try goes on where this one ends.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.chance import Chance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.outcomes.sinks import Sink
from airflow_provider_8x8.surveys.outcomes.summary import Reasons, Tally
from airflow_provider_8x8.surveys.sending.canary import Canary
from airflow_provider_8x8.surveys.sending.deciding import as_said, decided, said_of
from airflow_provider_8x8.surveys.sending.findings import Findings
from airflow_provider_8x8.surveys.sending.log_exports import LogsAwaited, Wait
from airflow_provider_8x8.surveys.sending.pausing import Pause, Stop, Waiting
from airflow_provider_8x8.surveys.sending.prospects import LOOK_AROUND, Prospects, messages_of
from airflow_provider_8x8.surveys.sending.reconcile import Finding, Reconciler
from airflow_provider_8x8.surveys.sending.unanswered import (
    Tries,
    counted,
    is_decided,
    is_resent_too_often,
    outlook,
)
from airflow_provider_8x8.surveys.settings import OnUnknown, Run, Said, Settings

log = logging.getLogger(__name__)

MAX_EXPORTS = 12
"""Log exports that a try asks 8x8 for while it waits."""

MAX_RESENDS = 3
"""How often one try sends again, by ``on_unknown="resend"``, what then becomes unknown again."""

ONE_LOOK = 30.0
"""Seconds that a look at the logs may take at least, once it has begun."""

_FIRST_PAUSE = 2.0
_FIRST_PAUSE_WITHOUT_WORKER = 5.0
"""Seconds: to go on in another process takes about as long."""
_SHORT = 3.0
"""Seconds: what takes less is waited for in the worker."""
_PATIENCE = 5.0
"""Seconds that an export is waited for in the worker, where that can be done without one."""
_LOOK_AT_OTHERS = 2.0
"""Seconds between two looks at what another run has on the wire."""


class Settling:
    """
    Settles what is pending, for one try.

    :param client: the sub-account to ask
    :param ledger: what the journal says
    :param row_keys: the campaign's
    :param run: on whose behalf
    :param settings: how long to wait, and what to do then
    :param report: where the outcome of each row is written
    :param canary: a survey to a number of the team's own, for a watermark where nothing else can be one
    :param clock: tells the time and waits
    :param chance: makes the canary's id
    :param stop: set when the try is to end
    :param keeps_worker: wait here; else whoever called is told what is to be waited for
    """

    def __init__(
        self,
        client: EightByEightClient,
        ledger: Ledger,
        row_keys: RowKeys,
        *,
        run: Run,
        settings: Settings,
        report: Sink | None,
        canary: SurveyMessage | None,
        clock: Clock,
        chance: Chance,
        stop: threading.Event,
        keeps_worker: bool = True,
    ) -> None:
        self._ledger = ledger
        self._run = run
        self._settings = settings
        self._findings = Findings(ledger, row_keys, report)
        self._clock = clock
        self._stop = stop
        self._logs = Reconciler(
            client, row_keys, clock=clock, stop=stop, settle_time=settings.log_settle_time.total_seconds()
        )
        self._canary = Canary(client, ledger, canary, run=run, settings=settings, clock=clock, chance=chance)
        self._prospects = Prospects(self._logs, ledger, self._canary, settings)
        self._tally = Tally()
        self._resends = 0
        self._keeps_worker = keeps_worker
        self._waiting: Waiting | None = None
        self._tries = Tries(left=run.tries_left, retry_delay=settings.retry_delay, is_remembered=ledger.outlives_try)
        self._has_said_what_is_looked_for = False
        self.unreported = self._findings.unreported
        """Batches of this task instance that the report lacks: only the logs know their umids. What is applied goes."""

    @property
    def logs_problem(self) -> str | None:
        """Why the last look at the logs failed, if it did."""
        return self._logs.problem

    def catch_up(self) -> None:
        """Have the report say of the task instance's batches what the journal says, as far as only it is needed."""
        self._findings.catch_up()

    def apply_what_a_person_says(self, said: Mapping[str, Said]) -> None:
        """
        Settle batches as somebody has seen them in 8x8's portal.

        :param said: by client batch id
        :raises JournalMismatchError: one is none of the campaign's, which has another one of unknown outcome
        """
        entries = [entry for entry in self._ledger.entries() if entry.is_batch]
        for entry, what in said_of(said, entries, self._run.campaign_id):
            self._apply_what_is_said(entry, what)

    def _apply_what_is_said(self, entry: Entry, what: Said) -> None:
        name = entry.client_batch_id
        while entry.is_open and not self._may_be_decided(entry) and not self._stop.is_set():
            self._clock.sleep(_LOOK_AT_OTHERS)  # whoever has sent it may have the answer yet
            self._ledger.refresh()
            entry = self._ledger[name]
        if entry.is_open and not self._may_be_decided(entry):
            return  # the task is to end
        settled = as_said(entry, what)
        if not entry.gives_way_to(settled):
            log.info("settled_batches: batch %s is %s already, by what 8x8 has said", name, entry.state)
            return
        log.warning("settled_batches: somebody says that batch %s was %s", name, what)
        self._findings.apply(Finding(settled), self._tally)

    def look(self) -> None:
        """Look once into the logs for what this task instance does not know, as the ledger now has it."""
        wanted = self._wanted()
        if wanted:
            self._look(wanted, self._clock.now() + ONE_LOOK)

    def settle(self, tally: Tally) -> None:
        """
        Find out from 8x8's logs what became of batches of unknown outcome, then decide about the rest.

        :param tally: of the last reading of the source: which batches of others have rows of it
        :raises LogsAwaited: the logs are to be waited for without a worker; see :meth:`pause`
        """
        self._tally = tally
        self._wait_for_others()  # with a look into the journal, which holds until something is waited for
        self._wait_for_the_logs()
        if not self._stop.is_set():
            self._apply_on_unknown()

    def pause(
        self, wait: Wait, *, open_before: Collection[str], stop: Stop | None, read_in_vain: int, rejected: Reasons
    ) -> Pause:
        """
        Return what the try has to know when it goes on after a wait.

        :param open_before: what was open when the try began
        :param stop: why it sends nothing more
        :param read_in_vain: how many of the last readings have brought nothing
        :param rejected: why 8x8 has rejected rows
        """
        if self._waiting is None:
            raise RuntimeError("nothing is waited for")
        rows = self._tally.rows_by_entry
        return Pause(
            wait=wait,
            waiting=self._waiting,
            unread=self._logs.unread,
            rows_by_entry={name: rows[name] for name in rows if self._ledger[name].is_open},
            open_before=sorted(open_before),
            cancelled_before=sorted(self._ledger.cancelled_before),
            is_canary_spent=self._canary.is_spent,
            resends=self._resends,
            stop=stop,
            read_in_vain=read_in_vain,
            rejected=rejected.rows,
        )

    def go_on(self, pause: Pause) -> None:
        """
        Go on with the settling that a wait has interrupted.

        :raises LogsAwaited: see :meth:`settle`
        """
        self._waiting = pause.waiting
        self._logs.unread = pause.unread
        self._canary.is_spent = pause.is_canary_spent
        self._resends = pause.resends
        self._has_said_what_is_looked_for = pause.waiting.looks > 0
        tally = Tally()
        tally.rows_by_entry.update(pause.rows_by_entry)
        self.settle(tally)

    def conclude(self) -> None:
        """Report what the journal knows of the task instance's batches, where the logs were not found to know more."""
        self._report_changes_of_others()
        for entry in self._ledger.own_batches():
            if self._is_wanted(entry, self._clock.now()):
                self._findings.report_as_known(entry)

    def has_set_rows_free(self) -> bool:
        """Tell whether rows that the last reading left to a batch may be sent now, as :meth:`settle` has seen it."""
        return any(self._has_been_freed(self._ledger[holder]) for holder in self._tally.rows_by_entry)

    def outlook(self, *, is_last_try: bool) -> str | None:
        """Say what can tell of the batches that are still unknown, and from when on; None if all was decided."""
        now = self._clock.now()
        tries = replace(self._tries, left=0) if is_last_try else self._tries
        wanted = [entry for entry in self._ledger.entries() if entry.is_open and self._is_wanted(entry, now)]
        return outlook(self._prospects.unanswered(wanted, now), tries, now=now) if wanted else None

    def _refresh(self) -> None:
        self._ledger.refresh()
        self._report_changes_of_others()

    def _report_changes_of_others(self) -> None:
        for entry in self._ledger.take_changed_by_others():
            self._findings.report_change(entry, self._tally)

    # looking

    def _wanted(self) -> list[Entry]:
        """
        Return the batches that 8x8's logs have to tell about.

        Those of this task instance, which it counts, and those of others that have rows of this source; these may
        still be on the wire for a while.
        """
        now = self._clock.now()
        return [entry for entry in self._ledger.entries() if self._is_wanted(entry, now)]

    def _is_wanted(self, entry: Entry, now: float) -> bool:
        if entry.client_batch_id in self.unreported:
            return True
        if not entry.is_open:
            return False
        return self._ledger.is_own(entry) or (
            self._tally.rows_by_entry[entry.client_batch_id] > 0 and now >= _may_be_on_the_wire_until(entry)
        )

    def _look(self, wanted: Sequence[Entry], by: float, patience: float = math.inf) -> None:
        for finding in self._logs.look(wanted, self._ledger.entries(), by=by, patience=patience):
            self._findings.apply(finding, self._tally)

    # waiting

    def _wait_for_others(self) -> None:
        """
        Give other runs' batches with rows of this source their time: whoever made one may be dead.

        Who decides about a batch without 8x8's word waits until nobody can have that word any more.
        """
        decides = self._settings.on_unknown is not OnUnknown.FAIL
        while not self._stop.is_set():
            self._refresh()
            held = [self._ledger[holder] for holder in self._tally.rows_by_entry]
            pending = [entry for entry in held if entry.state is EntryState.PENDING]
            ends_at = max(
                (entry.may_be_answered_until if decides else _may_be_on_the_wire_until(entry) for entry in pending),
                default=0.0,
            )
            left = ends_at - self._clock.now()
            if left <= 0:
                break
            self._clock.sleep(min(left, _LOOK_AT_OTHERS))

    def _wait_for_the_logs(self) -> None:
        """
        Look into the logs until they tell all that is wanted, or cannot in this try's time.

        :raises LogsAwaited: they are to be waited for without a worker
        """
        wanted = self._wanted()
        if not wanted:
            return
        self._waiting = waiting = self._waiting_for(wanted)
        while not waiting.is_over:
            next_look = self._look_once_more(waiting)
            if next_look is None:
                waiting.is_over = True
                continue
            left = next_look - self._clock.now()
            if self._keeps_worker or left < _SHORT:
                self._clock.sleep(left)
                self._refresh()
            else:
                raise LogsAwaited(Wait(next_look))

    def _waiting_for(self, wanted: Sequence[Entry]) -> Waiting:
        """Return the wait that this try is in, or a new one if something is to be waited for that was not before."""
        began = self._clock.now()
        names = [entry.client_batch_id for entry in wanted]
        before = self._waiting
        if before is not None and set(names).issubset(before.client_batch_ids) and not self._has_sent_since(before):
            return before
        return Waiting(
            began=began,
            ends_at=began + self._settings.reconcile_timeout.total_seconds(),
            exports_left=MAX_EXPORTS - 1,  # one was for the look at the try's beginning
            client_batch_ids=names,
        )

    def _has_sent_since(self, waiting: Waiting) -> bool:
        """
        Tell whether 8x8 has taken a batch of this try since a wait began: what is younger can tell of what is older.

        What 8x8 refuses does not count, or a try that is refused again and again would never end.
        """
        return any(
            entry.is_batch
            and entry.is_in_effect
            and self._ledger.is_of_this_try(entry)
            and entry.begun >= waiting.began
            for entry in self._ledger.entries()
        )

    def _look_once_more(self, waiting: Waiting) -> float | None:
        """
        Look, and send the canary if it is due; return when to look again, None if not in this try's time.

        :raises LogsAwaited: an export of the logs is to be waited for without a worker
        """
        wanted = self._wanted()
        if not wanted or self._stop.is_set():
            return None
        exports = self._logs.exports
        # A look that goes on in another process began with its exports: with a new time each, it might never end.
        began = min((export.asked_at for export in self._logs.unread), default=self._clock.now())
        by = max(waiting.ends_at, began + ONE_LOOK)
        try:
            self._look(wanted, by, math.inf if self._keeps_worker else _PATIENCE)
        finally:
            waiting.exports_left -= self._logs.exports - exports
        waiting.looks += 1
        self._refresh()
        wanted = self._wanted()
        if not wanted or self._stop.is_set():
            return None
        now, ends_at = self._clock.now(), waiting.ends_at
        if began < ends_at <= now and self._settings.on_unknown is not OnUnknown.FAIL:
            return now  # nothing is decided by logs of before the end, such as an export that a triggerer was late with
        due = self._prospects.canary_due_at(wanted, now, ends_at)
        if due and now >= due[0]:
            self._canary.send()
        if now >= waiting.began + LOOK_AROUND and self._prospects.is_in_vain(wanted, now, ends_at):
            return None
        pause = _pause_after(waiting.looks, _FIRST_PAUSE if self._keeps_worker else _FIRST_PAUSE_WITHOUT_WORKER)
        next_look = self._prospects.next_look(wanted, now, ends_at, pause, waiting.exports_left)
        if next_look is not None:
            self._log_progress(wanted, now, next_look, ends_at)
        return next_look

    def _log_progress(self, wanted: Sequence[Entry], now: float, next_look: float, ends_at: float) -> None:
        is_open = [entry for entry in wanted if entry.is_open]
        if is_open and not self._has_said_what_is_looked_for:
            self._has_said_what_is_looked_for = True
            log.warning("%s", self._prospects.in_words(is_open, self._tries, now, ends_at))
        log.info(
            "Looking for %s in 8x8's logs: again in %.0f s",
            counted(len(wanted), "batch", "batches"),
            next_look - now,
        )

    # deciding

    def _apply_on_unknown(self) -> None:
        """Do what ``on_unknown`` says about what stays unknown."""
        on_unknown = self._settings.on_unknown
        if on_unknown is OnUnknown.RESEND:
            self._resends += 1
        if not self._wanted():
            return
        self._refresh()  # a canary may have taken its time
        for entry in self._wanted():
            if entry.is_open and self._may_be_decided(entry):
                settled = decided(entry, on_unknown, may_resend=self._resends <= MAX_RESENDS)
                if settled is not None:
                    log.warning("%s", is_decided(on_unknown, entry.client_batch_id, messages_of(entry)))
                    self._findings.apply(Finding(settled), self._tally)
                    continue
                if on_unknown is OnUnknown.RESEND:
                    log.warning("%s", is_resent_too_often(entry.client_batch_id, messages_of(entry), MAX_RESENDS))

    def _may_be_decided(self, entry: Entry) -> bool:
        """Tell whether nobody can still get 8x8's answer."""
        return self._clock.now() >= entry.may_be_answered_until

    def _has_been_freed(self, entry: Entry) -> bool:
        if not entry.is_in_effect:
            return not self._ledger.is_cancelled_meanwhile(entry)
        free_keys = self._ledger.free_keys(entry)
        if self._ledger.is_of_this_reading(entry):
            return bool(free_keys)
        met = self._tally.seen_open.get(entry.client_batch_id)
        # What was free already when the entry came up was not left to it.
        return met is not None and free_keys != self._ledger.free_keys(met)


def _may_be_on_the_wire_until(entry: Entry) -> float:
    return min(entry.send_by, entry.may_be_answered_until)


def _pause_after(looks: int, first: float) -> float:
    """Return how long to wait for another look: twice as long each time."""
    return first * 2.0 ** (looks - 1)
