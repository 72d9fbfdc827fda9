"""Batches as an argument of operators that do something about what was sent."""

from __future__ import annotations

from typing import Any

from airflow_provider_8x8.operators.arguments import is_to_be_resolved
from airflow_provider_8x8.operators.masked import Masked
from airflow_provider_8x8.surveys.outcomes.sent_batches import SentBatches


class GivenBatches(Masked):
    """Batches as they were given; Airflow shows their ids."""

    def __init__(self, value: Any) -> None:
        self.problem: str | None = None
        self.batches = SentBatches()
        try:
            self.batches = SentBatches.of(value)
        except ValueError as error:
            self.problem = str(error)
        super().__init__(value, f"<{self.problem}>" if self.problem else list(self.batches.ids))

    @classmethod
    def of(cls, given: Any) -> Any:
        """Return batches once they are known; as they were given, if Airflow is still to fill them in."""
        return given if isinstance(given, cls) or _is_to_be_resolved(given) else cls(given)


def _is_to_be_resolved(given: Any) -> bool:
    """Tell whether Airflow fills in batches before the task runs, or some of a list."""
    if isinstance(given, list | tuple):
        return any(map(_is_to_be_resolved, given))
    return is_to_be_resolved(given)
