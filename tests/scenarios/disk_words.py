"""The words of a story about disks: pasts that are written down, writes that wait, power cuts, bits that turn over.

Here:   `DISK_COMMANDS`, and the small functions behind it.
Never:  all other words (words.py); how a disk forgets (tests/storage/faulty_files.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from raft_actors.core.entries import Command, Configuration, Entry
from raft_actors.core.entries import Member as Line
from raft_actors.core.types import EntryId, LogIndex, MemberId, Term
from tests.rig.disks import FaultyDisks, directory_id
from tests.rig.rig import Group
from tests.scenarios.scene import Scene, Word, each, options_of
from tests.storage.faulty_files import Change, FaultyFiles, Keep, everything, nothing


def _disk(scene: Scene, words: list[str]) -> None:
    """`disk 1 1 2 2:1,2' term=3`: 1, which is down, holds entries of terms 1, 2, and 2: a configuration; and term 3.

    `20*2` stands for twenty entries of term 2. A configuration lists voters, `(4)` for a non-voter, `2'` for the
    directory that 2 got when it was wiped.
    """
    (number, *runs), options = options_of(words)
    given: list[str] = []
    for run in runs:
        count, _, one = run.rpartition("*")
        given += [one] * int(count or 1)
    entries = [_entry(index, word) for index, word in enumerate(given, 1)]
    scene.group.put_on_disk(int(number), *entries, term=int(options["term"]) if "term" in options else None)


def _entry(index: int, word: str) -> Entry:
    term, _, listed = word.partition(":")
    if not listed:
        return Entry(id=EntryId(Term(int(term)), LogIndex(index)), payload=Command(data=term.encode()), stamp_ms=0)
    lines = []
    for name in listed.split(","):
        number = int(name.strip("()'"))
        directory = directory_id(number, name.count("'"))
        lines.append(Line(member_id=MemberId(number), directory_id=directory, voter="(" not in name))
    payload = Configuration(members=tuple(lines))
    return Entry(id=EntryId(Term(int(term)), LogIndex(index)), payload=payload, stamp_ms=0)


def _sync(scene: Scene, words: list[str]) -> None:
    """`sync 1 [2]`: all writes that wait at a held disk, or the oldest 2, become durable as one group."""
    scene.group.sync(int(words[0]), int(words[1]) if words[1:] else None)


def _stop_before_sync(scene: Scene, words: list[str]) -> None:
    """`stop-before-sync 1`: its next write reaches the page cache, and the process ends before the sync."""
    for word in words:
        assert isinstance(scene.group.disks, FaultyDisks)
        scene.group.disks.stop_before_sync(MemberId(int(word)))


def _fail_sync(scene: Scene, words: list[str]) -> None:
    """`fail-sync 1`: its next write reaches the page cache, and the sync fails. The process ends of it."""
    for word in words:
        assert isinstance(scene.group.disks, FaultyDisks)
        scene.group.disks.fail_sync(MemberId(int(word)))


def _power_cut(scene: Scene, words: list[str]) -> None:
    """`power-cut 1 [everything|half|last]`: the machine is off; what of the unsynced is kept, nothing unless said."""
    disks = scene.group.disks
    if isinstance(disks, FaultyDisks):
        disks.keep = KEEPS[words[1] if words[1:] else "nothing"](scene.files(words[0]))
    scene.group.power_cut(int(words[0]))


def _half(change: Change) -> Change | None:
    """The names, and the first half of each write."""
    return change if change.inode is None else replace(change, data=change.data[: len(change.data) // 2])


def _last(files: FaultyFiles) -> Keep:
    newest = files.changes[-1]
    return lambda change: change if change is newest else None


KEEPS: Final[dict[str, Callable[[FaultyFiles], Keep]]] = {
    "nothing": lambda files: nothing,
    "everything": lambda files: everything,
    "half": lambda files: _half,
    "last": _last,
}


def _damage(scene: Scene, words: list[str]) -> None:
    """`damage 1 x`: one bit of the first x in the log files of 1 turns over, in the page cache and on the platter."""
    wanted = words[1].encode()
    files = scene.files(words[0])
    for name in sorted(files.cached_names):
        inode = files.cached_names[name]
        at = inode.platter.find(wanted) if name.endswith(".seg") else -1
        if at >= 0:
            inode.platter[at] ^= 1
            inode.cache[at] ^= 1
            return
    raise AssertionError(f"no {words[1]} on the disk of member {words[0]}")


DISK_COMMANDS: Final[dict[str, Word]] = {
    "disk": _disk,
    "hold-disk": each(Group.hold_disk),
    "release-disk": each(Group.release_disk),
    "sync": _sync,
    "mark": each(Group.mark),
    "stop-before-sync": _stop_before_sync,
    "fail-sync": _fail_sync,
    "power-cut": _power_cut,
    "damage": _damage,
    "copy-disk": lambda scene, words: scene.copy_disk(words[0]),
    "put-back": lambda scene, words: scene.put_back(words[0]),
}
