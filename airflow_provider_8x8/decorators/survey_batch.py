"""``@task.survey_batch``: a function gives the rows, the operator sends them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DecoratedOperator, determine_kwargs, task_decorator_factory

from airflow_provider_8x8.operators.masked import Unusable, named_in_errors, unmasked
from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator
from airflow_provider_8x8.rows import FunctionRows

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

_SOURCES = ("rows", "sql")


class SurveyBatchDecoratedOperator(DecoratedOperator, EightByEightSurveyBatchOperator):
    """
    The batch operator, whose rows a function gives; see :func:`survey_batch_task`.

    :param python_callable: the function
    :param op_args: its positional arguments (templated)
    :param op_kwargs: its keyword arguments (templated)
    :param kwargs: the operator's arguments, but for ``rows`` and ``sql``
    :raises ValueError: an argument is not as it must be, when the DAG is parsed; likewise a TypeError
    """

    template_fields: Sequence[str] = ("op_args", "op_kwargs", *EightByEightSurveyBatchOperator.template_fields)
    template_fields_renderers = {
        **EightByEightSurveyBatchOperator.template_fields_renderers,
        **DecoratedOperator.template_fields_renderers,
    }
    template_ext: Sequence[str] = ()  # there is no sql, and an argument that is a file's name stays that
    shallow_copy_attrs: Sequence[str] = (*DecoratedOperator.shallow_copy_attrs, "_rows")
    custom_operator_name = "@task.survey_batch"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        with named_in_errors(kwargs["task_id"]):
            _check(python_callable, kwargs)
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            rows=FunctionRows(python_callable, _name_of(python_callable)),
            **kwargs,
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """See :class:`~airflow_provider_8x8.operators.survey_batch.EightByEightSurveyBatchOperator`."""
        # Not DecoratedOperator's, which would take the result apart; that is what multiple_outputs is.
        return EightByEightSurveyBatchOperator.execute(self, context)

    def _send(self, context: Context, **how: Any) -> dict[str, Any]:
        """Have the function called with its arguments, in each part of a try that waits without a worker."""
        if not (isinstance(self.op_args, Unusable) or isinstance(self.op_kwargs, Unusable)):  # else it says why
            self.rows = FunctionRows(partial(self._call, context), _name_of(self.python_callable))
        return super()._send(context, **how)

    def _call(self, context: Context) -> Any:
        """Call the function with its arguments, and with what it wants of the context."""
        arguments: Sequence[Any] = unmasked(self.op_args)
        of_context = determine_kwargs(self.python_callable, arguments, context)
        return self.python_callable(*arguments, **{**of_context, **unmasked(self.op_kwargs)})


def survey_batch_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """
    Send surveys to the rows that a function returns or yields: ``@task.survey_batch``.

    .. code-block:: python

        @task.survey_batch(survey_id="shop-visit", template_body="Hi {{firstName}}, how was your visit? {{url}}")
        def send_surveys(shop, ds=None):
            for visitor in visitors_of(shop, ds):
                yield {"destination": visitor.phone, "firstName": visitor.first_name}


        send_surveys("Harbour Street")

    It returns rows as ``rows`` of :class:`~airflow_provider_8x8.operators.survey_batch.EightByEightSurveyBatchOperator`
    takes them, or yields them, one by one or in lists. What it yields is read as a stream, and never all in memory or
    in XCom. None, or an :class:`AirflowSkipException` before the first row, is no rows.

    **It is called once for each pass over the rows, so it has to give them again each time.** There is one pass more
    with ``max_messages`` or ``on_invalid="fail"``, which look at all rows before the first is sent, where 8x8's logs
    show that rows have to be sent anew, and in each further try. What differs from one time to the next is dealt with:
    nobody is texted twice, and the last pass is what counts.

    It gets its arguments as a function of ``@task`` does: outputs of other tasks, Jinja, and what it names of the
    context; ``partial``, ``expand`` and ``override`` are there, too. Rendered fields show no phone number of its
    arguments, and of a list or a mapping only how much is in it.

    If it raises, that is as a query that fails: what was sent before is in the result, and another try goes on; but not
    after an :class:`AirflowFailException`.

    :param python_callable: the function
    :param multiple_outputs: without effect: each entry of the result is an XCom of its own
    :param kwargs: the operator's arguments, but for ``rows`` and ``sql``
    :raises ValueError: an argument is not as it must be, when the DAG is parsed; likewise a TypeError
    """

    def decorate(function: Callable[..., Any]) -> Any:
        with named_in_errors(kwargs.get("task_id") or _name_of(function)):
            _check(function, kwargs)  # here, since a mapped task's operator is made when the task runs
        return task_decorator_factory(
            function, multiple_outputs=False, decorated_operator_class=SurveyBatchDecoratedOperator, **kwargs
        )

    return decorate if python_callable is None else decorate(python_callable)  # type: ignore[return-value]  # a protocol


def _check(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """
    Check what can be known of the function before it is called.

    :raises ValueError: the rows are to come from elsewhere, too
    :raises TypeError: it is an async function
    """
    if found := [name for name in _SOURCES if name in arguments]:
        raise ValueError(
            f"@task.survey_batch has {' and '.join(found)}; expected neither rows nor sql: the function gives the rows"
        )
    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        raise TypeError(f"{_name_of(function)}() is an async function; expected one that returns rows, or yields them")


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
