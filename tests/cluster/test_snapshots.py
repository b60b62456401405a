"""Snapshots on real processes: taken while a store serves, restored from after each kind of death, sent to who lags."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

import kv
import raft_actors
from raft_actors.cluster.group import MemberStatus
from raft_actors.config import RaftConfig
from raft_actors.core.types import MemberId
from raft_actors.errors import OperationError
from raft_actors.names import NAMESPACE, peer_name
from tests.cluster.world import Load, Tally, all_running, eventually, kill_process, nothing_left_of

pytestmark = pytest.mark.cluster

NAME = "snapshots"
SMALL = RaftConfig(
    heartbeat_interval_ms=50,
    election_timeout_ms_min=250,
    election_timeout_ms_max=500,
    check_quorum_ms=500,
    snapshot_log_bytes=400_000,
    snapshot_slice_bytes_max=256 * 1024,
)
"""A snapshot every 200 kB of log; a state of some megabytes travels in many slices, through the object store."""
VALUE = "v" * 10_000
DAMAGED = "snapshot_damaged"
AT_ONCE = 10
"""Puts that share an entry: one must not be larger than what triggers a snapshot."""
LOG_MOST = 2 * SMALL.snapshot_log_bytes


@pytest.fixture(scope="module")
def store(ray_cluster: None, module_data_dir: str) -> Iterator[kv.Client]:
    """Three members that the tests of this module share."""
    with (
        nothing_left_of(NAME),
        kv.start(NAME, members=3, data_dir=module_data_dir, config=kv.Config(raft=SMALL)) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def well(store: kv.Client) -> None:
    """The shared store is whole before each test."""
    eventually(lambda: all_running(NAME))


def members() -> tuple[MemberStatus, ...]:
    return kv.status(NAME).members


def peer_of(group: str, member: int) -> Any:
    return ray.get_actor(peer_name(group, MemberId(member)), namespace=NAMESPACE)


def fill(store: kv.Client, prefix: str, count: int = 60) -> dict[str, str]:
    """So many keys, one command each: some snapshots' worth."""
    written = {f"{prefix}{number:04}": f"{number}{VALUE}" for number in range(count)}
    for first in range(0, count, AT_ONCE):
        keys = list(written)[first : first + AT_ONCE]
        for future in [store.submit_put(key, written[key]) for key in keys]:
            future.result(60)
    return written


def snapshot_indexes() -> list[int]:
    return [member.snapshot_index or 0 for member in members()]


def test_all_members_take_them_and_their_logs_stay_small(store: kv.Client) -> None:
    written: dict[str, str] = {}
    for _ in range(4):
        before = snapshot_indexes()
        for _ in range(3):  # the same keys: where the state grows, snapshots become rarer
            written |= fill(store, "a", 20)
        eventually(lambda: all(now > was for now, was in zip(snapshot_indexes(), before, strict=True)))  # noqa: B023
    eventually(lambda: all((member.log_bytes or LOG_MOST) < LOG_MOST for member in members()))
    assert store.get_many(list(written)) == written


def test_an_application_that_died_goes_on_from_the_snapshot(store: kv.Client) -> None:
    written = fill(store, "b")
    eventually(lambda: all(snapshot_indexes()))
    before = members()
    kill_process(*[member.server_pid for member in before])
    after = eventually(lambda: all_running(NAME))
    assert {member.server_pid for member in after}.isdisjoint(member.server_pid for member in before)
    assert store.get_many(list(written)) == written


def test_everything_killed_comes_back_with_all_of_it(store: kv.Client) -> None:
    written = fill(store, "c")
    before = members()
    kill_process(*[pid for member in before for pid in (member.pid, member.server_pid)])
    after = eventually(lambda: all_running(NAME))
    assert [member.directory_id for member in after] == [member.directory_id for member in before]
    assert all(now.snapshot_index >= was.snapshot_index for now, was in zip(after, before, strict=True))
    assert store.get_many(list(written)) == written


def test_a_peer_that_died_alone_has_its_snapshot_and_its_application_goes_on(store: kv.Client) -> None:
    written = fill(store, "p")
    before = members()
    kill_process(*[member.pid for member in before if member.role != "leader"])
    after = eventually(lambda: all_running(NAME))
    assert all(now.snapshot_index >= was.snapshot_index for now, was in zip(after, before, strict=True))
    assert store.get_many(list(written)) == written


