"""The key-value store on real processes: each call, shared clients, killed leaders, restarts, equal members."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import ray

import kv
from kv.commands import encode_put
from kv.limits import Limits
from kv.values import encode
from raft_actors.application.exchange import Started
from raft_actors.cluster.group import MemberStatus
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, peer_name
from tests.cluster.world import FAST, Load, all_running, eventually, kill_process, nothing_left_of

pytestmark = pytest.mark.cluster

NAME = "store"
SLOW_S = 20.0
"""What one operation may take while processes die on a busy machine."""


@pytest.fixture(scope="module")
def store(ray_cluster: None, module_data_dir: str) -> Iterator[kv.Client]:
    """Three members that all tests of this module share; each test has keys of its own."""
    with (
        nothing_left_of(NAME),
        kv.start(NAME, members=3, data_dir=module_data_dir, config=kv.Config(raft=FAST)) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def well(store: kv.Client) -> None:
    """The shared store is whole before each test."""
    eventually(lambda: all_running(NAME))


def leader() -> MemberStatus:
    return eventually(lambda: [member for member in all_running(NAME) if member.role == "leader"])[-1]


class TestWhatEachCallMeans:
    """DESIGN 7, through a real group."""

    def test_put_get_and_versions(self, store: kv.Client) -> None:
        assert store.get("p", "nothing") == "nothing"
        assert store.get_versioned("p") is None
        first = store.put("p", {"a": [1, 2.5, None, b"x"]})
        second = store.put("p", "two")
        assert second > first > 0
        found = store.get_versioned("p")
        assert found is not None
        assert (found.value, found.version) == ("two", second)

    def test_if_version(self, store: kv.Client) -> None:
        version = store.put("c", 1, if_version=0)
        with pytest.raises(kv.VersionMismatch) as refusal:
            store.put("c", 2, if_version=0)
        assert (refusal.value.current, refusal.value.outcome) == (version, "not_done")
        assert store.put("c", 2, if_version=version) > version
        with pytest.raises(kv.VersionMismatch):
            store.delete("c", if_version=version)
        assert store.get("c") == 2

    def test_append_creates_and_joins_and_minds_the_type(self, store: kv.Client) -> None:
        for key, parts, whole in [("as", ("a", "b"), "ab"), ("ab", (b"a", b"b"), b"ab"), ("al", ([1], [2]), [1, 2])]:
            for part in parts:
                store.append(key, part)
            assert store.get(key) == whole
        with pytest.raises(kv.TypeMismatch, match="not str to list"):
            store.append("al", "x")
        assert store.get("al") == [1, 2]

    def test_delete_says_whether_it_was_there(self, store: kv.Client) -> None:
        store.put("d", 1)
        assert store.delete("d") is True
        assert store.delete("d") is False
        assert store.get("d") is None

    def test_put_many_is_one_command(self, store: kv.Client) -> None:
        versions = store.put_many({"m1": 1, "m2": 2, "m3": 3})
        assert sorted(versions.values()) == list(range(versions["m1"], versions["m1"] + 3))
        assert store.get_many(["m3", "m1", "none"]) == {"m3": 3, "m1": 1}

    def test_scan_is_sorted_and_pages(self, store: kv.Client) -> None:
        store.put_many({f"s{number:02}": number for number in range(10)})
        assert list(store.scan("s", limit=3)) == ["s00", "s01", "s02"]
        assert list(store.scan("s", start_after="s02", limit=2)) == ["s03", "s04"]
        assert [value for _, value in store.scan_iter("s", limit=4) if type(value) is int] == list(range(10))

    def test_a_stale_read_comes_from_any_member(self, store: kv.Client) -> None:
        store.put("st", "new")
        eventually(lambda: {store.get("st", consistency="stale") for _ in range(6)} == {"new"})
        with pytest.raises(kv.KVError, match='must be "linearizable" or "stale"'):
            store.get("st", consistency="weak")  # type: ignore[arg-type]

    def test_pipelined_calls(self, store: kv.Client) -> None:
        futures = [store.submit_append("pipe", [number]) for number in range(100)]
        assert len({future.result(SLOW_S) for future in futures}) == 100
        assert sorted(store.submit_get("pipe").result(SLOW_S)) == list(range(100))

    def test_what_is_too_large_or_wrong_is_refused_and_changes_nothing(self, store: kv.Client) -> None:
        with pytest.raises(kv.KeyTooLarge):
            store.put("k" * 65_537, 1)
        with pytest.raises(kv.ValueTooLarge):
            store.put("big", b"x" * (Limits().value_bytes_max + 1))
        with pytest.raises(kv.BatchTooLarge):
            store.put_many({f"big{number}": b"x" * 1_000_000 for number in range(9)})
        for wrong in ("", 3, None, "\ud800"):
            with pytest.raises(kv.KeyInvalid):
                store.put(wrong, 1)  # type: ignore[arg-type]
        with kv.connect(NAME, allow_pickle=False) as careful, pytest.raises(kv.ValueNotNative):
            careful.put("big", Opaque(1))
        assert store.scan("big") == {}
        assert store.scan("k") == {}

    def test_a_blocking_call_in_an_event_loop_is_refused(self, store: kv.Client) -> None:
        async def blocking() -> None:
            store.get("x")

        with pytest.raises(kv.UseAio):
            asyncio.run(blocking())

    def test_status(self, store: kv.Client) -> None:
        status = kv.status(NAME)
        assert [row["id"] for row in status.rows()] == [0, 1, 2]
        assert status.has_quorum
        assert status.leader in (0, 1, 2)
        assert all(row["state"] == "running" and row["log_bytes"] > 0 and row["uptime_s"] > 0 for row in status.rows())


class Opaque:
    """A value that only cloudpickle can take."""

    def __init__(self, number: int) -> None:
        self.number = number


class TestServers:
    """`Client.servers`: one attempt at one server; nothing is unpickled there."""

    def test_an_opaque_value_comes_back_encoded(self, store: kv.Client) -> None:
        store.put("opaque", Opaque(7))
        encoded = ray.get(store.servers[leader().id].get.remote("opaque"), timeout=10)
        assert isinstance(encoded, kv.Encoded)
        assert kv.decode(encoded).number == 7
        assert store.get("opaque").number == 7

    def test_one_that_does_not_lead_says_who_does(self, store: kv.Client) -> None:
        def told() -> bool:
            leads = leader().id
            other = store.servers[(leads + 1) % 3]
            try:
                ray.get(other.put.remote("x", 1), timeout=10)
            except kv.KVError as refusal:
                return f"ask server {leads}" in str(refusal) and refusal.outcome == "not_done"
            return False  # it has come to lead meanwhile

        eventually(told)

    def test_one_attempt_at_the_leader(self, store: kv.Client) -> None:
        server = store.servers[leader().id]
        versions = ray.get([server.append.remote("direct", "x") for _ in range(10)], timeout=10)
        assert len(set(versions)) == 10
        assert ray.get(server.get.remote("direct"), timeout=10) == "x" * 10
        assert ray.get(server.delete.remote("direct"), timeout=10) is True


class TestOneClientForAll:
    """One client object in 50 tasks and 50 threads, 100 appends each: all 10,000 are there, once."""

    def test_fifty_tasks_and_fifty_threads(self, store: kv.Client) -> None:
        def thread(number: int) -> None:
            for turn in range(100):
                store.append("shared", [f"thread-{number} {turn}"], timeout_s=SLOW_S * 2)

        refs = [_hundred_appends.remote(store, f"task-{number}") for number in range(50)]
        with ThreadPoolExecutor(50) as threads:
            list(threads.map(thread, range(50)))
        ray.get(refs, timeout=SLOW_S * 3)
        written = store.get("shared", timeout_s=SLOW_S)
        writers = [f"{kind}-{number}" for kind in ("task", "thread") for number in range(50)]
        assert Counter(written) == Counter(f"{writer} {turn}" for writer in writers for turn in range(100))
        for writer in (writer for writer in writers if writer.startswith("thread")):
            assert [entry for entry in written if entry.startswith(f"{writer} ")] == [
                f"{writer} {turn}" for turn in range(100)
            ]


@ray.remote(num_cpus=0.5)
def _hundred_appends(store: kv.Client, writer: str) -> None:
    futures = [store.submit_append("shared", [f"{writer} {turn}"], timeout_s=SLOW_S * 2) for turn in range(100)]
    for future in futures:
        future.result()


class TestFailures:
    """Processes killed or stopped at any moment lose no acknowledged write, and none happens twice."""

    def load(self, store: kv.Client, key: str) -> Load:
        return Load(lambda label: store.append(key, [label], timeout_s=SLOW_S), threads=8)

    @pytest.mark.parametrize("turn", [1, 2])
    def test_the_leader_is_killed_under_load(self, store: kv.Client, turn: int) -> None:
        load = self.load(store, f"killed {turn}")
        with load:
            kill_process(leader().pid)
            load.wait_for_more(100)
        load.check(Counter(store.get(f"killed {turn}", timeout_s=SLOW_S)))
        eventually(equal_chains)

    def test_without_a_majority_an_operation_ends_as_unknown_and_not_later_than_it_may(self, store: kv.Client) -> None:
        store.append("paused", ["before"])
        stopped = [member.pid for member in kv.status(NAME).members if member.role != "leader"]
        for pid in stopped:
            os.kill(pid or 0, signal.SIGSTOP)
        try:
            with pytest.raises((kv.Timeout, kv.NoQuorum)) as failure:
                store.append("paused", ["during"], timeout_s=1.0)
        finally:
            for pid in stopped:
                os.kill(pid or 0, signal.SIGCONT)
        assert failure.value.outcome == "unknown"
        store.append("paused", ["after"], timeout_s=SLOW_S)
        assert store.get("paused", timeout_s=SLOW_S) in (["before", "after"], ["before", "during", "after"])

    def test_a_whole_restart_from_the_data_directories(self, store: kv.Client, module_data_dir: str) -> None:
        versions = store.put_many({f"kept {number}": [number, "x" * number] for number in range(50)})
        kv.shutdown(NAME)
        with pytest.raises(kv.KVError):
            store.get("kept 1", timeout_s=0.5)
        kv.start(NAME, members=3, data_dir=module_data_dir, config=kv.Config(raft=FAST)).close()
        assert store.get("kept 1", timeout_s=SLOW_S) == [1, "x"]  # the client of before finds it again
        kept = store.scan("kept ", timeout_s=SLOW_S)
        assert sorted(kept.values()) == [[number, "x" * number] for number in range(50)]
        assert store.put("kept 1", 0) > max(versions.values())


def equal_chains() -> tuple[MemberStatus, ...]:
    """The members, when all have applied the same and say the same chain."""
    members = all_running(NAME)
    said = {(member.last_applied, member.chain) for member in members}
    if len(said) != 1:
        raise ValueError(f"members differ: {[member.row() for member in kv.status(NAME).members]}")
    return members


def put_command(number: int) -> bytes:
    limits = Limits()
    value = encode({"b": number, "a": [number]}, value_bytes_max=limits.value_bytes_max)
    return encode_put(f"chain {number % 7}", value, limits=limits)


class TestMembersStayEqual:
    """The state chain covers commands and results; members differ in nothing but their hash seeds."""

    def test_over_more_than_1024_entries(self, store: kv.Client) -> None:
        for member in kv.status(NAME).members:
            assert psutil.Process(member.server_pid).environ().get("PYTHONHASHSEED", "random") == "random"
        before = eventually(equal_chains)[0].last_applied or 0
        peer = ray.get_actor(peer_name(NAME, MemberId(leader().id)), namespace=NAMESPACE)
        for start in range(0, 1200, 100):
            commands = [put_command(number) for number in range(start, start + 100)]
            answers = ray.get([peer.start.remote(command) for command in commands], timeout=SLOW_S)
            assert all(isinstance(answer, Started) for answer in answers)
        eventually(lambda: [member for member in equal_chains() if (member.last_applied or 0) >= before + 1200])
        assert [member.error for member in kv.status(NAME).members] == [None] * 3


class TestCost:
    """An append costs what is appended, however long the value is already."""

    def test_ten_bytes_to_a_megabyte_weigh_what_ten_bytes_to_nothing_do(self, store: kv.Client) -> None:
        def written_by_twenty_appends(key: str) -> int:
            before = leader().log_bytes or 0
            for _ in range(20):
                store.append(key, b"0123456789", timeout_s=SLOW_S)
            return (leader().log_bytes or 0) - before

        store.put("long", b"x" * 1_000_000)
        to_nothing, to_a_megabyte = written_by_twenty_appends("short"), written_by_twenty_appends("long")
        assert 0 < to_a_megabyte < 3 * to_nothing
        assert store.get("long") == b"x" * 1_000_000 + b"0123456789" * 20


class TestThreads:
    """No thread per waiting future, one sender per process and store."""

    def test_a_thousand_waiting_futures_need_no_thread(self, store: kv.Client) -> None:
        store.get("x")
        before = threading.active_count()
        futures = [store.submit_put(f"many {number}", number) for number in range(1000)]
        assert threading.active_count() <= before
        assert len({future.result(SLOW_S) for future in futures}) == 1000


def test_the_logs_lie_where_they_were_asked_for(store: kv.Client, module_data_dir: str) -> None:
    assert sorted(path.name for path in (Path(module_data_dir) / NAME).iterdir()) == ["0", "1", "2"]
