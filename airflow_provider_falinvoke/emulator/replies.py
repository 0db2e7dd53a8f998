"""Requests and replies as plain values, so that every decision is made without a socket."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

# whole: as it is; cut: headers and half of the body, then closed; drop: closed at once; reset: the same by a TCP reset.
Delivery = Literal["whole", "cut", "drop", "reset"]


@dataclass(frozen=True)
class Request:
    """An HTTP request.

    :param path: the path as it was sent, still percent-encoded, without the query.
    :param headers: names in lower case.
    :param too_large: whether the body was larger than the server takes; it is left out then.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    too_large: bool = False


@dataclass(frozen=True)
class Reply:
    """An HTTP reply and how it is delivered.

    :param wait_first: seconds of the wall clock to wait before the headers.
    :param wait_between: seconds of the wall clock to wait between the first and the second half of the body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delivery: Delivery = "whole"
    wait_first: float = 0.0
    wait_between: float = 0.0

    @property
    def shown_status(self) -> int | None:
        """The status that the client gets to see, None if the connection is dropped before."""
        return None if self.delivery in ("drop", "reset") else self.status


def json_reply(status: int, document: Any) -> Reply:
    """Return a reply with a JSON document."""
    return Reply(status, {"content-type": "application/json"}, json.dumps(document).encode())


def error_body(error_id: str, message: str) -> dict[str, str]:
    """Return an error body of the API. Its ``request_id`` names the HTTP request and never a job, as the API's does."""
    return {"id": error_id, "message": message, "request_id": str(uuid4())}


def error_reply(status: int, error_id: str, message: str) -> Reply:
    """Return a reply with an error body of the API."""
    return json_reply(status, error_body(error_id, message))


def unauthorized() -> Reply:
    """Return the answer to a missing or unknown key, word for word."""
    return json_reply(401, {"id": "unauthorized", "message": "Unable to authenticate you."})
