"""Load without a thread for each operation.

Here:   `Outstanding`: a closed loop of so many puts. What was acknowledged is counted; what failed, by its name.
        `Paced`: an open loop, operations begun at a fixed rate, whether or not the ones before have ended.
        `Puts`: an open loop of puts.
Never:  what is measured of them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Self

import kv

PUT_TIMEOUT_S: Final = 30.0


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


class Paced:
    """Calls `begin(number)`, with numbers from 1 up, so many times a second, in a thread, while it is entered."""

    def __init__(self, begin: Callable[[int], object], per_s: int) -> None:
        self._begin = begin
        self._per_s = per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paced load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        next_s, number = time.monotonic(), 0
        while not self._stop.is_set():
            number += 1
            self._begin(number)
            next_s += 1 / self._per_s
            time.sleep(max(0.0, next_s - time.monotonic()))


class Puts(Paced):
    """Puts at a fixed rate, whatever becomes of them: which keys were acknowledged, how long the slowest took."""

    def __init__(self, store: kv.Client, per_s: int, key: Callable[[int], str]) -> None:
        """`key` of the put with this number."""
        super().__init__(self._put, per_s)
        self._store = store
        self._key = key
        self._lock = threading.Lock()
        self.acknowledged: list[str] = []
        self.failed = 0
        self.slowest_s = 0.0

    def _put(self, number: int) -> None:
        key = self._key(number)
        put = self._store.submit_put(key, number, timeout_s=PUT_TIMEOUT_S)
        put.add_done_callback(partial(self._ended, key, time.monotonic()))

    def _ended(self, key: str, at_s: float, put: Future[int]) -> None:
        with self._lock:
            if put.exception() is None:
                self.acknowledged.append(key)
            else:
                self.failed += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - at_s)
