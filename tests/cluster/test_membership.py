"""Members that come and go on real Ray, under load: nothing acknowledged is lost, and every refusal has a name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from click.testing import CliRunner

import kv
import raft_actors
from kv.app.cli import cli
from raft_actors.cluster.group import MemberStatus
from raft_actors.cluster.membership import Members
from tests.cluster.world import (
    FAST,
    PATIENCE_S,
    Load,
    Tally,
    actors_of,
    eventually,
    keeper_of,
    kill_process,
    nothing_left_of,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CONFIG = kv.Config(raft=FAST)


def status_of(name: str, member_id: int) -> MemberStatus:
    return next(member for member in kv.status(name).members if member.id == member_id)


def shape(members: Members) -> list[tuple[int, str]]:
    return [(row.id, row.is_) for row in members.list()]


VOTERS = [(0, "voter"), (1, "voter"), (2, "voter")]


def follower(members: Members) -> int:
    return next(row.id for row in members.list() if not row.leads)


class Counted:
    """A group that counts commands, under load; in the end each acknowledged one is there exactly once."""

    def __init__(self, group: raft_actors.Group) -> None:
        self.group = group
        self.members = group.membership

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.group.query(b"", timeout_s=20.0))
        return found


@pytest.fixture
def counted(group_name: str, data_dir: str) -> Iterator[Counted]:
    with raft_actors.start(group_name, Tally, data_dir=data_dir, config=FAST) as group:
        yield Counted(group)


def load(counted: Counted) -> Load:
    return Load(lambda label: counted.group.submit(label.encode(), timeout_s=10.0))


class TestAMemberMoreAMemberLess:
    def test_the_group_grows_and_shrinks_and_its_clients_follow(self, counted: Counted) -> None:
        said: list[str] = []
        with load(counted) as running:
            assert counted.members.add(on_progress=said.append) == 3
            assert shape(counted.members) == [*VOTERS, (3, "voter")]
            assert any("behind" in sentence for sentence in said), said
            running.wait_for_more()
            # the client has never heard of 3, and follows a hint to it
            assert counted.members.move_leader(3) == 3
            running.wait_for_more()
            counted.members.remove(0)
            assert shape(counted.members) == [(1, "voter"), (2, "voter"), (3, "voter")]
            assert f"raft:{counted.group.name}:peer:0" not in actors_of(counted.group.name)
            running.wait_for_more()
            counted.members.remove(3)  # the leader itself: another one leads first
            running.wait_for_more()
        running.check(counted.counts())
        assert running.unknown == [], "a leader that is removed hands over before it goes"
        assert shape(counted.members) == [(1, "voter"), (2, "voter")]

    def test_what_was_added_is_there_after_a_restart_of_the_whole_group(self, group_name: str, data_dir: str) -> None:
        with kv.start(group_name, data_dir=data_dir, config=CONFIG) as store:
            version = store.put("before", 1)
            kv.membership(group_name).add(7)
            kv.membership(group_name).remove(1)
        kv.shutdown(group_name)
        with pytest.raises(raft_actors.OptionsDiffer, match=r"members: given 4, running 3.*raft-kv member add"):
            kv.start(group_name, members=4, data_dir=data_dir, config=CONFIG)
        with kv.start(group_name, data_dir=data_dir, config=CONFIG) as store:
            assert store.get("before") == 1
            assert store.put("after", 2, timeout_s=20.0) > version
            assert eventually(lambda: shape(kv.membership(group_name))) == [(0, "voter"), (2, "voter"), (7, "voter")]
        assert sorted(os.listdir(Path(data_dir) / group_name)) == ["0", "1", "2", "7"], "a removed member's data stays"
        kv.shutdown(group_name, delete_data=True)
        assert not (Path(data_dir) / group_name).exists()


class TestALostDisk:
    """A3, D9, F14: what comes back empty counts nowhere, until the log says otherwise twice."""

    def test_is_replaced_with_one_call_while_the_others_serve(self, counted: Counted, data_dir: str) -> None:
        name, members = counted.group.name, counted.members
        with load(counted) as running:
            lost = follower(members)
            before = status_of(name, lost)
            shutil.rmtree(Path(data_dir) / name / str(lost))
            kill_process(before.pid)
            eventually(lambda: status_of(name, lost).state == "uninitialised")
            running.wait_for_more()
            assert shape(members) == VOTERS, "the log still means the lost directory"
            said: list[str] = []
            members.replace(lost, on_progress=said.append)
            assert said[0].startswith("the place is vacant"), said
            assert shape(members) == VOTERS
            after = status_of(name, lost)
            assert (after.state, after.directory_id != before.directory_id) == ("running", True)
            # the new directory makes a majority with one other: it has everything
            other = next(row.id for row in members.list() if not row.leads and row.id != lost)
            stopped = psutil.Process(status_of(name, other).pid)
            stopped.suspend()
            try:
                running.wait_for_more()
            finally:
                stopped.resume()
        running.check(counted.counts())

    def test_is_replaced_unasked_where_that_was_wanted(self, group_name: str, data_dir: str) -> None:
        with raft_actors.start(group_name, Tally, data_dir=data_dir, config=FAST, replace_after_s=5) as group:
            counted = Counted(group)
            with load(counted) as running:
                lost = follower(counted.members)
                before = status_of(group_name, lost)
                shutil.rmtree(Path(data_dir) / group_name / str(lost))
                kill_process(before.pid)
                eventually(
                    lambda: (now := status_of(group_name, lost)).voter and now.directory_id != before.directory_id,
                    within_s=2 * PATIENCE_S,  # it is patient itself first
                )
            running.check(counted.counts())
            assert shape(counted.members) == VOTERS

    def test_whoever_dies_in_between_the_log_says_what_is_missing(self, counted: Counted, data_dir: str) -> None:
        """The keeper is killed, and the caller gone, between the two entries (ADR 13)."""
        name, members = counted.group.name, counted.members
        lost = follower(members)
        keeper = psutil.Process(eventually(lambda: keeper_pid(name)))
        keeper.suspend()
        with pytest.raises(raft_actors.ChangeUnderWay, match="vacant"):
            members.replace(lost, timeout_s=2.0)
        assert (lost, "vacant") in shape(members)
        keeper.kill()
        eventually(lambda: shape(members) == VOTERS)
        aside = Path(data_dir) / name / f"{lost}.aside"
        assert aside.is_dir(), "what lay there was never seated again, and not deleted either"

    def test_a_stopped_process_of_the_lost_disk_wakes_up_and_changes_nothing(
        self, counted: Counted, data_dir: str
    ) -> None:
        """A zombie: its disk lies aside, its place has a successor."""
        name, members = counted.group.name, counted.members
        with load(counted) as running:
            lost = follower(members)
            before = status_of(name, lost)
            zombie = psutil.Process(before.pid)
            zombie.suspend()
            members.replace(lost)
            if zombie.is_running():
                zombie.resume()
            running.wait_for_more()
            assert status_of(name, lost).directory_id != before.directory_id
            assert shape(members) == VOTERS
        running.check(counted.counts())


def keeper_pid(name: str) -> int:
    keeper: Any = keeper_of(name)
    pid: int = ray.get(keeper.__ray_call__.remote(lambda _: os.getpid()), timeout=10.0)
    return pid


@pytest.fixture(scope="module")
def pair(ray_cluster: None, module_data_dir: str) -> Iterator[str]:
    """A store of two members that nobody changes."""
    with nothing_left_of("refusals") as name:
        kv.start(name, members=2, data_dir=module_data_dir, config=CONFIG).close()
        yield name


class TestRefusals:
    """Each says why by its name, and changes nothing."""

    @pytest.mark.parametrize(
        ("asked", "refusal"),
        [
            (lambda members: members.add(0), raft_actors.AlreadyMember),
            (lambda members: members.remove(9), raft_actors.NotMember),
            (lambda members: members.replace(9), raft_actors.NotMember),
            (lambda members: members.promote(1), raft_actors.AlreadyVoter),
            (lambda members: members.move_leader(9), raft_actors.NotMember),
        ],
        ids=["twice", "remove nobody", "replace nobody", "promote a voter", "lead who is not there"],
    )
    def test_by_name(self, pair: str, asked: Any, refusal: type[Exception]) -> None:
        members = kv.membership(pair)
        before = shape(members)
        with pytest.raises(refusal):
            asked(members)
        assert shape(members) == before

    def test_of_a_node_that_is_not_there_and_a_group_that_does_not_run(self, pair: str) -> None:
        before = shape(kv.membership(pair))
        for call in (kv.membership(pair).add, lambda **more: kv.membership(pair).replace(1, **more)):
            with pytest.raises(raft_actors.NoSuchNode, match="rack=nowhere"):
                call(node="rack=nowhere")
        assert shape(kv.membership(pair)) == before
        with pytest.raises(raft_actors.UnknownGroup):
            kv.membership("nobody").list()

    def test_the_last_voter_and_one_without_whom_too_few_answer(self, group_name: str, data_dir: str) -> None:
        with kv.start(group_name, members=3, data_dir=data_dir, config=CONFIG) as store:
            members = kv.membership(group_name)
            leader = next(row.id for row in members.list() if row.leads)
            stopped, other = (row.id for row in members.list() if not row.leads)
            process = psutil.Process(status_of(group_name, stopped).pid)
            process.suspend()
            try:
                eventually(lambda: (members.list()[stopped].silent_ms or 0) > FAST.election_timeout_ms_min)
                with pytest.raises(raft_actors.TooFewLeft):
                    members.remove(other)
                members.remove(stopped, timeout_s=5.0)
            finally:
                process.resume() if process.is_running() else None
            members.remove(other)
            with pytest.raises(raft_actors.LastVoter):
                members.remove(leader)
            assert store.put("still", 1, timeout_s=10.0)


class TestTheCommands:
    def test_all_of_them(self, group_name: str, data_dir: str) -> None:
        kv.start(group_name, data_dir=data_dir, config=CONFIG).close()

        def run(*words: str, code: int = 0) -> tuple[str, str]:
            result = CliRunner().invoke(cli, ["--name", group_name, *words, "--format", "json"], prog_name="raft-kv")
            assert result.exit_code == code, result.output
            return result.stdout, result.stderr

        rows = json.loads(run("member", "list")[0])
        assert [(row["id"], row["is"], row["state"]) for row in rows] == [(n, "voter", "running") for n in range(3)]
        out, talk = run("member", "add")
        assert "member 3 of store" in talk
        assert [row["id"] for row in json.loads(out)] == [0, 1, 2, 3]
        assert "votes already" in run("member", "promote", "3", code=1)[1]
        assert "leads" in run("move-leader", "2")[1]
        assert "another directory" in run("member", "replace", "2")[1]
        out, talk = run("member", "remove", "3")
        assert "its data was left" in talk
        assert [row["id"] for row in json.loads(out)] == [0, 1, 2]
        assert "no member 3" in run("member", "replace", "3", code=1)[1]
