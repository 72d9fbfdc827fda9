"""
The write-ahead journal: what a later try has to know of every POST, durable before the POST is made.

Each POST of a batch has an entry of its own. It is written before the request (:meth:`Journal.begin`), and settled
with what became of it right after the answer (:meth:`Journal.settle`). An entry that is still pending when a try ends
is a batch that 8x8 may have accepted, or not: only 8x8's logs can tell, by
:mod:`~airflow_provider_8x8.surveys.reconcile`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from airflow_provider_8x8.api.advice import with_advice

JOURNAL_FORMAT = 2
"""Rises when a journal is written that an older version could not read. Older formats are still read."""

ROW_KEY_BYTES = 10
"""A row key is kept as a hash: at 100 million of them, two agree by chance once in 240 million campaigns."""

SEND_WITHIN = 30.0
"""Seconds from an entry's beginning until the last byte of its request must be out."""

_LONGEST_CALL_OF_FORMAT_1 = 60.0
"""Seconds: the default of a connection's timeout, where an entry does not say how long its answer was awaited."""

KEYS_BY_OUTCOME = ("rejected_keys", "unknown_keys", "assumed_keys", "resent_keys")
"""The fields of an entry that have some of its row keys; all others of a sent batch are accepted."""

MAX_CAMPAIGN_ID_LENGTH = 250
"""Characters of a campaign id that a user chooses."""


class JournalError(Exception):
    """
    The journal cannot serve: nothing more is sent. The text holds no row.

    :param reason: what was found
    :param advice: what to do
    """

    def __init__(self, reason: str, *advice: str) -> None:
        super().__init__(with_advice(reason, *advice))


class JournalUnavailableError(JournalError):
    """The journal could not be read or written just now; another try may find it well."""


class SupersededError(JournalError):
    """Airflow has begun a newer try of this task instance, or no longer knows this one: only the newest may send."""


class JournalMismatchError(JournalError):
    """The campaign's journal was written for another survey, another meaning of row keys, or by a newer version."""


class JournalLostError(JournalError):
    """There was a journal, and Airflow has thrown it away."""


