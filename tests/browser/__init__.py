"""Airflow's pages, used as a user does: by make test-browser alone."""
