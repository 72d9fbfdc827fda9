"""Deletes old campaigns from a SQL journal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import EntryState
from airflow_provider_8x8.surveys.journal.tables import BATCH, CAMPAIGN, MARK


def prune(database: JournalDatabase, before: datetime) -> int:
    """
    Delete the campaigns of which nothing is open and that were not used since some time; return how many.

    :raises JournalUnavailableError: the database could not be read or written just now
    """
    database.make_tables()
    old = database.run(partial(_old_campaigns, before), "look for old campaigns")
    # A task instance that is cleared later finds its entries if there are any, else it refuses to send.
    is_old = MARK.c.began < before.replace(tzinfo=UTC).timestamp()
    database.run(lambda connection: connection.execute(sa.delete(MARK).where(is_old)), "delete old marks")
    return sum(database.run(partial(_delete, row_id, before), "delete a campaign") for row_id in old)


def _old_campaigns(before: datetime, connection: Connection) -> Sequence[int]:
    return connection.execute(sa.select(CAMPAIGN.c.id).where(CAMPAIGN.c.used < before, _nothing_open())).scalars().all()


def _delete(row_id: int, before: datetime, connection: Connection) -> int:
    """Delete a campaign, unless somebody uses it after all."""
    this_one = CAMPAIGN.c.id == row_id
    connection.execute(sa.update(CAMPAIGN).where(this_one).values(last_number=CAMPAIGN.c.last_number))
    is_old = sa.select(CAMPAIGN.c.id).where(this_one, CAMPAIGN.c.used < before, _nothing_open())
    if connection.execute(is_old).first() is None:
        return 0
    connection.execute(sa.delete(BATCH).where(BATCH.c.campaign == row_id))
    connection.execute(sa.delete(CAMPAIGN).where(this_one))
    return 1


def _nothing_open() -> Any:
    """Return the condition in SQL that no entry of the campaign is open."""
    return ~sa.exists().where(BATCH.c.campaign == CAMPAIGN.c.id, _is_open())


def _is_open() -> Any:
    """Return the condition in SQL for :attr:`~airflow_provider_8x8.surveys.journal.entries.Entry.is_open`."""
    is_half_known = sa.and_(BATCH.c.state == EntryState.SENT.value, BATCH.c.unknown_keys != b"")
    return sa.or_(BATCH.c.state == EntryState.PENDING.value, is_half_known)
