"""A batch on the worker: what an earlier process left, one wave after the other, and the end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_falinvoke import metrics
from airflow_provider_falinvoke.api.inputs import prompt_of
from airflow_provider_falinvoke.api.pricing import Price, estimate
from airflow_provider_falinvoke.api.schedule import PollSchedule
from airflow_provider_falinvoke.batch.arrangement import arrange
from airflow_provider_falinvoke.batch.claims import JournalError
from airflow_provider_falinvoke.batch.cost import cost_of_all
from airflow_provider_falinvoke.batch.home import JOURNAL, home_of
from airflow_provider_falinvoke.batch.items import Checked, Inputs
from airflow_provider_falinvoke.batch.journal import Journal
from airflow_provider_falinvoke.batch.phases import Asked, Item, Phase, take_up
from airflow_provider_falinvoke.batch.plan import FailurePolicy, Next, Tally, after_wave, progress, room, submits
from airflow_provider_falinvoke.batch.result import manifest_rows, row_of, write_manifest
from airflow_provider_falinvoke.batch.storage import Folder
from airflow_provider_falinvoke.batch.waiting import Job, Wait, Waited
from airflow_provider_falinvoke.batch.wave import Wave
from airflow_provider_falinvoke.batch.words import not_home, say_what_changed, say_what_is_doubtful, standing
from airflow_provider_falinvoke.durable import AmbiguousPolicy
from airflow_provider_falinvoke.exceptions import (
    FalInvokeBatchError,
    FalInvokeError,
    FalInvokeRateLimitError,
    FalInvokeTimeoutError,
)
from airflow_provider_falinvoke.hooks.falinvoke import FalInvokeHook
from airflow_provider_falinvoke.media import Saving
from airflow_provider_falinvoke.media.naming import region_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a batch is to be run: the operator's parameters, rendered and checked; durations in seconds."""

    max_in_flight: int
    on_item_failure: FailurePolicy
    on_ambiguous_submit: AmbiguousPolicy
    timeout: float
    poll_interval: float | None
    max_poll_interval: float
    prices: Mapping[str, Price]
    max_cost: float | None

    @property
    def schedule(self) -> PollSchedule:
        """When to look at a job again, by its age."""
        return PollSchedule.of(self.poll_interval, self.max_poll_interval)


