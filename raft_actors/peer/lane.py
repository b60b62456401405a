"""Jobs for one daemon, and when its only customer does one himself.

Here:   `Lane`.
Never:  what a job does.

A hand-over between two Python threads costs more than most of these jobs: the other thread has to be woken and to wait
for the interpreter. So when the daemon is idle and nothing else waits for the owner, the owner does a small job itself;
as soon as there is a queue, the daemon works beside it. Jobs are done in order, one at a time, in both cases: only the
owner puts jobs here, so while it does one itself nobody else can begin another.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from raft_actors.peer.inbox import Inbox

Job: TypeAlias = Callable[[], None]

WAIT_S: Final = 0.1
"""How late the daemon may notice that it has to stop."""


class Lane:
    """Used by two threads: the owner puts, the daemon runs."""

    def __init__(self, name: str, inbox: Inbox, on_failure: Callable[[str, BaseException], None]) -> None:
        """`inbox` is the owner's: it does no job itself while something waits there. `name`: the daemon's.

        A job that fails in the owner's hands is told to `on_failure` under that name, as the daemon would tell it.
        """
        self.name = name
        self._inbox = inbox
        self._on_failure = on_failure
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        """Guards the count, never a job."""

    def put(self, job: Job, *, direct: bool = False) -> None:
        """Have the job done, now or soon. `direct`: it is small and cannot block, the owner may do it itself."""
        with self._lock:
            idle = self._waiting == 0
            if not (direct and idle and len(self._inbox) == 0):
                self._waiting += 1
                self._jobs.put(job)
                return
        try:
            job()
        except Exception as failure:  # the peer stops, as it would for the daemon
            self._on_failure(self.name, failure)

    def run(self, stop: threading.Event) -> None:
        """The daemon: do what comes until told to stop. None of it waits for an answer."""
        while not stop.is_set():
            try:
                job = self._jobs.get(timeout=WAIT_S)
            except queue.Empty:
                continue
            try:
                job()
            finally:
                with self._lock:
                    self._waiting -= 1
