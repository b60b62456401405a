"""What a person is told before a new cluster is founded. Without Ray: what the members hold is given."""

from __future__ import annotations

import pytest

from raft_actors.cluster.nodes import Node
from raft_actors.cluster.recovery import Holding, RecoveryPlan
from raft_actors.core.types import MemberId

NODE = Node(node_id="n", address="10.0.0.1", labels={})


def holding(member: int, term: int | None = None, index: int | None = None, **more: object) -> Holding:
    return Holding(
        member=MemberId(member),
        node=NODE.address,
        last_term=term,
        last_index=index,
        **{"cluster": "aa", **more},  # type: ignore[arg-type]
    )


def risks(*holdings: Holding, member: int = 0) -> str:
    return "\n".join(
        RecoveryPlan(
            group="g", member=MemberId(member), node=NODE, holdings=holdings, troubles=("a node is away",)
        ).risks()
    )


@pytest.mark.parametrize(
    ("other", "holds_more"),
    [
        (holding(1, 5, 3), True),  # §5.4.1: the later term, however short the log
        (holding(1, 4, 11), True),
        (holding(1, 4, 10), False),
        (holding(1, 3, 99), False),
        (holding(1), False),
        (holding(1, 9, 99, cluster="bb"), False),  # it is of another cluster, which this one superseded
    ],
)
def test_a_member_that_holds_more_is_named(other: Holding, holds_more: bool) -> None:
    assert ("member 1 holds more" in risks(holding(0, 4, 10), other)) is holds_more


def test_what_may_be_lost_and_what_may_appear_is_always_said() -> None:
    said = risks(holding(0, 4, 10))
    assert "a node is away" in said
    assert "acknowledged writes behind entry 10 that only other members hold are lost for good" in said
    assert "writes that ended unknown may appear" in said
    assert "versions that were given to lost writes are given again" in said


def test_what_is_wrong_with_the_chosen_one_is_said() -> None:
    said = risks(holding(0, 4, 10, trouble="it stopped before: this member's state differs"), holding(1))
    assert "member 0: it stopped before: this member's state differs" in said


def test_without_a_directory_there_an_earlier_attempt_was_cut_off() -> None:
    assert "an earlier recovery from member 0 was cut off" in risks(holding(1, 4, 10))
