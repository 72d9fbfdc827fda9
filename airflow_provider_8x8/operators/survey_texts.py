"""What the operators share that make texts of rows: where the rows come from, and what the texts are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_8x8.api.models import MAX_BATCH_SIZE
from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.operators.arguments import (
    are_to_be_resolved,
    check_arguments,
    check_source_of_rows,
    is_mapped,
)
from airflow_provider_8x8.operators.checks import COMMON_FIELDS
from airflow_provider_8x8.operators.masked import Unusable, named_in_errors
from airflow_provider_8x8.operators.rendering import RenderedOperator
from airflow_provider_8x8.rows import FunctionRows, GivenRows

TEXT_ARGUMENTS = frozenset(
    {
        "template_body",
        "template_variables",
        "sql",
        "sql_conn_id",
        "parameters",
        "sql_hook_params",
        "unique_by",
        *COMMON_FIELDS,
        "batch_size",
        "campaign_id",
        "journal_conn_id",
        "eight_by_eight_conn_id",
        "subaccount_id",
    }
)
"""Arguments that every operator has that makes texts of rows, beside the rows and the survey's id."""


class SurveyTextsOperator(RenderedOperator):
    """
    The source and the texts of a campaign, as the operators take them that send it or look at it before.

    It is none to be used by itself. What each parameter means is said of
    :class:`~airflow_provider_8x8.operators.survey_batch.EightByEightSurveyBatchOperator`.

    :raises ValueError: an argument is not as it must be, when the DAG is parsed; likewise a TypeError
    """

    template_fields: Sequence[str] = (
        "survey_id",
        "template_variables",
        "rows",
        "sql",
        "sql_conn_id",
        "parameters",
        "sql_hook_params",
        *COMMON_FIELDS,
        "campaign_id",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "template_variables": "json", "parameters": "json"}

    def __init__(
        self,
        *,
        survey_id: str | None = None,
        template_body: str | None = None,
        template_variables: Mapping[str, Any] | None = None,
        rows: Any = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        sql_hook_params: Mapping[str, Any] | None = None,
        unique_by: str | None = None,
        source: str | None = None,
        encoding: str | None = None,
        scheduled: datetime | str | None = None,
        expiry: datetime | str | None = None,
        dlr_callback_url: str | None = None,
        batch_size: int = MAX_BATCH_SIZE,
        campaign_id: str | None = None,
        journal_conn_id: str | None = None,
        eight_by_eight_conn_id: str = DEFAULT_CONN_NAME,
        subaccount_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.survey_id = survey_id
        self.template_body = template_body
        self.template_variables = template_variables
        self.rows = rows
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.sql_hook_params = sql_hook_params
        self.unique_by = unique_by
        self.source = source
        self.encoding = encoding
        self.scheduled = scheduled
        self.expiry = expiry
        self.dlr_callback_url = dlr_callback_url
        self.batch_size = batch_size
        self.campaign_id = campaign_id
        self.journal_conn_id = journal_conn_id
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id
        # What a mapped instance gets is an upstream's, which may have had no rows.
        with named_in_errors(self.task_id):
            check_arguments(self, TEXT_ARGUMENTS if survey_id is None else {"survey_id", *TEXT_ARGUMENTS})
            check_source_of_rows(self, has_rows=rows is not None or (is_mapped(self) and sql is None))

    @property
    def rows(self) -> Any:
        """The rows; those at hand are wrapped, so that Airflow neither renders nor shows them."""
        return self._rows

    @rows.setter
    def rows(self, rows: Any) -> None:
        with named_in_errors(self.task_id):
            self._rows = (
                rows
                if rows is None or isinstance(rows, GivenRows | FunctionRows | Unusable) or are_to_be_resolved(rows)
                else GivenRows(rows)
            )
