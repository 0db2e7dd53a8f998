"""What all tests share: a throw-away Airflow, an emulator that the default connection leads to, and no network."""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

# Airflow reads these once, when it is imported first; so they are set before any test module imports it.
HOME = Path(tempfile.mkdtemp(prefix="falinvoke-tests-"))
DAGS = HOME / "dags"
DAGS.mkdir()
for _name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(DAGS),
    # Its listener takes part in each task that runs; the tests of lineage have an Airflow of their own.
    AIRFLOW__OPENLINEAGE__DISABLED="True",
)

import pytest  # noqa: E402 - after Airflow's environment, as above
from hypothesis import HealthCheck, settings  # noqa: E402 - as above

from airflow_provider_falinvoke.emulator import Emulator  # noqa: E402
from tests.support.network import Guard, forbid_network  # noqa: E402
from tests.support.s3 import CONN_ID, Bucket, new_bucket, s3_serving  # noqa: E402

# Whether an example is slow says more of the machine than of the code; what has to be fast has a limit of its own.
settings.register_profile("no clock", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


#: What starts Airflow's commands, or whole deployments, takes longest.
LONGEST = {"test_short_jobs", "test_blocks", "test_readme", "test_assets", "test_media_tab", "test_secrets"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process has to do it alone at the end."""
    items.sort(key=lambda item: (item.path.stem not in LONGEST, "airflow" not in item.path.parts))


def pytest_unconfigure() -> None:
    """Remove the throw-away Airflow."""
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def network() -> Iterator[Guard]:
    """No test may leave this machine."""
    with forbid_network() as guard:
        yield guard


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """Nothing that a test's replies said about a quota is known to the next."""
    yield
    from airflow_provider_falinvoke.api.account import forget_accounts

    forget_accounts()


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Have Airflow imported before a test listens to the log: its import takes away who listens already."""
    importlib.import_module("airflow")
    return caplog


def copy_database(source: Path, target: Path) -> None:
    """Copy a database with what SQLite keeps beside its file."""
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of Airflow's database, with its tables made once for all processes of a run."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    of_run = tmp_path_factory.getbasetemp()
    made = (of_run.parent if "PYTEST_XDIST_WORKER" in os.environ else of_run) / "airflow.db"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            copy_database(made, HOME / "airflow.db")
        else:
            initdb()
            copy_database(HOME / "airflow.db", made)
    DagBundlesManager().sync_bundles_to_db()
    # The first task of a process takes seconds, which are imports; a test's short jobs must not end meanwhile.
    from airflow.providers.standard.operators.empty import EmptyOperator

    from tests.support.dags import run_tasks

    run_tasks(lambda: EmptyOperator(task_id="warm_up"))
    return HOME / "airflow.db"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Yield an emulator whose images take no time; the default connection leads to it."""
    with Emulator(durations=FAST, quota_per_minute=None, quota_per_hour=None) as running:
        monkeypatch.setenv("AIRFLOW_CONN_FALINVOKE_DEFAULT", running.connection_json)
        yield running


#: Seconds that a job of each model takes in the fixture ``emulator``.
FAST = {
    "fal-ai/flux/schnell": 0.0,
    "fal-ai/fast-sdxl": 0.3,
    "fal-ai/stable-audio-25/text-to-audio": 0.3,
    "fal-ai/elevenlabs/tts/multilingual-v2": 0.3,
    "fal-ai/elevenlabs/tts/eleven-v3": 0.3,
    "fal-ai/flux/slow": 3600.0,
}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[tuple[str, Any]]:
    """Yield the URL of an S3 server that all tests share, and a client for it."""
    with s3_serving() as endpoint:
        yield endpoint


@pytest.fixture
def s3_server(s3_endpoint: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return an empty bucket of a real S3 server; its ``path()`` goes by the Airflow connection of its own."""
    bucket = new_bucket(*s3_endpoint)
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", bucket.connection_json)
    return bucket


@pytest.fixture
def memory() -> Iterator[Any]:
    """Attach fsspec's memory file system, as a provider would bring a storage."""
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # no stubs

    files = MemoryFileSystem()
    attach("memory", fs=files)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture
def quick_deferral(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deferral need not wait for a supervisor that lingers: ``dag.test()`` has none."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")
    monkeypatch.setenv("AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME", "0")
    monkeypatch.setattr("airflow_provider_falinvoke.triggers.falinvoke.RESUME_MARGIN", 0.05)


@pytest.fixture
def impatient_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that fails is tried again at once, as often as otherwise in seconds, or in a minute."""
    from airflow_provider_falinvoke import durable
    from airflow_provider_falinvoke.batch import journal

    for keeps in (durable, journal):
        monkeypatch.setattr(keeps, "PAUSES", (0.0,) * len(keeps.PAUSES))
