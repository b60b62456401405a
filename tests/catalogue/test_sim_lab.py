"""The simulated lab: that its words mean what they say, and that a row which fails says how it is played again."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.catalogue import sim_lab
from tests.catalogue.lab import Lab
from tests.catalogue.row import Row
from tests.catalogue.rows_elections import re_election
from tests.catalogue.sim_lab import SimLab, play_row
from tests.sim.checks import Violation
from tests.sim.watch import Watch
from tests.sim.world import WorldFailed

BEATS_S = 0.5
"""Some heartbeats, and no election."""


def nothing(lab: Lab) -> None:
    """A row that asks for nothing."""


def wrong(lab: Lab) -> None:
    """A row that is not so."""
    lab.check_one_leader()
    raise AssertionError("the row says no")


def lab_of(
    size: int = 3, *, seed: int = 1, play: Callable[[Lab], None] = nothing, log_bytes: int | None = None
) -> SimLab:
    return SimLab(Row(play, size=size, snapshot_log_bytes=log_bytes), seed)


class TestSeeds:
    def test_a_seed_is_a_group(self) -> None:
        row = Row(re_election, size=3)
        traces = [play_row(row, seed, kept=None).world.trace() for seed in (7, 7, 8)]
        assert traces[0] == traces[1] != traces[2]

    def test_a_row_that_fails_says_its_seed_and_how_it_is_played_again(self) -> None:
        with pytest.raises(WorldFailed) as failed:
            play_row(Row(wrong, size=3), 11)
        text = str(failed.value)
        assert "seed 11, event" in text
        assert "AssertionError: the row says no" in text
        assert "again: python -m tests.catalogue.sim_lab wrong 11" in text
        assert "last events:" in text

    def test_a_rule_that_is_broken_fails_the_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: Watch, *_: object) -> None:
            raise Violation("a rule", "what was seen")

        monkeypatch.setattr(Watch, "role_changed", broken)
        with pytest.raises(WorldFailed) as failed:
            play_row(Row(re_election, size=3), 3)
        assert failed.value.rule == "a rule"
        assert "again: python -m tests.catalogue.sim_lab re_election 3" in str(failed.value)

    def test_the_command_line_plays_one_row_again(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["sim_lab", "re_election", "4", "--lines", "5"])
        assert sim_lab.main() == 0
        assert len(capsys.readouterr().out.splitlines()) == 6
        monkeypatch.setattr(sim_lab, "row_named", lambda _: Row(wrong, size=3))
        assert sim_lab.main() == 1
        assert "raise AssertionError" in capsys.readouterr().out


class TestCommands:
    def test_the_leader_alone_takes_them_and_time_stands_still(self) -> None:
        lab = lab_of()
        leader = lab.check_one_leader()
        now_s = lab.now_s()
        answers = [lab.start(member, b"x") for member in lab.members]
        assert [member for member, index in enumerate(answers) if index is not None] == [leader]
        assert (lab.start(leader, b"y") or 0) == (answers[leader] or 0) + 1
        assert lab.now_s() == now_s
        lab.sleep(BEATS_S)
        assert [list(lab.applied_by(member).values()) for member in lab.members] == [[b"x", b"y"]] * 3

    def test_what_was_applied_is_there_after_a_restart_and_in_a_snapshot_of_another_member(self) -> None:
        lab = lab_of(log_bytes=1000)
        behind = lab.others(lab.check_one_leader())[0]
        lab.crash(behind)
        commands = {lab.one(b"command %d" % number, by=2): b"command %d" % number for number in range(50)}
        lab.restart(behind)
        lab.until(lambda: lab.applied_by(behind) == commands, 10.0, "all of it is there")
        counts = lab.world.watch.counts
        assert counts["snapshot fetched"] > 0
        assert counts["application restored from a snapshot"] > 0
        assert lab.snapshot_index(behind) > 0

    def test_a_member_that_is_down_says_nothing(self) -> None:
        lab = lab_of()
        lab.one(by=3)
        lab.crash(0)
        assert lab.down == {0}
        assert (lab.start(0, b"x"), lab.state_of(0), lab.applied_by(0), lab.snapshot_index(0)) == (None, None, {}, 0)
        lab.restart(0)
        assert lab.down == set()
        lab.one(by=3)

    def test_the_logs_grow_by_what_they_are_given(self) -> None:
        lab = lab_of()
        before_bytes = lab.log_bytes()
        lab.one(b"x" * 5000, by=3)
        assert before_bytes + 5000 < lab.log_bytes() < before_bytes + 6000


class TestLinks:
    def test_a_link_is_cut_in_its_direction_alone(self) -> None:
        lab = lab_of()
        leader = lab.check_one_leader()
        deaf, _ = lab.others(leader)
        lab.set_links({(leader, deaf)})
        lab.sleep(0.01)  # what was under way has arrived
        index = lab.start(leader, b"x")
        assert index is not None
        lab.sleep(BEATS_S)
        assert (index in lab.applied_by(deaf), lab.committed(index)) == (False, 2)
        rows = [row for row in lab.world.plan.counts() if row["cut"]]
        assert {(row["src"], row["dst"]) for row in rows} == {(leader + 1, deaf + 1)}

    def test_who_is_disconnected_comes_back(self) -> None:
        lab = lab_of()
        lab.one(by=3)
        alone = lab.others(lab.check_one_leader())[0]
        lab.disconnect(alone)
        index = lab.one(by=2)
        lab.sleep(BEATS_S)
        assert index not in lab.applied_by(alone)
        lab.connect(alone)
        lab.until(lambda: index in lab.applied_by(alone), 5.0, "it has caught up")

    def test_a_profile_stays_while_links_change(self) -> None:
        lab = lab_of()
        lab.set_network(unreliable=True, long_reordering=True)
        lab.disconnect(0)
        lab.connect(0)
        assert {rule.profile for rule in lab.world.plan.rules} == {"unreliable", "long_reordering", "long_delays"}
        lab.set_network(unreliable=False, long_reordering=False)
        assert {rule.profile for rule in lab.world.plan.rules} == {"long_delays"}

    def test_calls_and_their_bytes_are_counted(self) -> None:
        lab = lab_of()
        lab.one(by=3)
        calls, size_bytes = lab.rpc_count(), lab.rpc_bytes()
        lab.sleep(BEATS_S)
        assert 4 <= lab.rpc_count() - calls <= 10, "two followers, a heartbeat in 120 ms"
        size_bytes = lab.rpc_bytes()
        lab.one(b"x" * 5000, by=3)
        assert 10_000 < lab.rpc_bytes() - size_bytes < 12_000
