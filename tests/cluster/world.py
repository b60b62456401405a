"""What the tests on real Ray share: killing, waiting without sleeping, a machine that counts, a load that remembers.

Here:   helpers, usable by test modules and by the workers that unpickle their classes.
Never:  fixtures (conftest.py), assertions about one feature.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self, TypeVar

import psutil
import ray
import ray.util

import kv
import raft_actors
from raft_actors.application.requests import QUERY, QUERY_ANSWERS, Query, QueryDone
from raft_actors.cluster.group import MemberStatus
from raft_actors.cluster.lifecycle import stop_group
from raft_actors.core.types import MemberId
from raft_actors.errors import OperationError, PeerFailed, UnknownGroup
from raft_actors.names import NAMESPACE, keeper_name, server_name

T = TypeVar("T")

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FAST: Final = raft_actors.RaftConfig(
    heartbeat_interval_ms=50, election_timeout_ms_min=250, election_timeout_ms_max=500, check_quorum_ms=500
)
"""Elections in less than a second, for tests that do not mean the defaults."""
PATIENCE_S: Final = 45.0
"""How long anything may take on two cores that others use too. A test that waits this long has failed."""
LOOK_S: Final = 0.02


def eventually(look: Callable[[], T], within_s: float = PATIENCE_S) -> T:
    """What `look` returns once it is true; fails with what it returned or raised last."""
    deadline_s, pause = time.monotonic() + within_s, threading.Event()
    while True:
        last: object
        try:
            if found := look():
                return found
            last = found
        except (ray.exceptions.RayError, raft_actors.RaftActorsError, ValueError) as failure:
            last = failure
        assert time.monotonic() < deadline_s, f"not within {within_s:.0f} s; the last look gave {last!r}"
        pause.wait(LOOK_S)


def kill_process(*pids: int | None) -> None:
    """SIGKILL all of them at once, and wait until they are gone."""
    assert None not in pids, f"a process without a pid in {pids}"
    processes = [psutil.Process(pid) for pid in pids]
    for process in processes:
        process.kill()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive, f"{alive} survive SIGKILL"


def actors_of(group: str) -> list[str]:
    """Names of the group's actors that Ray knows."""
    names = [row["name"] for row in ray.util.list_named_actors(all_namespaces=True)]
    return sorted(name for name in names if name.startswith(f"raft:{group}:"))


def keeper_of(group: str) -> object:
    """The keeper's handle."""
    return ray.get_actor(keeper_name(group), namespace=NAMESPACE)


@contextlib.contextmanager
def nothing_left_of(group: str) -> Iterator[str]:
    """Shut the group down in the end, whatever became of it, and see that no actor of it is left."""
    try:
        yield group
    finally:
        with contextlib.suppress(UnknownGroup, PeerFailed):
            stop_group(group, delete_data=False)
        eventually(lambda: not actors_of(group), within_s=10.0)


def all_running(group: str) -> tuple[MemberStatus, ...]:
    """The members' statuses if all run with their applications and one leads, else nothing."""
    members = kv.status(group).members
    leads = [member for member in members if member.role == "leader"]
    well = all(member.state == "running" and member.server_pid is not None for member in members)
    return members if well and leads else ()


def asked_at(group: str, member: int, request: bytes) -> bytes | None:
    """What this member's own state answers, old as it may be; None: it has none, or nobody is there."""
    query = QUERY.encode(Query(requests=(request,), linearizable=False, timeout_ms=1000))
    try:
        server = ray.get_actor(server_name(group, MemberId(member)), namespace=NAMESPACE)
        (answer,) = QUERY_ANSWERS.decode(ray.get(server.query.remote(query), timeout=5.0))
    except (ray.exceptions.RayError, ValueError):
        return None
    return answer.result if isinstance(answer, QueryDone) else None


def row_of(group: str, member: int) -> MemberStatus:
    """How this member is now."""
    return next(row for row in kv.status(group).members if row.id == member)


def leader_of(group: str) -> int:
    """Who leads, once all run and somebody does."""
    return eventually(lambda: [row for row in all_running(group) if row.role == "leader"])[0].id


def others_of_three(member: int) -> list[int]:
    """The two besides it."""
    return [each for each in range(3) if each != member]


class Tally:
    """A state machine that counts each command it is given; the result is how often it came, as text."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def apply(self, index: int, command: bytes) -> bytes:
        label = command.decode()
        self._counts[label] += 1
        return str(self._counts[label]).encode()

    def query(self, request: bytes) -> bytes:
        return json.dumps(self._counts).encode()

    def snapshot(self) -> Iterator[bytes]:
        yield json.dumps(self._counts).encode()

    def restore(self, chunks: Iterator[memoryview]) -> None:
        self._counts = Counter(json.loads(b"".join(chunks)))


class Load:
    """Threads that do one operation after the other while processes die, and remember how each ended."""

    _names = itertools.count()

    def __init__(self, *operations: Callable[[str], object], threads: int = 2) -> None:
        """One operation for all threads, or several, each with a thread of its own."""
        self.acknowledged: list[str] = []
        self.not_done: list[str] = []
        self.unknown: list[str] = []
        own = operations if len(operations) > 1 else operations * threads
        self._acknowledged_by = [0] * len(own)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, operation), name=f"load-{number}")
            for number, operation in enumerate(own)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"an operation of {thread.name} never ended"
        assert not self._failures, self._failures

    def wait_for_more(self, count: int = 10) -> None:
        """Until `count` more operations are acknowledged."""
        enough = len(self.acknowledged) + count
        eventually(lambda: self._failures or len(self.acknowledged) >= enough)
        assert not self._failures, self._failures

    def wait_for_more_of_each(self, count: int) -> None:
        """Until each thread has `count` more acknowledged."""
        enough = [done + count for done in self._acknowledged_by]
        eventually(
            lambda: (
                self._failures or all(done >= least for done, least in zip(self._acknowledged_by, enough, strict=True))
            )
        )
        assert not self._failures, self._failures

    def check(self, counts: dict[str, int]) -> None:
        """Every acknowledged operation is there once, none twice, and none that certainly did not happen."""
        assert [label for label in self.acknowledged if counts.get(label) != 1] == []
        assert [label for label, count in counts.items() if count != 1] == []
        assert [label for label in self.not_done if label in counts] == []

    def _run(self, number: int, operation: Callable[[str], object]) -> None:
        while not self._stop.is_set():
            label = f"{next(self._names):06}"
            try:
                operation(label)
            except OperationError as failure:
                (self.unknown if failure.outcome == "unknown" else self.not_done).append(label)
            except BaseException as failure:
                self._failures.append(failure)
                raise
            else:
                self.acknowledged.append(label)
                self._acknowledged_by[number] += 1


def run_script(path: Path, *arguments: str, environment: dict[str, str] | None = None, timeout_s: float = 90) -> str:
    """Run a Python file in a process of its own, with our packages; what it printed. Fails if it failed."""
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
