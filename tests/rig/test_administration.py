"""Changes of the membership and transfers through the product's engine: messages as bytes, ends as answers."""

from __future__ import annotations

import pytest

from raft_actors.core.effects import ChangeRefusal, ChangeRefused, ChangeStarted, TransferEnd, TransferEnded
from raft_actors.core.events import RemoveMember
from tests.rig.rig import Group


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_leadership_moves_in_one_exchange_without_a_timeout(size: int) -> None:
    group = Group(size)
    group.elect(1)
    group.propose(1, b"x")
    number = group.transfer(1, 2)
    group.deliver_all()
    assert group.leader() == 2
    assert group.members[1].transfer_answers[number] == TransferEnded(
        transfer_id=number, done=True, why=TransferEnd.MOVED
    )
    group.propose(2, b"y")
    group.deliver_all()
    assert group.applied(2) == [b"x", b"y"]


def test_without_an_answer_it_is_given_up_and_commands_are_taken_again() -> None:
    group = Group(3)
    group.elect(1)
    group.cut(1, 2)
    number = group.transfer(1, 2)
    group.pass_time(700)
    assert group.members[1].transfer_answers[number].why is TransferEnd.GIVEN_UP
    group.propose(1, b"x")
    group.deliver_all()
    assert group.applied(1) == [b"x"]


def test_a_leader_removes_itself_and_the_others_go_on() -> None:
    group = Group(3)
    group.elect(1)
    mine = group.members[1].directory_id
    assert mine is not None
    remove = RemoveMember(directory_id=mine)
    assert group.change(2, remove) == ChangeRefused(change_id=0, reason=ChangeRefusal.NOT_LEADER, leader=1)
    assert group.change(1, remove) == ChangeRefused(change_id=0, reason=ChangeRefusal.TERM_NOT_COMMITTED, leader=1)
    group.deliver_all()
    assert group.change(1, remove) == ChangeStarted(change_id=1, index=2, term=1)
    group.deliver_all()
    assert group.leader() is None
    group.elect(2)
    group.propose(2, b"x")
    group.deliver_all()
    group.beat(2)
    group.deliver_all()
    assert group.applied(3) == group.applied(2) == [b"x"]
