"""The one door to all checks: what the world tells them, and when they look.

Here:   `Checks`.
Never:  rules: logs and promises (peers.py, disks.py, tree.py), commits (commits.py), snapshots (snapshots.py), calls
        (calls.py), machines (machines.py), clients (clients.py), queues (bounds.py).

The world tells of starts and ends, of what became durable *before* the engine hears of it, of each call and request,
and of each event. Then only what this event changed is looked at. A broken rule raises `Violation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.linearizability import Verdict
from raft_actors.core.effects import Record
from raft_actors.core.entries import Configuration, SnapshotMeta
from raft_actors.core.messages import Envelope
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, RequestId, Role, RpcId
from raft_actors.storage.image import LogImage
from tests.sim.checks import bounds
from tests.sim.checks.calls import Calls
from tests.sim.checks.clients import Clients
from tests.sim.checks.commits import Commits
from tests.sim.checks.disks import Disks, Image
from tests.sim.checks.machines import Machines
from tests.sim.checks.peers import Peers
from tests.sim.checks.snapshots import Snapshots
from tests.sim.checks.tree import Node, Tree
from tests.sim.checks.violation import SimMember, Violation, name_of

LOOK_EVERY = 32
"""Events of one member between two closer looks at it."""


class Checks:
    """Everything that must be true of one world."""

    def __init__(self) -> None:
        self._tree = Tree()
        self._disks = Disks(self._tree)
        self._commits = Commits(self._tree, self._disks)
        self._peers = Peers(self._tree, self._disks, self._commits)
        self._calls = Calls(self._tree, self._disks)
        self._machines = Machines(self._commits)
        self._snapshots = Snapshots(self._tree, self._commits, self._machines)
        self.clients = Clients(self._commits, self._machines)
        """To be told what clients ask, and what they are told."""

    # -- processes ----------------------------------------------------------------------------------------------------

    def recovered(self, directory_id: DirectoryId, image: Image, snapshot: SnapshotMeta | None = None) -> None:
        """What a storage that was opened holds, and its newest snapshot; to be said before `started`."""
        if snapshot is not None:
            self._snapshots.check_meta(snapshot, f"directory {name_of(directory_id)}")
        self._truncated(directory_id, self._disks.recovered(directory_id, image, snapshot))

    def started(self, member: SimMember) -> None:
        """A peer began."""
        engine = member.engine
        assert engine is not None, f"member {member.member_id} is down"
        self._calls.started(member.member_id, engine.state.member_id)
        self._peers.started(member.member_id, engine)

    def stopped(self, member: SimMember, writing: Sequence[Record] | None = None) -> None:
        """A peer ended. `writing`: the group that was on its way to the disk; afterwards it is there or not."""
        peer = self._peers.running.pop(member.member_id, None)
        if peer is not None:
            self._disks.ended(peer.directory_id, writing)

    def wiped(self, member: SimMember) -> None:
        """Its directory is gone."""
        if member.directory_id is not None:
            self._disks.wiped(member.directory_id)

    # -- disks --------------------------------------------------------------------------------------------------------

    def wrote(self, directory_id: DirectoryId, records: Sequence[Record]) -> None:
        """A write group became durable; to be said before the engine hears of it."""
        self._truncated(directory_id, self._disks.wrote(directory_id, records))

    def named(self, directory_id: DirectoryId, meta: SnapshotMeta, pieces: Iterable[bytes]) -> None:
        """A snapshot's file got its name; to be said before the engine hears of it."""
        whose = f"directory {name_of(directory_id)}"
        node = self._snapshots.check_meta(meta, whose)
        self._snapshots.check_state(meta, pieces, whose)
        self._snapshots.check_term(node, self._disks.of(directory_id).term, whose)
        self._truncated(directory_id, self._disks.named(directory_id, node))

    def maybe_named(self, directory_id: DirectoryId, meta: SnapshotMeta) -> None:
        """A snapshot's file may have got its name: its process ended meanwhile, or the disk refused something."""
        self._disks.maybe_named(directory_id, self._snapshots.check_meta(meta, f"directory {name_of(directory_id)}"))

    def snapshot_damaged(self, directory_id: DirectoryId) -> None:
        """Somebody damaged the newest snapshot of a directory; the next start may go by an older one."""
        self._disks.snapshot_damaged(directory_id)

    def compacted(self, directory_id: DirectoryId, to: LogIndex) -> None:
        """The log was compacted; to be said before the engine hears of it."""
        self._disks.compacted(directory_id, to)

    def put_on_disk(self, directory_id: DirectoryId, image: Image) -> None:
        """The directory of a member that is down holds this from now on: a past that nobody played, or an old copy."""
        self._disks.put(directory_id, image)

    def image_of(self, directory_id: DirectoryId) -> LogImage:
        """What the directory holds, as was told."""
        return self._disks.image_of(directory_id)

    def _truncated(self, directory_id: DirectoryId, from_index: int) -> None:
        if from_index <= len(self._commits):
            self._commits.truncated(from_index, f"directory {name_of(directory_id)}")

    # -- peers --------------------------------------------------------------------------------------------------------

    def after_event(self, member: SimMember) -> None:
        """Something happened at this member, and at no other."""
        if member.engine is not None:
            self.after_peer_event(member.member_id)
        if member.host is not None:
            self._machines.after_event(member.member_id, member.host)

    def after_peer_event(self, member_id: MemberId) -> None:
        """Its peer handled an event, which its application has not heard of."""
        peer = self._peers.running[member_id]
        self._peers.after_event(peer)
        self._calls.after_event(peer)
        peer.event_count += 1
        if peer.event_count % LOOK_EVERY == 0:
            self._peers.look_closer(peer)
            self._calls.look_closer(peer)
            bounds.check_peer(peer.engine, peer.name, self._calls.waiting(peer.member_id))

    def called(self, member: SimMember, rpc_id: RpcId, envelope: Envelope) -> None:
        """It calls another member."""
        self._calls.called(self._peers.running[member.member_id], rpc_id, envelope)

    def call_ended(self, member: SimMember, rpc_id: RpcId) -> None:
        """A call of its present process ends; to be said once, before the engine hears of it."""
        self._calls.call_ended(member.member_id, rpc_id)

    def received(self, member: SimMember, request_id: RequestId, envelope: Envelope) -> None:
        """It is called; to be said before the engine hears of it."""
        self._calls.received(member.member_id, request_id, envelope)

    def answered(self, member: SimMember, request_id: RequestId, envelope: Envelope | None) -> None:
        """It answers; None: there will be no answer."""
        self._calls.answered(self._peers.running[member.member_id], request_id, envelope)

    @property
    def newest_configuration(self) -> Configuration:
        """The newest that any member has taken for committed."""
        return self._commits.configuration

    def possible_configurations(self) -> list[Configuration]:
        """That one, and each that could still be committed behind it."""
        return self._commits.possible_configurations()

    def was_listed(self, directory_id: DirectoryId) -> bool:
        """Whether any configuration, committed or not, ever named this directory."""
        return self._commits.was_listed(directory_id)

    def promoted(self, directory_id: DirectoryId, term: int, index: int) -> None:
        """A leader of this term makes a voter of a directory: it has to hold what is committed, up to this index."""
        self._disks.require_promotable(directory_id, term, index)

    @property
    def committed_count(self) -> int:
        """How many entries any member has taken for committed."""
        return len(self._commits)

    # -- machines -----------------------------------------------------------------------------------------

    @property
    def known_to_differ(self) -> set[MemberId]:
        """Members whose machine a test has made wrong on purpose."""
        return self._machines.known_to_differ

    def restored(self, member: SimMember) -> None:
        """Its application goes on from a snapshot."""
        assert member.host is not None, f"member {member.member_id} has no application"
        self._machines.restored(member.member_id, member.host)

    def ran(self, member_id: MemberId, machine: object, index: int, command: bytes, result: bytes) -> None:
        """A machine ran one command of the entry at `index`."""
        self._machines.ran(member_id, machine, index, command, result)

    # -- the end ------------------------------------------------------------------------------------------------------

    def at_rest(self, members: Sequence[SimMember]) -> None:
        """All faults were healed and these members had time: one leader, equal logs, equal machines."""
        running = []
        for member in members:
            peer = self._peers.running.get(member.member_id)
            if peer is None:
                raise Violation("rest", f"member {member.member_id} is down")
            self._peers.look_closer(peer)
            self._peers.whole_log(peer)
            running.append(peer)
        newest = max(peer.term for peer in running)
        leading = [peer.name for peer in running if peer.role is Role.LEADER and peer.term == newest]
        if len(leading) != 1:
            raise Violation("one leader", f"at rest {leading or 'nobody'} leads term {newest}")
        ends: dict[str, Node] = {peer.name: peer.log[-1] for peer in running}
        if len({id(end) for end in ends.values()}) != 1:
            raise Violation("equal logs", ", ".join(f"{name} ends at {end}" for name, end in ends.items()))
        for peer in running:
            if peer.commit_index != len(self._commits):
                raise Violation(
                    "all is committed", f"{peer.name} committed {peer.commit_index} of {len(self._commits)}"
                )
        self._machines.equal(members)

    @property
    def newest_led(self) -> int:
        """The highest term that anybody led."""
        return self._commits.newest_led

    def undisturbed(self, term: int) -> None:
        """All links work, clocks run alike, nobody handed leadership over: who led this term leads still, and those who
        were removed change nothing (dissertation §4.2.3)."""
        if self._commits.newest_led != term:
            raise Violation("a calm group keeps its leader", f"term {self._commits.newest_led} came after {term}")

    def verdict(self) -> list[Verdict]:
        """Whether what the clients saw makes sense, key by key."""
        return self.clients.verdict()
