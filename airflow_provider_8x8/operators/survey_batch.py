"""The operator: Airflow's parameters, and what its runs mean, around the sender."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
)

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import MAX_ALPHANUMERIC_SOURCE_LENGTH, MAX_BATCH_SIZE, Destination
from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.rows import GivenRows, SqlRows
from airflow_provider_8x8.surveys.builder import MessageBuilder, Rows, check_common
from airflow_provider_8x8.surveys.journal import MAX_CAMPAIGN_ID_LENGTH, Journal, MemoryJournal
from airflow_provider_8x8.surveys.report import Report
from airflow_provider_8x8.surveys.row_keys import RowKeys
from airflow_provider_8x8.surveys.settings import (
    DEFAULT_LOG_SETTLE_TIME,
    DEFAULT_RECONCILE_TIMEOUT,
    MAX_CLIENT_BATCH_ID_PREFIX_LENGTH,
    OnInvalid,
    OnUnknown,
    Run,
    Settings,
)
from airflow_provider_8x8.surveys.summary import Summary
from airflow_provider_8x8.surveys.template import Template
from airflow_provider_8x8.surveys.times import check_times, parse_time
from airflow_provider_8x8.surveys.values import to_phone_number

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_8x8.surveys.sender import SurveySender

# What only a running task needs (requests and all that it brings) is imported there: DAG files are parsed every minute.

_ON_EMPTY = ("skip", "fail", "succeed")
_COMMON_FIELDS = ("source", "encoding", "scheduled", "expiry", "dlr_callback_url")
_TIMES = ("scheduled", "expiry")


class EightByEightSurveyBatchOperator(BaseOperator):
    """
    Sends 8x8 SMS Engage surveys in batches: one for each row, and none twice.

    .. code-block:: python

        EightByEightSurveyBatchOperator(
            task_id="send_survey",
            survey_id="order_feedback",
            template_body="Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}",
            sql='SELECT phone AS destination, first_name AS "firstName", order_nr FROM orders',
            sql_conn_id="warehouse",
        )

    Rows come from XCom (``rows``) or from any warehouse with a ``DbApiHook`` (``sql``). A column named like a message
    field, in snake_case or as 8x8 spells it (``destination``, ``country``, ``client_message_id``, ``source``,
    ``scheduled``, ...), fills that field; a placeholder is filled from the column of its name, else from
    ``template_variables``. Other columns are not sent to 8x8.

    **No survey is POSTed twice within a campaign** unless 8x8 has said, or its logs prove, that the first was not
    accepted, or you chose to resend. A campaign is this task instance, or with a SQL journal whatever shares its
    ``campaign_id``. Each POST is in a journal before it is made: in Airflow's task state store (3.3 and later), which
    reaches over the tries of the task instance, or with ``journal_conn_id`` in a SQL database, which outlives Clear and
    serves several runs and parallel shards. Below Airflow 3.3 without ``journal_conn_id`` there is no journal, and a
    second try refuses to send. What the promise rests on is in ``docs/guarantees.md``.

    It does not wait for delivery or for survey answers; those come by 8x8's webhooks, and the umid in the report says
    for which row. ``airflow dags test`` and ``airflow tasks test`` really send: point the connection at the sandbox.

    The result, as return value and each entry as an XCom of its own key: ``campaign_id``, ``batch_id`` (of the first
    batch), ``batch_ids``, ``client_batch_ids``, ``rows_read``, ``accepted_count``, ``rejected_count``,
    ``invalid_count``, ``duplicate_count``, ``already_sent_count``, ``not_sent_count``, ``unknown_count``,
    ``invalid_samples`` (at most 10) and ``report``. The counts add up to ``rows_read``. It is pushed before the task
    fails or skips, too.

    :param survey_id: which survey (templated)
    :param template_body: the text in 8x8's braces, exactly as 8x8's documentation has it; **not** rendered by Jinja.
        May be absent if every row has a ``template_body``
    :param template_variables: values common to all messages, such as ``{"month": "{{ ds }}"}`` (templated)
    :param rows: mappings, or lists of them from mapped tasks; never rendered by Jinja. None, as of an upstream that
        returned nothing, is no rows. An iterator is read once and kept: at most 1,000,000 rows. Either this or ``sql``
    :param sql: one statement that returns rows (templated, ``.sql`` files)
    :param sql_conn_id: where to run it (templated), over a connection that the database's hook makes; read as a stream
        where the driver has server-side cursors, else the log says so
    :param parameters: bound in the driver's own style (templated)
    :param sql_hook_params: arguments for the database's hook (templated)
    :param unique_by: the column whose value makes a survey unique; by default ``client_message_id`` if the source has
        it, else ``destination``. A NULL in it makes the row invalid
    :param source: the sender that phones show: at most 11 letters, digits and spaces, or at most 16 digits (templated)
    :param encoding: ``AUTO`` (8x8's default), ``GSM7`` or ``UCS2`` (templated)
    :param scheduled: when to send, at most 7 days ahead: datetime or ISO 8601 with offset (templated)
    :param expiry: when a message not yet sent is dropped: datetime or ISO 8601 with offset (templated)
    :param dlr_callback_url: where 8x8 posts delivery receipts (templated)
    :param client_batch_id_prefix: at most 8 characters, to find the batches in 8x8's portal
    :param batch_size: messages in one batch, 1 to 10,000
    :param max_messages: a guard against a bad join: more sendable rows than this, and nothing is sent at all (the
        source is read twice)
    :param max_rejected: more rejected messages than this fail the task, after its results are pushed: a number, or a
        float between 0 and 1 as a share of accepted and rejected
    :param on_invalid: ``skip`` invalid rows, or ``fail`` before anything is sent (the source is read twice)
    :param on_empty: no rows at all: ``skip``, ``fail`` or ``succeed``
    :param on_unknown: 8x8 may have accepted a batch, or not, and its logs did not tell in time: ``fail``, and the next
        try looks again; ``assume_sent``, it is never sent again, and the task succeeds; ``resend``, which may text
        people twice
    :param reconcile_timeout: how long a try waits for 8x8's logs to tell what became of a batch
    :param log_settle_time: how much later than younger messages a message may show in 8x8's logs; a batch that is
        missing from them counts as not accepted only after twice this time
    :param canary_destination: a number of the team's own that gets one survey when nothing else can show how far 8x8's
        logs are (templated)
    :param campaign_id: what may not be surveyed twice, over all tasks and runs that share it; at most 250 characters
        (templated). Needs ``journal_conn_id``
    :param journal_conn_id: connection to PostgreSQL, MySQL, MariaDB or SQLite for the journal
    :param report_path: folder for the report of what became of each row (templated): local, s3, gs, ...
    :param eight_by_eight_conn_id: connection of type ``eight_by_eight``
    :param subaccount_id: another sub-account than the connection's
    :raises ValueError: an argument is not as it must be, when the DAG is parsed
    """

    template_fields: Sequence[str] = (
        "survey_id",
        "template_variables",
        "rows",
        "sql",
        "sql_conn_id",
        "parameters",
        "sql_hook_params",
        *_COMMON_FIELDS,
        "canary_destination",
        "campaign_id",
        "report_path",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "template_variables": "json", "parameters": "json"}
    ui_color = "#ffe2d9"
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        survey_id: str,
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
        client_batch_id_prefix: str = "",
        batch_size: int = MAX_BATCH_SIZE,
        max_messages: int | None = None,
        max_rejected: float | None = None,
        on_invalid: str = "skip",
        on_empty: str = "skip",
        on_unknown: str = "fail",
        reconcile_timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT,
        log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME,
        canary_destination: str | None = None,
        campaign_id: str | None = None,
        journal_conn_id: str | None = None,
        report_path: str | None = None,
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
        self.client_batch_id_prefix = client_batch_id_prefix
        self.batch_size = batch_size
        self.max_messages = max_messages
        self.max_rejected = max_rejected
        self.on_invalid = on_invalid
        self.on_empty = on_empty
        self.on_unknown = on_unknown
        self.reconcile_timeout = reconcile_timeout
        self.log_settle_time = log_settle_time
        self.canary_destination = canary_destination
        self.campaign_id = campaign_id
        self.journal_conn_id = journal_conn_id
        self.report_path = report_path
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id
        # What a mapped instance gets is an upstream's, which may have had no rows.
        is_mapped = getattr(self, "_BaseOperator__from_mapped", False)
        self._check_arguments(has_rows=rows is not None or (is_mapped and sql is None))

    @property
    def rows(self) -> Any:
        """The rows; those at hand are wrapped, so that Airflow neither renders nor shows them."""
        return self._rows

    @rows.setter
    def rows(self, rows: Any) -> None:
        self._rows = (
            rows if rows is None or isinstance(rows, GivenRows) or _is_to_be_resolved(rows) else GivenRows(rows)
        )

    @property
    def canary_destination(self) -> Any:
        """The canary's number; once it is rendered it shows masked only, as rows do."""
        return self._canary_destination

    @canary_destination.setter
    def canary_destination(self, destination: Any) -> None:
        is_number = isinstance(destination, str) and not _is_to_be_resolved(destination)
        self._canary_destination = _MaskedNumber(destination) if is_number else destination

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the surveys that are missing.

        :raises AirflowFailException: something keeps a row from being accepted that another try cannot mend
        :raises AirflowException: something that it may
        :raises AirflowSkipException: there are no rows, and ``on_empty`` is ``skip``
        """
        self._stop = threading.Event()
        with ExitStack() as open_until_the_end:
            try:
                journal = self._journal(context, open_until_the_end)
                sender, rows = self._sender(context, journal), self._source_of_rows()
            except (TypeError, ValueError) as error:
                raise AirflowFailException(f"Nothing was sent: {error}") from None
            summary = sender.send(rows)
        result = _result(summary)
        self.log.info("%s", _counts(summary))
        if self.do_xcom_push:
            for key, value in result.items():
                context["ti"].xcom_push(key=key, value=value)
        self._judge(summary, context, result, may_try_again=journal.outlives_try)
        return result

    def on_kill(self) -> None:
        """See the batch that is on the wire through, and begin no other."""
        if self._stop is not None:
            self._stop.set()

    # when the DAG is parsed

    def _check_arguments(self, *, has_rows: bool) -> None:
        if has_rows == (self.sql is not None):
            raise ValueError("expected exactly one of rows and sql")
        if self.sql is not None and not self.sql_conn_id:
            raise ValueError("sql needs sql_conn_id, the connection to run it on")
        if self.template_body is not None:
            Template.parse(self.template_body)
        if not _is_whole(self.batch_size) or not 1 <= self.batch_size <= MAX_BATCH_SIZE:
            raise ValueError(f"batch_size is {self.batch_size!r}; expected 1 to {MAX_BATCH_SIZE}")
        if self.max_messages is not None and (not _is_whole(self.max_messages) or self.max_messages < 1):
            raise ValueError(f"max_messages is {self.max_messages!r}; expected a whole number above 0")
        _check_max_rejected(self.max_rejected)
        prefix = self.client_batch_id_prefix
        if not isinstance(prefix, str) or len(prefix) > MAX_CLIENT_BATCH_ID_PREFIX_LENGTH:
            raise ValueError(
                f"client_batch_id_prefix is {prefix!r}; expected at most {MAX_CLIENT_BATCH_ID_PREFIX_LENGTH} characters"
            )
        for name, allowed in (
            ("on_invalid", tuple(OnInvalid)),
            ("on_empty", _ON_EMPTY),
            ("on_unknown", tuple(OnUnknown)),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
        known = {name: value for name in _COMMON_FIELDS if _is_final(value := getattr(self, name))}
        _parse_common(known)
        if _is_final(self.survey_id) and not self.survey_id:
            raise ValueError("survey_id is empty; expected the id that 8x8 gave the survey")
        if _is_final(self.source) and _phones_may_cut(self.source):
            warnings.warn(_source_warning(self.source), UserWarning, stacklevel=3)
        for name in ("reconcile_timeout", "log_settle_time"):
            value = getattr(self, name)
            if not isinstance(value, timedelta) or value < timedelta():
                raise ValueError(f"{name} is {value!r}; expected a timedelta that is not negative")
        self._check_campaign()

    def _check_campaign(self) -> None:
        if self.campaign_id is not None:
            if self.journal_conn_id is None:
                raise ValueError(
                    "campaign_id needs journal_conn_id: Airflow's own task state store ends with the task instance"
                )
            if not _is_to_be_resolved(self.campaign_id):
                _check_campaign_id(self.campaign_id)
        if self.retries and self.journal_conn_id is None and not _has_task_state_store():
            warnings.warn(
                f"{self.task_id}: retries is {self.retries}, but a second try refuses to send, because it cannot know "
                "what the first one sent; set journal_conn_id, or retries=0",
                UserWarning,
                stacklevel=4,
            )

    # when the task runs

    def _journal(self, context: Context, open_until_the_end: ExitStack) -> Journal:
        """Return the journal that reaches furthest of those at hand."""
        ti = context["ti"]
        campaign_id = self._campaign_id(context)
        if self.journal_conn_id is not None:
            from airflow_provider_8x8.journals.engines import engine_of
            from airflow_provider_8x8.journals.sql import SqlJournal

            sql_journal = SqlJournal(engine_of(self.journal_conn_id), campaign_id, journal_conn_id=self.journal_conn_id)
            open_until_the_end.callback(sql_journal.close)
            return sql_journal
        store = context.get("task_state_store")
        if store is not None:
            from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # its stub lags behind

            from airflow_provider_8x8.journals.state_store import StateStoreJournal

            return StateStoreJournal(
                store,
                campaign_id=campaign_id,
                try_number=ti.try_number,
                was_cleared=ti.try_number > 1 and ti.max_tries > (self.retries or 0),
                never_expire=NEVER_EXPIRE,
            )
        if ti.try_number > 1:
            raise ValueError(
                f"this is try {ti.try_number} of the task instance, and what an earlier try has sent is not known. "
                "Look into 8x8's portal or the earlier try's log, then trigger a new DAG run with the rows that are "
                "missing; set journal_conn_id, and the next time another try will know"
            )
        return MemoryJournal()

    def _campaign_id(self, context: Context) -> str:
        if self.campaign_id is None:
            return _run(context)
        _check_campaign_id(self.campaign_id)
        return self.campaign_id

    def _sender(self, context: Context, journal: Journal) -> SurveySender:
        from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
        from airflow_provider_8x8.surveys.sender import SurveySender

        if not self.survey_id:
            raise ValueError("survey_id is empty; expected the id that 8x8 gave the survey")
        common = _parse_common({name: getattr(self, name) for name in _COMMON_FIELDS})
        check_times(common.get("scheduled"), common.get("expiry"))
        if _phones_may_cut(self.source):
            self.log.warning(_source_warning(self.source))
        run = Run(self._campaign_id(context), _run(context), context["ti"].try_number)
        row_keys = RowKeys(run.campaign_id)
        report = None
        if self.report_path:
            from airflow.providers.common.compat.sdk import ObjectStoragePath  # slow, and needed by few

            report = Report(ObjectStoragePath(self.report_path), run.campaign_id, run.run)
        return SurveySender(
            EightByEightHook(self.eight_by_eight_conn_id, subaccount_id=self.subaccount_id).client,
            MessageBuilder(
                row_keys=row_keys,
                template=None if self.template_body is None else Template.parse(self.template_body),
                common=common,
                variables=self.template_variables,
                unique_by=self.unique_by,
            ),
            row_keys,
            run=run,
            settings=self._settings(),
            journal=journal,
            report=report,
            stop=self._stop,
        )

    def _settings(self) -> Settings:
        return Settings(
            survey_id=self.survey_id,
            batch_size=self.batch_size,
            client_batch_id_prefix=self.client_batch_id_prefix,
            max_messages=self.max_messages,
            on_invalid=OnInvalid(self.on_invalid),
            on_unknown=OnUnknown(self.on_unknown),
            reconcile_timeout=self.reconcile_timeout,
            log_settle_time=self.log_settle_time,
            canary_destination=None if not self.canary_destination else self.canary_destination.checked(),
        )

    def _source_of_rows(self) -> Rows:
        if self.sql is None:
            return self.rows if self.rows is not None else GivenRows(None)
        from airflow_provider_8x8.databases import Database

        if not isinstance(self.sql_hook_params, Mapping | None):
            raise TypeError(f"sql_hook_params is of type {type(self.sql_hook_params).__name__}; expected a mapping")
        database = Database(str(self.sql_conn_id), named_by="sql_conn_id", hook_params=self.sql_hook_params)
        return SqlRows(database, self.sql, self.parameters)

    def _judge(self, summary: Summary, context: Context, result: Mapping[str, Any], *, may_try_again: bool) -> None:
        """Fail or skip the task if its outcome is not that people were surveyed."""
        outcomes = summary.outcomes
        accepted, unknown = outcomes["accepted"], outcomes["unknown"]

        def fail(reason: str, *, is_final: bool = False) -> NoReturn:
            self._push_return_value(context, result)
            kind = AirflowFailException if is_final or not may_try_again else AirflowException
            raise kind(f"{reason}. {_counts(summary)}")

        if summary.stop is not None:
            what_is_unknown = f". {_what_is_unknown(summary)}" if unknown else ""
            fail(f"Sending stopped: {summary.stop}{what_is_unknown}", is_final=summary.is_final)
        if not summary.rows_read:
            if self.on_empty == "fail":
                fail("There are no rows")
            if self.on_empty == "skip":
                self._push_return_value(context, result)
                raise AirflowSkipException("There are no rows")
            return
        if unknown and self.on_unknown != OnUnknown.ASSUME_SENT:
            fail(_what_is_unknown(summary))
        rejected = outcomes["rejected"]
        limit = self.max_rejected
        if limit is not None and rejected > (limit * (accepted + rejected) if isinstance(limit, float) else limit):
            fail(f"8x8 rejected more than max_rejected={limit} messages", is_final=True)
        if not accepted and not unknown and not outcomes["already_sent"]:
            samples = "; ".join(summary.invalid_samples)
            fail(f"Nobody was surveyed{f': {samples}' if samples else ''}", is_final=True)

    def _push_return_value(self, context: Context, result: Mapping[str, Any]) -> None:
        if self.do_xcom_push:
            context["ti"].xcom_push(key="return_value", value=dict(result))


def _result(summary: Summary) -> dict[str, Any]:
    outcomes = summary.outcomes
    return {
        "campaign_id": summary.campaign_id,
        "batch_id": summary.batch_ids[0] if summary.batch_ids else None,
        "batch_ids": summary.batch_ids,
        "client_batch_ids": summary.client_batch_ids,
        "rows_read": summary.rows_read,
        "accepted_count": outcomes["accepted"],
        "rejected_count": outcomes["rejected"],
        "invalid_count": outcomes["invalid"],
        "duplicate_count": outcomes["duplicate"],
        "already_sent_count": outcomes["already_sent"],
        "not_sent_count": outcomes["not_sent"],
        "unknown_count": outcomes["unknown"],
        "invalid_samples": summary.invalid_samples,
        "report": summary.report,
    }


def _counts(summary: Summary) -> str:
    counted = [f"{count} {outcome}" for outcome, count in summary.outcomes.items() if count]
    return f"{summary.rows_read} rows were read: {', '.join(counted) or 'none sent'}"


def _what_is_unknown(summary: Summary) -> str:
    reason = f" (its logs could not be read: {summary.logs_problem})" if summary.logs_problem else ""
    return (
        f"Whether 8x8 accepted {summary.outcomes['unknown']} messages is not known, and its logs did not tell in time"
        f"{reason}. They are not sent again until the logs prove that they were not accepted; another try looks again. "
        "To see for yourself, look in 8x8 Connect's SMS logs for the client batch ids "
        f"{', '.join(summary.unknown_client_batch_ids)}: a batch that is there was accepted"
    )


class _MaskedNumber:
    """A phone number that Airflow neither renders again nor shows."""

    def __init__(self, number: str) -> None:
        self._number = number

    def __repr__(self) -> str:
        return mask_phone_numbers(self._number)

    def __bool__(self) -> bool:
        return bool(self._number)

    def checked(self) -> str:
        """
        Return the number.

        :raises ValueError: it is none
        """
        try:
            return msgspec.convert(to_phone_number(self._number), Destination)
        except msgspec.ValidationError:
            raise ValueError(
                f"canary_destination is {self}; expected a phone number with the country code, 7 to 15 digits"
            ) from None


def _has_task_state_store() -> bool:
    """Tell whether this Airflow gives tasks a place to remember in: 3.3 does."""
    try:
        from airflow import sdk
    except ImportError:
        return False
    return "NEVER_EXPIRE" in sdk.__all__


def _check_campaign_id(campaign_id: Any) -> None:
    if not isinstance(campaign_id, str) or not 1 <= len(campaign_id.strip()) <= MAX_CAMPAIGN_ID_LENGTH:
        raise ValueError(
            f"campaign_id is {campaign_id!r}; expected 1 to {MAX_CAMPAIGN_ID_LENGTH} characters that name what may not "
            "be surveyed twice"
        )


def _run(context: Context) -> str:
    """Name the task instance, without its tries."""
    ti = context["ti"]
    mapped = [] if ti.map_index is None or ti.map_index < 0 else [str(ti.map_index)]
    return "/".join([ti.dag_id, ti.run_id, ti.task_id, *mapped])


def _parse_common(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    parsed = {name: parse_time(name, value) if name in _TIMES else value for name, value in given.items()}
    check_common(parsed)
    return parsed


def _is_to_be_resolved(value: Any) -> bool:
    """Tell what Airflow fills in before the task runs: XCom arguments, a list of nothing else, and Jinja."""
    if isinstance(value, list | tuple):
        references = [_is_to_be_resolved(item) for item in value if not isinstance(item, str)]
        if any(references) and not all(references):
            raise ValueError("rows mixes outputs of tasks with rows of the DAG file; give one or the other")
        return any(references)
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    return hasattr(value, "iter_references")


def _is_final(value: Any) -> bool:
    """Tell whether a templated argument's value is known when the DAG is parsed."""
    return value is not None and not _is_to_be_resolved(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_max_rejected(limit: Any) -> None:
    if limit is None or (_is_whole(limit) and limit >= 0) or (isinstance(limit, float) and 0 < limit < 1):
        return
    raise ValueError(f"max_rejected is {limit!r}; expected a whole number, or a float between 0 and 1 as a share")


def _phones_may_cut(source: str | None) -> bool:
    return bool(source) and not str(source).isdigit() and len(str(source)) > MAX_ALPHANUMERIC_SOURCE_LENGTH


def _source_warning(source: str | None) -> str:
    return (
        f"source {source!r} has more than {MAX_ALPHANUMERIC_SOURCE_LENGTH} characters and is not all digits; "
        "operators may replace or cut such a sender"
    )
