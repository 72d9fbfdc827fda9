"""
The journal on Airflow's task state store (3.3 and later): it reaches as far as the tries of one task instance.

It is a log of records that are only ever added. Each try writes under its own number, ``8x8/{try}/{record}``, and
settles an earlier try's entry by a record of its own; so a try that was overtaken can spoil nothing, whatever a custom
state backend does with what it writes. A record that is too long for one value goes on under
``8x8/{try}/{record}/{piece}``, written before it.

Airflow gives a task instance a new id with each try, and knows only the newest. On 3.3.2 what an overtaken try sets
is refused, but what it gets reads as *nothing*. So an entry counts as written only once it has been read back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from airflow_provider_8x8.retrying import retrying
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
)
from airflow_provider_8x8.surveys.journal.header import Header, check_header, completed_header
from airflow_provider_8x8.surveys.journal.marks import STATE_STORE, Mark, Place
from airflow_provider_8x8.surveys.journal.protocol import Compose

MAX_VALUE_LENGTH = 60_000
"""Characters of one value: the store's default limit is 65,535 bytes of JSON."""

_PREFIX = "8x8"
_HEADER = f"{_PREFIX}/header"
_FORMAT_WITHOUT_MARKS = 1
_TRIES = 4
_NOT_FOUND = 404


class StateStore(Protocol):
    """What Airflow gives a task as ``context["task_state_store"]``."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default if there is none."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write a value."""


class _Settled(msgspec.Struct, frozen=True, tag="settled", omit_defaults=True):
    """What became of an entry: some of its fields, under their own names."""

    client_batch_id: str
    state: EntryState
    batch_id: str | None = None
    rejected_keys: bytes = b""
    unknown_keys: bytes = b""
    assumed_keys: bytes = b""
    resent_keys: bytes = b""
    answer_by: float | None = None
    watermark_begun: float | None = None
    watermark_seen: float | None = None


class _Begun(msgspec.Struct, frozen=True, tag="begun"):
    """An entry was made."""

    entry: Entry


class _BegunInFormat1(msgspec.Struct, frozen=True, tag="begun"):
    """An entry was made, by the version in which its task instance was called its run."""

    entry: dict[str, Any]


_Record = _Begun | _Settled
_decoder: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(_Record)
_decoder_of_format_1 = msgspec.json.Decoder(_BegunInFormat1)


