"""From an Airflow connection to the API: each call is one definition, driven blocking or awaiting."""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowException, AirflowNotFoundException, looks_up_awaiting
from airflow_provider_falinvoke.api import protocol
from airflow_provider_falinvoke.api.account import Account, account_of
from airflow_provider_falinvoke.api.clients import Client, check_proxy, polling_client, ssl_context
from airflow_provider_falinvoke.api.drivers import arun, run
from airflow_provider_falinvoke.api.endpoint import Endpoint
from airflow_provider_falinvoke.api.gate import gated
from airflow_provider_falinvoke.api.line import SharedLine
from airflow_provider_falinvoke.api.models import Invocation, InvokeRequest
from airflow_provider_falinvoke.api.outcomes import may_be_accepted
from airflow_provider_falinvoke.api.schedule import BriefWait, PollSchedule
from airflow_provider_falinvoke.api.threads import in_thread
from airflow_provider_falinvoke.exceptions import FalInvokeConfigError, FalInvokeError
from airflow_provider_falinvoke.get_provider_info import CONN_FIELDS, CONN_TYPE, HOOK_NAME, UI_FIELD_BEHAVIOUR
from airflow_provider_falinvoke.media import Saving

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_falinvoke.api.outcomes import Call, Outcome, Send, SubmitRecord, T
    from airflow_provider_falinvoke.media.manifest import MediaFile

#: How long to wait for a job where the caller does not say.
DEFAULT_TIMEOUT = 3600.0
#: How long a single question is repeated while the API gives no usable answer.
GET_PATIENCE = 60.0


