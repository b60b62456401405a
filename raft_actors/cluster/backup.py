"""A group's state into a file, and from a file into a new group.

Here:   `save_group`: which member's snapshot is new enough, and its way into the file; `restore_group`: a new group's
        first directory, from a file.
Never:  the file's form (raft_actors/storage/backups.py), the directory (founder.py), when members take snapshots by
        themselves (raft_actors/peer/snapshots.py).

A backup holds every write that was acknowledged before it was asked for: the leader confirms with a round of its
heartbeats that it leads (dissertation §6.4), which gives an index; the snapshot of any member that covers that index
will do. It is taken by a follower, if one is there, so that the leader is left alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from raft_actors.application.exchange import ClusterId, Restore
from raft_actors.application.object_store import read_snapshot
from raft_actors.application.packing import Malformed
from raft_actors.cluster.actors import find_actor
from raft_actors.cluster.founder import founder_of, told
from raft_actors.cluster.lifecycle import MemberRow, member_rows, members_of
from raft_actors.cluster.nodes import live_nodes, on_node, pin_to_labels, survey
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.recovery import leader_with_authority
from raft_actors.connection import require_ray
from raft_actors.core.types import LogIndex, MemberId
from raft_actors.errors import (
    AlreadyThere,
    BackupFailed,
    CannotRecover,
    NoQuorum,
    OperationError,
    RaftActorsError,
    SnapshotFailed,
    SnapshotGone,
    UnknownGroup,
)
from raft_actors.names import check_group, keeper_name, peer_name
from raft_actors.storage.backups import BackupReader, BackupWriter, header_of
from raft_actors.storage.founding import Founded
from raft_actors.storage.snapshot_records import SnapshotHeader, encode_header

Told = Callable[[int], None]
"""Of how many more bytes of the state are done."""

FOLLOWERS_S: Final = 2.0
"""How long a follower may take to apply what the leader has; then the leader's snapshot is taken."""
LOOK_S: Final = 0.05
SAVE_CALL_S: Final = 30.0
"""How long one call to a member may take; a snapshot goes on without it, and is asked for again."""
ASK_TIMEOUT_S: Final = 5.0
WRITES_AHEAD_MAX: Final = 2
"""Chunks on their way to a founder: one travels while the one before is written."""
FOUNDER_TIMEOUT_S: Final = 120.0
"""How long a founder may take for a chunk, or for its last look at all of it beside a slow disk."""
FINISH_TIMEOUT_S: Final = 3600.0
ENDING_S: Final = 10.0
"""How long actors that were ended may keep their names."""

