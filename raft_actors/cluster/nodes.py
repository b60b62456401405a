"""What there is on the nodes of a Ray cluster: who is alive, which data directories of a group lie where.

Here:   live nodes, the probe that runs on each of them, pins.
Never:  which member goes where (keeper.py).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raft_actors._version import __version__
from raft_actors.core.types import DirectoryId, EntryId, MemberId
from raft_actors.errors import StorageError
from raft_actors.storage.place import member_directories, member_path
from raft_actors.storage.visit import holds_anything, is_between_two, look_into, peek_identity, set_aside

PROBE_TIMEOUT_S: Final = 20.0
PIN_AMOUNT: Final = 0.001
"""Share of a node's own resource that a pinned actor takes."""
OUR_PACKAGES: Final = ("kv", "analysis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One live raylet."""

    node_id: str
    address: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A data directory of the group."""

    member_id: MemberId
    directory_id: DirectoryId | None
    """None: it does not say whose it is."""
    empty: bool
    """It never belonged to a group: nothing was ever promised there."""
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What the probe saw on one node."""

    node: Node
    found: tuple[Found, ...]
    trouble: str | None
    """Why members cannot run there, in one sentence."""


def live_nodes() -> list[Node]:
    """In a stable order, so that two keepers would choose alike."""
    nodes = [
        Node(node_id=row["NodeID"], address=row["NodeManagerAddress"], labels=dict(row.get("Labels") or {}))
        for row in ray.nodes()
        if row["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.address, node.node_id))


def on_node(node_id: str) -> NodeAffinitySchedulingStrategy:
    """For what is about one node as it is now; never for a member, whose node may come back under another id."""
    return NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)


def pin_to_address(address: str) -> dict[str, Any]:
    """Actor options that keep it on the machine with this address, also after that was away (never a node id)."""
    return {"resources": {f"node:{address}": PIN_AMOUNT}}


def pin_here() -> dict[str, Any]:
    """The same for the machine of this process."""
    return pin_to_address(ray.util.get_node_ip_address())


def pin_to_labels(labels: Mapping[str, str]) -> dict[str, Any]:
    """Actor options that keep it where these labels are."""
    return {"label_selector": dict(labels)}


def survey(nodes: Sequence[Node], data_dir: str | None, group: str) -> list[NodeReport]:
    """Probe all these nodes at once. A node that does not answer in time is reported as trouble."""
    probe = ray.remote(_probe)
    refs = [
        probe.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node.node_id)).remote(data_dir, group)
        for node in nodes
    ]
    ready, _ = ray.wait(refs, num_returns=len(refs), timeout=PROBE_TIMEOUT_S)
    reports = []
    for node, ref in zip(nodes, refs, strict=True):
        if ref not in ready:
            ray.cancel(ref, force=True)
            trouble: str | None = f"node {node.address} did not answer within {PROBE_TIMEOUT_S:.0f} s"
            found: tuple[Found, ...] = ()
        else:
            try:
                found, trouble = ray.get(ref)
            except ray.exceptions.RayError as failure:
                found, trouble = (), f"node {node.address}: {failure}"
        reports.append(NodeReport(node=node, found=found, trouble=trouble))
    return reports


def _probe(data_dir: str | None, group: str) -> tuple[tuple[Found, ...], str | None]:
    """Runs on a node: our packages there, and the group's directories. Changes nothing."""
    found = []
    for member_id in member_directories(data_dir, group):
        path = member_path(data_dir, group, member_id)
        if is_between_two(path):
            return (), f"the recovery of member {member_id} was cut off ({path} is being founded): run it again"
        if os.path.lexists(path):
            directory_id = peek_identity(path, group=group, member_id=member_id)
            empty = directory_id is not None and not holds_anything(path)
            found.append(Found(member_id=member_id, directory_id=directory_id, path=path, empty=empty))
    return tuple(found), package_trouble()


def set_aside_on(node: Node, group: str, found: Found) -> str | None:
    """Give a directory there another name (storage/visit.py); where it is now, None if it is another one by now.

    Raises `RayError` when the node does not answer in time.
    """
    task = ray.remote(_set_aside).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node.node_id))
    aside: str | None = ray.get(task.remote(group, found), timeout=PROBE_TIMEOUT_S)
    return aside


def last_entries(held: Sequence[tuple[Node, Found]], group: str) -> list[EntryId | None]:
    """Of directories in which nobody is at work; None for one that cannot be read in time."""
    look = ray.remote(_last_entry)
    refs = [
        look.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node.node_id)).remote(group, found)
        for node, found in held
    ]
    ray.wait(refs, num_returns=len(refs), timeout=PROBE_TIMEOUT_S)
    return [_of(ref) for ref in refs]


def _of(ref: Any) -> EntryId | None:
    try:
        last: EntryId | None = ray.get(ref, timeout=0.1)
    except ray.exceptions.RayError:
        return None
    return last


def _last_entry(group: str, found: Found) -> EntryId | None:
    """Runs on a node."""
    try:
        return look_into(found.path, group=group, member_id=found.member_id).last
    except (StorageError, OSError):
        return None


def _set_aside(group: str, found: Found) -> str | None:
    return set_aside(found.path, group=group, member_id=found.member_id, directory_id=found.directory_id)


def package_trouble() -> str | None:
    """A sentence about a package that hides one of ours in this process, or None.

    Ray puts the driver's script directory on the workers' path, so a user's own kv.py or analysis/ comes first there.
    """
    ours = Path(__file__).parents[2]
    for name in OUR_PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None else spec.origin
        if origin is None:
            return f"package {name!r} of raft-actors {__version__} is missing; install raft-actors on every node"
        if Path(origin).parent.parent != ours:
            return f"{origin} hides raft-actors' package {name!r}; rename it or move it off the script's directory"
    return None
