"""What Airflow renders of the arguments: text stays text, and what is shown of it is masked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator
from jinja2 import Undefined

from airflow_provider_8x8.api.masking import HIDDEN, mask_phone_numbers, mask_url
from airflow_provider_8x8.operators.checks import CHECKS, is_to_be_resolved
from airflow_provider_8x8.operators.masked import (
    Masked,
    MaskedMapping,
    MaskedSequence,
    Unusable,
    mask,
    mask_argument,
    quoted,
    unmasked,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from jinja2 import Environment

_TEXTS = frozenset(
    {
        "survey_id",
        "sql",
        "sql_conn_id",
        "source",
        "encoding",
        "dlr_callback_url",
        "canary_destination",
        "campaign_id",
        "report_path",
        "outcome_table",
        "outcome_conn_id",
        "max_messages",
    }
)
"""Templated arguments that are read as they are written, whatever native rendering would make of them."""

_NEEDED = frozenset(
    {
        "survey_id",
        "sql",
        "sql_conn_id",
        "parameters",
        "sql_hook_params",
        "template_variables",
        "campaign_id",
        "not_after",
        "sent_after",
        "outcome_table",
        "outcome_conn_id",
        "max_messages",
    }
)
"""
Templated arguments that may be left out, but not be rendered to nothing: no default could stand for a campaign, a query
or what belongs to it, and a limit that got lost would limit nothing.
"""

_SHOWN: dict[str, Callable[[Any], Any]] = {
    "template_variables": lambda given: MaskedMapping(given, mask(given)),
    "sql": lambda given: Masked(given, mask(given)),
    "parameters": lambda given: Masked(given, mask(given)),
    "sql_hook_params": lambda given: MaskedMapping(given, dict.fromkeys(map(str, given), HIDDEN)),
    "source": lambda given: Masked(given, mask(given)),
    "dlr_callback_url": lambda given: Masked(given, mask_url(given)),
    "report_path": lambda given: given if isinstance(given, str) else Masked(given, str(given)),  # without its options
    "op_args": lambda given: MaskedSequence(given, [mask_argument(item) for item in given]),
    "op_kwargs": lambda given: MaskedMapping(given, {name: mask_argument(item) for name, item in given.items()}),
}

_NO_PYTHON = "\u2063"  # an invisible separator: what begins with it is text to Jinja, whatever follows


class RenderedOperator(BaseOperator):
    """How all operators have their arguments rendered. It is none to be used by itself."""

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Environment,
        seen_oids: set[int],
    ) -> None:
        """Render, mapped or not, so that text stays text, and Airflow sees no number and no secret."""
        if parent is not self:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        for name in template_fields:
            if getattr(self, name) is None:
                continue
            try:
                setattr(self, name, _render_argument(self, name, context, jinja_env, seen_oids))
            except AirflowSkipException:
                raise
            except (TypeError, ValueError) as error:
                setattr(self, name, Unusable(str(error)))
            except Exception as error:  # noqa: BLE001  # values that a template gives may raise what they like, too
                setattr(self, name, _not_rendered(name, error))


def check_rendered(task: BaseOperator) -> None:
    """
    Check what only rendering has told.

    :raises ValueError: an argument was rendered to something that it cannot be
    :raises AirflowException: one could not be rendered
    """
    for name in task.template_fields:
        unmasked(getattr(task, name))


def _render_argument(
    task: BaseOperator, name: str, context: Context, jinja_env: Environment, seen_oids: set[int]
) -> Any:
    """
    Return an argument as the task uses it and Airflow shows it, or an :class:`Unusable`.

    :param task: the operator that is rendered
    :param name: the argument's, which is not None
    :raises AirflowSkipException: a template wants the task to be skipped
    :raises Exception: what it was rendered to cannot be looked at
    """
    try:
        value = _as_rendered(task, name, getattr(task, name), context, jinja_env, seen_oids)
        if isinstance(value, Undefined):  # which native rendering hands on
            value = str(value) or None  # raises, unless the DAG has templates take it for nothing
    except AirflowSkipException:
        raise
    except Exception as error:  # noqa: BLE001  # templates call what they like
        value = _not_rendered(name, error)
    return _usable(name, value)


def _not_rendered(name: str, error: Exception) -> Unusable:
    """
    Return what stands for an argument whose template has failed.

    Nothing is raised: Airflow would log the template, and the result could not say what was sent before.
    """
    said = mask_phone_numbers(str(error))
    return Unusable(f"{name} could not be rendered: {type(error).__name__}: {said}", may_go_better=True)


def _usable(name: str, value: Any) -> Any:
    """Return a rendered argument as the task uses it and Airflow shows it, or an :class:`Unusable`."""
    if isinstance(value, Masked | Unusable):
        return value
    if value is None:
        return _came_to_nothing(name) if name in _NEEDED else None
    if name not in CHECKS and is_to_be_resolved(value):
        return Unusable(
            f"{name} was rendered to {quoted(value)}; expected a value, and neither a template nor a function, which "
            "the template has to call"
        )
    try:
        checked = CHECKS[name](name, value) if name in CHECKS else value
    except ValueError as error:
        return Unusable(str(error))
    return _SHOWN[name](checked) if name in _SHOWN else checked


def _came_to_nothing(name: str) -> Unusable:
    """Return what stands for a template that has found no value."""
    return Unusable(f"{name} was rendered to None; expected a value: give one, or leave {name} out")


def _as_rendered(
    task: BaseOperator, name: str, value: Any, context: Context, jinja_env: Environment, seen_oids: set[int]
) -> Any:
    if callable(value):
        return value(context=context, jinja_env=jinja_env)

    def render(template: Any) -> Any:
        return task.render_template(template, context, jinja_env, seen_oids)

    rendered = render(value)
    is_from_file = isinstance(value, str) and value.endswith(tuple(task.template_ext))
    if id(value) in seen_oids or is_from_file:
        return rendered
    if not _renders_natively(task):
        is_nothing = name in _TEXTS and rendered == "None" and is_to_be_resolved(value)
        return _came_to_nothing(name) if is_nothing else rendered
    if name in _TEXTS:
        return _as_written(value, rendered, render)
    if name == "template_variables" and isinstance(value, dict):
        return {key: _as_written(value[key], item, render) for key, item in rendered.items()}
    if name == "parameters" and isinstance(value, dict):
        return {key: _parameter_as_written(value[key], item, render) for key, item in rendered.items()}
    if name == "parameters" and isinstance(value, list | tuple):
        return [_parameter_as_written(*pair, render) for pair in zip(value, rendered, strict=True)]
    return rendered


def _renders_natively(task: BaseOperator) -> bool:
    own: bool | None = getattr(task, "render_template_as_native_obj", None)  # Airflow 3 lets a task differ
    dag = task.get_dag()
    return bool(dag and dag.render_template_as_native_obj) if own is None else own


def _as_written(template: Any, native: Any, render: Callable[[str], Any]) -> Any:
    """
    Return what a template was rendered to, without what native rendering has read into its text.

    Jinja's native rendering takes a result that looks like Python for Python: ``1_000`` is the number 1000 then, and
    ``1.50`` is 1.5. What comes from a value of that kind stays so.

    :param native: what it was rendered to
    :param render: renders a template natively
    """
    if not isinstance(template, str):
        return native
    text = _as_text(template, render)
    return native if is_to_be_resolved(template) and str(native) == text else text


def _parameter_as_written(template: Any, native: Any, render: Callable[[str], Any]) -> Any:
    """
    Return what a parameter was rendered to natively, unless that is a number that was written in another way.

    ``+12025550123`` would lose its plus, and then match nothing. What else native rendering makes of a parameter, such
    as a list, is what it is chosen for.
    """
    if not isinstance(template, str) or not isinstance(native, int | float):
        return native
    text = _as_text(template, render)
    return native if str(native) == text else text


def _as_text(template: str, render: Callable[[str], Any]) -> str:
    text: str = render(_NO_PYTHON + template)
    return text.removeprefix(_NO_PYTHON)
