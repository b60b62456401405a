"""A replicated state machine whose processes are killed in every way: nothing is lost, nothing happens twice."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

import raft_actors
from raft_actors.application.exchange import NotLeader, ReadAt, Started
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.names import NAMESPACE, peer_name
from raft_actors.storage.interface import Storage
from raft_actors.storage.memory import MemoryDisk, MemoryStorage
from tests.cluster.world import FAST, Load, Tally, all_running, eventually, keeper_of, kill_process, nothing_left_of

pytestmark = pytest.mark.cluster

KEEPER_LOOKS_EACH_S = 5.0


@pytest.fixture(scope="module")
def group(ray_cluster: None, module_data_dir: str) -> Iterator[raft_actors.Group]:
    """Three members that all tests of this module share: each finds them well, and leaves them so."""
    with nothing_left_of("tally"):
        yield raft_actors.start("tally", Tally, data_dir=module_data_dir, config=FAST)


@pytest.fixture(autouse=True)
def well(request: pytest.FixtureRequest) -> None:
    """The shared group is whole before each test that uses it."""
    if "group" in request.fixturenames:
        eventually(lambda: all_running("tally"))


def submit_once(group: raft_actors.Group, label: str) -> None:
    result = group.submit(label.encode(), timeout_s=20.0)
    assert result == b"1", f"{label} was applied {result.decode()} times"


def counts(group: raft_actors.Group) -> dict[str, int]:
    found: dict[str, int] = json.loads(group.query(b"", timeout_s=20.0))
    return found


class TestAReplicatedCounterLosesNothing:
    """Processes killed at any moment lose no acknowledged command, and no command is applied twice."""

    def kill_and_check(self, group: raft_actors.Group, *pids: int | None) -> None:
        load = Load(lambda label: submit_once(group, label))
        with load:
            kill_process(*pids)
            load.wait_for_more()
            eventually(lambda: all_running("tally"))
        load.check(counts(group))
        assert {status.pid for status in group.status()}.isdisjoint(pids)

    @pytest.mark.parametrize("member", [0, 1, 2])
    def test_when_a_peer_is_killed(self, group: raft_actors.Group, member: int) -> None:
        self.kill_and_check(group, group.status()[member].pid)

    def test_when_the_leader_is_killed(self, group: raft_actors.Group) -> None:
        self.kill_and_check(group, *(status.pid for status in group.status() if status.role == "leader"))

    def test_when_all_peers_are_killed_at_once(self, group: raft_actors.Group) -> None:
        self.kill_and_check(group, *(status.pid for status in group.status()))

    @pytest.mark.parametrize("member", [0, 1, 2])
    def test_when_an_application_is_killed(self, group: raft_actors.Group, member: int) -> None:
        self.kill_and_check(group, group.status()[member].server_pid)

    def test_when_the_leader_and_its_application_are_killed_together(self, group: raft_actors.Group) -> None:
        leader = next(status for status in group.status() if status.role == "leader")
        self.kill_and_check(group, leader.pid, leader.server_pid)

    def test_when_every_process_of_every_member_is_killed(self, group: raft_actors.Group) -> None:
        members = group.status()
        self.kill_and_check(group, *(status.pid for status in members), *(status.server_pid for status in members))


class TestTheKeeperBringsMembersBack:
    """A member comes back after any death, and so does the keeper."""

    def end_for_good(self, group: raft_actors.Group, member: int) -> None:
        before = group.status()[member]
        ray.kill(group.peers[member], no_restart=True)
        again = eventually(lambda: all_running("tally"), within_s=KEEPER_LOOKS_EACH_S + 20)[member]
        assert again.pid != before.pid
        assert again.directory_id == before.directory_id, "it must come back with its data"
        assert (again.incarnation or 0) > (before.incarnation or 0)

    def test_a_peer_that_ray_will_not_restart(self, group: raft_actors.Group) -> None:
        self.end_for_good(group, 1)

    def test_a_killed_keeper_is_back_and_still_keeps(self, group: raft_actors.Group) -> None:
        keeper = keeper_of("tally")
        (pid,) = [row["pid"] for row in _actors_by_name("raft:tally:keeper")]
        kill_process(pid)
        progress = eventually(lambda: ray.get(keeper.progress.remote(), timeout=10))  # type: ignore[attr-defined]
        assert not progress["created"], "a keeper that comes back finds the group, it does not make another one"
        self.end_for_good(group, 2)


def _actors_by_name(name: str) -> list[dict[str, int]]:
    actors = ray._private.state.actors().values()
    return [{"pid": each["Pid"]} for each in actors if each["Name"] == name and each["State"] == "ALIVE"]


class TestRuaftsCalls:
    """`start`, `get_state`, `verify_authority`, `status`, `describe` and `kill`, as methods of the peer actors."""

    def test_start_appends_at_the_leader_and_names_it_elsewhere(self, group: raft_actors.Group) -> None:
        def one_started() -> list[Started]:
            label = f"started {next(numbers)}".encode()
            found = ray.get([peer.start.remote(label) for peer in group.peers], timeout=10)
            started = [answer for answer in found if isinstance(answer, Started)]
            named = {answer.leader for answer in found if isinstance(answer, NotLeader)}
            return started if len(started) == 1 and named == {found.index(started[0])} else []

        numbers = itertools.count()
        (started,) = eventually(one_started)
        assert started.index > 0
        assert started.term > 0
        assert counts(group)[f"started {next(numbers) - 1}"] == 1

    def test_one_peer_leads_and_verifies_its_authority(self, group: raft_actors.Group) -> None:
        def one_verified() -> bool:
            states = ray.get([peer.get_state.remote() for peer in group.peers], timeout=10)
            answers = ray.get([peer.verify_authority.remote() for peer in group.peers], timeout=10)
            leading = [leads for _, leads in states]
            verified = [isinstance(answer, ReadAt) for answer in answers]
            return leading.count(True) == 1 and leading == verified and len({term for term, _ in states}) == 1

        eventually(one_verified)

    def test_status_and_describe_say_who_it_is(self, group: raft_actors.Group) -> None:
        for number, peer in enumerate(group.peers):
            status, description = ray.get([peer.status.remote(), peer.describe.remote()], timeout=10)
            assert status["state"] == description["state"] == "running"
            assert status["member_id"] == description["member_id"] == number
            assert status["directory_id"] == description["directory_id"]
            assert description["genesis"]
            assert description["group"] == "tally"
            assert status["log_bytes"] > 0
            assert status["pid"] == description["pid"] != os.getpid()

    def test_kill_ends_it_cleanly_and_a_second_kill_says_the_same(self, group: raft_actors.Group) -> None:
        peer = group.peers[0]
        pid = group.status()[0].pid
        assert ray.get([peer.kill.remote(), peer.kill.remote()], timeout=20) == [None, None]
        eventually(lambda: all_running("tally"))
        assert group.status()[0].pid != pid

    def test_the_process_leaves_though_another_member_answers_none_of_its_calls(self, group: raft_actors.Group) -> None:
        members = group.status()
        leader = next(member for member in members if member.role == "leader")
        follower = next(member for member in members if member.role != "leader")
        left, stopped = psutil.Process(leader.pid), psutil.Process(follower.pid)
        stopped.suspend()
        try:
            submit_once(group, "while one stands still")  # and a call to it is under way
            ray.get(group.peers[leader.id].kill.remote(), timeout=20)
            left.wait(timeout=15)
        finally:
            stopped.resume()

    def test_an_unknown_group_is_named(self, ray_cluster: None) -> None:
        with pytest.raises(raft_actors.UnknownGroup, match="no group 'nobody' runs"):
            raft_actors.connect("nobody")


def open_memory(
    path: str, *, group: str, member_id: MemberId, segment_bytes_max: int, allow_unsafe_data_dir: bool
) -> Storage:
    """A persister of a user's own."""
    return MemoryStorage.open(MemoryDisk(directory_id=DirectoryId(os.urandom(16))), group=group, member_id=member_id)


class TestAPersisterOfOnesOwn:
    """The persister is given at creation."""

    def test_a_group_runs_on_it_and_touches_no_disk(self, group_name: str, tmp_path: Path) -> None:
        with raft_actors.start(
            group_name, Tally, members=1, data_dir=str(tmp_path), config=FAST, storage=open_memory
        ) as group:
            submit_once(group, "x")
            assert counts(group) == {"x": 1}
            assert ray.get_actor(peer_name(group_name, MemberId(0)), namespace=NAMESPACE)
        assert list(tmp_path.iterdir()) == []
