"""A case, played: tries, and what Airflow and a user do after each."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from airflow_provider_falinvoke._compat import AirflowFailException
from airflow_provider_falinvoke.exceptions import FalInvokeAmbiguousSubmitError
from tests.simulation.invariants import Invariants
from tests.simulation.stage import Case, Deferral, Stage
from tests.simulation.world import EndlessError, Process

#: More tries than any two outages are worth.
MOST_TRIES = 16


class Ending(Enum):
    """How a try ended, as Airflow sees it."""

    SUCCESS = "success"
    FAILED = "failed"
    FAILED_FOR_GOOD = "failed for good"
    DIED = "died"
    FROZEN = "frozen"


class Story:
    """Plays a case to its end; what it finds is in ``invariants``."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.invariants = Invariants(stage)
        self._followed = False
        self._frozen: list[Process] = []

    def play(self) -> None:
        """Try until it succeeds, as Airflow's retries and a patient user do."""
        ending = self._try()
        for _ in range(MOST_TRIES):
            if self._is_over(ending):
                break
            self._follow(ending)
            frozen, self._frozen = self._frozen, []
            ending = self._try()
            self._wake(frozen)
        else:
            self.invariants.found("a retry ends", f"no success after {MOST_TRIES} tries: {ending.value}")
        self._wake(self._frozen)
        self.invariants.at_the_end()

    def _is_over(self, ending: Ending) -> bool:
        """Whether Airflow does nothing more: it knows of a success, whatever the process came to since."""
        to_be_cleared = self.stage.case.then == "clear" and not self._followed
        return ending is Ending.SUCCESS or (self.stage.airflow.succeeded and not to_be_cleared)

    def _wake(self, frozen: list[Process]) -> None:
        for process in frozen:
            self.stage.world.wake(process)
            self._note(process)

    def _follow(self, ending: Ending) -> None:
        """Clear the task where a user would: because the case says so, or because Airflow does not retry it."""
        cleared = self.stage.case.then == "clear" and not self._followed
        self._followed = True
        if cleared or ending is Ending.FAILED_FOR_GOOD:
            self.invariants.cleared()
            self.stage.airflow.clear()

    def _try(self) -> Ending:
        stage, attempt = self.stage, self.stage.airflow.begin()
        process = stage.execute(attempt)
        while (ending := self._note(process)) is Ending.SUCCESS and isinstance(process.result, Deferral):
            deferral = process.result
            awaited = stage.fire(attempt, deferral)
            while (gone := self._note(awaited)) in (Ending.DIED, Ending.FROZEN):
                if stage.case.then == "clear" and not self._followed:
                    return gone  # cleared while it was deferred
                awaited = stage.fire(attempt, deferral)  # another triggerer takes it over
            process = stage.resume(attempt, deferral, awaited)
        return ending

    def _note(self, process: Process) -> Ending:
        """Return how a process ended, and check what must hold then."""
        if process.frozen:
            self._frozen.append(process)
            return Ending.FROZEN
        self.invariants.after(process)
        if isinstance(process.error, EndlessError):
            raise process.error
        if process.dead:  # whatever Python made of that on its way out
            return Ending.DIED
        if process.error is None:
            return Ending.SUCCESS
        for_good = isinstance(process.error, AirflowFailException)
        self.invariants.failed(process, doubtful=is_doubt(process.error), for_good=for_good)
        return Ending.FAILED_FOR_GOOD if for_good else Ending.FAILED


def is_doubt(error: BaseException | None) -> bool:
    """Whether an error says that nobody knows whether a job is paid."""
    return error is not None and (isinstance(error, FalInvokeAmbiguousSubmitError) or is_doubt(error.__cause__))


def play(case: Case) -> Story:
    """Play a case."""
    stage = Stage(case)
    with stage.set_up():
        story = Story(stage)
        story.play()
    return story


def outcome_of(story: Story) -> Any:
    """Return what a case came to, for a comparison with others."""
    return json.loads(json.dumps(story.invariants.outcome))
