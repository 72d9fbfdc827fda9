"""What became of messages on their way to the phones, and what they cost, counted from the lines of 8x8's logs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import LogLine
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches

FINAL = frozenset({"delivered", "undelivered", "rejected", "read", "failed", "error"})
"""States that 8x8 does not leave any more."""

_ARRIVED = frozenset({"delivered", "read"})
_REJECTED = "rejected"
_MAX_ERRORS = 10
_MOST_A_MESSAGE_COSTS = 1_000_000


class Fate(NamedTuple):
    """What a line says of a message, apart from which one that is: many messages share one."""

    batch_id: str
    status: str
    detail: str | None
    code: str | None
    description: str | None
    currency: str | None
    price: str | None

    def __repr__(self) -> str:
        return f"<Fate {self.status}>"  # a description may quote the phone number


class Message(NamedTuple):
    """A message of a batch of which only our own id was known, as the logs tell it."""

    umid: str
    batch_id: str
    client_message_id: str

    def __repr__(self) -> str:
        return f"<Message {self.umid}>"  # a client message id that 8x8 made up holds the phone number


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of the messages of some batches; no phone number is in it.

    :ivar batch_ids: 8x8's ids of the batches, also those that only its logs have told
    :ivar as_of: when 8x8 was asked for the logs that it is from, in UTC; None if they could not be read
    :ivar messages_expected: how many messages 8x8 has accepted, None if that is not known
    :ivar messages_seen: how many messages of the batches are in the logs
    :ivar final_count: how many of them are in a state that 8x8 does not leave any more
    :ivar delivered_count: how many are ``delivered`` or ``read``
    :ivar share_final: of the messages that 8x8 has accepted, or of those seen if that is not known; None of none
    :ivar share_delivered: likewise
    :ivar states: how many messages have each state
    :ivar details: likewise each detail, such as ``delivered_to_recipient``
    :ivar errors: the most frequent error codes: ``code``, ``description`` and ``count`` of each
    :ivar cost: by currency, in its units
    :ivar priced_count: of how many messages 8x8 has said the price
    :ivar batches_not_seen: the batches of which the logs have no message
    :ivar timed_out: whether the time was over before enough messages were final
    """

    batch_ids: list[str]
    as_of: str | None = None
    messages_expected: int | None = None
    messages_seen: int = 0
    final_count: int = 0
    delivered_count: int = 0
    share_final: float | None = None
    share_delivered: float | None = None
    states: dict[str, int] = {}
    details: dict[str, int] = {}
    errors: list[dict[str, Any]] = []
    cost: dict[str, float] = {}
    priced_count: int = 0
    batches_not_seen: list[str] = []
    timed_out: bool = False

    @property
    def in_words(self) -> str:
        """On one line."""
        if self.as_of is None:
            return f"8x8's logs were not read: what became of {len(self.batch_ids)} batches is not known"
        states = ", ".join(f"{count} {state}" for state, count in self.states.items()) or "none"
        of = "" if self.messages_expected is None else f" of {self.messages_expected} accepted"
        cost = ", ".join(f"{amount:g} {currency}" for currency, amount in self.cost.items())
        return f"8x8's logs of {self.as_of} have {self.messages_seen} messages{of}: {states}" + (
            f"; they cost {cost}" if cost else ""
        )

    def is_settled(self, share: float, seen_before: int | None) -> bool:
        """
        Tell whether enough messages are final.

        :param share: of the messages, above 0 and at most 1
        :param seen_before: how many messages an earlier look has seen: where it is not known how many there are, all
            are there only once a look sees no more than the one before, and something of every batch
        """
        if self.messages_expected is None and (self.batches_not_seen or self.messages_seen != seen_before):
            return False
        return share <= (1.0 if self.share_final is None else self.share_final)

    def has_delivered(self, least: int | float) -> bool:
        """
        Tell whether enough messages have arrived, as far as is known.

        :param least: a number of messages; a float is a share, which is not known as long as it is not known how many
            messages there are, and the logs have nothing of a batch
        """
        if not isinstance(least, float):
            return self.delivered_count >= least
        if self.messages_expected is None and self.batches_not_seen:
            return False
        return least <= (self.share_delivered or 0.0)


