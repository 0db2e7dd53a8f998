"""Apache Airflow provider for fal models through DigitalOcean async-invoke."""

__version__ = "0.1.0"
