"""A store saved while it serves, restored into another one, and recovered from one member when the others are lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner, Result

import kv
from kv.actor import KVServer
from kv.app.cli import cli
from kv.machine import KVMachine
from raft_actors.cluster.founder import founder_of
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.recovery import plan_recovery
from raft_actors.codec import supersedes
from raft_actors.core.types import MemberId
from raft_actors.errors import (
    AlreadyThere,
    BackupDamaged,
    BackupForeign,
    CannotRecover,
    ConfigError,
    HasQuorum,
    StartTimeout,
    UnknownGroup,
)
from raft_actors.names import NAMESPACE, peer_name, server_name
from raft_actors.peer.actor import PeerPlace, RaftPeer, peer_actor_options
from raft_actors.peer.surroundings import PeerOptions
from raft_actors.storage.founding import Founding, Origin, Place
from raft_actors.storage.place import member_path
from raft_actors.storage.visit import set_aside
from raft_actors.storage.wal import FileStorage
from tests.cluster.world import FAST, Load, actors_of, all_running, eventually, nothing_left_of

pytestmark = pytest.mark.cluster

NAME = "saved"
CONFIG = kv.Config(raft=FAST)
VALUE = "v" * 30_000


@pytest.fixture(scope="module")
def store(ray_cluster: None, module_data_dir: str) -> Iterator[kv.Client]:
    """Three members that the tests of this module share, but for those that end them."""
    with (
        nothing_left_of(NAME),
        kv.start(NAME, members=3, data_dir=module_data_dir, config=CONFIG) as client,
    ):
        yield client


@pytest.fixture
def other(ray_cluster: None) -> Iterator[str]:
    """A name for what is restored."""
    with nothing_left_of("restored") as name:
        yield name


def contents(store: kv.Client) -> dict[str, tuple[object, int]]:
    """All keys with values and versions."""
    found = {}
    for key in dict(store.scan_iter()):
        versioned = store.get_versioned(key)
        assert versioned is not None
        found[key] = versioned.value, versioned.version
    return found


def run(name: str, *words: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(cli, ["--name", name, *words], input=stdin, prog_name="raft-kv")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


class TestSaveAndRestore:
    def test_what_was_acknowledged_before_is_in_it_and_goes_on_in_another_store(
        self, store: kv.Client, tmp_path: Path, other: str
    ) -> None:
        """Under load, from a follower; the restored one has the same versions, and a life of its own."""
        for number in range(100):
            store.submit_put(f"big{number:03}", VALUE)
        file = tmp_path / "saved.backup"
        with Load(lambda label: store.put(f"load/{label}", label)) as load:
            load.wait_for_more(20)
            before = tuple(load.acknowledged)
            saved = kv.save_snapshot(NAME, str(file))
        assert saved.member != kv.status(NAME).leader
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        data_dir = str(tmp_path / "other")
        with kv.restore_snapshot(str(file), other, members=1, data_dir=data_dir, config=CONFIG) as restored:
            held, now = contents(restored), contents(store)
            assert set(held) >= {f"load/{label}" for label in before} | {f"big{number:03}" for number in range(100)}
            assert {key: now[key] for key in held} == held
            highest = max(version for _, version in held.values())
            assert restored.put("new", 1) == highest + 1
            held["new"] = (1, highest + 1)
        assert store.get("new") is None
        kv.shutdown(other)
        with pytest.raises(AlreadyThere, match=r"has data on node .*restore under another name"):
            kv.restore_snapshot(str(file), other, members=1, data_dir=data_dir)
        with kv.start(other, members=1, data_dir=data_dir, config=CONFIG) as again:
            assert contents(again) == held
        kv.shutdown(other, delete_data=True)
        with kv.restore_snapshot(str(file), other, members=1, data_dir=data_dir, config=CONFIG) as anew:
            assert anew.get("new") is None
            assert anew.get("big000") == VALUE

    def test_what_is_there_is_not_overwritten(self, store: kv.Client, tmp_path: Path, module_data_dir: str) -> None:
        file = tmp_path / "saved.backup"
        file.write_bytes(b"precious")
        said = run(NAME, "snapshot", "save", str(file))
        assert (said.exit_code, said.stdout) == (1, "")
        assert f"{file} exists: give another name, or --force" in said.stderr
        assert file.read_bytes() == b"precious"
        assert run(NAME, "snapshot", "save", str(file), "--force", "--format", "json").exit_code == 0
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
        said = run(NAME, "snapshot", "restore", str(file), "--data-dir", str(tmp_path / "data"))
        assert (said.exit_code, said.stdout) == (1, "")
        assert f"a group '{NAME}' runs on this Ray cluster" in said.stderr
        with pytest.raises(AlreadyThere, match="runs on this Ray cluster"):
            kv.restore_snapshot(str(file), NAME, data_dir=module_data_dir)
        assert not (tmp_path / "data").exists()

    def test_nobody_starts_a_group_whose_directory_is_being_founded(self, other: str, data_dir: str) -> None:
        options = store_options(other, data_dir)
        founding = partial(founder_of, options, MemberId(0), {}, wait=False, refusal="another one is at it")
        with founding() as founder:
            assert ray.get(founder.progress.remote())["started"] is False
            with pytest.raises(AlreadyThere, match="another one is at it"), founding():
                pass
            with pytest.raises(StartTimeout, match="its first directory is being founded"):
                kv.start(other, members=1, data_dir=data_dir, config=CONFIG, start_timeout_s=1.0)
        assert not actors_of(other)
        assert not Path(data_dir).exists()

    def test_a_file_that_is_not_whole_starts_nothing(self, store: kv.Client, tmp_path: Path) -> None:
        file = tmp_path / "saved.backup"
        kv.save_snapshot(NAME, str(file))
        whole = file.read_bytes()
        for damaged, error in {
            whole[:-1]: BackupDamaged,
            whole[: len(whole) // 2] + b"x" + whole[len(whole) // 2 + 1 :]: BackupDamaged,
            b"key,value\n": BackupForeign,
        }.items():
            file.write_bytes(damaged)
            with pytest.raises(error):
                kv.restore_snapshot(str(file), "nothing", data_dir=str(tmp_path / "data"))
        assert not (tmp_path / "data").exists()
        assert not actors_of("nothing")

    def test_of_nobody_nothing_is_saved(self, ray_cluster: None, tmp_path: Path) -> None:
        with pytest.raises(UnknownGroup, match="no group 'nobody' runs"):
            kv.save_snapshot("nobody", str(tmp_path / "file"))
        assert not list(tmp_path.iterdir())


def peer_of(name: str, member: int) -> Any:
    return ray.get_actor(peer_name(name, MemberId(member)), namespace=NAMESPACE)


def lose(name: str, member: int, data_dir: Path, to: Path) -> None:
    """The node of this member is gone, with its disk: no keeper finds it any more. The disk is kept elsewhere."""
    to.mkdir(parents=True, exist_ok=True)
    shutil.move(data_dir / name / str(member), to / str(member))
    for actor in (peer_name(name, MemberId(member)), server_name(name, MemberId(member))):
        ray.kill(ray.get_actor(actor, namespace=NAMESPACE), no_restart=True)


def store_options(name: str, data_dir: str) -> GroupOptions:
    return GroupOptions(
        group=name,
        members=1,
        config=FAST,
        data_dir=data_dir,
        placement=None,
        allow_unsafe_data_dir=False,
        machine=KVMachine.from_settings,
        application=KVServer,
        settings=CONFIG.settings(),
        open_storage=FileStorage.open,
        record_dir=None,
    )


def cut_off(name: str, data_dir: str) -> None:
    """A recovery ends after the old directory was set aside, and before the new one has its name."""
    path = member_path(data_dir, name, MemberId(0))
    place = Place(path=path, group=name, member_id=MemberId(0), segment_bytes_max=1 << 20, allow_unsafe_data_dir=False)
    old = place.open(path)
    found = old.recovered
    assert found.genesis is not None
    origin = Origin(
        cluster_id=found.genesis.cluster_id, settings=found.genesis.settings, places=(MemberId(0),), snapshot=None
    )
    with Founding(place, origin) as founding:
        founding.finish(found.entries, found.hard_state.term)
    assert supersedes(founding.genesis, found.genesis)
    set_aside(path, group=name, member_id=MemberId(0), directory_id=found.incarnation.directory_id)
    old.close()


class TestRecover:
    def test_one_of_three_goes_on_and_the_lost_ones_are_refused_for_ever(
        self, ray_cluster: None, data_dir: str, tmp_path: Path
    ) -> None:
        with nothing_left_of("lost") as name:
            with kv.start(name, members=3, data_dir=data_dir, config=CONFIG) as client:
                alive = kv.connect(name)
                alive.put("alive", 0)
                written = {f"key{number}": number for number in range(50)} | {"alive": 0}
                client.put_many({key: value for key, value in written.items() if key != "alive"})
                with pytest.raises(HasQuorum, match=r"has a quorum, led by member \d.*member replace"):
                    kv.plan_recovery(name, 0)
                index = max(member.commit_index or 0 for member in kv.status(name).members)
                eventually(lambda: (kv.status(name).members[0].last_applied or 0) >= index)
            for member in (1, 2):
                lose(name, member, Path(data_dir), tmp_path / "elsewhere" / name)
            with pytest.raises(CannotRecover, match=r"member 1 .* has no data directory .* those of members \[0\]"):
                plan_recovery(name, MemberId(1), data_dir, patience_s=0.0)
            plan = kv.plan_recovery(name, 0)
            assert plan.chosen is not None
            assert (plan.chosen.last_index or 0) >= index
            assert any("lost for good" in risk for risk in plan.risks())
            with pytest.raises(ConfigError, match="--force-new-cluster"):
                kv.recover(plan, force_new_cluster=False)
            back = tmp_path / "elsewhere" / name / "2"
            shutil.copytree(back, Path(data_dir) / name / "2")  # its node comes back, too late
            with kv.recover(plan, force_new_cluster=True) as client:
                assert dict(client.scan_iter()) == written
                assert alive.get("alive") == 0
                assert alive.append("log", "1") == alive.put("alive", 1) - 1
                alive.close()
                client.put("after", 1)
                # the keeper fills the other places with empty directories, whatever lies there
                eventually(lambda: [row.is_ for row in kv.membership(name).list()] == ["voter"] * 3)
                assert len(eventually(lambda: all_running(name))) == 3
                assert {path.name for path in (Path(data_dir) / name).iterdir()} >= {"0.aside", "2.aside"}
                old = RaftPeer.options(**{**peer_actor_options("x"), "name": f"old-member-of-{name}"}).remote(
                    PeerOptions(group=name, member_id=MemberId(1), config=FAST),
                    PeerPlace(
                        data_dir=str(tmp_path / "elsewhere"), allow_unsafe_data_dir=False, open_storage=FileStorage.open
                    ),
                )
                try:
                    new = peer_of(name, 0)
                    eventually(lambda: ray.get(new.status.remote())["dropped"].get("foreign_cluster", 0) > 3)
                    genesis = ray.get(new.describe.remote())["genesis"]
                    assert "belongs to another cluster already" in ray.get(old.bootstrap.remote(genesis))
                    assert ray.get(old.get_state.remote())[1] is False
                    assert client.get("after") == 1
                finally:
                    ray.kill(old, no_restart=True)

    def test_what_was_cut_off_is_brought_to_its_end_and_a_person_is_asked(
        self, ray_cluster: None, data_dir: str, tmp_path: Path
    ) -> None:
        with nothing_left_of("alone") as name:
            with kv.start(name, members=1, data_dir=data_dir, config=CONFIG) as client:
                version = client.put("key", "value")
            assert kv.save_snapshot(name, str(tmp_path / "file")).member == 0
            kv.shutdown(name)
            words = ["recover", "--from", "0", "--force-new-cluster", "--data-dir", data_dir]
            said = run(name, *words, stdin="n\n")
            assert said.exit_code == 1
            assert "Aborted" in said.stderr
            assert sorted(path.name for path in (Path(data_dir) / name).iterdir()) == ["0"]
            cut_off(name, data_dir)
            with pytest.raises(StartTimeout, match="the recovery of member 0 was cut off"):
                kv.start(name, members=1, data_dir=data_dir, config=CONFIG, start_timeout_s=1.5)
            said = run(name, *words, stdin="y\n")
            assert said.exit_code == 0, said.output
            assert "an earlier recovery from member 0 was cut off" in said.stderr
            with kv.connect(name) as client:
                found = client.get_versioned("key")
                assert found is not None
                assert (found.value, found.version) == ("value", version)
                client.put("key", "again")
            said = run(name, *words, "--yes")
            assert (said.exit_code, said.stdout) == (1, "")
            assert "has a quorum" in said.stderr
