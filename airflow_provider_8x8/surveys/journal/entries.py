"""
The write-ahead journal: what a later try has to know of every POST, durable before the POST is made.

Each POST of a batch has an entry of its own. It is written before the request (:meth:`Journal.begin`), and settled
with what became of it right after the answer (:meth:`Journal.settle`). An entry that is still pending when a try ends
is a batch that 8x8 may have accepted, or not: only 8x8's logs can tell, by
:mod:`~airflow_provider_8x8.surveys.sending.reconcile`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, RowKeys, to_client_message_id, unpack

_LONGEST_CALL_OF_FORMAT_1 = 60.0
"""Seconds: the default of a connection's timeout, where an entry does not say how long its answer was awaited."""

KEYS_BY_OUTCOME = ("rejected_keys", "unknown_keys", "assumed_keys", "resent_keys")
"""The fields of an entry that have some of its row keys; all others of a sent batch are accepted."""

MAX_CAMPAIGN_ID_LENGTH = 768
"""Characters. Four bytes each make 3072, the most that InnoDB indexes; Airflow's ids of a task instance come to 764."""


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
    CANCELLED = "cancelled"
    """8x8 had it, and has said that it cancelled every message that it can have accepted: its row keys are free."""
    MOVED = "moved"
    """No batch: a try of the task instance keeps its entries in another journal from here on."""


_KNOWLEDGE = {
    EntryState.PENDING: 0,
    EntryState.CANARY: 0,
    EntryState.ASSUMED_SENT: 1,
    EntryState.RESENT: 1,
    EntryState.NOT_SENT: 2,
    EntryState.SENT: 3,
    EntryState.CANCELLED: 4,
    EntryState.MOVED: 3,
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One POST of a batch.

    :ivar client_batch_id: random; the name under which 8x8's logs have it
    :ivar task_instance: the task instance that made it
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
    :ivar cancelled_count: how many of its messages 8x8 has cancelled: the most that one answer of its says. None if it
        has said nothing
    :ivar unanswered_cancels: who has asked 8x8 to cancel it, or was about to, and has not written what it answered:
        random names, a blank between them
    """

    client_batch_id: str
    task_instance: str
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
    cancelled_count: int | None = None
    unanswered_cancels: str = ""

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

    @classmethod
    def of_no_batch(
        cls,
        state: EntryState,
        name: str,
        *,
        task_instance: str,
        try_number: int,
        at: float,
        send_by: float | None = None,
        answer_by: float | None = None,
    ) -> Entry:
        """
        Return one that has no row keys: a canary's, or one that says that its task instance has moved.

        :param name: stands for the client batch id
        :param at: seconds since 1970
        """
        return cls(
            client_batch_id=name,
            task_instance=task_instance,
            try_number=try_number,
            unique_by="",
            row_keys=b"",
            begun=at,
            send_by=at if send_by is None else send_by,
            answer_by=answer_by,
            state=state,
        )

    def __repr__(self) -> str:
        return f"<Entry {self.client_batch_id} {self.state}, {len(self)} row keys>"

    def __len__(self) -> int:
        """Return how many row keys it has."""
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
        return self.state not in (EntryState.NOT_SENT, EntryState.RESENT, EntryState.CANCELLED)

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
    def most_accepted(self) -> int:
        """How many row keys 8x8 can have accepted at most."""
        return len(self) - self.rejected_count

    @property
    def may_be_answered_until(self) -> float:
        """Seconds since 1970, after which its call has ended, whoever made it."""
        return self.answer_by if self.answer_by is not None else self.send_by + _LONGEST_CALL_OF_FORMAT_1

    def row_keys_by_message(self, row_keys: RowKeys) -> Callable[[str], bytes | None]:
        """
        Return what finds the row key of one of its messages by its client message id, else None.

        :param row_keys: the campaign's
        """
        known = unpack(self.row_keys)
        if self.message_keys is not None:
            return row_keys.by_message(known, unpack(self.message_keys))
        return row_keys.by_message(known, known if self._rows_bring_ids else None)

    def derived_id(self, row_key: bytes) -> str | None:
        """Return the client message id of one of its rows, None where the row brought its own."""
        return None if self._rows_bring_ids else to_client_message_id(row_key)

    @property
    def _rows_bring_ids(self) -> bool:
        return self.message_keys is not None or self.unique_by == "client_message_id"

    def gives_way_to(self, other: Entry) -> bool:
        """
        Tell whether what another entry of the same POST says is known better than what this one says.

        What 8x8 has said beats what was decided without it, and that it has a batch beats that it has not: whoever
        holds a row key in vain leaves a person out for a while, whoever frees it in vain texts somebody twice. So a
        batch is no longer cancelled once it turns out that 8x8 has accepted more of it than it cancelled.
        """
        if self.state is EntryState.CANCELLED:
            return other.state is EntryState.SENT and other.most_accepted > self.most_accepted
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


def states_that_give_way_to(state: EntryState) -> list[EntryState]:
    """
    Return the states of an entry that are replaced by this one; see :meth:`Entry.gives_way_to`.

    Two entries that are sent are compared by what is left unknown of them.
    """
    if state is EntryState.PENDING:
        return [state]  # with what was seen of the logs since
    return [each for each in EntryState if _KNOWLEDGE[each] < _KNOWLEDGE[state]]
