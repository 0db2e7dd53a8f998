"""The command line, in this process; tests/airflow/test_cli.py runs it as a user does."""
