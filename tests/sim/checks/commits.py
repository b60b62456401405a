"""What is committed, and that it stays: in every later leader's log, and on a majority of the voters' disks.

Here:   committed entries equal at every member that says so; leader completeness; committed is durable on a quorum,
        when it becomes committed and ever after; acknowledged writes stay.
Never:  the product's match indexes; who leads (logs.py tells).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raft_actors.core.entries import Configuration
from raft_actors.core.quorum import majority
from raft_actors.core.types import DirectoryId, EntryId
from tests.sim.checks.disks import Disks
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import Violation


@dataclass(slots=True)
class Leader:
    """Who led a term, and where its log ended when it was last seen to lead."""

    directory_id: DirectoryId
    member: str
    last: Node


class Commits:
    """The one committed log, as far as any member said."""

    def __init__(self, tree: Tree, disks: Disks) -> None:
        self._tree = tree
        self._disks = disks
        self.nodes: list[Node] = [tree.root]
        """By index, from the root on."""
        self.leaders: dict[int, Leader] = {}
        """By term."""
        self.newest_led = 0
        self._terms: list[int] = [0]
        """By index: the lowest term in which a member took it for committed. It does not fall from one to the next."""
        self._quorums: list[tuple[Node, tuple[DirectoryId, ...]]] = []
        """Ends of what was committed at a time, and who voted where that was so."""

    def __len__(self) -> int:
        return len(self.nodes) - 1

    def said(self, log: Sequence[Node], index: int, term: int, directory_id: DirectoryId, member: str) -> None:
        """A member in `term` with this log takes everything up to `index` for committed."""
        if index >= len(log):
            raise Violation("commit within the log", f"{member} committed {index}, its log ends at {log[-1]}")
        common = min(index, len(self.nodes) - 1)
        if log[common] is not self.nodes[common]:
            raise Violation(
                "committed entries differ", f"{member} committed {log[common]}, another one {self.nodes[common]}"
            )
        while self._terms[common] > term:  # an old leader hears late that a majority has it, and is right
            self._terms[common] = term
            common -= 1
        if index < len(self.nodes):
            return
        common = len(self.nodes) - 1
        fresh = log[common + 1 : index + 1]
        for node in fresh:
            if node.configured_by is node:
                self._require_one_member(node)
        self.nodes += fresh
        self._terms += [term] * len(fresh)
        node = self.nodes[-1]
        self._present_in_leaders(node, term, directory_id)
        in_force = self._tree.configuration_of(log[-1])
        voters = tuple(voter.directory_id for voter in in_force.voters())
        self._quorums.append((node, voters))
        self._require_quorum(node, voters, f"{member} took {node} for committed")

    @property
    def configuration(self) -> Configuration:
        """The newest that is committed."""
        return self._tree.configuration_of(self.nodes[-1])

    def possible_configurations(self) -> list[Configuration]:
        """The newest that is committed, and each that could still become so: those that were ever in a log behind what
        is committed. A log may be lost, and a message with it be under way."""
        end = self.nodes[-1]
        behind = [node for node in self._tree.configured if node.index > end.index and node.at(end.index) is end]
        return [self.configuration, *(self._tree.configuration_of(node) for node in behind)]

    def was_listed(self, directory_id: DirectoryId) -> bool:
        """Whether any configuration ever named this directory."""
        return any(
            self._tree.configuration_of(node).find_directory(directory_id) is not None
            for node in (self._tree.root, *self._tree.configured)
        )

    def leads(self, log: Sequence[Node], term: int, directory_id: DirectoryId, member: str) -> None:
        """A member leads `term` with this log, for the first time or still."""
        leader = self.leaders.get(term)
        if leader is None:
            self.leaders[term] = Leader(directory_id, member, log[-1])
            self.newest_led = max(self.newest_led, term)
            self._require_votes(log[-1], term, directory_id, member)
            self._complete(log, term, member)
        elif leader.directory_id != directory_id:
            raise Violation("election safety", f"{leader.member} and {member} both lead term {term}")
        else:
            leader.last = log[-1]

    def find(self, last: EntryId, what: str) -> Node:
        """The committed entry that a snapshot ends with, or a log begins behind."""
        if last.index >= len(self.nodes) or self.nodes[last.index].term != last.term:
            raise Violation(
                "snapshots are of what is committed",
                f"{what} goes up to {last.term}/{last.index}; committed is {self.nodes[min(last.index, len(self))]}",
            )
        return self.nodes[last.index]

    def term_of(self, index: int) -> int:
        """The lowest term in which a member took this entry for committed: every later leader holds it."""
        return self._terms[index]

    def truncated(self, from_index: int, disk: str) -> None:
        """A disk lost entries from `from_index` on. What is committed must still have its quorum."""
        if from_index > len(self):
            return
        for node, voters in reversed(self._quorums):
            if node.index < from_index:
                return
            self._require_quorum(node, voters, f"after {disk} truncated from {from_index}")

    def acknowledged(self, index: int, term: int, what: str) -> None:
        """A client was told that its write stands at (index, term)."""
        if index > len(self) or self.nodes[index].term != term:
            stands = self.nodes[index] if index <= len(self) else "nothing"
            raise Violation("acknowledged writes stay", f"{what} was acknowledged at {term}/{index}, there is {stands}")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _require_quorum(self, node: Node, voters: Sequence[DirectoryId], when: str) -> None:
        copies = self._disks.copies(node, voters)
        if copies < majority(len(voters)):
            raise Violation("committed is durable", f"{node} is durable with {copies} of {len(voters)} voters ({when})")

    def _require_one_member(self, node: Node) -> None:
        """ "We restrict the types of changes allowed: only one server can be added or removed from the cluster at a
        time" (dissertation §4.1); so that any majority of the one and any majority of the other share a voter."""
        assert node.prev is not None, "the root is committed from the beginning"
        before, after = self._tree.configuration_of(node.prev), self._tree.configuration_of(node)
        voters = {voter.directory_id for voter in before.voters()} ^ {voter.directory_id for voter in after.voters()}
        places = set(before.members) ^ set(after.members)
        if len(voters) > 1 or len({line.member_id for line in places}) > 1:
            raise Violation("one member at a time", f"{node} makes {after} of {before}")

    def _require_votes(self, last: Node, term: int, directory_id: DirectoryId, member: str) -> None:
        """ "A candidate wins an election if it receives votes from a majority of the servers in the full cluster"
        (Raft §5.2): of the voters that its log puts in force, by directory, each durable."""
        voters = self._tree.configuration_of(last).voters()
        votes = sum(self._disks.of(voter.directory_id).votes.get(term) == directory_id for voter in voters)
        if votes < majority(len(voters)):
            raise Violation("elected by voters", f"{member} leads term {term} with {votes} votes of {len(voters)}")

    def _complete(self, log: Sequence[Node], term: int, member: str) -> None:
        """ "If a log entry is committed in a given term, then that entry will be present in the logs of the leaders
        for all higher-numbered terms" (Raft Fig. 3): for a new leader, against all that was committed before."""
        position = len(self.nodes) - 1
        while position and self._terms[position] >= term:
            position -= 1
        node = self.nodes[position]
        if position >= len(log) or log[position] is not node:
            raise Violation(
                "leader completeness",
                f"{node}, committed in term {self._terms[position]}, is not in the log of {member}, which ends at "
                f"{log[-1]} and leads term {term}",
            )

    def _present_in_leaders(self, node: Node, term: int, directory_id: DirectoryId) -> None:
        """The same for what becomes committed after a leader of a higher term was elected."""
        if self.newest_led < term or (self.newest_led == term and self.leaders[term].directory_id == directory_id):
            return
        for led_term, leader in self.leaders.items():
            if led_term >= term and (node.index > leader.last.index or leader.last.at(node.index) is not node):
                raise Violation(
                    "leader completeness",
                    f"{node} was committed in term {term}, and is not in the log of {leader.member}, which led term "
                    f"{led_term} and ended at {leader.last}",
                )
