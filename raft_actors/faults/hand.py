"""What is done to processes, disks and memory of one machine, by an actor that is there.

Here:   `Hand`: signals, slowness, locks, damage, a full disk, a full object store, the end of a raylet. All of it real.
Never:  to whom and when (deeds.py).

It ends only processes of Ray's workers and the raylet that started it, each by its pid and only after a look at what it
is. What lasts is undone when its time is over or the hand's work is (`let_go`), whoever forgot it; and a process that
stands still goes on when its time is over, though the hand itself has died.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

import numpy as np
import psutil
import ray
from ray.exceptions import RayError

from raft_actors.core.types import MemberId
from raft_actors.errors import DirectoryLocked, FaultFailed
from raft_actors.faults.lasting import Lasting
from raft_actors.storage.directory import LOCK, SEGMENT_SUFFIX, SNAPSHOT_SUFFIX, open_data_directory
from raft_actors.storage.files import OsFiles
from raft_actors.storage.place import member_path

GONE_S: Final = 10.0
"""How long a process may take to be gone after SIGKILL, to stand still after SIGSTOP."""
LOOK_S: Final = 0.005
LOCK_TIMES: Final = 20
LOCK_PAUSE_S: Final = 0.05
"""How often, and after which pause, a process that came back before its directory was locked is killed again."""
CHUNK_BYTES: Final = 4 * 1024 * 1024


class Hand:
    """One machine's. Several calls at a time. `whose`: of which member something is, so that it is found again."""

    def __init__(self, group: str, data_dir: str | None) -> None:
        self._group = group
        self._data_dir = data_dir
        self._lasting = Lasting()

    # -- processes ----------------------------------------------------------------------------------------------------

    def kill(self, whose: int, *pids: int) -> bool:
        """SIGKILL all of them at once; whether all are gone."""
        processes = [_worker(pid) for pid in pids]
        for process in processes:
            process.kill()
        gone = all(_gone(process) for process in processes)
        for what in ("stop", "slow", "disk"):
            self._lasting.end(f"{what} {whose}")
        return gone

    def kill_and_lock(self, whose: int, *pids: int) -> bool:
        """The same, and let no process of this member run until `unlock`: it waits for its directory."""
        if not self.is_locked(whose):
            self.kill(whose, *pids)
            self._take(whose)
        return True

    def is_locked(self, whose: int) -> bool:
        """Whether the member is kept down."""
        return self._lasting.lasts(f"lock {whose}")

    def unlock(self, whose: int) -> bool:
        """Let it run again; whether it was kept down."""
        return self._lasting.end(f"lock {whose}")

    def stop(self, whose: int, for_s: float, *pids: int) -> bool:
        """SIGSTOP, for at most so long; whether all stand still."""
        processes = [_worker(pid) for pid in pids]
        self._lasting.end(f"slow {whose}")
        guard = _guard(for_s, pids)
        for process in processes:
            process.suspend()
        self._lasting.begin(f"stop {whose}", lambda: _go_on(processes, guard), for_s)
        return all(_becomes(process, psutil.STATUS_STOPPED) for process in processes)

    def slow(self, whose: int, for_s: float, stop_ms: int, run_ms: int, *pids: int) -> bool:
        """Stop and resume them in turn: a process on a machine that is too busy. Returns when it has begun."""
        processes = [_worker(pid) for pid in pids]
        self._lasting.end(f"stop {whose}")
        guard = _guard(for_s + stop_ms / 1000, pids)
        over, begun = threading.Event(), threading.Event()

        def run() -> None:
            while not over.wait(run_ms / 1000):
                for process in processes:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.suspend()
                begun.set()
                over.wait(stop_ms / 1000)
                _go_on(processes)

        thread = threading.Thread(target=run, name=f"slow {whose}", daemon=True)
        thread.start()

        def undo() -> None:
            over.set()
            thread.join(GONE_S)
            _go_on(processes, guard)

        self._lasting.begin(f"slow {whose}", undo, for_s)
        return begun.wait(GONE_S)

    def end(self, what: str, whose: int) -> bool:
        """End a fault that lasts: "stop", "slow", "disk", "store"; whether it lasted still."""
        return self._lasting.end(f"{what} {whose}")

    # -- disks --------------------------------------------------------------------------------------------------------

    def fail_disk(self, whose: int, for_s: float, pid: int) -> bool:
        """Refuse every write of this process to a file: its limit for the size of files becomes zero (EFBIG)."""
        process = _worker(pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))

        def undo() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, before)

        self._lasting.begin(f"disk {whose}", undo, for_s)
        return True

    def wipe(self, whose: int, *pids: int) -> bool:
        """Kill the member and remove all that its directory holds: what runs there next finds an empty disk.

        The lock's file stays, so that nobody else comes to an end of it meanwhile. It stays down if it was kept down.
        """
        with self._locked(whose, pids) as path:
            for name in os.listdir(path):
                if name != LOCK:
                    os.unlink(os.path.join(path, name))
        return True

    def damage(self, whose: int, what: str, seed: int, *pids: int) -> str:
        """Kill the member and flip a bit in the first half of one of its files, "log" or "snapshot"; which and where.

        It stays down if it was kept down.
        """
        suffix = {"log": SEGMENT_SUFFIX, "snapshot": SNAPSHOT_SUFFIX}[what]
        with self._locked(whose, pids) as path:
            return _flip(path, suffix, Random(seed))

    # -- memory and the machine ---------------------------------------------------------------------------------------

    def fill_object_store(self, whose: int, for_s: float, capacity_bytes: int) -> bool:
        """Take this node's object store and hold it. What others put there waits, and then goes to the file system.

        Each object is also mapped here: what a process looks at is neither evicted nor written to disk.
        """
        pinned: list[Any] = []
        self._lasting.begin(f"store {whose}", pinned.clear, for_s)
        for _ in range(0, capacity_bytes, CHUNK_BYTES):
            try:
                reference = ray.put(np.ones(CHUNK_BYTES, dtype=np.uint8))
                pinned.append((reference, ray.get(reference, timeout=GONE_S)))
            except RayError:
                break  # no room at all
        return bool(pinned)

    def kill_raylet(self) -> bool:
        """SIGKILL this node's raylet. The actors on it live on for a moment, as after a machine's loss of network."""
        raylet = psutil.Process(os.getppid())
        if "raylet" not in raylet.name():
            raise FaultFailed(f"process {raylet.pid} is {raylet.name()!r}, and no raylet: nothing was done")
        threading.Timer(0.2, raylet.kill).start()  # after this answer
        return True

    def let_go(self) -> None:
        """End all that lasts."""
        self._lasting.end_all()

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, whose: int, pids: tuple[int, ...]) -> Iterator[str]:
        """Its directory, while nobody is at work in it."""
        was_down = self.is_locked(whose)
        self.kill_and_lock(whose, *pids)
        try:
            yield self._path(whose)
        finally:
            if not was_down:
                self.unlock(whose)

    def _path(self, whose: int) -> str:
        return member_path(self._data_dir, self._group, MemberId(whose))

    def _take(self, whose: int) -> None:
        """The lock of the member's directory, before anybody else has it. Raises `FaultFailed`."""
        for _ in range(LOCK_TIMES):
            try:
                held = open_data_directory(
                    self._path(whose),
                    group=self._group,
                    member_id=MemberId(whose),
                    allow_unsafe_data_dir=True,
                    files=OsFiles(),
                )
            except DirectoryLocked as refusal:  # one that came back meanwhile; it writes its name behind its lock
                holder = re.match(r"process (\d+)", refusal.details.get("holder") or "")
                with contextlib.suppress(FaultFailed):
                    if holder is not None:
                        self.kill(whose, int(holder[1]))
                time.sleep(LOCK_PAUSE_S)
                continue
            self._lasting.begin(f"lock {whose}", held.close, None)
            return
        raise FaultFailed(f"member {whose} was killed {LOCK_TIMES} times and came back each time: it is not kept down")


