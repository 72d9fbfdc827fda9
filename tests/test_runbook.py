"""The runbook's headings are the messages of the code, each has its chapter, and what it tells one to run runs."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.surveys import settings
from airflow_provider_8x8.surveys.sending import brake, rereading, unanswered
from tests.api.servers import batch
from tests.conftest import ROOT

PACKAGE = ROOT / "airflow_provider_8x8"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
CHAPTERS = dict(
    re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", RUNBOOK, re.DOTALL | re.MULTILINE),
)
ANSWERS = ("**What happened**", "**Known**", "**Not known**", "**What to do**", "**What it costs**")

OF_THE_JOURNAL = {
    "JournalUnavailableError",
    "SupersededError",
    "JournalMismatchError",
    "JournalLostError",
    "CorruptJournalError",
}
# Parts of a message that has a heading.
PARTS = {"its connection could not be had: …"}


def calls() -> Iterator[tuple[str, str]]:
    """Yield the text of each call that has one as its first argument, … for what it names, and the called name."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and node.args and (text := text_of(node.args[0])) is not None:
                called = node.func
                yield called.id if isinstance(called, ast.Name) else getattr(called, "attr", ""), text


def text_of(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return as_heading(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return as_heading("".join(parts))
    return None


def as_heading(text: str) -> str:
    return re.sub(r"…( ?…)*", "…", re.sub(r"\s+", " ", text))


def of_unanswered_batches() -> set[str]:
    names = ("IS_LOOKED_FOR", "IS_NOT_KNOWN", "IS_DECIDED", "IS_RESENT_TOO_OFTEN")
    return {as_heading(re.sub(r"\{.*?\}", "…", getattr(unanswered, name))) for name in names}


def of_the_brake() -> set[str]:
    texts = (settings.TOO_MANY_REJECTED, settings.TOO_MANY_INVALID, brake.ALL_OF_FIRST_REJECTED, brake.FIRST_UNANSWERED)
    return {as_heading(re.sub(r"\{.*?\}", "…", text)) for text in texts}


def of_the_sender() -> set[str]:
    return {
        text
        for called, text in calls()
        if called == "SendingStopped" and ("unknown outcome" in text or "the report lacks" in text)
    }


def of_reading_in_vain() -> set[str]:
    return {as_heading(re.sub(r"\{.*?\}", "…", rereading.READ_IN_VAIN))}


def of_tries_without_a_journal() -> set[str]:
    return {text for called, text in calls() if called == "ValueError" and "what an earlier try has sent" in text}


def of_the_journal() -> set[str]:
    return {text for called, text in calls() if called in OF_THE_JOURNAL} - PARTS


MESSAGES = sorted(
    of_unanswered_batches()
    | of_the_brake()
    | of_the_sender()
    | of_reading_in_vain()
    | of_tries_without_a_journal()
    | of_the_journal()
)


def begins_with(message: str, heading: str) -> bool:
    words = heading.rstrip("… ")
    return message.startswith(words) or message.removeprefix("…. ").startswith(words)


def test_all_messages_are_found() -> None:
    assert len(of_unanswered_batches()) == 4
    assert len(of_the_sender()) == 2
    assert len(of_tries_without_a_journal()) == 2
    assert len(of_the_journal()) > 20


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_has_a_chapter(message: str) -> None:
    assert [heading for heading in CHAPTERS if begins_with(message, heading)], message


@pytest.mark.parametrize("heading", CHAPTERS)
def test_every_heading_is_a_message(heading: str) -> None:
    assert [message for message in MESSAGES if begins_with(message, heading)], heading


@pytest.mark.parametrize("heading", CHAPTERS)
def test_every_chapter_says_what_happened_what_is_known_what_to_do_and_what_it_costs(heading: str) -> None:
    chapter = CHAPTERS[heading]
    assert [chapter.count(f"- {answer}") for answer in ANSWERS] == [1] * len(ANSWERS)
    assert re.search(r"^  1\. ", chapter, re.MULTILINE)


def test_the_links_lead_somewhere() -> None:
    for page, anchor in re.findall(r"\]\(([\w.]*)#([^)]+)\)", RUNBOOK):
        text = (ROOT / "docs" / page).read_text() if page else RUNBOOK
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor


@pytest.mark.parametrize(("page", "link"), [("README.md", "docs/runbook.md"), ("docs/guarantees.md", "runbook.md")])
def test_other_pages_link_to_it(page: str, link: str) -> None:
    assert f"]({link})" in (ROOT / page).read_text()


def test_the_look_into_the_logs_tells_what_8x8_has_of_a_batch(sandbox: Any, connection: str) -> None:
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    (code,) = re.findall(r"```python\n(.*?)```", RUNBOOK, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(textwrap.dedent(code), "runbook.md", "exec"), namespace)  # noqa: S102  # our own page
    now = datetime.now(UTC)
    EightByEightHook(connection).client.send_survey_batch(
        "orders", msgspec.structs.replace(batch(3), client_batch_id="a-batch")
    )
    window = (now - timedelta(hours=1), now + timedelta(hours=1))
    assert namespace["statuses_in_8x8s_logs"]("a-batch", *window).total() == 3
    assert namespace["statuses_in_8x8s_logs"]("another", *window) == Counter()
