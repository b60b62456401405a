"""What is done to processes, disks and memory of one machine, by an actor that is there.

Here:   `Hand`: signals, slowness, locks, damage, a full disk, a full object store, the end of a raylet. All of it real.
Never:  to whom and when (injector.py).

It ends only processes of Ray's workers and the raylet that started it, each by its pid and only after a look at what it
is. What lasts is undone when its time is over or the hand's work is (`let_go`), whoever forgot it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np
import psutil
import ray
from ray.exceptions import RayError

from raft_actors.core.types import MemberId
from raft_actors.errors import DirectoryLocked, FaultFailed
from raft_actors.storage.directory import SEGMENT_SUFFIX, SNAPSHOT_SUFFIX, DataDirectory, open_data_directory
from raft_actors.storage.files import OsFiles
from raft_actors.storage.place import member_path

GONE_S: Final = 10.0
"""How long a process may take to be gone after SIGKILL, to stand still after SIGSTOP."""
LOOK_S: Final = 0.005
LOCK_TIMES: Final = 5
"""How often a process that came back before its directory was locked is killed again."""
CHUNK_BYTES: Final = 4 * 1024 * 1024
STORE_BYTES_MAX: Final = 8 * 1024**3
"""An object store larger than that is not filled: it would take the machine's memory."""


