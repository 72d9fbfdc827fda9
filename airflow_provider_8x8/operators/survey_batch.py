"""The operator: Airflow's parameters, and what its runs mean, around the sender."""

from __future__ import annotations

import json
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    conf,
)

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import MAX_ALPHANUMERIC_SOURCE_LENGTH, MAX_BATCH_SIZE
from airflow_provider_8x8.get_provider_info import DEFAULT_CONN_NAME
from airflow_provider_8x8.operators.arguments import (
    CHECKS,
    NEVER_NONE,
    TEXTS,
    CanaryNumber,
    Masked,
    Unusable,
    as_written,
    came_to_nothing,
    is_to_be_resolved,
    parameter_as_written,
    quoted,
    unmasked,
    usable,
)
from airflow_provider_8x8.rows import GivenRows, SqlRows
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder, Rows, check_common
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.times import parse_time
from airflow_provider_8x8.surveys.outcomes.report import Report
from airflow_provider_8x8.surveys.outcomes.summary import Summary, Tally, summarize
from airflow_provider_8x8.surveys.outcomes.verdict import Ending, OnEmpty, judge, may_go_better
from airflow_provider_8x8.surveys.sending.unanswered import HAS_NOT_LOOKED, is_not_known
from airflow_provider_8x8.surveys.settings import (
    DEFAULT_LOG_SETTLE_TIME,
    DEFAULT_RECONCILE_TIMEOUT,
    OnInvalid,
    OnUnknown,
    Run,
    Said,
    Settings,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment

    from airflow_provider_8x8.journals.at_hand import JournalsAtHand
    from airflow_provider_8x8.surveys.journal.protocol import Journal
    from airflow_provider_8x8.surveys.sending.sender import SurveySender

# What only a running task needs (requests and all that it brings) is imported there: DAG files are parsed every minute.

_COMMON_FIELDS = ("source", "encoding", "scheduled", "expiry", "dlr_callback_url")
_TIMES = ("scheduled", "expiry")
_LEAST_WAIT = timedelta(minutes=2)
_EXCEPTIONS = {
    Ending.SKIP: AirflowSkipException,
    Ending.FAIL: AirflowException,
    Ending.FAIL_FOR_GOOD: AirflowFailException,
}
_DEFAULT_ADDRESS = "http://localhost:8080"
_A_CAMPAIGN_PER_RUN = (
    "Each run of this DAG is a campaign of its own: whoever is in the rows of two runs, such as a scheduled and a "
    "manual one of a day, gets two texts. Give campaign_id with the day that is surveyed, and a SQL journal "
    "(journal_conn_id)"
)


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
    field (``destination``, ``country``, ``client_message_id``, ``source``, ``scheduled``, ...), without regard to
    case, underscores, blanks, hyphens and dots, fills that field; a placeholder is filled from the column of its name,
    else from ``template_variables``, without regard to case and blanks around it where none has it exactly. Other
    columns are not sent to 8x8.

    **No survey is POSTed twice within a campaign** unless 8x8 has said, or its logs prove, that the first was not
    accepted, or you chose to resend. A campaign is this task instance, or with a SQL journal whatever shares its
    ``campaign_id``. Each POST is in a journal before it is made: in Airflow's task state store (3.3 and later), which
    reaches over the tries of the task instance, or with ``journal_conn_id`` in a SQL database, which outlives Clear and
    serves several runs and parallel shards. Below Airflow 3.3 without ``journal_conn_id`` there is no journal, and a
    second try refuses to send. What the promise rests on is in ``docs/guarantees.md``. A DAG that is run by a schedule
    or by assets wants a ``campaign_id`` with the day that is surveyed: a scheduled and a manual run of one day are two
    campaigns else, and the log says so.

    It does not wait for delivery or for survey answers; those come by 8x8's webhooks, and the umid in the report says
    for which row. ``airflow dags test`` and ``airflow tasks test`` really send: point the connection at the sandbox.

    The result, as return value and each entry as an XCom of its own key: ``campaign_id``, ``batch_id`` (of the first
    batch), ``batch_ids``, ``client_batch_ids``, ``rows_read``, ``accepted_count``, ``rejected_count``,
    ``invalid_count``, ``duplicate_count``, ``already_sent_count``, ``not_sent_count``, ``unknown_count``,
    ``invalid_samples`` (at most 10) and ``report``. The counts add up to ``rows_read``. It is pushed before the task
    fails or skips, too. Airflow 3.0 takes no XCom of None: there ``batch_id`` and ``report`` may be in the return value
    only.

    What is text stays text, also with ``render_template_as_native_obj``; a whole number is taken as the text of its
    digits. Once rendered, ``sql``, ``parameters``, ``template_variables``, ``sql_hook_params``, ``source``,
    ``dlr_callback_url`` and ``canary_destination`` are shown without phone numbers and secrets; to a subclass or a
    callback their ``value`` is what was rendered.

    :param survey_id: which survey (templated)
    :param template_body: the text in 8x8's braces, exactly as 8x8's documentation has it; **not** rendered by Jinja.
        May be absent if every row has a ``template_body``
    :param template_variables: values common to all messages, such as ``{"month": "{{ ds }}"}`` (templated)
    :param rows: mappings, or lists of them from mapped tasks; never rendered by Jinja. None, as of an upstream that
        returned nothing, is no rows. An iterator is read once and kept: at most 1,000,000 rows. Either this or ``sql``
    :param sql: one statement that returns rows (templated, ``.sql`` files)
    :param sql_conn_id: where to run it (templated), over a connection that the database's hook makes; read as a stream
        where the driver has server-side cursors, else the log says so
    :param parameters: a mapping, a list or a tuple, bound in the driver's own style (templated)
    :param sql_hook_params: arguments for the database's hook, by their names (templated)
    :param unique_by: the column whose value makes a survey unique; by default ``client_message_id`` if the source has
        it, else ``destination``. A NULL in it makes the row invalid
    :param source: the sender that phones show: at most 11 letters, digits and spaces, or at most 16 digits (templated)
    :param encoding: ``AUTO`` (8x8's default), ``GSM7`` or ``UCS2`` (templated)
    :param scheduled: when to send, at most 7 days ahead: datetime or ISO 8601 with offset (templated)
    :param expiry: when a message not yet sent is dropped: datetime or ISO 8601 with offset (templated)
    :param dlr_callback_url: where 8x8 posts delivery receipts (templated)
    :param client_batch_id_prefix: to find the batches in 8x8's portal: at most 8 letters A to Z, digits, hyphens,
        underscores and dots, first a letter or digit
    :param batch_size: messages in one batch, 1 to 10,000
    :param max_messages: a guard against a bad join: more sendable rows than this, and nothing is sent at all (the
        source is read twice)
    :param not_after: a guard against old data: no batch is begun later than this, what is missing then is ``not_sent``,
        and the task fails for good; what became of earlier batches is still looked up: datetime or ISO 8601 with offset
        (templated)
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
    :param settled_batches: what somebody has seen in 8x8's portal of batches of unknown outcome: by client batch id,
        ``accepted`` or ``not_accepted``; a mapping, or JSON text, such as a Variable's that is set before Clear
        (templated). ``{"before try 3": "not_accepted"}`` says of all tries before one that they have sent nothing that
        no journal knows
    :param campaign_id: what may not be surveyed twice, over all tasks and runs that share it; at most 250 characters
        that can be printed (templated). Needs ``journal_conn_id``
    :param journal_conn_id: connection to PostgreSQL, MySQL, MariaDB or SQLite for the journal; by default the one that
        the connection to 8x8 names in its extra, if it does
    :param report_path: folder for the report of what became of each row (templated): an absolute path, or the URL of
        a folder in an object store, such as ``s3://connection@bucket/folder``
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
        "not_after",
        "canary_destination",
        "settled_batches",
        "campaign_id",
        "report_path",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "template_variables": "json", "parameters": "json"}
    ui_color = "#ffe2d9"
    _stop: threading.Event | None = None
    _journals: JournalsAtHand | None = None

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
        not_after: datetime | str | None = None,
        max_rejected: float | None = None,
        on_invalid: str = "skip",
        on_empty: str = "skip",
        on_unknown: str = "fail",
        reconcile_timeout: timedelta = DEFAULT_RECONCILE_TIMEOUT,
        log_settle_time: timedelta = DEFAULT_LOG_SETTLE_TIME,
        canary_destination: str | None = None,
        settled_batches: Mapping[str, str] | str | None = None,
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
        self.not_after = not_after
        self.max_rejected = max_rejected
        self.on_invalid = on_invalid
        self.on_empty = on_empty
        self.on_unknown = on_unknown
        self.reconcile_timeout = reconcile_timeout
        self.log_settle_time = log_settle_time
        self.canary_destination = canary_destination
        self.settled_batches = settled_batches
        self.campaign_id = campaign_id
        self.journal_conn_id = journal_conn_id
        self.report_path = report_path
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id
        # What a mapped instance gets is an upstream's, which may have had no rows.
        is_mapped = getattr(self, "_BaseOperator__from_mapped", False)
        with self._named_in_errors():
            self._check_arguments(has_rows=rows is not None or (is_mapped and sql is None))

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        """Say of which task an argument is wrong: a DAG file has many."""
        try:
            yield
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"Task {self.task_id!r}: {error}") from None

    @property
    def rows(self) -> Any:
        """The rows; those at hand are wrapped, so that Airflow neither renders nor shows them."""
        return self._rows

    @rows.setter
    def rows(self, rows: Any) -> None:
        with self._named_in_errors():
            self._rows = (
                rows
                if rows is None or isinstance(rows, GivenRows | Unusable) or _is_to_be_resolved(rows)
                else GivenRows(rows)
            )

    @property
    def canary_destination(self) -> Any:
        """The canary's number; once it is rendered it shows masked only, as rows do."""
        return self._canary_destination

    @canary_destination.setter
    def canary_destination(self, destination: Any) -> None:
        is_given = destination is None or isinstance(destination, Masked | Unusable) or is_to_be_resolved(destination)
        self._canary_destination = destination if is_given else CanaryNumber(destination)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the surveys that are missing.

        :raises AirflowFailException: something keeps a row from being accepted that another try cannot mend
        :raises AirflowException: something that it may
        :raises AirflowSkipException: there are no rows, and ``on_empty`` is ``skip``
        """
        self._stop = threading.Event()
        if self.campaign_id is None and self._is_run_by_a_schedule():
            self.log.warning(_A_CAMPAIGN_PER_RUN)
        journals = self._journals_of(context)
        try:
            summary = self._send(context, journals)
        finally:
            self._journals = None
            journals.close()
        return self._conclude(context, summary, may_try_again=journals.outlive_try)

    def on_kill(self) -> None:
        """See the batch that is on the wire through, if Airflow leaves it the time, and begin no other."""
        if self._stop is not None:
            self._stop.set()

    # when the DAG is parsed

    def _check_arguments(self, *, has_rows: bool) -> None:
        for name, check in CHECKS.items():
            value = getattr(self, name)
            is_left_out = value is None and name not in NEVER_NONE
            if not is_left_out and not (name in self.template_fields and is_to_be_resolved(value)):
                setattr(self, name, check(name, value))
        if has_rows == (self.sql is not None):
            raise ValueError(f"found {'both' if has_rows else 'neither'}; expected exactly one of rows and sql")
        if self.sql is not None and not self.sql_conn_id:
            raise ValueError("sql needs sql_conn_id, the connection to run it on")
        if not is_to_be_resolved(self.source) and _phones_may_cut(self.source):
            warnings.warn(_source_warning(self.source), UserWarning, stacklevel=3)
        if self.campaign_id is not None and self.journal_conn_id is None:
            raise ValueError(
                "campaign_id needs journal_conn_id, a SQL journal: Airflow's own task state store ends with the task "
                "instance. A DAG's default_args can give it to all of its tasks"
            )
        if self.retries and self.journal_conn_id is None and not _has_task_state_store():
            warnings.warn(
                f"{self.task_id}: retries is {self.retries}, but a second try refuses to send, because it cannot know "
                "what the first one sent; set journal_conn_id, or retries=0 (unless the connection "
                f"{self.eight_by_eight_conn_id!r} names a journal in its extra)",
                UserWarning,
                stacklevel=3,
            )

    # when Airflow renders

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Environment,
        seen_oids: set[int],
    ) -> None:
        """Render, mapped or not, so that text stays text, and Airflow gets to see no number and no secret."""
        if parent is not self:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        if getattr(context.get("ti"), "state", None) == "running":  # else somebody only looks at what it would be
            self._journals_of(context)  # before anything can fail: an earlier try that has left nothing is a riddle
        for name in template_fields:
            value = getattr(self, name)
            if value is None:
                continue
            try:
                rendered = self._rendered(name, value, context, jinja_env, seen_oids)
            except AirflowSkipException:
                raise
            except Exception as error:  # noqa: BLE001  # templates call what they like
                # Not raised: Airflow would log the template, and the result could not say what was sent before.
                said = mask_phone_numbers(str(error))
                rendered = Unusable(f"{name} could not be rendered: {type(error).__name__}: {said}", may_go_better=True)
            try:
                setattr(self, name, usable(name, rendered) if name in CHECKS else rendered)
            except (TypeError, ValueError) as error:
                setattr(self, name, Unusable(str(error)))

    def _rendered(self, name: str, value: Any, context: Context, jinja_env: Environment, seen_oids: set[int]) -> Any:
        if callable(value):
            return value(context=context, jinja_env=jinja_env)

        def render(template: Any) -> Any:
            return self.render_template(template, context, jinja_env, seen_oids)

        rendered = render(value)
        is_from_file = isinstance(value, str) and value.endswith(tuple(self.template_ext))
        if id(value) in seen_oids or is_from_file:
            return rendered
        if not self._renders_natively():
            is_nothing = name in TEXTS and rendered == "None" and is_to_be_resolved(value)
            return came_to_nothing(name) if is_nothing else rendered
        if name in TEXTS:
            return as_written(value, rendered, render)
        if name == "template_variables" and isinstance(value, dict):
            return {key: as_written(value[key], item, render) for key, item in rendered.items()}
        if name == "parameters" and isinstance(value, dict):
            return {key: parameter_as_written(value[key], item, render) for key, item in rendered.items()}
        if name == "parameters" and isinstance(value, list | tuple):
            return [parameter_as_written(*pair, render) for pair in zip(value, rendered, strict=True)]
        return rendered

    def _renders_natively(self) -> bool:
        own: bool | None = getattr(self, "render_template_as_native_obj", None)  # Airflow 3 lets a task differ
        dag = self.get_dag()
        return bool(dag and dag.render_template_as_native_obj) if own is None else own

    # when the task runs

    def _is_run_by_a_schedule(self) -> bool:
        """Tell whether Airflow makes runs of the DAG by itself, at times or when assets are updated."""
        dag = self.get_dag()
        return dag is not None and dag.timetable.can_be_scheduled

    def _journals_of(self, context: Context) -> JournalsAtHand:
        """Return what this try knows of those before it, having left in all of it that it has begun."""
        if self._journals is None:
            from airflow_provider_8x8.journals.at_hand import JournalsAtHand

            self._journals = JournalsAtHand(
                context, self._journal_connection, deployment=_deployment(), clock=SystemClock(threading.Event())
            )
            self._journals.leave_mark()
        return self._journals

    def _journal_connection(self) -> str | None:
        """
        Return the connection of the SQL journal: the task's own, else the one that the connection to 8x8 names.

        :raises ValueError: what that one names is no connection's id
        :raises Exception: what else Airflow raises when it is asked for the connection to 8x8
        """
        if self.journal_conn_id is not None:
            return self.journal_conn_id
        from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

        named = EightByEightHook(self.eight_by_eight_conn_id).journal_conn_id
        try:
            return None if named is None else CHECKS["journal_conn_id"]("journal_conn_id", named)
        except ValueError as error:
            raise ValueError(f"Connection {self.eight_by_eight_conn_id!r}: in its extra {error}") from None

    def _send(self, context: Context, journals: JournalsAtHand) -> Summary:
        ti = context["ti"]
        tries_left = max(0, ti.max_tries - ti.try_number + 1)
        run = Run(journals.task_instance, journals.task_instance, ti.try_number, tries_left)
        try:
            if self.campaign_id is not None:
                run = run._replace(campaign_id=unmasked(self.campaign_id))
            journals.choose(run.campaign_id)
            self._check_rendered()
            journal = journals.journal(self._settled_batches())
            sender, rows = self._sender(run, journal), self._source_of_rows()
        except Exception as error:  # noqa: BLE001  # whatever it is, the result says what was sent before
            if not isinstance(error, TypeError | ValueError | AirflowException):
                # Without the error's own text, which may hold a row.
                self.log.error("%s at:\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            is_final = isinstance(error, AirflowFailException) or not may_go_better(error)
            reason = mask_phone_numbers(str(error))
            return _summary_of_before(journals, run, reason, is_final=is_final)
        summary = sender.send(rows)
        if summary.was_begun:
            return summary
        return _summary_of_before(journals, run, str(summary.stop), is_final=summary.is_final)

    def _sender(self, run: Run, journal: Journal) -> SurveySender:
        from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook
        from airflow_provider_8x8.surveys.sending.sender import SurveySender

        common = _parse_common({name: getattr(self, name) for name in _COMMON_FIELDS})
        if _phones_may_cut(self.source):
            self.log.warning(_source_warning(self.source))
        row_keys = RowKeys(run.campaign_id)
        report = None
        if self.report_path:
            from airflow.providers.common.compat.sdk import ObjectStoragePath  # slow, and needed by few

            report = Report(ObjectStoragePath(self.report_path), run.campaign_id, run.run)
        client = EightByEightHook(self.eight_by_eight_conn_id, subaccount_id=self.subaccount_id).client
        self.log.info(
            "Survey %r by %s, campaign %r, journal: %s",
            self.survey_id,
            client.connection,
            run.campaign_id,
            _journal_in_words(self.journal_conn_id, journal),
        )
        return SurveySender(
            client,
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

    def _check_rendered(self) -> None:
        """
        Check what only rendering has told.

        :raises ValueError: an argument was rendered to something that it cannot be
        """
        for name in self.template_fields:
            unmasked(getattr(self, name))

    def _settings(self) -> Settings:
        return Settings(
            survey_id=self.survey_id,
            batch_size=self.batch_size,
            client_batch_id_prefix=self.client_batch_id_prefix,
            max_messages=self.max_messages,
            on_invalid=OnInvalid(self.on_invalid),
            on_unknown=OnUnknown(self.on_unknown),
            reconcile_timeout=self.reconcile_timeout,
            longest_wait=self._longest_wait(),
            log_settle_time=self.log_settle_time,
            canary_destination=None if not self.canary_destination else self.canary_destination.checked(),
            settled_batches=self._settled_batches(),
            deployment=_deployment(),
            retry_delay=self.retry_delay,
            not_after=None if self.not_after is None else parse_time("not_after", self.not_after),
        )

    def _longest_wait(self) -> timedelta:
        """How long a batch may wait for 8x8 to take it, as ``Retry-After`` asks: the try has no more time."""
        wait = max(self.reconcile_timeout, _LEAST_WAIT)
        return min(wait, self.execution_timeout) if self.execution_timeout else wait

    def _settled_batches(self) -> Mapping[str, Said]:
        said: Mapping[str, Said] = unmasked(self.settled_batches) or {}
        return said

    def _source_of_rows(self) -> Rows:
        if self.sql is None:
            return self.rows if self.rows is not None else GivenRows(None)
        from airflow_provider_8x8.databases import Database

        hook_params = unmasked(self.sql_hook_params)
        database = Database(str(self.sql_conn_id), named_by="sql_conn_id", hook_params=hook_params)
        return SqlRows(database, unmasked(self.sql), unmasked(self.parameters))

    def _conclude(self, context: Context, summary: Summary, *, may_try_again: bool) -> dict[str, Any]:
        """
        Push what became of the rows, then say whether that is a success.

        :param summary: any, also one that has only a ``stop``
        :param may_try_again: whether another try would know what was sent
        """
        result = _result(summary)
        for reasons in summary.reasons_in_words:
            self.log.warning("%s", reasons)
        self.log.info("%s", summary.in_words)
        problem = self._push(context, result)
        verdict = judge(
            summary,
            on_empty=OnEmpty(self.on_empty),
            on_unknown=OnUnknown(self.on_unknown),
            max_rejected=self.max_rejected,
            may_try_again=may_try_again,
            what_is_unknown=_what_is_unknown(summary, may_try_again=may_try_again),
            problem=None if problem is None else f"The result could not be pushed: {problem}",
        )
        if verdict.ending in _EXCEPTIONS:
            self._push(context, {"return_value": result})  # which Airflow does for a success only
            raise _EXCEPTIONS[verdict.ending](verdict.reason)
        return result

    def _push(self, context: Context, result: Mapping[str, Any]) -> str | None:
        """Push each entry as an XCom of its own; return what kept one from being pushed."""
        if not self.do_xcom_push:
            return None
        for key, value in result.items():
            try:
                context["ti"].xcom_push(key=key, value=value)
            except Exception as error:  # noqa: BLE001  # Airflow's, its API's, or a custom backend's
                if value is None:  # Airflow 3.0 takes none: there is no XCom then, and the return value has the entry
                    continue
                problem = f"{key}: {type(error).__name__}: {mask_phone_numbers(str(error))}"
                self.log.error("XCom took no %s. The result is %s", problem, json.dumps(result))
                return problem  # another call would wait for as long
        return None


def _summary_of_before(journals: JournalsAtHand, run: Run, reason: str, *, is_final: bool) -> Summary:
    """Return what earlier tries have sent, for one that could not begin to."""
    known = journals.known_entries()
    summary = summarize(run, known or (), Tally())
    summary.was_begun, summary.is_final = False, is_final
    summary.outlook = HAS_NOT_LOOKED if any(entry.is_open for entry in known or ()) else None
    if known is None:
        what = "This try sent nothing; what earlier tries have sent could not be read"
    elif summary.rows_read:
        what = "This try sent nothing; what earlier tries have sent is counted"
    else:
        what = "Nothing was sent"
    summary.stop = f"{what}: {reason}"
    return summary


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


def _journal_in_words(conn_id: str | None, journal: Journal) -> str:
    if conn_id is not None:
        return f"SQL, connection {conn_id!r}"
    if journal.outlives_try:
        return "Airflow's task state store"
    return "none, so that another try cannot know what this one has sent"


def _what_is_unknown(summary: Summary, *, may_try_again: bool) -> str:
    if not summary.outcomes["unknown"]:
        return ""
    return is_not_known(
        summary.outcomes["unknown"],
        summary.unknown_client_batch_ids,
        summary.outlook,
        problem=summary.logs_problem,
        is_remembered=may_try_again,
    )


def _deployment() -> str | None:
    """Return by what name this Airflow is told from others that share a journal; None if it has none."""
    named = conf.get("eight_by_eight", "deployment", fallback=None)
    address = conf.get("webserver" if airflow_version.startswith("2.") else "api", "base_url", fallback=None)
    return named or (None if address in (None, "", _DEFAULT_ADDRESS) else address.rstrip("/"))


def _has_task_state_store() -> bool:
    """Tell whether this Airflow gives tasks a place to remember in: 3.3 does."""
    try:
        from airflow import sdk
    except ImportError:
        return False
    return "NEVER_EXPIRE" in sdk.__all__


def _parse_common(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: unmasked(value) for name, value in fields.items()}
    parsed = {
        name: parse_time(name, value) if name in _TIMES else value
        for name, value in given.items()
        if value not in (None, "")
    }
    check_common(parsed)
    return parsed


def _is_to_be_resolved(value: Any) -> bool:
    """Tell what Airflow fills in before the task runs: XCom arguments, a list of nothing else, and Jinja."""
    if isinstance(value, list | tuple):
        references = [is_to_be_resolved(item) for item in value if not isinstance(item, str)]
        if any(references) and not all(references):
            raise ValueError("rows mixes outputs of tasks with rows of the DAG file; give one or the other")
        return any(references)
    return is_to_be_resolved(value)


def _phones_may_cut(source: Any) -> bool:
    sender = str(unmasked(source) or "")
    return not sender.isdigit() and len(sender) > MAX_ALPHANUMERIC_SOURCE_LENGTH


def _source_warning(source: Any) -> str:
    return (
        f"source {quoted(unmasked(source))} has more than {MAX_ALPHANUMERIC_SOURCE_LENGTH} characters and is not all "
        "digits; operators may replace or cut such a sender"
    )
