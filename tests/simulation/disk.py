"""A local disk: each step that the package takes on it is an operation, and what it did not sync can be lost.

The files are real ones, in memory where there is such a folder. What survives a loss of power are the bytes of files
that were synced, under names that their folder's sync made sure of; with a synced folder goes the way to it, as on
ext4, XFS and Btrfs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO
from unittest import mock

from tests.simulation.blows import Kind
from tests.simulation.world import World

_MEMORY = "/dev/shm"
_real = {name: getattr(os, name) for name in ("replace", "rename", "remove", "unlink", "listdir", "mkdir", "rmdir")}
_fsync, _open, _link = os.fsync, os.open, os.link


class Disk:
    """The folder ``root``, and what of it is safe."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.root = tempfile.mkdtemp(prefix="simulated-", dir=_MEMORY if Path(_MEMORY).is_dir() else None)
        #: Bytes that are safe, by inode.
        self._bytes: dict[int, bytes] = {}
        #: Names that are safe, by folder: the inode, or None for a folder.
        self._names: dict[str, dict[str, int | None]] = {}
        #: What dead processes leave open.
        self._open_files: list[IO[Any]] = []
        #: Whether it is the simulation itself that works on the files.
        self._own = False

    @property
    def path(self) -> str:
        """Where tasks keep their files."""
        return f"file://{self.root}/out"

    def close(self) -> None:
        """Remove it."""
        for file in self._open_files:
            file.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def files(self) -> dict[str, bytes]:
        """Return all files by their names below ``root``."""
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                found[str(path.relative_to(self.root))] = path.read_bytes()
        return dict(sorted(found.items()))

    def lose_power(self, names_survive: bool) -> None:
        """Lose what was not synced: the bytes, and the names too unless they survive."""
        self._own = True
        try:
            self._keep_what_is_safe(names_survive)
        finally:
            self._own = False
        self.settle()

    def _keep_what_is_safe(self, names_survive: bool) -> None:
        kept: dict[str, bytes] = {}
        if names_survive:
            for name in self.files():
                inode = Path(self.root, name).stat().st_ino
                kept[name] = self._bytes.get(inode, b"")
        else:
            self._collect(self.root, kept)
        for entry in Path(self.root).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for name, data in kept.items():
            path = Path(self.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def settle(self) -> None:
        """Make all that is there safe."""
        self._bytes.clear()
        self._names.clear()
        for folder, folders, names in os.walk(self.root):
            inodes = {name: Path(folder, name).stat().st_ino for name in names}
            self._names[folder] = {**inodes, **dict.fromkeys(folders)}
            for name, inode in inodes.items():
                self._bytes[inode] = Path(folder, name).read_bytes()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand between the package and the operating system, for paths below ``root``."""
        one = self._one
        with ExitStack() as stack:
            stack.enter_context(mock.patch("fsspec.implementations.local.open", self._opened, create=True))
            for name, real in _real.items():
                stack.enter_context(mock.patch.object(os, name, one(name, real)))
            stack.enter_context(mock.patch.object(os, "link", one("link", _link)))
            stack.enter_context(mock.patch.object(os, "fsync", self._synced))
            stack.enter_context(mock.patch.object(os, "open", self._descriptor))
            yield

    def _is_here(self, path: Any) -> bool:
        return (
            not self._own
            and isinstance(path, (str, os.PathLike))
            and os.fsdecode(os.fspath(path)).startswith(self.root)
        )

    def _short(self, path: Any) -> str:
        return os.fsdecode(path)[len(self.root) + 1 :]

    def _one(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(path: Any, *more: Any, **options: Any) -> Any:
            if not self._is_here(path) or (name == "mkdir" and Path(path).is_dir()):
                return real(path, *more, **options)
            verb = "list" if name == "listdir" else name
            to = f" to {self._short(more[0])}" if more and self._is_here(more[0]) else ""
            return self._world.do(Kind.STORAGE, f"{verb} {self._short(path)}{to}", lambda: real(path, *more, **options))

        return operation

    def _opened(self, path: Any, mode: str = "r", **options: Any) -> Any:
        if not self._is_here(path):
            return open(path, mode, **options)  # noqa: PTH123 - it stands for that very function
        name = f"{'read' if mode.startswith('r') else 'create'} {self._short(path)}"

        def open_it() -> Any:
            self._open_files.append(open(path, mode, **options))  # noqa: PTH123, SIM115 - as above
            return self._open_files[-1]

        file = self._world.do(Kind.STORAGE, name, open_it)
        return file if mode.startswith("r") else _File(self._world, file, self._short(path))

    def _descriptor(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not (self._is_here(path) and flags & os.O_CREAT):
            return _open(path, flags, *more, **options)
        return self._world.do(Kind.STORAGE, f"create {self._short(path)}", lambda: _open(path, flags, *more, **options))

    def _synced(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = str(Path(f"/proc/self/fd/{number}").readlink())
        if not self._is_here(path):
            _fsync(number)
            return
        self._world.do(Kind.STORAGE, f"fsync {self._short(path)}", lambda: self._make_safe(number, path))

    def _make_safe(self, number: int, path: str) -> None:
        if not Path(path).is_dir():
            self._bytes[os.fstat(number).st_ino] = Path(f"/proc/self/fd/{number}").read_bytes()
            return
        with os.scandir(path) as entries:
            self._names[path] = {entry.name: None if entry.is_dir() else entry.inode() for entry in entries}
        while path != self.root:
            path, _, name = path.rpartition("/")
            self._names.setdefault(path, {})[name] = None

    def _collect(self, folder: str, kept: dict[str, bytes]) -> None:
        for name, inode in self._names.get(folder, {}).items():
            if inode is None:
                self._collect(f"{folder}/{name}", kept)
            else:
                kept[self._short(f"{folder}/{name}")] = self._bytes.get(inode, b"")


class _File:
    """A file that is written; its bytes are in the system's hands, and not on the disk, until it is synced."""

    def __init__(self, world: World, file: BinaryIO, name: str) -> None:
        self._world = world
        self._file = file
        self._name = name

    def write(self, data: bytes) -> int:
        def put(what: Any) -> int:
            self._file.write(what)
            self._file.flush()
            return len(data)

        return self._world.do(
            Kind.STORAGE, f"write {self._name}", lambda: put(data), torn=lambda: put(bytes(data)[: len(data) // 2])
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