class FalInvokeHook(BaseHook):
    """Call DigitalOcean's async-invoke API for fal models with the key of an Airflow connection.

    Every call exists twice, blocking and awaiting (``async_…``), from one definition. The key goes to the
    connection's own host and nowhere else; redirects are not followed.

    :param fal_conn_id: the :ref:`falinvoke connection <connection>`: its password is the model access key, its host
        the base URL (default ``https://inference.do-ai.run``).
    """

    conn_name_attr = "fal_conn_id"
    default_conn_name = "falinvoke_default"
    conn_type = CONN_TYPE
    hook_name = HOOK_NAME

    def __init__(self, fal_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.fal_conn_id = fal_conn_id
        self._endpoint: Endpoint | None = None
        #: Requests that this hook sent.
        self.requests = 0
        self._client: Client | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open client and the key out of a copy, which looks up the connection for itself."""
        return {**self.__dict__, "_client": None, "_endpoint": None}

    def submit(self, model_id: str, input: dict[str, Any], tags: Any = None) -> Invocation:
        """Submit a job: ``POST /v1/async-invoke``. **Each call that returns is one paid job.**

        It is repeated only where it cannot have arrived (no connection was made) or was refused with 429, for the
        connection's ``submit_patience``.

        :param model_id: the fal model.
        :param input: the model's fields; documented ones are checked before anything is sent.
        :param tags: a list of ``{"key": …, "value": …}``, or a dict.
        :return: the invocation with its ``request_id``; it may already be completed.
        :raises FalInvokeInputError: the request is wrong; nothing was sent.
        :raises FalInvokeAPIError: the API refused it; nothing is paid.
        :raises FalInvokeUnreachableError: it could not be sent; nothing is paid.
        :raises FalInvokeAmbiguousSubmitError: it may have been accepted and paid, but no request_id came back.
        """
        return self.submit_request(InvokeRequest.build(model_id, input, tags))

    async def async_submit(self, model_id: str, input: dict[str, Any], tags: Any = None) -> Invocation:
        """Submit a job, awaiting; see :meth:`submit`."""
        request = InvokeRequest.build(model_id, input, tags)
        patience = (await self.async_endpoint()).extra.submit_patience
        return await self._arun(self._submit(request, patience))

    def submit_request(
        self, request: InvokeRequest, *, patience: float | None = None, record: SubmitRecord | None = None
    ) -> Invocation:
        """Submit a request that was checked before; see :meth:`submit`.

        :param patience: seconds to go on trying; the connection's ``submit_patience`` by default.
        :param record: keeps what a later process has to know; see there.
        """
        patience = self.endpoint.extra.submit_patience if patience is None else patience
        return self._run(self._submit(request, patience), record)

    def get(self, request_id: str, *, patience: float = GET_PATIENCE, is_new: bool = False) -> Invocation:
        """Ask for an invocation: ``GET /v1/async-invoke/{request_id}``, status and result in one request.

        :param request_id: the job's id.
        :param patience: seconds to go on asking while no usable answer comes.
        :param is_new: the job may have been submitted a moment ago, so that a 404 is no answer yet.
        :return: the invocation, whatever its status.
        :raises FalInvokeAPIError: the API refused to tell (a wrong key, an unknown id).
        :raises FalInvokeUnreachableError: no usable answer within ``patience``.
        """
        return self._run(protocol.get(request_id, patience=patience, is_new=is_new))

    async def async_get(self, request_id: str, *, patience: float = GET_PATIENCE, is_new: bool = False) -> Invocation:
        """Ask for an invocation, awaiting; see :meth:`get`."""
        return await self._arun(protocol.get(request_id, patience=patience, is_new=is_new))

    def wait(
        self,
        request_id: str,
        *,
        timeout: float | None = None,
        submitted_at: float | None = None,
        deadline: float | None = None,
        schedule: PollSchedule | None = None,
        first_look_at: float = 0.0,
        model_id: str | None = None,
    ) -> Invocation:
        """Wait until a job is completed.

        :param request_id: the job's id.
        :param timeout: seconds to wait from now; one hour by default. ``deadline`` wins over it.
        :param submitted_at: when the job was submitted, in epoch seconds; now by default.
        :param deadline: when to give up, in epoch seconds.
        :param schedule: when to look; ``min(30, 0.5 + 0.2 * age)`` seconds apart by default.
        :param first_look_at: when to look first, in epoch seconds; at once by default.
        :param model_id: the job's model, whose jobs may have told how long they take.
        :return: the completed invocation.
        :raises FalInvokeJobFailedError: the job failed.
        :raises FalInvokeTimeoutError: it was not completed in time; it goes on, and it is paid.
        :raises FalInvokeAPIError: the API refused to tell.
        """
        submitted_at = time.time() if submitted_at is None else submitted_at
        invocation = self._run(
            self._wait(
                request_id,
                timeout=timeout,
                submitted_at=submitted_at,
                deadline=deadline,
                schedule=schedule,
                first_look_at=first_look_at,
                model_id=model_id,
            )
        )
        metrics.waited(time.time() - submitted_at)
        return invocation

    async def async_wait(
        self,
        request_id: str,
        *,
        timeout: float | None = None,
        submitted_at: float | None = None,
        deadline: float | None = None,
        schedule: PollSchedule | None = None,
        first_look_at: float = 0.0,
        model_id: str | None = None,
    ) -> Invocation:
        """Wait until a job is completed, awaiting; see :meth:`wait`."""
        submitted_at = time.time() if submitted_at is None else submitted_at
        invocation = await self._arun(
            self._wait(
                request_id,
                timeout=timeout,
                submitted_at=submitted_at,
                deadline=deadline,
                schedule=schedule,
                first_look_at=first_look_at,
                model_id=model_id,
            )
        )
        metrics.waited(time.time() - submitted_at)
        return invocation

    def wait_briefly(
        self,
        request_id: str,
        *,
        submitted_at: float,
        brief: BriefWait,
        deadline: float = math.inf,
    ) -> Invocation | float:
        """Wait for a job that may soon be completed, for the moments before a deferral would pay.

        :param submitted_at: when the job was submitted, in epoch seconds.
        :param brief: how long that is, and when it looks.
        :param deadline: the last moment for a look in any case, in epoch seconds.
        :return: the completed invocation; or, as soon as there is nothing to wait for, when to look next, in epoch
            seconds: after the next pause of the schedule, or when the API wants to be asked again.
        :raises FalInvokeJobFailedError: the job failed.
        :raises FalInvokeAPIError: the API refused to tell.
        """
        call = protocol.wait_briefly(
            request_id,
            submitted_at=submitted_at,
            brief=brief,
            deadline=deadline,
            account=self._account,
        )
        outcome = self._run(call)
        if isinstance(outcome, Invocation):
            metrics.waited(time.time() - submitted_at)
        return outcome

    def list_models(self, *, patience: float = 0.0) -> list[str]:
        """Return the ids of the host's models, free of charge; the fal models are not among them.

        :param patience: seconds to go on asking while no usable answer comes.
        """
        return self._run(protocol.list_models(patience=patience))

    async def async_list_models(self, *, patience: float = 0.0) -> list[str]:
        """Return the ids of the host's models, awaiting; see :meth:`list_models`."""
        return await self._arun(protocol.list_models(patience=patience))

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection's host and key with ``GET /v1/models``, which costs nothing.

        :return: whether they work, and a sentence that says what is wrong if not.
        """
        endpoint = None
        try:
            endpoint = self.endpoint
            return _takes_the_key(endpoint, self.list_models())
        except (FalInvokeError, AirflowException) as error:  # Airflow's own: the connection is not defined
            return self._failed_the_test(endpoint, error)

    async def async_test_connection(self) -> tuple[bool, str]:
        """Check the connection's host and key, awaiting; see :meth:`test_connection`."""
        endpoint = None
        try:
            endpoint = await self.async_endpoint()
            return _takes_the_key(endpoint, await self.async_list_models())
        except (FalInvokeError, AirflowException) as error:  # as above
            return self._failed_the_test(endpoint, error)

    def _failed_the_test(self, endpoint: Endpoint | None, error: Exception) -> tuple[bool, str]:
        if isinstance(error, FalInvokeConfigError):
            # The Test button lends the connection a random name, which would tell its user nothing.
            return False, str(error).replace(f"Connection {self.fal_conn_id!r}, field", "Field")
        return False, f"{endpoint.base_url}: {error}" if endpoint is not None else str(error)

    def save_media(self, invocation: Invocation, saving: Saving | str) -> list[MediaFile]:
        """Stream the files of a completed invocation to storage. The key is not sent to the hosts they lie on.

        :param saving: a folder, as :class:`~airflow.sdk.ObjectStoragePath` takes it (``s3://conn@bucket/key``), or all
            settings; see :class:`~airflow_provider_falinvoke.media.settings.Saving`.
        :return: what was saved, each file whole and described.
        :raises FalInvokeMediaError: there are no files, or one could not be brought home.
        :raises FalInvokeFlaggedError: some are flagged, and the settings say to fail then.
        """
        from airflow_provider_falinvoke.api.downloads import Downloader
        from airflow_provider_falinvoke.media.save import save_media

        self._load_certificates(self.endpoint)
        settings = Saving(saving) if isinstance(saving, str) else saving
        downloader = Downloader(self.endpoint, max_bytes=settings.max_file_size, seconds=settings.download_timeout)
        return save_media(invocation, settings, downloader)

    @property
    def endpoint(self) -> Endpoint:
        """The host and key of the connection, looked up once for this hook.

        :raises FalInvokeConfigError: a field is missing or cannot be right.
        """
        if self._endpoint is None:
            with _saying_how_to_add(self.fal_conn_id):
                connection = self.get_connection(self.fal_conn_id)
            self._endpoint = self._endpoint_of(connection)
            self._account.adopt(self._endpoint)
        return self._endpoint

    async def async_endpoint(self) -> Endpoint:
        """Return the host and key of the connection as this event loop knows them; looked up again after a minute."""
        async with SharedLine(self.fal_conn_id, self._look_up) as line:
            return await line.endpoint()

    def _endpoint_of(self, connection: Connection) -> Endpoint:
        # Not connection.extra_dejson: on the triggerer's loop its masking would wait for the supervisor (Airflow 3.3).
        try:
            extra = json.loads(connection.extra) if connection.extra else {}
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise FalInvokeConfigError(f"Connection {self.fal_conn_id!r}, field 'extra': it is not a JSON object.")
        return Endpoint.of(
            self.fal_conn_id,
            host=connection.host,
            schema=connection.schema,
            port=connection.port,
            key=connection.password,
            extra=extra,
        )

    @staticmethod
    def _submit(request: InvokeRequest, patience: float) -> Call[Invocation]:
        metrics.about(request.model_id)
        invocation = yield from protocol.submit(request, patience=patience)
        metrics.submitted()
        return invocation

    def _wait(
        self,
        request_id: str,
        *,
        timeout: float | None,
        submitted_at: float,
        deadline: float | None,
        schedule: PollSchedule | None,
        first_look_at: float,
        model_id: str | None,
    ) -> Call[Invocation]:
        if deadline is None:
            deadline = time.time() + (DEFAULT_TIMEOUT if timeout is None else timeout)
        return protocol.wait(
            request_id,
            submitted_at=submitted_at,
            deadline=deadline,
            schedule=schedule or PollSchedule(),
            first_look_at=first_look_at,
            model_id=model_id,
            account=self._account,
        )

    def _run(self, call: Call[T], record: SubmitRecord | None = None) -> T:
        if self._client is None:
            self._load_certificates(self.endpoint)
            self._client = client = Client(self.endpoint)
            weakref.finalize(self, client.close)
        return run(gated(call, self._account.gate), self._client, observer=_Observer(self, record))

    async def _arun(self, call: Call[T]) -> T:
        async with SharedLine(self.fal_conn_id, self._look_up) as line:
            await line.endpoint()  # a connection that is wrong is told as that, and not as a request that failed
            await metrics.make_ready()
            return await arun(gated(call, self._account.gate), line, observer=_Observer(self))

    @property
    def _account(self) -> Account:
        return account_of(self.fal_conn_id)

    async def _look_up(self) -> Endpoint:
        with _saying_how_to_add(self.fal_conn_id):
            if looks_up_awaiting():
                connection = await self.aget_connection(self.fal_conn_id)
            else:
                connection = await in_thread(self.get_connection, self.fal_conn_id)
        endpoint = self._endpoint_of(connection)
        await in_thread(self._prepare_polling, endpoint)
        self._account.adopt(endpoint)
        return endpoint

    def _prepare_polling(self, endpoint: Endpoint) -> None:
        self._load_certificates(endpoint)
        check_proxy(endpoint)
        polling_client()

    def _load_certificates(self, endpoint: Endpoint) -> None:
        try:
            ssl_context(endpoint.extra.ca_bundle)
        except OSError as error:
            raise FalInvokeConfigError(
                f"Connection {self.fal_conn_id!r}, field 'extra.ca_bundle': "
                f"{endpoint.extra.ca_bundle!r} cannot be read ({error})."
            ) from None

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the extra fields of the connection form; Airflow 3.1 asks the hook, later ones the provider info."""
        # Airflow 3.1's api-server replaces wtforms by a stand-in of its own for this call.
        from wtforms import BooleanField, IntegerField, StringField

        kinds = {"boolean": BooleanField, "integer": IntegerField, "string": StringField}
        return {
            name: kinds[field["schema"]["type"][0]](
                field["label"], description=field["description"], default=field["schema"].get("default")
            )
            for name, field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels, hidden fields and placeholders of the connection form, for Airflow 3.1."""
        behaviour: dict[str, Any] = dict(UI_FIELD_BEHAVIOUR)
        return {"hidden_fields": behaviour.pop("hidden-fields"), **behaviour}


class _Observer:
    """Counts a hook's requests, and keeps the record of a submit.

    :param record: that of the job that a POST is for, if somebody keeps one.
    """

    __slots__ = ("_hook", "_record")  # thousands of waits may be in one process

    def __init__(self, hook: FalInvokeHook, record: SubmitRecord | None = None) -> None:
        self._hook = hook
        self._record = record

    def sending(self, step: Send) -> None:
        if self._record is not None and step.method == "POST":
            self._record.intend()

    def sent(self, step: Send, outcome: Outcome) -> None:
        self._hook.requests += 1
        metrics.requested(self._hook.fal_conn_id, step, outcome)
        if self._record is not None and step.method == "POST" and not may_be_accepted(outcome):
            self._record.withdraw()


@contextmanager
def _saying_how_to_add(conn_id: str) -> Iterator[None]:
    """Have Airflow's error for a connection that is not there say what to do.

    It stays Airflow's error, after which a task is tried again: Airflow says the same where it cannot look.
    """
    try:
        yield
    except AirflowNotFoundException as error:
        fields = {conn_id: {"conn_type": CONN_TYPE, "password": "YOUR MODEL ACCESS KEY"}}
        raise AirflowNotFoundException(
            f"{error}. Add it in Airflow's UI (Admin, Connections; its type is {HOOK_NAME!r}), or with `airflow "
            f"connections import FILE`, where the JSON file holds {json.dumps(fields)}."
        ) from error


def _takes_the_key(endpoint: Endpoint, models: list[str]) -> tuple[bool, str]:
    return True, f"{endpoint.base_url} takes the key; it lists {len(models)} models (fal's are not listed)."
