"""What is durable in every directory there ever was, by what disks said, never by what a peer believes.

Here:   `Disks`: a mirror per directory, fed by write groups and named snapshots; monotonic terms and one vote per term
        across restarts; recovery holds all that was told durable; how many copies of an entry there are.
Never:  memory (logs.py), what is committed (commits.py), what is in a snapshot (snapshots.py).

A wiped directory keeps its mirror: what it promised before was promised, and the loss was told.

A mirror holds all entries from the first on, also those that the directory has in a snapshot only. A log that does not
hold the last entry of the newest snapshot is reset to that by the next start, if not before (ADR 10): so what is
durable then is the snapshot, and nothing of the log.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from raft_actors.core.effects import Append, HardState, Record, Reset, Truncate
from raft_actors.core.entries import Entry, SnapshotMeta
from raft_actors.core.types import DirectoryId, EntryId, Term
from raft_actors.storage.image import LogImage
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import Violation, name_of


class Image(Protocol):
    """What a disk holds: `Recovered` and `LogImage` are."""

    @property
    def hard_state(self) -> HardState:
        """Term and vote."""

    @property
    def base(self) -> EntryId:
        """The entry before the first one."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The whole log from there on."""


class Disk:
    """One directory."""

    __slots__ = (
        "damaged",
        "directory_id",
        "maybe",
        "maybe_named",
        "named",
        "nodes",
        "term",
        "voted_for",
        "votes",
        "wiped",
    )

    def __init__(self, directory_id: DirectoryId, root: Node) -> None:
        self.directory_id = directory_id
        self.nodes: list[Node] = [root]
        """By index, from the root on."""
        self.term = 0
        self.voted_for: DirectoryId | None = None
        self.votes: dict[int, DirectoryId] = {}
        """Every vote that was ever durable here."""
        self.maybe: tuple[Record, ...] = ()
        """On its way when the process ended: there or not, as a whole."""
        self.named: dict[int, Node] = {}
        """By index, rising: the last entries of the snapshots that are durable and not compacted."""
        self.maybe_named: list[Node] = []
        """Those of snapshots of which nobody knows whether they have their name."""
        self.damaged = False
        """A snapshot was damaged while nobody looked."""
        self.wiped = False

    @property
    def snapshot(self) -> Node | None:
        """The last entry that the newest snapshot covers."""
        return next(reversed(self.named.values()), None)

    @property
    def effective(self) -> list[Node]:
        """The log as a start would have it."""
        return _joined(self.nodes, self.snapshot)


