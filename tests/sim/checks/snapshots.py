"""Snapshots that got their name: what they say of themselves, and the state in them.

Here:   `Snapshots`: a snapshot ends with a committed entry, and says its time and the configuration in force there; its
        state is the one that the committed entries up to there give, whoever took it.
Never:  which snapshots a disk has (disks.py), hosts (machines.py).

The state chain in a snapshot is compared with the one that applications had at that index, and the whole state with
that of every other snapshot of the index: all that members may differ in is who computed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from raft_actors.application.fields import FieldReader
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.types import EntryId, LogIndex, Term
from tests.sim.checks.commits import Commits
from tests.sim.checks.machines import Machines
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import Violation


class Snapshots:
    """All that were ever named."""

    def __init__(self, tree: Tree, commits: Commits, machines: Machines) -> None:
        self._tree = tree
        self._commits = commits
        self._machines = machines
        self._states: dict[int, tuple[bytes, str]] = {}
        """Digest of the state at an index, without who computed it, and whose snapshot was the first."""

    def check_meta(self, meta: SnapshotMeta, whose: str) -> Node:
        """What a snapshot says of itself. Returns its last entry."""
        node = self._commits.find(meta.last, f"a snapshot of {whose}")
        assert node.entry is not None, "a snapshot covers at least one entry"
        at = node.configured_by
        said = (meta.stamp_ms, meta.configuration_id, meta.configuration)
        true = (node.entry.stamp_ms, _id_of(at), self._tree.configuration_of(node))
        if said != true:
            raise Violation("a snapshot says what it is", f"that of {whose} at {node}: {said}, and it is {true}")
        return node

    def check_term(self, node: Node, term: int, whose: str) -> None:
        """Whoever knows an entry to be committed knows in which term: a leader of an earlier one need not hold it, and
        would be obeyed after a restart (ADR 10)."""
        committed_in = self._commits.term_of(node.index)
        if term < committed_in:
            raise Violation(
                "a name waits for the term",
                f"{whose} has a snapshot of {node}, committed in term {committed_in}, and its disk has term {term}",
            )

    def check_state(self, meta: SnapshotMeta, pieces: Iterable[bytes], whose: str) -> None:
        """The state in a snapshot."""
        if self._machines.known_to_differ:
            return  # and whose state went on from which snapshot is not known here
        reader = FieldReader(map(memoryview, pieces))
        reader.read(str)
        index, term, chain = reader.read(int), reader.read(int), reader.read(bytes)
        for kind in (bytes, int, bytes):
            reader.read(kind)  # who computed it
        digest = blake2b(digest_size=16)
        for piece in reader.rest():
            digest.update(piece)
        known = self._machines.chain_at(meta.last.index)
        first = self._states.setdefault(meta.last.index, (digest.digest(), whose))
        if (term, index) != (meta.last.term, meta.last.index) or chain != known or first[0] != digest.digest():
            raise Violation(
                "a snapshot holds the state it names",
                f"that of {whose} at {meta.last} has a state after {term}/{index}, chain {chain.hex()}, applications "
                f"{known.hex() if known else 'none'}; {'as' if first[0] == digest.digest() else 'unlike'} {first[1]}'s",
            )


def _id_of(node: Node) -> EntryId:
    return EntryId(Term(node.term), LogIndex(node.index))
