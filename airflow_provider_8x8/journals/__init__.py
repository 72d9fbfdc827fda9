"""Journals that outlive a try: in a SQL database, in Airflow's task state store."""
