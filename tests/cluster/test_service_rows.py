"""The rows of the labs' key-value store on real Ray actors, each history judged (ruaft.md 2.2, 2.7, 2.10, 2.13)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import kv
import raft_actors
from analysis import check_run, load_run
from analysis.linearizability import Judgement
from raft_actors import faults
from tests.catalogue.service import OPERATION_S, Service, ServiceRow
from tests.catalogue.service_rows import SERVICE_ROWS
from tests.cluster.world import eventually, leader_of, row_of

pytestmark = pytest.mark.cluster

PATIENT_S = 20.0
SMALLEST = 1
"""A snapshot whenever anything was written."""


def config_of(snapshot_log_bytes: int | None) -> kv.Config:
    """Of a store that takes snapshots at this size; None: never (its default is one that no row reaches)."""
    if snapshot_log_bytes is None:
        return kv.Config()
    return kv.Config(raft=raft_actors.RaftConfig(snapshot_log_bytes=snapshot_log_bytes))


@contextmanager
def judged(runs: Path) -> Iterator[None]:
    """What happens to a group inside, and is recorded there, has an order; the group is shut down in the end."""
    yield
    (directory,) = runs.iterdir()
    verdict = check_run(load_run(directory))
    assert verdict.judgement is Judgement.OK, "\n".join([*verdict.reasons, verdict.failing_rows().to_string()])
    assert verdict.call_count > 0


Begin = Callable[..., kv.Client]


@pytest.fixture
def begin(group_name: str, data_dir: str, tmp_path: Path) -> Iterator[Begin]:
    """Starts the test's store, with faults, and judges what its clients were told when the test is over."""
    with judged(tmp_path / "runs"), ExitStack() as ended_first:

        def start(size: int = 3, snapshot_log_bytes: int | None = None) -> kv.Client:
            store = kv.start(
                group_name,
                members=size,
                data_dir=data_dir,
                config=config_of(snapshot_log_bytes),
                record_dir=str(tmp_path / "runs"),
                faults=True,
            )
            ended_first.callback(kv.shutdown, group_name)
            return ended_first.enter_context(store)

        yield start


@pytest.mark.catalogue
@pytest.mark.parametrize("row", SERVICE_ROWS, ids=lambda row: row.name)
def test_row_timing_sensitive(row: ServiceRow, begin: Begin) -> None:
    """Nothing acknowledged is lost, clients go on, and what they were told is what one store could have said."""
    store = begin(row.size, row.snapshot_log_bytes)
    injector = faults.connect(store.group)
    with ExitStack() as clients:

        def connect(label: str) -> kv.Client:
            return clients.enter_context(kv.connect(store.group, label=label, timeout_s=OPERATION_S))

        Service(row, injector, connect).play(store)
    injector.heal()
    injector.check()
    snapshots = [member.snapshot_index or 0 for member in kv.status(store.group).members]
    assert (max(snapshots) > 0) is (row.snapshot_log_bytes is not None)


@pytest.mark.catalogue
def test_unreliable_one_key_many_clients(begin: Begin) -> None:
    """Five clients append ten things each to one key, on a network that loses, with a snapshot at each step: each is
    there once, and those of a client in its order."""
    store = begin(5, SMALLEST)
    injector = faults.connect(store.group)
    injector.unreliable()
    with ExitStack() as stack, ThreadPoolExecutor(5) as pool:
        clients = [stack.enter_context(kv.connect(store.group, label=f"c{number}")) for number in range(5)]

        def append_all(number: int) -> None:
            for count in range(10):
                clients[number].append("k", [(number, count)], timeout_s=PATIENT_S)

        list(pool.map(append_all, range(5)))
        found = store.get("k", timeout_s=PATIENT_S)
    assert sorted(found) == [(number, count) for number in range(5) for count in range(10)]
    assert all([c for n, c in found if n == number] == list(range(10)) for number in range(5))
    injector.check()


@pytest.mark.catalogue
def test_one_partition(begin: Begin) -> None:
    """Those who were cut off with the old leader say nothing well, the others go on; after the healing all is well."""
    store = begin(5, SMALLEST)
    injector = faults.connect(store.group)
    store.put("k", "13")
    old = leader_of(store.group)
    minority = [old, (old + 1) % 5]
    with kv.connect(store.group, label="few") as few, kv.connect(store.group, label="many") as many:
        cut = injector.partition([*minority, "few"], [*({*range(5)} - {*minority}), "many"])
        assert many.put("k", "14", timeout_s=PATIENT_S)
        assert many.get("k") == "14"
        waiting = [few.submit_put("k", "15", timeout_s=PATIENT_S), few.submit_get("k", timeout_s=PATIENT_S)]
        assert not wait(waiting, timeout=1.0).done
        many.put("k", "16")
        assert many.get("k") == "16"
        injector.remove(cut)
        for future in waiting:
            future.result(PATIENT_S)
        assert many.get("k") == "15"
    injector.check()


@pytest.mark.catalogue
def test_install_snapshot_rpc(begin: Begin) -> None:
    """A member that was cut off through fifty puts is in the majority then: it has the old keys, by a snapshot."""
    store = begin(3, 1_000)
    injector = faults.connect(store.group)
    leader = leader_of(store.group)
    late, other = [member for member in range(3) if member != leader]
    store.put("a", "A")
    cut = injector.isolate(late)
    for number in range(50):
        store.put(f"{number}", f"{number}")
    store.put("b", "B")
    is_small(store.group, 1_000)
    injector.remove(cut)
    cut = injector.isolate(other)
    store.put("c", "C", timeout_s=PATIENT_S)
    found = store.get_many(["a", "b", "1", "49"], timeout_s=PATIENT_S)
    assert found == {"a": "A", "b": "B", "1": "1", "49": "49"}
    eventually(lambda: (row_of(store.group, late).snapshot_index or 0) > 0)
    injector.remove(cut)
    store.put("d", "D", timeout_s=PATIENT_S)
    assert store.get_many(["c", "d", "1", "49"]) == {"c": "C", "d": "D", "1": "1", "49": "49"}
    injector.check()


@pytest.mark.catalogue
def test_snapshot_size(begin: Begin) -> None:
    """Eight hundred operations on one small key: logs stay small, and so does the state."""
    store = begin(3, 1_000)
    for number in range(200):
        store.put("x", "0")
        assert store.get("x") == "0"
        store.put("x", f"{number}")
        assert store.get("x") == f"{number}"
    is_small(store.group, 1_000)


@pytest.mark.catalogue
@pytest.mark.parametrize("snapshot_log_bytes", [None, 1_000], ids=["never", "1000"])
def test_speed_timing_sensitive(begin: Begin, snapshot_log_bytes: int | None) -> None:
    """A thousand puts of one client, one after the other, in less than 33.3 seconds."""
    store = begin(3, snapshot_log_bytes)
    began_s = time.monotonic()
    for number in range(1_000):
        store.put("x", number)
    assert time.monotonic() - began_s < 33.3
    assert store.get("x") == 999


def is_small(group: str, snapshot_log_bytes: int) -> None:
    """No member's log is larger than MIT's eight times the limit."""

    def small() -> bool:
        return all((row_of(group, member).log_bytes or 0) <= 8 * snapshot_log_bytes for member in range(3))

    eventually(small)
