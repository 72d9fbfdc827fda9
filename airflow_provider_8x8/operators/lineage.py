"""
What OpenLineage learns of a task: the tables of its query, the survey, and what became of the rows.

Imported only where Airflow's OpenLineage provider asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import attrs
from airflow.providers.common.compat.openlineage.facet import (
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    RunFacet,
    SQLJobFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import SQLParser
from openlineage.common.sql import DbTableMeta, parse

from airflow_provider_8x8.databases import Database
from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
from airflow_provider_8x8.operators.masked import Masked, unmasked

if TYPE_CHECKING:
    from openlineage.client.facet_v2 import OutputDatasetFacet

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

log = logging.getLogger(__name__)

COUNTS_FACET = "eightByEight_surveyCounts"


@attrs.define
class SurveyCountsRunFacet(RunFacet):
    """What became of the rows of the whole task instance; all but ``rowsRead`` add up to it."""

    campaignId: str  # noqa: N815  # facets have JSON's names
    rowsRead: int  # noqa: N815
    accepted: int
    rejected: int
    invalid: int
    duplicate: int
    alreadySent: int  # noqa: N815
    notSent: int  # noqa: N815
    unknown: int

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> SurveyCountsRunFacet:
        """Return the facet of a task's result."""
        return cls(
            campaignId=result["campaign_id"],
            rowsRead=result["rows_read"],
            accepted=result["accepted_count"],
            rejected=result["rejected_count"],
            invalid=result["invalid_count"],
            duplicate=result["duplicate_count"],
            alreadySent=result["already_sent_count"],
            notSent=result["not_sent_count"],
            unknown=result["unknown_count"],
        )


def lineage_of(task: EightByEightSurveyBatchOperator, result: Mapping[str, Any] | None) -> OperatorLineage[Any, Any]:
    """
    Return where a task's rows come from and where they go. What cannot be found out is left out.

    No phone number is in it: numbers in the query are masked, as in Airflow's view of it.

    :param result: what became of the rows, None where that is not known
    """
    sql: Any = task.sql
    if not isinstance(sql, Masked):  # there is none, or it could not be rendered
        lineage = OperatorLineage[Any, Any](outputs=_survey(task, result))
    else:
        tables = _tables(str(sql.value), str(task.sql_conn_id), unmasked(task.sql_hook_params) or {})
        facet = SQLJobFacet(query=repr(sql))
        lineage = OperatorLineage[Any, Any](inputs=tables, outputs=_survey(task, result), job_facets={"sql": facet})
    if result is not None:
        lineage.run_facets[COUNTS_FACET] = SurveyCountsRunFacet.of(result)
    return lineage


def _survey(task: EightByEightSurveyBatchOperator, result: Mapping[str, Any] | None) -> list[OutputDataset]:
    try:
        client = EightByEightHook(task.eight_by_eight_conn_id, subaccount_id=task.subaccount_id).client
        name = f"{client.subaccount_id}/{unmasked(task.survey_id)}"
    except Exception as error:  # noqa: BLE001  # whatever is wrong with the connection or the id, the task says so
        _say_what_is_missing("the survey", error)
        return []
    facets: dict[str, OutputDatasetFacet] = {}
    if result is not None:
        facets["outputStatistics"] = OutputStatisticsOutputDatasetFacet(rowCount=result["accepted_count"])
    namespace = f"eight-by-eight://{urlsplit(client.base_url).netloc}"
    return [OutputDataset(namespace=namespace, name=name, outputFacets=facets)]


def _tables(sql: str, sql_conn_id: str, hook_params: Mapping[str, Any]) -> list[InputDataset]:
    """
    Return the tables that the query reads, by the names that other operators' queries have for them.

    The provider's own way from a query to its tables would log the query, and ask the database for all columns.
    """
    try:
        place = _Place.of(Database(sql_conn_id, named_by="sql_conn_id", hook_params=hook_params))
        parsed = parse(SQLParser.split_sql_string(sql), dialect=place.dialect, default_schema=place.schema)
        return [] if parsed is None else [place.table(table) for table in parsed.in_tables]
    except Exception as error:  # noqa: BLE001  # a hook's or a driver's
        _say_what_is_missing("the query's tables", error)
        return []


class _Place(NamedTuple):
    """Where tables are, and what stands before the names of those that a query names shortly."""

    namespace: str
    dialect: str
    database: str | None
    schema: str | None
    has_uppercase_names: bool = False

    @classmethod
    def of(cls, database: Database) -> _Place:
        hook, connection = database.hook, database.connection
        dialect = hook.get_openlineage_database_dialect(connection)
        info = hook.get_openlineage_database_info(connection)
        if info is None:  # the hooks of SQLite, DuckDB and others do not say
            host = str(connection.host or "").partition("?")[0].rpartition("@")[2]
            authority = f"{host}:{connection.port}" if connection.port else host
            return cls(f"{connection.conn_type}://{authority}", dialect, None, connection.schema or None)
        schema = hook.get_openlineage_default_schema()
        if info.database is None and schema is None:  # to MySQL a database is a schema
            schema = connection.schema or None
        return cls(SQLParser.create_namespace(info), dialect, info.database, schema, info.is_uppercase_names)

    def table(self, table: DbTableMeta) -> InputDataset:
        parts = (table.database or self.database, table.schema or self.schema, table.name)
        name = ".".join(part for part in parts if part)
        return InputDataset(namespace=self.namespace, name=name.upper() if self.has_uppercase_names else name)


def _say_what_is_missing(what: str, error: Exception) -> None:
    log.info("OpenLineage does not learn of %s: %s", what, type(error).__name__)
