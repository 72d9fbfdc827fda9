"""Batches that were sent, however somebody names them: by their ids, or by the results of the tasks that sent them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers, quotable
from airflow_provider_8x8.api.models import BatchId, ClientBatchId

_EXPECTED = "8x8's batch ids, the batch operator's result, or a list of either"
_IN_NO_ID = frozenset(",;|'\"[](){}<>")
"""What stands between several ids or around one, as somebody has typed them: 8x8 has no batch of such an id."""


@dataclass(frozen=True, slots=True)
class SentBatches:
    """
    Batches that 8x8 has.

    :ivar ids: 8x8's own, each once
    :ivar accepted: how many messages 8x8 has accepted in them; None if that is not known
    :ivar rejected: likewise rejected at once, which its logs may show, or not
    :ivar client_ids: our own, of the tasks that have sent batches of which 8x8's id is not known: of those too, and of
        all others of the same tasks
    :ivar without_id: how many batches that are, which 8x8 has or may have
    """

    ids: tuple[str, ...] = ()
    accepted: int | None = None
    rejected: int = 0
    client_ids: tuple[str, ...] = ()
    without_id: int = 0

    def __bool__(self) -> bool:
        return bool(self.ids or self.client_ids)

    @classmethod
    def of(cls, given: Any) -> SentBatches:
        """
        Return the batches that somebody names.

        :param given: an id, a result of the batch operator, a list of either, lists of these as mapped tasks give them,
            or the text of one of these as Jinja writes it; None and empty text are no batches
        :raises ValueError: it is something else
        """
        ids: dict[str, None] = {}
        results: list[_Result] = []
        has_bare_ids = False
        for item in _flat(given):
            if isinstance(item, Mapping):
                results.append(result := _Result.of(item))
                ids.update(dict.fromkeys(result.ids))
            else:
                has_bare_ids = True
                ids[_bare_id(item)] = None
        told_apart = _told_apart(results)
        lacking = [result for result in told_apart or results if result.without_id]
        client_ids = dict.fromkeys(name for result in lacking for name in result.client_ids)
        without_id = min(sum(result.without_id for result in lacking), len(client_ids))
        accepted = sum(result.accepted for result in told_apart or ())
        if has_bare_ids or not told_apart or (without_id and not accepted):
            return cls(tuple(ids), client_ids=tuple(client_ids), without_id=without_id)
        rejected = sum(result.rejected for result in told_apart)
        return cls(tuple(ids), accepted, rejected, tuple(client_ids), without_id)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a result of the batch operator says of its batches."""

    ids: tuple[str, ...]
    client_ids: tuple[str, ...]
    accepted: int
    rejected: int

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> _Result:
        return cls(
            tuple(map(_batch_id, result["batch_ids"])),
            _client_batch_ids(result.get("client_batch_ids") or ()),
            _count(result, "accepted_count"),
            _count(result, "rejected_count"),
        )

    @property
    def batches(self) -> int:
        """How many it names, those of two ids twice."""
        return len(self.ids) + len(self.client_ids)

    @property
    def without_id(self) -> int:
        """Of how many batches only our own id is known."""
        return max(0, len(self.client_ids) - len(self.ids))


def _told_apart(results: Sequence[_Result]) -> list[_Result] | None:
    """
    Return results that have no batch in common, None if these cannot be had.

    Of two results of one task, the one that has all batches of the other speaks for both.
    """
    found: list[_Result] = []
    of_batch: dict[str, int] = {}
    largest_first = sorted(enumerate(results), key=lambda numbered: (-numbered[1].batches, -numbered[0]))
    for _, result in largest_first:
        batches = {*result.ids, *result.client_ids}
        known = {of_batch.get(batch, -1) for batch in batches}
        if known <= {-1}:
            of_batch.update(dict.fromkeys(batches, len(found)))
            found.append(result)
        elif len(known) > 1 or -1 in known:
            return None
    return found


def _flat(given: Any) -> Iterable[Any]:
    if isinstance(given, str):
        given = _read(given)
    if given is None:
        return
    if isinstance(given, Mapping):
        if not isinstance(given.get("batch_ids"), list | tuple):
            raise ValueError(f"batch_ids is a mapping without a list of batch_ids; expected {_EXPECTED}")
        yield given
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
        for item in given:
            yield from _flat(item)
    else:
        yield given


def _read(text: str) -> Any:
    """Return what a text stands for: a list or a mapping, as Python or JSON, or an id, which is itself."""
    text = text.strip()
    if text in ("", "None", "null"):
        return None
    if not text.startswith(("[", "{", "(", '"', "'")):
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError(f"batch_ids is {quotable(repr(text))}; expected {_EXPECTED}")


def _batch_id(given: Any) -> str:
    try:
        batch_id = msgspec.convert(given, BatchId)
    except msgspec.ValidationError:
        raise ValueError(f"batch_ids has {quotable(repr(given))}; expected {_EXPECTED}") from None
    if mask_phone_numbers(batch_id) != batch_id and not any(map(str.isalpha, batch_id)):
        raise ValueError(f"batch_ids has {quotable(batch_id)}, which may be a phone number; expected {_EXPECTED}")
    return batch_id


def _bare_id(given: Any) -> str:
    batch_id = _batch_id(given)
    if not _IN_NO_ID.isdisjoint(batch_id):
        raise ValueError(f"batch_ids has {quotable(repr(batch_id))}; expected {_EXPECTED}")
    return batch_id


def _client_batch_ids(given: Any) -> tuple[str, ...]:
    try:
        return msgspec.convert(given, tuple[ClientBatchId, ...])
    except msgspec.ValidationError:
        said = quotable(repr(given))
        raise ValueError(f"batch_ids has a result whose client_batch_ids is {said}; expected a list of ids") from None


def _count(result: Mapping[str, Any], name: str) -> int:
    count = result.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"batch_ids has a result whose {name} is {quotable(repr(count))}; expected a whole number")
    return count
