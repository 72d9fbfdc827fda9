"""One reading of the source: rows -> messages -> batches, and what becomes of the rows that go into none."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.messages.builder import ColumnsError, MessageBuilder, Rows, SourceError
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.cause import Cause
from airflow_provider_8x8.surveys.outcomes.fates import Fates
from airflow_provider_8x8.surveys.sending.brake import Brake
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
    :param brake: says how large the next batch is
    :param began: when the task instance's first try began, in seconds since 1970
    """

    def __init__(
        self,
        builder: MessageBuilder,
        settings: Settings,
        ledger: Ledger,
        fates: Fates,
        brake: Brake,
        *,
        began: float,
    ) -> None:
        self._builder = builder
        self._settings = settings
        self._limit = math.inf if settings.max_messages is None else settings.max_messages
        self._ledger = ledger
        self._fates = fates
        self._brake = brake
        self._began = began

    def check_before_sending(self, rows: Rows) -> None:
        """
        Read the source without sending, if there is something that forbids to send any of it.

        :raises SendingStopped: there is
        """
        if self._settings.max_messages is None and self._settings.on_invalid is OnInvalid.SKIP:
            return
        seen: set[bytes] = set()
        with closing(self._messages(rows)) as found:
            for row in self._with_ids_checked(found, seen):
                if row.row_key is not None and (isinstance(row, RowMessage) or self._is_known(row, seen)):
                    seen.add(row.row_key)
                    if len(seen) > self._limit:
                        raise self._too_many("no batch was begun")
                elif isinstance(row, InvalidRowError) and self._settings.on_invalid is OnInvalid.FAIL:
                    self._fates.tally.sample(row.number, str(row))
                    raise SendingStopped(
                        f"no batch was begun, because on_invalid is 'fail': {_sample(row)}",
                        is_final=True,
                        cause=Cause.LIMIT,
                    )

    def _with_ids_checked(
        self, found: Iterable[RowMessages | InvalidRowError], seen: Collection[bytes]
    ) -> Iterator[RowMessage | InvalidRowError]:
        """Yield every row that was found; one that has the id of another of its batch as the invalid one it will be."""
        ids: dict[str, bytes] = {}
        in_batch, size = 0, self._brake.batch_size
        for row in _one_by_one(found):
            if isinstance(row, InvalidRowError) or not self._builder.rows_bring_ids or self._is_known(row, seen):
                yield row
            elif not self._can_be_told_apart(row.client_message_id, row.row_key, ids):
                yield InvalidRowError.of(row, _SAME_ID)
            else:
                in_batch += 1
                if in_batch == size:
                    ids, in_batch, size = {}, 0, self._settings.batch_size
                yield row

    def batches(self, rows: Rows) -> Generator[RowMessages, None, None]:
        """
        Gather messages into batches; a row that goes into none gets its outcome here.

        :raises SendingStopped: the source failed, has too many rows, or an invalid one that forbids to send the others
        """
        batch = RowMessages()
        seen: set[bytes] = set()
        ids: dict[str, bytes] = {}
        size = self._brake.batch_size
        try:
            with closing(self._messages(rows)) as messages:
                for found in messages:
                    if isinstance(found, InvalidRowError):
                        self._note_unsendable(found, seen)
                        continue
                    while found:
                        part, found = _split(found, min(size - len(batch), self._limit - len(seen) + 1))
                        self._gather(part, batch, seen, ids)
                        if len(seen) > self._limit:
                            raise self._too_many("the rest was not sent")
                        if len(batch) == size:
                            self._drop_unsendable(batch, seen)
                            if len(batch) == size:
                                full, batch, ids = batch, RowMessages(), {}
                                yield full
                                size = self._brake.batch_size
            self._fates.tally.is_whole = True
            self._drop_unsendable(batch, seen)
            if batch:
                full, batch = batch, RowMessages()
                yield full
        finally:
            # The source failed, or the campaign must not go on.
            self._drop_unsendable(batch, seen)

    def _gather(self, rows: RowMessages, batch: RowMessages, seen: set[bytes], ids: dict[str, bytes]) -> None:
        """Add rows to a batch, but for those that have come up before or that an answer could not be matched with."""
        bring_ids = self._builder.rows_bring_ids
        if bring_ids and (
            len(set(rows.client_message_ids)) < len(rows) or not ids.keys().isdisjoint(rows.client_message_ids)
        ):
            self._gather_one_by_one(rows, batch, seen, ids)
            return
        # Sets as a whole: a look into one for each row, of a million, takes four times as long.
        known = seen.intersection(rows.row_keys)
        count = len(seen) + len(rows)
        seen.update(rows.row_keys)
        new, repeated = rows, list[RowMessage]()
        if known or len(seen) < count:
            is_new = []
            for row_key in rows.row_keys:
                is_new.append(row_key not in known)
                known.add(row_key)
            new = rows.picked(is_new)
            repeated = [rows.row(place) for place, its in enumerate(is_new) if not its]
        batch.extend(new)
        if bring_ids:
            ids.update(zip(new.client_message_ids, new.row_keys, strict=True))
        if repeated:
            self._fates.note_duplicates(repeated)

    def _gather_one_by_one(
        self, rows: RowMessages, batch: RowMessages, seen: set[bytes], ids: dict[str, bytes]
    ) -> None:
        for row in rows:
            if row.row_key in seen:
                self._fates.note_duplicates([row])
            elif not self._can_be_told_apart(row.client_message_id, row.row_key, ids):
                self._note_unsendable(InvalidRowError.of(row, _SAME_ID), seen)
            else:
                seen.add(row.row_key)
                batch.extend(RowMessages.of([row]))

    def _drop_unsendable(self, batch: RowMessages, seen: Collection[bytes]) -> None:
        """Take out of a batch, all of which is in hand from then on, what is not to be sent in it."""
        self._fates.tally.distinct = len(seen)
        self._fates.take(batch)
        # First out of the batch, then noted: noting may fail with the report, and no row may be noted twice.
        if held := self._ledger.holders_of(batch.row_keys):
            for row in batch.remove(row_key in held for row_key in batch.row_keys):
                self._fates.note_held(row, held[row.row_key])

    def _messages(self, rows: Rows) -> Generator[RowMessages | InvalidRowError, None, None]:
        """Yield what rows have become, as many as were built together, and each that is invalid."""
        read = 0
        with closing(iter(rows)) as source:  # a query's connection must not outlive a stop
            for chunk in _chunks(source):
                if read == 0:
                    self._use_columns(rows, chunk)
                yield from self._builder.build(read + 1, chunk)
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
            f"the source has more than max_messages={limit} rows to send; {consequence}",
            is_final=True,
            cause=Cause.LIMIT,
        )

    def _note_unsendable(self, row: InvalidRowError, seen: set[bytes]) -> None:
        """
        Note a row that cannot be sent: what became of it before, if it was sent before, else that it is invalid.

        :param seen: the row keys that have come up in this reading. That of an invalid row is not among them: a later
            row with it that can be sent is no duplicate.
        :raises SendingStopped: an invalid row forbids to send the others
        """
        if row.row_key in seen:
            self._fates.note_duplicates([row])
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
                cause=Cause.LIMIT,
            )

    def _is_known(self, row: RowMessage | InvalidRowError, seen: Collection[bytes]) -> bool:
        """Tell whether a row's key has come up before, in this reading or in an entry."""
        key = row.row_key
        return key is not None and (key in seen or self._ledger.holder_of(key) is not None)

    def _is_overdue(self, row: InvalidRowError) -> bool:
        """Tell whether the row's own time was still to come when the task instance's first try began."""
        return row.past_time is not None and row.past_time.timestamp() > self._began

    def _can_be_told_apart(self, client_message_id: str, row_key: bytes, ids: dict[str, bytes]) -> bool:
        """
        Tell whether 8x8's answer will tell a row from those before it in its batch.

        :param ids: the row keys of those by client message id
        """
        before = ids.get(client_message_id)
        if before is not None and self._ledger.holder_of(before) is None:  # else that one is not sent now
            return False
        ids[client_message_id] = row_key
        return True


def _one_by_one(found: Iterable[RowMessages | InvalidRowError]) -> Iterator[RowMessage | InvalidRowError]:
    for each in found:
        if isinstance(each, InvalidRowError):
            yield each
        else:
            yield from each


def _split(rows: RowMessages, place: float) -> tuple[RowMessages, RowMessages]:
    """Return the rows before a place, and the others."""
    return (rows, RowMessages()) if place >= len(rows) else (rows[: int(place)], rows[int(place) :])


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
        except SourceError as error:
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
