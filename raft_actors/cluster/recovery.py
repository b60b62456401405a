"""A group that has lost its quorum for good goes on as a new cluster, from what one member holds (ADR 14).

Here:   `plan_recovery`: who holds what, what may be lost; `carry_out`: the group ended, the new cluster's directory
        founded. Who calls then starts the group, which finds it.
Never:  a group that still has a quorum; the directory itself (founder.py, raft_actors/storage/founding.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import ray

from raft_actors.application.exchange import ReadAt
from raft_actors.cluster.actors import answer_of, begin, peers_of
from raft_actors.cluster.founder import founder_of, told
from raft_actors.cluster.lifecycle import ANSWERED_S, member_rows, stop_group
from raft_actors.cluster.nodes import Node, NodeReport, live_nodes, on_node, survey
from raft_actors.cluster.options import GroupOptions
from raft_actors.connection import require_ray
from raft_actors.core.types import EntryId, LogIndex, MemberId, Term
from raft_actors.errors import CannotRecover, HasQuorum, PeerFailed, RaftActorsError, UnknownGroup
from raft_actors.names import check_group
from raft_actors.storage.founding import Founded
from raft_actors.storage.place import member_path
from raft_actors.storage.visit import is_between_two, look_into

PATIENCE_S: Final = 3.0
"""How long a group may take to show that it has a leader: longer than an election."""
AUTHORITY_TIMEOUT_S: Final = 2.0
LOOK_S: Final = 0.1
LOOK_TIMEOUT_S: Final = 60.0
"""How long a directory of a large log may take to be read."""
FOUND_TIMEOUT_S: Final = 3600.0
"""The same for one that is written anew; a process that dies is told at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one member holds; None where it does not say."""

    member: MemberId
    node: str
    cluster: str | None = None
    """Id of its cluster, in hexadecimal digits."""
    last_index: int | None = None
    last_term: int | None = None
    snapshot_index: int | None = None
    commit_index: int | None = None
    """What it knows to be committed, if it runs."""
    trouble: str | None = None
    """Why it does not say, or why it stopped."""

    @property
    def last(self) -> EntryId | None:
        """Its last entry, comparable as Raft compares logs (§5.4.1)."""
        if self.last_index is None or self.last_term is None:
            return None
        return EntryId(Term(self.last_term), LogIndex(self.last_index))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPlan:
    """What would be done. Nothing was yet."""

    group: str
    member: MemberId
    node: Node
    holdings: tuple[Holding, ...]
    """Of all members whose directory lies on a live node, by member."""
    troubles: tuple[str, ...] = ()
    """Nodes that did not answer."""

    @property
    def chosen(self) -> Holding | None:
        """None: an earlier attempt was cut off, and only has to be brought to its end."""
        return next((each for each in self.holdings if each.member == self.member), None)

    def risks(self) -> list[str]:
        """What may be lost, and what speaks against it, one sentence each."""
        chosen = self.chosen
        risks = [*self.troubles]
        if chosen is None:
            return [*risks, f"an earlier recovery from member {self.member} was cut off; this brings it to its end"]
        if chosen.trouble is not None:
            risks.append(f"member {self.member}: {chosen.trouble}")
        if chosen.last is not None:
            better = [
                each
                for each in self.holdings
                if each.cluster == chosen.cluster and each.last is not None and each.last > chosen.last
            ]
            risks += [
                f"member {each.member} holds more: entries up to {each.last_index} of term {each.last_term}; taking it "
                "instead loses less"
                for each in better
            ]
            risks.append(
                f"acknowledged writes behind entry {chosen.last_index} that only other members hold are lost for good"
            )
        risks.append("entries that were never known to be committed take effect: writes that ended unknown may appear")
        risks.append("versions that were given to lost writes are given again, to other ones")
        return risks


def plan_recovery(
    group: str, member: MemberId, data_dir: str | None, *, patience_s: float = PATIENCE_S
) -> RecoveryPlan:
    """Look at what there is. Changes nothing.

    Raises `HasQuorum`, `CannotRecover` if the member has no directory on a live node, `RayNotInitialised`,
    `InvalidName`.
    """
    require_ray()
    check_group(group)
    _refuse_quorum(group, patience_s)
    nodes = live_nodes()
    reports = survey(nodes, data_dir, group)
    cut_off = _nodes_between_two(nodes, data_dir, group, member)
    node = cut_off[0] if cut_off else _node_of(member, reports, group, data_dir)
    return RecoveryPlan(
        group=group,
        member=member,
        node=node,
        holdings=_holdings(group, data_dir, reports),
        troubles=() if cut_off else tuple(report.trouble for report in reports if report.trouble is not None),
    )


def carry_out(plan: RecoveryPlan, options: GroupOptions) -> Founded:
    """End what is left of the group, found the new cluster's directory, and set the old one aside.

    `options`: where the data lies; its settings are not looked at. Started then, the group goes on from there. Raises
    `HasQuorum` if one came back, `AlreadyThere` if somebody starts the group, `CannotRecover`, `DirectoryLocked`, and
    what reading the old directory raises; then the old one is as it was, and the group is ended.
    """
    _refuse_quorum(plan.group, 0.0)
    with suppress(UnknownGroup, PeerFailed):  # what its members recorded, they recorded of a cluster that is over
        stop_group(plan.group, delete_data=False)
    refusal = f"group {plan.group!r} is being started by somebody: shut it down, then recover it again"
    where = {"scheduling_strategy": on_node(plan.node.node_id)}
    with founder_of(options, plan.member, where, wait=True, refusal=refusal) as founder:
        founded: Founded = told(
            founder.recover.remote, FOUND_TIMEOUT_S, f"founding the new cluster on {plan.node.address}"
        )
        return founded


# -- is there a quorum? ---------------------------------------------------------------------------------------------


def _refuse_quorum(group: str, patience_s: float) -> None:
    leader = leader_with_authority(group, patience_s)
    if leader is not None:
        raise HasQuorum(
            f"group {group!r} has a quorum, led by member {leader[0]}: nothing is lost; bring the others back, or "
            "replace them with `raft-kv member replace`",
            leader=leader[0],
        )


def leader_with_authority(group: str, patience_s: float) -> tuple[MemberId, LogIndex] | None:
    """The member whom a majority just confirmed as the leader, and the read index; None if there is none in time."""
    deadline_s = time.monotonic() + patience_s
    while True:
        begun = {member_id: begin(peer, "verify_authority") for member_id, peer in peers_of(group).items()}
        asked = {member_id: ref for member_id, ref in begun.items() if ref is not None}
        if asked:
            ray.wait(list(asked.values()), num_returns=len(asked), timeout=AUTHORITY_TIMEOUT_S)
        confirmed = [
            (answer.index, member_id)
            for member_id, ref in asked.items()
            if isinstance(answer := answer_of(ref, ANSWERED_S), ReadAt)
        ]
        if confirmed:
            index, member_id = max(confirmed)
            return member_id, index
        if not asked or time.monotonic() >= deadline_s:
            return None
        time.sleep(LOOK_S)


# -- who holds what? ------------------------------------------------------------------------------------------------


def _node_of(member: MemberId, reports: Sequence[NodeReport], group: str, data_dir: str | None) -> Node:
    """Where its directory lies. Raylets of one machine see the same one."""
    places: dict[Any, Node] = {}
    for report in reports:
        for found in report.found:
            if found.member_id == member:
                places.setdefault(found.directory_id, report.node)
    if not places:
        root = "the default data root" if data_dir is None else data_dir
        held = sorted({int(found.member_id) for report in reports for found in report.found})
        raise CannotRecover(
            f"member {member} of group {group!r} has no data directory under {root} on a live node; "
            + (f"those of members {held} are there" if held else "none of the group is: is that its data_dir?")
        )
    if len(places) > 1:
        addresses = " and ".join(sorted(node.address for node in places.values()))
        raise CannotRecover(
            f"member {member} of group {group!r} has data on {addresses}, and nothing tells which is meant: move one "
            "of the directories away"
        )
    return next(iter(places.values()))


def _holdings(group: str, data_dir: str | None, reports: Sequence[NodeReport]) -> tuple[Holding, ...]:
    """What runs says itself; what does not is read on its node."""
    running: Mapping[Any, dict[str, Any]] = {}
    with suppress(UnknownGroup):
        rows = [row.peer for row in member_rows(group) if row.peer is not None and "last_index" in row.peer]
        running = {row["directory_id"]: row for row in rows}
    look = ray.remote(_look_here)
    holdings: dict[Any, Holding] = {}
    asked: dict[Any, tuple[MemberId, Node, Any]] = {}
    for report in reports:
        for found in report.found:
            if found.directory_id in holdings or found.directory_id in asked:
                continue
            if found.directory_id in running:
                row = running[found.directory_id]
                columns = ("cluster", "last_index", "last_term", "snapshot_index", "commit_index")
                said = {column: row.get(column) for column in columns}
                holdings[found.directory_id] = Holding(member=found.member_id, node=report.node.address, **said)
            else:
                task = look.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(report.node.node_id))
                asked[found.directory_id] = found.member_id, report.node, task.remote(data_dir, group, found.member_id)
    if asked:
        ray.wait([ref for *_, ref in asked.values()], num_returns=len(asked), timeout=LOOK_TIMEOUT_S)
    for directory_id, (member_id, node, ref) in asked.items():
        told_here = answer_of(ref, ANSWERED_S) or {
            "trouble": f"its directory was not read within {LOOK_TIMEOUT_S:.0f} s"
        }
        holdings[directory_id] = Holding(member=member_id, node=node.address, **told_here)
    return tuple(sorted(holdings.values(), key=lambda holding: (holding.member, holding.node)))


def _look_here(data_dir: str | None, group: str, member_id: MemberId) -> dict[str, Any]:
    """Runs on a node: the fields of a `Holding`."""
    try:
        holds = look_into(member_path(data_dir, group, member_id), group=group, member_id=member_id)
    except (RaftActorsError, OSError) as failure:
        return {"trouble": str(failure)}
    return {
        "cluster": holds.cluster,
        "last_index": holds.last.index,
        "last_term": holds.last.term,
        "snapshot_index": holds.snapshot_index,
        "trouble": None if holds.stopped is None else f"it stopped before: {holds.stopped}",
    }


def _nodes_between_two(nodes: Sequence[Node], data_dir: str | None, group: str, member_id: MemberId) -> list[Node]:
    """Where a recovery of this member was cut off when only its last step was missing."""
    look = ray.remote(_between_two_here)
    refs = [
        look.options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node_id)).remote(data_dir, group, member_id)
        for node_id in (node.node_id for node in nodes)
    ]
    ray.wait(refs, num_returns=len(refs), timeout=LOOK_TIMEOUT_S)
    return [node for node, ref in zip(nodes, refs, strict=True) if answer_of(ref, ANSWERED_S)]


def _between_two_here(data_dir: str | None, group: str, member_id: MemberId) -> bool:
    """Runs on a node."""
    return is_between_two(member_path(data_dir, group, member_id))
