"""Every rule about snapshots can be broken: one thing is forged, and exactly that rule says so.

Here:   what a snapshot says and holds, names and compactions, logs that begin behind a snapshot, restored applications.
Never:  whether the product keeps the rules (test_worlds.py, tests/rig).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.core.effects import Reset
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.messages import InstallSnapshot, InstallSnapshotReply
from raft_actors.core.state import envelope
from raft_actors.core.types import EntryId, LogIndex, MemberId, RequestId, Term
from raft_actors.storage.image import LogImage
from tests.core.builders import configuration
from tests.rig.application import Application
from tests.rig.rig import Group
from tests.sim.test_checks import breaks, group_at_rest, look, member, rest


def group_with_snapshots() -> Group:
    """Member 1 leads; five entries are committed and applied by all, and it has snapshots of 3 and 5."""
    group = group_at_rest()
    for number in range(2):
        for _ in range(2):
            group.propose(1, b"x")
        group.deliver_all()
        group.beat(1)
        group.deliver_all()
        group.save(1)
        assert group.snapshots(1) == ("base=0/0 snapshot=1/3", "base=1/3 snapshot=1/5")[number]
    return group


def snapshot_of(group: Group) -> tuple[SnapshotMeta, list[bytes]]:
    """The newest of member 1."""
    storage = member(group, 1).storage
    assert storage is not None
    source = storage.open_snapshot(LogIndex(5))
    return source.meta, list(source.chunks())


def test_a_group_with_snapshots_breaks_no_rule() -> None:
    group = group_with_snapshots()
    for number in group.members:
        look(group, number)
    meta, pieces = snapshot_of(group)
    group.checks.named(group.state(2).directory_id, meta, pieces)
    rest(group)


class TestWhatASnapshotIs:
    @pytest.mark.parametrize("last", [(2, 5), (1, 6)], ids=["of another term", "not committed yet"])
    def test_it_ends_with_what_is_not_committed(self, last: tuple[int, int]) -> None:
        group = group_with_snapshots()
        meta, pieces = snapshot_of(group)
        meta = replace(meta, last=EntryId(Term(last[0]), LogIndex(last[1])))
        with breaks("snapshots are of what is committed"):
            group.checks.named(group.state(2).directory_id, meta, pieces)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"stamp_ms": 10**9},
            {"configuration_id": EntryId(Term(1), LogIndex(1))},
            {"configuration": configuration({1, 2})},
        ],
        ids=["its time", "the place of its configuration", "its configuration"],
    )
    def test_it_says_something_else_than_the_log(self, wrong: dict[str, object]) -> None:
        group = group_with_snapshots()
        meta, _ = snapshot_of(group)
        with breaks("a snapshot says what it is"):
            group.checks.maybe_named(group.state(2).directory_id, replace(meta, **wrong))  # type: ignore[arg-type]

    @pytest.mark.parametrize("position", [20, 30, -1], ids=["its place", "its chain", "the machine's part"])
    def test_its_state_is_another_one(self, position: int) -> None:
        group = group_with_snapshots()
        meta, pieces = snapshot_of(group)
        state = bytearray(b"".join(pieces))
        state[position] ^= 1
        with breaks("a snapshot holds the state it names"):
            group.checks.named(group.state(2).directory_id, meta, [bytes(state)])

    def test_nobody_was_where_it_is(self) -> None:
        group = group_with_snapshots()
        meta, pieces = snapshot_of(group)
        del group.checks._machines._chains[5]
        with breaks("a snapshot holds the state it names", "applications none"):
            group.checks.named(group.state(2).directory_id, meta, pieces)


class TestNames:
    def test_an_older_one_gets_its_name_behind_a_newer_one(self) -> None:
        group = group_with_snapshots()
        meta, pieces = snapshot_of(group)
        with breaks("snapshots stay"):
            group.checks.named(group.state(1).directory_id, meta, pieces)

    def test_one_gets_its_name_before_the_term_is_durable(self) -> None:
        group = group_with_snapshots()
        meta, pieces = snapshot_of(group)
        group.checks._disks.of(group.state(2).directory_id).term = 0
        with breaks("a name waits for the term"):
            group.checks.named(group.state(2).directory_id, meta, pieces)

    def test_an_old_leader_may_hear_late_that_a_majority_has_it(self) -> None:
        """Seed 177066 of the first 200,000 worlds: its own disk was slow, and by then a later leader had committed the
        entry too. It is committed in either term, and the name waits for the earlier one."""
        group = group_with_snapshots()
        commits, peer = group.checks._commits, group.state(2)
        end, term = len(commits), peer.current_term
        commits._terms[1:] = [term + 1] * end
        meta, pieces = snapshot_of(group)
        with breaks("a name waits for the term"):
            group.checks.named(peer.directory_id, meta, pieces)
        commits.said(commits.nodes, meta.last.index, term, peer.directory_id, "2")
        assert [commits.term_of(index) for index in (0, meta.last.index)] == [0, term]
        group.checks.named(peer.directory_id, meta, pieces)

    def test_a_log_is_compacted_to_what_has_no_name(self) -> None:
        group = group_with_snapshots()
        directory_id = group.state(1).directory_id
        group.checks.compacted(directory_id, LogIndex(5))
        with breaks("snapshots stay"):
            group.checks.compacted(directory_id, LogIndex(3))

    def test_a_start_finds_no_snapshot(self) -> None:
        group = group_with_snapshots()
        group.crash(1)
        directory_id = member(group, 1).directory_id
        assert directory_id is not None
        with breaks("snapshots stay"):
            group.checks.recovered(directory_id, group.checks.image_of(directory_id), None)

    def test_a_start_finds_one_that_was_never_named(self) -> None:
        group = group_with_snapshots()
        directory_id = group.state(2).directory_id
        with breaks("snapshots stay"):
            group.checks.recovered(directory_id, group.checks.image_of(directory_id), snapshot_of(group)[0])

    def test_one_that_was_on_its_way_to_its_name_is_there_or_not(self) -> None:
        group = group_with_snapshots()
        meta, _ = snapshot_of(group)
        for found in (meta, None):
            directory_id = group.state(2 if found else 3).directory_id
            group.checks.maybe_named(directory_id, meta)
            group.checks.recovered(directory_id, group.checks.image_of(directory_id), found)

    def test_one_that_was_damaged_may_be_missing_once(self) -> None:
        group = group_with_snapshots()
        directory_id = group.state(1).directory_id
        image = group.checks.image_of(directory_id)
        group.checks.snapshot_damaged(directory_id)
        group.checks.recovered(directory_id, image, None)


class TestLogsBehindASnapshot:
    def test_a_disk_is_reset_to_a_snapshot_that_it_does_not_have(self) -> None:
        group = group_with_snapshots()
        with breaks("durable log"):
            group.checks.wrote(group.state(2).directory_id, [Reset(base=EntryId(Term(1), LogIndex(5)))])

    def test_a_disk_is_reset_to_what_it_holds(self) -> None:
        group = group_with_snapshots()
        with breaks("durable log"):
            group.checks.wrote(group.state(1).directory_id, [Reset(base=EntryId(Term(1), LogIndex(5)))])

    def test_a_start_finds_a_log_that_begins_behind_no_snapshot(self) -> None:
        group = group_with_snapshots()
        directory_id = group.state(2).directory_id
        whole = group.checks.image_of(directory_id)
        cut = replace(whole, base=whole.entries[0].id, entries=whole.entries[1:])
        with breaks("recovery"):
            group.checks.recovered(directory_id, cut, None)

    @pytest.mark.parametrize("base", [(1, 6), (2, 5), (0, 5)])
    def test_a_log_begins_behind_what_is_not_committed(self, base: tuple[int, int]) -> None:
        group = group_with_snapshots()
        group.state(2).log.reset(EntryId(Term(base[0]), LogIndex(base[1])), 0)
        with breaks("snapshots are of what is committed"):
            look(group, 2)

    def test_a_log_begins_before_what_is_committed_and_loses_it(self) -> None:
        group = group_with_snapshots()
        group.state(2).log.reset(EntryId(Term(1), LogIndex(3)), 0)
        with breaks("committed entries stay"):
            look(group, 2)

    def test_a_start_drops_acknowledged_entries_for_a_snapshot(self) -> None:
        """Contracts 5 a: what a slow installation would drop."""
        group = group_with_snapshots()
        group.isolate(3)
        group.propose(1, b"y")
        group.deliver_all()
        directory_id = group.state(2).directory_id
        image = group.checks.image_of(directory_id)
        meta, _ = snapshot_of(group)
        group.checks.maybe_named(directory_id, meta)
        emptied = LogImage(hard_state=image.hard_state, base=meta.last)
        with breaks("recovery"):
            group.checks.recovered(directory_id, emptied, meta)


def test_a_member_says_that_it_has_what_it_does_not_have() -> None:
    group = group_with_snapshots()
    leader, follower = group.state(1), group.state(2)
    meta, _ = snapshot_of(group)
    offer = InstallSnapshot(term=Term(1), snapshot=meta, beat=1)
    reply = InstallSnapshotReply(term=Term(1), request_term=Term(1), match_index=LogIndex(6), beat=1)
    group.checks.received(member(group, 2), RequestId(99), envelope(leader, MemberId(2), offer))
    with breaks("durable before it is said"):
        group.checks.answered(member(group, 2), RequestId(99), envelope(follower, MemberId(1), reply))


def test_an_application_goes_on_from_another_state() -> None:
    group = group_with_snapshots()
    _, pieces = snapshot_of(group)
    two = member(group, 2)
    two.application = Application(group.genesis.settings, pieces)
    group.checks.restored(two)
    two.application.host._chain.restore(bytes(16))
    with breaks("state machine safety"):
        group.checks.restored(two)
