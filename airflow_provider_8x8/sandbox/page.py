"""The page for people (first version)."""

from __future__ import annotations

from airflow_provider_8x8.sandbox.store import Store

CONTENT_SECURITY_POLICY = "default-src 'none'"


def render_page(store: Store, url: str, connection_uri: str) -> str:
    """Render the page."""
    return f"<!doctype html><title>8x8 sandbox</title><p>This is the sandbox. No SMS is sent. {store.stats()}"
