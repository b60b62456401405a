"""Peers that are started on a node, and end with their test."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from raft_actors.config import RaftConfig
from raft_actors.errors import PeerFailed
from raft_actors.peer.peer import Peer
from raft_actors.peer.surroundings import PeerOptions
from tests.peer.node import ONE, QUIET, Begin, Node
from tests.peer.test_runtime import LONG_S
from tests.rig.disks import GROUP


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a process on a node; it is killed at the end, whatever it says then."""
    begun: list[tuple[Peer, Node]] = []

    def begin(node: Node, config: RaftConfig = QUIET) -> Peer:
        options = PeerOptions(group=GROUP, member_id=ONE, config=config)
        peer = Peer(options, node, dice=random.Random(1))
        begun.append((peer, node))
        return peer

    yield begin
    for peer, node in begun:
        node.may_open.set()
        node.may_stop.set()
        with contextlib.suppress(PeerFailed):  # the tests say what is to be expected
            peer.kill(LONG_S)
