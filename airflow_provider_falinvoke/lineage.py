"""What OpenLineage is told of a task: the files that it saved. Its provider is imported only when it asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_falinvoke.assets import location
from airflow_provider_falinvoke.side_effects import not_stopping_the_task

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import OutputDataset


class ReportsLineage:
    """A task that tells OpenLineage which files it saved, on the worker or after a deferral."""

    #: The result, kept in memory: OpenLineage asks in the process, or a fork of it, that ran the task's last part.
    brought_home: Mapping[str, Any] | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return each saved file as an output dataset, and the job's id; called by the OpenLineage provider."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import external_query_run

        del task_instance
        result = self.brought_home
        if result is None:
            return OperatorLineage()
        job = external_query_run.ExternalQueryRunFacet(
            externalQueryId=str(result["request_id"]), source=str(result["model_id"])
        )
        outputs = []
        for file in result["files"]:
            with not_stopping_the_task(f"OpenLineage is not told of {file.get('path')}", job.externalQueryId):
                outputs.append(_dataset(file, result))
        return OperatorLineage(outputs=outputs, run_facets={"externalQuery": job})


def naming(path: str) -> tuple[str, str]:
    """Return a file's namespace and name, as OpenLineage's naming conventions have them."""
    scheme, host, name = location(path)
    if scheme == "file":
        return f"file://{host}" if host else "file", name
    return f"{'gs' if scheme == 'gcs' else scheme}://{host}", name.lstrip("/")


def _dataset(file: Mapping[str, Any], result: Mapping[str, Any]) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import (
        DatasetFacet,
        dataset_version_dataset,
        documentation_dataset,
        output_statistics_output_dataset,
    )

    facets: dict[str, DatasetFacet] = {
        "documentation": documentation_dataset.DocumentationDatasetFacet(
            description=f"{file.get('content_type')} made by {result['model_id']} in the job {result['request_id']}"
        )
    }
    if file.get("sha256"):
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=file["sha256"])
    written = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(size=file["size"], fileCount=1)
    namespace, name = naming(file["path"])
    return OutputDataset(namespace, name, facets=facets, outputFacets={"outputStatistics": written})
