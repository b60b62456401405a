"""Faults that last until somebody ends them, or their time is over.

Here:   `Lasting`: how each is undone, exactly once, by whoever comes first.
Never:  which faults (hand.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

Undo = Callable[[], None]


class Lasting:
    """By what they are about; one for each at a time. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._undo: dict[str, tuple[Undo, threading.Timer | None]] = {}

    def begin(self, about: str, undo: Undo, for_s: float | None) -> None:
        """It has begun, and ends after so long; one about the same that lasts is ended first. `undo` is called once."""
        self.end(about)
        timer = None
        if for_s is not None:
            timer = threading.Timer(for_s, lambda: self._end_this(about, undo))
            timer.daemon = True
        with self._lock:
            self._undo[about] = undo, timer
        if timer is not None:
            timer.start()

    def end(self, about: str) -> bool:
        """End it now; whether it lasted still."""
        with self._lock:
            undo, timer = self._undo.pop(about, (None, None))
        if timer is not None:
            timer.cancel()
        if undo is not None:
            undo()
        return undo is not None

    def lasts(self, about: str) -> bool:
        """Whether it does."""
        return about in self._undo

    def end_all(self) -> None:
        """End what lasts."""
        for about in list(self._undo):
            self.end(about)

    def _end_this(self, about: str, undo: Undo) -> None:
        """Its time is over: not that of another one about the same, which began since."""
        with self._lock:
            if self._undo.get(about, (None, None))[0] is not undo:
                return
            del self._undo[about]
        undo()
