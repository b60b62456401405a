"""The disk of one simulated member: how a process, a machine or the disk itself ends while a write is under way.

Here:   `Disk`, on the rig's disks: kills, power cuts, refused writes, damage, each in the middle of something.
Never:  when a write begins or ends (peer.py), when a fault happens (nemesis.py).
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from raft_actors.core.types import MemberId
from raft_actors.errors import StorageFailed
from raft_actors.storage.interface import Storage
from tests.rig.disks import Disks, FaultyDisks
from tests.storage.faulty_files import Keep, MachineStopped, everything, first, nothing, only_sizes, some

CALLS_IN_A_WRITE: Final = 3
"""System calls among which one is refused."""
CALLS_IN_A_WORK: Final = 5
"""Among which a process may end: a write makes two of them, one that begins a new segment or names a snapshot more."""
CALLS_IN_AN_OPEN: Final = 12
REFUSALS: Final = (errno.EIO, errno.ENOSPC)


class Disk:
    """What one member's process writes to. It outlives the process."""

    def __init__(self, disks: Disks, member_id: MemberId, dice: random.Random) -> None:
        self._disks = disks
        self._files = disks.files(member_id) if isinstance(disks, FaultyDisks) else None
        self._member_id = member_id
        self._dice = dice
        self.storage: Storage | None = None
        self._settled: set[str] = set()
        """Log files that a start found and has continued, up to its end: all that counts in them was synced."""

    @property
    def is_files(self) -> bool:
        """Whether this is the product's file code: it can tear, refuse and be damaged."""
        return self._files is not None

    def open(self) -> Storage:
        """A process starts. Raises what the storage raises, and `MachineStopped` when `stop_while_opening` was said."""
        self.storage = self._disks.open(self._member_id)
        if self._files is not None:
            self._files.stop_at = None  # it was quicker
            self._settled = set(self._log_names()[:-1])
        return self.storage

    def _log_names(self) -> list[str]:
        assert self._files is not None, "a storage in memory has no files"
        return sorted(name for name in self._files.cached_names if name.startswith("log-"))

    def stop_while_opening(self) -> None:
        """The next `open` ends with its process, somewhere inside."""
        if self._files is not None:
            self._files.stop_at = self._dice.randrange(CALLS_IN_AN_OPEN)

    def refuse(self) -> None:
        """One of the next system calls fails, once."""
        if self._files is not None:
            self._files.fail_at = len(self._files.calls) + self._dice.randrange(CALLS_IN_A_WRITE)
            self._files.error = self._dice.choice(REFUSALS)

    def end(self, works: Sequence[Callable[[], object]], *, power_cut: bool) -> None:
        """The process ends in the middle of these works: all of each is there afterwards, or a part, or none."""
        for work in works:
            self._do_some(work)
        self.storage = None
        if power_cut:
            if isinstance(self._disks, FaultyDisks):
                self._disks.keep = self._draw_keep()
            self._disks.power_cut(self._member_id)
        else:
            self._disks.kill(self._member_id)

    def _do_some(self, work: Callable[[], object]) -> None:
        if self._files is None:
            if self._dice.random() < 0.5:
                work()
            return
        self._files.stop_at = len(self._files.calls) + self._dice.randrange(CALLS_IN_A_WORK)
        with suppress(MachineStopped, StorageFailed):
            work()
        self._files.stop_at = None

    def _draw_keep(self) -> Keep:
        kinds: list[Keep] = [nothing, everything, only_sizes, some(self._dice), first(self._dice.randrange(4))]
        return self._dice.choice(kinds)

    def damage(self) -> str | None:
        """Flip a bit in the oldest log file, if a start has continued it; what was flipped, None: nothing was.

        Others are left alone: a flip in the last group, before a mark says that it was synced, is beyond what is
        promised (docs/DIVERGENCE.md). A newer file alone says nothing: a start that ended too early leaves one, too.
        """
        if self._files is None:
            return None
        names = self._log_names()
        return self._flip(names[0]) if names and names[0] in self._settled else None

    def damage_snapshot(self) -> str | None:
        """Flip a bit in the newest snapshot, while nobody has it open; what was flipped, None: nothing was."""
        if self._files is None:
            return None
        names = sorted(name for name in self._files.cached_names if name.endswith(".snap"))
        return self._flip(names[-1]) if names else None

    def _flip(self, name: str) -> str | None:
        assert self._files is not None, "a storage in memory has no bits"
        inode = self._files.cached_names[name]
        if not inode.cache:
            return None
        offset, bit = self._dice.randrange(len(inode.cache)), 1 << self._dice.randrange(8)
        for data in (inode.cache, inode.platter):
            if offset < len(data):
                data[offset] ^= bit
        return f"{name} byte {offset}"

    def wipe(self) -> None:
        """Everything is gone; the next `open` draws another directory id."""
        self.storage = None
        self._disks.wipe(self._member_id)
        if isinstance(self._disks, FaultyDisks):
            self._files = self._disks.files(self._member_id)
