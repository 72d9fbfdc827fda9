"""Makes a canceller out of the operator's arguments, and has it cancel: by the campaign's journal, if there is one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.operators.rendering import check_rendered
from airflow_provider_8x8.operators.source import deployment, journal_connection
from airflow_provider_8x8.surveys.chance import SystemChance
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError
from airflow_provider_8x8.surveys.journal.header import JOURNAL_FORMAT
from airflow_provider_8x8.surveys.outcomes.cancellations import Cancellation
from airflow_provider_8x8.surveys.sending.cancelling import CampaignCancels, Canceller, TryCancels
from airflow_provider_8x8.surveys.sending.unanswered import counted

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.api.client import EightByEightClient
    from airflow_provider_8x8.operators.cancel_batch import EightByEightCancelBatchOperator
    from airflow_provider_8x8.surveys.journal.entries import Entry

log = logging.getLogger(__name__)

NOT_IN_JOURNAL = "campaign {campaign!r} is not in the journal (connection {conn_id!r})"
_ANSWERED_KEY = "8x8/cancelled"
_NAMED = 20


def cancel(
    task: EightByEightCancelBatchOperator, context: Context, stop: threading.Event
) -> tuple[list[Cancellation], str | None]:
    """
    Cancel the task's batches.

    :param stop: set from outside when the try is to end
    :return: what is known of each, and what has failed beside 8x8's own answers
    :raises JournalError: nothing was cancelled, since the journal cannot be told
    :raises ValueError: an argument was rendered to something that it cannot be, or there is no journal; likewise a
        TypeError
    :raises Exception: what else Airflow raises when it is asked for a connection
    """
    check_rendered(task)
    campaign_id = task.campaign_id
    client = EightByEightHook(task.eight_by_eight_conn_id, subaccount_id=task.subaccount_id).client
    batches = task.batch_ids.batches
    clock = SystemClock(stop)
    if campaign_id is None:
        accepted = batches.accepted if len(batches.ids) == 1 and not batches.without_id else None
        memory = TryCancels(accepted, _remembered(context))
        if memory.answered:
            _remember(context, memory.wholly_cancelled)  # of the others an answer is missing if this try is killed
        canceller = Canceller(client, memory, clock=clock, stop=stop)
        cancellations = canceller.cancel(batches.ids)
        _remember(context, memory.answered)
        _share_total(cancellations, batches.accepted)
    else:
        with _campaign_cancels(task, campaign_id, client) as by_journal:
            canceller = Canceller(client, by_journal, clock=clock, stop=stop)
            cancellations = canceller.cancel(batches.ids)
    return cancellations, canceller.problem


@contextmanager
def _campaign_cancels(
    task: EightByEightCancelBatchOperator, campaign_id: str, client: EightByEightClient
) -> Iterator[CampaignCancels]:
    from airflow_provider_8x8.journals.sql import engine_of
    from airflow_provider_8x8.surveys.journal.database import JournalDatabase
    from airflow_provider_8x8.surveys.journal.sql import SqlJournal

    conn_id = journal_connection(task)
    if conn_id is None:
        raise ValueError(
            "campaign_id needs journal_conn_id, the SQL journal of the task that has sent the batches: nothing was "
            f"cancelled, and the connection {task.eight_by_eight_conn_id!r} names no journal either"
        )
    journal = SqlJournal(JournalDatabase(engine_of(conn_id), conn_id), campaign_id)
    try:
        header = journal.header()
        if header is None:
            raise JournalMismatchError(
                NOT_IN_JOURNAL.format(campaign=campaign_id, conn_id=conn_id),
                "Nothing was cancelled. Give the campaign_id and the journal_conn_id of the task that sent the batches",
            )
        # Another 8x8, or another sub-account, cannot tell of this campaign's batches.
        ours = msgspec.structs.replace(
            header,
            subaccount_id=client.subaccount_id,
            address=client.address,
            deployment=deployment(),
            journal_format=JOURNAL_FORMAT,
        )
        journal.open(ours, must_exist=True)
        entries, batch_ids = journal.news(), task.batch_ids.batches.ids
        by_journal = CampaignCancels(journal, entries, batch_ids, campaign_id=campaign_id, chance=SystemChance())
        _say_what_is_left_out(entries, batch_ids)
        yield by_journal
    finally:
        journal.close()


def _say_what_is_left_out(entries: Sequence[Entry], batch_ids: Sequence[str]) -> None:
    """Say which other batches the campaign has: a task that was killed has left no result that would name its own."""
    given = set(batch_ids)
    others = [entry for entry in entries if entry.is_batch and entry.is_in_effect and entry.batch_id not in given]
    if messages := sum(entry.most_accepted for entry in others):
        log.warning(
            "Not among the batches to cancel are others of the campaign, with %s that 8x8 has or may have. "
            "Client batch ids: %s",
            counted(messages, "message"),
            ", ".join(entry.client_batch_id for entry in others[:_NAMED]) + (", ..." if len(others) > _NAMED else ""),
        )


def _share_total(cancellations: list[Cancellation], accepted: int | None) -> None:
    """Take note, where all together were accepted that were cancelled, that it is so of each."""
    if accepted is not None and sum(each.cancelled for each in cancellations) == accepted:
        for each in cancellations:
            each.accepted = each.cancelled


def _remembered(context: Context) -> Mapping[str, int] | None:
    """Return what earlier tries were answered, as far as Airflow knows; None if there were none."""
    if context["ti"].try_number == 1:
        return None
    store = context.get("task_state_store")
    try:
        return {} if store is None else msgspec.convert(store.get(_ANSWERED_KEY) or {}, dict[str, int])
    except Exception as error:  # noqa: BLE001  # a custom backend's; what is not known counts as such
        log.warning("What 8x8 has answered to earlier tries is not known: %s", type(error).__name__)
        return {}


def _remember(context: Context, answered: Mapping[str, int]) -> None:
    """Leave what 8x8 has answered to another try."""
    store = context.get("task_state_store")
    try:
        if store is not None:
            store.set(_ANSWERED_KEY, dict(answered))
    except Exception as error:  # noqa: BLE001  # a custom backend's, or it is too long; then it is not known
        log.warning("What 8x8 has answered is not remembered: %s", type(error).__name__)
