"""A task's journal: which one it is, and Airflow's way to it."""
