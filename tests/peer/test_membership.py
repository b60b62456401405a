"""What a leader says of the members of its group: who is silent, and whether it has heard of them at all."""

from __future__ import annotations

from raft_actors.peer.membership import MemberLine, membership_of
from tests.core.builders import Peer, follower, leader


def lines(peer: Peer) -> dict[int, MemberLine]:
    view = membership_of(peer.state, peer.now_ms)
    assert view is not None
    return {int(line.member_id): line for line in view.lines}


def test_only_a_leader_says_anything() -> None:
    peer = follower()
    assert membership_of(peer.state, peer.now_ms) is None


def test_a_new_leader_counts_from_its_election_and_has_heard_of_nobody_but_itself() -> None:
    peer = leader()
    peer.wait(700)
    assert {number: (line.silent_ms, line.heard) for number, line in lines(peer).items()} == {
        0: (0, True),
        1: (700, False),
        2: (700, False),
    }


def test_who_answered_was_heard_and_is_silent_since_then() -> None:
    peer = leader()
    peer.wait(300)
    peer.beat()
    peer.accepted(1)
    peer.wait(400)
    assert {number: (line.silent_ms, line.heard) for number, line in lines(peer).items()} == {
        0: (0, True),
        1: (400, True),
        2: (700, False),
    }
