"""Starting, attaching to and stopping a store: once for all starters, never half, and every refusal says what to do."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray

import kv
import raft_actors
from kv.limits import Limits
from raft_actors.cluster.group import MemberStatus
from raft_actors.core.types import LogIndex, MemberId
from raft_actors.errors import (
    ConfigError,
    InvalidName,
    OptionsDiffer,
    ShadowedPackage,
    StartTimeout,
    UnknownGroup,
)
from raft_actors.storage import records
from raft_actors.storage.wal import FileStorage
from tests.cluster.world import (
    FAST,
    REPOSITORY,
    actors_of,
    all_running,
    eventually,
    keeper_of,
    kill_process,
    nothing_left_of,
    run_script,
)
from tests.storage.logs import append, command, vote

pytestmark = pytest.mark.cluster

CONFIG = kv.Config(raft=FAST)


def content_of(directory: Path) -> dict[str, bytes]:
    """Every file below, but LOCK, which says who looked last."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }


@pytest.fixture(scope="module")
def running(ray_cluster: None, module_data_dir: str) -> Iterator[str]:
    """A store of one member that is started once and refused to many."""
    with nothing_left_of("running"):
        with kv.start("running", members=1, data_dir=module_data_dir, config=CONFIG) as store:
            store.put("here", "first")
        yield "running"


class TestStartingWhatRuns:
    """A second start attaches; an option that differs is named; nothing changes."""

    @pytest.fixture(autouse=True)
    def unchanged(self, running: str) -> Iterator[None]:
        before = kv.status(running).members[0]
        yield
        after = kv.status(running).members[0]
        assert (after.pid, after.server_pid, after.term) == (before.pid, before.server_pid, before.term)

    def test_it_attaches(self, running: str, module_data_dir: str) -> None:
        with kv.start(running) as store:
            assert store.get("here") == "first"
        with kv.start(running, members=1, data_dir=module_data_dir, config=CONFIG) as store:
            assert store.get("here") == "first"

    def test_each_option_that_differs_is_listed(self, running: str) -> None:
        with pytest.raises(OptionsDiffer) as refusal:
            kv.start(
                running,
                members=5,
                data_dir="/elsewhere",
                config=kv.Config(raft=raft_actors.RaftConfig(heartbeat_interval_ms=40, rpc_deadline_ms=999)),
            )
        named = {line.split(":")[0] for line in refusal.value.differences}
        assert {"members", "data_dir", "config.heartbeat_interval_ms", "config.rpc_deadline_ms"} <= named
        assert "members: given 5, running 1" in str(refusal.value)
        assert "shut it down first" in str(refusal.value)

    def test_other_limits_are_listed(self, running: str) -> None:
        with pytest.raises(OptionsDiffer, match="settings"):
            kv.start(running, config=kv.Config(raft=FAST, limits=Limits(key_bytes_max=100)))

    def test_another_version_is_refused(self, running: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("raft_actors.cluster.lifecycle.__version__", "99.0")
        with pytest.raises(raft_actors.VersionDiffers, match=r"this process has 99\.0"):
            kv.start(running)

    def test_faults_are_not_let_into_a_running_group(self, running: str) -> None:
        with pytest.raises(OptionsDiffer, match="faults: given True, running False"):
            kv.start(running, faults=True)

    def test_the_client_finds_a_store_by_name_from_a_task(self, running: str) -> None:
        def read() -> object:
            with kv.connect("running") as store:
                return store.get("here", timeout_s=20.0)

        assert ray.get(ray.remote(read).options(num_cpus=0).remote(), timeout=30) == "first"


class TestArgumentsThatMakeNoSense:
    """Refused before anything is sent or started."""

    @pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "../x", "x" * 65, "grün", "a\n", 3, None])
    def test_odd_names(self, ray_cluster: None, name: object) -> None:
        for call in (kv.start, kv.connect, kv.status, kv.shutdown):
            with pytest.raises(InvalidName, match="cannot name a group: use 1 to 64 of"):
                call(name)

    @pytest.mark.parametrize("members", [0, -1, 16, 2.0, "3", True])
    def test_odd_numbers_of_members(self, ray_cluster: None, members: object) -> None:
        with pytest.raises(ConfigError, match="must be a whole number from 1 to 15"):
            kv.start("odd", members=members)  # type: ignore[arg-type]
        assert actors_of("odd") == []

    def test_a_placement_of_another_length(self, ray_cluster: None) -> None:
        with pytest.raises(ConfigError, match="1 label selectors, but the group has 3 members"):
            kv.start("odd", placement=[{"rack": "1"}])

    def test_an_unknown_store(self, ray_cluster: None) -> None:
        for call in (kv.connect, kv.status, kv.shutdown):
            with pytest.raises(UnknownGroup, match="no group 'nobody' runs"):
                call("nobody")

    def test_no_ray_in_this_process(self, tmp_path: Path) -> None:
        (tmp_path / "no_ray.py").write_text(
            "import kv, raft_actors\n"
            "for call in (kv.start, kv.connect, kv.status, kv.shutdown, raft_actors.connect):\n"
            "    try:\n"
            "        call('x')\n"
            "    except raft_actors.RayNotInitialised as refusal:\n"
            "        print(refusal)\n"
        )
        said = run_script(tmp_path / "no_ray.py", environment={"PYTHONPATH": str(REPOSITORY)})
        assert said.count("call ray.init()") == 5, said

    @pytest.mark.parametrize("shadow", ["kv.py", "analysis/__init__.py"])
    def test_a_users_own_module_that_hides_ours_is_named(self, ray_cluster: None, tmp_path: Path, shadow: str) -> None:
        (tmp_path / shadow).parent.mkdir(exist_ok=True)
        (tmp_path / shadow).write_text("")
        (tmp_path / "script.py").write_text(
            "import sys, ray, raft_actors\n"
            "class Machine:\n"
            "    apply = query = snapshot = restore = None\n"
            "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
            "try:\n"
            "    raft_actors.start('shadowed', Machine, members=1)\n"
            "except raft_actors.ShadowedPackage as refusal:\n"
            "    print(refusal)\n"
        )
        address = ray.get_runtime_context().gcs_address
        said = run_script(tmp_path / "script.py", address, environment={"PYTHONPATH": str(REPOSITORY)})
        assert f"{tmp_path / shadow} hides raft-actors' package" in said
        assert "rename it" in said
        assert issubclass(ShadowedPackage, ImportError)
        assert actors_of("shadowed") == []