class Disks:
    """All directories."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._disks: dict[DirectoryId, Disk] = {}

    def of(self, directory_id: DirectoryId) -> Disk:
        """The mirror of a directory; an empty one at first."""
        disk = self._disks.get(directory_id)
        if disk is None:
            disk = self._disks[directory_id] = Disk(directory_id, self._tree.root)
        return disk

    def wrote(self, directory_id: DirectoryId, records: Sequence[Record]) -> int:
        """A write group became durable. Returns the first index that it truncated, above all others if none."""
        disk = self.of(directory_id)
        if disk.wiped:
            raise Violation("wiped", f"directory {name_of(directory_id)} is written after it was wiped")
        truncated_from = len(disk.nodes)
        for record in records:
            if isinstance(record, Append):
                self._append(disk, record.entries)
            elif isinstance(record, HardState):
                self._promise(disk, record)
            elif isinstance(record, Reset):
                truncated_from = min(truncated_from, self._reset(disk, record))
            else:
                truncated_from = min(truncated_from, self._truncate(disk, record))
        return truncated_from

    def named(self, directory_id: DirectoryId, node: Node) -> int:
        """A snapshot up to this entry is durable. Returns the first index that is lost by that, as `wrote` does."""
        disk = self.of(directory_id)
        if disk.snapshot is not None and node.index <= disk.snapshot.index:
            raise Violation(
                "snapshots stay",
                f"disk {name_of(directory_id)} has a snapshot of {disk.snapshot}, and gets one of {node}",
            )
        before = disk.effective
        disk.named[node.index] = node
        return _first_lost(before, disk.effective)

    def maybe_named(self, directory_id: DirectoryId, node: Node) -> None:
        """The snapshot up to this entry may have got its name when its process ended, or it failed."""
        self.of(directory_id).maybe_named.append(node)

    def snapshot_damaged(self, directory_id: DirectoryId) -> None:
        """Somebody damaged the newest snapshot: the next start may go by an older one."""
        self.of(directory_id).damaged = True

    def compacted(self, directory_id: DirectoryId, to: int) -> None:
        """The disk forgot what the snapshot of this index covers."""
        disk = self.of(directory_id)
        if to not in disk.named:
            raise Violation(
                "snapshots stay",
                f"disk {name_of(directory_id)} is compacted to {to}, and has snapshots of {list(disk.named)}",
            )
        disk.named = {index: node for index, node in disk.named.items() if index >= to}

    def ended(self, directory_id: DirectoryId, writing: Sequence[Record] | None) -> None:
        """The process on it is gone, and `writing` was on its way."""
        self.of(directory_id).maybe = tuple(writing or ())

    def wiped(self, directory_id: DirectoryId) -> None:
        """The directory is gone, and whoever did it knows."""
        self.of(directory_id).wiped = True

    def recovered(self, directory_id: DirectoryId, image: Image, snapshot: SnapshotMeta | None) -> int:
        """A process found this. It must be what was told durable, or that and the one group that was on its way.

        Returns the first index that the group truncated, as `wrote` does.
        """
        disk = self.of(directory_id)
        if disk.wiped:
            raise Violation("wiped", f"directory {name_of(directory_id)} is back after it was wiped")
        before = disk.effective
        self._found(disk, snapshot)
        maybe, disk.maybe = disk.maybe, ()
        if self._comes_back(disk, image):
            return _first_lost(before, disk.nodes)
        told = f"{_place(disk)}, term {disk.term}, vote {name_of(disk.voted_for)}"
        if maybe:
            self.wrote(directory_id, maybe)
            if self._comes_back(disk, image):
                return _first_lost(before, disk.nodes)
            told += f" (or {_place(disk)}, term {disk.term}, vote {name_of(disk.voted_for)})"
        last, hard_state = image.entries[-1].id if image.entries else image.base, image.hard_state
        raise Violation(
            "recovery",
            f"directory {name_of(directory_id)} was durable up to {told}, snapshot of {disk.snapshot}, and came back "
            f"with {image.base.term}/{image.base.index} to {last.term}/{last.index}, term {hard_state.term}, "
            f"vote {name_of(hard_state.voted_for)}",
        )

    def _found(self, disk: Disk, snapshot: SnapshotMeta | None) -> None:
        """A start found this newest snapshot, and made it durable."""
        newest, damaged = disk.snapshot, disk.damaged
        known = {(node.term, node.index): node for node in (*disk.named.values(), *disk.maybe_named)}
        disk.maybe_named, disk.damaged = [], False
        found = None if snapshot is None else known.get((snapshot.last.term, snapshot.last.index))
        if (snapshot is not None and found is None) or (
            not damaged and newest is not None and (found is None or found.index < newest.index)
        ):
            raise Violation(
                "snapshots stay",
                f"directory {name_of(disk.directory_id)} had a snapshot of {newest}, and came back with one of "
                f"{None if snapshot is None else snapshot.last}",
            )
        if found is None:
            disk.named = {}
        else:
            older = [node for node in disk.named.values() if node.index < found.index]
            disk.named = {node.index: node for node in (*older, found)}

    def _comes_back(self, disk: Disk, image: Image) -> bool:
        nodes = disk.effective
        if not self._holds(nodes, disk, image):
            return False
        disk.nodes = nodes
        return True

    def put(self, directory_id: DirectoryId, image: Image) -> None:
        """Somebody put this into the directory: a past that nobody played, or an old copy."""
        disk = self.of(directory_id)
        del disk.nodes[1:]
        disk.term, disk.voted_for, disk.maybe = 0, None, ()
        self._promise(disk, image.hard_state)
        self._append(disk, image.entries)

    def image_of(self, directory_id: DirectoryId) -> LogImage:
        """What it holds."""
        disk = self.of(directory_id)
        entries = [node.entry for node in disk.nodes if node.entry is not None]
        return LogImage(hard_state=HardState(term=Term(disk.term), voted_for=disk.voted_for), entries=entries)

    def holds(self, directory_id: DirectoryId, node: Node) -> bool:
        """Whether this entry is durable there now, in the log or in a snapshot."""
        disk = self._disks.get(directory_id)
        if disk is None:
            return False
        nodes, index, snapshot = disk.nodes, node.index, disk.snapshot
        if snapshot is not None and not _has(nodes, snapshot):
            return index <= snapshot.index and snapshot.at(index) is node
        return index < len(nodes) and nodes[index] is node

    def copies(self, node: Node, voters: Collection[DirectoryId]) -> int:
        """In how many of these directories the entry is durable now."""
        return sum(1 for voter in voters if self.holds(voter, node))

    def require_promotable(self, directory_id: DirectoryId, term: int, index: int) -> None:
        """A voter that lacks the log stops the group when another one is lost (reliability D8). Who has lost its disk
        since it answered, or follows a later leader, may lack it."""
        disk = self.of(directory_id)
        if not disk.wiped and disk.term <= term and len(disk.effective) - 1 < index:
            raise Violation(
                "who is promoted holds the log",
                f"directory {name_of(directory_id)} becomes a voter in term {term}, and has {_place(disk)} of {index}",
            )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _append(self, disk: Disk, entries: Sequence[Entry]) -> None:
        nodes, directory_id = disk.nodes, disk.directory_id
        for entry in entries:
            node = self._tree.grow(nodes[-1], entry, "a disk")
            node.durable_in.add(directory_id)
            nodes.append(node)

    def _truncate(self, disk: Disk, record: Truncate) -> int:
        index = record.from_index
        if not 1 <= index < len(disk.nodes):
            raise Violation("durable log", f"disk {name_of(disk.directory_id)}: truncated from {index}, {_place(disk)}")
        del disk.nodes[index:]
        return index

    def _reset(self, disk: Disk, record: Reset) -> int:
        """The log goes on behind a snapshot, which is there, and which it did not hold."""
        node = disk.named.get(record.base.index)
        if node is None or node.term != record.base.term or _has(disk.nodes, node):
            raise Violation(
                "durable log",
                f"disk {name_of(disk.directory_id)}: reset to {record.base}, {_place(disk)}, snapshots of "
                f"{', '.join(map(str, disk.named.values()))}",
            )
        before, disk.nodes = disk.nodes, node.way()
        return _first_lost(before, disk.nodes)

    def _promise(self, disk: Disk, record: HardState) -> None:
        term, voted_for = record.term, record.voted_for
        if term < disk.term:
            raise Violation("monotonic term", f"disk {name_of(disk.directory_id)}: term {disk.term}, then {term}")
        if term == disk.term and disk.voted_for is not None and voted_for != disk.voted_for:
            raise Violation(
                "one vote per term",
                f"disk {name_of(disk.directory_id)}: in term {term} for {name_of(disk.voted_for)}, then for "
                f"{name_of(voted_for)}",
            )
        disk.term, disk.voted_for = term, voted_for
        if voted_for is not None:
            disk.votes[term] = voted_for

    def _holds(self, nodes: Sequence[Node], disk: Disk, image: Image) -> bool:
        """Whether an image has these entries, from a base on that the newest snapshot covers."""
        base, entries, hard_state = image.base, image.entries, image.hard_state
        covered = 0 if disk.snapshot is None else disk.snapshot.index
        return (
            base.index <= min(covered, len(nodes) - 1)
            and base.term == nodes[base.index].term
            and len(entries) == len(nodes) - 1 - base.index
            and (hard_state.term, hard_state.voted_for) == (disk.term, disk.voted_for)
            and all(
                node.entry is entry or node.entry == entry
                for node, entry in zip(nodes[base.index + 1 :], entries, strict=True)
            )
        )


def _has(nodes: Sequence[Node], node: Node) -> bool:
    return node.index < len(nodes) and nodes[node.index] is node


def _joined(nodes: list[Node], snapshot: Node | None) -> list[Node]:
    """A log, or the snapshot that it does not hold."""
    return nodes if snapshot is None or _has(nodes, snapshot) else snapshot.way()


def _first_lost(before: Sequence[Node], after: Sequence[Node]) -> int:
    """The first index of `before` that is not in `after`; the one behind its end if there is none."""
    if before is after:
        return len(before)
    index = min(len(before), len(after))
    while index and before[index - 1] is not after[index - 1]:
        index -= 1
    return index


def _place(disk: Disk) -> str:
    return f"entries up to {disk.nodes[-1]}"
