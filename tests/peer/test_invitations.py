"""Contracts 10 a: any leader hands the group's record to whomever it lists and does not hear."""

from __future__ import annotations

from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.invitations import INTERVAL_MS, SILENT_MS, Invitations
from tests.core.builders import Peer, configuration, directory, elected, restored
from tests.core.several import add, change, remove


class Ports:
    def __init__(self) -> None:
        self.invited: list[tuple[MemberId, DirectoryId]] = []

    def invite(self, to: MemberId, directory_id: DirectoryId) -> None:
        self.invited.append((to, directory_id))


class Bench:
    def __init__(self, peer: Peer) -> None:
        self.peer, self.ports = peer, Ports()
        self.invitations = Invitations(peer.state, self.ports)

    def after(self, ms: int) -> list[tuple[MemberId, DirectoryId]]:
        """Whom it invites when so much time has passed."""
        self.ports.invited.clear()
        self.peer.wait(ms)
        self.invitations.look(self.peer.now_ms)
        return self.ports.invited


def leading() -> Bench:
    """Member 0 leads, 1 and 2 answered just now."""
    peer = elected(restored(members=configuration(range(3))))
    peer.sync()
    peer.beat()
    for member in (1, 2):
        peer.accepted(member)
    return Bench(peer)


def test_who_answers_is_not_invited() -> None:
    assert leading().after(SILENT_MS - 1) == []


def test_the_silent_ones_are_by_directory() -> None:
    assert leading().after(SILENT_MS) == [(1, directory(1)), (2, directory(2))]


def test_one_at_a_time_and_again_after_a_while_whoever_added_it() -> None:
    """The leader that adds a member may be gone before it told it; every later one goes on."""
    bench = leading()
    bench.after(SILENT_MS)
    bench.invitations.ended(MemberId(1))
    assert bench.after(INTERVAL_MS - 1) == []
    assert bench.after(1) == [(1, directory(1))]  # 2 is still being called
    bench.invitations.ended(MemberId(1))
    assert bench.after(INTERVAL_MS) == [(1, directory(1))]


def test_a_new_member_is_invited_once_it_is_in_the_log() -> None:
    bench = leading()
    bench.peer.propose()
    bench.peer.sync()
    for member in (1, 2):
        bench.peer.accepted(member)
    change(bench.peer, add(5))
    assert bench.after(SILENT_MS)[-1] == (5, directory(5))


def test_a_follower_invites_nobody() -> None:
    bench = Bench(restored(members=configuration(range(3))))
    assert bench.after(10_000) == []


def test_a_call_for_a_directory_that_was_replaced_keeps_its_successor_waiting_for_nothing() -> None:
    """Its process is stopped, say, and Ray holds the call for it: that never ends."""
    bench = leading()
    bench.peer.propose()
    bench.peer.sync()
    for member in (1, 2):
        bench.peer.accepted(member)
    assert (2, directory(2)) in bench.after(SILENT_MS)
    bench.peer.accepted(1)
    change(bench.peer, remove(2))
    bench.peer.sync()
    bench.peer.accepted(1)
    change(bench.peer, add(2, wiped=1))
    assert (2, directory(2, wiped=1)) in bench.after(INTERVAL_MS)
