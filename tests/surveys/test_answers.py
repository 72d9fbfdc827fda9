"""8x8's answer to a batch, in whatever order, with whatever missing, twice or changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_8x8.api.models import BatchResponse, MessageResponse, MessageStatus, SurveyMessage
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, fold_message_id
from airflow_provider_8x8.surveys.messages.row_message import RowMessage, RowMessages
from airflow_provider_8x8.surveys.outcomes.answers import RowAnswers, match
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome

KEYS = RowKeys("c")
# Some of them differ in what may be changed on the way only.
IDS = st.lists(st.sampled_from(["a", "A", "ab3", "aB3", "AB3", "ord-1", "Ord-1", "x y"]), unique=True, max_size=8)
CHANGES: list[Callable[[str], str]] = [str, str.upper, str.lower, str.title, lambda text: f"'{text} "]

Code = Literal["QUEUED", "REJECTED"]
CODES: list[Code] = ["QUEUED", "REJECTED"]
Listed = list[tuple[str | None, Code]]


def rows_of(ids: list[str]) -> RowMessages:
    destination = "+12025550123"
    return RowMessages.of(
        RowMessage(number, KEYS.of(each), each, destination, each, SurveyMessage(destination=destination))
        for number, each in enumerate(ids, start=1)
    )


def answered(ids: list[str], listed: Listed, accepted: int, rejected: int) -> RowAnswers:
    messages = [
        MessageResponse(umid=f"u-{number}", client_message_id=message_id, status=MessageStatus(code=code))
        for number, (message_id, code) in enumerate(listed)
    ]
    return match(
        rows_of(ids),
        BatchResponse(batch_id="b", accepted_count=accepted, rejected_count=rejected, messages=messages),
    )


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], Listed, int, int]:
    """Draw the ids of a batch, and what 8x8 lists and counts of it."""
    ids = draw(IDS)
    message_ids = st.one_of(
        st.sampled_from(ids).flatmap(lambda each: st.sampled_from([change(each) for change in CHANGES]))
        if ids
        else st.nothing(),
        st.sampled_from([None, "", "stranger"]),
    )
    listed = draw(st.lists(st.tuples(message_ids, st.sampled_from(CODES)), max_size=12))
    return ids, listed, draw(st.integers(0, 10)), draw(st.integers(0, 10))


@given(answers())
@example((["a"], [("a", "QUEUED"), ("a", "REJECTED")], 1, 0))
@example((["ab3"], [("AB3", "QUEUED"), ("Ab3", "REJECTED")], 1, 0))
@example((["aB3", "AB3"], [("ab3", "QUEUED"), ("ab3", "REJECTED")], 1, 1))
@example((["aB3", "AB3"], [("ab3", "REJECTED")], 1, 1))
def test_each_row_has_one_outcome_and_what_was_accepted_is_not_rejected(
    answer: tuple[list[str], Listed, int, int],
) -> None:
    ids, listed, accepted, rejected = answer
    its = answered(ids, listed, accepted, rejected)
    keys = [its.row_keys_of(outcome) for outcome in (Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN)]
    assert sorted(key for some in keys for key in some) == sorted(KEYS.of(each) for each in ids)
    assert len(its.outcomes) == len(its.answers) == len(list(its.lines("b"))) == len(ids)
    folded = [fold_message_id(each) for each in ids]
    for message_id, outcome in zip(ids, its.outcomes, strict=True):
        codes = {code for listed_id, code in listed if listed_id == message_id}
        fold = fold_message_id(message_id)
        if not codes and folded.count(fold) == 1:
            codes = {code for listed_id, code in listed if fold_message_id(listed_id or "") == fold}
        if "QUEUED" in codes:
            assert outcome is Outcome.ACCEPTED
        elif "REJECTED" in codes:
            assert outcome is Outcome.REJECTED


@given(st.data())
def test_what_is_listed_once_is_matched_in_any_order_and_way_of_writing(data: st.DataObject) -> None:
    ids = data.draw(
        st.lists(
            st.sampled_from([f"{word}-{number}" for word in ("ab", "ord") for number in range(9)]),
            unique=True,
            min_size=1,
            max_size=8,
        )
    )
    codes: dict[str, Code] = {each: data.draw(st.sampled_from(CODES)) for each in ids}
    listed: Listed = [
        (data.draw(st.sampled_from(CHANGES))(each), codes[each]) for each in data.draw(st.permutations(ids))
    ]
    accepted = [*codes.values()].count("QUEUED")
    its = answered(ids, listed, accepted, len(ids) - accepted)
    assert its.outcomes == ["accepted" if codes[each] == "QUEUED" else "rejected" for each in ids]


@pytest.mark.parametrize(
    ("ids", "listed", "counts", "outcomes"),
    [
        (["a"], [("a", "QUEUED"), ("a", "REJECTED")], (1, 1), ["accepted"]),
        (["a"], [("a", "REJECTED"), ("a", "QUEUED")], (1, 1), ["accepted"]),
        (["ab3"], [("AB3", "QUEUED"), ("Ab3", "REJECTED")], (1, 1), ["accepted"]),
        (["aB3", "AB3"], [("ab3", "QUEUED"), ("ab3", "REJECTED")], (1, 1), ["unknown", "unknown"]),
        (["aB3", "AB3"], [("ab3", "REJECTED")], (1, 1), ["unknown", "unknown"]),
        (["aB3", "AB3"], [("ab3", "QUEUED"), ("ab3", "QUEUED")], (2, 0), ["accepted", "accepted"]),
        (["aB3", "AB3"], [("ab3", "REJECTED"), ("ab3", "REJECTED")], (0, 2), ["rejected", "rejected"]),
    ],
)
def test_an_answer_that_may_be_anothers_is_nobodys(
    ids: list[str], listed: Listed, counts: tuple[int, int], outcomes: list[str]
) -> None:
    assert answered(ids, listed, *counts).outcomes == outcomes


WORDS = st.text(max_size=5) | st.sampled_from(['"', "\\", "\n", "é🎉", "\u2028", ""])


@given(
    st.lists(
        st.tuples(WORDS, st.sampled_from(Outcome), st.none() | WORDS, st.none() | WORDS | st.integers(), WORDS),
        max_size=8,
    ),
    st.none() | WORDS,
)
def test_lines_are_encoded_as_each_would_be(
    given_lines: list[tuple[str, Outcome, str | None, str | int | None, str]], batch_id: str | None
) -> None:
    texts, outcomes, umids, codes, descriptions = map(list, zip(*given_lines, strict=True)) if given_lines else [[]] * 5
    rows = RowMessages.of(
        RowMessage(number, b"", text, text, text, SurveyMessage(destination=text))
        for number, text in enumerate(texts, start=1)
    )
    lines = BatchLines(rows, outcomes, batch_id=batch_id, umids=umids, codes=codes, descriptions=descriptions)
    assert b"".join(lines.encoded()) == msgspec.json.Encoder().encode_lines(list(lines))
    assert len(list(lines)) == len(texts)
