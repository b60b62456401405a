"""A thousand lives of a plain peer in one process leave nothing behind: no thread, no descriptor, no lock."""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path

import psutil
import pytest

from raft_actors.application.frames import RawFrame, encode_batch
from raft_actors.codec import encode_genesis
from raft_actors.core.types import DirectoryId
from raft_actors.errors import PeerFailed
from raft_actors.peer import disk, lane
from raft_actors.peer.peer import Peer
from raft_actors.peer.surroundings import PeerOptions
from raft_actors.storage.interface import Storage
from raft_actors.storage.wal import FileStorage
from tests.peer.node import ONE, QUICK, Node, genesis, state_of
from tests.peer.test_runtime import LONG_S, wait_for
from tests.rig.disks import GROUP

FIRST = 20
"""Lives after which everything is as it stays: modules are loaded, arenas and files opened once."""


class NodeWithDisk(Node):
    """Its directory lies in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def open_storage(self) -> Storage:
        return FileStorage.open(
            str(self.path), group=GROUP, member_id=ONE, segment_bytes_max=1 << 20, allow_unsafe_data_dir=True
        )


@pytest.mark.long
@pytest.mark.parametrize(("lives", "patience_s"), [(1000, LONG_S), (200, 0.0)], ids=["in order", "at once"])
def test_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: int, patience_s: float) -> None:
    """Opened, elected, a command on its way, killed: a thousand times on one directory.

    At once: `kill` waits for nobody, so what it leaves behind ends by itself, and the next life waits for the lock.
    """
    for module, pause in ((disk, "IDLE_S"), (lane, "WAIT_S")):
        monkeypatch.setattr(module, pause, 0.005)  # a tenth of a second each, and a thousand would take minutes
    process, before = psutil.Process(), (0, 0)
    node = NodeWithDisk(tmp_path / "member")
    for life in range(lives):
        if life == FIRST:
            before = _left(process)
        _live(node, life, patience_s)
    wait_for(lambda: _left(process) <= before)
    assert node.end_reasons == []


def _live(node: Node, life: int, patience_s: float) -> None:
    """Once."""
    peer = Peer(PeerOptions(group=GROUP, member_id=ONE, config=QUICK), node, dice=random.Random(life))
    wait_for(lambda: state_of(peer) in ("uninitialised", "running"))
    if life == 0:
        directory_id: DirectoryId = peer.describe()["directory_id"]
        assert peer.bootstrap(encode_genesis(genesis(1, directory_ids=lambda _: directory_id))) is None
        wait_for(lambda: state_of(peer) == "running")
    if life % 10 == 0:
        wait_for(lambda: peer.get_state()[1])
        peer.propose(encode_batch([RawFrame(command=b"one of many")]), timeout_ms=0)
    with contextlib.suppress(PeerFailed):  # who waits for nobody says so
        peer.kill(patience_s)
    assert state_of(peer) == "killed"


def _left(process: psutil.Process) -> tuple[int, int]:
    """Threads and descriptors of this process."""
    return threading.active_count(), process.num_fds()
