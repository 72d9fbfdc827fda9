"""What the demo shows."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
from outcome import Outcome
from presentation import Screen
from rich.console import Console
from seed import Warehouse


@pytest.fixture
def shown() -> tuple[Screen, io.StringIO]:
    output = io.StringIO()
    return Screen(Console(file=output, width=80)), output


def message(name: str, *, status: str = "delivered") -> dict[str, Any]:
    return {
        "destination": "33639981234",
        "source": "8x8 sandbox",
        "text": f"Hi {name}, how was order 7? https://8x8.test/abc12",
        "encoding": "UCS2",
        "parts": 1,
        "status": status,
    }


def test_three_texts_are_shown_each_in_another_script(shown: tuple[Screen, io.StringIO]) -> None:
    screen, output = shown
    names = ("Ben", "Zoë", "Robin 🎉", "小明", "さくら", "נועה", "يوسف")
    screen.phones([message("民", status="rejected"), *map(message, names)])
    assert [name for name in ("民", *names) if f"Hi {name}," in output.getvalue()] == ["Robin 🎉", "小明", "נועה"]
    assert output.getvalue().count("UCS2, 1 part ") == 3


def test_a_phone_number_is_never_shown_whole(shown: tuple[Screen, io.StringIO]) -> None:
    screen, output = shown
    screen.phones([message("小明")])
    assert "to +33*******34" in output.getvalue()
    assert "33639981234" not in output.getvalue()


def test_markup_in_a_text_is_text(shown: tuple[Screen, io.StringIO]) -> None:
    screen, output = shown
    screen.phones([message("小 [bold]明[/]")])
    assert "[bold]明[/]" in output.getvalue()


def test_the_summary_has_every_outcome_and_one_sample_of_each_reason(shown: tuple[Screen, io.StringIO]) -> None:
    screen, output = shown
    screen.summary(
        Outcome(rows=25_000, accepted=23_000, rejected=300, invalid=1_200, duplicate=500),
        [
            "Row 1: destination '06******09' has a leading 0; give an international number",
            "Row 2: destination '06******10' has a leading 0; give an international number",
            "Row 3: there is no value for {{firstName}}",
        ],
        Warehouse(25_000, 45_000, Counter({"email": 1_000, "no_name": 200})),
    )
    rows = {line.split()[0]: line for line in output.getvalue().splitlines() if line.strip()}
    for outcome, count in (("accepted", "23,000"), ("rejected", "300"), ("invalid", "1,200"), ("duplicate", "500")):
        assert rows[outcome].split()[1] == count
    assert rows["rows"].split() == ["rows", "read", "25,000"]
    assert "1000 wrong numbers, 200 without a name" in rows["invalid"]
    assert "Row 1" in output.getvalue()
    assert "Row 2" not in output.getvalue()
    assert "Row 3" in output.getvalue()


def test_progress_shows_where_there_is_no_terminal(shown: tuple[Screen, io.StringIO]) -> None:
    screen, output = shown
    with screen.step("Seeding") as now:
        assert "Seeding ..." in output.getvalue()
        now("Still seeding")
    screen.done("Warehouse", "25,000 customers")
    assert output.getvalue().splitlines() == ["  Seeding ...", "  ✓ Warehouse  25,000 customers"]
