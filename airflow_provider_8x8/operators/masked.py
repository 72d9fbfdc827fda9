"""What Airflow gets to see of an argument, and what an error quotes of it: no phone number and no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from datetime import date, time
from enum import Enum
from numbers import Integral
from typing import Any, NoReturn

import msgspec
from airflow.providers.common.compat.sdk import AirflowException, redact

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import Destination
from airflow_provider_8x8.surveys.messages.phone_numbers import to_phone_number
from airflow_provider_8x8.surveys.messages.values import is_encodable

_MAX_QUOTED_LENGTH = 60

# A date is no phone number, and the first thing that people look for. In quotes, as in SQL, no digit before or after it
# can belong to it.
_MOMENT = (
    r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?"
)
_IS_MOMENT = re.compile(_MOMENT)
_QUOTED_MOMENT = re.compile(f"('{_MOMENT}')")


class Masked:
    """
    A rendered argument of which Airflow stores and shows no phone number and no secret.

    :ivar value: what was rendered
    :ivar shown: what Airflow gets instead
    """

    def __init__(self, value: Any, shown: Any) -> None:
        self.value = value
        self.shown = shown

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        shown = redact(self.shown)
        return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)

    def serialize(self) -> Any:
        """Return what Airflow 3 shows; Airflow 2 takes the repr."""
        return self.shown


class MaskedMapping(Masked, Mapping[str, Any]):
    """A mapping whose values are there for whoever asks for them, and not to be shown."""

    def __getitem__(self, name: str) -> Any:
        return self.value[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.value)

    def __len__(self) -> int:
        return len(self.value)


class MaskedSequence(Masked, Sequence[Any]):
    """A sequence whose items are there for whoever asks for them, and not to be shown."""

    def __getitem__(self, place: Any) -> Any:
        return self.value[place]

    def __len__(self) -> int:
        return len(self.value)


class CanaryNumber(Masked):
    """The canary's number, or what was given for it."""

    def __init__(self, value: Any) -> None:
        super().__init__(value, mask(value if isinstance(value, str) else str(value)))

    def checked(self) -> str:
        """
        Return the number.

        :raises ValueError: it is none
        """
        try:
            return msgspec.convert(to_phone_number(as_text("canary_destination", self.value)), Destination)
        except msgspec.ValidationError:
            raise ValueError(
                f"canary_destination is {shortened(str(self))}; expected a phone number with the country code, 7 to 15 "
                "digits"
            ) from None


class Unusable:
    """
    What was rendered to something that the argument cannot be; it shows why.

    Nothing is raised where Airflow renders: the task would end before it can say what was sent.

    :param reason: what was found, and what is expected
    :param may_go_better: whether another try may render it
    """

    def __init__(self, reason: str, *, may_go_better: bool = False) -> None:
        self.reason = reason
        self.may_go_better = may_go_better

    def __repr__(self) -> str:
        return f"<{self.reason}>"


def unmasked(value: Any) -> Any:
    """
    Return an argument as it was rendered.

    :raises ValueError: it was rendered to something that it cannot be
    :raises AirflowException: it could not be rendered
    """
    if isinstance(value, Unusable):
        raise (AirflowException if value.may_go_better else ValueError)(value.reason)
    return value.value if isinstance(value, Masked) else value


def mask(value: Any) -> Any:
    """Return a value as JSON can hold it, without phone numbers; days and times stay as they are."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _mask_text(value)
    if isinstance(value, Mapping):
        return {_mask_text(str(name)): mask(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    masked = mask_phone_numbers(text := str(value))
    return value if masked == text and type(value) in (int, float) else masked


def mask_argument(value: Any) -> Any:
    """Return a function's argument as rows are shown: of what holds several values, how many; else as :func:`mask`."""
    if value is None or isinstance(value, str | int | float | date | time):
        return mask(value)
    how_many = f" of {len(value)}" if isinstance(value, Sized) else ""
    return f"<{type(value).__name__}{how_many}>"


def _mask_text(text: str) -> str:
    if _IS_MOMENT.fullmatch(text):
        return text
    parts = _QUOTED_MOMENT.split(text)
    return "".join(part if index % 2 else mask_phone_numbers(part) for index, part in enumerate(parts))


def quoted(value: Any) -> str:
    """Return a value as an error may quote it: phone numbers masked, long ones cut."""
    return shortened(repr(str(value)) if isinstance(value, str) else repr(value))


def shortened(text: str) -> str:
    """Return of a text what an error may say of it: phone numbers masked, and then cut."""
    masked = mask_phone_numbers(text)
    return masked if len(masked) <= _MAX_QUOTED_LENGTH else f"{masked[:_MAX_QUOTED_LENGTH]}..."


@contextmanager
def named_in_errors(task_id: str) -> Iterator[None]:
    """Name the task whose argument is wrong: a DAG file has many."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Task {task_id!r}: {error}") from None


def refuse(name: str, value: Any, expected: str) -> NoReturn:
    """
    Refuse an argument.

    :raises ValueError: always
    """
    kind = "" if isinstance(value, str) else f", of type {type(value).__name__}"
    raise ValueError(f"{name} is {quoted(value)}{kind}; expected {expected}")


def as_text(name: str, value: Any) -> str:
    """
    Return text; a whole number is the text of its digits.

    :raises ValueError: it is neither
    """
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, bool) and isinstance(value, Integral):
        return str(int(value))
    if not isinstance(value, str):
        refuse(name, value, "text, or a whole number for text that is all digits; give it as text")
    if not is_encodable(value):
        raise ValueError(f"{name} holds half a character (a lone surrogate); expected text in Unicode")
    return str(value)