def _go_on(processes: Sequence[psutil.Process], guard: psutil.Process | None = None) -> None:
    """SIGCONT to each that is there, whatever became of the others."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    if guard is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            guard.terminate()


def _guard(for_s: float, pids: Sequence[int]) -> psutil.Process:
    """A process that lets them go on if this one dies first. It is nobody's child: Ray ends the children of workers."""
    script = f"(sleep {for_s:.3f}; kill -CONT {' '.join(map(str, pids))}) >/dev/null 2>&1 & echo $!"
    said = subprocess.run(["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, check=True)
    return psutil.Process(int(said.stdout))


def _worker(pid: int) -> psutil.Process:
    """A process of a Ray worker. Raises `FaultFailed`."""
    try:
        process = psutil.Process(pid)
        said = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        raise FaultFailed(f"process {pid} is gone already: nothing was done") from None
    if not said.startswith("ray::"):
        raise FaultFailed(f"process {pid} is {said[:80]!r}, no actor of Ray: nothing was done")
    return process


def _gone(process: psutil.Process) -> bool:
    try:
        process.wait(GONE_S)
    except psutil.TimeoutExpired:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def _becomes(process: psutil.Process, status: str) -> bool:
    deadline_s = time.monotonic() + GONE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() == status:
                return True
        time.sleep(LOOK_S)
    return False


def _flip(path: str, suffix: str, dice: Random) -> str:
    names = sorted(name for name in os.listdir(path) if name.endswith(suffix))
    names = [name for name in names if os.path.getsize(os.path.join(path, name)) > 0]
    if not names:
        raise FaultFailed(f"{path} has no file that ends in {suffix}: nothing was damaged")
    name = dice.choice(names)
    with open(os.path.join(path, name), "r+b") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        offset = dice.randrange(max(1, size_bytes // 2))
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << dice.randrange(8)]))
        file.flush()
        os.fsync(file.fileno())
    return f"{name} at byte {offset}"


RayHand: Any = ray.remote(max_concurrency=8, num_cpus=0, max_restarts=0)(Hand)
