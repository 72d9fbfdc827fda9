"""What became of messages on their way to the phones, in the outcome table: of those that it has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.surveys.messages.row_keys import fold_message_id
from airflow_provider_8x8.surveys.outcomes.deliveries import FINAL, Deliveries, Fate, Message, price_of
from airflow_provider_8x8.surveys.outcomes.sinks import SinkError
from airflow_provider_8x8.surveys.outcomes.table_columns import LONGEST, Values
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase, pieces, utc

log = logging.getLogger(__name__)


class DeliveryColumns:
    """
    Writes state, error and price of messages, found by their umids.

    Rows whose umid nobody knew, as of a batch that a person has settled, get it first: by their client message ids.

    :param database: the table
    """

    def __init__(self, database: TableDatabase) -> None:
        self._database = database

    def prepare(self) -> None:
        """
        See that the table can be written, and make it if it is not there.

        :raises SinkError: it cannot
        """
        try:
            self._database.prepare({})
        finally:
            self._database.close()

    def write(self, deliveries: Deliveries, as_of: float) -> str | None:
        """
        Write what an export says; return why that failed, None if it has not.

        What a later one has changed stays, and so does what is there as it is. A message that has come to its end stays
        there: that a later export says otherwise only shows that 8x8's logs lag.

        :param as_of: when 8x8 was asked for it, in seconds since 1970
        """
        changed = 0
        try:
            for client_batch_id, messages in deliveries.found().items():
                self._database.run(partial(self._identify, client_batch_id, messages), "be written")
            for fate, umids in deliveries.by_fate().items():
                for some in pieces(umids):
                    work = partial(self._update, self._values(fate, as_of), some)
                    changed += self._database.run(work, "be written")
        except SinkError as error:
            log.warning("%s", error)
            return str(error)
        finally:
            self._database.close()
        log.info("%s: %d rows have another delivery state or price", self._database, changed)
        return None

    def _identify(self, client_batch_id: str, messages: Sequence[Message], connection: Connection) -> None:
        """Give the rows of a batch that have no umid the ones that 8x8's logs have for them."""
        table, columns = self._database.table, self._database.table.columns
        lacking = sa.select(columns.row_id, columns.client_message_id).where(
            columns.owner == client_batch_id, columns.umid.is_(None)
        )
        row_ids: dict[str, str] = {}
        for row_id, message_id in connection.execute(lacking).all():
            row_ids[row_id] = row_id  # which is the client message id of a row that brings none
            if message_id is not None:
                row_ids[fold_message_id(message_id)] = row_ids[message_id] = row_id
        found: dict[str, Message] = {}
        for message in messages:
            its = message.client_message_id
            row_id = row_ids.get(its) or row_ids.get(fold_message_id(its))
            if row_id is not None:
                found.setdefault(row_id, message)
        if found:
            update = (
                sa.update(table)
                .where(columns.owner == client_batch_id, columns.row_id == sa.bindparam("of_row"))
                .values(umid=sa.bindparam("its_umid"), batch_id=sa.bindparam("its_batch"))
            )
            connection.execute(
                update,
                [
                    {"of_row": row_id, "its_umid": message.umid, "its_batch": message.batch_id or None}
                    for row_id, message in found.items()
                ],
            )

    def _values(self, fate: Fate, as_of: float) -> Values:
        price = price_of(fate.price)
        return {
            "delivery_state": quotable(fate.status)[: LONGEST["delivery_state"]],
            "delivery_detail": fate.detail and quotable(fate.detail)[: LONGEST["delivery_detail"]],
            "delivery_error": fate.code and quotable(fate.code)[: LONGEST["delivery_error"]],
            "currency": fate.currency and quotable(fate.currency)[: LONGEST["currency"]],
            "price": None if price is None else float(price),
            "delivery_as_of": utc(as_of),
        }

    def _update(self, values: Values, umids: Any, connection: Connection) -> int:
        table, columns = self._database.table, self._database.table.columns
        is_other = [
            columns[name].is_not(None) if value is None else sa.or_(columns[name].is_(None), columns[name] != value)
            for name, value in values.items()
            if name != "delivery_as_of"
        ]
        is_older = sa.or_(columns.delivery_as_of.is_(None), columns.delivery_as_of <= values["delivery_as_of"])
        these = sa.and_(columns.umid.in_(umids), is_older, sa.or_(*is_other))
        if values["delivery_state"] not in FINAL:
            these &= sa.or_(columns.delivery_state.is_(None), columns.delivery_state.not_in(FINAL))
        count = connection.execute(sa.select(sa.func.count()).select_from(table).where(these)).scalar_one()
        if count:
            connection.execute(sa.update(table).where(these).values(**values))
        return int(count)
