"""What the demo shows in the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from outcome import Outcome
from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from seed import Warehouse

_PHONE_WIDTH = 44

_EAST_ASIAN = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "HANGUL")
# Which names to show, each another trouble for what handles text carelessly.
_KINDS: tuple[Callable[[str], bool], ...] = (
    lambda character: unicodedata.category(character) == "So",  # emoji
    lambda character: unicodedata.name(character, "").startswith(_EAST_ASIAN),
    lambda character: unicodedata.bidirectional(character) in ("R", "AL"),
)


class Screen:
    """
    The terminal, or a file where there is none.

    :param console: where to
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str = "") -> None:
        """Print a line."""
        self._console.print(Text(text), soft_wrap=True)

    def title(self, text: str, explanation: str) -> None:
        """Print what this is."""
        self._console.print()
        self._console.print(Text(text, style="bold"), Text(explanation, style="dim"), sep="\n")
        self._console.print()

    def heading(self, text: str) -> None:
        """Print what comes next."""
        self._console.print()
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    @contextmanager
    def step(self, doing: str) -> Iterator[Callable[[str], None]]:
        """
        Show that something goes on; the function that it gives says what now.

        :param doing: what goes on
        """
        if not self._console.is_terminal:
            self.say(f"  {doing} ...")
            yield lambda text: None
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(doing, total=None)
            yield lambda text: progress.update(task, description=text)

    def done(self, name: str, result: str) -> None:
        """Say what a step came to."""
        self._console.print(Text.assemble(("  ✓ ", "green"), (f"{name:<11}", "bold"), result), soft_wrap=True)

    def log_line(self, task_id: str, message: str) -> None:
        """Print a line of a task's log."""
        self._console.print(Text.assemble("    ", (f"{task_id:<13}", "cyan"), message), soft_wrap=True)

    def failure(self, message: str, log: str) -> None:
        """Say what failed, after all that it printed."""
        self._console.print()
        self._console.print(Text(log), soft_wrap=True)
        self._console.print(Text(message, style="bold red"), soft_wrap=True)

    def summary(self, outcome: Outcome, samples: Sequence[str], warehouse: Warehouse) -> None:
        """Show what became of the rows, and why some are not valid."""
        table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
        table.add_column("outcome", footer="rows read")
        table.add_column("rows", footer=f"{outcome.rows:,}", justify="right")
        table.add_column("what it means")
        wrong = outcome.invalid - warehouse.troubles["no_name"]
        for name, style, meaning in (
            ("accepted", "green", "8x8 sends them a survey"),
            ("rejected", "yellow", "by 8x8: nobody has their calling code"),
            ("invalid", "yellow", f"not sent: {wrong} wrong numbers, {outcome.invalid - wrong} without a name"),
            ("duplicate", "yellow", "not sent: a number that came before, written anew"),
        ):
            table.add_row(Text(name, style=style), f"{getattr(outcome, name):,}", meaning)
        self._console.print(Padding(table, (0, 0, 0, 3)))
        for sample in _various(samples):
            self._console.print(Text(f"    {sample}", style="dim"), soft_wrap=True)

    def phones(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Show three texts as phones do."""
        bubbles = (_bubble(message) for message in _of_each_kind(messages))
        self._console.print(Padding(Group(*bubbles), (0, 0, 0, 4)))


def _bubble(message: Mapping[str, Any]) -> Panel:
    parts = message["parts"]
    return Panel(
        Text(message["text"]),
        box=box.ROUNDED,
        width=_PHONE_WIDTH,
        border_style="blue",
        title=Text(f"{message['source']} to +{_masked(message['destination'])}", style="dim"),
        title_align="left",
        subtitle=Text(f"{message['encoding']}, {parts} part{'' if parts == 1 else 's'}", style="dim"),
        subtitle_align="right",
    )


def _masked(number: str) -> str:
    return number[:2] + "*" * (len(number) - 4) + number[-2:]


def _of_each_kind(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for is_of_kind in _KINDS:
        yield from [
            message for message in messages if message["status"] != "rejected" and any(map(is_of_kind, message["text"]))
        ][:1]


def _various(samples: Sequence[str]) -> list[str]:
    """Give one sample of each reason, which stands behind the quoted value."""
    by_reason = {sample.partition("' ")[2]: sample for sample in reversed(samples)}
    return sorted(by_reason.values(), key=samples.index)
