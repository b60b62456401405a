"""Single messages, held and let go by hand: Ruaft's regression tests, and the same for every kind of message.

The group's leader is patient (it gives up ten seconds after it last heard a majority), so that it leads still, cut off,
while the others have elected another one: what it says then is what can go wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ray

import kv
from raft_actors import RaftConfig, faults
from raft_actors.application.limits import CHECKPOINT_INTERVAL
from raft_actors.application.requests import QUERY, QUERY_ANSWERS, Query, QueryDone
from raft_actors.core.types import MemberId
from raft_actors.faults import Faults
from raft_actors.faults.rules import Part
from raft_actors.names import NAMESPACE, peer_name, server_name
from tests.cluster.world import all_running, eventually, leader_of, nothing_left_of, others_of_three, row_of

pytestmark = pytest.mark.cluster

NAME = "intercepted"
PATIENT = RaftConfig(
    heartbeat_interval_ms=100,
    election_timeout_ms_min=500,
    election_timeout_ms_max=900,
    check_quorum_ms=10_000,
    rpc_deadline_ms=10_000,
    snapshot_log_bytes=300_000,
)
PATIENT_S = 20.0
LATE_PUTS = 20
"""While so many are acknowledged, late messages keep arriving."""


@pytest.fixture(scope="module")
def group(ray_cluster: None, module_data_dir: str) -> Iterator[Faults]:
    with (
        nothing_left_of(NAME),
        kv.start(NAME, data_dir=module_data_dir, config=kv.Config(raft=PATIENT), faults=True),
    ):
        yield faults.connect(NAME)


@pytest.fixture
def injector(group: Faults) -> Iterator[Faults]:
    yield group
    group.close()
    eventually(lambda: all_running(NAME))


@pytest.fixture
def near(injector: Faults) -> Iterator[kv.Client]:
    """A client beside the old leader."""
    with kv.connect(NAME, label="near") as client:
        client.put("warm", 0, timeout_s=PATIENT_S)
        yield client


@pytest.fixture
def far(injector: Faults) -> Iterator[kv.Client]:
    """A client beside the others."""
    with kv.connect(NAME, label="far") as client:
        client.put("warm", 1, timeout_s=PATIENT_S)
        yield client


def read_at(member: int, key: str) -> Any:
    """Begin a linearizable read at this member's server, for two seconds; it waits for its round when this returns."""
    server = ray.get_actor(server_name(NAME, MemberId(member)), namespace=NAMESPACE)
    request = kv.requests.Requests(allow_pickle=False, limits=kv.limits.Limits()).get(key, None, "linearizable")
    ref = server.query.remote(QUERY.encode(Query(requests=(request.data,), linearizable=True, timeout_ms=2000)))
    peer = ray.get_actor(peer_name(NAME, MemberId(member)), namespace=NAMESPACE)
    eventually(lambda: ray.get(peer.status.remote(), timeout=PATIENT_S)["reads_waiting"] > 0)
    return ref


def was_read(ref: Any) -> bool:
    """Whether that read was answered from a state."""
    (answer,) = QUERY_ANSWERS.decode(ray.get(ref, timeout=PATIENT_S))
    return isinstance(answer, QueryDone)


def old_answers_prove_nothing(injector: Faults, near: kv.Client, far: kv.Client, leads: int) -> int:
    """The leader, for which answers are held, is cut off with the client near it. The others elect another one, and
    write; a read at the old leader begins, and then the answers arrive: it must not be answered. The write's version.
    """
    injector.partition([leads, "near"], [*others_of_three(leads), "far"])
    version = far.put("x", "second", timeout_s=PATIENT_S)
    read = read_at(leads, "x")
    injector.let_go(*injector.held(dst=leads))
    assert not was_read(read), "it missed what had been acknowledged before it began"
    injector.heal()
    assert near.get("x", timeout_s=PATIENT_S) == "second"
    return version


