"""Disks for a pumped group: in memory, as files that lose what was not synced, as files of this machine.

Here:   three ways to open, kill, cut and wipe the disk of one member.
Never:  when a write happens; the rig says so.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Protocol

from raft_actors.core.types import DIRECTORY_ID_BYTES, DirectoryId, MemberId
from raft_actors.storage.files import OsFiles
from raft_actors.storage.interface import Storage
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from raft_actors.storage.wal import FileStorage
from tests.storage.faulty_files import PATH, FaultyFiles, Keep, nothing

GROUP = "rig"
SEGMENT_BYTES_MAX = 64 * 1024


class Disks(Protocol):
    """One disk for each member."""

    def open(self, member_id: MemberId) -> Storage:
        """Open it; a new one after `wipe`."""

    def kill(self, member_id: MemberId) -> None:
        """SIGKILL of the process that has it open: the lock is free, what was not synced may still be read."""

    def power_cut(self, member_id: MemberId) -> None:
        """What was not synced is gone."""

    def wipe(self, member_id: MemberId) -> None:
        """Everything is gone; the next `open` draws another directory id."""


def directory_id(member_id: int, wipes: int = 0) -> DirectoryId:
    """The id that `MemoryDisks` draws: readable in a failure."""
    return DirectoryId(bytes([member_id, wipes]).ljust(DIRECTORY_ID_BYTES, b"d"))


class MemoryDisks:
    """What was written is durable at once."""

    def __init__(self) -> None:
        self._wipes: Counter[MemberId] = Counter()
        self._disks: dict[MemberId, MemoryDisk] = {}

    def open(self, member_id: MemberId) -> Storage:
        if member_id not in self._disks:
            self._disks[member_id] = MemoryDisk(directory_id=directory_id(member_id, self._wipes[member_id]))
        return MemoryStorage.open(self._disks[member_id], group=GROUP, member_id=member_id)

    def kill(self, member_id: MemberId) -> None:
        disk = self._disks.get(member_id)  # None: it was wiped, and nobody has opened it since
        if disk is not None and disk.holder is not None:
            disk.holder.crash()

    def power_cut(self, member_id: MemberId) -> None:
        self.kill(member_id)

    def wipe(self, member_id: MemberId) -> None:
        self.kill(member_id)
        self._wipes[member_id] += 1
        del self._disks[member_id]


class FaultyDisks:
    """The product's files in a file system with a page cache."""

    def __init__(self, *, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        self._segment_bytes_max = segment_bytes_max
        self.keep: Keep = nothing
        """What a power cut leaves of what was not synced."""
        self._files: dict[MemberId, FaultyFiles] = {}
        self._drawn = 0

    def files(self, member_id: MemberId) -> FaultyFiles:
        if member_id not in self._files:
            self._drawn += 1
            self._files[member_id] = FaultyFiles(seed=self._drawn)
        return self._files[member_id]

    def open(self, member_id: MemberId) -> Storage:
        files = self.files(member_id)
        return FileStorage.open(
            PATH, group=GROUP, member_id=member_id, segment_bytes_max=self._segment_bytes_max, files=files
        )

    def kill(self, member_id: MemberId) -> None:
        self.files(member_id).kill()

    def power_cut(self, member_id: MemberId) -> None:
        self.files(member_id).power_cut(self.keep)

    def wipe(self, member_id: MemberId) -> None:
        del self._files[member_id]

    def stop_before_sync(self, member_id: MemberId) -> None:
        """The next write reaches the page cache; the process ends before its sync."""
        files = self.files(member_id)
        files.stop_at = len(files.calls) + 1

    def fail_sync(self, member_id: MemberId) -> None:
        """The next write reaches the page cache; its sync fails, and the kernel takes the pages for clean."""
        files = self.files(member_id)
        files.fail_at = len(files.calls) + 1


class RealDisks:
    """The product's files on this machine's disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._wipes: Counter[MemberId] = Counter()
        self._files: dict[MemberId, _KillableFiles] = {}

    def open(self, member_id: MemberId) -> Storage:
        self._files[member_id] = files = _KillableFiles()
        return FileStorage.open(
            str(self._root / f"{member_id}-{self._wipes[member_id]}"),
            group=GROUP,
            member_id=member_id,
            segment_bytes_max=SEGMENT_BYTES_MAX,
            allow_unsafe_data_dir=True,
            files=files,
        )

    def kill(self, member_id: MemberId) -> None:
        self._files[member_id].kill()

    def power_cut(self, member_id: MemberId) -> None:
        raise NotImplementedError("a real machine's power cannot be cut from here: use FaultyDisks")

    def wipe(self, member_id: MemberId) -> None:
        self.kill(member_id)
        self._wipes[member_id] += 1


class _KillableFiles(OsFiles):
    """Closes everything at once, as the end of a process does; the lock goes with it."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def open_directory(self, path: str) -> int:
        descriptor = super().open_directory(path)
        self._open.add(descriptor)
        return descriptor

    def open(self, directory: int, name: str, flags: int) -> int:
        descriptor = super().open(directory, name, flags)
        self._open.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        super().close(descriptor)

    def kill(self) -> None:
        for descriptor in list(self._open):
            self.close(descriptor)
