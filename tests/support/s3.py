"""A real S3 server on this machine (moto's), and buckets on it, as a user's Airflow reaches one."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_numbers = itertools.count(1)
CONN_ID = "falinvoke_s3"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of its own on a running server.

    :param url: of the server, which a connection names as ``endpoint_url``, as DigitalOcean Spaces need it.
    :param bucket: its name.
    """

    url: str
    bucket: str
    client: Any

    @property
    def connection_json(self) -> str:
        """An Airflow connection to the server, for ``AIRFLOW_CONN_…``."""
        extra = {"endpoint_url": self.url, "region_name": "us-east-1"}
        return json.dumps({"conn_type": "aws", "login": "spaces-key", "password": "spaces-secret", "extra": extra})

    def path(self, prefix: str = "made") -> str:
        """Return a folder of the bucket as ``output_path`` takes it."""
        return f"s3://{CONN_ID}@{self.bucket}/{prefix}"

    def objects(self) -> dict[str, bytes]:
        """Return what lies in the bucket, by its key."""
        listed = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            item["Key"]: self.client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read() for item in listed
        }

    def content_type(self, key: str) -> str:
        """Return an object's content type."""
        return str(self.client.head_object(Bucket=self.bucket, Key=key)["ContentType"])

    def unfinished(self) -> list[str]:
        """Return the keys of uploads that were begun and neither completed nor given up."""
        return [item["Key"] for item in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]


@contextmanager
def s3_serving() -> Iterator[tuple[str, Any]]:
    """Serve on a free port; give the URL and a client."""
    import boto3  # type: ignore[import-untyped]  # no stubs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        yield (
            url,
            boto3.client(
                "s3",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id="spaces-key",
                aws_secret_access_key="spaces-secret",
            ),
        )
    finally:
        server.stop()


def new_bucket(url: str, client: Any) -> Bucket:
    """Make an empty bucket."""
    name = f"bucket-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    return Bucket(url, name, client)
