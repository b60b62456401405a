"""Several cores driven by hand: who hears whom is said by the test, message by message.

Here:   `Several`, peers with one network of calls; a campaign among those whom it names.
Never:  dice (random_world.py), one core alone (builders.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from raft_actors.core.effects import ChangeRefused, ChangeStarted, Effect, SendReply, TransferEnded
from raft_actors.core.entries import Configuration, Entry, Member
from raft_actors.core.events import (
    AddMember,
    Change,
    ChangeRequested,
    Promote,
    RemoveMember,
    RemovePlace,
    ReplyReceived,
    RequestReceived,
    TransferRequested,
)
from raft_actors.core.types import VACANT, DirectoryId, LogIndex, Role
from tests.core.builders import SETTINGS, Peer, directory, only, restored, some


def add(member: int, *, wiped: int = 0) -> AddMember:
    return AddMember(member=Member(member_id=member, directory_id=directory(member, wiped=wiped), voter=False))


def promote(member: int) -> Promote:
    return Promote(directory_id=directory(member))


def add_vacant(member: int) -> AddMember:
    return AddMember(member=Member(member_id=member, directory_id=VACANT, voter=False))


def remove(member: int, *, keep_place: bool = False) -> RemoveMember:
    return RemoveMember(directory_id=directory(member), keep_place=keep_place)


def remove_place(member: int) -> RemovePlace:
    return RemovePlace(member_id=member)


def change(peer: Peer, wanted: Change, *, made_for: int | None = None) -> list[Effect]:
    """Somebody asks this peer for a change, made for the configuration in force unless said otherwise."""
    index = peer.state.configurations.in_force_index if made_for is None else LogIndex(made_for)
    return peer.do(ChangeRequested(now_ms=peer.now_ms, change_id=7, made_for=index, change=wanted))


def started(effects: Iterable[Effect]) -> ChangeStarted:
    return only(effects, ChangeStarted)


def refused(effects: Iterable[Effect]) -> ChangeRefused:
    return only(effects, ChangeRefused)


def transfer(peer: Peer, to: DirectoryId | None = None) -> list[Effect]:
    """Somebody asks this peer to hand leadership over."""
    return peer.do(TransferRequested(now_ms=peer.now_ms, transfer_id=9, to=to))


def ended(effects: Iterable[Effect]) -> TransferEnded:
    return only(effects, TransferEnded)


class Several:
    """Peers by member id. Disks are quick: what a peer says is durable when it says it."""

    def __init__(
        self, members: Configuration, log: tuple[Entry, ...] = (), *, spare: Iterable[int] = (), term: int | None = None
    ) -> None:
        """One peer for each line, and `spare` ones, which no configuration lists; all with this log."""
        lines = [line.member_id for line in members.members]
        self.peers = {
            member: restored(members=members, log=log if member in lines else (), member=member, term=term)
            for member in (*lines, *spare)
        }
        self._carried: dict[int, int] = dict.fromkeys(self.peers, 0)

    def __getitem__(self, member: int) -> Peer:
        return self.peers[member]

    def wait(self, ms: int) -> None:
        """Time passes for all."""
        for peer in self.peers.values():
            peer.wait(ms)

    def carry(self, asker: int, *to: int) -> None:
        """What `asker` says to these arrives and is answered, until it has nothing more to say; the rest is lost."""
        peer = self.peers[asker]
        for _ in range(100):
            peer.sync()
            said, self._carried[asker] = peer.sent[self._carried[asker] :], len(peer.sent)
            if not said:
                return
            for request in said:
                if request.envelope.to not in to or request.envelope.to not in self.peers:
                    peer.fail(request)
                    continue
                target = self.peers[request.envelope.to]
                target.request_id += 1
                event = RequestReceived(now_ms=target.now_ms, request_id=target.request_id, envelope=request.envelope)
                answers = some(target.do(event), SendReply)
                target.sync()
                for answer in answers:
                    peer.do(ReplyReceived(now_ms=peer.now_ms, rpc_id=request.rpc_id, envelope=answer.envelope))
        raise AssertionError("a conversation without end")

    def beat(self, leader: int, *to: int) -> None:
        """Heartbeats, two rounds: the second tells what the first committed."""
        for _ in range(2):
            self.peers[leader].beat()
            self.carry(leader, *to)

    def campaign(self, candidate: int, *voters: int) -> bool:
        """All have been silent for long, so whoever led has given up; these hear the candidate. Whether it leads."""
        self.wait(SETTINGS.check_quorum_ms + 1)
        for member, peer in self.peers.items():
            if peer.state.role is Role.LEADER:
                peer.beat()
                self.carry(member)
        for _ in range(2):  # the first time it may only learn of a later term
            if not self.leads(candidate):
                self.peers[candidate].time_out()
                self.carry(candidate, *voters)
        return self.leads(candidate)

    def leads(self, member: int) -> bool:
        return self.peers[member].state.role is Role.LEADER

    def commit(self, member: int) -> int:
        return self.peers[member].state.commit_index
