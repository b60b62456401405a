"""All entries that any log of the world ever held, as one tree; a log is the way from the root to one of its nodes.

Here:   `Node`, `Tree`; log matching (Raft Fig. 3), which is what makes this a tree; which configuration a log puts in
        force.
Never:  whose log it is (logs.py, disks.py), what is committed (commits.py).

"If two logs contain an entry with the same index and term, then the logs are identical in all entries up through the
given index." So each (term, index) has one entry and one entry before it in all the world. Once that is checked for
each entry that a log gains, two logs are equal up to an index exactly if they hold the *same node* there: every other
check compares one node where a log has thousands of entries.
"""

from __future__ import annotations

from raft_actors.core.entries import Configuration, Entry
from raft_actors.core.types import DirectoryId
from tests.sim.checks.violation import Violation


class Node:
    """One entry and all that stands before it."""

    __slots__ = ("configured_by", "durable_in", "entry", "index", "prev", "term")

    def __init__(self, prev: Node | None, entry: Entry | None) -> None:
        self.prev = prev
        self.entry = entry
        """None at the root, which stands for the genesis."""
        self.index: int = 0 if entry is None else entry.id.index
        self.term: int = 0 if entry is None else entry.id.term
        carries = prev is None or (entry is not None and isinstance(entry.payload, Configuration))
        self.configured_by: Node = self if carries or prev is None else prev.configured_by
        """The newest node at or before this one that carries a configuration."""
        self.durable_in: set[DirectoryId] = set()
        """Where this entry was durable at some time."""

    def __str__(self) -> str:
        return f"{self.term}/{self.index}"

    def at(self, index: int) -> Node:
        """The node on this way at `index`. Walks; for rare questions."""
        node = self
        while node.index > index:
            assert node.prev is not None, f"no node {index}"
            node = node.prev
        return node

    def way(self) -> list[Node]:
        """All nodes from the root to this one, by index. Walks; for rare questions."""
        nodes = [self]
        while (prev := nodes[-1].prev) is not None:
            nodes.append(prev)
        nodes.reverse()
        return nodes


class Tree:
    """Every entry ever seen."""

    def __init__(self) -> None:
        self.root = Node(None, None)
        self._nodes: dict[tuple[int, int], Node] = {}
        self._genesis: Configuration | None = None
        self.configured: list[Node] = []
        """All that carry a configuration, but for the root."""

    def begin(self, genesis: Configuration) -> None:
        """The configuration at the root; the same for all members."""
        if self._genesis is None:
            self._genesis = genesis
        elif self._genesis is not genesis and self._genesis != genesis:
            raise Violation("one genesis", f"a member began with {genesis}, another one with {self._genesis}")

    def configuration_of(self, node: Node) -> Configuration:
        """What a log that ends here puts in force."""
        entry = node.configured_by.entry
        configuration = self._genesis if entry is None else entry.payload
        assert isinstance(configuration, Configuration), "no member has started yet"
        return configuration

    def find(self, term: int, index: int) -> Node | None:
        """The node of an entry, if any log ever held it."""
        return self._nodes.get((term, index)) if index else self.root

    def grow(self, prev: Node, entry: Entry, whose: str) -> Node:
        """The node of `entry`, which stands behind `prev` in the log of `whose`. Checks that it does so everywhere."""
        entry_id = entry.id
        key = (entry_id.term, entry_id.index)
        node = self._nodes.get(key)
        if node is not None:
            if node.prev is not prev or (node.entry is not entry and node.entry != entry):
                raise Violation(
                    "log matching",
                    f"{whose} holds {entry} behind {prev}, another log {node.entry} behind {node.prev}",
                )
            return node
        if entry_id.index != prev.index + 1 or entry_id.term < prev.term:
            raise Violation("log order", f"{whose} holds {entry_id.term}/{entry_id.index} behind {prev}")
        if prev.entry is not None and entry.stamp_ms < prev.entry.stamp_ms:
            raise Violation("log order", f"{whose}: log time falls at {entry_id.term}/{entry_id.index}")
        node = self._nodes[key] = Node(prev, entry)
        if node.configured_by is node:
            self.configured.append(node)
        return node
