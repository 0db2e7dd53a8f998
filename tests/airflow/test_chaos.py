"""Whatever breaks, a job is paid once and its result is there, or the doubt is reported. ``make chaos`` runs this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from tests.airflow import chaos, storm
from tests.airflow.lab import Lab, opened
from tests.airflow.rows import ALONE, TOGETHER
from tests.airflow.submits import SUBMITS

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with opened(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def report(findings: list[chaos.Finding], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{chaos.table(findings)}")
    problems = [f"{finding.row.name} ({finding.path}): {finding.problem}" for finding in findings if finding.problem]
    assert not problems, "\n\n".join(problems)


def together(lab: Lab, rows: Sequence[chaos.Row], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print()
        findings = chaos.run_together(lab, rows, partial(print, flush=True))
    report(findings, capsys)


def test_faults_of_one_job(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    together(lab, TOGETHER, capsys)


def test_faults_around_the_submit(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    together(lab, SUBMITS, capsys)


def test_faults_of_what_all_jobs_share(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    report(chaos.run_alone(lab, ALONE), capsys)


@pytest.mark.parametrize("seed", storm.seeds(), ids=lambda seed: f"seed {seed}")
def test_a_storm_of_all_that_can_happen(seed: int, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nThe storm has the seed {seed}: FALINVOKE_CHAOS_SEED={seed} draws it again", flush=True)
        found = storm.run(lab, seed)
        print(found)
    problems = {
        "paid though nobody asked": found.twice,
        "lost": found.lost,
        "failed for good though nothing was sent": found.for_nothing,
    }
    told = [f"{what}: {one}" for what, these in problems.items() for one in these]
    assert not told, "\n\n".join(told)
    assert found.results + found.by_hand >= found.jobs
