"""The only door for threads: many put, one at a time does (whoever has the turn is the owner).

Here:   a queue of jobs for an engine, and whose turn it is to do them.
Never:  what a job does, when time has passed (runtime.py).

A hand-over between two Python threads costs more than most jobs: the other one has to be woken, and then to wait for
the interpreter. A message of another peer would pay for it four times: to the owner, to the disk, back, and to the
thread that answers. So a thread that brings a job and finds nobody at work does it itself, and what stands before it;
the owner's own thread does what others may only leave here, and what came while somebody was at it.

Why nothing else changes. A job is taken out only with the turn, so jobs are done in the order in which they came and
one at a time: to the engine, the turn is the owner. The turn is never held over I/O that waits, because no job does
any. Who works for others does at most what stood here when his turn began, so nobody is held up for long. A job that
came too late for that finds the turn taken or is followed by a wake-up, so none is forgotten.

It needs no limit of its own: everything that is put here holds something limited elsewhere, a handler thread of the
actor, a slot of the call window, a write under way, one of the timers.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from raft_actors.peer.engine import Engine

Job: TypeAlias = Callable[[Engine], None]


class Inbox:
    """Jobs in order of arrival. Nothing is done before `begin`, nor after `close` or the failure of a job."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        """`on_failure` is told what a job raised, in the thread that did it, at most once."""
        self._on_failure = on_failure
        self._engine: Engine | None = None
        self._jobs: deque[Job] = deque()
        self._turn = threading.Lock()
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._woken = False
        """A wake-up is on its way; another one would be for nothing."""
        self._closed = False

    def begin(self, engine: Engine) -> None:
        """From now on jobs are done, on this engine."""
        self._engine = engine

    def put(self, job: Job) -> None:
        """Leave a job for the owner's thread: for threads that must not be held up. Never blocks."""
        if not self._closed:
            self._jobs.append(job)
            self._wake()

    def put_and_work(self, job: Job) -> None:
        """Leave a job; if nobody is at work, do it here and now, and those before it."""
        if self._closed:
            return
        self._jobs.append(job)
        if self._turn.acquire(blocking=False):
            try:
                self._do_present()
            finally:
                self._turn.release()
        if self._jobs:  # it came while another was at work, or others came while we were
            self._wake()

    def wait(self, timeout_s: float) -> None:
        """In the owner's thread: until something is left for it, at most `timeout_s`."""
        try:
            self._wakeups.get(timeout=timeout_s)
        except queue.Empty:
            return
        self._woken = False  # before the look at the jobs: what comes after that look wakes again

    def work(self, timeout_s: float, also: Job) -> None:
        """In the owner's thread: take the turn, if it can be had within `timeout_s`; do what there is, then `also`."""
        if not self._turn.acquire(timeout=timeout_s):
            self._wake()  # the next look comes at once
            return
        try:
            self._do_present()
            if self._engine is not None:
                self._do(also, self._engine)
        finally:
            self._turn.release()
        if self._jobs:
            self._wake()

    def close(self, timeout_s: float) -> None:
        """No job is done after this; waits at most `timeout_s` for the one under way."""
        self._closed = True
        if self._turn.acquire(timeout=timeout_s):
            self._jobs.clear()
            self._turn.release()

    def __len__(self) -> int:
        return len(self._jobs)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._wakeups.put(None)

    def _do_present(self) -> None:
        """With the turn: what stands here now."""
        if self._engine is None:
            return
        for _ in range(len(self._jobs)):
            self._do(self._jobs.popleft(), self._engine)

    def _do(self, job: Job, engine: Engine) -> None:
        if self._closed:
            return
        try:
            job(engine)
        except BaseException as failure:  # whoever does it, it is the owner that failed
            self._closed = True
            self._on_failure(failure)
            if not isinstance(failure, Exception):
                raise
