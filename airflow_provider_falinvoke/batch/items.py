"""A batch's inputs: a list, or a JSONL file in any storage, checked before anything is paid, in bounded memory."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from airflow_provider_falinvoke.api.inputs import FalInput
from airflow_provider_falinvoke.api.models import InvokeRequest, object_of
from airflow_provider_falinvoke.durable import fingerprint
from airflow_provider_falinvoke.exceptions import FalInvokeError, FalInvokeInputError

#: A longer line is no request: the API takes bodies of some megabytes.
LONGEST_LINE = 32_000_000
#: So many wrong items are named.
_SHOWN = 20


class Checked(NamedTuple):
    """A request that can be sent.

    :param fingerprint: see :func:`~airflow_provider_falinvoke.durable.fingerprint`.
    """

    request: InvokeRequest
    fingerprint: str


class Inputs:
    """The requests of a batch, to be read several times.

    An item is whatever :meth:`~airflow_provider_falinvoke.api.models.InvokeRequest.read` takes: a prompt, a dict of the
    model's fields, or a whole request.

    :param source: a list of items, its JSON, or the path of a JSONL file as
        :class:`~airflow.sdk.ObjectStoragePath` takes it.
    :param conn_id: the connection, which is part of a request's fingerprint.
    :param model_id: the model of the items that name none.
    :param shared: fields that all items have; an item's own win.
    :param tags: the tags of the items that have none.
    :param family: the checks of a model that is not documented.
    """

    def __init__(
        self,
        source: Any,
        *,
        conn_id: str,
        model_id: Any,
        shared: Any = None,
        tags: Any = None,
        family: type[FalInput] = FalInput,
    ) -> None:
        self._conn_id = conn_id
        self._family = family
        self.model_id = model_id
        self._shared = object_of(shared or {})
        if not isinstance(self._shared, dict):
            raise FalInvokeInputError(f"input must be a dict, not {str(shared)[:80]!r}; nothing was sent.")
        self._tags = tags
        self._path: str | None = None
        self._items: Sequence[Any] = ()
        if isinstance(source, str) and source.lstrip().startswith("["):
            source = _json(source)
        if isinstance(source, str) and source.strip():
            self._path = source
        elif isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
            # Airflow's LazyXComSequence would fetch its items at each of several readings.
            self._items = source if isinstance(source, (list, tuple)) else list(source)
        else:
            raise FalInvokeInputError(
                f"inputs must be a list, or the path of a JSONL file, not {str(source)[:80]!r}; nothing was sent."
            )

    def check(self) -> Iterator[Checked]:
        """Yield each request; after the last one, say which items are wrong.

        :raises FalInvokeInputError: some are wrong, or the file cannot be read.
        """
        wrong: list[str] = []
        count = 0
        for place, item in self._read():
            try:
                yield self._checked(item)
            except FalInvokeInputError as error:
                count += 1
                if len(wrong) < _SHOWN:
                    wrong.append(f"{place}: {str(error).removeprefix('The request is wrong, nothing was sent: ')}")
        if wrong:
            form = (
                f"\n{self._path} must be JSONL: a JSON value in each line."
                if self._path and all(": not JSON (" in line for line in wrong)
                else ""
            )
            more = f"\n… and {count - len(wrong)} more" if count > len(wrong) else ""
            raise FalInvokeInputError(
                f"{count} of the inputs are wrong; nothing was sent.\n" + "\n".join(wrong) + more + form,
            )

    def pick(self, indexes: Collection[int]) -> Iterator[tuple[int, Checked | FalInvokeInputError]]:
        """Yield the requests at ``indexes``, in order; an error in place of one that cannot be sent any more."""
        left = set(indexes)
        for index, (_, item) in enumerate(self._read()):
            if not left:
                return
            if index in left:
                left.remove(index)
                try:
                    yield index, self._checked(item)
                except FalInvokeInputError as error:
                    yield index, error
        for index in sorted(left):
            yield index, FalInvokeInputError(f"The inputs have no item {index} any more.")

    def _checked(self, item: Any) -> Checked:
        if isinstance(item, bytes):
            item = _line(item)
        request = InvokeRequest.read(
            item, model_id=self.model_id, tags=self._tags, shared=self._shared, family=self._family
        )
        return Checked(request, fingerprint(request, self._conn_id))

    def _read(self) -> Iterator[tuple[str, Any]]:
        """Yield where each item stands, for an error, and the item: of a file, its line."""
        if self._path is None:
            yield from ((f"item {index}", _given(item)) for index, item in enumerate(self._items))
            return
        from airflow.sdk import ObjectStoragePath

        try:
            path: Any = ObjectStoragePath(self._path)
            with path.fs.open(path.path, "rb") as raw:
                file = io.BufferedReader(raw)  # whose readline, unlike some storages', takes a limit
                number = 0
                while line := file.readline(LONGEST_LINE):
                    number += 1
                    if line.strip():
                        yield f"line {number}", line
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeError(f"inputs: {self._path} cannot be read ({error}); nothing was sent.") from error


def _given(item: Any) -> Any:
    # A prompt "1984" is a number where templates are rendered to native objects. NaN is what pandas has for no value.
    is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
    return str(item) if is_number and math.isfinite(item) else item


def _line(line: bytes) -> Any:
    if len(line) >= LONGEST_LINE:
        raise FalInvokeInputError(f"longer than {LONGEST_LINE} bytes")
    try:
        return _json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FalInvokeInputError(f"not UTF-8 ({error})") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise FalInvokeInputError(f"not JSON ({why}): {text[:80].strip()!r}") from None