class Batch:
    """One task instance's batch, in the process that runs it now.

    :param inputs: its requests.
    :param saving: where and how its files are kept.
    :param home: the folder for the manifest.
    :param journal: what earlier processes left.
    """

    def __init__(
        self,
        hook: FalInvokeHook,
        settings: Settings,
        *,
        inputs: Inputs,
        saving: Saving,
        home: Folder,
        journal: Journal,
    ) -> None:
        self._hook = hook
        self.settings = settings
        self.model_id = inputs.model_id
        self.folder = str(home)
        self._inputs = inputs
        self._saving = saving
        self._home = home
        self._journal = journal
        self._wave: Wave | None = None
        self._looks: dict[str, float] = {}
        self._blocked: FalInvokeError | None = None
        self._asked_to_stop = False

    @classmethod
    def of(cls, ti: Any, hook: FalInvokeHook, settings: Settings, *, inputs: Inputs, saving: Saving) -> Batch:
        """Return the batch of a task instance.

        :raises FalInvokeInputError: no folder is named.
        :raises FalInvokeMediaError: there is no such storage.
        :raises FalInvokeError: it cannot be read.
        """
        home = home_of(saving)
        names = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        if region := region_of(ti):
            names["region"] = region
        journal = Journal(
            Folder(f"{home}/{JOURNAL}"),
            names,
            try_number=int(getattr(ti, "try_number", 0)),
            task_instance=str(getattr(ti, "id", "")),
        )
        return cls(
            hook,
            settings,
            inputs=inputs,
            saving=saving,
            home=Folder(home),
            journal=journal,
        )

    def begin(self, generation: int) -> None:
        """Start a try: check all inputs, and take up what earlier tries left.

        :param generation: ``ti.max_tries``.
        :raises FalInvokeInputError: an input is wrong, or the batch is too dear; nothing was sent.
        :raises FalInvokeError: the journal cannot be read or written; nothing was sent.
        """
        self._saving.file_name.check_for_many()
        prices = self.settings.prices
        asked = [
            Asked(one.fingerprint, one.request.model_id, estimate(one.request, prices)) for one in self._inputs.check()
        ]
        cost = cost_of_all(asked, self.settings.max_cost)
        self._saving.check_folder()
        self._journal.take_over()
        self._journal.rearrange(arrange(self._journal.known, asked))
        cleared = self._journal.head.generation not in (None, generation)
        left = {item.index: item for item in self._journal.known}
        deadline = time.time() + self.settings.timeout
        items = [
            take_up(
                left.get(index, Item(index, one)),
                one,
                cleared=cleared,
                policy=self.settings.on_ambiguous_submit,
                deadline=deadline,
            )
            for index, one in enumerate(asked)
        ]
        say_what_changed(left, items)
        for item in items:
            if item.phase is Phase.SUBMITTED:
                metrics.about(item.asked.model_id)
                metrics.resumed()
        self._journal.begin(items, generation=generation, cost=cost)
        self._tell_what_is_lost()

    def reopen(self) -> None:
        """Go on with a try that another process began.

        :raises FalInvokeError: the journal cannot be read.
        """
        if not self._journal.take_over():
            raise FalInvokeError(
                f"The batch's journal is not in {self._home} any more, so nobody knows which jobs are paid. Nothing "
                "was submitted."
            )
        policy = self.settings.on_ambiguous_submit
        left = {item.index: item for item in self._journal.items if item.phase is Phase.INTENT}
        for item in left.values():
            # Airflow may run a try's second half twice; the first may have died over a POST.
            self._journal.put(take_up(item, item.asked, cleared=False, policy=policy, deadline=item.deadline))
        say_what_is_doubtful(left, self._journal.items)
        self._journal.commit()
        self._tell_what_is_lost()

    def wave(self, waited: Waited) -> Next:
        """Bring home what ended, submit what there is room for, and say what follows.

        :raises FalInvokeError: the API does not take the key any more, or the journal cannot be written.
        """
        self._looks = waited.looks
        in_flight = {item.request_id for item in self._journal.items if item.phase is Phase.SUBMITTED}
        ended = [one for one in waited.ended if one.request_id in in_flight]
        while True:
            tally = Tally.of(self._journal.items)
            goes_on = self._goes_on(tally) and waited.error is None
            self._wave = Wave(
                self._hook,
                self._journal,
                self._inputs,
                saving=self._saving,
                timeout=self.settings.timeout,
                on_item_failure=self.settings.on_item_failure,
            )
            # A job that ended makes room for another before its files are home.
            self._wave.run(ended, room(tally, self.settings.max_in_flight + len(ended)) if goes_on else 0)
            if waited.error is not None:
                raise waited.error
            following = self._followed_by(self._wave)
            self._report()
            # An earlier process may have learnt meanwhile what became of its last submits.
            if not following.again and (following.wait or not self._journal.catch_up()):
                return following
            ended = []

    def stop(self) -> int:
        """Submit nothing more, and return how many jobs go on; called from a signal handler."""
        self._asked_to_stop = True
        if self._wave is not None:
            self._wave.stop()
        return Tally.of(self._journal.items).in_flight

    def jobs(self) -> list[Job]:
        """Return the jobs in flight, and when to look at each; 0 leaves that to the wait."""
        return [
            Job(
                item.request_id,
                item.submitted_at,
                item.deadline,
                self._looks.get(item.request_id, 0.0),
            )
            for item in self._journal.items
            if item.phase is Phase.SUBMITTED and item.request_id is not None
        ]

    def wait_here(self, following: Next) -> Waited:
        """Wait on the worker."""
        jobs = self.jobs()
        wait = Wait(self._hook, jobs, schedule=self.settings.schedule, more=following.more, until=following.until)
        return asyncio.run(wait.run())

    def last_looks(self, error: Exception) -> Waited:
        """Look at each job once: Airflow ended the wait, because no triggerer ran, or because the trigger failed.

        :param error: what Airflow raised.
        :raises FalInvokeTimeoutError: none of them ended.
        """
        now = time.time()
        # A job whose deadline passed is looked at once, whatever the answer.
        deadlines = {job.request_id: job.deadline for job in self.jobs()}
        jobs = [job._replace(deadline=0.0, look_at=0.0) for job in self.jobs()]
        waited = asyncio.run(Wait(self._hook, jobs, schedule=self.settings.schedule).run())
        waited.ended = [
            one
            for one in waited.ended
            if not isinstance(one.error, FalInvokeTimeoutError) or deadlines[one.request_id] <= now
        ]
        if not waited.ended and waited.error is None:
            raise FalInvokeTimeoutError(
                f"Airflow ended the wait for {len(jobs)} jobs ({error or type(error).__name__}), none of which has "
                f"ended. They go on, and they are paid; a retry takes them up. Their request_ids: {self._home}."
            )
        return waited

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what the manifest says of each item, in order."""
        return manifest_rows(self._journal)

    def finish(self) -> tuple[dict[str, Any], FalInvokeError | None]:
        """Write the manifest, and return the summary, and what the task fails with, if it does."""
        try:
            summary = write_manifest(self._journal, self._home, self._prompts())
        except Exception as error:  # each storage has errors of its own
            raise FalInvokeError(
                f"The manifest in {self._home} cannot be written ({error}). What became of the items is in the "
                "batch's journal; a retry writes the manifest, and submits nothing of them again."
            ) from error
        self._note_what_is_reported()
        tally = Tally.of(self._journal.items)
        if tally.waiting and self._blocked is not None:
            return summary, self._blocked
        if tally.done == tally.items or (self.settings.on_item_failure == "ignore" and not tally.waiting):
            return summary, None
        failure = FalInvokeBatchError(
            not_home(tally, self._journal.items, stopped=self._journal.head.stopped, manifest=summary["manifest"])
        )
        failure.may_pass = tally.may_pass(self.settings.on_ambiguous_submit) or bool(tally.waiting)
        return summary, failure

    def _note_what_is_reported(self) -> None:
        """A user who clears the task from now on was told which items may have been paid."""
        now = time.time()
        for item in self._journal.items:
            if item.phase is Phase.AMBIGUOUS and not item.reported_at:
                self._journal.put(replace(item, reported_at=now))
        try:
            self._journal.commit()
        except JournalError as error:
            log.warning("A clear will report the ambiguous items once more before it submits them again: %s", error)

    def _tell_what_is_lost(self) -> None:
        for index, why in self._journal.lost.items():
            if index < len(self._journal.items):
                item = self._journal.items[index]
                self._journal.tell(item, row_of(item, {}, why))

    def _prompts(self) -> Iterator[str | None]:
        """Yield what each item asked for, without end; None where the inputs cannot tell any more."""
        items = self._journal.items
        try:
            for item, (_, one) in zip(items, self._inputs.pick(range(len(items))), strict=False):
                if isinstance(one, Checked) and one.fingerprint == item.asked.fingerprint:
                    yield prompt_of(one.request.input)
                else:
                    yield None
        except FalInvokeError as error:  # all of it is paid, and most of it home
            log.warning("The manifest does not say what was asked for: %s", error)
        yield from itertools.repeat(None)

    def _goes_on(self, tally: Tally) -> bool:
        return not self._asked_to_stop and submits(tally, self.settings.on_item_failure, self._journal.head.stopped)

    def _followed_by(self, wave: Wave) -> Next:
        head, now = self._journal.head, time.time()
        self._blocked = wave.blocked
        since = None
        if isinstance(wave.blocked, FalInvokeRateLimitError):
            since = now if wave.accepted or head.blocked_since is None else head.blocked_since
        self._journal.note(
            stopped=head.stopped or wave.stopped,
            blocked_since=since,
            refused_in_a_row=wave.refused_in_a_row,
            unsaved_in_a_row=wave.unsaved_in_a_row,
        )
        tally = Tally.of(self._journal.items)
        return after_wave(
            tally,
            self.settings.max_in_flight,
            submits=self._goes_on(tally),
            blocked=wave.blocked is not None,
            blocked_since=since,
            cut=wave.cut,
            now=now,
        )

    def _report(self) -> None:
        log.info("%s", standing(Tally.of(self._journal.items), progress(self._journal.items, time.time())))
        if self._blocked is not None:
            log.warning("Nothing more could be submitted just now: %s", self._blocked)