def test_smoke(injector: Faults, near: kv.Client) -> None:
    """Ruaft's `smoke_test`: with every message between peers held until it is let go, a put is acknowledged when one
    follower's answer arrives and not before, and then a get returns it."""
    leads = leader_of(NAME)
    follower, silent = others_of_three(leads)
    for one, other in ((leads, follower), (follower, leads)):
        injector.cut(one, other, held=True, method="append_entries")
    injector.isolate(silent)
    write = near.submit_put("smoke", 1, timeout_s=PATIENT_S)
    injector.wait_for_held(1, src=leads, dst=follower)
    assert not write.done()
    injector.let_go(*injector.held(src=leads, dst=follower))
    answers = injector.wait_for_held(1, src=follower, dst=leads)
    assert not write.done(), "the follower has it, and the leader does not know"
    injector.let_go(*answers)
    while not write.done():  # heartbeats are held too, and the write may have been in the second message
        injector.let_go(*injector.held())
    assert write.result(0) > 0
    read = near.submit_get("smoke", timeout_s=PATIENT_S)
    while not read.done():
        injector.let_go(*injector.held())
    assert read.result(0) == 1


def test_delayed_commit_consistency(injector: Faults, near: kv.Client, far: kv.Client) -> None:
    """Ruaft's test: the answers to the first write are held, its leader is cut off, another one commits a second write,
    a read at the old leader begins, and then the answers arrive. The first write succeeds; the read must not: they were
    sent before it began, and prove nothing about who leads now."""
    leads = leader_of(NAME)
    for follower in others_of_three(leads):
        injector.cut(follower, leads, part=Part.REPLY, held=True, method="append_entries")
    first = near.submit_put("x", "first", timeout_s=PATIENT_S)
    injector.wait_for_held(2, dst=leads)
    second_version = old_answers_prove_nothing(injector, near, far, leads)
    first_version = first.result(PATIENT_S)
    assert first_version < second_version


def test_answers_to_heartbeats_from_before_a_read_prove_nothing(
    injector: Faults, near: kv.Client, far: kv.Client
) -> None:
    """The same without a write at the old leader: heartbeats alone are answered."""
    leads = leader_of(NAME)
    for follower in others_of_three(leads):
        injector.cut(follower, leads, part=Part.REPLY, held=True, method="append_entries")
    injector.wait_for_held(2, dst=leads)
    old_answers_prove_nothing(injector, near, far, leads)


def test_the_answer_to_an_offered_snapshot_proves_nothing_either(
    injector: Faults, near: kv.Client, far: kv.Client
) -> None:
    """The same with a follower that lags so much that it is offered a snapshot."""
    leads = leader_of(NAME)
    behind = others_of_three(leads)[0]
    injector.kill(behind, stay_down=True)
    for number in range(40):
        near.put_many({f"s{number}.{part}": "x" * 16_000 for part in range(3)}, timeout_s=PATIENT_S)
    eventually(lambda: all(row.snapshot_index for row in kv.status(NAME).members if row.id != behind))
    assert row_of(NAME, leads).role == "leader", "the leader went, and nothing was wrong with its majority"
    apart = injector.isolate(behind)
    injector.restart(behind)
    eventually(lambda: row_of(NAME, behind).state == "running")
    injector.cut(behind, leads, part=Part.REPLY, held=True, method="install_snapshot")
    injector.remove(apart)  # only now: one that is still starting would have answered nothing
    injector.wait_for_held(1, src=behind, dst=leads, method="install_snapshot", timeout_s=PATIENT_S)
    old_answers_prove_nothing(injector, near, far, leads)


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("method", ["append_entries", "request_vote", "hello", "submit", "query"])
def test_each_kind_of_message_can_be_held_and_let_go(
    injector: Faults, near: kv.Client, method: str, part: Part
) -> None:
    """One message of that kind waits, arrives when it may, and everything goes on. (Offers and slices of snapshots:
    above, and in test_faults.py; reports of chains and invitations: below.)"""
    leads = leader_of(NAME)
    injector.cut(None, None, part=part, held=True, method=method)
    if method in ("request_vote", "hello"):
        injector.kill(leads)  # somebody campaigns, and the one that is back greets all
    write, read = near.submit_put("each", method, timeout_s=2 * PATIENT_S), near.submit_get("each", timeout_s=PATIENT_S)
    held = injector.wait_for_held(1, method=method, timeout_s=PATIENT_S)
    assert {(each.message.method, each.message.part) for each in held} == {(method, part)}
    injector.let_go(*held)
    eventually(lambda: not set(held) & set(injector.held()))
    injector.heal()
    assert write.result(2 * PATIENT_S) > 0
    read.result(PATIENT_S)
    assert near.get("each", timeout_s=PATIENT_S) == method


