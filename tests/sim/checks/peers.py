"""Every running peer, looked at after each of its events: what a step may do, and what its memory may claim.

Here:   `Peers`: a mirror of each log in memory; monotonic term, vote and commit within an incarnation; leader
        append-only; only a leader makes entries of its term; the configuration in force is the newest in the log; what
        a peer takes for durable is.
Never:  disks (disks.py), what is committed (commits.py), calls (calls.py), queues (bounds.py).

The way here is taken after every event, so it is written for speed: an event that changes nothing costs a few
comparisons, one that changes the log costs what it changed.
"""

from __future__ import annotations

from raft_actors.core.invariants import check_state
from raft_actors.core.log import Log
from raft_actors.core.state import Leading, State, Transfer
from raft_actors.core.types import DirectoryId, EntryId, LogIndex, MemberId, Role
from raft_actors.peer.engine import Engine
from tests.sim.checks.commits import Commits
from tests.sim.checks.disks import Disks
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import Violation, name_of

ENTRIES_LOOKED_AT = 16
"""Of the newest entries, by the product's own check of its state."""


class Peer:
    """What a running peer was like after its last event."""

    __slots__ = (
        "calls_made",
        "commit_index",
        "directory_id",
        "durable_index",
        "engine",
        "event_count",
        "last",
        "log",
        "member_id",
        "name",
        "role",
        "term",
        "transfer",
        "voted_for",
    )

    def __init__(self, member_id: MemberId, engine: Engine, root: Node) -> None:
        state = engine.state
        self.member_id = member_id
        self.engine = engine
        self.name = f"member {member_id}"
        self.directory_id: DirectoryId = state.directory_id
        self.log: list[Node] = [root]
        """By index, from the root on."""
        self.last: EntryId | None = None
        """Of the product's log."""
        self.term = 0
        self.voted_for: DirectoryId | None = None
        self.role = Role.FOLLOWER
        self.transfer: Transfer | None = None
        """That was under way after its last event as a leader."""
        self.commit_index = 0
        self.durable_index = 0
        self.event_count = 0
        self.calls_made = 0
        """Within the present event."""


