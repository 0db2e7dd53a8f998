"""An S3 server (moto's) in a process of its own, and an Airflow connection to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_CODE = """
import logging, time
from moto.server import ThreadedMotoServer
logging.disable(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
time.sleep(1e6)
"""
_KEYS = {"aws_access_key_id": "some-key", "aws_secret_access_key": "some-secret", "region_name": "us-east-1"}


@dataclass(frozen=True)
class Bucket:
    """A bucket on the server.

    :param url: of the server.
    """

    url: str
    client: Any

    @property
    def path(self) -> str:
        """A folder of the bucket, as ``output_path`` takes it."""
        return "s3://bench_s3@bucket/files"

    @property
    def environment(self) -> dict[str, str]:
        """The connection that the path names."""
        extra = {"endpoint_url": self.url, "region_name": _KEYS["region_name"]}
        connection = {"conn_type": "aws", "login": "some-key", "password": "some-secret", "extra": extra}
        return {"AIRFLOW_CONN_BENCH_S3": json.dumps(connection), "BENCH_S3_URL": self.url}

    def empty(self) -> None:
        """Forget all objects."""
        for item in self.client.list_objects_v2(Bucket="bucket").get("Contents", []):
            self.client.delete_object(Bucket="bucket", Key=item["Key"])


def client_of(url: str) -> Any:
    """Return a client for the server."""
    import boto3  # type: ignore[import-untyped]  # no stubs

    return boto3.client("s3", endpoint_url=url, **_KEYS)


@contextmanager
def serving() -> Iterator[Bucket]:
    """Serve on a free port, with an empty bucket."""
    with subprocess.Popen([sys.executable, "-c", _CODE], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None, "it was asked for"
            host, port = process.stdout.readline().split()
            url = f"http://{host}:{port}"
            client = client_of(url)
            client.create_bucket(Bucket="bucket")
            yield Bucket(url, client)
        finally:
            process.kill()