class CorruptJournalError(JournalError):
    """The journal holds something that no version has written, or lacks what must be there."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """
    What gives the row keys of a campaign their meaning; it is written before any entry.

    :ivar row_key_rules: how values become row keys, numbers above all; a version of this package may raise it
    :ivar address: which 8x8 has the messages; None where it is not known, as in a journal of format 1
    :ivar deployment: which Airflow sends them; likewise
    """

    survey_id: str
    subaccount_id: str
    row_key_rules: int
    journal_format: int = JOURNAL_FORMAT
    address: str | None = None
    deployment: str | None = None


class EntryState(StrEnum):
    """What is known of one POST."""

    PENDING = "pending"
    """8x8 may have accepted the batch, or not."""
    SENT = "sent"
    """8x8 has it, or (with all its row keys rejected and no batch id) has refused its only row."""
    NOT_SENT = "not_sent"
    """8x8 has nothing of it: its row keys are free."""
    ASSUMED_SENT = "assumed_sent"
    """Nobody knows, and ``on_unknown="assume_sent"`` chose never to send it again."""
    RESENT = "resent"
    """Nobody knows, and ``on_unknown="resend"`` chose to set its row keys free."""
    CANARY = "canary"
    """No batch, but one survey to the team's own number, which 8x8 may have: it shows how far 8x8's logs are."""
    MOVED = "moved"
    """No batch: a try of the task instance keeps its entries in another journal from here on."""


_KNOWLEDGE = {
    EntryState.PENDING: 0,
    EntryState.CANARY: 0,
    EntryState.ASSUMED_SENT: 1,
    EntryState.RESENT: 1,
    EntryState.NOT_SENT: 2,
    EntryState.SENT: 3,
    EntryState.MOVED: 3,
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One POST of a batch.

    :ivar client_batch_id: random; the name under which 8x8's logs have it
    :ivar run: the task instance that made it
    :ivar try_number: the task instance's try that made it
    :ivar unique_by: the column that the row keys were made of
    :ivar row_keys: hashes of :data:`ROW_KEY_BYTES` each, one after the other
    :ivar message_keys: where client message ids cannot be told from row keys, their hashes in the same order
    :ivar begun: seconds since 1970 by the worker's clock
    :ivar send_by: likewise; no byte of the request is handed to the network later
    :ivar answer_by: likewise; no answer to it is awaited later. None in a journal of format 1
    :ivar scheduled: likewise; when the last of its messages goes out, if later than at once
    :ivar batch_id: 8x8's, once it is known
    :ivar rejected_keys: the row keys that 8x8 has rejected
    :ivar unknown_keys: of a sent batch, the row keys of which 8x8 has not said what became of them
    :ivar assumed_keys: of a sent batch, those of them that ``on_unknown="assume_sent"`` chose never to send again
    :ivar resent_keys: of a sent batch, those of them that ``on_unknown="resend"`` chose to set free
    :ivar watermark_begun: when the message was begun that shows how far 8x8's logs were
    :ivar watermark_seen: when the logs were first seen to hold it
    """

    client_batch_id: str
    run: str
    try_number: int
    unique_by: str
    row_keys: bytes
    begun: float
    send_by: float
    scheduled: float | None = None
    message_keys: bytes | None = None
    state: EntryState = EntryState.PENDING
    batch_id: str | None = None
    rejected_keys: bytes = b""
    unknown_keys: bytes = b""
    assumed_keys: bytes = b""
    resent_keys: bytes = b""
    answer_by: float | None = None
    watermark_begun: float | None = None
    watermark_seen: float | None = None

    def __post_init__(self) -> None:
        for name in ("row_keys", "message_keys", *KEYS_BY_OUTCOME):
            keys = getattr(self, name) or b""
            if len(keys) % ROW_KEY_BYTES:
                raise ValueError(f"{name} has {len(keys)} bytes, not a multiple of {ROW_KEY_BYTES}")
        if self.message_keys is not None and len(self.message_keys) != len(self.row_keys):
            raise ValueError(
                f"there are {len(self.message_keys)} bytes of message_keys to {len(self.row_keys)} of row_keys"
            )
        if sum(len(getattr(self, name)) for name in KEYS_BY_OUTCOME) > len(self.row_keys):
            raise ValueError("more row keys have an outcome of their own than there are")

    def __repr__(self) -> str:
        return f"<Entry {self.client_batch_id} {self.state}, {len(self)} row keys>"

    def __len__(self) -> int:
        """How many row keys it has."""
        return len(self.row_keys) // ROW_KEY_BYTES

    @property
    def is_batch(self) -> bool:
        """Whether it is one; else it is a canary, or says that its task instance has gone to another journal."""
        return bool(self.row_keys)

    @property
    def is_canary(self) -> bool:
        """Whether it is a canary that 8x8 has, or may have."""
        return not self.is_batch and self.state in (EntryState.CANARY, EntryState.SENT)

    @property
    def is_open(self) -> bool:
        """Whether 8x8's logs are needed to tell what became of it, or of some of its row keys."""
        return self.state is EntryState.PENDING or (self.state is EntryState.SENT and bool(self.unknown_keys))

    @property
    def is_in_effect(self) -> bool:
        """Whether 8x8 has it, or may have it: its row keys are not to be sent again."""
        return self.state not in (EntryState.NOT_SENT, EntryState.RESENT)

    @property
    def rejected_count(self) -> int:
        """How many row keys 8x8 has rejected."""
        return len(self.rejected_keys) // ROW_KEY_BYTES

    @property
    def resent_count(self) -> int:
        """How many row keys of a sent batch were set free, though nobody knows whether 8x8 has accepted them."""
        return len(self.resent_keys) // ROW_KEY_BYTES

    @property
    def unknown_count(self) -> int:
        """Of how many row keys that it holds nobody knows whether 8x8 has accepted them."""
        if self.state is EntryState.SENT:
            return (len(self.unknown_keys) + len(self.assumed_keys)) // ROW_KEY_BYTES
        return len(self) if self.is_in_effect else 0

    @property
    def accepted_count(self) -> int:
        """How many row keys 8x8 has accepted."""
        if self.state is not EntryState.SENT:
            return 0
        return len(self) - self.rejected_count - self.unknown_count - self.resent_count

    @property
    def may_be_answered_until(self) -> float:
        """Seconds since 1970, after which its call has ended, whoever made it."""
        return self.answer_by if self.answer_by is not None else self.send_by + _LONGEST_CALL_OF_FORMAT_1

    def gives_way_to(self, other: Entry) -> bool:
        """
        Tell whether what another entry of the same POST says is known better than what this one says.

        What 8x8 has said beats what was decided without it, and that it has a batch beats that it has not: whoever
        holds a row key in vain leaves a person out for a while, whoever frees it in vain texts somebody twice.
        """
        if self.state is not EntryState.SENT or other.state is not EntryState.SENT:
            return self.state in states_that_give_way_to(other.state)
        if self._undecided != other._undecided:
            return self._undecided > other._undecided
        # Without a batch id it is not 8x8 that has said so.
        is_said_now = self.batch_id is None and other.batch_id is not None
        return is_said_now or 0 < len(self.unknown_keys) >= len(other.unknown_keys)

    @property
    def _undecided(self) -> int:
        return len(self.unknown_keys) + len(self.assumed_keys) + len(self.resent_keys)

    @property
    def begun_at(self) -> str:
        """When it was begun, for people."""
        return datetime.fromtimestamp(self.begun, UTC).isoformat(timespec="seconds")


def states_that_give_way_to(state: EntryState) -> list[EntryState]:
    """
    Return the states of an entry that are replaced by this one; see :meth:`Entry.gives_way_to`.

    Two entries that are sent are compared by what is left unknown of them.
    """
    if state is EntryState.PENDING:
        return [state]  # with what was seen of the logs since
    return [each for each in EntryState if _KNOWLEDGE[each] < _KNOWLEDGE[state]]


