"""Which node a member belongs on.

Here:   where a known directory lies, where a new or lost member goes, how an actor is pinned there. Pure.
Never:  looking at nodes (nodes.py), creating actors (actors.py).

Members are pinned by address or label, never by node id: a machine that comes back has a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from raft_actors.cluster.nodes import Found, Node, NodeReport, pin_to_address, pin_to_labels
from raft_actors.core.types import DirectoryId, MemberId

Placement: TypeAlias = tuple[Mapping[str, str], ...] | None
"""One label selector for each of the first members (GroupOptions.placement)."""


def where_it_lies(directory_id: DirectoryId, member_id: MemberId, reports: Sequence[NodeReport]) -> Node | None:
    """The node that holds this directory. Raylets of one machine see the same one: the first is as good."""
    for report in reports:
        for found in report.found:
            if (found.member_id, found.directory_id) == (member_id, directory_id):
                return report.node
    return None


Held: TypeAlias = tuple[Node, Found]
"""A directory, and where it lies."""


def what_lies_there(reports: Sequence[NodeReport]) -> tuple[dict[MemberId, Held], dict[MemberId, list[Held]]]:
    """The directory of each member; and of members that have several, all of them: one counts at most.

    What is empty counts only where there is nothing else. Raylets of one machine see the same directories.
    """
    found: dict[MemberId, dict[DirectoryId | None, Held]] = {}
    for report in reversed(reports):
        for each in report.found:
            found.setdefault(each.member_id, {})[each.directory_id] = report.node, each
    one: dict[MemberId, Held] = {}
    several: dict[MemberId, list[Held]] = {}
    for member_id, held in found.items():
        full = [each for each in held.values() if each[1].directory_id is not None and not each[1].empty]
        if len(full) > 1:
            several[member_id] = full
        else:
            one[member_id] = (full or list(held.values()))[0]
    return one, several


def several_directories(member_id: MemberId, held: Sequence[Held]) -> str:
    """What to do when nobody can tell which of a member's directories counts."""
    places = " and ".join(sorted(f"{node.address}:{found.path}" for node, found in held))
    return (
        f"member {member_id} has several directories ({places}) and none can be read: move those that are out of use "
        "away"
    )


def first_pin(member_id: MemberId, placement: Placement, reports: Sequence[NodeReport]) -> dict[str, Any]:
    """Actor options for a member of a new group: its labels, whoever has them now, else spread over the machines."""
    if placement is not None:
        return pin_to_labels(placement[member_id])
    addresses = sorted({report.node.address for report in reports})
    return pin_to_address(addresses[member_id % len(addresses)])


def for_vacant_place(
    member_id: MemberId, wish: str | None, placement: Placement, reports: Sequence[NodeReport], busy: Counter[str]
) -> Node | None:
    """Where somebody new goes: the node that is wished for, else one that its labels name, else the least busy.

    `busy`: how many other members are on a node, by its id. None: the node that is wished for is not alive.
    """
    nodes = [report.node for report in reports]
    if wish is not None:
        nodes = [node for node in nodes if names(wish, node)]
    elif placement is not None and member_id < len(placement):
        nodes = [node for node in nodes if _matches(placement[member_id], node)] or nodes
    return min(nodes, key=lambda node: (busy[node.node_id], node.address, node.node_id), default=None)


def names(wish: str, node: Node) -> bool:
    """Whether this is the node that somebody means: by its address, its id, or LABEL=VALUE[,LABEL=VALUE...]."""
    if "=" in wish:
        return _matches(dict(pair.split("=", 1) for pair in wish.split(",") if "=" in pair), node)
    return wish in (node.address, node.node_id)


def pin_of(member_id: MemberId, node: Node, placement: Placement, nodes: Sequence[Node]) -> dict[str, Any]:
    """Actor options that keep a member on this node: by labels that no other node has, else by its address.

    The labels are the member's own, or another member's whose node it came to when its own was gone.
    """
    if placement is not None:
        own = [placement[member_id]] if member_id < len(placement) else []
        for labels in (*own, *placement):
            if [each for each in nodes if _matches(labels, each)] == [node]:
                return pin_to_labels(labels)
    return pin_to_address(node.address)


def _matches(labels: Mapping[str, str], node: Node) -> bool:
    return all(node.labels.get(label) == wanted for label, wanted in labels.items())
