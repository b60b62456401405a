"""What is durable in every directory there ever was, by what disks said, never by what a peer believes.

Here:   `Disks`: a mirror per directory, fed by write groups; monotonic terms and one vote per term across restarts;
        recovery holds all that was told durable; how many copies of an entry there are.
Never:  memory (logs.py), what is committed (commits.py).

A wiped directory keeps its mirror: what it promised before was promised, and the loss was told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from raft_actors.core.effects import Append, HardState, Record, Truncate
from raft_actors.core.entries import Entry
from raft_actors.core.types import DirectoryId, Term
from raft_actors.storage.image import LogImage
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import Violation, name_of


class Image(Protocol):
    """What a disk holds: `Recovered` and `LogImage` are."""

    @property
    def hard_state(self) -> HardState:
        """Term and vote."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The whole log."""


class Disk:
    """One directory."""

    __slots__ = ("directory_id", "maybe", "nodes", "term", "voted_for", "votes", "wiped")

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
        self.wiped = False


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
            else:
                truncated_from = min(truncated_from, self._truncate(disk, record))
        return truncated_from

    def ended(self, directory_id: DirectoryId, writing: Sequence[Record] | None) -> None:
        """The process on it is gone, and `writing` was on its way."""
        self.of(directory_id).maybe = tuple(writing or ())

    def wiped(self, directory_id: DirectoryId) -> None:
        """The directory is gone, and whoever did it knows."""
        self.of(directory_id).wiped = True

    def recovered(self, directory_id: DirectoryId, image: Image) -> int:
        """A process found this. It must be what was told durable, or that and the one group that was on its way.

        Returns the first index that the group truncated, as `wrote` does.
        """
        disk = self.of(directory_id)
        if disk.wiped:
            raise Violation("wiped", f"directory {name_of(directory_id)} is back after it was wiped")
        maybe, disk.maybe = disk.maybe, ()
        if self._holds(disk, image):
            return len(disk.nodes)
        told = f"{_place(disk)}, term {disk.term}, vote {name_of(disk.voted_for)}"
        if maybe:
            truncated_from = self.wrote(directory_id, maybe)
            if self._holds(disk, image):
                return truncated_from
            told += f" (or {_place(disk)}, term {disk.term}, vote {name_of(disk.voted_for)})"
        last, hard_state = image.entries[-1].id if image.entries else None, image.hard_state
        raise Violation(
            "recovery",
            f"directory {name_of(directory_id)} was durable up to {told}, and came back with "
            f"{'nothing' if last is None else f'{last.term}/{last.index}'}, term {hard_state.term}, "
            f"vote {name_of(hard_state.voted_for)}",
        )

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

    def copies(self, node: Node, voters: Collection[DirectoryId]) -> int:
        """In how many of these directories the entry is durable now."""
        count, index = 0, node.index
        for voter in voters:
            disk = self._disks.get(voter)
            if disk is not None and index < len(disk.nodes) and disk.nodes[index] is node:
                count += 1
        return count

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

    def _holds(self, disk: Disk, image: Image) -> bool:
        nodes, entries, hard_state = disk.nodes, image.entries, image.hard_state
        return (
            len(entries) == len(nodes) - 1
            and (hard_state.term, hard_state.voted_for) == (disk.term, disk.voted_for)
            and all(node.entry is entry or node.entry == entry for node, entry in zip(nodes[1:], entries, strict=True))
        )


def _place(disk: Disk) -> str:
    return f"entries up to {disk.nodes[-1]}"