Compose = Callable[[Sequence[Entry]], Entry | None]
"""
Makes the entry of a batch that is to be sent, told what others have entered or settled since the last look.

Returns None if they have left nothing to send. It may be called more than once for one batch, and then gives the same
client batch id.
"""


class EntryLog(Protocol):
    """
    The entries of one campaign, as one try sees them.

    Every method raises :class:`JournalError`; what was to be written may then have been written, or not.
    """

    def news(self) -> Sequence[Entry]:
        """
        Return the campaign's entries, as they now stand, that were made or settled since the last look at them.

        The first look gives them all, in the order of their beginning. Those of this object itself may be among them.
        """

    def begin(self, compose: Compose) -> Entry | None:
        """
        Make one entry durable, if this try may send, while nobody else of the campaign makes one.

        :raises SupersededError: a newer try may send, this one may not
        """

    def settle(self, entry: Entry) -> Entry:
        """
        Write what became of an entry if the one that is there gives way to it, and return it as it then stands.

        :param entry: the entry with its new state; see :meth:`Entry.gives_way_to`
        """


class Journal(EntryLog, Protocol):
    """
    The journal of one campaign, for the sender of one try.

    :ivar outlives_try: whether another try can read it
    :ivar first_begun: when the first try of the task instance began, in seconds since 1970, known once it is open
    """

    outlives_try: bool

    @property
    def first_begun(self) -> float:
        """See above."""

    def open(self, header: Header) -> None:
        """
        Write the header, or check it against the one that is there.

        :raises JournalMismatchError: another one is there
        :raises JournalLostError: what the task instance has sent is not known any more
        """


class MemoryJournal:
    """
    A journal that ends with its try: good for one try and no more.

    For Airflow below 3.3 without a SQL journal, and for programs without Airflow.
    """

    outlives_try = False

    def __init__(self, began: float | None = None) -> None:
        self._first_begun = time.time() if began is None else began
        self._entries: dict[str, Entry] = {}

    @property
    def first_begun(self) -> float:
        """See :class:`Journal`."""
        return self._first_begun

    def open(self, header: Header) -> None:
        """Do nothing: there was no header before."""

    def news(self) -> Sequence[Entry]:
        """See :class:`Journal`."""
        return ()

    def begin(self, compose: Compose) -> Entry | None:
        """See :class:`Journal`."""
        entry = compose(())
        if entry is not None:
            self._entries[entry.client_batch_id] = entry
        return entry

    def settle(self, entry: Entry) -> Entry:
        """See :class:`Journal`."""
        if self._entries[entry.client_batch_id].gives_way_to(entry):
            self._entries[entry.client_batch_id] = entry
        return self._entries[entry.client_batch_id]


_MEANINGS = {
    "survey_id": "survey_id",
    "subaccount_id": "subaccount_id",
    "row_key_rules": "row_key_rules",
    "address": "8x8 at",
    "deployment": "the Airflow deployment",
}
_ONCE_UNKNOWN = frozenset({"address", "deployment"})
_WAY_OUT = "Change it back, or trigger a new DAG run with another campaign_id"
_WAYS_OUT = {
    "row_key_rules": (
        "Another version of this provider tells rows apart in another way: end the campaign with that one, or trigger "
        "a new DAG run with the rows that are missing, and another campaign_id"
    ),
    "deployment": (
        "If the two are one, or are to share the campaign, set [eight_by_eight] deployment to the same in both; else "
        "give each a journal database, or a campaign_id, of its own"
    ),
}


def check_header(found: Header, expected: Header, campaign_id: str) -> None:
    """
    Compare the header of a campaign's journal with that of the try that opens it.

    :raises JournalMismatchError: row keys mean something else there; the text names both
    """
    if found.journal_format > expected.journal_format:
        raise JournalMismatchError(
            f"the journal of campaign {campaign_id!r} has format {found.journal_format}, and this version of the "
            f"provider reads up to {expected.journal_format}; upgrade airflow-provider-8x8"
        )
    for name, meaning in _MEANINGS.items():
        there, here = getattr(found, name), getattr(expected, name)
        if there != here and not (name in _ONCE_UNKNOWN and None in (there, here)):
            raise JournalMismatchError(
                f"the journal of campaign {campaign_id!r} was written for {meaning} {there!r}, and this task has "
                f"{here!r}",
                _WAYS_OUT.get(name, _WAY_OUT),
            )


def completed_header(found: Header, expected: Header) -> Header:
    """Return a campaign's header as it is to be from now on, with what an older version did not know."""
    return msgspec.structs.replace(
        found,
        journal_format=expected.journal_format,
        address=found.address or expected.address,
        deployment=found.deployment or expected.deployment,
    )


def pack(keys: Iterable[bytes]) -> bytes:
    """Join row keys."""
    return b"".join(keys)


def unpack(keys: bytes) -> list[bytes]:
    """Split what :func:`pack` has joined."""
    return [keys[start : start + ROW_KEY_BYTES] for start in range(0, len(keys), ROW_KEY_BYTES)]
