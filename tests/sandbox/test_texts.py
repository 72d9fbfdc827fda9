"""Texts as phones show them."""

from __future__ import annotations

import pytest

from airflow_provider_8x8.sandbox.platform.texts import TemplateBody, TemplateError, short_link, to_sms
from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import Caller, message

LINK = "https://8x8.test/0000"


@pytest.mark.parametrize(
    ("body", "variables", "text"),
    [
        ("Hi {{name}}: {{url}}", {"name": "Ana"}, f"Hi Ana: {LINK}"),
        ("Hi {{ name }}: {{ url }}", {"name": "Ana"}, f"Hi Ana: {LINK}"),
        ("{{url:}}", {}, LINK),
        ("{{url:name:nr}}", {"name": "Ana", "nr": 7}, LINK),
        ("{{ url : name }}{{url}}", {"name": "Ana"}, LINK + LINK),
        ("{{nr}} {{price}} {{url}}", {"nr": 24, "price": 9.5}, f"24 9.5 {LINK}"),
        ("{a} {{url}}", {}, f"{{a}} {LINK}"),
        ("{{name}} {{url}}", {"name": "{{url}} {{other}}"}, f"{{{{url}}}} {{{{other}}}} {LINK}"),
        ("{{name}} {{url}}", {"name": "", "unused": "x"}, f" {LINK}"),
    ],
)
def test_placeholders_are_filled_once(body: str, variables: dict[str, object], text: str) -> None:
    assert TemplateBody(body).render(variables, LINK) == text


def test_a_body_names_what_it_needs() -> None:
    assert TemplateBody("{{ a }} {{url:b: c}}").names == {"a", "b", "c"}


@pytest.mark.parametrize("body", ["", "Hi", "{{name}}", "{{url", "url}}", "{{url}} }}", "{{{{url}}}}", "{{url}} {{}}"])
def test_a_body_without_a_link_or_with_broken_braces_is_none(body: str) -> None:
    with pytest.raises(TemplateError):
        TemplateBody(body)


def test_a_link_has_always_21_characters(caller: Caller, sandbox: Sandbox) -> None:
    assert len(short_link("d9428888-122b-11e1-b85c-61cd3cbb3210")) == 21
    caller.batch(message(1), message(2))
    links = [str(sent["text"]).split(": ")[1] for sent in sandbox.messages()]
    assert [len(link) for link in links] == [21, 21]
    assert links[0] != links[1]


@pytest.mark.parametrize(
    ("text", "encoding", "detected", "parts"),
    [
        ("", "AUTO", "GSM7", 1),
        ("a" * 160, "AUTO", "GSM7", 1),
        ("a" * 161, "AUTO", "GSM7", 2),
        ("a" * 306, "AUTO", "GSM7", 2),
        ("a" * 307, "AUTO", "GSM7", 3),
        ("€" * 80, "AUTO", "GSM7", 1),
        ("€" * 81, "AUTO", "GSM7", 2),
        ("^{}\\[~]|€\f" * 8, "AUTO", "GSM7", 1),
        ("ÄÖÜñàΩ@\n", "AUTO", "GSM7", 1),
        ("`", "AUTO", "UCS2", 1),
        ("ç", "AUTO", "UCS2", 1),
        ("李" * 70, "AUTO", "UCS2", 1),
        ("李" * 71, "AUTO", "UCS2", 2),
        ("李" * 135, "AUTO", "UCS2", 3),
        ("🎉" * 35, "AUTO", "UCS2", 1),
        ("🎉" * 36, "AUTO", "UCS2", 2),
        ("a" * 71, "UCS2", "UCS2", 2),
        ("a" * 1530, "AUTO", "GSM7", 10),
        ("李" * 670, "AUTO", "UCS2", 10),
    ],
)
def test_a_text_has_an_encoding_and_parts(text: str, encoding: str, detected: str, parts: int) -> None:
    assert to_sms(text, encoding) == (text, detected, parts)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a" * 1531, "a" * 1530),
        ("a" * 1529 + "€b", "a" * 1529),
        ("€" * 1000, "€" * 765),
        ("李" * 671, "李" * 670),
        ("李" * 669 + "🎉b", "李" * 669),
        ("🎉" * 5_000, "🎉" * 335),
    ],
)
def test_more_than_ten_parts_are_cut_off(text: str, left: str) -> None:
    sms = to_sms(text, "AUTO")
    assert (sms.text, sms.parts) == (left, 10)


def test_gsm7_on_demand_shows_what_it_cannot_hold() -> None:
    assert to_sms("Hi 李!", "GSM7") == ("Hi ?!", "GSM7", 1)


def test_a_link_behind_ten_parts_is_lost(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(message(1, templateBody="x" * 5_000_000 + "{{url}}"))
    (sent,) = sandbox.messages()
    assert (sent["text"], sent["parts"]) == ("x" * 1530, 10)
