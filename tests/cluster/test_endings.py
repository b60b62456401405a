"""Everything ends: cycles of a group leave nothing behind, and a group ends in its time whatever is done to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray

import kv
from raft_actors import faults
from raft_actors.errors import PeerFailed
from raft_actors.faults import Faults
from raft_actors.names import NAMESPACE
from tests.cluster.world import actors_of, eventually, leader_of

pytestmark = pytest.mark.cluster

CYCLES = 20
DEADLINE_S = 30.0
"""What `kv.shutdown` gives the members to end in."""
ASKING_S = 25.0
"""For the keeper, the recorder and the injector before, and for what Ray takes."""


def processes_of_actors() -> set[int]:
    """Pids of our Ray's workers that are no idle ones."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                found.add(process.pid)
    return found


def objects() -> int:
    """How many the node's object store holds, as its raylet writes down every ten seconds."""
    (path,) = Path(ray._private.worker._global_node.get_session_dir_path()).glob("logs/debug_state.txt")
    (line,) = (line for line in path.read_text().splitlines() if "num local plasma objects" in line)
    return int(line.rpartition(":")[2])


def live_once(name: str, data_dir: str) -> None:
    """Started, written to, every member's snapshot taken through the object store, shut down."""
    with kv.start(name, data_dir=data_dir) as store:
        store.put_many({f"k{number}": "x" * 10_000 for number in range(30)})
        group = store.group
        peers = [ray.get_actor(name, namespace=NAMESPACE) for name in actors_of(group) if ":peer:" in name]
        for peer in peers:  # a member whose application is still on its way asks to be asked again
            eventually(lambda peer=peer: ray.get(peer.save_snapshot.remote(20.0), timeout=30.0) is not None)
    kv.shutdown(name)


@pytest.mark.catalogue
@pytest.mark.timeout(400)
def test_cycles_leave_nothing(ray_cluster: None, group_name: str, data_dir: str) -> None:
    """Twenty times: no process, no name, no object."""
    live_once(group_name, data_dir)
    eventually(lambda: not actors_of(group_name))
    processes, held = processes_of_actors(), objects()
    for _ in range(CYCLES):
        live_once(group_name, data_dir)
        eventually(lambda: not actors_of(group_name))
    eventually(lambda: processes_of_actors() <= processes)
    eventually(lambda: objects() <= held)


def leads(injector: Faults) -> int:
    return leader_of(injector.group)


FAULTS: dict[str, Callable[[Faults], object]] = {
    "a partition": lambda injector: injector.partition([0, "s0"], [1, 2, "s1", "s2"]),
    "a partition that holds messages": lambda injector: injector.partition([0], [1], [2], held=True),
    "hanging calls": lambda injector: (injector.isolate(leads(injector)), injector.long_delays()),
    "the leader stands still": lambda injector: injector.pause(leads(injector)),
    "all peers stand still": lambda injector: [injector.pause(member, only="peer") for member in range(3)],
    "all servers stand still": lambda injector: [injector.pause(member, only="server") for member in range(3)],
    "all are slow": lambda injector: [injector.slow(member, stop_ms=200) for member in range(3)],
    "a disk that fails": lambda injector: injector.fail_disk(leads(injector)),
    "all are kept down": lambda injector: injector.kill(0, 1, 2, stay_down=True),
    "all were just killed": lambda injector: injector.kill(0, 1, 2),
    "a disk that is gone": lambda injector: injector.wipe(leads(injector)),
    "a damaged log": lambda injector: injector.damage(leads(injector)),
    "a full object store": lambda injector: injector.fill_object_store(0),
    "actors that are gone": lambda injector: injector.remove_actor(leads(injector)),
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(name, marks=[] if name == "all peers stand still" else pytest.mark.catalogue, id=name)
        for name in FAULTS
    ],
)
def test_shutdown_in_the_middle_of(fault: str, group_name: str, data_dir: str) -> None:
    """It returns in its time, says what members recorded if they did, and leaves no actor."""
    with kv.start(group_name, data_dir=data_dir, faults=True) as store:
        injector = faults.connect(group_name)
        store.put("k", "v")
        FAULTS[fault](injector)
        pending = store.submit_put("k", "while it ends", timeout_s=5.0)
        began_s = time.monotonic()
        with contextlib.suppress(PeerFailed):
            kv.shutdown(group_name)
        assert time.monotonic() - began_s <= DEADLINE_S + ASKING_S
        with contextlib.suppress(kv.KVError):
            pending.result(timeout=10.0)
        assert pending.done()
    eventually(lambda: not actors_of(group_name), within_s=10.0)
