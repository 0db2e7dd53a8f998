"""One file on its way in: hashed, recognised, measured and written, while the network already brings the next bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from airflow_provider_falinvoke.api.transfer import MediaFailedError
from airflow_provider_falinvoke.media.containers import Kind
from airflow_provider_falinvoke.media.recognise import HEAD_BYTES, Ends, Measures, recognise
from airflow_provider_falinvoke.media.store import Folder, NewFile

#: Bytes that are handled at once, large enough for the hash to leave Python's lock to the network.
_BLOCK = 1 << 20
#: Blocks that may wait for the storage before the network has to.
_WAITING = 2


@dataclass(frozen=True)
class TakenIn:
    """A file that is whole and in its place.

    :param name: its name in the folder.
    :param size: bytes.
    """

    name: str
    size: int
    sha256: str
    kind: Kind
    measures: Measures


class Allowance:
    """The bytes that all files of a job may have together; their threads share it.

    :param max_bytes: how many.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take some of them, or give them back with a negative ``count``.

        :raises MediaFailedError: there are not that many left.
        """
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise MediaFailedError(
                    f"the files of the job have more than {self._max_bytes} bytes together (max_total_size)",
                    lasting=True,
                )


class Intake:
    """Takes a file in. The bytes come in one thread, and are handled, in their order, in another one.

    :param folder: where it goes.
    :param name_of: gives the file's name from its extension, once its first bytes have told that.
    :param declared: the content type that the output says, if any.
    :param allowance: what this file takes its bytes from.
    :param quote: whether an error may show what a text says that came in place of a file.
    """

    def __init__(
        self,
        folder: Folder,
        name_of: Callable[[str], str],
        declared: str | None,
        allowance: Allowance,
        *,
        quote: bool = True,
    ) -> None:
        self._folder = folder
        self._name_of = name_of
        self._declared = declared
        self._allowance = allowance
        self._quote = quote
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="falinvoke-write")
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._waiting: deque[Future[None]] = deque()
        self._file: NewFile | None = None
        self._begin()

    def restart(self) -> None:
        """Forget what came before: the file comes from its start."""
        self._settle()
        self._discard()
        self._allowance.take(-self._size)
        self._begin()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; waits where the storage is slower than the network."""
        self._size += len(chunk)
        self._allowance.take(len(chunk))
        self._block.append(chunk)
        self._block_bytes += len(chunk)
        if self._block_bytes >= _BLOCK:
            self._hand_over()

    def finish(self) -> TakenIn:
        """Put the file under its name."""
        self._hand_over()
        while self._waiting:
            self._waiting.popleft().result()
        if self._file is None:
            self._open()
        assert self._file is not None, "it was opened"
        self._file.commit()
        self._file = None
        return TakenIn(
            self._name, self._ends.size, self._sha256.hexdigest(), self._kind, self._ends.measure(self._kind)
        )

    def close(self) -> None:
        """End the other thread; a file that was not finished leaves nothing behind."""
        self._settle()
        self._pool.shutdown()
        self._discard()

    def _discard(self) -> None:
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _begin(self) -> None:
        self._size = 0
        self._block.clear()
        self._block_bytes = 0
        self._sha256 = hashlib.sha256()
        self._ends = Ends()
        self._head = bytearray()

    def _settle(self) -> None:
        """Let what was handed over come to its end, whichever it is."""
        for future in self._waiting:
            future.cancel()
        for future in self._waiting:
            if not future.cancelled():
                future.exception()
        self._waiting.clear()

    def _hand_over(self) -> None:
        block = b"".join(self._block)
        self._block.clear()
        self._block_bytes = 0
        if len(self._waiting) >= _WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._take, block))

    def _take(self, block: bytes) -> None:
        self._sha256.update(block)
        self._ends.feed(block)
        if self._file is not None:
            self._file.write(block)
        else:
            self._head += block
            if len(self._head) >= HEAD_BYTES:
                self._open()

    def _open(self) -> None:
        self._kind = recognise(bytes(self._head[:HEAD_BYTES]), self._declared, quote=self._quote)
        self._name = self._name_of(self._kind.extension)
        self._file = self._folder.new_file(self._name, self._kind.content_type)
        self._file.write(bytes(self._head))
        self._head.clear()
