"""Makes a preview out of the operator's arguments: what was sent before, the rows, the texts, and what they cost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError
from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.journals.sql import engine_of
from airflow_provider_8x8.operators.masked import unmasked
from airflow_provider_8x8.operators.rendering import check_rendered
from airflow_provider_8x8.operators.source import (
    builder_of,
    deployment,
    journal_connection,
    source_of_rows,
    template_of,
)
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.errors import JournalUnavailableError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.looking import JournalToLookInto
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_RULES, RowKeys
from airflow_provider_8x8.surveys.preview.costs import Prices, estimate
from airflow_provider_8x8.surveys.preview.preview import Preview, read_for_preview
from airflow_provider_8x8.surveys.preview.texts import TextCounts
from airflow_provider_8x8.surveys.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_8x8.operators.survey_preview import EightByEightSurveyPreviewOperator

log = logging.getLogger(__name__)

_A_CAMPAIGN_PER_RUN = (
    "without campaign_id, each run of the task that sends is a campaign of its own, and alone knows what it has sent"
)
_NO_JOURNAL = "there is no SQL journal (journal_conn_id) that could tell"


def preview(task: EightByEightSurveyPreviewOperator) -> Preview:
    """
    Read the rows as sending them would, and send nothing.

    :raises SendingStopped: the source failed, or cannot be used
    :raises JournalError: the campaign cannot be sent with these arguments
    :raises ValueError: an argument was rendered to something that it cannot be; likewise a TypeError
    :raises Exception: what else Airflow raises when it is asked for a connection
    """
    check_rendered(task)
    campaign_id = None if task.campaign_id is None else str(unmasked(task.campaign_id))
    client, no_client = _client_of(task)
    entries, why_unknown = _sent_before(task, campaign_id, client)
    encoding = unmasked(task.encoding) or None
    previewed = read_for_preview(
        source_of_rows(task),
        builder_of(task, RowKeys(campaign_id or "")),
        TextCounts(template_of(task), encoding),
        settings=Settings(survey_id=task.survey_id or "", batch_size=task.batch_size),
        campaign_id=campaign_id,
        entries=entries,
        why_unknown=why_unknown,
        clock=SystemClock(threading.Event()),
    )
    if client is None:
        previewed.cost_note = previewed.balance_note = no_client
    else:
        _look_up_cost(previewed, client)
        _look_up_balance(previewed, client)
    return previewed


def _client_of(task: EightByEightSurveyPreviewOperator) -> tuple[EightByEightClient | None, str | None]:
    """Return a client, or why there is none: a preview has its use without one."""
    try:
        return EightByEightHook(task.eight_by_eight_conn_id, subaccount_id=task.subaccount_id).client, None
    except Exception as error:  # noqa: BLE001  # secrets backends raise what they like
        return None, f"the connection cannot be used: {_said(error)}"


def _sent_before(
    task: EightByEightSurveyPreviewOperator, campaign_id: str | None, client: EightByEightClient | None
) -> tuple[Sequence[Entry] | None, str | None]:
    """Return what the campaign has sent before, or why that is not known."""
    if campaign_id is None:
        return None, _A_CAMPAIGN_PER_RUN
    conn_id = task.journal_conn_id if client is None else journal_connection(task)
    if conn_id is None:
        return None, _NO_JOURNAL
    header = None
    if client is not None and task.survey_id:
        header = Header(
            survey_id=task.survey_id,
            subaccount_id=client.subaccount_id,
            row_key_rules=ROW_KEY_RULES,
            address=client.address,
            deployment=deployment(),
        )
    journal = JournalToLookInto(engine_of(conn_id), conn_id)
    try:
        return journal.entries(campaign_id, header), None
    except JournalUnavailableError as error:
        log.warning("What the campaign has sent before is not known: %s", error)
        return None, str(error)
    finally:
        journal.close()


def _look_up_cost(previewed: Preview, client: EightByEightClient) -> None:
    try:
        prices = Prices(client.get_prices(), client.subaccount_id)
    except Exception as error:  # noqa: BLE001  # whatever it is, the preview goes on
        previewed.cost_note = _note("8x8's price list", error)
        return
    costs, without_price = estimate(previewed.recipients, prices)
    notes = []
    if len(costs) == 1:
        (previewed.cost,) = costs
    elif costs:
        said = [f"{cost.lowest} to {cost.highest} {cost.currency}" for cost in costs]
        notes.append(f"it is in several currencies: {' and '.join(said)}")
    if without_price:
        notes.append(
            f"{without_price} part{'' if without_price == 1 else 's'} to numbers for which 8x8's price list has no "
            "price, or prices in several currencies"
        )
    elif not costs:
        notes.append("there is nothing to be sent")
    previewed.cost_note = "; without ".join(notes) or None


def _look_up_balance(previewed: Preview, client: EightByEightClient) -> None:
    try:
        previewed.balance = client.get_balance()
    except Exception as error:  # noqa: BLE001  # whatever it is, the preview goes on
        previewed.balance_note = _note("8x8's balance", error)


def _note(what: str, error: Exception) -> str:
    said = _said(error)
    if isinstance(error, EightByEightError):
        log.warning("%s could not be had: %s", what, said)
        return f"{what} could not be had: {said}"
    return said


def _said(error: Exception) -> str:
    return mask_phone_numbers(str(error)) or type(error).__name__
