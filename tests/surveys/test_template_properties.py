"""Whatever a template says: what 8x8 gets says the same, and its parts are counted."""

from __future__ import annotations

import re
import string

from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_8x8.surveys.messages.parts import count_parts
from airflow_provider_8x8.surveys.messages.template import Template, TemplateError

LINK = "x" * 21
BLANKS = st.sampled_from(["", " ", "  ", "\n"])
NAMES = st.sampled_from(
    ["a", "_", "firstName", "order_nr", "a.b", "a-1", "url2", "Url", "ds", "params.x", "größe", "名"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=20)
# In GSM 03.38's alphabet, in its extension, and in neither.
LETTERS = st.sampled_from([*"aZ0 @\né", "€", "{", "ç", "字", "😀"])


@st.composite
def placeholders(draw: st.DrawFn) -> tuple[str, str, tuple[str, ...], bool]:
    """Draw a placeholder as people write it, as 8x8 gets it, the names that it needs, and whether it is the link."""
    if draw(st.booleans()):
        name = draw(NAMES)
        return "{{" + draw(BLANKS) + name + draw(BLANKS) + "}}", "{{" + name + "}}", (name,), False
    arguments = draw(st.lists(st.one_of(NAMES, st.just("")), max_size=3))
    written = ":".join(draw(BLANKS) + part + draw(BLANKS) for part in ("url", *arguments))
    return "{{" + written + "}}", "{{" + ":".join(("url", *arguments)) + "}}", tuple(filter(None, arguments)), True


@given(st.lists(st.tuples(TEXTS, placeholders()), min_size=1, max_size=5), TEXTS, st.data())
def test_what_8x8_gets_says_what_was_written(
    pieces: list[tuple[str, tuple[str, str, tuple[str, ...], bool]]], end: str, data: st.DataObject
) -> None:
    written = "".join(text + placeholder[0] for text, placeholder in pieces) + end
    if not any(is_link for _, (_, _, _, is_link) in pieces):
        written += "{{url}}"
        pieces, end = [*pieces, (end, ("{{url}}", "{{url}}", (), True))], ""
    template = Template.parse(written)
    assert template.body == "".join(text + placeholder[1] for text, placeholder in pieces) + end
    assert template.names == tuple(dict.fromkeys(name for _, (_, _, names, _) in pieces for name in names))
    assert Template.parse(template.body) == template

    variables = {name: data.draw(st.one_of(TEXTS, st.just("{{url}}"), st.integers())) for name in template.names}
    shown = [text + (LINK if is_link else str(variables[names[0]])) for text, (_, _, names, is_link) in pieces]
    assert template.render(variables) == "".join(shown) + end


WRITTEN = st.sampled_from(
    [*"{}:|% \n\t1a.-", "{{", "}}", "url", "{{url}}", "ds", "你", "\u2063", "\u2028", "12025550123"]
)


@given(st.lists(WRITTEN).map("".join))
@example("12025550123 {{url}} {{a b}}")
def test_any_text_is_a_template_or_says_why_not(body: str) -> None:
    template = parsed(body)
    if isinstance(template, Template):
        assert Template.parse(template.body) == template
        assert "{{" not in template.render(dict.fromkeys(template.names, "-"))
    else:
        assert "\n" not in template.reason
        assert len(str(template).splitlines()) <= 4
        assert not re.search(r"\d{7}", str(template))


def parsed(body: str) -> Template | TemplateError:
    try:
        return Template.parse(body)
    except TemplateError as error:
        return error


@given(st.dictionaries(st.sampled_from(string.ascii_lowercase), st.text(LETTERS, max_size=150), max_size=4))
def test_where_no_value_is_long_no_text_is_too_long(variables: dict[str, str]) -> None:
    template = Template.parse("".join(f"{{{{{name}}}}}" for name in variables) + "Hi 你好 {{url}}")
    if all(len(value) <= template.longest_safe_value for value in (LINK, *variables.values())):
        assert count_parts(template.render(variables)) <= 10


def parts_by_filling_them(text: str, encoding: str | None) -> int:
    """Count parts by another way: one is filled with a place after the other."""
    basic = set("aZ0 @\né")
    doubled = set("€{")
    if encoding == "UCS2" or (encoding != "GSM7" and set(text) - basic - doubled):
        places, alone, joined = sum(1 + (ord(letter) > 0xFFFF) for letter in text), 70, 67
    else:
        places, alone, joined = sum(1 + (letter in doubled) for letter in text), 160, 153
    size = alone if places <= alone else joined
    parts = 1
    free = size
    for _ in range(places):
        if not free:
            parts, free = parts + 1, size
        free -= 1
    return parts


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    return "".join(draw(LETTERS) * draw(st.integers(0, 170)) for _ in range(draw(st.integers(0, 5))))


@given(long_texts(), st.sampled_from([None, "AUTO", "GSM7", "UCS2"]))
def test_parts_are_as_many_as_are_filled(text: str, encoding: str | None) -> None:
    assert count_parts(text, encoding) == parts_by_filling_them(text, encoding)
