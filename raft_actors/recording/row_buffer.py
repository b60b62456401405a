"""The bounded place where rows wait for the disk.

Here:   `RowBuffer`: offer from any thread, take from one; what does not fit is dropped and counted.
Never:  threads, files, what a row holds.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from raft_actors.recording.schema import Row

ROW_BYTES: Final = 1024
"""What a row of about 16 numbers and short names takes as a dict, beside its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Rows of one frame: one as it is, or an encoded batch."""

    frame: str
    content: Row | bytes


class RowBuffer:
    """Rows on their way to the disk, `bytes_max` of them. Its lock is held for an append or a swap, never over I/O."""

    def __init__(self, bytes_max: int) -> None:
        assert bytes_max > 0, f"a buffer of {bytes_max} bytes holds nothing"
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._waiting: list[Waiting] = []
        self._bytes = 0
        self._shut = False
        self._dropped: Counter[str] = Counter()

    def offer_row(self, frame: str, row: Row) -> None:
        """Keep the row if there is room."""
        text_bytes = sum(len(value) for value in row.values() if type(value) is str)
        self._offer(frame, row, row_count=1, size_bytes=ROW_BYTES + text_bytes)

    def offer_batch(self, frame: str, data: bytes, row_count: int) -> None:
        """Keep the encoded batch, all of it or nothing, if there is room."""
        self._offer(frame, data, row_count=row_count, size_bytes=ROW_BYTES + len(data))

    def _offer(self, frame: str, content: Row | bytes, *, row_count: int, size_bytes: int) -> None:
        with self._lock:
            if self._shut or self._bytes + size_bytes > self._bytes_max:
                self._dropped[frame] += row_count
                return
            self._bytes += size_bytes
            self._waiting.append(Waiting(frame=frame, content=content))

    def take(self) -> list[Waiting]:
        """All that waits, in the order of its arrival; the buffer is empty afterwards."""
        with self._lock:
            taken, self._waiting, self._bytes = self._waiting, [], 0
        return taken

    def shut(self) -> None:
        """Take nothing more: later rows are dropped and counted. What waits may still be taken."""
        with self._lock:
            self._shut = True

    def dropped(self) -> dict[str, int]:
        """Rows dropped so far, by frame; frames without a loss are not listed."""
        with self._lock:
            return dict(self._dropped)
