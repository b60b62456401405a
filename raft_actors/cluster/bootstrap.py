"""A new group from what its members say of themselves (contracts rule 6), and who belongs to a group that is there.

Here:   the record of a group, computed, never drawn; whom it is handed to; why somebody is waited for. Pure.
Never:  asking members, handing them anything (keeper.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from raft_actors.codec import cluster_id_of, decode_configuration, decode_genesis, supersedes
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.standing import PeerState

Descriptions: TypeAlias = Mapping[MemberId, dict[str, Any] | None]
"""What each peer said of itself (`Standing.describe`); None where it did not answer."""

SILENT: Final = "it does not answer"
NOT_NAMED: Final = (
    "its data directory is empty, and the group knows it by another one: bring the old directory back, or raft-kv "
    "member replace {}"
)


def of_the_present_cluster(said: Descriptions) -> Descriptions:
    """The same, without what members of a cluster say that another one took the place of (ADR 14): a node with an old
    directory may come back at any time. Raises `RuntimeError` where two clusters have nothing to do with each other.
    """
    records = {each["genesis"]: decode_genesis(each["genesis"]) for each in said.values() if each and each["genesis"]}
    over = {
        record
        for record, genesis in records.items()
        if any(supersedes(other, genesis) for other in records.values() if other is not genesis)
    }
    left = records.keys() - over
    if len(left) > 1:
        ids = " and ".join(sorted(records[record].cluster_id.hex() for record in left))
        raise RuntimeError(
            f"members hold data of clusters that have nothing to do with each other ({ids}): move the directories of "
            "all but one away"
        )
    return {
        member_id: {**each, "genesis": None, "configuration": None} if each and each["genesis"] in over else each
        for member_id, each in said.items()
    }


def record_of(said: Descriptions) -> bytes | None:
    """The group's record, if any member has it."""
    return next((each["genesis"] for each in said.values() if each is not None and each["genesis"] is not None), None)


def are_all_empty(said: Descriptions, members: int) -> bool:
    """Whether members 0 up to so many are there, and neither they nor others hold anything."""
    return set(range(members)) <= set(said) and all(is_empty(each) for each in said.values())


def new_genesis(group: str, settings: bytes, said: Descriptions, members: int) -> Genesis:
    """The record that these empty directories make, whoever computes it. One of an earlier attempt stays outside."""
    lines = tuple(
        Member(member_id=member_id, directory_id=DirectoryId(each["directory_id"]), voter=True)
        for member_id, each in sorted(said.items())
        if each is not None and member_id < members
    )
    return Genesis(
        cluster_id=cluster_id_of(group, lines, settings),
        group=group,
        configuration=Configuration(members=lines),
        settings=settings,
    )


def empty_ones(record: bytes, said: Descriptions) -> tuple[list[MemberId], list[MemberId]]:
    """Members without the record that are named in it, and those that are not: another directory is."""
    configuration = decode_genesis(record).configuration
    named: list[MemberId] = []
    strangers: list[MemberId] = []
    for member_id, description in said.items():
        if description is not None and is_empty(description):
            line = configuration.find(member_id)
            is_named = line is not None and line.directory_id == description["directory_id"]
            (named if is_named else strangers).append(member_id)
    return named, strangers


def newest_configuration(said: Descriptions) -> Configuration | None:
    """The newest that any member has in force; one that failed knows the group's record at least."""
    found: list[tuple[int, Configuration]] = []
    for description in said.values():
        if description is None or description["genesis"] is None:
            continue
        if description["configuration"] is None:
            found.append((0, decode_genesis(description["genesis"]).configuration))
        else:
            found.append((description["configuration_index"], decode_configuration(description["configuration"])))
    return max(found, key=lambda each: each[0])[1] if found else None


def why_waited_for(description: dict[str, Any] | None) -> str | None:
    """None: it belongs to the group and runs."""
    if description is None:
        return SILENT
    if description["error"] is not None:
        return str(description["error"])
    if description["state"] in (PeerState.RUNNING.value, PeerState.RECOVERING.value):
        return None
    return f"it is {description['state']}"


def is_stray(line: Member, description: dict[str, Any] | None) -> bool:
    """Whether this peer is on another directory than the one that counts in its place, which may lie elsewhere."""
    return description is not None and description["directory_id"] not in (None, line.directory_id)


def is_empty(description: dict[str, Any] | None) -> bool:
    """Whether this peer says that it holds nothing."""
    return description is not None and description["state"] == PeerState.UNINITIALISED.value
