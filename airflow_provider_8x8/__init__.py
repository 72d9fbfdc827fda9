"""Send 8x8 SMS Engage surveys from Airflow, each one once."""

from __future__ import annotations

from airflow_provider_8x8.get_provider_info import get_provider_info

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"
