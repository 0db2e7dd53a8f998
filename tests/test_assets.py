"""What a task made reaches the asset events of its outlets, on every way by which a task ends."""

from __future__ import annotations

import itertools
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_falinvoke._compat import TaskDeferralTimeout
from airflow_provider_falinvoke.assets import LONGEST_URI, announce, manifest, uri_of
from airflow_provider_falinvoke.emulator import Emulator, Fault
from airflow_provider_falinvoke.operators.batch import FalInvokeBatchOperator
from airflow_provider_falinvoke.operators.falinvoke import FalInvokeOperator
from airflow_provider_falinvoke.sensors.falinvoke import FalInvokeSensor
from dags_examples.demo import run_for_its_assets
from tests.support.dags import run_dag, run_tasks, store
from tests.support.execution import Context, execute, operator
from tests.support.metadata import asset_events as events

FAST, SHORT, SLOW = "fal-ai/flux/schnell", "fal-ai/fast-sdxl", "fal-ai/flux/slow"
SMALL = {"prompt": "a fox", "image_size": {"width": 32, "height": 32}}

_numbers = itertools.count(1)


def asset(kind: str = "picture") -> Any:
    """Return an asset that no other test knows."""
    from airflow.sdk import Asset

    return Asset(f"test_{kind}_{next(_numbers)}")


def draw(**changes: Any) -> Any:
    given = {"task_id": "draw", "model_id": SHORT, "input": SMALL, "poll_interval": 0.05, **changes}
    return FalInvokeOperator(**given)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("s3://aws_default@bucket/a/b.png", "s3://bucket/a/b.png"),
        ("s3://bucket/a@b/c.png", "s3://bucket/a@b/c.png"),
        ("gs://google@bucket/b.png", "gs://bucket/b.png"),
        ("file:///tmp/a b.png", "file:///tmp/a%20b.png"),
        ("/tmp/a.png", "file:///tmp/a.png"),
        ("file:////tmp/a.png", "file:///tmp/a.png"),
        ("S3://bucket//a.png", "s3://bucket//a.png"),
        ("s3://bucket/take #1?.png", "s3://bucket/take%20%231%3F.png"),
        ("s3://bucket/100%25.png", "s3://bucket/100%2525.png"),
        ("s3://bucket/künstler/\u96ea.png", "s3://bucket/k%C3%BCnstler/%E9%9B%AA.png"),
        ("file://nas:8080/a.png", "file://nas:8080/a.png"),
        ("/tmp/\udcff.png", "file:///tmp/%ED%B3%BF.png"),
    ],
)
def test_a_file_is_known_by_its_uri_whatever_connection_wrote_it(path: str, uri: str) -> None:
    from airflow.sdk import Asset

    assert uri_of(path) == uri
    assert Asset(uri=uri).uri == uri, "Airflow takes it as it is"


@given(
    scheme=st.sampled_from(["s3", "gs", "file", "abfs", "hdfs"]),
    host=st.text(st.characters(exclude_characters="/@"), min_size=1),
    name=st.text(max_size=300),
)
@settings(max_examples=300, deadline=None)
def test_the_uri_of_any_path_is_one_that_airflow_takes_as_it_is_on_each_database(
    scheme: str, host: str, name: str
) -> None:
    """Airflow checks for ASCII on MySQL alone from 3.2 on, and always before."""
    from airflow.sdk.definitions import asset as definitions

    uri = uri_of(f"{scheme}://{'' if scheme == 'file' else host}/{name}.png")
    assume(len(uri) <= LONGEST_URI)
    with mock.patch.object(definitions, "SQL_ALCHEMY_CONN", "mysql://airflow", create=True):
        known = definitions.Asset(uri=uri)
    assert known.name == known.uri == uri
    assert uri.isascii()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_uri_leads_back_to_the_file(name: str) -> None:
    uri = uri_of(f"s3://conn@bucket/{name}")
    assert unquote(uri.removeprefix("s3://bucket/")) == name


def test_a_path_that_is_too_long_for_an_asset_is_said_and_the_others_get_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow.sdk import AssetAlias
    from airflow.sdk.execution_time.context import OutletEventAccessors

    alias, context = AssetAlias("files"), Context()
    context["outlet_events"] = OutletEventAccessors()
    files = [{"path": f"s3://bucket/{'a' * 1500}/1.png"}, {"path": "s3://bucket/2.png"}]
    announce(context, [alias], {"request_id": "the-id", "files": files})  # type: ignore[arg-type]  # the test's own
    (event,) = context["outlet_events"][alias].asset_alias_events
    assert (event.dest_asset_key.uri, event.extra) == ("s3://bucket/2.png", files[1])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "more than 1300" in record.getMessage()
    assert "the-id" in record.getMessage()


