"""What a task tells Airflow's metrics: messages by outcome, and how long 8x8 takes for a batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import BatchResponse
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.protocol import Compose, Journal
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.summary import Summary
from airflow_provider_8x8.surveys.sending.posting import Post, Posting, PostingThread

log = logging.getLogger(__name__)

PREFIX = "eight_by_eight.survey."
BATCH_DURATION = "batch_duration"


class Metrics:
    """
    Counters and timers of one task instance, by whatever Airflow is configured to send them with.

    Nothing fails for their sake: once one could not be sent, none is any more.

    :param ti: the task instance, whose tags they have, as Airflow's own metrics of it
    """

    def __init__(self, ti: Any) -> None:
        # Not every Airflow's task instance has them, and a newer one's has more.
        self._tags: dict[str, str] = getattr(ti, "stats_tags", None) or {"dag_id": ti.dag_id, "task_id": ti.task_id}
        self._has_failed = False

    def count(self, outcome: Outcome, number: int) -> None:
        """Count messages or rows that have come to an outcome."""
        if number > 0:
            self._tell(lambda stats: stats.incr(PREFIX + outcome, number, tags=self._tags))

    def time_batch(self, seconds: float) -> None:
        """Tell how long the POST of a batch took, from its beginning to its answer, or until it has none."""
        duration = timedelta(seconds=seconds)  # of which each backend makes its own unit
        self._tell(lambda stats: stats.timing(PREFIX + BATCH_DURATION, duration, tags=self._tags))

    def _tell(self, tell: Callable[[Any], None]) -> None:
        if self._has_failed:
            return
        try:
            from airflow.providers.common.compat.sdk import Stats

            tell(Stats)
        except Exception as error:  # noqa: BLE001  # a backend's, which may be anybody's
            self._has_failed = True
            said = mask_phone_numbers(str(error))
            log.warning("Metrics could not be sent; this task sends no more: %s: %s", type(error).__name__, said)


class MeasuredPosts(PostingThread):
    """Makes POSTs, and measures each."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def post(self, post: Post) -> Posting:
        """See :class:`~airflow_provider_8x8.surveys.sending.posting.Poster`."""

        def measured(on_sent: Callable[[], None]) -> BatchResponse:
            began = time.monotonic()
            try:
                return post(on_sent)
            finally:
                self._metrics.time_batch(time.monotonic() - began)

        return super().post(measured)


class CountedJournal:
    """
    A journal that counts what is written into it of 8x8's word: by its answer, its refusal, or its logs.

    So each message counts once, in the try that learns of it, whichever has sent it, and what is counted is durable.

    :param journal: keeps the entries
    :param metrics: are told
    """

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._counted: dict[str, tuple[int, int]] = {}
        self.outlives_try = journal.outlives_try

    @property
    def first_begun(self) -> float:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.Journal`; likewise all else."""
        return self._journal.first_begun

    def open(self, header: Header) -> None:
        self._journal.open(header)

    def news(self) -> Sequence[Entry]:
        return self._note(self._journal.news())

    def begin(self, compose: Compose) -> Entry | None:
        return self._journal.begin(lambda news: compose(self._note(news)))

    def settle(self, entry: Entry) -> Entry:
        settled = self._journal.settle(entry)
        self._count(entry, settled)
        return settled

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        settled, begun = self._journal.settle_and_begin(entry, lambda news: compose(self._note(news)))
        self._count(entry, settled)
        return settled, begun

    def _count(self, entry: Entry, settled: Entry) -> None:
        accepted, rejected = self._counted.get(settled.client_batch_id, (0, 0))
        self._note([settled])
        if settled is entry:  # else somebody else has settled it before, and counted
            self._metrics.count(Outcome.ACCEPTED, settled.accepted_count - accepted)
            self._metrics.count(Outcome.REJECTED, settled.rejected_count - rejected)

    def _note(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Remember what is counted of entries, by this try or before."""
        for entry in entries:
            if entry.is_batch:
                self._counted[entry.client_batch_id] = (entry.accepted_count, entry.rejected_count)
        return entries


def count_what_is_left(metrics: Metrics, ti: Any, summary: Summary, *, may_be_tried_again: bool) -> None:
    """
    Count at the end of a try what only then is known.

    Those of its messages count as unknown of which it has not found out. Invalid rows are read again by each try, so
    they count in the last one only.

    :param metrics: of the try
    :param ti: the task instance
    :param summary: of the try
    :param may_be_tried_again: whether another try follows, if there is one left
    """
    metrics.count(Outcome.UNKNOWN, summary.by_this_try.unanswered)
    if not may_be_tried_again or ti.try_number > ti.max_tries:
        metrics.count(Outcome.INVALID, summary.outcomes[Outcome.INVALID])
