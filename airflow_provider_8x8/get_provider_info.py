"""What Airflow's provider manager reads of this package, without importing the rest of it."""

from __future__ import annotations

from typing import Any

DEFAULT_CONN_NAME = "eight_by_eight_default"

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "extra"],
    "relabeling": {
        "login": "Sub-account id",
        "password": "API key",
        "host": "Host (only to override the region)",
        "port": "Port (only with a host)",
    },
    "placeholders": {"login": "example_hq", "password": "key from 8x8 Connect"},
}

CONN_FIELDS: dict[str, Any] = {
    "region": {
        "label": "Region",
        "description": "Where the account lives.",
        "schema": {
            "type": ["string", "null"],
            "enum": ["asia_pacific", "north_america", "europe", "indonesia"],
            "default": "asia_pacific",
        },
    },
    "account_id": {
        "label": "Account id",
        "description": "A UUID; needed for prices and balance only.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds for a whole call, upload and answer together.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "default": 60},
    },
    "journal_conn_id": {
        "label": "Journal connection id",
        "description": "A SQL database's, for the journal of the tasks that name none. Optional.",
        "schema": {"type": ["string", "null"]},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the connection type with its form, and where hook, operators, link, decorator and trigger are."""
    return {
        "package-name": "airflow-provider-8x8",
        "name": "8x8",
        "description": "Send 8x8 SMS Engage surveys in batches, each one once.",
        "integrations": [
            {
                "integration-name": "8x8",
                "external-doc-url": "https://developer.8x8.com/connect/docs",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "8x8",
                "python-modules": ["airflow_provider_8x8.hooks.eight_by_eight"],
            }
        ],
        "operators": [
            {
                "integration-name": "8x8",
                "python-modules": [
                    "airflow_provider_8x8.operators.survey_batch",
                    "airflow_provider_8x8.operators.survey_preview",
                    "airflow_provider_8x8.operators.delivery_report",
                    "airflow_provider_8x8.operators.cancel_batch",
                ],
            }
        ],
        "task-decorators": [
            {
                "name": "survey_batch",
                "class-name": "airflow_provider_8x8.decorators.survey_batch.survey_batch_task",
            }
        ],
        "triggers": [
            {
                "integration-name": "8x8",
                "python-modules": ["airflow_provider_8x8.triggers.log_export"],
            }
        ],
        "extra-links": ["airflow_provider_8x8.operators.links.EightByEightConnectLink"],
        "config": {
            "eight_by_eight": {
                "description": "How surveys are sent through 8x8.",
                "options": {
                    "deployment": {
                        "description": (
                            "By what name this Airflow is known in a SQL journal that others share: campaigns of "
                            "another name are refused. Without it, the API server's base_url; on Airflow 2, the "
                            "webserver's."
                        ),
                        "version_added": None,
                        "type": "string",
                        "example": "production",
                        "default": None,
                    }
                },
            }
        },
        "connection-types": [
            {
                "connection-type": "eight_by_eight",
                "hook-class-name": "airflow_provider_8x8.hooks.eight_by_eight.EightByEightHook",
                "hook-name": "8x8",
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }
