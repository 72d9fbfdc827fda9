"""One reading of the source: rows -> messages -> batches, and what becomes of the rows that go into none."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.builder import ColumnsError, MessageBuilder, Rows
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import OnInvalid, Settings

_ROWS_AT_A_TIME = 1_000
_SAME_ID = "another row of its batch has its client_message_id, too"


class Reading:
    """
    One reading of the source.

    :param builder: makes messages of rows
    :param settings: what to check before anything is sent, and how large a batch is
    :param ledger: knows which row keys others hold
    :param fates: have each row that was read, and what becomes of it
    :param began: when the task instance's first try began, in seconds since 1970
    """

    def __init__(
        self,
        builder: MessageBuilder,
        settings: Settings,
        ledger: Ledger,
        fates: Fates,
        *,
        began: float,
    ) -> None:
        self._builder = builder
        self._settings = settings
        self._limit = settings.max_messages or math.inf
        self._ledger = ledger
        self._fates = fates
        self._began = began

    def check_before_sending(self, rows: Rows) -> None:
        """
        Read the source without sending, if there is something that forbids to send any of it.

        :raises SendingStopped: there is
        """
        if self._settings.max_messages is None and self._settings.on_invalid is OnInvalid.SKIP:
            return
        seen: set[bytes] = set()
        with closing(self._messages(rows)) as chunks:
            for found in self._with_ids_checked(chain.from_iterable(chunks), seen):
                if isinstance(found, RowMessage):
                    seen.add(found.row_key)
                    if len(seen) > self._limit:
                        raise self._too_many("no batch was begun")
                elif self._settings.on_invalid is OnInvalid.FAIL and not self._is_known(found, seen):
                    self._fates.tally.sample(found.number, str(found))
                    raise SendingStopped(
                        f"no batch was begun, because on_invalid is 'fail': {_sample(found)}", is_final=True
                    )

    def _with_ids_checked(
        self, found: Iterable[RowMessage | InvalidRowError], seen: Collection[bytes]
    ) -> Iterator[RowMessage | InvalidRowError]:
        """Yield what was found, with a row that has the id of another of its batch as the invalid one it will be."""
        ids: dict[str, bytes] = {}
        in_batch = 0
        for row in found:
            if not isinstance(row, RowMessage) or not self._builder.rows_bring_ids or self._is_known(row, seen):
                yield row
            elif not self._can_be_told_apart(row, ids):
                yield InvalidRowError.of(row, _SAME_ID)
            else:
                in_batch += 1
                if in_batch == self._settings.batch_size:
                    ids, in_batch = {}, 0
                yield row

    def batches(self, rows: Rows) -> Generator[list[RowMessage], None, None]:
        """
        Gather messages into batches; a row that goes into none gets its outcome here.

        :raises SendingStopped: the source failed, has too many rows, or an invalid one that forbids to send the others
        """
        batch: list[RowMessage] = []
        seen: set[bytes] = set()
        ids: dict[str, bytes] = {}
        distinct = 0
        size = self._settings.batch_size
        try:
            with closing(self._messages(rows)) as chunks:
                for chunk in chunks:
                    brings_ids = self._builder.rows_bring_ids
                    for found in chunk:
                        if not isinstance(found, RowMessage):
                            self._note_unsendable(found, seen)
                            distinct = len(seen)
                            continue
                        seen.add(found.row_key)
                        if len(seen) == distinct:  # one look into the set instead of two
                            self._fates.note_duplicate(found)
                            continue
                        if brings_ids and not self._can_be_told_apart(found, ids):
                            seen.remove(found.row_key)
                            self._note_unsendable(InvalidRowError.of(found, _SAME_ID), seen)
                            distinct = len(seen)
                            continue
                        distinct += 1
                        batch.append(found)
                        if distinct > self._limit:
                            raise self._too_many("the rest was not sent")
                        if len(batch) == size:
                            self._drop_unsendable(batch)
                            if len(batch) == size:
                                full, batch, ids = batch, [], {}
                                yield full
            self._fates.tally.is_whole = True
            self._drop_unsendable(batch)
            if batch:
                full, batch = batch, []
                yield full
        finally:
            # The source failed, or the campaign must not go on.
            self._drop_unsendable(batch)

    def _drop_unsendable(self, batch: list[RowMessage]) -> None:
        """Take out of a batch, all of which is in hand from then on, what is not to be sent in it."""
        self._fates.take(batch)
        # First out of the batch, then noted: noting may fail with the report, and no row may be noted twice.
        if self._ledger.holds_any:
            held = self._ledger.holders_of([row.row_key for row in batch])
            holders = [(row, held.get(row.row_key)) for row in batch]
            batch[:] = [row for row, holder in holders if holder is None]
            for row, holder in holders:
                if holder is not None:
                    self._fates.note_held(row, holder)

    def _messages(self, rows: Rows) -> Generator[list[RowMessage | InvalidRowError], None, None]:
        """Yield every row's message or the reason why it has none, some at a time."""
        read = 0
        with closing(iter(rows)) as source:  # a query's connection must not outlive a stop
            for chunk in _chunks(source):
                if read == 0:
                    self._use_columns(rows, chunk)
                yield self._builder.build(read + 1, chunk)
                read += len(chunk)

    def _use_columns(self, rows: Rows, first: Sequence[Any]) -> None:
        columns, others = rows.columns, set[tuple[str, ...]]()
        if columns is None:
            columns = first[0] if isinstance(first[0], Mapping) else ()
            others = {tuple(row) for row in first if isinstance(row, Mapping)}
        try:
            self._builder.use_columns(columns, complete=rows.columns is not None, others=others)
        except ColumnsError as error:
            raise SendingStopped(str(error), is_final=True) from None
        self._ledger.use_row_keys_of(self._builder.unique_by)

    def _too_many(self, consequence: str) -> SendingStopped:
        limit = self._settings.max_messages
        return SendingStopped(
            f"the source has more than max_messages={limit} rows to send; {consequence}", is_final=True
        )

    def _note_unsendable(self, row: InvalidRowError, seen: set[bytes]) -> None:
        """
        Note a row that cannot be sent: what became of it before, if it was sent before, else that it is invalid.

        :param seen: the row keys that have come up in this reading. That of an invalid row is not among them: a later
            row with it that can be sent is no duplicate.
        :raises SendingStopped: an invalid row forbids to send the others
        """
        if row.row_key in seen:
            self._fates.note_duplicate(row)
            return
        holder = None if row.row_key is None else self._ledger.holder_of(row.row_key)
        if row.row_key is not None and holder is not None:
            seen.add(row.row_key)
            self._fates.note_held(row, holder)
            return
        self._fates.note_invalid(row, is_overdue=self._is_overdue(row))
        if self._settings.on_invalid is OnInvalid.FAIL:
            raise SendingStopped(
                f"the rest was not sent, because on_invalid is 'fail' and the source now has an invalid row: "
                f"{_sample(row)}",
                is_final=True,
            )

    def _is_known(self, row: RowMessage | InvalidRowError, seen: Collection[bytes]) -> bool:
        """Tell whether a row's key has come up before, in this reading or in an entry."""
        key = row.row_key
        return key is not None and (key in seen or self._ledger.holder_of(key) is not None)

    def _is_overdue(self, row: InvalidRowError) -> bool:
        """Tell whether the row's own time was still to come when the task instance's first try began."""
        return row.past_time is not None and row.past_time.timestamp() > self._began

    def _can_be_told_apart(self, row: RowMessage, ids: dict[str, bytes]) -> bool:
        """
        Tell whether 8x8's answer will tell a row from those before it in its batch.

        :param ids: the row keys of those by client message id
        """
        before = ids.get(row.client_message_id)
        if before is not None and self._ledger.holder_of(before) is None:  # else that one is not sent now
            return False
        ids[row.client_message_id] = row.row_key
        return True


def _sample(row: InvalidRowError) -> str:
    return f"Row {row.number}: {row}"


def _chunks(source: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield a source's rows, some at a time; those before a failure come before it."""
    read = 0
    while True:
        chunk: list[Any] = []
        failure: SendingStopped | None = None
        try:
            chunk.extend(islice(source, _ROWS_AT_A_TIME))  # which keeps what was read before a failure
        except ColumnsError as error:
            failure = SendingStopped(mask_phone_numbers(str(error)), is_final=True)
        except Exception as error:  # noqa: BLE001  # every driver has errors of its own
            said = mask_phone_numbers(str(error))  # which may hold rows
            failure = SendingStopped(
                f"the source failed after {read + len(chunk)} rows and was not read to its end: "
                f"{type(error).__name__}: {said}"
            )
        read += len(chunk)
        if chunk:
            yield chunk
        if failure is not None:
            raise failure
        if len(chunk) < _ROWS_AT_A_TIME:
            return
