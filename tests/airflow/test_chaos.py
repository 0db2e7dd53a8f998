"""Whatever breaks, a job is paid once and its result comes home, or the doubt is reported. ``make chaos`` runs this."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.airflow import chaos, storm
from tests.airflow.lab import Lab, opened

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


def test_faults_of_one_job(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    report(chaos.run_together(lab), capsys)


def test_200_jobs_while_tasks_and_triggerers_are_killed_at_random(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    found = storm.run(lab)
    with capsys.disabled():
        print(f"\n{found}")
    assert not found.paid_twice
    assert not found.other, "\n".join(found.other)
    assert found.results + found.ambiguous == storm.JOBS
    assert found.posts <= storm.JOBS
    assert found.results > storm.JOBS * 0.8, "most kills hit a job whose request_id is stored"


def test_faults_of_what_all_jobs_share(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    report(chaos.run_alone(lab), capsys)
