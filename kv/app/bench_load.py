"""Puts kept outstanding, without a thread for each.

Here:   `Outstanding`: a closed loop of so many puts. What was acknowledged is counted; what failed, by its name.
Never:  a clock.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future

import kv


class Outstanding:
    """One thread puts; at most `limit` puts are under way at any time."""

    def __init__(self, store: kv.Client, limit: int, *, timeout_s: float) -> None:
        self._store = store
        self._limit = limit
        self._timeout_s = timeout_s
        self._slots = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self.ok = 0
        self.failures: Counter[str] = Counter()

    def put(self, key: str, value: object) -> None:
        """Begin one, once there is room."""
        self._slots.acquire()
        self._store.submit_put(key, value, timeout_s=self._timeout_s).add_done_callback(self._done)

    def drain(self) -> None:
        """Wait until none is under way."""
        for _ in range(self._limit):
            self._slots.acquire()
        for _ in range(self._limit):
            self._slots.release()

    def _done(self, put: Future[int]) -> None:
        failure = put.exception()
        with self._lock:
            if failure is None:
                self.ok += 1
            else:
                self.failures[type(failure).__name__] += 1
        self._slots.release()
