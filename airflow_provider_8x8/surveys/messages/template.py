"""
The text of a survey in 8x8's braces: ``Hi {{firstName}}, order {{order_nr}}: {{url:order_nr}}``.

``{{name}}`` stands for a template variable. ``{{url}}``, ``{{url:}}`` and ``{{url:name:name}}`` stand for the link
to the survey; the names after the colon are handed to the survey's form.

Source: 8x8's tutorial "SMS Engage" and the examples in its OpenAPI file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

from airflow_provider_8x8.api.advice import with_advice
from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import MAX_SMS_PARTS, SURVEY_LINK_LENGTH
from airflow_provider_8x8.surveys.messages.parts import UCS2_SIZES, fits_into_parts
from airflow_provider_8x8.surveys.messages.values import quoted

_LINK = "url"
_BRACES = re.compile(r"\{\{(?P<inside>[^{}]*)\}\}")
_NAME = re.compile(r"[^\W\d][\w.\-]*")

# What is no placeholder of 8x8's, and an expression or a statement of Jinja's: filters, calls, indexes, quotes, tests.
_JINJA_EXPRESSION = re.compile(r"[|()\[\]'\"~+*/=<>]|\b(?:if|else|and|or|not|in|is)\b")
_JINJA_STATEMENT = re.compile(r"\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")

# What Airflow 2.11 and 3 have for their templates. Each may also be a column's name, or begin one.
_AIRFLOWS_NAMES = """
    asset_state_store conf conn dag dag_run data_interval_end data_interval_start ds ds_nodash exception
    execution_date expanded_ti_count inlet_events inlets logical_date macros map_index_template next_ds
    next_ds_nodash next_execution_date outlet_events outlets params partition_date partition_key
    prev_data_interval_end_success prev_data_interval_start_success prev_ds prev_ds_nodash prev_end_date_success
    prev_execution_date prev_execution_date_success prev_start_date_success reason run_id task task_instance
    task_instance_key_str task_reschedule_count task_state_store templates_dict test_mode ti tomorrow_ds
    tomorrow_ds_nodash triggering_asset_events triggering_dataset_events try_number ts ts_nodash ts_nodash_with_tz
    var yesterday_ds yesterday_ds_nodash
"""
_AIRFLOWS = frozenset(_AIRFLOWS_NAMES.split())

# How much of a text an error quotes around the place that it is about.
_QUOTED_BEFORE, _QUOTED_AFTER = 30, 50
_PLACE = "\u2063"  # an invisible separator, which has no part in whether digits are a phone number

# A text of so many characters fits into 10 parts whatever they are: none takes more than two places.
_SAFE_LENGTH = MAX_SMS_PARTS * UCS2_SIZES[1] // 2


class TemplateError(ValueError):
    """
    A template that 8x8 could not fill, or that has no link to the survey; phone numbers in its text are masked.

    :param reason: what is wrong, on one line
    :param advice: the place in the text, and what to do
    """

    def __init__(self, reason: str, *advice: str | None) -> None:
        super().__init__(with_advice(reason, *advice))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Template:
    """
    A checked template body.

    :ivar body: the text that 8x8 gets: as written, without spaces inside the braces
    :ivar names: the template variables that it needs, each once, in order
    :ivar longest_safe_value: characters; if no value is longer, the text cannot pass 10 parts, else it has to be
        rendered to know
    """

    body: str = field(repr=False)  # a row's own text may hold a phone number
    names: tuple[str, ...]
    longest_safe_value: int

    @classmethod
    def parse(cls, body: str) -> Self:
        """
        Check a template body.

        :raises TemplateError: it is empty, has no link, braces that do not close, a placeholder that is no name, or
            what only Jinja understands; the text quotes the line with a mark below the place
        """
        if not isinstance(body, str) or not body.strip():
            raise TemplateError("the template body is empty; expected a text with {{url}} in it")
        if statement := _JINJA_STATEMENT.search(body):
            raise _error("the template has a statement of Jinja's", body, statement.start(), _where_jinja_goes())
        names: dict[str, None] = {}
        has_link = False

        def canonical(found: re.Match[str]) -> str:
            nonlocal has_link
            first, *arguments = (part.strip() for part in found["inside"].split(":"))
            is_link = first == _LINK
            has_link = has_link or is_link
            needed = [name for name in arguments if name] if is_link else [first]
            if is_link or not arguments:
                for name in needed:
                    if not _NAME.fullmatch(name):
                        raise _no_name(name, found, body)
                    names[name] = None
            elif _is_jinja(found["inside"]):
                raise _no_name(found["inside"].strip(), found, body)
            else:
                said = f"the template has {quoted(found[0])}: only {{{{url:...}}}} takes names after a colon"
                raise _error(said, body, found.start(), None)
            return "{{" + ":".join((first, *arguments)) + "}}"

        canonical_body, placeholders = _BRACES.subn(canonical, body)
        rest = _BRACES.sub("", body)
        if "{{" in rest or "}}" in rest:
            hint = "Expected {{name}}, two braces on each side"
            raise _error("the template has braces that do not pair up", body, _first_odd_brace(body), hint)
        if not has_link:
            raise TemplateError("the template has no link to the survey", "Put {{url}} where it shall stand")
        return cls(canonical_body, tuple(names), (_SAFE_LENGTH - len(canonical_body)) // placeholders)

    def render(self, variables: Mapping[str, object]) -> str:
        """Return the text as a phone shows it, the link as 21 characters."""
        return _BRACES.sub(
            lambda found: (
                "x" * SURVEY_LINK_LENGTH
                if found["inside"].partition(":")[0] == _LINK
                else str(variables[found["inside"]])
            ),
            self.body,
        )

    def renderer(self, names: Sequence[str]) -> Callable[..., str]:
        """
        Return what renders the text from values in the order of their names, as :meth:`render` does: for many texts.

        :param names: all of the template's
        """
        literals_and_insides = _BRACES.split(self.body)
        pieces = [literal.replace("{", "{{").replace("}", "}}") for literal in literals_and_insides[::2]]
        for number, inside in enumerate(literals_and_insides[1::2]):
            is_link = inside.partition(":")[0] == _LINK
            pieces[number] += "x" * SURVEY_LINK_LENGTH if is_link else f"{{{names.index(inside)}}}"
        return "".join(pieces).format

    def keeps_link(self, variables: Mapping[str, object], encoding: str) -> bool:
        """
        Tell whether a text that 8x8 cuts off still has its link, or one of them.

        :param encoding: the text's: ``GSM7`` or ``UCS2``
        """
        first = next(found for found in _BRACES.finditer(self.body) if found["inside"].partition(":")[0] == _LINK)
        until_then = replace(self, body=self.body[: first.end()]).render(variables)
        return fits_into_parts(until_then, MAX_SMS_PARTS, encoding)


parse_again = lru_cache(maxsize=256)(Template.parse)
"""Parses a row's own text: many rows have the same one."""


