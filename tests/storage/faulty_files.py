"""A file system in memory that loses what was not synced, tears it, and refuses calls.

Here:   one data directory, `/data/member`, as `Files`; kills, power cuts, errors, short reads and writes; copies that
        are cheap enough to take one at every call.
Never:  what must be true after a fault (campaigns/oracle.py, or the test that makes it).

The bytes that a process sees (the page cache) and the bytes on the platter are kept apart; between them stand the
writes and name changes that were not synced. A power cut keeps any of those that a test chooses, in pieces of 512
bytes; a kill keeps the page cache. It is less kind than real file systems: name changes reach the platter in any
order, both halves of a rename alone too, and a file's sync does not bring its name along.
"""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from raft_actors.storage.files import Room, Status

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


Keep: TypeAlias = Callable[[Change], Change | None]
"""What of a change a power cut leaves."""

Watch: TypeAlias = Callable[[str], None]
"""Told of every call that changes something, before it has any effect; of a read it hears nothing."""


@dataclass(slots=True)
class Descriptor:
    inode: Inode | None
    """None: the directory."""
    locks: bool = False


class FaultyFiles:
    """`Files` with faults. Calls that change something are counted; `stop_at` and `fail_at` name one of them.

    Calls that only look are counted apart; `fail_look_at` names one of those.
    """

    def __init__(self, *, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.exists = False
        self.cached_names: dict[str, Inode] = {}
        self.platter_names: dict[str, Inode] = {}
        self.changes: list[Change] = []
        self.writing: Change | None = None
        """The write that `watch` is being told of; none of it has happened."""
        self.descriptors: dict[int, Descriptor] = {}
        self.next_descriptor = 3
        self.calls: list[str] = []
        self.looks = 0
        self.watch: Watch | None = None
        self.on_failure: Callable[[], None] | None = None
        """Told of every call that fails."""
        self.stop_at: int | None = None
        self.fail_at: int | None = None
        self.fail_for_ever = False
        """All calls from `fail_at` on fail, until the process ends."""
        self.fail_look_at: int | None = None
        self.error = errno.EIO
        self.failed_sync: Keep = nothing
        """What of its file's changes a sync that fails has brought to the platter."""
        self.short_writes = False
        self.short_reads = False
        self.room_left = Room(free=1 << 40, total=1 << 40)

    # -- faults

    def _call(self, what: str) -> None:
        if self.watch is not None:
            self.watch(what)
        number = len(self.calls)
        self.calls.append(what)
        if number == self.stop_at:
            raise MachineStopped(f"call {number}, {what}")
        if self.fail_at is not None and (number == self.fail_at or (self.fail_for_ever and number > self.fail_at)):
            self._fail()

    def _look(self) -> None:
        number, self.looks = self.looks, self.looks + 1
        if number == self.fail_look_at:
            self._fail()

    def _fail(self) -> None:
        if self.on_failure is not None:
            self.on_failure()
        raise OSError(self.error, os.strerror(self.error))

    def kill(self) -> None:
        """SIGKILL: descriptors and locks go, the page cache stays. What was to fail was that process's."""
        self.descriptors.clear()
        self.writing = None
        self.stop_at = self.fail_at = self.fail_look_at = None
        self.calls, self.looks = [], 0

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
        """Another machine with the same files, changes and open descriptors; no fault waits in it, nobody watches it.

        Its dice go on from a number drawn here, since their whole state is as large as a small log.
        """
        inodes: dict[int, Inode] = {}

        def twin_of(inode: Inode) -> Inode:
            twin = inodes.get(id(inode))
            if twin is None:
                twin = inodes[id(inode)] = Inode(inode.cache[:], inode.platter[:], inode.mode)
            return twin

        def maybe(inode: Inode | None) -> Inode | None:
            return None if inode is None else twin_of(inode)

        def twin_change(change: Change) -> Change:
            return Change(maybe(change.inode), change.offset, change.data, change.name, maybe(change.target))

        twin = FaultyFiles(seed=self.dice.getrandbits(32))
        twin.exists = self.exists
        twin.cached_names = {name: twin_of(inode) for name, inode in self.cached_names.items()}
        twin.platter_names = {name: twin_of(inode) for name, inode in self.platter_names.items()}
        twin.changes = list(map(twin_change, self.changes))
        twin.writing = None if self.writing is None else twin_change(self.writing)
        twin.descriptors = {
            number: Descriptor(maybe(each.inode), each.locks) for number, each in self.descriptors.items()
        }
        twin.next_descriptor = self.next_descriptor
        twin.calls = list(self.calls)
        twin.short_writes, twin.short_reads = self.short_writes, self.short_reads
        return twin

    def on_platter(self) -> tuple[tuple[str, bytes], ...]:
        """What is durable now: names and bytes, to tell two images apart."""
        return tuple(sorted((name, bytes(inode.platter)) for name, inode in self.platter_names.items()))

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
        return Status(mode=stat.S_IFDIR | 0o700, uid=0, size=0, identity=(1, 1))

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
        self._look()
        inode = self.descriptors[descriptor].inode
        if inode is None:
            return Status(mode=stat.S_IFDIR | 0o700, uid=0, size=0, identity=(1, 1))
        return Status(mode=inode.mode, uid=0, size=len(inode.cache), identity=(1, id(inode)))

    def filesystem_type(self, descriptor: int) -> int:
        return 0xEF53  # ext4

    def room(self, descriptor: int) -> Room:
        self._look()
        return self.room_left

    def list_names(self, directory: int) -> list[str]:
        self._look()
        names = list(self.cached_names)
        self.dice.shuffle(names)
        return names

    def _file(self, descriptor: int) -> Inode:
        inode = self.descriptors[descriptor].inode
        assert inode is not None
        return inode

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        self._look()
        if self.short_reads and size > 1:
            size = self.dice.randrange(1, size)
        return bytes(self._file(descriptor).cache[offset : offset + size])

    def write(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        inode = self._file(descriptor)
        count = len(data) if not self.short_writes or len(data) == 1 else self.dice.randrange(1, len(data))
        self.writing = Change(inode=inode, offset=offset, data=bytes(data))
        try:
            self._call("write")
        except OSError:
            count = count // 2  # what an error leaves behind is anybody's guess
            raise
        finally:
            self.write_part(count)
        return count

    def write_part(self, count: int) -> None:
        """The first bytes of the write that is under way reach the page cache, and it is under way no more."""
        write, self.writing = self.writing, None
        assert write is not None, "no write is under way"
        assert write.inode is not None, "a write is to a file"
        part, cache = write.data[:count], write.inode.cache
        self.changes.append(Change(inode=write.inode, offset=write.offset, data=part))
        if len(cache) < write.offset + count:
            cache.extend(bytes(write.offset + count - len(cache)))
        cache[write.offset : write.offset + count] = part

    def sync_data(self, descriptor: int) -> None:
        inode = self.descriptors[descriptor].inode
        try:
            self._call("sync directory" if inode is None else "sync")
        except OSError:
            # The kernel marks the pages clean: they are still read, never written, and the next sync says ok.
            self._bring(inode, self.failed_sync)
            raise
        self._bring(inode, everything)

    def _bring(self, inode: Inode | None, keep: Keep) -> None:
        """To the platter: what `keep` says of each change of a file, or of the names. The rest is forgotten."""
        for kept in filter(None, (keep(change) for change in self.changes if change.inode is inode)):
            self._to_platter(kept)
        self.changes = [change for change in self.changes if change.inode is not inode]

    def sync(self, descriptor: int) -> None:
        self.sync_data(descriptor)

    def rename(self, directory: int, old: str, new: str) -> None:
        self._call(f"rename {new}")
        inode = self.cached_names.pop(old)
        self.cached_names[new] = inode
        self.changes.append(Change(inode=None, name=new, target=inode))
        self.changes.append(Change(inode=None, name=old, target=None))

    def link(self, directory: int, old: str, new: str) -> None:
        assert new not in self.cached_names, f"{new} exists"
        self._call(f"link {new}")
        inode = self.cached_names[new] = self.cached_names[old]
        self.changes.append(Change(inode=None, name=new, target=inode))

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
