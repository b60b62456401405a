"""A group's named actors: found, created with their options, ended.

Here:   `Actors`, the keeper's hands; `find_actor`, `names_of`.
Never:  which member shall be where (placing.py), when (keeper.py, upkeep.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import ray
import ray.util
from ray.exceptions import RayError

from raft_actors.application.actor import application_actor_options
from raft_actors.cluster.options import GroupOptions
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, member_of, peer_name, server_name
from raft_actors.peer.actor import PeerPlace, RaftPeer, peer_actor_options
from raft_actors.peer.surroundings import PeerOptions

DESCRIBE_TIMEOUT_S: Final = 3.0
KILL_TIMEOUT_S: Final = 5.0


def find_actor(name: str) -> Any:
    """The handle of one of our actors, or None when there is none of this name."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except (ValueError, AssertionError):  # Ray asserts where who created it was killed before Ray had its class
        return None


def members_with_actors(group: str) -> list[MemberId]:
    """Members of which an actor is there now, alive or being restarted."""
    names = [row["name"] for row in ray.util.list_named_actors(all_namespaces=True) if row["namespace"] == NAMESPACE]
    found = {member_of(name, group, part) for name in names for part in ("peer", "server")}
    return sorted(member_id for member_id in found if member_id is not None)


def peers_of(group: str) -> dict[MemberId, Any]:
    """Handles of the peers that are there now."""
    found = {member_id: find_actor(peer_name(group, member_id)) for member_id in members_with_actors(group)}
    return {member_id: peer for member_id, peer in found.items() if peer is not None}


@dataclass(slots=True, kw_only=True)
class _Pair:
    """A member's two actors; None: there is none."""

    peer: Any
    server: Any


class Actors:
    """The members' actors of one group, as they were at the last `look`."""

    def __init__(self, options: GroupOptions) -> None:
        self._options = options
        self._pairs: dict[MemberId, _Pair] = {}

    def look(self) -> None:
        """Which are there?"""
        group = self._options.group
        self._pairs = {
            member_id: _Pair(
                peer=find_actor(peer_name(group, member_id)), server=find_actor(server_name(group, member_id))
            )
            for member_id in members_with_actors(group)
        }

    @property
    def members(self) -> list[MemberId]:
        """Those of which at least one actor is there."""
        return sorted(self._pairs)

    @property
    def peers(self) -> dict[MemberId, Any]:
        """Handles of the peers that are there."""
        return {member_id: pair.peer for member_id, pair in self._pairs.items() if pair.peer is not None}

    @property
    def headless(self) -> list[MemberId]:
        """Members of which only the application is there."""
        return [member_id for member_id, pair in sorted(self._pairs.items()) if pair.peer is None]

    def are_complete(self, member_id: MemberId) -> bool:
        """Whether both are there."""
        pair = self._pairs.get(member_id)
        return pair is not None and pair.peer is not None and pair.server is not None

    def describe(self) -> dict[MemberId, dict[str, Any] | None]:
        """What the peers say of themselves; None for one that does not answer in time."""
        refs = {member_id: begin(peer, "describe") for member_id, peer in self.peers.items()}
        begun = [ref for ref in refs.values() if ref is not None]
        if begun:
            ray.wait(begun, num_returns=len(begun), timeout=DESCRIBE_TIMEOUT_S)
        return {member_id: answer_of(ref, 0.1) for member_id, ref in refs.items()}

    def create(self, member_id: MemberId, pin: Mapping[str, Any]) -> None:
        """Those of the member's two actors that are missing, pinned there."""
        group, options = self._options.group, self._options
        pair = self._pairs.setdefault(member_id, _Pair(peer=None, server=None))
        if pair.peer is None:
            peer_options = PeerOptions(group=group, member_id=member_id, config=options.config, faults=options.faults)
            place = PeerPlace(
                data_dir=options.data_dir,
                allow_unsafe_data_dir=options.allow_unsafe_data_dir,
                open_storage=options.open_storage,
            )
            actor_class = RaftPeer.options(**peer_actor_options(peer_name(group, member_id)), **pin)
            pair.peer = _created(actor_class, (peer_options, place), peer_name(group, member_id))
        if pair.server is None:
            actor_class = ray.remote(options.application).options(
                **application_actor_options(server_name(group, member_id)), **pin
            )
            pair.server = _created(actor_class, (group, member_id, options.machine), server_name(group, member_id))

    def end(self, member_id: MemberId) -> None:
        """Both, for good: the peer cleanly if it answers. Their names are free afterwards."""
        pair = self._pairs.pop(member_id, None)
        if pair is None:
            return
        if pair.server is not None:
            ray.kill(pair.server, no_restart=True)
        if pair.peer is not None:
            with contextlib.suppress(RayError):  # its node may be gone; or it had failed, and says so once more
                ray.get(pair.peer.kill.remote(), timeout=KILL_TIMEOUT_S)
            ray.kill(pair.peer, no_restart=True)


def _created(actor_class: Any, arguments: tuple[Any, ...], name: str) -> Any:
    """Create the actor; another keeper, of a moment ago, may have been first."""
    try:
        return actor_class.remote(*arguments)
    except ValueError:
        return find_actor(name)


def begin(actor: Any, method: str, *arguments: Any) -> Any:
    """Call it; None where Ray takes no more calls for it: it stands still, and as many wait as may."""
    try:
        return getattr(actor, method).remote(*arguments)
    except RayError:
        return None


def answer_of(ref: Any, timeout_s: float, otherwise: Any = None) -> Any:
    """What the call returned, or `otherwise` where it failed, is not over in time, or was not begun."""
    if ref is None:
        return otherwise
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayError:
        return otherwise
