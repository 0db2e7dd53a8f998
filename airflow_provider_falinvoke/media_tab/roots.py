"""What ``[falinvoke] media_roots`` lets the tab read: places compared by whole segments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

#: A longer path names no file of ours, and is a burden to whoever reads it.
LONGEST = 4096
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
#: One storage under several names.
_ALIASES = {"local": "file", "s3a": "s3", "s3n": "s3", "gcs": "gs"}
#: More layers of percent encoding than this hide something.
_LAYERS = 4


class Place(NamedTuple):
    """Where a path leads.

    :param protocol: of its storage, ``file`` for the local disk.
    :param segments: the rest, divided at the slashes; the first one names connection and bucket, and is empty for an
        absolute path on the local disk.
    """

    protocol: str
    segments: tuple[str, ...]


def place_of(path: str) -> Place | None:
    """Return where a path leads; None for an empty one, and one that hides it by dots, encoding or chained storages."""
    if not path or len(path) > LONGEST or "::" in path or any(map(_hides, path.split("/"))):
        return None
    found = _SCHEME.fullmatch(path)
    name, rest = (found[1].lower(), found[2]) if found else ("file", path)
    protocol = _ALIASES.get(name, name)
    segments = rest.rstrip("/").split("/")
    if protocol == "file":  # for a disk, several slashes are one
        segments = [*segments[:1], *filter(None, segments[1:])]
    return Place(protocol, tuple(segments))


def lies_within(path: str, roots: Iterable[str]) -> bool:
    """Whether a path leads to a root, or below one."""
    place = place_of(path)
    return place is not None and any(_is_below(place, place_of(root)) for root in roots)


def _is_below(place: Place, root: Place | None) -> bool:
    if root is None or (root.protocol == "file" and root.segments[0]):  # no root, but relative to who knows what
        return False
    return place.protocol == root.protocol and place.segments[: len(root.segments)] == root.segments


def _hides(segment: str) -> bool:
    """Whether a segment is, or may be read by a storage as, another one or several."""
    for _ in range(_LAYERS):
        if segment in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", segment):
            return True
        decoded = unquote(segment)
        if decoded == segment:
            return False
        segment = decoded
    return True
