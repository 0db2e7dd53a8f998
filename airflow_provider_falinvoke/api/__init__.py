"""The vendor's API: models, protocol, pacing, drivers. Imports no Airflow and works without it."""
