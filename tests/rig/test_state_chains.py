"""Contracts rule 8 through the whole group: who computed something else is found, and nobody waits for ever."""

from __future__ import annotations

import pytest

from raft_actors.application import chain
from raft_actors.application.exchange import Overloaded, Started
from raft_actors.core.types import MemberId
from tests.application.builders import Journal
from tests.rig.rig import Group

INTERVAL = 4


class Wrong(Journal):
    """Not deterministic: it answers differently from the others."""

    def apply(self, index: int, command: bytes) -> bytes:
        return super().apply(index, command) + b"!"


@pytest.fixture(autouse=True)
def members_compare_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "CHECKPOINT_INTERVAL", INTERVAL)


def group_of(size: int = 3, *, wrong: int) -> Group:
    group = Group(size)
    application = group.members[MemberId(wrong)].application
    assert application is not None
    application.host._machine = Wrong()
    group.checks.known_to_differ.add(MemberId(wrong))
    return group


def up_to_the_checkpoint(group: Group, leader: int) -> None:
    """All apply it; the reports are under way."""
    for _ in range(INTERVAL):
        group.propose(leader, b"x")
    group.deliver_all(method="append_entries")
    group.beat(leader)
    group.deliver_all(method="append_entries")


def test_the_member_that_differs_fails_and_says_where() -> None:
    group = group_of(wrong=3)
    group.elect(1)
    up_to_the_checkpoint(group, 1)
    group.deliver_all()
    assert "differs from the majority's at index 4" in str(group.failure(3))
    assert group.failure(1) is group.failure(2) is None
    assert isinstance(group.propose(1, b"y"), Started)


def test_a_leader_that_differs_fails() -> None:
    group = group_of(wrong=1)
    group.elect(1)
    up_to_the_checkpoint(group, 1)
    group.deliver_all()
    assert "differs from the majority's" in str(group.failure(1))
    group.run_until(lambda: group.leader() in (2, 3))


def test_while_nobody_knows_who_is_right_nobody_is_answered_and_nobody_fails() -> None:
    group = group_of(wrong=2)
    group.elect(1)
    group.crash(3)
    up_to_the_checkpoint(group, 1)
    group.deliver_all()
    assert group.failure(1) is group.failure(2) is None
    assert group.propose(1, b"y") == Overloaded()
    assert group.read(1).answer == Overloaded()
    group.restart(3)
    group.run_until(lambda: group.failure(2) is not None)
    assert isinstance(group.propose(1, b"y"), Started)


def test_who_did_not_hear_what_was_agreed_hears_it_when_it_reports_again() -> None:
    group = group_of(wrong=3)
    group.elect(1)
    up_to_the_checkpoint(group, 1)
    group.deliver_all(src=2, method="report_chains")
    group.drop(method="report_chains")
    assert group.failure(3) is None
    group.run_until(lambda: group.failure(3) is not None, limit_ms=3000)


def test_a_new_leader_learns_what_an_old_one_had_agreed() -> None:
    """2 knows it alone, and so has nothing open to report; 1 and 3 differ."""
    group = group_of(wrong=3)
    group.elect(2)
    up_to_the_checkpoint(group, 2)
    group.deliver_all(src=1, method="report_chains")
    group.drop(method="report_chains")
    group.elect(1)
    group.run_until(lambda: group.failure(3) is not None, limit_ms=3000)
    assert isinstance(group.propose(1, b"y"), Started)
