"""What happened to a member, as log lines and as rows for a run's `events`.

Here:   `EventJournal`: bounded, numbered, thread-safe.
Never:  who collects the rows (cluster/recorder.py).

Logging: INFO is quiet (roles, states, configuration, errors), DEBUG tells the story. Every line carries group, member
and term.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Any, Final

from raft_actors.core.types import MemberId
from raft_actors.recording.clock import boot_id

KEPT_MAX: Final = 10_000
"""Events kept for a recorder; older ones are forgotten and their numbers tell how many."""

LOG: Final = logging.getLogger("raft_actors.peer")


class EventJournal:
    """The last events of one member."""

    def __init__(self, group: str, member_id: MemberId) -> None:
        self._group = group
        self._member_id = member_id
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_MAX)
        self._boot_id = boot_id()
        self._count = 0
        self._term = 0
        self._lock = threading.Lock()

    def note(self, kind: str, details: dict[str, object], *, level: int = logging.INFO) -> None:
        """Keep one event and log it."""
        with self._lock:
            term = details.get("term")
            if isinstance(term, int):
                self._term = term
            self._count += 1
            self._events.append(
                {
                    "number": self._count,
                    "wall_ns": time.time_ns(),
                    "monotonic_ns": time.monotonic_ns(),
                    "boot_id": self._boot_id,
                    "process": os.getpid(),
                    "member": int(self._member_id),
                    "kind": kind,
                    "details": dict(details),
                }
            )
            term_now = self._term
        if LOG.isEnabledFor(level):
            story = " ".join(f"{name}={value}" for name, value in details.items() if name != "term")
            LOG.log(level, "group=%s member=%s term=%s %s %s", self._group, self._member_id, term_now, kind, story)

    @property
    def tells_all(self) -> bool:
        """Whether `story` says anything: at DEBUG."""
        return LOG.isEnabledFor(logging.DEBUG)

    def story(self, text: str) -> None:
        """One line of the story, at DEBUG; not kept."""
        LOG.debug("group=%s member=%s term=%s %s", self._group, self._member_id, self._term, text)

    def since(self, process: int, number: int) -> list[dict[str, Any]]:
        """The kept events after this one; all of them when it was another process's, which numbered its own."""
        after = number if process == os.getpid() else 0
        with self._lock:
            return [event for event in self._events if event["number"] > after]