class Deliveries:
    """
    The messages of some batches, as an export has them.

    :param batches: which
    """

    def __init__(self, batches: SentBatches) -> None:
        self._batches = batches
        self._ids = frozenset(batches.ids)
        self._client_ids = frozenset(batches.client_ids)
        self._fates: dict[str, Fate] = {}
        self._found: defaultdict[str, dict[str, Message]] = defaultdict(dict)
        self._shared: dict[Fate, Fate] = {}

    def add(self, lines: Iterable[LogLine]) -> None:
        """Take note of what lines say of messages of the batches; of two about one message, the final one counts."""
        ids, client_ids, fates, shared = self._ids, self._client_ids, self._fates, self._shared
        for line in lines:
            if line.batch_id not in ids:
                if not client_ids or line.client_batch_id not in client_ids:
                    continue
                message = Message(line.umid, line.batch_id, line.client_message_id)
                self._found[line.client_batch_id][line.umid] = message
            before = fates.get(line.umid)
            if before is not None and before.status in FINAL and line.status not in FINAL:
                continue
            fate = Fate(line.batch_id, line.status, line.detail, line.code, line.description, line.currency, line.price)
            fates[line.umid] = shared.setdefault(fate, fate)

    def found(self) -> dict[str, list[Message]]:
        """Return the messages of batches of which only our own id was known, by that: nobody knew their umids."""
        return {client_batch_id: list(by_umid.values()) for client_batch_id, by_umid in self._found.items()}

    def by_fate(self) -> dict[Fate, list[str]]:
        """Return the umids of all messages, by what became of them."""
        umids: defaultdict[Fate, list[str]] = defaultdict(list)
        for umid, fate in self._fates.items():
            umids[fate].append(umid)
        return umids

    def report(self, as_of: str) -> DeliveryReport:
        """
        Count.

        :param as_of: when 8x8 was asked for the logs
        """
        counts = Counter(self._fates.values())
        states = _counted((fate.status, count) for fate, count in counts.items())
        final = sum(count for state, count in states.items() if state in FINAL)
        delivered = sum(count for state, count in states.items() if state in _ARRIVED)
        seen = len(self._fates)
        # What 8x8 has rejected at once is none of what it has accepted, whether or not its logs show it.
        refused = min(states[_REJECTED], self._batches.rejected)
        all_there_are = max(self._batches.accepted or 0, seen - refused)
        cost, priced = _cost(counts)
        has_been_seen = dict.fromkeys(fate.batch_id for fate in counts)
        found = [quotable(batch_id) for batch_id in has_been_seen if batch_id and batch_id not in self._ids]
        return DeliveryReport(
            batch_ids=[*self._batches.ids, *found],
            as_of=as_of,
            messages_expected=self._batches.accepted,
            messages_seen=seen,
            final_count=final,
            delivered_count=delivered,
            share_final=(final - refused) / all_there_are if all_there_are else None,
            share_delivered=delivered / all_there_are if all_there_are else None,
            states={quotable(state): count for state, count in states.most_common()},
            details=dict(_counted((quotable(fate.detail), n) for fate, n in counts.items() if fate.detail)),
            errors=_errors(counts),
            cost=cost,
            priced_count=priced,
            batches_not_seen=[batch_id for batch_id in self._batches.ids if batch_id not in has_been_seen],
        )


def _counted(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for name, count in pairs:
        counted[name] += count
    return counted


def _errors(counts: Counter[Fate]) -> list[dict[str, Any]]:
    descriptions: dict[str, str | None] = {}
    for fate, _ in counts.most_common():
        if fate.code is not None:
            descriptions.setdefault(fate.code, fate.description)
    by_code = _counted((fate.code, count) for fate, count in counts.items() if fate.code is not None)
    return [
        {"code": quotable(code), "description": quotable(descriptions[code] or ""), "count": count}
        for code, count in by_code.most_common(_MAX_ERRORS)
    ]


def _cost(counts: Counter[Fate]) -> tuple[dict[str, float], int]:
    """Return what messages cost, by currency, and of how many that is known."""
    sums: dict[str, Decimal] = {}
    priced = 0
    for fate, count in counts.items():
        price = price_of(fate.price)
        if price is not None and fate.currency is not None:
            currency = quotable(fate.currency)
            sums[currency] = sums.get(currency, Decimal()) + price * count
            priced += count
    return {currency: float(amount) for currency, amount in sorted(sums.items())}, priced


def price_of(text: str | None) -> Decimal | None:
    """Return a price as 8x8 writes it, None if it is none."""
    try:
        price = Decimal(text or "")
    except InvalidOperation:
        return None
    return price if price.is_finite() and 0 <= price < _MOST_A_MESSAGE_COSTS else None
