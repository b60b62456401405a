"""Contracts rule 6: when the keeper begins a group, and with which record. Without Ray: the members' answers are given.

The whole start, on a real cluster, is in tests/cluster/test_start.py and tests/cluster/test_nodes.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from raft_actors.cluster import keeper
from raft_actors.cluster.bootstrap import newest_configuration, of_the_present_cluster, record_of
from raft_actors.cluster.keeper import Keeper
from raft_actors.cluster.nodes import Found, Node, NodeReport
from raft_actors.cluster.options import GroupOptions
from raft_actors.codec import cluster_id_of, decode_genesis, encode_genesis, successor_cluster_id
from raft_actors.config import RaftConfig
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.types import VACANT, DirectoryId, MemberId
from tests.application.builders import Journal
from tests.rig.disks import directory_id

SETTINGS = b"limits"


class HandDriven(Keeper):
    """Looks when the test says so; `says` is what each member says of itself, `handed` what it was given."""

    def __init__(self, says: dict[MemberId, dict[str, Any] | None]) -> None:
        self.says = says
        self.handed: dict[MemberId, bytes] = {}
        self.lies_there: dict[MemberId, DirectoryId] = {}
        """Directories on live nodes that hold something."""
        super().__init__(
            GroupOptions(
                group="g",
                members=len(says),
                config=RaftConfig(),
                data_dir="/data",
                placement=None,
                allow_unsafe_data_dir=False,
                machine=lambda settings: Journal(),
                application=object,
                settings=SETTINGS,
                open_storage=_no_storage,
                record_dir=None,
            )
        )

        self.ended: list[MemberId] = []
        self._actors.end = self.ended.append

    def _run(self) -> None:
        """No rounds of its own."""

    def _hand(self, member_id: MemberId, record: bytes) -> str | None:
        self.handed[member_id] = record
        return None

    def look(self) -> dict[MemberId, bytes]:
        """One round; what was handed to whom."""
        self._take_note(self.says)
        self._bootstrap(self.says)
        return self.handed

    def _survey(self) -> list[NodeReport]:
        lines = tuple(
            Found(member_id=number, directory_id=directory, path="/data", empty=False)
            for number, directory in self.lies_there.items()
        )
        return [NodeReport(node=Node(node_id="n", address="10.0.0.1", labels={}), found=lines, trouble=None)]


def _no_storage(*_: Any, **__: Any) -> Any:
    raise AssertionError("no member is opened here")


def empty(number: int, wipes: int = 0) -> dict[str, Any]:
    return {
        "state": "uninitialised",
        "directory_id": directory_id(number, wipes),
        "genesis": None,
        "configuration": None,
        "error": None,
    }


def holding(number: int, record: bytes) -> dict[str, Any]:
    return {
        "state": "running",
        "directory_id": directory_id(number),
        "genesis": record,
        "configuration": None,
        "error": None,
    }


def record_of_directories(*directories: DirectoryId) -> bytes:
    members = tuple(
        Member(member_id=MemberId(number), directory_id=directory, voter=True)
        for number, directory in enumerate(directories)
    )
    return encode_genesis(
        Genesis(
            cluster_id=cluster_id_of("g", members, SETTINGS),
            group="g",
            configuration=Configuration(members=members),
            settings=SETTINGS,
        )
    )


ALL = record_of_directories(directory_id(0), directory_id(1), directory_id(2))
MEMBERS = (MemberId(0), MemberId(1), MemberId(2))


@pytest.fixture(autouse=True)
def our_logger_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "log_to_stderr", lambda: None)


def test_all_empty_make_the_group_of_just_these_directories() -> None:
    handed = HandDriven({number: empty(number) for number in MEMBERS}).look()
    assert handed == dict.fromkeys(MEMBERS, ALL)
    assert decode_genesis(ALL).configuration.members[2].directory_id == directory_id(2)


@pytest.mark.parametrize("silent", MEMBERS)
def test_a_majority_of_empty_ones_makes_none(silent: MemberId) -> None:
    """The third may hold the group's data, and be on its way."""
    looking = HandDriven({number: None if number == silent else empty(number) for number in MEMBERS})
    assert looking.look() == {}
    assert looking.progress()["waiting_for"] == {int(silent): "it does not answer"} | {
        int(number): "it is uninitialised" for number in MEMBERS if number != silent
    }


