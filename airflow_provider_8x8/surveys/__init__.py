"""Rows into sent surveys. Needs no Airflow."""
