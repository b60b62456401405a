"""A store's members from outside: how they are, and the end of one by SIGKILL.

Here:   `Watch`, which asks again and again; `wait_until_whole`; `kill_leader`.
Never:  operations on the store.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import ray
import ray.util

import kv
from raft_actors.cluster.group import MemberStatus
from raft_actors.cluster.nodes import pin_to_address
from raft_actors.errors import RaftActorsError

LOOK_INTERVAL_S: Final = 0.2
KILL_TIMEOUT_S: Final = 30.0


class NotInTime(RaftActorsError, TimeoutError):
    """The members did not become what was waited for; says what that was, and how they are."""


class Watch:
    """The latest status of a store, asked in a thread of its own: a dead member may take seconds to answer."""

    def __init__(self, name: str) -> None:
        """Asks once before it returns. Raises `UnknownGroup`."""
        self._name = name
        self._latest = kv.status(name)
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def latest(self) -> kv.Status:
        """What was found last. Raises what asking raised."""
        if self._failure is not None:
            raise self._failure
        return self._latest

    def wait_for(self, is_so: Callable[[kv.Status], bool], what: str, timeout_s: float) -> kv.Status:
        """The latest status once it `is_so`. Raises `NotInTime`, which says `what` was waited for."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not is_so(self.latest):
                if not self._changed.wait(deadline_s - time.monotonic()):
                    states = "; ".join(_in_words(member) for member in self.latest.members)
                    raise NotInTime(f"{what}: not within {timeout_s:.0f} s ({states}); give the machine more time")
            return self.latest

    def _run(self) -> None:
        while not self._stop.wait(LOOK_INTERVAL_S):
            try:
                latest = kv.status(self._name)
            except Exception as failure:  # raised for whoever looks
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
                return
            with self._changed:
                self._latest = latest
                self._changed.notify_all()


def wait_until_whole(watch: Watch, members: int, timeout_s: float) -> kv.Status:
    """The status once all members follow one leader and have caught up with what it had committed by then.

    Raises `NotInTime`.
    """
    led = watch.wait_for(lambda status: status.leader is not None, "a leader", timeout_s)
    committed = max(member.commit_index or 0 for member in led.members)
    return watch.wait_for(lambda status: is_whole(status, members, committed), "all members in step", timeout_s)


def is_whole(status: kv.Status, members: int, committed: int) -> bool:
    """Whether all members run, follow one leader, have their server, and have applied up to the index `committed`.

    Not up to what is committed now: while somebody writes, followers are always a message behind.
    """
    return len(status.members) == members and all(
        member.state == "running"
        and member.leader is not None
        and member.leader == status.leader
        and member.server_pid is not None
        and (member.last_applied or 0) >= committed
        for member in status.members
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A leader's process that is no more."""

    member: int
    pid: int
    term: int
    """The one it led."""
    at_ns: int
    """When, on `time.monotonic_ns` of this process."""

    def is_replaced(self, status: kv.Status) -> bool:
        """Whether a later term has a leader."""
        return status.leader is not None and max(member.term for member in status.members) > self.term


def kill_leader(status: kv.Status) -> Killed:
    """SIGKILL the process of the leader's peer, at once if it is on this node, else by a task on its own.

    Raises `NotInTime` when there is no leader, ProcessLookupError when its process has just ended by itself.
    """
    leader = next((member for member in status.members if member.id == status.leader), None)
    if leader is None or leader.pid is None or leader.node is None:
        raise NotInTime("there is no leader to be killed at this moment; try again")
    at_ns = time.monotonic_ns()
    if leader.node == ray.util.get_node_ip_address():
        os.kill(leader.pid, signal.SIGKILL)
    else:
        kill: Any = ray.remote(os.kill).options(num_cpus=0, max_retries=0, **pin_to_address(leader.node))
        ray.get(kill.remote(leader.pid, signal.SIGKILL), timeout=KILL_TIMEOUT_S)
    return Killed(member=leader.id, pid=leader.pid, term=leader.term, at_ns=at_ns)


def _in_words(member: MemberStatus) -> str:
    return f"member {member.id} {member.state}, {member.role or 'no role'} in term {member.term}"
