"""The arithmetic of the benches: ratios in turns, targets, the gap after a kill, what is lost, which group is whole."""

from __future__ import annotations

import dataclasses
import queue

import pytest

import kv
from kv.app.bench_failover import key_of, lost_puts
from kv.app.bench_load import Paced
from kv.app.bench_snapshot import Pause, growth
from kv.app.bench_soak import CONFIG, Soak, elections, log_bytes, slope_mb_per_hour
from kv.app.figures import Figure, first_after, markdown_row, median_ratio, table
from kv.app.members import Killed, is_whole
from kv.app.tally import Tally
from raft_actors.cluster.group import MemberStatus


class TestFigures:
    @pytest.mark.parametrize(
        ("figure", "is_met"),
        [
            (Figure(name="n", value=6.5, at_most=6.5), True),
            (Figure(name="n", value=6.6, at_most=6.5), False),
            (Figure(name="n", value=1.0, at_least=1.0), True),
            (Figure(name="n", value=0.9, at_least=1.0), False),
            (Figure(name="n", value=None, at_most=1.0), False),
            (Figure(name="n", value=0.0), None),
        ],
    )
    def test_a_target_is_met_missed_or_not_there_and_what_was_not_measured_is_missed(
        self, figure: Figure, is_met: bool | None
    ) -> None:
        assert figure.is_met is is_met

    def test_a_ratio_is_taken_turn_by_turn_so_that_a_slow_turn_slows_both(self) -> None:
        assert median_ratio([10.0, 100.0, 30.0], [5.0, 50.0, 10.0]) == 2.0

    def test_a_table_names_value_target_and_verdict(self) -> None:
        figures = [Figure(name="ratio", value=7.25, at_most=6.5), Figure(name="puts", value=12345.6, unit="/s")]
        assert table(figures).splitlines() == ["ratio  7.25       at most 6.5  MISSED", "puts   12,346 /s"]

    @pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (6.504, "6.5"), (999.6, "1,000"), (12345.6, "12,346")])
    def test_a_number_is_readable_at_every_size(self, value: float, text: str) -> None:
        assert str(Figure(name="n", value=value)) == text

    def test_a_markdown_row_holds_what_was_measured_and_where(self) -> None:
        row = markdown_row("quick", [Figure(name="ratio", value=2.0, at_most=6.5)], {"cores": "2 cores"})
        assert row.endswith("| quick | ratio 2 (met) | 2 cores |")


class TestGapAfterAKill:
    def test_it_ends_with_the_first_acknowledgement_of_a_put_invoked_after_the_kill(self) -> None:
        ms = 1_000_000
        acknowledged = [
            (90 * ms, 110 * ms),  # invoked before the kill: a late answer of the old leader may be meant
            (120 * ms, 900 * ms),
            (130 * ms, 850 * ms),
        ]
        assert first_after(100 * ms, acknowledged) == 750.0

    def test_without_such_a_put_there_is_no_end(self) -> None:
        assert first_after(100, [(90, 110)]) is None


def test_an_acknowledged_put_that_is_missing_or_another_one_is_lost() -> None:
    there = {key_of(1): 1, key_of(2): 3}
    assert lost_puts({1: None, 2: None, 3: None}, lambda keys: there) == [key_of(2), key_of(3)]


# -- members ---------------------------------------------------------------------------------------------------------


def member(number: int, **said: object) -> MemberStatus:
    row = MemberStatus(
        id=number,
        state="running",
        role="leader" if number == 1 else "follower",
        term=4,
        leader=1,
        commit_index=9,
        last_applied=9,
        log_bytes=100,
        server_pid=50 + number,
    )
    return dataclasses.replace(row, **said)  # type: ignore[arg-type]


def status(*members: MemberStatus) -> kv.Status:
    return kv.Status(name="s", members=members)


class TestWhole:
    def test_members_that_run_under_one_leader_and_have_caught_up_are_whole(self) -> None:
        later = member(1, commit_index=12, last_applied=12)
        assert is_whole(status(member(0), later, member(2)), members=3, committed=9)

    @pytest.mark.parametrize(
        "said",
        [{"state": "starting"}, {"leader": 2}, {"last_applied": 8}, {"last_applied": None}, {"server_pid": None}],
    )
    def test_with_one_that_is_behind_or_away_or_follows_another_they_are_not(self, said: dict[str, object]) -> None:
        assert not is_whole(status(member(0, **said), member(1), member(2)), members=3, committed=9)

    def test_without_a_member_or_a_leader_they_are_not(self) -> None:
        assert not is_whole(status(member(0), member(1)), members=3, committed=0)
        assert not is_whole(status(member(0), member(2)), members=2, committed=0)

    def test_a_leader_is_replaced_when_a_later_term_has_one(self) -> None:
        killed = Killed(member=1, pid=1, term=4, at_ns=0)
        assert not killed.is_replaced(status(member(0), member(1)))  # Ray has not noticed yet
        assert not killed.is_replaced(status(member(0, term=5), member(2)))
        assert killed.is_replaced(status(member(0, term=5, role="leader"), member(1)))


class TestSoak:
    def test_elections_are_terms_that_began(self) -> None:
        before, after = status(member(0), member(1)), status(member(0), member(1, term=6, log_bytes=300))
        assert elections(before, before) == 0
        assert elections(before, after) == 2
        assert log_bytes(after) == 300

    def test_a_stall_beyond_the_shortest_election_timeout_is_starvation(self) -> None:
        limit_ms = CONFIG.raft.election_timeout_ms_min
        assert not Soak(figures=[], elections=1, stall_ms_max=limit_ms).is_starved
        assert Soak(figures=[], elections=1, stall_ms_max=limit_ms + 1).is_starved


def test_a_look_at_the_tally_tells_all_outcomes_and_what_is_recent() -> None:
    tally = Tally()
    tally.add("put", "ok", 2.0)
    tally.add("put", "ok", 4.0)
    tally.add("put", "unknown", 5000.0)
    first, second = tally.look()["put"], tally.look()["put"]
    assert (first.ok, first.unknown, first.not_done, first.recent, first.recent_median_ms) == (2, 1, 0, 2, 3.0)
    assert (second.ok, second.unknown, second.recent, second.recent_median_ms) == (2, 1, 0, None)


class TestSnapshots:
    def test_growth_is_the_ratio_of_the_stalls(self) -> None:
        small, large = (Pause(keys=keys, figures=[], stall_ms=stall) for keys, stall in ((1000, 10.0), (4000, 13.0)))
        figure = growth(small, large)
        assert figure.value == pytest.approx(1.3)
        assert figure.is_met is False
        assert growth(dataclasses.replace(small, stall_ms=0.0), large).is_met is False

    def test_the_slope_is_that_of_the_line_through_the_samples(self) -> None:
        samples = [(second, 50e6 + second * 1000 + noise) for second, noise in ((0, 5), (10, -5), (20, -5), (30, 5))]
        assert slope_mb_per_hour(samples) == pytest.approx(3.6, rel=0.01)
        assert slope_mb_per_hour(samples[:1]) == 0.0


def test_a_paced_load_begins_one_after_the_other_whatever_becomes_of_them() -> None:
    begun: queue.SimpleQueue[int] = queue.SimpleQueue()
    with Paced(begun.put, per_s=1000) as load:
        assert [begun.get(timeout=10) for _ in range(3)] == [1, 2, 3]
    assert not load._thread.is_alive()
