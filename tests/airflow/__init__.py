"""What needs real Airflow processes."""
