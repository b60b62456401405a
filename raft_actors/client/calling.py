"""How a process of ours calls a group, by Ray.

Here:   `shared_caller`.
Never:  retries, sessions (engine.py), who shares a caller with whom (callers.py).
"""

from __future__ import annotations

import os

from raft_actors.client.callers import SharedCaller
from raft_actors.client.ray_servers import RayServers
from raft_actors.client.sender import Caller
from raft_actors.faults.follower import follow


def shared_caller(group: str, *, faults: bool, label: str | None) -> SharedCaller:
    """The caller of this process, made when it is first needed.

    Where the group has faults, whoever has a label of its own calls by itself: it is a node that may be cut off.
    """
    if not faults:
        return SharedCaller(group, lambda: Caller(group, RayServers(group)))
    return SharedCaller(
        group, lambda: Caller(group, RayServers(group, follow(group, label or client_name()))), apart=label or ""
    )


def client_name() -> str:
    """Of a client without a label, in records and to a fault injector."""
    return f"client-{os.getpid()}"
