"""One wave on the worker: bring home what ended, submit as many as there is room for, and write down every step."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke._compat import AirflowSkipException
from airflow_provider_falinvoke.api.models import Invocation, InvokeRequest
from airflow_provider_falinvoke.api.protocol import completed
from airflow_provider_falinvoke.batch.claims import JournalError
from airflow_provider_falinvoke.batch.items import Checked, Inputs
from airflow_provider_falinvoke.batch.journal import Journal
from airflow_provider_falinvoke.batch.phases import TROUBLE, Item, Phase, phase_after
from airflow_provider_falinvoke.batch.plan import STREAK, FailurePolicy
from airflow_provider_falinvoke.batch.result import row_of
from airflow_provider_falinvoke.batch.waiting import Ended
from airflow_provider_falinvoke.completion import bring_home
from airflow_provider_falinvoke.exceptions import (
    FalInvokeAmbiguousSubmitError,
    FalInvokeAuthError,
    FalInvokeConfigError,
    FalInvokeError,
    FalInvokeInputError,
    FalInvokeMediaError,
    FalInvokeRateLimitError,
    FalInvokeUnreachableError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import Saving

log = logging.getLogger(__name__)

#: POSTs in the air: with 0.3 s each, and a journal that takes 0.1 s to write, some 500 a minute; the vendor's quota
#: allows 125 jobs a minute.
POSTS_AT_ONCE = 4
#: Jobs whose files are saved side by side.
SAVES_AT_ONCE = 4

#: A POST waits so many seconds for its turn, or while the API is out of reach; then the wave ends, and the task waits
#: without a worker slot.
SUBMIT_PATIENCE = 20.0
#: After so many seconds a wave submits no more, so that what ended meanwhile is brought home.
LONGEST_WAVE = 60.0
#: So many troubles of a wave are logged at WARNING.
_SHOWN = 20
_Requests: TypeAlias = "Iterator[tuple[int, Checked | FalInvokeInputError]]"


class _StoppedError(Exception):
    """The wave was told to submit nothing more, so a POST that was about to go out did not."""


class _Intent:
    """What the journal says of an item's submit: an intent, while a POST of it may be accepted; see ``SubmitRecord``.

    :param stopped: whether nothing more is to be submitted.
    """

    def __init__(self, journal: Journal, index: int, stopped: Callable[[], bool]) -> None:
        self._journal = journal
        self._index = index
        self._stopped = stopped

    def intend(self) -> None:
        """Write the intent, then make sure that the batch is still this process's."""
        if self._stopped():
            raise _StoppedError
        # To a thousandth, as it is written: it tells this submit from others.
        self._change(Phase.INTENT, intended_at=round(time.time(), 3))
        try:
            self._journal.commit()
        except JournalError:
            self.withdraw()
            raise

    def withdraw(self) -> None:
        """Write that the submit came to nothing; with the next write, where the storage does not take it now."""
        self._change(Phase.WAITING)
        with suppress(JournalError):
            self._journal.commit(patient=False)

    def _change(self, phase: Phase, **changes: float) -> None:
        self._journal.put(self._journal.items[self._index].with_(phase, **changes))


