"""8x8's SMS API: requests, responses, one client, and what a failed call means. Needs no Airflow."""