_LOST_ON_THE_WAY: Final = (SnapshotGone, SnapshotFailed, Malformed, RayError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file that was written."""

    path: str
    member: MemberId
    """Whose snapshot it is."""
    index: int
    """Of the last entry that it covers: at least every one that was acknowledged before."""
    term: int
    state_bytes: int


# -- into a file ----------------------------------------------------------------------------------------------------


def save_group(group: str, path: str, *, replace: bool, timeout_s: float, begun: Told, told_bytes: Told) -> Backup:
    """Write the group's state to `path`; every write acknowledged before this call is in it.

    `begun` is told which member's it is, each time that one is begun. Raises `AlreadyThere` for a file that is there
    unless `replace`, `UnknownGroup`, `NoQuorum`, `BackupFailed`.
    """
    require_ray()
    check_group(group)
    deadline_s = time.monotonic() + timeout_s
    if not members_of(group):
        raise UnknownGroup(f"no group {group!r} runs on this Ray cluster; start it first, or look with `raft-kv list`")
    found = leader_with_authority(group, min(ASK_TIMEOUT_S, timeout_s))
    if found is None:
        raise NoQuorum(f"no member of group {group!r} leads with a majority: nothing was saved; see `raft-kv status`")
    index = found[1]
    last: Exception | None = None
    while time.monotonic() < deadline_s:
        member, header = _snapshot_behind(group, index, deadline_s)
        begun(member)
        writer = BackupWriter(path, header, replace=replace)
        try:
            for chunk in _state_of(group, member, header):
                writer.write(chunk)
                told_bytes(len(chunk))
            writer.commit()
        except _LOST_ON_THE_WAY as failure:  # a newer one took its place, or its member is gone
            last = failure
            continue
        finally:
            writer.abandon()
        at = header.meta.last
        return Backup(path=path, member=member, index=at.index, term=at.term, state_bytes=writer.size)
    raise BackupFailed(f"nothing was saved within {timeout_s:.0f} s: {last or 'no member came to its end'}; try again")


def _snapshot_behind(group: str, index: LogIndex, deadline_s: float) -> tuple[MemberId, SnapshotHeader]:
    """A member with a snapshot that covers `index`, taken now if there is none, and what it stands for."""
    leaders_turn_s = time.monotonic() + FOLLOWERS_S
    last: object = "no member has applied what the leader has"
    while time.monotonic() < deadline_s:
        for row in _able(group, index, leader_too=time.monotonic() >= leaders_turn_s):
            try:
                header = _snapshot_of(group, row.member_id, deadline_s)
            except (OperationError, RayError, ValueError) as failure:
                last = failure
                continue
            if header is not None and header.meta.last.index >= index:
                return row.member_id, header
        time.sleep(LOOK_S)
    raise BackupFailed(f"no snapshot of group {group!r} was taken in time ({last}); nothing was saved, try again")


def _able(group: str, index: LogIndex, *, leader_too: bool) -> list[MemberRow]:
    """Members that have applied `index`, followers first, the furthest of them first."""

    def is_leader(row: MemberRow) -> bool:
        return row.peer is not None and row.peer.get("role") == "leader"

    def applied(row: MemberRow) -> int:
        return -1 if row.peer is None else row.peer.get("last_applied") or 0

    rows = member_rows(group)
    lonely = len(rows) == 1
    able = [row for row in rows if applied(row) >= index and (leader_too or lonely or not is_leader(row))]
    return sorted(able, key=lambda row: (is_leader(row), -applied(row)))


def _snapshot_of(group: str, member: MemberId, deadline_s: float) -> SnapshotHeader | None:
    """Have the member take one of all that it has applied, unless it has one."""
    peer = find_actor(peer_name(group, member))
    if peer is None:
        return None
    while True:
        left_s = max(LOOK_S, min(SAVE_CALL_S, deadline_s - time.monotonic()))
        try:
            ray.get(peer.save_snapshot.remote(left_s), timeout=left_s + ASK_TIMEOUT_S)
        except (RayTaskError, GetTimeoutError) as failure:
            cause = failure.cause if isinstance(failure, RayTaskError) else None
            unknown = not isinstance(cause, OperationError) or cause.outcome == "unknown"
            if not unknown or time.monotonic() >= deadline_s:
                raise
        else:
            record = ray.get(peer.snapshot_header.remote(), timeout=ASK_TIMEOUT_S)
            return None if record is None else header_of(record)


def _state_of(group: str, member: MemberId, header: SnapshotHeader) -> Iterator[memoryview]:
    peer = find_actor(peer_name(group, member))
    if peer is None:
        raise SnapshotGone(f"member {member} is gone")
    at = header.meta.last
    wanted = Restore(
        cluster_id=ClusterId(header.genesis.cluster_id),
        settings=header.genesis.settings,
        term=at.term,
        index=at.index,
    )
    return read_snapshot(peer, wanted)


# -- from a file ----------------------------------------------------------------------------------------------------


def restore_group(reader: BackupReader, options: GroupOptions, *, told_bytes: Told) -> Founded:
    """Found the first directory of a new group from a file that was verified; who calls then starts the group.

    The group's places are as many as `options.members`; all but the first are vacant. Raises `AlreadyThere` when a
    group of that name runs, or has data on a live node, `BackupRefused` for a file that changed since, `CannotRecover`;
    then nothing changed.
    """
    require_ray()
    group = options.group
    refusal = f"a group {group!r} runs on this Ray cluster: restore under another name, or shut it down and delete it"
    member, where = MemberId(0), _where(options)
    _refuse_what_runs(group, refusal)
    with founder_of(options, member, where, wait=True, refusal=refusal) as founder:
        _refuse_data(options, refusal)
        places = tuple(MemberId(number) for number in range(options.members))
        what = f"restoring {reader.path}"
        told(lambda: founder.begin.remote(encode_header(reader.said)[0], places), FOUNDER_TIMEOUT_S, what)
        try:
            under_way: deque[Any] = deque()
            for number, chunk in enumerate(reader.chunks()):
                under_way.append((founder.write.remote(number, chunk), len(chunk)))
                while len(under_way) > WRITES_AHEAD_MAX:
                    _written(under_way, told_bytes, what)
            while under_way:
                _written(under_way, told_bytes, what)
            founded: Founded = told(founder.finish.remote, FINISH_TIMEOUT_S, what)
            return founded
        except BaseException:
            with suppress(RaftActorsError):  # it may be dead; what it left, the next attempt removes
                told(founder.abandon.remote, FOUNDER_TIMEOUT_S, what)
            raise


def _written(under_way: deque[Any], told_bytes: Told, what: str) -> None:
    ref, size = under_way.popleft()
    told(lambda: ref, FOUNDER_TIMEOUT_S, what)
    told_bytes(size)


def _where(options: GroupOptions) -> dict[str, Any]:
    """Actor options that put the first member's directory where the keeper will look for its node."""
    if options.placement is not None:
        return pin_to_labels(options.placement[0])
    nodes = live_nodes()
    if not nodes:
        raise CannotRecover("no node of this Ray cluster is alive: see `ray status`")
    return {"scheduling_strategy": on_node(nodes[0].node_id)}


def _refuse_what_runs(group: str, refusal: str) -> None:
    """Whoever answers runs; who is just ending after a shutdown is waited for."""
    deadline_s = time.monotonic() + ENDING_S
    while True:
        asked = [find_actor(keeper_name(group)), *(find_actor(peer_name(group, each)) for each in members_of(group))]
        calls = [actor.options if at == 0 else actor.describe for at, actor in enumerate(asked) if actor is not None]
        if not calls:
            return
        for ref in [call.remote() for call in calls]:
            with suppress(RayError):
                ray.get(ref, timeout=ASK_TIMEOUT_S)
                raise AlreadyThere(refusal)
        if time.monotonic() > deadline_s:
            raise AlreadyThere(refusal)
        time.sleep(LOOK_S)


def _refuse_data(options: GroupOptions, refusal: str) -> None:
    if members_of(options.group):
        raise AlreadyThere(refusal)
    for report in survey(live_nodes(), options.data_dir, options.group):
        if report.trouble is not None:
            raise CannotRecover(f"nobody knows whether there is data of group {options.group!r}: {report.trouble}")
        for found in report.found:
            raise AlreadyThere(
                f"group {options.group!r} has data on node {report.node.address} ({found.path}): restore under another "
                "name, or start that group and shut it down with --delete-data",
                path=found.path,
            )
