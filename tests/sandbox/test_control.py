"""Counts, texts and the page for people."""

from __future__ import annotations

from datetime import datetime
from html.parser import HTMLParser

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import Caller, message

NAUGHTY = "<script>alert('x')</script> & \"quoted\" {curly} {0} %s"


class Page(HTMLParser):
    """What is in the page: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        """Give the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def page(caller: Caller) -> Page:
    response = caller.call("GET", "/sandbox", key=None)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(response.text)


def test_stats_count_batches(caller: Caller) -> None:
    caller.batch(message(1), message(2), message(3, destination="+2101234567"))
    caller.batch(message(1), message(4))
    caller.batch(message(5, destination="0"))
    caller.single()
    assert caller.call("GET", "/sandbox/stats", key=None).json() == {
        "requests": 3,
        "batches": 2,
        "accepted": 4,
        "rejected": 1,
        "distinct_keys": 3,
        "max_per_key": 2,
        "singles": 1,
    }


def test_a_request_with_a_wrong_key_is_counted_too(caller: Caller, sandbox: Sandbox) -> None:
    caller.call("POST", "surveys/nps/messages/batch", key="other", json={})
    assert sandbox.stats()["requests"] == 1


def test_messages_come_newest_first(caller: Caller) -> None:
    answer = caller.batch(message(1), message(2, source="YourBrand"), clientBatchId="b-1").json()
    caller.single(clientMessageId="single")
    single, second, first = caller.call("GET", "/sandbox/messages", key=None).json()
    assert [single["client_message_id"], second["client_message_id"], first["client_message_id"]] == [
        "single",
        "id-2",
        "id-1",
    ]
    assert datetime.fromisoformat(second.pop("created_at")).tzinfo is not None
    umids = {sent["clientMessageId"]: sent["umid"] for sent in answer["messages"]}
    assert second == {
        "umid": umids["id-2"],
        "batch_id": answer["batchId"],
        "client_batch_id": "b-1",
        "client_message_id": "id-2",
        "survey_id": "nps",
        "destination": "12025550002",
        "source": "YourBrand",
        "text": f"Hi Ana: https://8x8.test/{umids['id-2'][-4:]}",
        "encoding": "GSM7",
        "parts": 1,
        "status": "delivered",
        "description": None,
    }


def test_messages_have_a_limit(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(*(message(number) for number in range(150)))
    assert len(caller.call("GET", "/sandbox/messages").json()) == len(sandbox.messages()) == 100
    newest = caller.call("GET", "/sandbox/messages", params={"limit": "2"}).json()
    assert [sent["client_message_id"] for sent in newest] == ["id-149", "id-148"]
    assert len(sandbox.messages(1000)) == 150


@pytest.mark.parametrize("limit", ["0", "-1", "all", "", "1e3", "\u0661", "9" * 30])
def test_a_limit_that_is_none_is_refused(caller: Caller, limit: str) -> None:
    response = caller.call("GET", "/sandbox/messages", params={"limit": limit})
    assert (response.status_code, response.json()["code"]) == (400, 1000)


def test_all_can_be_forgotten(caller: Caller, sandbox: Sandbox) -> None:
    umid = caller.batch(message(1)).json()["messages"][0]["umid"]
    caller.single()
    job = caller.call("POST", "messages/exports", json={}).json()["jobId"]
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 9}])
    response = caller.call("DELETE", "/sandbox", key=None)
    assert (response.status_code, response.content) == (204, b"")
    assert set(sandbox.stats().values()) == {0}
    assert (sandbox.messages(), sandbox.requests()) == ([], [])
    assert caller.call("GET", f"messages/{umid}").status_code == 404
    assert caller.call("GET", f"messages/exports/{job}").status_code == 404
    assert caller.batch(message(1)).status_code == 200


def test_the_empty_page_says_what_it_is_and_how_to_connect(caller: Caller, sandbox: Sandbox) -> None:
    shown = page(caller).text
    assert "8x8 sandbox" in shown
    assert "No SMS is sent" in shown
    assert sandbox.connection_uri in shown
    assert sandbox.url in shown


def test_the_page_shows_texts_batches_and_rejections(caller: Caller) -> None:
    fields = {"clientBatchId": "monthly-1", "template": {"templateBody": "Hello {{url}}", "source": "YourBrand"}}
    answer = caller.batch(message(1), message(2, destination="+2101234567"), **fields).json()
    shown = page(caller)
    for what in (
        "YourBrand",
        "Hello https://8x8.test/",
        "+12025550001",
        "1 part",
        "monthly-1",
        answer["batchId"],
        "nps",
        "2101234567",
        "Invalid MSISDN format",
    ):
        assert what in shown.text
    links = [attributes for tag, attributes in shown.elements if attributes.get("class") == "link"]
    assert links == [{"class": "link"}]
    assert shown.tags("a") == [], "a survey link must lead nowhere"


def test_the_page_escapes_what_came_in(caller: Caller) -> None:
    template = {"templateBody": "{{firstName}} {{url}}", "source": "<i>&\"'"}
    messages = (
        message(1, templateVariables={"firstName": NAUGHTY}),
        message(2, clientMessageId=NAUGHTY, destination="+2101234567"),
    )
    caller.call(
        "POST",
        "surveys/%3Cscript%3E%22x/messages/batch",
        json={"messages": messages, "template": template, "clientBatchId": "<b>'\"&{0}"},
    ).raise_for_status()
    shown = page(caller)
    assert len(shown.tags("script")) == 1, "only the page's own"
    assert shown.tags("i") == []
    assert all(attributes == {"dir": "auto"} for attributes in shown.tags("b"))
    assert shown.text.count(NAUGHTY) == 2
    for what in ("<i>&\"'", '<script>"x', "<b>'\"&{0}"):
        assert what in shown.text


def test_the_page_needs_nothing_from_outside_and_runs_only_its_own_script(caller: Caller) -> None:
    response = caller.call("GET", "/sandbox")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    shown = Page(response.text)
    for tag, attributes in shown.elements:
        assert not {"src", "href", "action", "style", "onclick"} & attributes.keys(), tag
    assert "@import" not in response.text
    assert "url(" not in response.text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in shown.tags("meta")
    assert "prefers-color-scheme: dark" in response.text


def test_the_page_shows_the_newest_of_many(caller: Caller) -> None:
    caller.batch(*(message(number) for number in range(2_000)))
    shown = page(caller)
    assert 0 < len(shown.tags("li")) < 50
    assert "+12025551999" in shown.text
    assert "2,000" in shown.text
