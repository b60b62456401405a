"""A file system in memory that loses what was not synced, tears it, and refuses calls.

One data directory, `/data/member`. The bytes that a process sees (the page cache) and the bytes on the platter are
kept apart; between them stand the writes and name changes that were not synced. A power cut keeps any of those that a
test chooses, in pieces of 512 bytes; a kill keeps the page cache.
"""

from __future__ import annotations

import copy
import errno
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from raft_actors.storage.files import Status

SECTOR_BYTES = 512
PATH = "/data/member"


class MachineStopped(BaseException):
    """The process or the machine ends here; nothing of ours may catch it."""


@dataclass(slots=True)
class Inode:
    cache: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    mode: int = stat.S_IFREG | 0o600


@dataclass(slots=True)
class Change:
    """One thing that is not durable yet: bytes of a file, or a name in the directory."""

    inode: Inode | None
    offset: int = 0
    data: bytes = b""
    name: str = ""
    target: Inode | None = None


Keep = Callable[[Change], Change | None]
"""What of a change a power cut leaves."""


@dataclass(slots=True)
class Descriptor:
    inode: Inode | None
    """None: the directory."""
    locks: bool = False


class FaultyFiles:
    """`Files` with faults. Calls that change something are counted; `stop_at` and `fail_at` name one of them."""

    def __init__(self, *, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.exists = False
        self.cached_names: dict[str, Inode] = {}
        self.platter_names: dict[str, Inode] = {}
        self.changes: list[Change] = []
        self.descriptors: dict[int, Descriptor] = {}
        self.next_descriptor = 3
        self.calls: list[str] = []
        self.stop_at: int | None = None
        self.fail_at: int | None = None
        self.error = errno.EIO
        self.short_writes = False

    # -- faults

    def _call(self, what: str) -> None:
        number = len(self.calls)
        self.calls.append(what)
        if number == self.stop_at:
            raise MachineStopped(f"call {number}, {what}")
        if number == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))

    def kill(self) -> None:
        """SIGKILL: descriptors and locks go, the page cache stays."""
        self.descriptors.clear()
        self.stop_at = self.fail_at = None
        self.calls = []

    def power_cut(self, keep: Keep) -> None:
        """Keep of each change what `keep` says, in the order of the changes; then start from the platter."""
        for change in self.changes:
            kept = keep(change)
            if kept is not None:
                self._to_platter(kept)
        self.changes = []
        self.cached_names = dict(self.platter_names)
        for inode in self.cached_names.values():
            inode.cache = bytearray(inode.platter)
        self.kill()

    def copy(self) -> FaultyFiles:
        return copy.deepcopy(self)

    def _to_platter(self, change: Change) -> None:
        if change.inode is None:
            if change.target is None:
                self.platter_names.pop(change.name, None)
            else:
                self.platter_names[change.name] = change.target
            return
        platter = change.inode.platter
        if len(platter) < change.offset + len(change.data):
            platter.extend(bytes(change.offset + len(change.data) - len(platter)))
        platter[change.offset : change.offset + len(change.data)] = change.data

    # -- Files

    def user(self) -> int:
        return 0

    def process(self) -> int:
        return 4711

    def random_bytes(self, count: int) -> bytes:
        return self.dice.randbytes(count)

    def real_path(self, path: str) -> str:
        return path

    def lstat(self, path: str) -> Status:
        if path == PATH and not self.exists:
            raise FileNotFoundError(errno.ENOENT, path)
        return Status(mode=stat.S_IFDIR | 0o700, uid=0, size=0)

    def make_directory(self, path: str) -> None:
        assert path == PATH
        self.exists = True

    def open_directory(self, path: str) -> int:
        return self._descriptor(Descriptor(inode=None))

    def _descriptor(self, opened: Descriptor) -> int:
        self.next_descriptor += 1
        self.descriptors[self.next_descriptor] = opened
        return self.next_descriptor

    def open(self, directory: int, name: str, flags: int) -> int:
        assert directory in self.descriptors
        inode = self.cached_names.get(name)
        if inode is not None and flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, name)
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, name)
            self._call(f"create {name}")
            inode = self.cached_names[name] = Inode()
            self.changes.append(Change(inode=None, name=name, target=inode))
        return self._descriptor(Descriptor(inode=inode))

    def close(self, descriptor: int) -> None:
        del self.descriptors[descriptor]

    def fstat(self, descriptor: int) -> Status:
        inode = self.descriptors[descriptor].inode
        if inode is None:
            return Status(mode=stat.S_IFDIR | 0o700, uid=0, size=0)
        return Status(mode=inode.mode, uid=0, size=len(inode.cache))

    def filesystem_type(self, descriptor: int) -> int:
        return 0xEF53  # ext4

    def list_names(self, directory: int) -> list[str]:
        names = list(self.cached_names)
        self.dice.shuffle(names)
        return names

    def _file(self, descriptor: int) -> Inode:
        inode = self.descriptors[descriptor].inode
        assert inode is not None
        return inode

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        return bytes(self._file(descriptor).cache[offset : offset + size])

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        inode = self._file(descriptor)
        count = len(data) if not self.short_writes or len(data) == 1 else self.dice.randrange(1, len(data))
        try:
            self._call("write")
        except OSError:
            count = count // 2  # what an error leaves behind is anybody's guess
            raise
        finally:
            part = bytes(data[:count])
            self.changes.append(Change(inode=inode, offset=offset, data=part))
            if len(inode.cache) < offset + count:
                inode.cache.extend(bytes(offset + count - len(inode.cache)))
            inode.cache[offset : offset + count] = part
        return count

    def sync_data(self, descriptor: int) -> None:
        inode = self.descriptors[descriptor].inode
        mine = [change for change in self.changes if change.inode is inode]
        try:
            self._call("sync directory" if inode is None else "sync")
        except OSError:
            # The kernel marks the pages clean: they are still read, never written, and the next sync says ok.
            self.changes = [change for change in self.changes if change not in mine]
            raise
        for change in mine:
            self._to_platter(change)
        self.changes = [change for change in self.changes if change.inode is not inode]

    def sync(self, descriptor: int) -> None:
        self.sync_data(descriptor)

    def rename(self, directory: int, old: str, new: str) -> None:
        self._call(f"rename {new}")
        inode = self.cached_names.pop(old)
        self.cached_names[new] = inode
        self.changes.append(Change(inode=None, name=new, target=inode))
        self.changes.append(Change(inode=None, name=old, target=None))

    def unlink(self, directory: int, name: str) -> None:
        if name not in self.cached_names:
            raise FileNotFoundError(errno.ENOENT, name)
        self._call(f"unlink {name}")
        del self.cached_names[name]
        self.changes.append(Change(inode=None, name=name, target=None))

    def lock(self, descriptor: int) -> bool:
        inode = self._file(descriptor)
        if any(other.locks and other.inode is inode for other in self.descriptors.values()):
            return False
        self.descriptors[descriptor].locks = True
        return True


