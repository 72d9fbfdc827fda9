"""Where a person sees what was sent."""

from __future__ import annotations

import pytest

from airflow_provider_8x8.api.regions import CONNECT, REGIONS, page_of


@pytest.mark.parametrize("address", [*REGIONS.values(), "https://sms.8x8.id:443", "https://SMS.8x8.com"])
def test_what_8x8_was_sent_is_seen_in_its_portal(address: str) -> None:
    assert page_of(address) == CONNECT


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("http://127.0.0.1:8808", "http://127.0.0.1:8808/sandbox"),
        ("http://localhost:8808", "http://localhost:8808/sandbox"),
        ("http://[::1]:8808", "http://[::1]:8808/sandbox"),
        ("https://sandbox.example.com/8x8", "https://sandbox.example.com/8x8/sandbox"),
        ("https://sms.8x8.com.example.com", "https://sms.8x8.com.example.com/sandbox"),
        ("https://sandbox.example.com?key=secret#secret", "https://sandbox.example.com/sandbox"),
    ],
)
def test_what_another_address_was_sent_is_seen_on_the_sandboxs_page(address: str, page: str) -> None:
    assert page_of(address) == page
