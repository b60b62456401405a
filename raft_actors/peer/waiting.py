"""Handler threads that wait for the owner, by number, each with a deadline.

Here:   numbers, futures and the deadlines of reads.
Never:  what is waited for.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

T = TypeVar("T")


class Waiting:
    """Thread-safe. A number is resolved at most once; a late result is dropped."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._futures: dict[int, Future[Any]] = {}
        self._deadlines_ms: dict[int, int] = {}
        self._ended = False
        self._lock = threading.Lock()

    def begin(self, *, deadline_ms: int | None = None) -> tuple[int, Future[Any]]:
        """A new number and its future. With a deadline, `take_overdue` names it when it has passed."""
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            if self._ended:
                future.set_result(None)
            else:
                self._futures[number] = future
                if deadline_ms is not None:
                    self._deadlines_ms[number] = deadline_ms
        return number, future

    def resolve(self, number: int, value: object) -> None:
        """End the wait of `number`, if anybody still waits."""
        with self._lock:
            future = self._futures.pop(number, None)
            self._deadlines_ms.pop(number, None)
        if future is not None:
            resolve(future, value)

    def wait(self, number: int, future: Future[Any], timeout_ms: int) -> Any:
        """The value, or None when it did not come in time. The number is forgotten either way."""
        try:
            return result(future, timeout_ms)
        finally:
            with self._lock:
                self._futures.pop(number, None)

    def take_overdue(self, now_ms: int) -> list[int]:
        """Numbers whose deadline has passed, once each."""
        with self._lock:
            overdue = [number for number, at_ms in self._deadlines_ms.items() if now_ms >= at_ms]
            for number in overdue:
                del self._deadlines_ms[number]
        return overdue

    def end_all(self) -> None:
        """Everybody who waits, and whoever comes later, gets None."""
        with self._lock:
            self._ended = True
            futures = list(self._futures.values())
            self._futures.clear()
            self._deadlines_ms.clear()
        for future in futures:
            resolve(future, None)


def resolve(future: Future[T], value: T) -> None:
    """Set a result, unless the future has one or was given up."""
    with contextlib.suppress(InvalidStateError):
        future.set_result(value)


def result(future: Future[T], timeout_ms: int) -> T | None:
    """The result, or None when there is none within `timeout_ms`."""
    try:
        return future.result(max(0, timeout_ms) / 1000)
    except TimeoutError:
        return None