class TestManyStarters:
    """Creating the keeper by name is the mutex: whoever starts, it becomes one group, and never half of one."""

    def test_twenty_concurrent_starts_make_one_cluster(self, group_name: str, data_dir: str) -> None:
        def start(number: int) -> kv.Client:
            store = kv.start(group_name, members=3, data_dir=data_dir, config=CONFIG)
            store.put(f"starter {number}", number, timeout_s=20.0)
            return store

        with ThreadPoolExecutor(20) as starters:
            stores = list(starters.map(start, range(20)))
        assert sorted(stores[0].scan("starter").values()) == list(range(20))
        assert len(actors_of(group_name)) == 7
        described = ray.get([peer.describe.remote() for peer in raft_actors.connect(group_name).peers], timeout=10)
        assert len({each["genesis"] for each in described}) == 1
        assert [each["start_count"] for each in described] == [1, 1, 1]
        for store in stores:
            store.close()

    @pytest.mark.parametrize("keeper_lives", [True, False])
    def test_a_starter_killed_right_after_creating_the_keeper(
        self, group_name: str, data_dir: str, tmp_path: Path, keeper_lives: bool
    ) -> None:
        """A keeper that has answered finishes alone. One that Ray had not created yet goes with its starter, and the
        next start makes another."""
        (tmp_path / "starter.py").write_text(
            "import os, signal, sys, ray, kv\n"
            "from raft_actors.cluster import lifecycle\n"
            "from tests.cluster.world import FAST\n"
            "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
            "def killed(answer, *_):\n"
            "    if sys.argv[4] == 'True': ray.get(answer)\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "lifecycle._within = killed\n"
            "kv.start(sys.argv[2], members=1, data_dir=sys.argv[3], config=kv.Config(raft=FAST))\n"
        )
        address = ray.get_runtime_context().gcs_address
        died = subprocess.run(
            [sys.executable, str(tmp_path / "starter.py"), address, group_name, data_dir, str(keeper_lives)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        assert died.returncode == -9
        if keeper_lives:
            eventually(lambda: all_running(group_name))
        with kv.start(group_name, members=1, data_dir=data_dir, config=CONFIG) as store:
            assert store.put("k", 1) == 1


class TestEndingAndResuming:
    """Shutdown is clean, also of what is dead; the data stays unless asked; a start finds it."""

    def test_the_data_is_resumed_until_it_is_deleted(
        self, group_name: str, data_dir: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "raft_actors.cluster")
        for expected in ("created", "resumed"):
            with kv.start(group_name, members=1, data_dir=data_dir, config=CONFIG) as store:
                assert store.append("k", [expected]) > 0
                found = store.get("k")
            assert f"group={group_name} {expected}: 1 members, log at index" in caplog.text
            kv.shutdown(group_name, delete_data=expected == "resumed")
            assert actors_of(group_name) == []
        assert found == ["created", "resumed"]
        assert not (Path(data_dir) / group_name).exists()

    def test_what_is_dead_already(self, group_name: str, data_dir: str) -> None:
        kv.start(group_name, members=1, data_dir=data_dir, config=CONFIG).close()
        member = kv.status(group_name).members[0]
        ray.kill(keeper_of(group_name), no_restart=True)
        kill_process(member.pid, member.server_pid)
        kv.shutdown(group_name)
        assert actors_of(group_name) == []
        with pytest.raises(UnknownGroup):
            kv.shutdown(group_name)
        assert (Path(data_dir) / group_name / "0" / "IDENTITY").exists()

    def test_delete_data_where_nobody_knows_any_more_where_it_lies(self, group_name: str, data_dir: str) -> None:
        kv.start(group_name, members=1, data_dir=data_dir, config=CONFIG).close()
        ray.kill(keeper_of(group_name), no_restart=True)
        eventually(lambda: f"raft:{group_name}:keeper" not in actors_of(group_name))
        with pytest.raises(raft_actors.PeerFailed, match=r"no data was deleted.*by hand"):
            kv.shutdown(group_name, delete_data=True)
        assert actors_of(group_name) == []


class TestPlacesThatCannotBe:
    """Resources that Ray cannot grant in time."""

    def test_labels_that_no_node_has(self, group_name: str, data_dir: str) -> None:
        def named() -> bool:
            with pytest.raises(StartTimeout) as refusal:
                kv.start(group_name, members=1, data_dir=data_dir, placement=[{"rack": "nowhere"}], start_timeout_s=1)
            return "nowhere" in str(refusal.value) and 0 in refusal.value.waiting_for

        eventually(named)
        assert not Path(data_dir).exists()


class TestDirectoriesThatCannotBeUsed:
    """Each ends in a member that is not running, whose error says what to do; and nothing in it changed."""

    def test_damaged_foreign_newer_and_no_directory(
        self, group_name: str, data_dir: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = Path(data_dir) / group_name
        write_log(root / "0", group_name, 0, group="another")
        monkeypatch.setattr(records, "FORMAT_VERSION", 2)
        write_log(root / "1", group_name, 1)
        monkeypatch.undo()
        root.joinpath("2").write_text("a file")
        write_log(root / "3", group_name, 3)
        (segment,) = root.joinpath("3").glob("*.seg")
        damaged = bytearray(segment.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        segment.write_bytes(damaged)
        before = content_of(root)

        with pytest.raises(StartTimeout):
            kv.start(group_name, members=4, data_dir=data_dir, config=CONFIG, start_timeout_s=1)
        members = eventually(lambda: all_failed(group_name, 4))
        said = {member.id: str(member.error) for member in members}
        assert "belongs to member 0 of group 'another'" in said[0]
        assert "give each member its own data_dir" in said[0]
        assert "has format 2" in said[1]
        assert "upgrade raft-actors" in said[1]
        assert "is not a directory; move it away" in said[2]
        assert f"{segment} is damaged at byte" in said[3]
        assert "bring this one back by replacing it" in said[3]

        def named() -> bool:
            with pytest.raises(StartTimeout) as refusal:
                kv.start(group_name, start_timeout_s=1)
            return all(error in str(refusal.value) for error in said.values())

        eventually(named)
        kv_shutdown_with_failures(group_name)
        after = content_of(root)
        assert after.pop("3/STOPPED")
        assert after == before

    def test_locked_by_another_process(self, group_name: str, data_dir: str) -> None:
        path = Path(data_dir) / group_name / "0"
        holder = FileStorage.open(str(path), group=group_name, member_id=MemberId(0), segment_bytes_max=1 << 20)
        before = content_of(path)
        with pytest.raises(StartTimeout):
            kv.start(group_name, members=1, data_dir=data_dir, config=CONFIG, start_timeout_s=1)

        def waits() -> bool:
            member = kv.status(group_name).members[0]
            return member.state == "starting" and f"in use by process {os.getpid()}" in str(member.error)

        eventually(waits)
        assert content_of(path) == before
        holder.close()
        with kv.start(group_name) as store:  # it was waiting for just that
            assert store.put("k", 1) == 1

    def test_tmpfs(self, group_name: str) -> None:
        if not Path("/dev/shm").is_dir():
            pytest.skip("no tmpfs here")
        root = Path("/dev/shm") / f"raft-actors-{secrets.token_hex(4)}"
        with pytest.raises(StartTimeout):
            kv.start(group_name, members=1, data_dir=str(root), config=CONFIG, start_timeout_s=1)
        (member,) = eventually(lambda: all_failed(group_name, 1))
        assert "tmpfs" in str(member.error)
        assert "allow_unsafe_data_dir=True" in str(member.error)
        assert not root.exists()


def all_failed(group: str, count: int) -> list[MemberStatus]:
    members = [member for member in kv.status(group).members if member.state == "failed"]
    return members if len(members) == count else []


def kv_shutdown_with_failures(group: str) -> None:
    with pytest.raises(raft_actors.PeerFailed) as failed:
        kv.shutdown(group)
    assert len(failed.value.failures) >= 4


def write_log(path: Path, group_name: str, member: int, *, group: str | None = None) -> None:
    """A log that a member, or somebody else's, left in its place."""
    storage = FileStorage.open(
        str(path), group=group or group_name, member_id=MemberId(member), segment_bytes_max=1 << 20
    )
    storage.write([vote(1), append(command(1, LogIndex(1)))])
    storage.write([append(command(1, LogIndex(2)))])
    storage.close()
