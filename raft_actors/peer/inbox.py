"""The only door for threads: many put, one takes (the owner).

Here:   a queue of jobs for the owner of an engine, and the gauge of its longest stall.
Never:  what a job does.

It needs no limit of its own: everything that is put here holds something limited elsewhere, a handler thread of the
actor, a slot of the call window, a write under way, one of the timers.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import TypeAlias

from raft_actors.peer.engine import Engine

Job: TypeAlias = Callable[[Engine], None]


class Inbox:
    """Jobs in order of arrival."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()

    def put(self, job: Job) -> None:
        """Never blocks."""
        self._jobs.put(job)

    def take(self, timeout_s: float) -> list[Job]:
        """All jobs there are; waits for the first at most `timeout_s`."""
        try:
            jobs = [self._jobs.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while True:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                return jobs

    def __len__(self) -> int:
        return self._jobs.qsize()