def test_a_member_that_lags_behind_the_log_is_sent_one(store: kv.Client) -> None:
    """Its process stands still while the others forget what it would need."""
    laggard = next(member for member in members() if member.role != "leader")
    stopped = [psutil.Process(laggard.pid), psutil.Process(laggard.server_pid)]
    with Load(lambda label: store.put(f"d-load-{label}", label, timeout_s=20)) as load:
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        try:
            written = fill(store, "d", 20)
            others = [peer_of(NAME, at) for at in range(3) if at != laggard.id]
            for _ in range(2):  # their logs then begin at the first of the two, behind all that it has
                store.put("d-between", 1, timeout_s=20)
                ray.get([peer.save_snapshot.remote() for peer in others])
        finally:
            for process in stopped:
                process.send_signal(signal.SIGCONT)
        index = max(snapshot_indexes())
        eventually(lambda: (members()[laggard.id].last_applied or 0) >= index)
        load.wait_for_more()
    assert store.get_many(list(written)) == written
    eventually(lambda: len({member.last_applied for member in members()}) == 1)
    told = ray.get(peer_of(NAME, laggard.id).events.remote(0, 0))
    kinds = [(event["kind"], event["details"].get("how")) for event in told]
    assert ("snapshot", "fetched") in kinds


def test_a_damaged_newest_one_falls_back_to_the_one_before(ray_cluster: None, data_dir: str, group_name: str) -> None:
    """On all members at once: the log reaches back to the older snapshot, so nothing is lost."""
    with kv.start(group_name, data_dir=data_dir, config=kv.Config(raft=SMALL)) as store:
        for round_ in range(2):
            store.put_many({f"k{round_}-{number}": number for number in range(100)})
            eventually(lambda: len({member.last_applied for member in kv.status(group_name).members}) == 1)
            indexes = ray.get([peer_of(group_name, at).save_snapshot.remote() for at in range(3)])
        store.put("last", "after the snapshots")
    kv.shutdown(group_name)
    newest = [file for file in Path(data_dir).rglob("*.snap") if f"snap-{max(indexes):020d}" in file.name]
    assert len(newest) == 3
    for file in newest:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with kv.start(group_name, data_dir=data_dir) as store:
        assert store.get("last") == "after the snapshots"
        assert len(store.scan("k")) == 200
        events = ray.get(peer_of(group_name, 0).events.remote(0, 0))
        told = [event["details"]["why"] for event in events if event["kind"] == DAMAGED]
        assert len(told) == 1
        assert newest[0].name.split("-")[1] in told[0]
        assert all((member.snapshot_index or 0) < max(indexes) for member in kv.status(group_name).members)


def test_save_snapshot_takes_one_however_small_the_log(ray_cluster: None, data_dir: str, group_name: str) -> None:
    group = raft_actors.start(group_name, Tally, data_dir=data_dir, config=SMALL)
    for _ in range(3):
        group.submit(b"x")
    eventually(lambda: len({member.last_applied for member in kv.status(group_name).members}) == 1)
    indexes = [ray.get(peer.save_snapshot.remote()) for peer in group.peers]
    assert min(indexes) > 0
    assert [member.snapshot_index for member in kv.status(group_name).members] == indexes
    assert [ray.get(peer.save_snapshot.remote()) for peer in group.peers] == indexes, "nothing new was applied"


class Mute(Tally):
    """Its state cannot be written down."""

    def snapshot(self) -> Iterator[bytes]:
        raise RuntimeError("the tally is silent")


def test_a_machine_that_cannot_be_snapshotted_goes_on_until_its_log_is_full(
    ray_cluster: None, data_dir: str, group_name: str
) -> None:
    config = RaftConfig(snapshot_log_bytes=50_000, log_bytes_max=200_000)
    group = raft_actors.start(group_name, Mute, data_dir=data_dir, config=config)
    group.submit(b"x")
    eventually(lambda: kv.status(group_name).members[0].last_applied)
    with pytest.raises(OperationError, match="RuntimeError"):
        ray.get(group.peers[0].save_snapshot.remote())
    refusals = []
    for number in range(60):
        try:
            group.submit(b"x" * 5_000 + str(number).encode())
        except OperationError as refusal:
            refusals.append(refusal.outcome)
    assert set(refusals) == {"not_done"}
    assert group.query(b"")
    assert any("RuntimeError" in (member.snapshot_error or "") for member in kv.status(group_name).members)
    assert os.path.isdir(data_dir)
