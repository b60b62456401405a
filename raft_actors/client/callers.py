"""One caller per process and group, shared by all who call that group under one name.

Here:   `SharedCaller`, what a client holds; the callers of this process; what becomes of them at a fork and at exit.
Never:  calls.

A session must never be used by two processes: they would draw the same sequences for different commands. So a forked
child begins with no callers, and a `SharedCaller` finds another one there; a pickle of a client holds none.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from raft_actors.client.sender import Caller
from raft_actors.errors import ClientClosed


@dataclass(slots=True)
class _Entry:
    caller: Caller
    users: int


class _Process:
    """The callers of one process. A fork gets a new one: the old one's lock may be held by a thread that is gone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[tuple[str, str | None], _Entry] = {}


_process = _Process()


class SharedCaller:
    """This process's caller of one group, made when it is first needed. Thread-safe, fork-safe."""

    def __init__(self, group: str, make: Callable[[], Caller], apart: str | None = None) -> None:
        """`make` is called if this process has no caller of the group yet; what it raises, `get` raises.

        apart: share only with those of this name, who are one node to a fault injector; None: there are no faults.
        """
        self._key = group, apart
        self._make = make
        self._held: tuple[_Process, Caller] | None = None
        self._closed = False

    def get(self) -> Caller:
        """The caller. Raises `ClientClosed` after `close`, and what making one raises."""
        held = self._held
        if held is not None and held[0] is _process and not held[1].closed:
            return held[1]
        with _process.lock:
            if self._closed:
                raise ClientClosed("this client is closed, nothing happened: use another one")
            entry = _process.entries.get(self._key)
            if entry is None or entry.caller.closed:
                entry = _process.entries[self._key] = _Entry(self._make(), 0)
            entry.users += 1
            self._held = _process, entry.caller
            return entry.caller

    def close(self) -> None:
        """Use it no more. The last one to close ends the caller, and with it whatever is under way."""
        with _process.lock:
            held, self._held, self._closed = self._held, None, True
            if held is None or held[0] is not _process:
                return
            entry = _process.entries.get(self._key)
            if entry is None or entry.caller is not held[1]:
                return
            entry.users -= 1
            if entry.users > 0:
                return
            del _process.entries[self._key]
        held[1].close()


def close_all() -> None:
    """End every caller of this process. Done at exit: a thread in the middle of a call would hold up the end of Ray."""
    with _process.lock:
        entries, _process.entries = list(_process.entries.values()), {}
    for entry in entries:
        entry.caller.close()


def _begin_anew() -> None:
    global _process  # noqa: PLW0603 - a fork is what makes a second one
    _process = _Process()


atexit.register(close_all)
os.register_at_fork(after_in_child=_begin_anew)
