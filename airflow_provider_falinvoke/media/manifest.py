"""What is known of each saved file, as it goes into XCom, asset events and the manifest beside the files."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer

#: ISO 8601 with an offset, which every supported Python reads back.
Moment = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str, when_used="json")]


class MediaFile(BaseModel):
    """One file brought home; None for what does not apply, or is not known.

    :param path: where it lies, as ObjectStoragePath takes it.
    :param size: bytes.
    :param sha256: of its bytes, in hex.
    :param content_type: recognised from its bytes.
    :param width: pixels.
    :param height: pixels.
    :param duration: seconds.
    :param sample_rate: Hz.
    :param number: its place in the output, from 1.
    :param seed: what the model says that it was made from.
    :param flagged: whether the model's safety checker flagged it.
    :param source_url: where it was, without the query; ``inline`` where the output held the file itself.
    :param created_at: when the job was.
    :param completed_at: when the job was.
    :param saved_at: when the file was whole and in its place.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, protected_namespaces=())

    path: str
    size: int
    sha256: str
    content_type: str
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    sample_rate: int | None = None
    number: int
    seed: int | None = None
    flagged: bool | None = None
    source_url: str
    model_id: str | None = None
    request_id: str | None = None
    created_at: Moment | None = None
    completed_at: Moment | None = None
    saved_at: Moment

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for XCom."""
        return self.model_dump(mode="json")
