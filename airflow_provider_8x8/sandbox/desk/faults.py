"""Faults that people and tests order: what shall go wrong, where, and how often."""

from __future__ import annotations

import threading
from enum import Enum
from typing import Annotated, Literal, get_args

import msgspec

from airflow_provider_8x8.sandbox.wire.errors import Code, bad_request

Operation = Literal[
    "survey_batch",
    "survey",
    "cancel_batch",
    "cancel_message",
    "delete_pii",
    "get_message",
    "log_export",
    "log_export_result",
    "log_export_cancel",
    "log_export_download",
    "prices",
    "balance",
]
"""What is asked of 8x8: :data:`OPERATIONS`."""

OPERATIONS: dict[Operation, str] = {
    "survey_batch": "send a batch of surveys",
    "survey": "send a single survey",
    "cancel_batch": "cancel a batch",
    "cancel_message": "cancel a message",
    "delete_pii": "remove a message's personal data",
    "get_message": "look up a message",
    "log_export": "start an export of the logs",
    "log_export_result": "ask how an export stands",
    "log_export_cancel": "cancel an export",
    "log_export_download": "read an export's file",
    "prices": "ask for prices",
    "balance": "ask for the balance",
}
"""What each operation is. A look into the logs takes three of them."""

Kind = Literal[
    "429",
    "500",
    "404",
    "close_before_accept",
    "500_after_accept",
    "close_after_accept",
    "hang_after_accept",
    "truncate",
    "not_json",
    "gzip_truncate",
    "no_length_truncate",
    "log_lag_seconds",
]
"""What goes wrong: :data:`IN_WORDS`."""

IN_WORDS: dict[Kind, str] = {
    "429": "Nothing is done, and the answer says when to come again: 429 with Retry-After.",
    "500": "Nothing is done; the answer is a 500.",
    "404": "Nothing is done; the answer is a 404 with 8x8's code 1300, as for what there is no longer.",
    "close_before_accept": "Nothing is done, and the connection is closed without an answer.",
    "500_after_accept": "It is done, but the answer is a 500.",
    "close_after_accept": "It is done, but the connection is closed without an answer.",
    "hang_after_accept": "It is done, but no answer comes, and the connection stays open until the client leaves.",
    "truncate": "It is done, but the answer breaks off in its middle.",
    "not_json": "It is done, but the answer is a 200 with a page for people, as from a proxy.",
    "gzip_truncate": "The answer is compressed and lacks its last line, which HTTP does not show. For files.",
    "no_length_truncate": "The answer says no length and lacks its last line, which HTTP does not show. For files.",
    "log_lag_seconds": "8x8's logs lack what is younger than so many seconds, until the faults are cleared.",
}
"""What each kind of fault does."""


class Moment(Enum):
    """When a fault strikes: before a request is taken, after it was, or (the log lag) in what an export shows."""

    BEFORE = frozenset({"429", "500", "404", "close_before_accept"})
    AFTER = frozenset(
        {
            *("500_after_accept", "close_after_accept", "hang_after_accept"),
            *("truncate", "not_json", "gzip_truncate", "no_length_truncate"),
        }
    )
    LOG = frozenset({"log_lag_seconds"})


class Fault(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, as ``PUT /sandbox/faults`` takes it."""

    on: Operation
    kind: Kind
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] | None = None
    """How many requests it strikes: one by default; a log lag stays by default until it is cleared."""
    retry_after: (
        Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] | Annotated[str, msgspec.Meta(pattern=r"^[ -~]+\Z")]
    ) = 1
    """Of a ``429``: the value of ``Retry-After``, in seconds or as an HTTP date."""
    seconds: Annotated[float, msgspec.Meta(ge=0, le=100_000_000)] | None = None
    """Of ``log_lag_seconds``: only messages older than this are in a log export."""

    def __post_init__(self) -> None:
        is_log_lag = self.kind in Moment.LOG.value
        if is_log_lag != (self.seconds is not None):
            raise ValueError("`seconds` belongs to `log_lag_seconds`, which needs it")
        if is_log_lag and self.on != "log_export":
            raise ValueError("`log_lag_seconds` is a fault of `log_export`")
        if self.retry_after != 1 and self.kind != "429":
            raise ValueError("`retry_after` belongs to `429`")
        if self.times is None and not is_log_lag:
            self.times = 1


_ALLOWED = (
    f"allowed are: fields {', '.join(Fault.__struct_fields__)}; `on` {', '.join(get_args(Operation))};"
    f" `kind` {', '.join(get_args(Kind))}"
)


class Faults:
    """The faults that are still to come, in their order. They live in memory only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.changes = 0
        """How often they have changed."""

    def replace(self, items: object) -> list[Fault]:
        """
        Put new faults in place of all there were; an empty list clears them.

        :param items: a list of objects with the fields of :class:`Fault`
        :raises ApiError: 400, which says what is allowed
        """
        faults = _to_faults(items)
        with self._lock:
            self._faults = faults
            self.changes += 1
        return self.to_come()

    def add(self, item: object) -> None:
        """
        Put one more fault behind those there are; a log lag without ``times`` takes the place of the one before.

        :param item: an object with the fields of :class:`Fault`, which may be texts
        :raises ApiError: 400, which says what is allowed
        """
        fault = _to_faults([item], strict=False)[0]
        with self._lock:
            if fault.times is None:
                self._faults = [other for other in self._faults if other.times is not None]
            self._faults.append(fault)
            self.changes += 1

    def to_come(self) -> list[Fault]:
        """Return the faults that are still to come, in their order."""
        with self._lock:
            return [msgspec.structs.replace(fault) for fault in self._faults]

    def take(self, operation: str, moment: Moment) -> Fault | None:
        """
        Take the next fault of an operation, if it strikes at this moment.

        A fault whose moment has not come keeps those behind it waiting, so they strike in the order they were given.
        The log lag stands outside this order.
        """
        with self._lock:
            for index, fault in enumerate(self._faults):
                is_log_lag = fault.kind in Moment.LOG.value
                if fault.on != operation or is_log_lag != (moment is Moment.LOG):
                    continue
                if fault.kind not in moment.value:
                    return None
                if fault.times is not None:
                    self.changes += 1
                    fault.times -= 1
                    if fault.times == 0:
                        del self._faults[index]
                return fault
            return None


def _to_faults(items: object, *, strict: bool = True) -> list[Fault]:
    try:
        return msgspec.convert(items, list[Fault], strict=strict)
    except msgspec.ValidationError as error:
        raise bad_request(Code.INVALID_PARAMETER, f"{error}; {_ALLOWED}") from None
