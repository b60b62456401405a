"""Which node a member belongs on. Without Ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from raft_actors.cluster.nodes import Found, Node, NodeReport, pin_to_address, pin_to_labels
from raft_actors.cluster.placing import (
    first_pin,
    for_vacant_place,
    names,
    pin_of,
    several_directories,
    what_lies_there,
    where_it_lies,
)
from raft_actors.core.types import DirectoryId, MemberId
from tests.rig.disks import directory_id

TWO = MemberId(2)
RACKS = tuple({"rack": rack} for rack in "abc")


def node(letter: str, address: str | None = None) -> Node:
    return Node(node_id=f"id-{letter}", address=address or f"10.0.0.{ord(letter) - 96}", labels={"rack": letter})


def report(of: Node, *found: tuple[int, DirectoryId | None]) -> NodeReport:
    lines = tuple(
        Found(member_id=MemberId(number), directory_id=each, path="/data", empty=False) for number, each in found
    )
    return NodeReport(node=of, found=lines, trouble=None)


A, B, C = (node(letter) for letter in "abc")
ALL = [report(A), report(B), report(C)]


def test_a_directory_lies_where_exactly_it_is() -> None:
    """A place may have had several; an old one on its old node is not meant (contracts 6 d)."""
    reports = [report(A, (2, directory_id(2))), report(B, (2, directory_id(2, 1))), report(C, (2, None))]
    assert where_it_lies(directory_id(2, 1), TWO, reports) == B
    assert where_it_lies(directory_id(2, 2), TWO, reports) is None
    assert where_it_lies(directory_id(2), MemberId(1), reports) is None


def nodes_of(reports: list[NodeReport]) -> tuple[dict[int, Node], dict[int, list[Node]]]:
    one, several = what_lies_there(reports)
    return {m: node for m, (node, _) in one.items()}, {m: [node for node, _ in held] for m, held in several.items()}


def test_of_several_directories_of_a_place_none_is_taken_on_a_guess() -> None:
    """Contracts 6 d: an old one may lie on its old node still."""
    first, old, new = directory_id(0), directory_id(2), directory_id(2, 1)
    reports = [report(A, (0, first), (2, new)), report(B, (0, first)), report(C, (2, old))]
    assert nodes_of(reports) == ({0: A}, {2: [C, A]})
    _, several = what_lies_there(reports)
    assert "10.0.0.1:/data and 10.0.0.3:/data" in several_directories(TWO, several[TWO])


def test_an_empty_directory_or_one_that_says_nothing_counts_where_there_is_nothing_else() -> None:
    full, bare = report(A, (2, directory_id(2))), report(B, (2, directory_id(2, 1)), (3, None))
    bare = replace(bare, found=tuple(replace(each, empty=each.directory_id is not None) for each in bare.found))
    assert nodes_of([full, bare]) == nodes_of([bare, full]) == ({2: A, 3: B}, {})
    assert nodes_of([bare]) == ({2: B, 3: B}, {})


def test_a_new_group_is_spread_over_the_machines() -> None:
    pins = [first_pin(MemberId(number), None, ALL) for number in range(4)]
    assert pins == [pin_to_address(each.address) for each in (A, B, C, A)]


def test_a_new_group_goes_where_its_labels_say_whether_such_a_node_lives_or_not() -> None:
    assert first_pin(TWO, RACKS, ALL[:1]) == pin_to_labels({"rack": "c"})


class TestAVacantPlace:
    def test_goes_where_fewest_are(self) -> None:
        assert for_vacant_place(TWO, None, None, ALL, Counter({"id-a": 1, "id-b": 1})) == C
        assert for_vacant_place(TWO, None, None, ALL[:2], Counter({"id-a": 1, "id-b": 2})) == A

    def test_goes_where_its_labels_are_while_such_a_node_lives(self) -> None:
        busy = Counter({"id-c": 5})
        assert for_vacant_place(TWO, None, RACKS, ALL, busy) == C
        assert for_vacant_place(TWO, None, RACKS, ALL[:2], busy) == A, "a whole node is gone"
        assert for_vacant_place(MemberId(3), None, RACKS, ALL, busy) == A, "a member that was added has none"

    @pytest.mark.parametrize("wish", ["10.0.0.2", "id-b", "rack=b"])
    def test_goes_where_somebody_wants_it(self, wish: str) -> None:
        assert for_vacant_place(TWO, wish, RACKS, ALL, Counter({"id-b": 9})) == B

    def test_goes_nowhere_else(self) -> None:
        assert for_vacant_place(TWO, "rack=z", RACKS, ALL, Counter()) is None


@pytest.mark.parametrize(
    ("wish", "is_meant"),
    [("10.0.0.1", True), ("id-a", True), ("rack=a", True), ("rack=a,disk=ssd", False), ("", False)],
)
def test_a_node_is_named(wish: str, is_meant: bool) -> None:
    assert names(wish, A) == is_meant


class TestPins:
    """Never a node id: a machine that comes back has a new one."""

    NODES = (A, B, C)

    def test_by_address_or_by_its_own_labels(self) -> None:
        assert pin_of(TWO, C, None, self.NODES) == pin_to_address("10.0.0.3")
        assert pin_of(TWO, C, RACKS, self.NODES) == pin_to_labels({"rack": "c"})

    def test_who_came_to_another_ones_node_is_kept_there(self) -> None:
        assert pin_of(TWO, A, RACKS, self.NODES) == pin_to_labels({"rack": "a"})
        assert pin_of(TWO, node("z"), RACKS, (*self.NODES, node("z"))) == pin_to_address(node("z").address)

    def test_labels_that_several_nodes_have_name_none_of_them(self) -> None:
        """Ray would choose, and open an empty directory on the other one."""
        twin = node("c", "10.0.0.9")
        assert pin_of(TWO, C, RACKS, (*self.NODES, twin)) == pin_to_address("10.0.0.3")
