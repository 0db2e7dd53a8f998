"""An XCom backend that a test can take away: for one run, or for all."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

#: Names the folder in which a file called like a run_id, or ``ALL``, takes the backend away while it lies there.
VARIABLE = "FALINVOKE_XCOM_AWAY"
ALL = "all"
#: In a file: a result is not refused but waits, as long as the file lies there.
HANGS = "hangs"


class XComAway(BaseXCom):
    """Airflow's own backend, while it is there."""

    @staticmethod
    def serialize_value(value: Any, *, key: str | None = None, run_id: str | None = None, **place: Any) -> str:
        """Take a value, unless the backend is away."""
        folder = Path(os.environ[VARIABLE])
        for name in (ALL, str(run_id)):
            while (folder / name).exists():
                if (folder / name).read_text() != HANGS:
                    raise ConnectionError("the XCom backend is away")
                time.sleep(0.2)
        return BaseXCom.serialize_value(value, key=key, run_id=run_id, **place)
