"""An S3 server on loopback, as batches write to."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from unittest import mock
from uuid import uuid4

import pytest

BUCKET = "batches"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Yield the URL of the bucket, with the connection in it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = {
        "conn_type": "aws",
        "login": "key",
        "password": "secret",
        "extra": {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"},
    }
    with mock.patch.dict(os.environ, {"AIRFLOW_CONN_BATCH_S3": json.dumps(connection)}):
        from airflow.sdk import ObjectStoragePath

        ObjectStoragePath(f"s3://batch_s3@{BUCKET}").fs.mkdir(BUCKET)
        yield f"s3://batch_s3@{BUCKET}"
    server.stop()


@pytest.fixture
def s3(s3_server: str) -> str:
    """Return a folder of its own on the S3 server."""
    return f"{s3_server}/{uuid4().hex}"
