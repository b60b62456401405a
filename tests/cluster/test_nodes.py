"""Three nodes, told apart by labels, with a data root each: nodes die and come back, and the data with them.

The story is three_nodes.py, told once in a process of its own; here it is judged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.world import REPOSITORY, run_script

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def saw(module_data_dir: str) -> dict[str, Any]:
    printed = run_script(
        Path(__file__).with_name("three_nodes.py"),
        module_data_dir,
        environment={"PYTHONPATH": str(REPOSITORY)},
        timeout_s=280,
    )
    found: dict[str, Any] = json.loads(printed.split("SAW ")[1].splitlines()[0])
    return found


def test_each_member_lies_on_its_node(saw: dict[str, Any]) -> None:
    assert saw["directories"] == {"a": ["0"], "b": ["1"], "c": ["2"]}


def test_a_node_killed_and_added_again_brings_its_member_back_with_its_data(saw: dict[str, Any]) -> None:
    assert saw["identities after a node's death"] == saw["identities"]
    assert saw["incarnation of c"] == 2


def test_members_whose_nodes_are_missing_are_waited_for_and_named(saw: dict[str, Any]) -> None:
    assert saw["waiting for"] == [1, 2]
    for member in (1, 2):
        assert f"member {member}: its data directory is on no live node" in saw["with one node of three"]


def test_a_majority_of_the_old_data_starts_and_has_everything(saw: dict[str, Any]) -> None:
    assert saw["with two nodes of three"] == [100, 2]
    assert saw["a later version is higher"] is True


def test_a_whole_cluster_and_its_ray_killed_go_on_from_their_snapshots(saw: dict[str, Any]) -> None:
    assert saw["snapshots of all"] is True


def test_the_last_node_brings_the_last_member_back_where_its_data_lies(saw: dict[str, Any]) -> None:
    assert saw["identities in the end"] == saw["identities"]
    assert saw["directories in the end"] == saw["directories"]


def test_a_node_that_is_gone_is_replaced_on_another_one(saw: dict[str, Any]) -> None:
    on_two = saw["on two nodes"]
    assert sorted(on_two["a"] + on_two["b"]) == ["0", "1", "2"]
    assert saw["another directory"] is True


def test_the_whole_cluster_comes_back_with_the_directory_that_the_log_names(saw: dict[str, Any]) -> None:
    """The old one lies on its old node again, which has the labels of its place (contracts 6 d)."""
    assert saw["after the replacement"] == [100, 4]
    assert saw["the new directory is the one that counts"] is True


def test_delete_data_reaches_every_node(saw: dict[str, Any]) -> None:
    assert saw["left after delete_data"] == []