class Peers:
    """All running peers."""

    def __init__(self, tree: Tree, disks: Disks, commits: Commits) -> None:
        self._tree = tree
        self._disks = disks
        self._commits = commits
        self.running: dict[MemberId, Peer] = {}

    def started(self, member_id: MemberId, engine: Engine) -> Peer:
        """A process began with what its disk held: all of it, and no more than that."""
        state = engine.state
        self._tree.begin(engine.genesis.configuration)
        peer = self.running[member_id] = Peer(member_id, engine, self._tree.root)
        disk = self._disks.of(state.directory_id)
        if (state.current_term, state.voted_for) != (disk.term, disk.voted_for):
            raise Violation(
                "promises are kept",
                f"{peer.name} starts in term {state.current_term} with its vote for {name_of(state.voted_for)}, its "
                f"disk has term {disk.term} and {name_of(disk.voted_for)}",
            )
        self._log_changed(peer, state, state.log)
        if len(peer.log) != len(disk.nodes) or peer.log[-1] is not disk.nodes[-1]:
            raise Violation(
                "promises are kept", f"{peer.name} starts with a log up to {peer.log[-1]}, its disk {disk.nodes[-1]}"
            )
        self.after_event(peer)
        return peer

    def after_event(self, peer: Peer) -> None:
        """Something happened at this peer."""
        state = peer.engine.state
        if state.current_term != peer.term or state.voted_for is not peer.voted_for:
            self._promise_changed(peer, state)
        log, role = state.log, state.role
        changed = log.last is not peer.last
        if role is Role.LEADER:
            if changed:
                self._leader_log_changed(peer, state, log)
            elif peer.role is not Role.LEADER:
                self._commits.leads(peer.log, peer.term, peer.directory_id, peer.name)
            leading = state.leading
            peer.transfer = None if leading is None else leading.transfer
        elif changed:
            self._log_changed(peer, state, log)
        if role is not peer.role:
            peer.role = role
            if role is Role.PRE_CANDIDATE or role is Role.CANDIDATE:
                self._require_voter(peer)
        commit_index = state.commit_index
        if commit_index != peer.commit_index:
            if commit_index < peer.commit_index:
                raise Violation("monotonic commit", f"{peer.name}: {peer.commit_index}, then {commit_index}")
            self._commits.said(peer.log, commit_index, peer.term, peer.directory_id, peer.name)
            peer.commit_index = commit_index
        if changed or state.durable_index != peer.durable_index:
            self._durable_changed(peer, state)

    def look_closer(self, peer: Peer) -> None:
        """The product's own check of its state, over the newest entries, and that mirror and log are the same."""
        state = peer.engine.state
        check_state(state, entries_max=ENTRIES_LOOKED_AT)
        if state.configurations.in_force != self._tree.configuration_of(peer.log[-1]):
            raise Violation(
                "configuration in force",
                f"{peer.name} has {state.configurations.in_force} in force, the newest in its log is "
                f"{self._tree.configuration_of(peer.log[-1])}",
            )
        if state.leading is not None:
            self._require_all_under_way(peer, state.leading)

    def _require_all_under_way(self, peer: Peer, leading: Leading) -> None:
        """A leader that does not probe a member takes for sent what stands before `next_index`: it is acknowledged, or
        an append with it is under way. Otherwise nobody would ever send it."""
        for progress in leading.progress.values():
            if not progress.probing and not progress.appends and progress.next_index != progress.match_index + 1:
                raise Violation(
                    "sent or to be sent",
                    f"{peer.name} leads; {progress.member_id} acknowledged {progress.match_index}, would be sent "
                    f"{progress.next_index} next, and nothing is under way",
                )

    def whole_log(self, peer: Peer) -> None:
        """Every entry, in case one was changed in the middle, where nobody looks."""
        log = peer.engine.state.log
        for node in peer.log[log.base.index + 1 :]:
            held = log.entry_at(LogIndex(node.index))
            if held != node.entry:
                raise Violation("log matching", f"{peer.name} holds {held}, and held {node.entry} there before")

    # -- what changed -------------------------------------------------------------------------------------------------

    def _promise_changed(self, peer: Peer, state: State) -> None:
        term, voted_for = state.current_term, state.voted_for
        if term < peer.term:
            raise Violation("monotonic term", f"{peer.name}: term {peer.term}, then {term}")
        if term == peer.term and peer.voted_for is not None and voted_for != peer.voted_for:
            raise Violation(
                "one vote per term",
                f"{peer.name}: in term {term} for {name_of(peer.voted_for)}, then for {name_of(voted_for)}",
            )
        if term != peer.term and peer.role is Role.LEADER and state.role is Role.LEADER:
            self._commits.leads(peer.log, term, peer.directory_id, peer.name)
        peer.term, peer.voted_for = term, voted_for

    def _require_voter(self, peer: Peer) -> None:
        """A peer that is no voter of its configuration in force, and was none of the one before, never campaigns
        (contracts 1 and 7); that is why requests may be obeyed from anyone."""
        newest = peer.log[-1].configured_by
        before = newest if newest.prev is None else newest.prev
        if not any(self._tree.configuration_of(node).is_voter(peer.directory_id) for node in (newest, before)):
            raise Violation("only voters campaign", f"{peer.name} campaigns, and is no voter by {newest} or {before}")

    def _leader_log_changed(self, peer: Peer, state: State, log: Log) -> None:
        """ "A leader never overwrites or deletes entries in its log; it only appends new entries" (Raft Fig. 3)."""
        if peer.role is not Role.LEADER:
            # what it campaigned with, then what it appended in the same event
            self._commits.leads(peer.log, peer.term, peer.directory_id, peer.name)
        leading = state.leading
        if peer.role is Role.LEADER and leading is not None and leading.transfer is peer.transfer is not None:
            raise Violation(
                "the log rests while leadership moves",
                f"{peer.name} hands leadership over, and its log ended at {peer.last}, now at {log.last}",
            )
        before = peer.log[-1]
        self._log_changed(peer, state, log)
        if before.index >= len(peer.log) or peer.log[before.index] is not before:
            raise Violation("leader append-only", f"{peer.name} leads term {peer.term} and lost {before} of its log")
        self._commits.leads(peer.log, peer.term, peer.directory_id, peer.name)

    def _log_changed(self, peer: Peer, state: State, log: Log) -> None:
        tree = self._tree
        peer.last = last = log.last
        end = last.index
        mirror = self._joined(peer, log)
        same = min(len(mirror) - 1, end)
        while same > log.base.index:
            entry = log.entry_at(LogIndex(same))
            if mirror[same].entry is entry or mirror[same].entry == entry:
                break
            same -= 1
        if same < peer.commit_index:
            raise Violation(
                "committed entries stay", f"{peer.name} committed {peer.commit_index} and truncated from {same + 1}"
            )
        del mirror[same + 1 :]
        for index in range(same + 1, end + 1):
            entry = log.entry_at(LogIndex(index))
            node = tree.find(entry.id.term, entry.id.index)
            if node is None:
                self._require_maker(peer, entry.id)
            mirror.append(tree.grow(mirror[-1], entry, peer.name))
        if state.configurations.in_force_index != mirror[-1].configured_by.index:
            raise Violation(
                "configuration in force",
                f"{peer.name} has that of {state.configurations.in_force_index} in force, the newest in its log is of "
                f"{mirror[-1].configured_by.index}",
            )

    def _joined(self, peer: Peer, log: Log) -> list[Node]:
        """The mirror; if the log begins behind a snapshot that it did not hold, one that goes up to there."""
        base, mirror = log.base, peer.log
        if base.index < len(mirror) and mirror[base.index].term == base.term:
            return mirror
        way = self._commits.find(base, f"the snapshot before the log of {peer.name}").way()
        committed = peer.commit_index
        if committed >= len(way) or way[committed] is not mirror[committed]:
            raise Violation(
                "committed entries stay", f"{peer.name} committed {committed}, and its log begins behind {base}"
            )
        peer.log = way
        return way

    def _require_maker(self, peer: Peer, entry_id: EntryId) -> None:
        leader = self._commits.leaders.get(entry_id.term)
        if leader is None or leader.directory_id != peer.directory_id or entry_id.term != peer.term:
            raise Violation(
                "only a leader makes entries",
                f"{peer.name} in term {peer.term} holds {entry_id.term}/{entry_id.index}, which nobody held before",
            )

    def _durable_changed(self, peer: Peer, state: State) -> None:
        index = peer.durable_index = state.durable_index
        if index >= len(peer.log) or not self._disks.holds(peer.directory_id, peer.log[index]):
            nodes = self._disks.of(peer.directory_id).effective
            raise Violation(
                "durable is durable",
                f"{peer.name} takes its log up to {index} for durable; its disk ends at {nodes[-1]}, its log at "
                f"{peer.log[-1]}",
            )
