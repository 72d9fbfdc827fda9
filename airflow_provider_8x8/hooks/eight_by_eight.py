"""An Airflow connection to 8x8, as a client."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_8x8.api.client import DEFAULT_TIMEOUT, EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError
from airflow_provider_8x8.api.regions import DEFAULT_REGION, REGIONS
from airflow_provider_8x8.get_provider_info import CONN_FIELDS, DEFAULT_CONN_NAME, UI_FIELD_BEHAVIOUR

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


class EightByEightHook(BaseHook):
    """
    Calls 8x8's SMS API with an Airflow connection of type ``eight_by_eight``.

    .. code-block:: python

        balance = EightByEightHook().client.get_balance()

    The connection's login is the sub-account id, its password the API key; host and port only override the region's
    address. Its extra may hold ``region`` (``asia_pacific``, the default, ``north_america``, ``europe`` or
    ``indonesia``), ``account_id`` (a UUID), ``timeout`` (seconds for a whole call, 60 by default) and
    ``journal_conn_id``, the connection of a SQL journal for the operators that name none. How to add one is on
    Airflow's page `Managing Connections
    <https://airflow.apache.org/docs/apache-airflow/stable/howto/connection.html>`__.

    Its sends are single calls: nothing remembers them, and a task that sends through the hook sends again when Airflow
    runs it again. That no survey is posted twice is the promise of
    :class:`~airflow_provider_8x8.operators.survey_batch.EightByEightSurveyBatchOperator` alone.

    Nothing is opened, and the connection is not looked up, before :attr:`client` is asked for.

    :param eight_by_eight_conn_id: the connection, ``eight_by_eight_default`` by default
    :param subaccount_id: another sub-account of the same account than the connection names
    """

    conn_name_attr = "eight_by_eight_conn_id"
    default_conn_name = DEFAULT_CONN_NAME
    conn_type = "eight_by_eight"
    hook_name = "8x8"

    def __init__(self, eight_by_eight_conn_id: str = default_conn_name, *, subaccount_id: str | None = None) -> None:
        super().__init__()
        self.eight_by_eight_conn_id = eight_by_eight_conn_id
        self.subaccount_id = subaccount_id

    @cached_property
    def client(self) -> EightByEightClient:
        """
        The client for the connection.

        :raises AirflowNotFoundException: there is no such connection
        :raises ValueError: the connection is not as it must be
        """
        try:
            return self._client_of(f"connection {self.eight_by_eight_conn_id!r}")
        except ValueError as error:
            raise ValueError(f"Connection {self.eight_by_eight_conn_id!r}: {error}") from None

    @property
    def journal_conn_id(self) -> Any:
        """
        The connection of the SQL journal that the connection to 8x8 names in its extra, None if it names none.

        :raises AirflowNotFoundException: there is no such connection
        """
        return self._connection().extra_dejson.get("journal_conn_id") or None

    def _connection(self) -> Connection:
        try:
            return self.get_connection(self.eight_by_eight_conn_id)
        except AirflowNotFoundException:
            raise AirflowNotFoundException(
                f"eight_by_eight_conn_id {self.eight_by_eight_conn_id!r}: there is no such connection; add it to "
                "Airflow, or name another"
            ) from None

    def _client_of(self, named: str) -> EightByEightClient:
        connection = self._connection()
        extra = connection.extra_dejson
        return EightByEightClient(
            connection.password or "",
            subaccount_id=self.subaccount_id or connection.login or "",
            base_url=_base_url(connection.host, connection.port, extra.get("region")),
            account_id=extra.get("account_id") or None,
            timeout=_timeout(extra.get("timeout")),
            connection=named,
        )

    def get_conn(self) -> EightByEightClient:
        """Return the client. Raises what :attr:`client` raises."""
        return self.client

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether 8x8 takes the API key for the sub-account, and what it says. Asks once, and sends nothing."""
        try:
            client = self._client_of("this connection")  # to which Airflow has given a random id for the test
            client.check()
        except (EightByEightError, ValueError) as error:
            return False, str(error)
        return True, f"8x8 takes the API key for the sub-account {client.subaccount_id}"

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's own fields, for Airflow below 3.2, which does not read them as data."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import IntegerField, StringField

        kinds = {"timeout": IntegerField}
        return {
            name: kinds.get(name, StringField)(
                conn_field["label"],
                description=conn_field["description"] + _choices(conn_field),
                default=conn_field["schema"].get("default"),
                widget=BS3TextFieldWidget(),
            )
            for name, conn_field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the connection form hides and renames, for Airflow below 3.2."""
        return {name.replace("-", "_"): value for name, value in UI_FIELD_BEHAVIOUR.items()}


def _choices(conn_field: dict[str, Any]) -> str:
    choices = conn_field["schema"].get("enum")
    return f" One of {', '.join(choices)}." if choices else ""


def _base_url(host: str | None, port: int | None, region: str | None) -> str:
    region = region or DEFAULT_REGION
    if region not in REGIONS:
        raise ValueError(f"the region is {region!r}; expected one of {', '.join(REGIONS)}")
    if not host:
        return REGIONS[region]
    address = host if "://" in host else f"https://{host}"
    return f"{address.rstrip('/')}:{port}" if port else address


def _timeout(value: Any) -> float:
    if value in (None, ""):
        return DEFAULT_TIMEOUT
    try:
        return float(value)  # a connection URI delivers it as text
    except (TypeError, ValueError):
        raise ValueError(f"the timeout is {value!r}; expected seconds") from None
