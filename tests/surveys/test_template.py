"""Texts in 8x8's braces."""

from __future__ import annotations

import pytest

from airflow_provider_8x8.api.models import SURVEY_LINK_LENGTH
from airflow_provider_8x8.surveys.messages.parts import count_parts
from airflow_provider_8x8.surveys.messages.template import Template, TemplateError

LINK = "x" * 21


@pytest.mark.parametrize(
    ("body", "sent", "names"),
    [
        ("Hi {{firstName}}: {{url}}", "Hi {{firstName}}: {{url}}", ("firstName",)),
        ("Hi {{ firstName }}: {{ url }}", "Hi {{firstName}}: {{url}}", ("firstName",)),
        ("{{url:}}", "{{url:}}", ()),
        ("{{url:a:b}}", "{{url:a:b}}", ("a", "b")),
        ("{{ url : a : b }} {{b}} {{a}}", "{{url:a:b}} {{b}} {{a}}", ("a", "b")),
        ("{ one } brace {{url}}", "{ one } brace {{url}}", ()),
    ],
)
def test_a_template_says_what_it_needs(body: str, sent: str, names: tuple[str, ...]) -> None:
    template = Template.parse(body)
    assert (template.body, template.names) == (sent, names)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "  ",
        "no link",
        "{{name}} but no link",
        "{{url}",
        "{{url}} {{name}",
        "{{url}} {name}}",
        "{{url}} {{}}",
        "{{url}} {{a b}}",
        "{{url}} {{1st}}",
        "{{url}} {{a|upper}}",
        "{{url}} {{name:other}}",
        "{{{url}}} {{x}",
    ],
)
def test_a_template_that_8x8_could_not_fill_is_refused(body: str) -> None:
    with pytest.raises(TemplateError):
        Template.parse(body)


@pytest.mark.parametrize(
    ("body", "quotation"),
    [
        ("Hi {{firstName}, order {{order_nr}}: {{url}}", "  Hi {{firstName}, order {{order_nr}}: {{url}}\n     ^\n"),
        ("Hi {{url}} {name}}", "  Hi {{url}} {name}}\n                  ^\n"),
        ("one\nHi 你好 {{1st}}\n{{url}}", "  Hi 你好 {{1st}}\n          ^\n"),
        (f"{'x' * 50} {{{{a b}}}} {'y' * 50} {{{{url}}}}", f"  ...{'x' * 29} {{{{a b}}}} {'y' * 42}...\n{' ' * 35}^\n"),
        ("{{name:other}} {{url}}", "  {{name:other}} {{url}}\n  ^"),
        ("+1 202 555 {{0123 {{url}}", "  +12*******23 {{url}}\n    ^\n"),
        ("{{url}} {{}}", "  {{url}} {{}}\n          ^\n"),
    ],
)
def test_an_error_quotes_the_text_with_a_mark_at_the_place(body: str, quotation: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template.parse(body)
    assert f"{refused.value.reason}\n{quotation}" in f"{refused.value}\n"
    assert "\n" not in refused.value.reason


@pytest.mark.parametrize(
    ("jinja", "goes"),
    [
        ("{{ ds | upper }}", "write {{ds}} here, and there {'ds': '{{ ds | upper }}'}"),
        ("{{ ds_nodash[:6] }}", "{'ds_nodash': '{{ ds_nodash[:6] }}'}"),
        ("{{ macros.ds_add(ds, 7) }}", "write {{ds_add}} here, and there {'ds_add': '{{ macros.ds_add(ds, 7) }}'}"),
        ("{{ ti.xcom_pull(task_ids='a') }}", "{'xcom_pull': \"{{ ti.xcom_pull(task_ids='a') }}\"}"),
        ("{{ params['x'] }}", "{'params': \"{{ params['x'] }}\"}"),
        ("{{ data_interval_start.strftime('%H:%M') }}", "write {{strftime}} here"),
        ("{{ logical_date + macros.timedelta(days=1) }}", "write {{logical_date}} here"),
        ("{{ 'a:b' | upper }}", "write {{ds}} here, and there {'ds': '{{ ds }}'}"),
        ("{{ name if name else 'you' }}", "write {{ds}} here"),
        ("{% if params.x %}x{% endif %}", "write {{ds}} here"),
        ("{# a comment #}", "write {{ds}} here"),
    ],
)
def test_jinja_in_a_template_says_where_jinja_goes(jinja: str, goes: str) -> None:
    with pytest.raises(TemplateError, match="Jinja is not rendered in template_body, but in template_variables") as no:
        Template.parse(f"{jinja} {{{{url}}}}")
    assert goes in str(no.value)


def test_a_text_is_rendered_as_the_phone_shows_it() -> None:
    template = Template.parse("Hi {{firstName}}, {{ n }} at {{url:n}} ({{firstName}})")
    assert template.render({"firstName": "{{n}}", "n": 3}) == f"Hi {{{{n}}}}, 3 at {LINK} ({{{{n}}}})"


@pytest.mark.parametrize(
    ("text", "encoding", "parts"),
    [
        ("a" * 160, None, 1),
        ("a" * 161, None, 2),
        ("a" * 306, "AUTO", 2),
        ("a" * 307, "AUTO", 3),
        ("€" * 80, None, 1),
        ("€" * 81, None, 2),
        ("é" * 160, None, 1),
        ("ç" * 70, None, 1),  # only the capital is in GSM7
        ("ç" * 71, None, 2),
        ("字" * 70, None, 1),
        ("字" * 71, None, 2),
        ("😀" * 35, None, 1),
        ("😀" * 36, None, 2),
        ("a" * 71, "UCS2", 2),
    ],
)
def test_parts_are_counted_as_8x8_bills_them(text: str, encoding: str | None, parts: int) -> None:
    assert count_parts(text, encoding) == parts


def test_the_quick_answer_never_lets_a_long_text_pass() -> None:
    template = Template.parse("{{a}}{{b}}{{url}}")
    for length in range(0, 400, 7):
        variables = {"a": "😀" * length, "b": ""}
        if max(len(variables["a"]), SURVEY_LINK_LENGTH) <= template.longest_safe_value:
            assert count_parts(template.render(variables)) <= 10
