"""MIT's rows on a replicated state machine (ruaft.md 2.6): submit from clients, beside crashes and partitions.

Each test is named after its row. Where a row demands that a submit at a cut-off leader does not return, ours demands
that it does not return well: a leader without a majority says so (2.12.2).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

import raft_actors
from raft_actors import faults
from raft_actors.cluster.group import Group
from raft_actors.errors import OperationError
from tests.cluster.world import FAST, Tally, asked_at, eventually, leader_of

pytestmark = pytest.mark.cluster

PATIENT_S = 20.0
UNDER_WAY_S = 0.02
"""After which everybody is killed, unless all have ended by then."""
SMALL = raft_actors.RaftConfig(**{**FAST.to_dict(), "snapshot_log_bytes": 10_000})
ALL = (0, 1, 2)

Begin = Callable[..., Group]


@pytest.fixture
def begin(group_name: str, data_dir: str) -> Begin:
    """Starts the test's group of three, with faults."""

    def start(config: raft_actors.RaftConfig = FAST) -> Group:
        return raft_actors.start(group_name, Tally, data_dir=data_dir, config=config, faults=True)

    return start


def increment(group: Group) -> int:
    return int(group.submit(b"inc", timeout_s=PATIENT_S))


def counts(group: Group) -> list[int | None]:
    """What each member's own counter says; None: it says nothing."""
    answers = [asked_at(group.name, member, b"") for member in ALL]
    return [None if answer is None else int(json.loads(answer).get("inc", 0)) for answer in answers]


def all_have(group: Group, count: int) -> None:
    """Every member's counter."""
    eventually(lambda: counts(group) == [count] * 3)


def test_basic_4a(begin: Begin) -> None:
    """Ten increments return 1 to 10, and all members have ten."""
    group = begin()
    assert [increment(group) for _ in range(10)] == list(range(1, 11))
    all_have(group, 10)


def test_concurrent_4a(begin: Begin) -> None:
    """Fifty at once: each of 1 to 50 is returned once."""
    group = begin()
    with ThreadPoolExecutor(50) as pool:
        assert sorted(pool.map(lambda _: increment(group), range(50))) == list(range(1, 51))
    all_have(group, 50)


def test_leader_failure_4a(begin: Begin) -> None:
    """Increments go on while the leader is cut off, and it has them all when it is back."""
    group = begin()
    injector = faults.connect(group.name)
    assert increment(group) == 1
    injector.isolate(leader_of(group.name))
    assert [increment(group) for _ in range(3)] == [2, 3, 4]
    injector.heal()
    all_have(group, 4)


def test_leader_partition_4a(begin: Begin) -> None:
    """A hundred submits at a leader that is cut off: none returns well before the heal; one elsewhere does; after it
    all end, and no counter counts one twice."""
    group = begin()
    injector = faults.connect(group.name)
    with raft_actors.connect(group.name, label="near") as near:
        before = int(near.submit(b"inc", timeout_s=PATIENT_S))
        leads = leader_of(group.name)
        injector.partition([leads, "near"], [each for each in ALL if each != leads])
        with ThreadPoolExecutor(100) as pool:
            stuck: list[Future[bytes]] = [pool.submit(near.submit, b"inc", timeout_s=PATIENT_S) for _ in range(100)]
            ended = wait(stuck, 1.0).done  # until all have, or for a second
            assert [each for each in ended if each.exception() is None] == []
            assert increment(group) == before + 1
            injector.heal()
            wait(stuck, PATIENT_S)
    well = [int(each.result()) for each in stuck if each.exception() is None]
    assert len(set(well)) == len(well)
    unknown = [each for each in stuck if isinstance(each.exception(), OperationError)]
    assert len(well) + len(unknown) == 100
    total = increment(group)
    assert before + 2 + len(well) <= total <= before + 2 + 100
    all_have(group, total)


@pytest.mark.catalogue
def test_restart_replay_4a(begin: Begin) -> None:
    """A hundred increments, everybody killed: the next one returns 101."""
    group = begin()
    injector = faults.connect(group.name)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: increment(group), range(100)))
    injector.kill(*ALL, stay_down=True)
    injector.restart(*ALL)
    assert increment(group) == 101
    all_have(group, 101)


def test_shutdown_4a(begin: Begin) -> None:
    """Submits under way when everybody is killed all end within eleven seconds; none of them is lost silently."""
    group = begin()
    injector = faults.connect(group.name)
    with ThreadPoolExecutor(100) as pool:
        began = [pool.submit(group.submit, b"inc", timeout_s=10.0) for _ in range(100)]
        wait(began, UNDER_WAY_S)
        injector.kill(*ALL, stay_down=True)
        done = wait(began, 11.0)
    assert not done.not_done
    assert {type(each.exception()) for each in began if each.exception() is not None} <= {
        raft_actors.Timeout,
        raft_actors.NoQuorum,
    }


@pytest.mark.catalogue
def test_restart_submit_4a(begin: Begin) -> None:
    """Both at once: submits that meet the death of everybody and their return are counted once at most."""
    group = begin()
    injector = faults.connect(group.name)
    assert increment(group) == 1
    with ThreadPoolExecutor(100) as pool:
        began = [pool.submit(group.submit, b"inc", timeout_s=PATIENT_S) for _ in range(100)]
        wait(began, UNDER_WAY_S)
        injector.kill(*ALL, stay_down=True)
        injector.restart(*ALL)
        wait(began, PATIENT_S + 1)
    well = [int(each.result()) for each in began if each.exception() is None]
    assert len(set(well)) == len(well)
    total = increment(group)
    assert 1 + len(well) < total <= 102
    all_have(group, total)


@pytest.mark.catalogue
def test_snapshot_4c(begin: Begin) -> None:
    """A hundred increments: the log stays within twice its size and a batch, and nothing is lost by a restart."""
    group = begin(SMALL)
    injector = faults.connect(group.name)
    for _ in range(100):
        increment(group)
    eventually(lambda: all((row.log_bytes or 0) <= 2 * SMALL.snapshot_log_bytes + 4_000 for row in group.status()))
    eventually(lambda: all(row.snapshot_index for row in group.status()))
    injector.kill(*ALL, stay_down=True)
    injector.restart(*ALL)
    assert increment(group) == 101