@pytest.mark.catalogue
@pytest.mark.parametrize("part", list(Part))
def test_reports_of_state_chains_can_be_held_and_let_go(injector: Faults, near: kv.Client, part: Part) -> None:
    """Nobody waits for them: the store serves, and states are compared later."""
    leader_of(NAME)
    injector.cut(None, None, part=part, held=True, method="report_chains")
    for number in range(CHECKPOINT_INTERVAL):
        near.put("chains", number, timeout_s=PATIENT_S)
    held = injector.wait_for_held(1, method="report_chains", timeout_s=PATIENT_S)
    injector.let_go(*held)
    eventually(lambda: not set(held) & set(injector.held()))
    injector.heal()
    assert near.get("chains", timeout_s=PATIENT_S) == CHECKPOINT_INTERVAL - 1
    assert eventually(chains_at_rest)


@pytest.mark.catalogue
@pytest.mark.parametrize("part", list(Part))
def test_an_invitation_can_be_held_and_let_go(injector: Faults, near: kv.Client, part: Part) -> None:
    """A replaced member's new directory is invited; the replacement ends when the invitation, or its answer, comes."""
    behind = others_of_three(leader_of(NAME))[0]
    old = row_of(NAME, behind).directory_id
    injector.cut(None, None, part=part, held=True, method="join")
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(kv.membership(NAME).replace, behind, timeout_s=2 * PATIENT_S)
        held = injector.wait_for_held(1, method="join", timeout_s=PATIENT_S)
        near.put("joins", part.value, timeout_s=PATIENT_S)
        injector.let_go(*held)
        injector.heal()
        replacing.result()
    eventually(lambda: all_running(NAME))
    assert row_of(NAME, behind).directory_id not in (None, old)
    assert near.get("joins", timeout_s=PATIENT_S) == part.value


@pytest.mark.parametrize("method", ["append_entries", "request_vote"])
def test_requests_that_arrive_an_election_late_change_nothing(
    injector: Faults, near: kv.Client, far: kv.Client, method: str
) -> None:
    """Ray holds calls of a partition and runs them afterwards. What the old leader had sent, and what the others asked
    it for in their election, arrives when another one leads and has committed."""
    leads = leader_of(NAME)
    injector.partition([leads, "near"], [*others_of_three(leads), "far"], held=True)
    old = near.submit_put("late", "old", timeout_s=PATIENT_S)
    far.put("late", "new", timeout_s=PATIENT_S)
    term = max(row.term for row in kv.status(NAME).members)
    late = injector.wait_for_held(1, method=method)
    injector.let_go(*late)
    eventually(lambda: not set(late) & set(injector.held()))
    for number in range(LATE_PUTS):
        new_version = far.put("late", f"new {number}", timeout_s=PATIENT_S)
        injector.let_go(*injector.held(method=method))
    assert max(row.term for row in kv.status(NAME).members) == term, "somebody was deposed by what is over"
    injector.heal()
    old_version = old.result(PATIENT_S)
    newest = f"new {LATE_PUTS - 1}"
    assert near.get("late", timeout_s=PATIENT_S) == ("old" if old_version > new_version else newest)
    chains = eventually(chains_at_rest)
    assert len(set(chains)) == 1


def chains_at_rest() -> list[str | None] | None:
    """The members' state chains, once all have applied as much."""
    rows = all_running(NAME)
    return [row.chain for row in rows] if len({row.last_applied for row in rows}) == 1 else None
