"""The vendor's API on a local socket, for demos, tests and users' own CI.

It is written from the API's facts and shares no code with the client, so that a mistake in one shows up in the other.
"""

try:
    import PIL  # noqa: F401 - only to say in time what is missing
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"the emulator needs {error.name}: install airflow-provider-falinvoke[emulator], "
        "with your Airflow's constraints",
        name=error.name,
    ) from error

from airflow_provider_falinvoke.emulator.clock import ManualClock
from airflow_provider_falinvoke.emulator.emulator import Emulator
from airflow_provider_falinvoke.emulator.faults import Fault
from airflow_provider_falinvoke.emulator.records import RecordedRequest
from airflow_provider_falinvoke.emulator.views import JobView

__all__ = ["Emulator", "Fault", "JobView", "ManualClock", "RecordedRequest"]