class StateStoreJournal:
    """
    A journal in the task state store, see :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`.

    :param store: the task instance's
    :param campaign_id: names the campaign in messages
    :param try_number: this try's
    :param never_expire: Airflow's constant for keeping a value without end
    :param sleep: waits before what has failed is tried again
    """

    def __init__(
        self,
        store: StateStore,
        *,
        campaign_id: str,
        try_number: int,
        never_expire: Any,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = _Store(store, never_expire, sleep)
        self._campaign_id = campaign_id
        self._try_number = try_number
        self._entries: dict[str, Entry] = {}
        self._records = 0
        self._was_read = self._had_header = False

    def open(self, header: Header, *, must_exist: bool = False) -> None:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`."""
        written = self._store.get(_HEADER)
        self._had_header = written is not None
        if written is None and must_exist:
            raise JournalLostError(
                "Airflow has thrown away what earlier tries of this task instance sent, or somebody has deleted it",
                "Nothing is sent; trigger a new DAG run with the rows that are missing, or use journal_conn_id",
            )
        completed = header
        if written is not None:
            found = self._read_header(written)
            check_header(found, header, self._campaign_id)
            completed = completed_header(found, header)
        if written is None or completed != found:
            self._store.set(_HEADER, msgspec.to_builtins(completed))

    def entries(self) -> Sequence[Entry] | None:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`."""
        self._had_header = self._store.get(_HEADER) is not None
        if not self._had_header:
            return None
        self.news()
        return list(self._entries.values())

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        if self._was_read:
            return ()  # only this try writes
        for try_number in range(1, self._try_number + 1):
            for record in self._read_try(try_number):
                self._apply(record)
        if self._had_header and self._store.get(_HEADER) is None:
            raise JournalLostError(
                "what earlier tries of this task instance sent was deleted from Airflow's task state store while this "
                "one read it",
                "Nothing is sent; trigger a new DAG run with the rows that are missing",
            )
        self._was_read = True
        return list(self._entries.values())

    def begin(self, compose: Compose) -> Entry | None:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        entry = compose(())
        if entry is None:
            return None
        record = _Begun(entry)
        key, head = self._write(record)
        self._store.check(key, head)
        self._apply(record)
        return entry

    def settle(self, entry: Entry) -> Entry:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        if self._entries[entry.client_batch_id].gives_way_to(entry):
            record = _Settled(**{name: getattr(entry, name) for name in _Settled.__struct_fields__})
            self._write(record)
            self._entries[entry.client_batch_id] = entry
        return self._entries[entry.client_batch_id]

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        return self.settle(entry), self.begin(compose)

    def _apply(self, record: _Record) -> None:
        if isinstance(record, _Begun):
            self._entries[record.entry.client_batch_id] = record.entry
            return
        entry = self._entries.get(record.client_batch_id)
        if entry is None:
            raise self._corrupt(f"batch {record.client_batch_id} is settled, but was never begun")
        settled = msgspec.structs.replace(entry, **msgspec.structs.asdict(record))
        if entry.gives_way_to(settled):  # a try that was overtaken may have known better than the one after it
            self._entries[record.client_batch_id] = settled

    # records as values

    def _write(self, record: _Record) -> tuple[str, Any]:
        """Write a record, its head last; return the head's key and value."""
        key = f"{_PREFIX}/{self._try_number}/{self._records + 1}"
        text = msgspec.json.encode(record).decode()
        pieces = [text[start : start + MAX_VALUE_LENGTH] for start in range(0, len(text), MAX_VALUE_LENGTH)]
        for number, piece in enumerate(pieces[1:], 1):
            self._store.set(f"{key}/{number}", piece)
        head = {"pieces": len(pieces), "text": pieces[0]}
        self._store.set(key, head)
        self._records += 1  # a number that is left out would hide what comes after it
        return key, head

    def _read_try(self, try_number: int) -> Iterator[_Record]:
        """Yield the records of one try. This one's own may be there if its process is not the first to run it."""
        number = 1
        while (head := self._store.get(key := f"{_PREFIX}/{try_number}/{number}")) is not None:
            yield self._read(key, head)
            if try_number == self._try_number:
                self._records = number
            number += 1

    def _read(self, key: str, head: Any) -> _Record:
        try:
            pieces = [head["text"], *(self._piece(key, number) for number in range(1, head["pieces"]))]
            return _record_of("".join(pieces))
        except (TypeError, KeyError, msgspec.MsgspecError, UnicodeError) as error:
            raise self._corrupt(f"{key} is not what this provider writes ({type(error).__name__})") from None

    def _piece(self, key: str, number: int) -> str:
        piece = self._store.get(f"{key}/{number}")
        if not isinstance(piece, str):
            raise self._corrupt(f"{key}/{number} is missing")
        return piece

    def _read_header(self, written: Any) -> Header:
        try:
            newer = written["journal_format"]
            return msgspec.convert(written, Header)
        except (TypeError, KeyError):
            raise self._corrupt(f"{_HEADER} is not what this provider writes") from None
        except msgspec.ValidationError:
            raise JournalMismatchError(
                f"the journal of campaign {self._campaign_id!r} has format {newer}, which this version of the provider "
                "cannot read; upgrade airflow-provider-8x8"
            ) from None

    def _corrupt(self, what: str) -> CorruptJournalError:
        return CorruptJournalError(
            f"the journal of campaign {self._campaign_id!r} in Airflow's task state store is corrupt: {what}",
            "Nothing is sent, since what was sent before is not known; look in 8x8's portal, and trigger a new DAG run "
            "with the rows that are missing",
        )


def _record_of(text: str) -> _Record:
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        entry = _decoder_of_format_1.decode(text).entry
        return _Begun(msgspec.convert({"task_instance": entry.get("run"), **entry}, Entry))


class StateStoreMemory:
    """
    What the task state store knows of its task instance.

    See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`.

    :param store: the task instance's
    :param task_instance: its name, without its tries
    :param try_number: this try's
    :param never_expire: Airflow's constant for keeping a value without end
    :param sleep: waits before what has failed is tried again
    """

    name = STATE_STORE
    is_airflows = True

    def __init__(
        self,
        store: StateStore,
        task_instance: str,
        *,
        try_number: int,
        never_expire: Any,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._given = store
        self._store = _Store(store, never_expire, sleep)
        self._sleep = sleep
        self._task_instance = task_instance
        self._try_number = try_number
        self._never_expire = never_expire
        self._has_begun = False

    def marks(self) -> Sequence[Mark]:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        found = [
            self._mark(try_number, written)
            for try_number in range(1, self._try_number + 1)
            if (written := self._store.get(_mark_key(try_number))) is not None
        ]
        if not found and self._is_of_version_without_marks(self._store.get(_HEADER)):
            here = Place(self.name, self._task_instance)
            return [Mark(try_number=1, began=time.time(), places=[here], had_store=True)]
        earlier = [mark.try_number for mark in found if mark.try_number < self._try_number]
        if earlier and self._is_alone(earlier[-1]):
            return [mark for mark in found if mark.try_number not in earlier]
        return found

    def leave(self, mark: Mark) -> None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`.

        A mark counts only with another value beside it, which was there before. Airflow may store late what a try has
        asked for, and by then it may have thrown away what later ones have sent: a mark that is left over alone would
        look as if they had sent nothing. After the one value that comes late, an overtaken try can write no other.
        """
        if not self._has_begun:
            self._store.set(_begun_key(mark.try_number), True)
            self._has_begun = True
        value = msgspec.to_builtins(mark)
        key = _mark_key(mark.try_number)
        self._store.set(key, value)
        self._store.check(key, value)

    def journal(self, campaign_id: str) -> StateStoreJournal:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.Memory`."""
        return StateStoreJournal(
            self._given,
            campaign_id=campaign_id,
            try_number=self._try_number,
            never_expire=self._never_expire,
            sleep=self._sleep,
        )

    def close(self) -> None:
        """Do nothing: the store has no connections of its own."""

    def _is_alone(self, try_number: int) -> bool:
        """Tell whether a try has left nothing but its mark."""
        return self._store.get(_begun_key(try_number)) is None

    def _is_of_version_without_marks(self, header: Any) -> bool:
        # Any other header without marks may be one that was stored late, see leave().
        return isinstance(header, dict) and header.get("journal_format") == _FORMAT_WITHOUT_MARKS

    def _mark(self, try_number: int, written: Any) -> Mark:
        try:
            return msgspec.convert(written, Mark)
        except msgspec.ValidationError as error:
            raise CorruptJournalError(
                f"what try {try_number} of {self._task_instance} has left in Airflow's task state store is not what "
                f"this provider writes ({error})"
            ) from None


def _begun_key(try_number: int) -> str:
    return f"{_PREFIX}/begun/{try_number}"


def _mark_key(try_number: int) -> str:
    return f"{_PREFIX}/mark/{try_number}"


class _Store:
    """The task state store, with the errors of a journal; what fails is tried again."""

    def __init__(self, store: StateStore, never_expire: Any, sleep: Callable[[float], None]) -> None:
        self._store = store
        self._never_expire = never_expire
        self._again_if_unavailable = retrying(
            lambda error: isinstance(error, JournalUnavailableError),
            max_tries=_TRIES,
            first_wait=0.5,
            longest_wait=5.0,
            sleep=sleep,
        )

    def get(self, key: str) -> Any:
        return self._again_if_unavailable(self._call, "read", self._store.get, key)

    def set(self, key: str, value: Any) -> None:
        self._again_if_unavailable(self._call, "written", self._store.set, key, value, retention=self._never_expire)

    def check(self, key: str, value: Any) -> None:
        """
        Read back what was written.

        :raises SupersededError: it is not there: Airflow has begun a newer try
        """
        if self.get(key) != value:
            raise SupersededError(
                "a newer try of this task instance has begun, so this one sends nothing more: Airflow does not give "
                "back what was just written to the task state store"
            )

    def _call(self, what: str, operation: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return operation(*arguments, **options)
        except Exception as error:  # noqa: BLE001  # the store may be of any make
            if _status_of(error) == _NOT_FOUND:
                raise SupersededError(
                    "Airflow no longer knows this try of the task instance: a newer one has begun, or the run was "
                    "deleted"
                ) from None
            raise JournalUnavailableError(
                f"Airflow's task state store could not be {what}: {type(error).__name__}: {error}"
            ) from None


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status with which Airflow's API server refused."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    return detail.get("status_code") if isinstance(detail, dict) else None
