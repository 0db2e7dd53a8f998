"""The emulator as tests and programs use it: a context manager around the state and the server."""

import json
import math
import shutil
import ssl
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_falinvoke.emulator.asgi import app_of
from airflow_provider_falinvoke.emulator.certificate import make_certificate
from airflow_provider_falinvoke.emulator.clock import Clock, Timeline
from airflow_provider_falinvoke.emulator.control import Controlled
from airflow_provider_falinvoke.emulator.faults import Fault
from airflow_provider_falinvoke.emulator.guard import Guarded
from airflow_provider_falinvoke.emulator.media import Media
from airflow_provider_falinvoke.emulator.records import RecordedRequest
from airflow_provider_falinvoke.emulator.server import ServerThread, bind, tls_context
from airflow_provider_falinvoke.emulator.state import State
from airflow_provider_falinvoke.emulator.views import JobView, job_views

_STATUSES = ("QUEUED", "IN_PROGRESS", "COMPLETED", "FAILED")


class Emulator:
    """The vendor's API on a local socket, and a second origin that serves the files it makes.

    Start it with ``with``, or with :meth:`start` and :meth:`stop`; after a stop it can be started again, on the same
    ports and with the jobs it had.

    :param host: a loopback address.
    :param port: the port of the API, 0 for a free one.
    :param media_port: the port of the media origin, 0 for a free one.
    :param api_key: the only key that it takes.
    :param clock: returns the time in epoch seconds, for example a :class:`ManualClock`; the wall clock when left out.
    :param time_scale: seconds of the emulator in one second of the clock.
    :param durations: seconds from POST to end for each model_id; a model named here is known whatever its name, and so
        is each one below it, up to a slash.
    :param queue_time: seconds that a job is ``QUEUED`` before its duration begins; when left out, a share of its
        duration from 5 to 60 %, which its request_id decides.
    :param jitter: by which share, 0 to 1, a job's duration may differ from its model's; its request_id decides.
    :param quota_per_minute: requests that the key may send in a minute of the emulator, None for no limit.
    :param quota_per_hour: the same for an hour.
    :param retry_after: whether a 429 carries a Retry-After header.
    :param statuses: other spellings, for example ``{"COMPLETED": "COMPLETE"}``.
    :param accept_status: the HTTP status of an accepted POST, 200 or 202.
    :param media_ttl: seconds of the emulator after a job's end at which its files expire, None for never.
    :param log: called with each request after it was decided, on the server's thread.
    :param tls: True for HTTPS on both origins, with a certificate made for this machine; or the paths of a certificate
        and its private key (PEM).
    :raises ValueError: if a setting is out of its range.
    :raises OSError: if the certificate or its key cannot be read.
    """

    def __init__(
        self,
        port: int = 0,
        api_key: str = "emulator-key",
        *,
        host: str = "127.0.0.1",
        media_port: int = 0,
        clock: Clock | None = None,
        time_scale: float = 1.0,
        durations: Mapping[str, float] | None = None,
        queue_time: float | None = None,
        jitter: float = 0.0,
        quota_per_minute: int | None = 250,
        quota_per_hour: int | None = 5000,
        retry_after: bool = True,
        statuses: Mapping[str, str] | None = None,
        accept_status: int = 202,
        media_ttl: float | None = None,
        log: Callable[[RecordedRequest], None] | None = None,
        tls: bool | tuple[str, str] = False,
    ) -> None:
        for wrong, why in (
            (not api_key, "api_key must not be empty"),
            (any(seconds < 0 for seconds in (durations or {}).values()), "durations must be at least 0 seconds"),
            (queue_time is not None and not 0 <= queue_time < math.inf, "queue_time must be at least 0 seconds"),
            (not 0 <= jitter <= 1, "jitter must be from 0 to 1"),
            (accept_status not in (200, 202), "accept_status must be 200 or 202"),
            (not set(statuses or ()) <= set(_STATUSES), f"statuses may name {', '.join(_STATUSES)}"),
        ):
            if wrong:
                raise ValueError(why)
        self._host, self._ports = host, (port, media_port)
        if tls is True:
            folder = tempfile.mkdtemp(prefix="falinvoke-emulator-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            tls = make_certificate(Path(folder))
        self._certificate = tls[0] if tls else None
        self._tls: ssl.SSLContext | None = tls_context(*tls) if tls else None
        self._server: ServerThread | None = None
        self._state = State(
            api_key=api_key,
            timeline=Timeline(clock or time.time, time_scale),
            durations=durations or {},
            queue_time=queue_time,
            jitter=jitter,
            quota_per_minute=quota_per_minute,
            quota_per_hour=quota_per_hour,
            retry_after=retry_after,
            statuses=statuses or {},
            accept_status=accept_status,
            media_ttl=media_ttl,
            log=log,
        )

    def __enter__(self) -> "Emulator":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start to serve; return once both origins answer.

        :raises RuntimeError: if it is running.
        :raises ValueError: if the host is not a loopback address.
        :raises OSError: if a port is taken.
        """
        if self._server is not None:
            raise RuntimeError("the emulator is running")
        api_socket = bind(self._host, self._ports[0])
        try:
            media_socket = bind(self._host, self._ports[1])
        except OSError:
            api_socket.close()
            raise
        self._ports = (api_socket.getsockname()[1], media_socket.getsockname()[1])
        shown_host = f"[{self._host}]" if ":" in self._host else self._host
        self._state.api_url, self._state.media_url = (f"{self._schema}://{shown_host}:{port}" for port in self._ports)
        origins = ((api_socket, Controlled(self._state)), (media_socket, Media(self._state)))
        self._server = ServerThread([(listener, app_of(Guarded(origin))) for listener, origin in origins], self._tls)
        self._server.start()

    def stop(self) -> None:
        """Close all connections and ports; jobs and records stay. Does nothing if it is not running."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def url(self) -> str:
        """The origin of the API, without a slash at its end."""
        return self._state.api_url

    @property
    def media_url(self) -> str:
        """The origin that serves the files."""
        return self._state.media_url

    @property
    def api_key(self) -> str:
        """The key that it takes."""
        return self._state.api_key

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to it; as JSON it is a value for ``AIRFLOW_CONN_FALINVOKE_DEFAULT``."""
        connection: dict[str, Any] = {
            "conn_type": "falinvoke",
            "host": self._host,
            "schema": self._schema,
            "port": self._ports[0],
            "password": self._state.api_key,
        }
        # A certificate that signed itself is its own authority.
        return connection | ({"extra": {"ca_bundle": self._certificate}} if self._certificate else {})

    @property
    def _schema(self) -> str:
        return "https" if self._tls else "http"

    @property
    def connection_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.connection)

    @property
    def certificate(self) -> str | None:
        """The path of the certificate that clients must trust; None for plain HTTP."""
        return self._certificate

    @property
    def now(self) -> float:
        """The emulator's time in epoch seconds."""
        return self._state.now()

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far to both origins, in order; those of the control interface are not among them."""
        with self._state.lock:
            return list(self._state.requests)

    @property
    def jobs(self) -> dict[str, JobView]:
        """All jobs by their request_id, in the order of their POSTs."""
        return job_views(self._state)

    @property
    def leaks(self) -> list[str]:
        """Paths on the media origin that were asked for with an Authorization header or with the key anywhere."""
        with self._state.lock:
            return list(self._state.leaks)

    def posts(self) -> list[RecordedRequest]:
        """Return the POSTs to /v1/async-invoke, in order, also those that were refused or dropped."""
        return [record for record in self.requests if record.route == "post"]

    def gets(self, request_id: str | None = None) -> list[RecordedRequest]:
        """Return the GETs of invocations, with and without /status, in order.

        :param request_id: only those of this job.
        """
        polls = [record for record in self.requests if record.route in ("get", "status")]
        return [record for record in polls if request_id in (None, record.request_id)]

    def add_fault(self, fault: Fault) -> None:
        """Set a fault, behind those that are set."""
        self._state.add_fault(fault)

    def clear_faults(self) -> None:
        """Forget the faults that are set; what they did to jobs stays."""
        with self._state.lock:
            self._state.faults.clear()

    def reset(self) -> None:
        """Forget jobs, records, leaks and faults, and open new quota windows; the settings stay."""
        self._state.reset()
