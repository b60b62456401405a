"""A group's servers as Ray actors: found by name, called by handle, looked up again when a handle went stale.

Here:   `RayServers`. The only file of the client that knows Ray.
Never:  retries, sessions, what the bytes mean.

Looking up has a thread of its own, because it goes through Ray's head and hangs while that is down; calls by handle go
on meanwhile. It happens when a handle is missing, with pauses that double, and otherwise only now and then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import ray
import ray.util
from ray.exceptions import ActorDiedError, PendingCallsLimitExceeded, RayError

from raft_actors.connection import connection, require_ray
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, check_group, member_of, server_name
from raft_actors.wire import DIRECT, Wire

log = logging.getLogger(__name__)

REFRESH_S: Final = 60.0
"""How often new members are looked for when nothing is wrong."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
"""Pauses between look-ups while a handle is missing."""
ABSENT_S: Final = 30.0
"""A member whose actor nobody has known for so long was removed; one that is only away is made again before."""
CLOSE_S: Final = 1.0


class _ConnectionOver(Exception):
    """A handle was about to be used whose connection is gone."""


class RayServers:
    """The servers of one group. Thread-safe."""

    def __init__(self, group: str, wire: Wire = DIRECT) -> None:
        """Begins to look them up, and returns at once. `wire` is closed with this.

        Raises `RayNotInitialised` and `InvalidName`.
        """
        self._group = check_group(group)
        self._wire = wire
        require_ray()
        self._changed = threading.Condition()
        self._handles: dict[MemberId, Any] = {}
        self._members: tuple[MemberId, ...] = ()
        self._connection = connection()
        self._absent_since_s: dict[MemberId, float] = {}
        self._again = False
        self._looked = False
        self._missing = True
        self._closed = False
        self._thread = threading.Thread(target=self._look_up_forever, name=f"raft-look-up-{group}", daemon=True)
        self._thread.start()

    def members(self) -> tuple[MemberId, ...]:
        """Those known by now, ascending, the ones that are away at the moment too."""
        return self._members

    def look_again(self) -> None:
        """As `Servers.look_again`."""
        with self._changed:
            self._again = True
            self._changed.notify_all()

    def handles(self, timeout_s: float) -> list[Any]:
        """As `Servers.handles`: the actor handles. Those that were not found in time are left out."""
        with self._changed:
            self._changed.wait_for(lambda: self._looked and not self._missing, timeout_s)
            return [self._handles[member_id] for member_id in self._members if member_id in self._handles]

    def begin(self, member_id: MemberId, method: str, data: bytes, done: Callable[[bytes | None], None]) -> bool:
        """As `Servers.begin`."""
        try:
            with self._changed:
                handle = self._handles.get(member_id)
            if handle is None:
                return False
            self._wire.send(
                f"s{member_id}",
                method,
                len(data),
                partial(self._call, handle, method, data),
                partial(self._done, member_id, handle, done),
            )
        except PendingCallsLimitExceeded:
            return False
        except _ConnectionOver:
            with self._changed:
                self._forget_all()
            return False
        except (RayError, RuntimeError, ValueError, TypeError, OSError) as failure:  # TypeError: of another version
            log.debug("group %s: calling server %s failed: %s", self._group, member_id, failure)
            self._stale(member_id, handle)
            done(None)  # nobody knows whether it was sent
            return True
        return True

    def close(self) -> None:
        """As `Servers.close`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._wire.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    def _call(self, handle: Any, method: str, data: bytes) -> Future[Any]:
        """Now, or, where there are faults, later. Raises `_ConnectionOver`."""
        present = connection()
        if present is None or present != self._connection:
            raise _ConnectionOver("the connection to Ray that this call was for is over")
        future: Future[Any] = getattr(handle, method).remote(data).future()
        return future

    # -- inside ---------------------------------------------------------------------------------------------------

    def _done(
        self, member_id: MemberId, handle: Any, done: Callable[[bytes | None], None], future: Future[Any]
    ) -> None:
        """In Ray's callback thread, one for the whole process: hand over and leave."""
        failure = future.exception()
        if isinstance(failure, ActorDiedError):
            self._stale(member_id, handle)
        answer = None if failure is not None else future.result()
        done(answer if type(answer) is bytes else None)

    def _stale(self, member_id: MemberId, handle: Any) -> None:
        """Look this one up again, unless that has happened meanwhile."""
        with self._changed:
            if self._handles.get(member_id) is handle:
                del self._handles[member_id]
                self._missing = True
                self._changed.notify_all()

    def _forget_all(self) -> None:
        self._handles.clear()
        self._missing = True
        self._changed.notify_all()

    def _look_up_forever(self) -> None:
        pause_s = RETRY_S_MIN
        while True:
            try:
                self._look_up()
            except (RayError, RuntimeError, ValueError, OSError) as failure:
                log.debug("group %s: looking up its servers failed: %s", self._group, failure)
            with self._changed:
                if self._missing:
                    pause_s = min(2 * pause_s, RETRY_S_MAX)
                    self._changed.wait_for(lambda: self._closed, pause_s)
                else:
                    pause_s = RETRY_S_MIN
                    self._changed.wait_for(lambda: self._closed, RETRY_S_MIN)
                    self._changed.wait_for(lambda: self._closed or self._missing or self._again, REFRESH_S)
                self._again = False
                if self._closed:
                    return

    def _look_up(self) -> None:
        present = connection()
        if present is None:
            return
        with self._changed:
            if present != self._connection:
                self._forget_all()
                self._connection = present
                self._members = ()
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        found = {member_id for name in names if (member_id := member_of(name, self._group, "server")) is not None}
        for member_id in sorted(found - self._handles.keys()):
            try:
                handle = ray.get_actor(server_name(self._group, member_id), namespace=NAMESPACE)
            except (RayError, ValueError):
                continue  # it ended since it was listed
            with self._changed:
                if present == self._connection:
                    self._handles[member_id] = handle
        with self._changed:
            self._looked = True
            self._members = tuple(sorted(found | self._still_away(found)))
            self._missing = not self._members or any(member not in self._handles for member in self._members)
            self._changed.notify_all()

    def _still_away(self, found: set[MemberId]) -> set[MemberId]:
        """Known members who were not found now, and not long ago."""
        now_s = time.monotonic()
        away = {member_id: self._absent_since_s.get(member_id, now_s) for member_id in set(self._members) - found}
        self._absent_since_s = {member_id: since_s for member_id, since_s in away.items() if now_s - since_s < ABSENT_S}
        for member_id in away.keys() - self._absent_since_s.keys():
            self._handles.pop(member_id, None)
        return set(self._absent_since_s)