# -- what a power cut keeps -----------------------------------------------------------------------------------------


def nothing(change: Change) -> Change | None:
    """The platter as it was."""
    return None


def everything(change: Change) -> Change | None:
    """The disk was quick."""
    return change


def first(count: int) -> Keep:
    """The first changes, in order."""
    left = count

    def keep(change: Change) -> Change | None:
        nonlocal left
        left -= 1
        return change if left >= 0 else None

    return keep


def only_sizes(change: Change) -> Change | None:
    """Names and file sizes are there, the bytes are zeros."""
    if change.inode is None:
        return change
    return Change(inode=change.inode, offset=change.offset, data=bytes(len(change.data)))


def some(dice: random.Random) -> Keep:
    """Any of the changes; of a write any of its sectors, the others as they were, or zeros where the file grew."""

    def keep(change: Change) -> Change | None:
        if change.inode is None:
            return change if dice.random() < 0.5 else None
        old = change.inode.platter[change.offset : change.offset + len(change.data)].ljust(len(change.data), b"\0")
        data = bytearray(old)
        at = 0
        while at < len(data):
            end = min(len(data), ((change.offset + at) // SECTOR_BYTES + 1) * SECTOR_BYTES - change.offset)
            if dice.random() < 0.5:
                data[at:end] = change.data[at:end]
            at = end
        size = len(data) if dice.random() < 0.7 else dice.randrange(len(data) + 1)
        return Change(inode=change.inode, offset=change.offset, data=bytes(data[:size]))

    return keep
