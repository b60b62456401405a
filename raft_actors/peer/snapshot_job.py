"""One snapshot on its way into a file, and when another may be begun after one that failed.

Here:   `Job`, `BackOff`: what snapshots.py notes down.
Never:  decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import MemberId, WriteSeq

INLINE_RUN: Final = 16
"""Slices within the call, after one that was lost behind its reference, before another is asked for by reference; twice
as many after each that is lost."""
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
    inline_left: int = 0
    """Slices to be asked for within the call."""
    inline_run: int = INLINE_RUN
    complete: bool = False
    naming: bool = False
    over: bool = False
    """Given up; the end of its file is not reported yet."""

    def go_inline(self) -> None:
        """A slice did not come: ask for some within the call, then try a reference again."""
        if self.inline_left == 0:
            self.inline_left, self.inline_run = self.inline_run, 2 * self.inline_run


@dataclass(slots=True)
class BackOff:
    """When one may be begun again after failures."""

    not_before_ms: int = 0
    failures: int = 0

    def failed(self, now_ms: int) -> None:
        self.not_before_ms = now_ms + min(RETRY_MS[0] << min(self.failures, 16), RETRY_MS[1])
        self.failures += 1