class Wave:
    """One wave: POSTs and downloads have threads of their own, the one that calls :meth:`run` notes what ended.

    :param saving: where and how the files are kept.
    :param timeout: how long a job may take, in seconds.
    :param on_item_failure: whether one item's failure keeps the others from being submitted.
    """

    def __init__(
        self,
        hook: FalInvokeHook,
        journal: Journal,
        inputs: Inputs,
        *,
        saving: Saving,
        timeout: float,
        on_item_failure: FailurePolicy,
    ) -> None:
        self._hook = hook
        self._journal = journal
        self._inputs = inputs
        self._saving = saving
        self._timeout = timeout
        self._on_item_failure = on_item_failure
        #: Why nothing more can be submitted in this try, if so.
        self.stopped: str | None = None
        #: Why nothing could be submitted just now, if so: the quota, or an API that is out of reach.
        self.blocked: FalInvokeError | None = None
        #: How many submits the API took.
        self.accepted = 0
        #: Whether it ended because it had lasted long enough.
        self.cut = False
        self._began = time.time()
        self._fatal: Exception | None = None
        self._to_save: deque[tuple[int, Ended]] = deque()
        self._posts: dict[Future[Invocation], int] = {}
        self._saves: dict[Future[dict[str, Any]], int] = {}
        self._write: Future[None] | None = None
        self.refused_in_a_row = journal.head.refused_in_a_row
        self.unsaved_in_a_row = journal.head.unsaved_in_a_row
        self._troubles = 0
        self._asked_to_stop = False

    def run(self, ended: Iterable[Ended], room: int) -> None:
        """Bring home what ended, and submit ``room`` of the items that wait.

        :param ended: jobs in flight that are not waited for any more.
        :raises FalInvokeError: the journal cannot be written, or the API does not take the key.
        """
        by_id = {item.request_id: item.index for item in self._journal.items if item.phase is Phase.SUBMITTED}
        for one in ended:
            self._not_awaited(by_id[one.request_id], one)
        waiting = (item.index for item in self._journal.items if item.phase is Phase.WAITING)
        requests = self._inputs.pick(set(itertools.islice(waiting, room)))
        with (
            ThreadPoolExecutor(POSTS_AT_ONCE, "falinvoke-post") as posts,
            ThreadPoolExecutor(SAVES_AT_ONCE, "falinvoke-save") as saves,
            ThreadPoolExecutor(1, "falinvoke-journal") as writes,
        ):
            try:
                while self._turn(requests, posts, saves, writes):
                    pass
            except BaseException as error:
                # What is in the air may be paid: its request_ids are worth more than a quick end.
                self._asked_to_stop = True
                self._land(error)
                raise
        self._journal.close()
        if self._fatal is not None:
            raise self._fatal

    def stop(self) -> None:
        """Submit nothing more; called from a signal handler."""
        self._asked_to_stop = True

    @property
    def _submits(self) -> bool:
        return not (self._asked_to_stop or self.cut or self.stopped or self.blocked or self._fatal)

    @property
    def _air(self) -> list[Future[Any]]:
        return [*self._posts, *self._saves, *([self._write] if self._write is not None else [])]

    def _turn(
        self, requests: _Requests, posts: ThreadPoolExecutor, saves: ThreadPoolExecutor, writes: ThreadPoolExecutor
    ) -> bool:
        """Start what there is room for, and note what ended; return whether there is more to do."""
        self._submit(requests, posts)
        while self._to_save and len(self._saves) < SAVES_AT_ONCE:
            index, one = self._to_save.popleft()
            self._saves[saves.submit(self._bring_home, one)] = index
        if self._write is None and self._journal.is_dirty:
            # The request_ids that came back; the next POSTs need not wait for that.
            self._write = writes.submit(self._journal.commit)
        if not self._air:
            return False
        self._note(*wait(self._air, return_when=FIRST_COMPLETED).done)
        return True

    def _submit(self, requests: _Requests, posts: ThreadPoolExecutor) -> None:
        self.cut = self.cut or time.time() >= self._began + LONGEST_WAVE
        while self._submits and len(self._posts) < POSTS_AT_ONCE:
            index, checked = next(requests, (None, None))
            if index is None:
                return
            if isinstance(checked, Checked) and checked.fingerprint == self._journal.items[index].asked.fingerprint:
                self._posts[posts.submit(self._post, index, checked.request)] = index
            else:
                error = checked if isinstance(checked, FalInvokeInputError) else None
                self._failed(index, error or FalInvokeInputError("The input changed while the batch ran."))

    def _post(self, index: int, request: InvokeRequest) -> Invocation:
        """Submit an item, in a thread, and keep its request_id whatever the other threads meet."""
        intent = _Intent(self._journal, index, lambda: bool(self._asked_to_stop or self.stopped or self._fatal))
        patience = min(SUBMIT_PATIENCE, self._hook.endpoint.extra.submit_patience)
        invocation = self._hook.submit_request(request, patience=patience, record=intent)
        if invocation.request_id is not None:
            now = time.time()
            item = self._journal.items[index].with_(Phase.SUBMITTED, request_id=invocation.request_id)
            self._journal.put(replace(item, submitted_at=now, deadline=now + self._timeout))
        return invocation

    def _note(self, *done: Future[Any]) -> None:
        for future in done:
            if future in self._posts:
                self._posted(self._posts.pop(future), future)
            elif future is self._write:
                self._write = None
                future.result()
            else:
                self._saved(self._saves.pop(future), future)

    def _land(self, error: BaseException) -> None:
        """Keep what is in the air, and have whatever ends the process name the jobs that the journal may not have."""
        try:
            wait(self._air)
            self._journal.commit()
            self._note(*self._posts, *self._saves)
            self._journal.close()
        except FalInvokeError as unwritten:
            log.error("%s", unwritten)
            if isinstance(error, FalInvokeError):
                raise unwritten from error

    def _posted(self, index: int, post: Future[Invocation]) -> None:
        try:
            invocation = post.result()
        except _StoppedError:
            pass
        except FalInvokeAmbiguousSubmitError as error:
            self._failed(index, error)
        except (FalInvokeAuthError, FalInvokeConfigError, JournalError) as error:
            self._fatal = error
        except (FalInvokeRateLimitError, FalInvokeUnreachableError) as error:
            self.blocked = error
        except FalInvokeError as error:
            self._failed(index, error)
            self.refused_in_a_row += 1
            if self.refused_in_a_row >= STREAK:
                self.stopped = f"{STREAK} submits in a row were refused, the last one so: {error}"
        except Exception as error:
            self._fatal = error
            if self._journal.items[index].phase is Phase.INTENT:  # nobody knows whether it was sent
                self._failed(index, FalInvokeAmbiguousSubmitError(f"The submit ended with {error!r}; it may be paid."))
        else:
            self.accepted += 1
            self.refused_in_a_row = 0
            if invocation.status.ended:
                self._not_awaited(index, Ended(invocation.request_id or "", invocation))

    def _not_awaited(self, index: int, ended: Ended) -> None:
        if ended.error is not None:
            self._failed(index, ended.error)
        else:
            self._to_save.append((index, ended))

    def _bring_home(self, ended: Ended) -> dict[str, Any]:
        invocation = completed(ended.invocation or self._hook.get(ended.request_id))
        return bring_home(self._hook, invocation, self._saving)

    def _saved(self, index: int, save: Future[dict[str, Any]]) -> None:
        try:
            result = save.result()
        except (FalInvokeAuthError, FalInvokeConfigError) as error:
            self._fatal = error  # the item stays in flight: the next try brings it home
        except FalInvokeError as error:
            self._failed(index, error)
        except AirflowSkipException as skipped:  # the user said so: on_flagged="skip"
            self._tell(self._journal.items[index].with_(Phase.DONE), {}, skipped)
        except Exception as error:  # a storage's own
            self._failed(index, FalInvokeMediaError(f"The job is completed and paid, but could not be saved: {error}."))
        else:
            self.unsaved_in_a_row = 0
            self._tell(self._journal.items[index].with_(Phase.DONE), result, None)

    def _failed(self, index: int, error: FalInvokeError) -> None:
        item = self._journal.items[index]
        phase = phase_after(error, known=item.request_id is not None)
        metrics.failed(error, item.asked.model_id)
        self._troubles += 1
        log.log(
            logging.WARNING if self._troubles <= _SHOWN else logging.DEBUG,
            "Item %d is %s: %s",
            index,
            phase.value,
            error,
        )
        if phase is Phase.UNSAVED:
            self.unsaved_in_a_row += 1
            if self.unsaved_in_a_row >= STREAK:
                self.stopped = f"the files of {STREAK} jobs in a row could not be saved, the last ones so: {error}"
        if phase in TROUBLE and self._on_item_failure == "stop":
            self.stopped = self.stopped or f"item {index} is {phase.value}, and on_item_failure is 'stop'"
        self._tell(item.with_(phase), {}, error)

    def _tell(self, item: Item, result: dict[str, Any], error: Exception | None) -> None:
        ended = item.with_(item.phase, ended_at=time.time())
        # A job's end can be asked for again; that nobody knows of a submit, or that it was refused, cannot.
        if item.request_id is None:
            self._journal.put(ended)
        self._journal.tell(ended, row_of(ended, result, None if error is None else str(error)))
