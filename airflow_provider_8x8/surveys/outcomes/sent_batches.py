"""Batches that were sent, however somebody names them: by their ids, or by the results of the tasks that sent them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from airflow_provider_8x8.api.masking import mask_phone_numbers, quotable
from airflow_provider_8x8.api.models import BatchId

_EXPECTED = "8x8's batch ids, the batch operator's result, or a list of either"


@dataclass(frozen=True, slots=True)
class SentBatches:
    """
    Batches that 8x8 has.

    :ivar ids: 8x8's own, each once
    :ivar accepted: how many messages 8x8 has accepted in them; None if that is not known
    :ivar rejected: likewise rejected at once, which its logs may show, or not
    """

    ids: tuple[str, ...] = ()
    accepted: int | None = None
    rejected: int = 0

    @classmethod
    def of(cls, given: Any) -> SentBatches:
        """
        Return the batches that somebody names.

        :param given: an id, a result of the batch operator, a list of either, lists of these as mapped tasks give them,
            or the text of one of these as Jinja writes it; None and empty text are no batches
        :raises ValueError: it is something else
        """
        ids: dict[str, None] = {}
        results: list[Mapping[str, Any]] = []
        has_bare_ids = False
        for item in _flat(given):
            if isinstance(item, Mapping):
                results.append(item)
                ids.update(dict.fromkeys(map(_batch_id, item["batch_ids"])))
            else:
                has_bare_ids = True
                ids[_batch_id(item)] = None
        if has_bare_ids or not results:
            return cls(tuple(ids))
        # The same result twice is one, and says so by its batches.
        told_apart = {tuple(result["batch_ids"]): result for result in results}.values()
        return cls(
            tuple(ids),
            sum(_count(result, "accepted_count") for result in told_apart),
            sum(_count(result, "rejected_count") for result in told_apart),
        )


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
    if not text.startswith(("[", "{", "(")):
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


def _count(result: Mapping[str, Any], name: str) -> int:
    count = result.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"batch_ids has a result whose {name} is {quotable(repr(count))}; expected a whole number")
    return count