def test_two_that_were_wiped_make_none_beside_one_that_has_the_record() -> None:
    """6 (a): a new group of two empty disks would be obeyed by the third, and its log truncated."""
    looking = HandDriven({MEMBERS[0]: holding(0, ALL), MEMBERS[1]: empty(1, 1), MEMBERS[2]: empty(2, 1)})
    assert looking.look() == {}, "the record names other directories"
    progress = looking.progress()
    assert (progress["created"], progress["started"]) == (False, False)
    assert "raft-kv member replace 1" in progress["waiting_for"][1]


def test_who_was_missed_by_a_bootstrap_gets_the_record_that_the_others_have() -> None:
    """6 (b): the starter was killed in the middle of it."""
    assert HandDriven({MEMBERS[0]: holding(0, ALL), MEMBERS[1]: empty(1), MEMBERS[2]: None}).look() == {MEMBERS[1]: ALL}


def test_data_that_came_with_a_node_is_opened_before_a_new_group_is_made() -> None:
    """6 (d): all are empty, and the directory of one of them lies on a node that has just come."""
    looking = HandDriven({number: empty(number) for number in MEMBERS})
    looking.lies_there[MEMBERS[1]] = directory_id(1, 1)
    assert (looking.look(), looking.ended) == ({}, [MEMBERS[1]])
    assert not looking.progress()["created"]
    looking.lies_there.clear()
    assert looking.look() == dict.fromkeys(MEMBERS, ALL)


def test_a_leftover_of_an_earlier_attempt_stays_outside() -> None:
    left = HandDriven({number: empty(number) for number in (*MEMBERS, MemberId(3))})
    left._options = replace(left._options, members=3)
    assert left.look() == dict.fromkeys(MEMBERS, ALL)


def test_a_group_runs_though_one_disk_was_lost() -> None:
    """Its members are a majority; who lost it waits to be replaced."""
    looking = HandDriven({MEMBERS[0]: holding(0, ALL), MEMBERS[1]: holding(1, ALL), MEMBERS[2]: empty(2, 1)})
    looking.look()
    assert looking.progress()["started"]
    assert "raft-kv member replace 2" in looking.progress()["waiting_for"][2]


class TestTwoClusters:
    """ADR 14: what was recovered goes on, and what it took the place of is refused for ever."""

    OLD = decode_genesis(ALL)
    LINES = (
        Member(member_id=MEMBERS[0], directory_id=directory_id(0, 1), voter=True),
        Member(member_id=MEMBERS[1], directory_id=VACANT, voter=False),
    )
    NEW = encode_genesis(
        Genesis(
            cluster_id=successor_cluster_id(OLD.cluster_id, "g", LINES, SETTINGS),
            group="g",
            configuration=Configuration(members=LINES),
            settings=SETTINGS,
        )
    )

    def test_members_of_the_old_one_have_no_say(self) -> None:
        """Two of them would be a majority of it."""
        said = {MEMBERS[1]: holding(1, ALL), MEMBERS[2]: holding(2, ALL), MEMBERS[0]: holding(0, self.NEW)}
        present = of_the_present_cluster(said)
        assert record_of(present) == self.NEW
        assert newest_configuration(present) == decode_genesis(self.NEW).configuration
        assert of_the_present_cluster({MEMBERS[1]: holding(1, ALL)}) == {MEMBERS[1]: holding(1, ALL)}

    def test_of_two_strangers_none_is_chosen(self) -> None:
        other = record_of_directories(directory_id(0, 2))
        with pytest.raises(RuntimeError, match="nothing to do with each other"):
            of_the_present_cluster({MEMBERS[0]: holding(0, other), MEMBERS[1]: holding(1, ALL)})
