"""Names that all processes of a Ray cluster agree on.

Here:   the namespace, the names of a group's actors, what a group may be called.
Never:  looking anything up.
"""

from __future__ import annotations

import re
from typing import Final

from raft_actors.core.types import MemberId
from raft_actors.errors import InvalidName

NAMESPACE: Final = "raft_actors"
"""Ray namespace of all our actors. It keeps names apart; it is no security boundary (docs/SECURITY.md)."""

_GROUP: Final = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,64}")
_ACTOR: Final = re.compile(r"raft:(?P<group>[A-Za-z0-9_.-]{1,64}):(?P<part>peer|server):(?P<member>[0-9]{1,4})")


def check_group(name: object) -> str:
    """The name, if it may be one. Raises `InvalidName`: it becomes part of paths and of actor names."""
    if not isinstance(name, str) or _GROUP.fullmatch(name) is None:
        raise InvalidName(f"{name!r} cannot name a group: use 1 to 64 of A-Z a-z 0-9 _ . - and do not begin with a dot")
    return name


def peer_name(group: str, member_id: MemberId) -> str:
    """Actor name of a peer."""
    return f"raft:{group}:peer:{member_id}"


def server_name(group: str, member_id: MemberId) -> str:
    """Actor name of the application beside a peer; for the key-value store, its server."""
    return f"raft:{group}:server:{member_id}"


def keeper_name(group: str) -> str:
    """Actor name of the group's keeper."""
    return f"raft:{group}:keeper"


def recorder_name(group: str) -> str:
    """Actor name of what records the group's run, if anything does."""
    return f"raft:{group}:recorder"


def faults_name(group: str) -> str:
    """Actor name of the group's fault injector, if it was started with faults and somebody asked for one."""
    return f"raft:{group}:faults"


def member_of(actor_name: str, group: str, part: str) -> MemberId | None:
    """Which member's `part` ("peer" or "server") of `group` this actor name says, or None."""
    match = _ACTOR.fullmatch(actor_name)
    if match is None or match["group"] != group or match["part"] != part:
        return None
    return MemberId(int(match["member"]))
