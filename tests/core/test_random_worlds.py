"""Worlds from seeds: nothing bad happens, once healed something good does, and enough happened to mean anything."""

from __future__ import annotations

from collections import Counter

import pytest

from raft_actors.core.effects import ChangeRefusal, TransferEnd
from tests.core.changing_world import ChangingWorld
from tests.core.random_world import World, run


@pytest.mark.long
@pytest.mark.slow
def test_three_hundred_worlds() -> None:
    happened: Counter[str] = Counter()
    for seed in range(300):
        happened += run(seed, events=1000).counts
    rare = {what: count for what, count in happened.items() if count < 5}
    assert not rare, f"too little happened for the test to mean anything: {happened}"
    assert set(happened) == {
        *("crash", "truncation", "read", "election", "commit"),
        *("snapshot", "compaction", "installation", "reset by a start"),
    }


@pytest.mark.long
@pytest.mark.slow
def test_four_hundred_worlds_whose_members_come_and_go() -> None:
    happened: Counter[str] = Counter()
    for seed in range(400):
        happened += run(seed, events=600, kind=ChangingWorld).counts
    rare = {what: count for what, count in happened.items() if count < 5}
    assert not rare, f"too little happened for the test to mean anything: {happened}"
    assert set(happened) >= {
        *("AddMember", "Promote", "RemoveMember", "RemovePlace", "place kept"),
        *("removal of the leader itself", "change rolled back"),
        *("disk of a member lost", "installation", "snapshot of another configuration", "truncation"),
        *(f"refused: {reason.value}" for reason in ChangeRefusal),
        *(f"transfer: {why.value}" for why in TransferEnd),
    }


def test_a_seed_is_a_story() -> None:
    """The same seed plays the same events, so a failure can be looked at as often as one likes."""
    for kind in (World, ChangingWorld):
        assert run(3, events=100, kind=kind).story == run(3, events=100, kind=kind).story
