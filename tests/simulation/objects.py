"""A storage behind fsspec that is neither this machine's nor one that the package knows: ``sim://``."""

from __future__ import annotations

import io
from typing import Any

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # no stubs
from upath import UPath

from tests.simulation.blows import Kind
from tests.simulation.world import World

PROTOCOL = "sim"


class StorageAwayError(Exception):
    """Each storage has errors of its own: this one's is no OSError."""


class ObjectsPath(UPath):
    """What ObjectStoragePath makes of its paths."""


class Objects(AbstractFileSystem):  # type: ignore[misc]  # untyped
    """The files by their paths. What is written shows at once, as on a file server; all of it survives."""

    protocol = PROTOCOL
    cachable = False
    root_marker = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.world: World | None = None
        self.empty()

    def empty(self) -> None:
        """Hold nothing."""
        self.held: dict[str, bytes] = {}
        self._folders: set[str] = set()

    def files(self) -> dict[str, bytes]:
        """Return all files by their paths."""
        return dict(sorted(self.held.items()))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder."""
        del exist_ok
        path = self._strip_protocol(path)
        if path not in self._folders:
            self._do(f"mkdir {path}", lambda: self._folders.add(path))

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder."""
        del create_parents
        self.makedirs(path)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        path = self._strip_protocol(path)
        if mode == "rb":
            return io.BytesIO(self._do(f"read {path}", lambda: self._bytes(path)))
        if mode == "xb":
            self._do(f"claim {path}", lambda: self._claim(path))
        else:
            self._do(f"create {path}", lambda: self.held.__setitem__(path, b""))
        return _File(self, path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return bytes of a file."""
        path = self._strip_protocol(path)
        data: bytes = self._do(f"read {path}", lambda: self._bytes(path))
        return data[start:end]

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        """Rename a file."""
        one, two = self._strip_protocol(path1), self._strip_protocol(path2)

        def rename() -> None:
            self.held[two] = self._bytes(one)
            del self.held[one]

        self._do(f"rename {one} to {two}", rename)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        path = self._strip_protocol(path)

        def remove() -> None:
            self._bytes(path)
            del self.held[path]

        self._do(f"remove {path}", remove)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove a file."""
        del recursive, maxdepth
        self.rm_file(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder."""
        path = self._strip_protocol(path).rstrip("/")

        def entries() -> list[Any]:
            found: dict[str, dict[str, Any]] = {}
            for name, data in self.held.items():
                if name == path:
                    return [{"name": name, "size": len(data), "type": "file"}]
                if name.startswith(f"{path}/"):
                    child, below, _ = name[len(path) + 1 :].partition("/")
                    kind = "directory" if below else "file"
                    found[f"{path}/{child}"] = {"name": f"{path}/{child}", "size": len(data), "type": kind}
            if not found and path not in self._folders:
                raise FileNotFoundError(path)
            return list(found.values())

        listed = self._do(f"list {path}", entries)
        return listed if detail else [entry["name"] for entry in listed]

    def _bytes(self, path: str) -> bytes:
        try:
            return self.held[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _claim(self, path: str) -> None:
        if path in self.held:
            raise FileExistsError(path)
        self.held[path] = b""

    def _do(self, name: str, effect: Any, torn: Any = None) -> Any:
        assert self.world is not None, "it is used in a world alone"
        return self.world.do(
            Kind.STORAGE, name, effect, torn=torn, before=lambda: StorageAwayError("the storage does not answer")
        )


class _File:
    """A file that is written."""

    closed = False

    def __init__(self, objects: Objects, path: str) -> None:
        self._objects = objects
        self._path = path

    def write(self, data: bytes) -> int:
        def put(some: bytes) -> int:
            self._objects.held[self._path] = self._objects.held.get(self._path, b"") + some
            return len(data)

        whole = bytes(data)
        written: int = self._objects._do(
            f"write {self._path}", lambda: put(whole), torn=lambda: put(whole[: len(whole) // 2])
        )
        return written

    def flush(self, force: bool = False) -> None:
        del force

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


#: Airflow keeps a storage for as long as the process lives; each world takes this one over.
OBJECTS = Objects()