def test_an_outlet_that_airflow_cannot_find_or_store_is_said_and_the_others_get_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its api-server may be away for a moment, or not know the reference; NaN is nothing that PostgreSQL stores."""
    from airflow.sdk import Asset
    from airflow.sdk.execution_time.context import OutletEventAccessors

    known, context = Asset("known"), Context()
    context["outlet_events"] = accessors = OutletEventAccessors()
    with mock.patch.object(accessors, "_resolve_asset_ref", side_effect=RuntimeError("no such asset"), create=True):
        announce(
            context,  # type: ignore[arg-type]  # the test's own
            [Asset.ref(name="nowhere"), known],
            {"request_id": "the-id", "files": []},
        )
    assert accessors[known].extra == {"request_id": "the-id", "files": []}
    (said,) = (record.getMessage() for record in caplog.records)
    assert "nowhere" in said and "the-id" in said
    announce(context, [known], {"request_id": "other", "seconds": float("nan")})  # type: ignore[arg-type]  # the test's own
    assert accessors[known].extra == {"request_id": "other", "seconds": "NaN", "files": []}


def test_a_file_in_a_relative_folder_is_known_by_its_whole_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert uri_of("made/a.png") == f"file://{tmp_path}/made/a.png"


def test_the_manifest_is_the_result_without_the_models_output() -> None:
    result = {"request_id": "r", "files": [{"path": "/a"}], "output": {"images": ["https://expires"]}}
    assert manifest(result) == {"request_id": "r", "files": [{"path": "/a"}]}


def test_what_is_no_asset_is_left_alone() -> None:
    context = Context()
    announce(context, [object(), "s3://a/b"], {"files": []})  # type: ignore[arg-type]  # a context of the test's
    assert "outlet_events" not in context


@pytest.mark.usefixtures("airflow_db", "quick_deferral")
class TestInAirflow:
    @pytest.mark.parametrize(
        "way",
        [{"model_id": FAST}, {"deferrable": False}, {"defer_after": 0}],
        ids=["at once", "after a wait on the worker", "after a deferral"],
    )
    def test_the_event_of_an_asset_carries_the_manifest(
        self, way: dict[str, Any], emulator: Emulator, tmp_path: Path
    ) -> None:
        picture = asset()
        ran = run_tasks(lambda: draw(outlets=[picture], output_path=tmp_path.as_uri(), **way))
        assert ran.state == "success", ran.errors
        assert bool(ran.deferred) == ("defer_after" in way)
        ((_, extra),) = events(asset=picture)
        result = ran.results["draw"]
        assert extra == manifest(result)
        assert extra["request_id"] in emulator.jobs
        (file,) = extra["files"]
        assert Path(file["path"].removeprefix("file://")).stat().st_size == file["size"]
        assert len(json.dumps(extra)) < 1500

    def test_an_inline_file_is_not_in_the_event(self, emulator: Emulator, tmp_path: Path) -> None:
        picture = asset()
        sync = {**SMALL, "sync_mode": True}
        run_tasks(lambda: draw(model_id=FAST, input=sync, outlets=[picture], output_path=tmp_path.as_uri()))
        ((_, extra),) = events(asset=picture)
        assert len(json.dumps(extra)) < 1500
        assert len(extra["files"]) == len(emulator.jobs) == 1

    def test_a_reference_to_an_asset_gets_it_too(self, emulator: Emulator) -> None:
        from airflow.providers.standard.operators.empty import EmptyOperator
        from airflow.sdk import Asset

        picture = asset()
        run_tasks(lambda: EmptyOperator(task_id="knows_it", outlets=[picture]))
        run_tasks(lambda: draw(model_id=FAST, outlets=[Asset.ref(name=picture.name)]))
        (_, (_, extra)) = events(asset=picture)
        assert {extra["request_id"]} == set(emulator.jobs)

    @pytest.mark.parametrize("defer_after", [5, 0], ids=["on the worker", "after a deferral"])
    def test_an_alias_gets_each_file_as_an_asset(self, defer_after: int, emulator: Emulator, tmp_path: Path) -> None:
        from airflow.sdk import AssetAlias

        alias = AssetAlias(f"test_files_{next(_numbers)}")
        two = {**SMALL, "num_images": 2}
        ran = run_tasks(
            lambda: draw(input=two, outlets=[alias], output_path=tmp_path.as_uri(), defer_after=defer_after)
        )
        assert ran.state == "success", ran.errors
        files = ran.results["draw"]["files"]
        assert events(alias=alias) == [(file["path"], file) for file in files]
        assert {file["request_id"] for file in files} == set(emulator.jobs)
        assert len(files) == 2

    def test_an_alias_without_a_saved_file_gets_none_and_the_log_says_so(
        self, emulator: Emulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        from airflow.sdk import AssetAlias

        alias = AssetAlias(f"test_files_{next(_numbers)}")
        ran = run_tasks(lambda: draw(model_id=FAST, outlets=[alias]))
        assert ran.state == "success"
        assert events(alias=alias) == []
        assert f"{alias.name} gets no asset" in caplog.text
        assert len(emulator.jobs) == 1

    def test_each_mapped_task_sends_an_event_of_its_own(self, emulator: Emulator, tmp_path: Path) -> None:
        picture = asset()

        def build() -> None:
            mapped = FalInvokeOperator.partial(
                task_id="draw", model_id=FAST, outlets=[picture], output_path=tmp_path.as_uri()
            )
            mapped.expand(input=[{**SMALL, "prompt": word} for word in ("fox", "owl", "elk")])

        assert run_tasks(build).state == "success"
        found = {extra["request_id"]: extra["files"] for _, extra in events(asset=picture)}
        assert set(found) == set(emulator.jobs)
        assert len(found) == 3
        assert all(len(files) == 1 and request_id in files[0]["path"] for request_id, files in found.items())

    @pytest.mark.parametrize(
        "mode", [{}, {"mode": "poke"}, {"mode": "reschedule"}], ids=["deferrable", "poke", "reschedule"]
    )
    def test_the_sensor_sends_it_and_a_submit_alone_only_its_id(
        self, mode: dict[str, Any], emulator: Emulator, tmp_path: Path
    ) -> None:
        ordered, picture = asset("order"), asset()

        def build() -> None:
            submit = draw(wait_for_completion=False, outlets=[ordered])
            FalInvokeSensor(
                task_id="fetch",
                request_id=submit.output,
                outlets=[picture],
                output_path=tmp_path.as_uri(),
                poke_interval=0.1,
                poll_interval=0.1,
                **mode,
            )

        ran = run_tasks(build)
        assert ran.state == "success", ran.errors
        ((_, extra),) = events(asset=picture)
        assert extra == manifest(ran.results["fetch"])
        assert extra["files"]
        ((_, extra),) = events(asset=ordered)
        assert extra == {"request_id": next(iter(emulator.jobs)), "model_id": SHORT}

    def test_a_batch_sends_its_summary_and_an_alias_gets_its_manifest(self, emulator: Emulator, tmp_path: Path) -> None:
        """Thousands of files are no thousands of assets; the manifest names them all."""
        from airflow.sdk import AssetAlias

        pictures, alias = asset("pictures"), AssetAlias(f"test_files_{next(_numbers)}")
        ran = run_tasks(
            lambda: FalInvokeBatchOperator(
                task_id="draw",
                model_id=FAST,
                inputs=["a fox", "an owl"],
                output_path=tmp_path.as_uri(),
                outlets=[pictures, alias],
            )
        )
        assert ran.state == "success", ran.errors
        summary = ran.results["draw"]
        assert events(asset=pictures) == [(pictures.uri, summary)]
        assert events(alias=alias) == [(summary["manifest"], {"path": summary["manifest"], **summary})]
        assert (summary["done"], len(emulator.jobs)) == (2, 2)

    def test_a_failed_task_sends_none(self, emulator: Emulator) -> None:
        picture = asset()
        emulator.add_fault(Fault("fail"))
        assert run_tasks(lambda: draw(outlets=[picture])).state == "failed"
        assert events(asset=picture) == []

    def test_a_dag_that_is_scheduled_on_the_asset_reads_the_manifest(self, emulator: Emulator, tmp_path: Path) -> None:
        """Airflow's own scheduler makes its run out of the event; it comes by the run and by the inlet."""
        from airflow.sdk import DAG, AssetAlias, task

        picture, alias = asset(), AssetAlias(f"test_files_{next(_numbers)}")
        seen: dict[str, Any] = {}

        def reader(name: str, schedule: Any, inlets: list[Any]) -> DAG:
            with DAG(
                f"{name}_{picture.name}",
                schedule=schedule,
                start_date=datetime(2026, 1, 1),
                is_paused_upon_creation=False,
            ) as dag:

                @task(inlets=inlets)
                def read(triggering_asset_events: Any = None, inlet_events: Any = None) -> None:
                    seen[name] = [event.extra for sent in triggering_asset_events.values() for event in sent]
                    seen[f"{name} inlet"] = [event.extra for inlet in inlets for event in inlet_events[inlet]]

                read()
            store(dag)
            return dag

        readers = [reader("asset", picture, [picture]), reader("alias", alias, [alias])]
        ran = run_tasks(lambda: draw(outlets=[picture, alias], output_path=tmp_path.as_uri(), defer_after=0))
        for dag in readers:
            after = run_dag(dag, run_for_its_assets)
            assert after.state == "success", after.errors
        result = ran.results["draw"]
        assert seen["asset"] == seen["asset inlet"] == [manifest(result)]
        (file,) = result["files"]
        assert seen["alias"][0] == file
        assert seen["alias inlet"] == [file]
        assert len(emulator.posts()) == 1


@pytest.mark.parametrize("kind", ["operator", "sensor"])
def test_the_event_is_sent_where_airflow_itself_ended_the_wait(
    kind: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time.context import OutletEventAccessors

    picture, context = asset(), Context()
    context["outlet_events"] = OutletEventAccessors()
    request_id = execute(operator(model_id=FAST, wait_for_completion=False), context)

    def ends(*_: object) -> None:
        raise TaskDeferralTimeout("Trigger timeout")

    one: Any = operator(outlets=[picture])
    monkeypatch.setattr("airflow.sdk.BaseOperator.resume_execution", ends)
    if kind == "sensor":
        one = FalInvokeSensor(task_id="fetch", request_id=request_id, outlets=[picture])
    one.resume_execution("execute_complete", None, context)
    assert context["outlet_events"][picture].extra["request_id"] == request_id
    assert len(emulator.posts()) == 1
