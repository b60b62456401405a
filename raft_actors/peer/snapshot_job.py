"""One snapshot on its way into a file, and when another may be begun after one that failed.

Here:   `Job`, `BackOff`: what snapshots.py notes down.
Never:  decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from raft_actors.application.slices import SliceWay
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import MemberId, WriteSeq

RETRY_MS: Final = (1_000, 60_000)
"""First and longest wait after a snapshot that failed."""


@dataclass(slots=True, kw_only=True)
class Job:
    number: int
    source: MemberId | None
    """None: our own application."""
    began_ms: int
    progress_ms: int
    meta: SnapshotMeta | None = None
    after: WriteSeq = WriteSeq(0)
    log_bytes: int = 0
    """Size of the log when it began."""
    received: int = 0
    """Bytes."""
    in_hand: int = 0
    """Slices that were received and are not in the file."""
    asked_ms: int | None = None
    """When the slice under way was asked for; None: none is."""
    lost_ms: int | None = None
    """When the last one was lost, if nothing was asked for since."""
    way: SliceWay = field(default_factory=SliceWay)
    complete: bool = False
    naming: bool = False
    over: bool = False
    """Given up; the end of its file is not reported yet."""


@dataclass(slots=True)
class BackOff:
    """When one may be begun again after failures."""

    not_before_ms: int = 0
    failures: int = 0

    def failed(self, now_ms: int) -> None:
        self.not_before_ms = now_ms + min(RETRY_MS[0] << min(self.failures, 16), RETRY_MS[1])
        self.failures += 1
