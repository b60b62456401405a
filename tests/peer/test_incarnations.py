"""A slot is freed by its call's end or by a new process at its target, and by no late message of an earlier one."""

from __future__ import annotations

from raft_actors.core.events import HelloReceived
from raft_actors.core.types import DirectoryId, Incarnation, MemberId, RpcId
from raft_actors.peer.engine import Engine
from raft_actors.peer.window import CallKind
from tests.rig.disks import directory_id
from tests.rig.rig import Group

LEADER, FOLLOWER = 1, 2
OLD_DISK, NEW_DISK = directory_id(FOLLOWER), directory_id(FOLLOWER, wipes=1)


def leader_with_a_call_open() -> Engine:
    """To a follower whose answer does not come; its first start is known."""
    group = Group(3)
    group.elect(LEADER)
    group.isolate(FOLLOWER)
    group.beat(LEADER)
    engine = group.members[MemberId(LEADER)].running()
    assert engine.window.open_to(MemberId(FOLLOWER)) > 0
    return engine


def hear(engine: Engine, directory: DirectoryId, start_count: int) -> int:
    """A hello; how many calls to the follower are open then."""
    engine.handle(
        HelloReceived(
            now_ms=engine.state.last_heard_ms or 0,
            cluster_id=engine.genesis.cluster_id,
            sender=MemberId(FOLLOWER),
            incarnation=Incarnation(directory_id=directory, start_count=start_count),
        )
    )
    return engine.window.open_to(MemberId(FOLLOWER))


def test_another_start_frees_them() -> None:
    assert hear(leader_with_a_call_open(), OLD_DISK, 2) == 0


def test_an_empty_disk_in_its_place_frees_them() -> None:
    assert hear(leader_with_a_call_open(), NEW_DISK, 1) == 0


def test_the_same_start_frees_none() -> None:
    assert hear(leader_with_a_call_open(), OLD_DISK, 1) > 0


def test_a_late_word_of_the_disk_that_was_replaced_frees_none() -> None:
    engine = leader_with_a_call_open()
    hear(engine, NEW_DISK, 1)
    others = len(engine.window)
    assert engine.window.admit(RpcId(10**6), MemberId(FOLLOWER), CallKind.BEAT, 0)
    assert hear(engine, OLD_DISK, 1) == 1, "the call to the new process is still under way"
    assert len(engine.window) == others + 1
    assert hear(engine, NEW_DISK, 1) == 1