class Hand:
    """One machine's. Several calls at a time."""

    def __init__(self, group: str, data_dir: str | None) -> None:
        self._group = group
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._stopped: dict[int, psutil.Process] = {}
        self._undo: dict[str, Callable[[], None]] = {}
        """By what it is about, what ends a fault that lasts."""
        self._pinned: list[Any] = []

    # -- processes ----------------------------------------------------------------------------------------------------

    def kill(self, *pids: int) -> bool:
        """SIGKILL all of them at once; whether all are gone."""
        processes = [_worker(pid) for pid in pids]
        for process in processes:
            process.kill()
        return all(_gone(process) for process in processes)

    def kill_and_lock(self, member_id: int, peer_pid: int | None, *others: int) -> bool:
        """The same, and let no process of this member run until `unlock`: it waits for its directory."""
        if self.is_locked(member_id):
            return True
        if peer_pid is not None:
            self.kill(peer_pid, *others)
        return self._take(member_id)

    def is_locked(self, member_id: int) -> bool:
        """Whether the member is kept down."""
        return _about("lock", member_id) in self._undo

    def unlock(self, member_id: int) -> bool:
        """Let it run again; whether it was kept down."""
        return self._end(_about("lock", member_id))

    def stop(self, for_s: float, *pids: int) -> bool:
        """SIGSTOP, for at most so long; whether all stand still."""
        processes = [_worker(pid) for pid in pids]
        for process in processes:
            process.suspend()
            with self._lock:
                self._stopped[process.pid] = process
        self._later(for_s, lambda: self.resume(*pids))
        return all(_becomes(process, psutil.STATUS_STOPPED) for process in processes)

    def resume(self, *pids: int) -> bool:
        """SIGCONT; whether one of them stood still."""
        with self._lock:
            processes = [process for pid in pids if (process := self._stopped.pop(pid, None)) is not None]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        return bool(processes)

    def slow(self, for_s: float, stop_ms: int, run_ms: int, *pids: int) -> bool:
        """Stop and resume them in turn: a process on a machine that is too busy. Returns when it has begun."""
        processes = [_worker(pid) for pid in pids]
        over, begun = threading.Event(), threading.Event()

        def run() -> None:
            end_s = time.monotonic() + for_s
            while time.monotonic() < end_s and not over.wait(run_ms / 1000):
                with contextlib.suppress(psutil.NoSuchProcess):
                    for process in processes:
                        process.suspend()
                    begun.set()
                    over.wait(stop_ms / 1000)
                    for process in processes:
                        process.resume()

        thread = threading.Thread(target=run, name="slow", daemon=True)
        thread.start()

        def undo() -> None:
            over.set()
            thread.join(GONE_S)

        self._put("slow", pids[0], undo)
        return begun.wait(GONE_S)

    def hasten(self, pid: int) -> bool:
        """End the slowness of the processes of which this is the first."""
        return self._end(_about("slow", pid))

    # -- disks --------------------------------------------------------------------------------------------------------

    def fail_disk(self, for_s: float, pid: int) -> bool:
        """Refuse every write of this process to a file: its limit for the size of files becomes zero (EFBIG)."""
        process = _worker(pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))

        def undo() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, before)

        self._put("disk", pid, undo)
        self._later(for_s, lambda: self._end(_about("disk", pid)))
        return bool(process.rlimit(psutil.RLIMIT_FSIZE)[0] == 0)

    def mend_disk(self, pid: int) -> bool:
        """Let it write again."""
        return self._end(_about("disk", pid))

    def wipe(self, member_id: int, peer_pid: int | None, *others: int) -> bool:
        """Kill the member and remove all that its directory holds. What Ray starts anew finds an empty disk."""
        self.kill_and_lock(member_id, peer_pid, *others)
        path = self._path(member_id)
        shutil.rmtree(path)
        self.unlock(member_id)
        return True

    def damage(self, member_id: int, what: str, seed: int, peer_pid: int | None, *others: int) -> str:
        """Kill the member and flip a bit in the first half of one of its files, "log" or "snapshot"; which and where.

        It stays down if it was kept down.
        """
        suffix = {"log": SEGMENT_SUFFIX, "snapshot": SNAPSHOT_SUFFIX}[what]
        was_down = self.is_locked(member_id)
        self.kill_and_lock(member_id, peer_pid, *others)
        try:
            return _flip(self._path(member_id), suffix, Random(seed))
        finally:
            if not was_down:
                self.unlock(member_id)

    # -- memory and the machine ---------------------------------------------------------------------------------------

    def fill_object_store(self, for_s: float) -> int:
        """Take all of this node's object store and hold it, so that nothing can be put there; bytes taken.

        Each object is also mapped here: what a process looks at is neither evicted nor written to disk.
        """
        taken = 0
        try:
            while taken < STORE_BYTES_MAX:
                reference = ray.put(np.ones(CHUNK_BYTES, dtype=np.uint8))
                self._pinned.append((reference, ray.get(reference, timeout=GONE_S)))
                taken += CHUNK_BYTES
        except RayError:
            pass
        self._put("store", 0, self._pinned.clear)
        self._later(for_s, lambda: self._end(_about("store", 0)))
        return taken

    def free_object_store(self) -> bool:
        """Give it back."""
        return self._end(_about("store", 0))

    def kill_raylet(self) -> bool:
        """SIGKILL this node's raylet. The actors on it live on for a moment, as after a machine's loss of network."""
        raylet = psutil.Process(os.getppid())
        if "raylet" not in raylet.name():
            raise FaultFailed(f"process {raylet.pid} is {raylet.name()!r}, and no raylet: nothing was done")
        threading.Timer(0.2, raylet.kill).start()  # after this answer
        return True

    # -- the end ------------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """End all that lasts."""
        for about in list(self._undo):
            self._end(about)
        self.resume(*list(self._stopped))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _path(self, member_id: int) -> str:
        return member_path(self._data_dir, self._group, MemberId(member_id))

    def _take(self, member_id: int) -> bool:
        """The lock of the member's directory, before anybody else has it."""
        path = self._path(member_id)
        for _ in range(LOCK_TIMES):
            try:
                held: DataDirectory = open_data_directory(
                    path, group=self._group, member_id=MemberId(member_id), allow_unsafe_data_dir=True, files=OsFiles()
                )
            except DirectoryLocked as refusal:
                holder = re.match(r"process (\d+)", refusal.details.get("holder") or "")
                if holder is not None and psutil.pid_exists(int(holder[1])):
                    self.kill(int(holder[1]))
                continue
            self._put("lock", member_id, held.close)
            return True
        return False

    def _put(self, what: str, whose: int, undo: Callable[[], None]) -> None:
        self._end(_about(what, whose))
        with self._lock:
            self._undo[_about(what, whose)] = undo

    def _end(self, about: str) -> bool:
        with self._lock:
            undo = self._undo.pop(about, None)
        if undo is not None:
            undo()
        return undo is not None

    def _later(self, for_s: float, undo: Callable[[], object]) -> None:
        timer = threading.Timer(for_s, undo)
        timer.daemon = True
        timer.start()


def _about(what: str, whose: int) -> str:
    return f"{what} {whose}"


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
