"""The page for people, as a browser without scripts has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
import requests

from airflow_provider_8x8.sandbox.desk import phones
from airflow_provider_8x8.sandbox.desk.faults import Kind, Operation
from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY, TEMPLATE, Caller, message

NAUGHTY = "<script>alert('x')</script> & \"quoted\" {curly} {0} %s"


class Page(HTMLParser):
    """What is in the page: its elements with their attributes and their own text, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
        self.texts.append((self.elements[-1][0] if self.elements else "", data.strip()))

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        """Give the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def counts(self) -> dict[str, str]:
        """Give the counts by their names."""
        names = [text for tag, text in self.texts if tag == "dt" and text]
        return dict(zip(names, (text for tag, text in self.texts if tag == "dd" and text), strict=False))

    def destinations(self) -> list[str]:
        """Give the numbers of the texts that are shown."""
        return re.findall(r"to \+(\w+) ·", self.text)

    def alarms(self) -> int:
        """Count what is red."""
        return sum(attributes.get("class") in ("alarm", "again") for _, attributes in self.elements)

    def button(self, name: str) -> dict[str, str]:
        """Give the query that a button of this text and the hidden fields before it make."""
        index = next(i for i, text in enumerate(self.texts) if text == ("button", name))
        assert index
        found = [at for at in self.tags("button") if at.get("name") == "before"]
        (chosen,) = (at for at in found if bool(at["value"]) == (name == "Older texts"))
        hidden = {str(at["name"]): str(at["value"]) for at in self.tags("input") if at.get("type") == "hidden"}
        return {"before": str(chosen["value"]), **{n: v for n, v in hidden.items() if n in ("number", "survey")}}


def page(caller: Caller, **search: Any) -> Page:
    response = caller.call("GET", "/sandbox", key=None, params=search)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(response.text)


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


def send(caller: Caller, survey: str, *messages: dict[str, Any], **fields: Any) -> requests.Response:
    """Send a batch of a survey."""
    body = {"template": TEMPLATE, "includeMessagesInResponse": True, "messages": list(messages), **fields}
    response = caller.call("POST", f"surveys/{survey}/messages/batch", json=body)
    assert response.status_code == 200
    return response


def test_a_phone_with_two_of_one_survey_is_marked(caller: Caller) -> None:
    send(caller, "nps", message(1), message(2), message(3))
    send(caller, "visit", message(1, clientMessageId="v-1"))
    shown = page(caller)
    counts = shown.counts()
    assert (counts["phones"], counts["most texts per phone"], counts["phones with two of one survey"]) == (
        "3",
        "2",
        "0",
    )
    assert shown.alarms() == 0, "two surveys are two texts, and nothing is wrong with that"
    send(caller, "nps", message(1, clientMessageId="another id"))
    shown = page(caller)
    counts = shown.counts()
    assert (counts["most texts per id"], counts["most texts per phone"]) == ("1", "3")
    assert counts["phones with two of one survey"] == "1"
    assert shown.text.count("This phone has 2 of this survey.") == 2
    assert "Phones with two of one survey" in shown.text
    assert shown.alarms() == 1 + 2, "its tile and its two texts"


def test_what_reached_no_phone_or_may_come_twice_is_not_marked(caller: Caller) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for number in range(2):
        caller.single(clientMessageId=f"canary-{number}")
        send(caller, "nps", message(5, destination="+2101234567"))
        batch = send(caller, "nps", message(7, scheduled=later, clientMessageId=f"s-{number}")).json()["batchId"]
        caller.call("DELETE", f"messages/batch/{batch}")
    shown = page(caller)
    assert shown.counts()["phones with two of one survey"] == "0"
    assert "This phone has" not in shown.text


def test_a_number_that_was_removed_is_nobodys(caller: Caller) -> None:
    umids = [send(caller, "nps", message(n)).json()["messages"][0]["umid"] for n in (1, 2)]
    assert page(caller).counts()["phones"] == "2"
    for umid in umids:
        caller.call("DELETE", f"messages/{umid}/pii")
    counts = page(caller).counts()
    assert (counts["phones"], counts["phones with two of one survey"]) == ("0", "0")


def test_what_was_counted_is_forgotten_with_the_rest(caller: Caller, sandbox: Sandbox) -> None:
    send(caller, "nps", message(1), message(1))
    assert page(caller).counts()["phones with two of one survey"] == "1"
    sandbox.forget()
    assert page(caller).counts()["phones"] == "0"
    send(caller, "nps", message(1))
    shown = page(caller)
    assert (shown.counts()["phones"], shown.counts()["phones with two of one survey"]) == ("1", "0")
    assert "This phone has" not in shown.text


def test_phones_are_counted_anew_from_what_was_kept(tmp_path: Path) -> None:
    for texts in range(1, 4):
        with Sandbox(api_key=API_KEY, data=tmp_path) as sandbox:
            caller = Caller(sandbox.url)
            send(caller, "nps", message(1, clientMessageId=f"id-{texts}"))
            assert page(caller).counts()["most texts per phone"] == str(texts)


def test_counting_goes_on_with_the_next_look(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phones, "_STEP", 10)
    monkeypatch.setattr(phones, "AT_ONCE", 20)
    send(caller, "nps", *(message(number) for number in range(50)))
    tags: list[str] = []
    for phones_counted, left in (("20", ["30 messages to go"]), ("40", ["10 messages to go"]), ("50", [])):
        response = caller.call("GET", "/sandbox", headers={"If-None-Match": tags[-1]} if tags else {})
        assert response.status_code == 200, "there is something new as long as it counts"
        tags.append(response.headers["ETag"])
        shown = Page(response.text)
        assert shown.counts()["phones"] == phones_counted
        assert re.findall(r"\d+ messages to go", shown.text) == left


def test_a_page_that_has_not_changed_is_not_sent_again(caller: Caller, sandbox: Sandbox) -> None:
    send(caller, "nps", message(1))

    def ask(tag: str) -> requests.Response:
        return caller.call("GET", "/sandbox", headers={"If-None-Match": tag})

    first = ask('"none"')
    again = ask(first.headers["ETag"])
    if again.status_code == 200:  # a minute has begun
        again = ask(again.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    for change in (lambda: send(caller, "nps", message(2)), lambda: sandbox.faults([{"on": "survey", "kind": "500"}])):
        before = ask('"none"').headers["ETag"]
        change()
        assert ask(before).status_code == 200


@pytest.mark.parametrize(
    ("number", "found"),
    [
        ("12025550007", ["12025550007"]),
        ("+1 (202) 555-0007", ["12025550007"]),
        ("50007", ["12025550007"]),
        ("5550", [f"1202555{number:04d}" for number in reversed(range(12))]),
        ("999", []),
        ("Ana", []),
        ("%", []),
        ("", [f"1202555{number:04d}" for number in reversed(range(12))]),
    ],
)
def test_texts_are_found_by_their_number(caller: Caller, number: str, found: list[str]) -> None:
    send(caller, "nps", *(message(number) for number in range(12)), message(5, destination="+2105550007"))
    shown = page(caller, number=number)
    assert shown.destinations() == found
    assert ("There are no such texts." in shown.text) == (not found)


def test_texts_are_found_by_their_survey(caller: Caller) -> None:
    send(caller, "nps", message(1), message(2))
    send(caller, "a%26b%20%22c", message(3))
    shown = page(caller, survey='a&b "c')
    assert shown.destinations() == ["12025550003"]
    assert page(caller, survey="nps", number="0001").destinations() == ["12025550001"]
    assert page(caller, survey="another").destinations() == []
    options = [attributes["value"] for attributes in shown.tags("option")]
    assert {"", "nps", 'a&b "c'} <= set(options)
    (chosen,) = (attributes["value"] for attributes in shown.tags("option") if "selected" in attributes)
    assert chosen == 'a&b "c'


@pytest.mark.parametrize("survey", ["", "nps"])
def test_all_texts_can_be_turned_over(caller: Caller, survey: str) -> None:
    send(caller, "nps", *(message(number) for number in range(60)))
    send(caller, "visit", message(99))
    shown = page(caller, survey=survey)
    seen = shown.destinations()
    while "Older texts" in shown.text:
        shown = page(caller, **shown.button("Older texts"))
        seen += shown.destinations()
    assert seen == (["12025550099"] if not survey else []) + [f"1202555{n:04d}" for n in reversed(range(60))]
    newest = page(caller, **shown.button("Newest texts"))
    assert newest.destinations() == seen[: len(newest.destinations())]


@pytest.mark.parametrize("before", ["0", "-1", "x", "1e3", "9" * 30])
def test_a_place_that_is_none_is_refused(caller: Caller, before: str) -> None:
    response = caller.call("GET", "/sandbox", params={"before": before})
    assert (response.status_code, response.json()["code"]) == (400, 1000)


def test_a_page_of_very_many_stays_small_and_finds_the_oldest(caller: Caller) -> None:
    send(caller, "nps", message(4321, destination="+14155550100"))
    for start in range(0, 30_000, 10_000):
        send(
            caller,
            "nps",
            *(message(number, destination=f"+1202{number:07d}") for number in range(start, start + 10_000)),
        )
    assert page(caller, number="4155550100").destinations() == ["14155550100"]
    looks = [page(caller).counts()["phones"] for _ in range(2)]
    assert looks[-1] == "30,001"
    assert len(caller.call("GET", "/sandbox").content) < 100_000


def press(caller: Caller, button: str, headers: dict[str, str] | None = None, **fields: str) -> requests.Response:
    """Send what a browser sends for a button of the page."""
    return caller.call(
        "POST", f"/sandbox/{button}", key=None, data=fields, headers=headers or {}, allow_redirects=False
    )


def test_every_fault_has_a_button_that_says_what_it_does(caller: Caller) -> None:
    shown = page(caller)
    buttons = {button["value"]: button for button in shown.tags("button") if button.get("name") == "kind"}
    assert set(buttons) == set(get_args(Kind))
    described = {attributes["id"] for attributes in shown.tags("span") if "id" in attributes}
    assert {button["aria-describedby"] for button in buttons.values()} <= described
    offered = {option["value"] for option in shown.tags("option")}
    assert set(get_args(Operation)) <= offered


def test_a_button_orders_a_fault_and_leads_back(caller: Caller) -> None:
    pressed = press(caller, "faults/add", on="survey_batch", kind="500_after_accept", times="2")
    assert (pressed.status_code, pressed.headers["Location"]) == (303, "/sandbox#faults")
    press(caller, "faults/add", on="survey_batch", kind="429", times="1")
    assert "500_after_accept, 2 times" in page(caller).text
    assert [caller.batch(message(n)).status_code for n in range(4)] == [500, 500, 429, 200]
    assert "Nothing is to go wrong." in page(caller).text


def test_a_log_lag_takes_the_place_of_the_one_before(caller: Caller) -> None:
    caller.batch(message(1))
    press(caller, "faults/add", on="log_export", kind="log_lag_seconds", seconds="3600")
    assert caller.log()[0] == "empty"
    press(caller, "faults/add", on="log_export", kind="log_lag_seconds", seconds="0")
    assert caller.log()[0] == "succeeded"


def test_faults_can_be_cleared_and_everything_forgotten(caller: Caller, sandbox: Sandbox) -> None:
    press(caller, "faults/add", on="survey_batch", kind="500", times="9")
    assert press(caller, "faults/clear").status_code == 303
    assert caller.batch(message(1)).status_code == 200
    assert press(caller, "forget").status_code == 303
    assert (sandbox.messages(), sandbox.stats()["accepted"]) == ([], 0)


@pytest.mark.parametrize("button", ["faults/add", "faults/clear", "forget"])
def test_another_page_in_the_same_browser_presses_no_button(caller: Caller, sandbox: Sandbox, button: str) -> None:
    caller.batch(message(1))
    sandbox.faults([{"on": "survey_batch", "kind": "500"}])
    fault = {"on": "survey_batch", "kind": "429", "times": "1"}
    for origin in ("https://example.com", "null", "http://127.0.0.1:1"):
        refused = press(caller, button, {"Origin": origin}, **fault)
        assert (refused.status_code, refused.json()["code"]) == (403, 1201)
    assert sandbox.stats()["accepted"] == 1
    assert len(caller.call("GET", "/sandbox/faults").json()) == 1
    assert press(caller, button, {"Origin": caller.url}, **fault).status_code == 303


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"on": "survey_batch", "kind": "explode"},
        {"on": "survey_batch", "kind": "500", "times": "0"},
        {"on": "survey_batch", "kind": "500", "times": "many"},
        {"on": "survey_batch", "kind": "500", "times": "9" * 30},
        {"on": "survey_batch", "kind": "log_lag_seconds", "seconds": "3"},
        {"on": "log_export", "kind": "log_lag_seconds", "seconds": "nan"},
        {f"field{number}": "x" for number in range(200)},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_a_button_that_there_is_not_is_refused(caller: Caller, fields: dict[str, Any]) -> None:
    response = press(caller, "faults/add", **fields)
    assert (response.status_code, response.json()["code"]) == (400, 1000)
    assert caller.call("GET", "/sandbox/faults").json() == []


def test_every_field_has_a_label_and_every_table_its_heads(caller: Caller) -> None:
    send(caller, "nps", message(1), message(1), message(2, destination="+2101234567"))
    response = caller.call("GET", "/sandbox")
    shown = Page(response.text)
    fields = [f for f in shown.tags("input") if f.get("type") != "hidden"] + shown.tags("select")
    assert fields
    labelled = re.findall(r"<label>[^<]+<(?:input|select)", response.text)
    assert len(labelled) == len(fields)
    assert all(head.get("scope") == "col" for head in shown.tags("th"))
    cells = [cell for cell in shown.tags("td") if "data-name" not in cell]
    assert len(cells) == 1, "but for the one with a button, each says its name where the heads are not shown"
    headings = [tag for tag, _ in shown.elements if re.fullmatch(r"h\d", tag)]
    assert headings.count("h1") == 1
    assert ("html", {"lang": "en"}) in shown.elements


def test_the_page_says_which_surveys_there_are(caller: Caller) -> None:
    assert "Any survey id is accepted here" in page(caller).text
    with Sandbox(api_key=API_KEY, surveys=["nps", "shop-visit"]) as sandbox:
        shown = page(Caller(sandbox.url)).text
    assert "Any survey id" not in shown
    assert "shop-visit" in shown


def test_the_page_gives_the_forms_values(caller: Caller, sandbox: Sandbox) -> None:
    shown = page(caller)
    host, _, port = sandbox.url.rpartition(":")
    for value in (host, port, "sandbox_hq", API_KEY, sandbox.connection_json, sandbox.connection_uri):
        assert value in shown.text
