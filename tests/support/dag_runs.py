"""Run a DAG for real, in this process, on Airflow 2 and 3; see what it left behind."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from packaging.version import Version

from tests.support.airflow_version import AIRFLOW, IS_AIRFLOW_3

_TASK_BEGINS = re.compile(r"\[DAG TEST\] starting task_id=(\S+) map_index=(-?\d+)")
_LINK = "_link_"
"""How the keys of XComs begin that operator links are kept in."""
_TASK_ENDS = "[DAG TEST] end task"


@dataclass(frozen=True)
class DagRunResult:
    """
    What a DAG run left behind.

    Tasks go by their id; the instances of a mapped task by ``task_id[0]``, ``task_id[1]``, ...
    """

    run_id: str
    state: str
    task_states: dict[str, str]
    try_numbers: dict[str, int]
    xcoms: dict[str, dict[str, Any]]
    """By task and key; ``return_value`` is what the task returned. Without those that operator links are kept in."""
    rendered: dict[str, dict[str, Any]]
    """The rendered template fields of each task, as Airflow's view of them has them."""
    log: str
    """All that was logged or printed during the run, at DEBUG level, Airflow's own lines included, secrets unmasked."""
    task_logs: dict[str, str]
    """The same for each task alone, all its tries."""


def run_dag(dag: Any, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> DagRunResult:
    """
    Run a DAG as ``airflow dags test`` does. Airflow's metadata database must be there.

    Retries are honoured, and ``retry_delay`` is really waited for: set it to zero. What this does not do: there is no
    scheduler, executor or worker process, so nothing is killed and ``on_kill`` is never called; tasks run one after
    the other, whatever their pools; logs are not masked and not written to files; on Airflow 3 the API server is in
    this process too, and has the DAG only as this call serialized it.

    :param logical_date: the run's; now, where there is none.
    :param conf: the run's configuration.
    """
    logical_date = logical_date or datetime.now(UTC)
    with _captured_log() as log:
        if IS_AIRFLOW_3:
            _share_the_api_server()
            _serialize(dag)
            dag_run = dag.test(logical_date=logical_date, run_conf=conf)
        else:
            _know_the_users_table()
            dag_run = dag.test(execution_date=logical_date, run_conf=conf)
    return _result(dag_run, log.getvalue())


def clear_and_run(dag: Any, run_id: str, *task_ids: str) -> DagRunResult:
    """
    Clear tasks of a run that is over, as a person does in Airflow's pages, and run them; else as :func:`run_dag`.

    :param dag: as it now is, which may be otherwise than when the run began.
    :param task_ids: all tasks, where there is none.
    """
    with _captured_log() as log:
        session = _session()
        if IS_AIRFLOW_3:
            _share_the_api_server()
            _serialize(dag)
        else:
            _know_the_users_table()
        dag_run = _clear(dag, run_id, task_ids or tuple(dag.task_ids), session)
        _run_to_the_end(dag, dag_run, session)
    return _result(dag_run, log.getvalue())


def run_due(dag: Any, kind: str, moment: datetime, *, by: str | None = None) -> DagRunResult:
    """
    Make a run as Airflow makes it at a moment, with the data interval that the DAG's timetable gives it, and run it.

    :param kind: ``scheduled``: the timetable's run of that moment; ``manual``: somebody triggers it then; ``undated``:
        somebody does so on Airflow 3 without a logical date; ``asset``: an asset is updated then.
    :param by: the id of the run that has updated the asset, on Airflow 3.
    """
    from pendulum import instance

    # A task that defers waits for go_on(): there is no triggerer.
    with _captured_log() as log:
        session = _session()
        if not IS_AIRFLOW_3:
            _know_the_users_table()
            dag.sync_to_db(session=session)
        else:
            _serialize(dag)
        dag_run = _make_run(_scheduler_dag(dag), kind, instance(moment), session)
        if by is not None:
            from airflow.models.asset import AssetEvent

            dag_run.consumed_asset_events.extend(session.query(AssetEvent).filter_by(source_run_id=by))
        session.commit()
        _run_to_the_end(dag, dag_run, session)
    return _result(dag_run, log.getvalue())


def go_on(dag: Any, run_id: str, *, trigger_fails: bool = False) -> DagRunResult:
    """
    Have the trigger fire that a task of a run waits for, and run what follows; else as :func:`run_dag`.

    :param dag: as it now is, which may be otherwise than when the task began to wait.
    :param trigger_fails: it fails instead, as one does that a triggerer cannot make.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.trigger import Trigger
    from airflow.triggers.base import TriggerEvent

    with _captured_log() as log:
        session = _session()
        if IS_AIRFLOW_3:
            _serialize(dag)
        dag_run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one()
        (ti,) = [each for each in dag_run.get_task_instances(session=session) if each.state == "deferred"]
        trigger = session.get(Trigger, ti.trigger_id)
        if trigger_fails:
            Trigger.submit_failure(ti.trigger_id, session=session)
        else:
            event: Any = TriggerEvent
            Trigger.submit_event(ti.trigger_id, event(trigger.kwargs["progress"]), session=session)
        session.commit()
        _run_to_the_end(dag, dag_run, session)
    return _result(dag_run, log.getvalue())


def what_waits(dag: Any, run_id: str) -> tuple[dict[str, Any], int]:
    """Return what the trigger of a run's waiting task was given, and how many slots of its pool are taken."""
    from airflow.models.dagrun import DagRun
    from airflow.models.pool import Pool
    from airflow.models.trigger import Trigger

    session = _session()
    dag_run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one()
    (ti,) = [each for each in dag_run.get_task_instances(session=session) if each.state == "deferred"]
    pool = Pool.get_pool(ti.pool, session=session)
    assert pool is not None
    return dict(session.get(Trigger, ti.trigger_id).kwargs), pool.occupied_slots(session=session)


def links_of(dag: Any, run: DagRunResult) -> dict[str, dict[str, str]]:
    """Return the operator links of each task of a run, as Airflow's pages have them: by name, where each leads to."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    objects = _serialized_objects()
    # What Airflow's pages have set; its scheduler, which knows no links, may have run in this process.
    getattr(objects, "DagSerialization", objects.SerializedDAG)._load_operator_extra_links = True
    pages, links = _as_in_the_pages(dag), {}
    with create_session() as session:
        dag_run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run.run_id).one()
        for ti in dag_run.get_task_instances(session=session):
            task = pages.get_task(ti.task_id)
            found = {name: task.get_extra_links(ti, name) for name in task.extra_links}
            links[_name(ti.task_id, ti.map_index)] = {name: link for name, link in found.items() if link}
    return links


def _session() -> Any:
    """Airflow's, of this thread."""
    from airflow import settings

    assert settings.Session is not None, "Airflow is set up"
    return settings.Session()


def _make_run(dag: Any, kind: str, moment: Any, session: Any) -> Any:
    from airflow.utils.types import DagRunType

    logical_date, interval = _dates(dag.timetable, kind, moment)
    asset_triggered = DagRunType("asset_triggered" if IS_AIRFLOW_3 else "dataset_triggered")
    run_type = {"scheduled": DagRunType.SCHEDULED, "asset": asset_triggered}.get(kind, DagRunType.MANUAL)
    run = {
        "run_id": f"{run_type}__{kind}__{moment.isoformat()}",
        "run_type": run_type,
        "data_interval": interval,
        "state": "running",
        "start_date": moment,
        "session": session,
    }
    if not IS_AIRFLOW_3:
        return dag.create_dagrun(execution_date=logical_date, **run)
    from airflow.utils.types import DagRunTriggeredByType

    by = DagRunTriggeredByType.TEST
    return dag.create_dagrun(logical_date=logical_date, run_after=moment, triggered_by=by, **run)


def _dates(timetable: Any, kind: str, moment: Any) -> tuple[Any, Any]:
    """The logical date and the data interval, as Airflow has the timetable tell them."""
    from airflow.timetables.base import TimeRestriction

    if kind == "scheduled":
        interval = None
        while True:
            restriction = TimeRestriction(moment.subtract(days=70), None, catchup=True)
            info = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
            interval = info.data_interval
            if info.run_after >= moment:
                assert info.run_after == moment, f"no run is due at {moment}"
                return info.logical_date, interval
    if kind == "manual":
        return moment, timetable.infer_manual_data_interval(run_after=moment)
    if kind == "asset" and not IS_AIRFLOW_3:
        event = SimpleNamespace(source_dag_run=None, timestamp=moment)
        return moment, timetable.data_interval_for_events(moment, [event])
    return None, None


def _run_to_the_end(dag: Any, dag_run: Any, session: Any) -> None:
    while str(dag_run.state) == "running":
        session.expire_all()
        dag_run.dag = _scheduler_dag(dag)
        schedulable, _ = dag_run.update_state(session=session)
        for ti in schedulable:
            ti.try_number += 1
            ti.state = "scheduled"
        session.commit()
        for ti in dag_run.get_task_instances(session=session):
            if ti.state == "scheduled":
                _run_one(dag, ti, session)
        session.expire_all()
        if any(ti.state == "deferred" for ti in dag_run.get_task_instances(session=session)):
            return


def _clear(dag: Any, run_id: str, task_ids: tuple[str, ...], session: Any) -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import clear_task_instances
    from airflow.utils.state import DagRunState

    dag_run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one()
    cleared = [ti for ti in dag_run.get_task_instances(session=session) if ti.task_id in task_ids]
    clear_task_instances(cleared, session, dag_run_state=DagRunState.RUNNING, **_latest_version(dag))
    session.commit()
    return dag_run


def _latest_version(dag: Any) -> dict[str, Any]:
    """Return what lets a cleared run be one of the DAG as it now is."""
    if not IS_AIRFLOW_3:
        return {"dag": dag}
    return {"run_on_latest_version": True} if Version("3.1") <= AIRFLOW else {}


def _scheduler_dag(dag: Any) -> Any:
    """The DAG as Airflow's scheduler has it."""
    if not IS_AIRFLOW_3:
        return dag
    objects = _serialized_objects()
    # Airflow 3.0 and 3.1 have the older name alone.
    serialization = getattr(objects, "DagSerialization", objects.SerializedDAG)
    return serialization.deserialize_dag(serialization.serialize_dag(dag))


def _serialized_objects() -> Any:
    """Airflow's module, whose names and types are others from version to version."""
    from airflow.serialization import serialized_objects

    return serialized_objects


def _run_one(dag: Any, ti: Any, session: Any) -> None:
    task = dag.get_task(ti.task_id)
    try:
        if not IS_AIRFLOW_3:
            from airflow.models.dag import _run_task

            ti.task = task
            _run_task(ti=ti, session=session)
        elif Version("3.1") <= AIRFLOW:
            from airflow.sdk.definitions.dag import _run_task

            _run_task(ti=ti, task=task)
        else:
            from airflow.sdk.definitions.dag import _run_task

            ti.task = task
            _run_task(ti=ti)
    except Exception:
        logging.getLogger(__name__).exception("The task failed")


def _know_the_users_table() -> None:
    """Airflow 2's run notes refer to a table of the FAB provider, which its own models do not import."""
    import airflow.providers.fab.auth_manager.models  # noqa: F401


def _share_the_api_server() -> None:
    """Keep one API server for all tasks, as Airflow 3.3 does by itself: to make one takes seconds."""
    from airflow.sdk.execution_time import supervisor

    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


def _serialize(dag: Any) -> None:
    """Write the DAG where Airflow 3's test run expects it to be: a DAG that comes from no file is not there."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.utils.session import create_session

    objects = _serialized_objects()
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)  # type: ignore[no-untyped-call]  # Airflow's
        session.flush()
        errors: dict[tuple[str, str], str] = {}
        update: Any = update_dag_parsing_results_in_db  # it takes less on Airflow 3.0
        arguments: tuple[Any, ...]
        if Version("3.1") <= AIRFLOW:
            arguments = [objects.LazyDeserializedDAG.from_dag(dag)], errors, None, set()
        else:
            dag.relative_fileloc = dag.fileloc
            arguments = [objects.LazyDeserializedDAG(data=objects.SerializedDAG.to_dict(dag))], errors, set()
        update("dags-folder", None, *arguments, session)
    assert not errors, errors


@contextlib.contextmanager
def _captured_log() -> Iterator[io.StringIO]:
    """
    Capture standard output and all logging in one text, in order.

    Airflow 3 logs through structlog, to whatever standard output is at that moment, and through the standard library's
    logging; Airflow 2 only through the latter. Other handlers, ``caplog`` too, have to wait: some of them write to
    standard output as well, and all would be there twice.
    """
    captured = io.StringIO()
    handler = logging.StreamHandler(captured)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    # Airflow 2's test run gives the task's logger a handler of its own, unless it has one.
    silent = logging.StreamHandler(captured)
    silent.setLevel(logging.CRITICAL + 1)
    root, task = logging.getLogger(), logging.getLogger("airflow.task")
    root_handlers, root_level = root.handlers, root.level
    root.handlers = [handler]
    root.setLevel(logging.DEBUG)
    task.addHandler(silent)
    try:
        with contextlib.redirect_stdout(captured):
            yield captured
    finally:
        root.handlers = root_handlers
        root.setLevel(root_level)
        task.removeHandler(silent)
        sys.stdout.write(captured.getvalue())  # for the report of a test that fails


def _result(dag_run: Any, log: str) -> DagRunResult:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    states, tries, xcoms, rendered = {}, {}, {}, {}
    with create_session() as session:
        for ti in dag_run.get_task_instances(session=session):
            name = _name(ti.task_id, ti.map_index)
            key = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
            states[name], tries[name] = str(ti.state), ti.try_number
            xcoms[name] = _xcoms(session, key)
            fields = session.query(RenderedTaskInstanceFields).filter_by(**key).one_or_none()
            rendered[name] = dict(fields.rendered_fields) if fields else {}
    return DagRunResult(str(dag_run.run_id), str(dag_run.state), states, tries, xcoms, rendered, log, _task_logs(log))


def _name(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def _xcoms(session: Any, key: dict[str, Any]) -> dict[str, Any]:
    if not IS_AIRFLOW_3:
        from airflow.models.xcom import XCom

        rows = {row.key: row.value for row in session.query(XCom).filter_by(**key)}  # decoded when it is loaded
        return {name: value for name, value in rows.items() if not name.startswith(_LINK)}
    from airflow.models.xcom import XComModel

    try:
        from airflow.sdk.serde import deserialize
    except ImportError:  # Airflow 3.0 and 3.1
        from airflow.serialization.serde import deserialize  # type: ignore[no-redef]  # where it was before
    found = session.query(XComModel).filter_by(**key)
    return {row.key: deserialize(row.value) for row in found if not row.key.startswith(_LINK)}


def _as_in_the_pages(dag: Any) -> Any:
    """The DAG as Airflow's webserver or API server has it, which parses no DAG files."""
    if IS_AIRFLOW_3:
        return _scheduler_dag(dag)
    serialization = _serialized_objects().SerializedDAG
    return serialization.from_dict(serialization.to_dict(dag))


def _task_logs(log: str) -> dict[str, str]:
    logs: dict[str, str] = {}
    task = None
    for line in log.splitlines(keepends=True):
        if begins := _TASK_BEGINS.search(line):
            task = _name(begins[1], int(begins[2]))
        if task is not None:
            logs[task] = logs.get(task, "") + line
        if _TASK_ENDS in line:
            task = None
    return logs