def hint_at_jinja(name: str) -> str | None:
    """Say where Jinja goes, of a placeholder without a value that is named like a variable of Airflow's."""
    return _where_jinja_goes(name) if name.partition(".")[0] in _AIRFLOWS else None


def _where_jinja_goes(expression: str = "ds") -> str:
    dotted = _DOTTED.match(expression)
    if dotted is None or dotted[0].partition(".")[0] not in _AIRFLOWS:
        name = expression = "ds"
    else:
        name, expression = dotted[0].rpartition(".")[2], mask_phone_numbers(expression)
    return (
        f"Jinja is not rendered in template_body, but in template_variables: write {{{{{name}}}}} here, and there "
        f"{{{name!r}: {'{{ ' + expression + ' }}'!r}}}"
    )


def _is_jinja(inside: str) -> bool:
    dotted = _DOTTED.match(inside.strip())
    return bool(_JINJA_EXPRESSION.search(inside)) or (dotted is not None and dotted[0].partition(".")[0] in _AIRFLOWS)


def _no_name(name: str, found: re.Match[str], body: str) -> TemplateError:
    if _is_jinja(found["inside"]):
        hint = _where_jinja_goes(found["inside"].strip())
    else:
        hint = "Expected a letter or underscore, then letters, digits, underscores, dots or hyphens"
    return _error(f"the template has {quoted(found[0])}: {quoted(name)} is not a name", body, found.start(), hint)


def _first_odd_brace(body: str) -> int:
    without_pairs = _BRACES.sub(lambda found: " " * len(found[0]), body)
    odd = re.search(r"\{\{|\}\}", without_pairs) or re.search(r"[{}]", without_pairs)
    return odd.start() if odd else 0


def _error(reason: str, body: str, place: int, hint: str | None) -> TemplateError:
    """Return an error about a place in a text, which it quotes with a mark below the place."""
    return TemplateError(reason, _quotation(body, place), hint)


def _quotation(body: str, place: int) -> str:
    """Return the line of a text that a place is in, phone numbers masked, and a mark below the place."""
    marked = body[:place].replace(_PLACE, "") + _PLACE + body[place:].replace(_PLACE, "")
    masked = mask_phone_numbers(marked)
    if _PLACE not in masked:  # it is in the midst of a number, so where that begins
        start = next(at for at, pair in enumerate(zip(marked, masked, strict=False)) if len(set(pair)) > 1)
        masked = masked[:start] + _PLACE + masked[start:]
    line = next(line for line in masked.splitlines() if _PLACE in line)
    before, _, after = line.replace("\t", " ").partition(_PLACE)
    before = before if len(before) <= _QUOTED_BEFORE else "..." + before[-_QUOTED_BEFORE:]
    after = after if len(after) <= _QUOTED_AFTER else after[:_QUOTED_AFTER] + "..."
    return f"  {before}{after}\n  {' ' * _width(before)}^"


def _width(text: str) -> int:
    """Return how many columns a text takes where all letters are as wide: some take two, some none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
