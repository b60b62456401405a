"""The gap in acknowledged writes, rule by rule as analysis/availability.py numbers them. Times are in milliseconds."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis import frame_from_rows, leader_gaps
from raft_actors.recording import RunDamaged

MS = 1_000_000


def write(invoke: int, returned: int | None, status: str = "ok", *, term: int | None = None, op: str = "put") -> Any:
    return {
        "op_id": f"{invoke}-{returned}-{status}",
        "client": "c",
        "op": op,
        "status": status,
        "t_invoke": invoke * MS,
        "t_return": None if returned is None else returned * MS,
        "term": term,
    }


def leader(time: int, member: int, term: int) -> Any:
    return {"time": time * MS, "member": member, "kind": "leader", "details": {"term": term}}


def gaps(ops: list[Any], events: list[Any], *, t_end: int | None = None) -> pd.DataFrame:
    end_ns = None if t_end is None else t_end * MS
    return leader_gaps(frame_from_rows("ops", ops), frame_from_rows("events", events), t_end=end_ns)


def only(table: pd.DataFrame) -> dict[str, Any]:
    assert len(table) == 1
    return {str(name): value for name, value in table.iloc[0].items()}


STEADY = [write(t, t + 5) for t in range(0, 100, 10)]  # the last one is acknowledged at 95
AFTER = [write(t, t + 5) for t in range(1000, 1100, 10)]  # the first one is acknowledged at 1005


class TestOneChange:
    def test_the_gap_is_from_the_last_to_the_first_acknowledgement(self) -> None:
        tries = [write(100, 400, "unknown"), write(400, 700, "not_done"), write(700, 900, "unknown")]
        row = only(gaps([*STEADY, *tries, *AFTER], [leader(800, 1, 2)]))
        assert (row["term"], row["leader_after"], row["recovered"]) == (2, "1", True)
        assert (row["last_ok_before"], row["first_ok_after"]) == (95 * MS, 1005 * MS)
        assert row["gap_ms"] == 905  # from 100, when the next write was invoked (rule 3)
        assert (row["n_unknown"], row["n_not_done"]) == (2, 1)

    def test_it_begins_with_the_last_acknowledgement_when_others_were_under_way_then(self) -> None:
        row = only(gaps([*STEADY, write(93, 500, "unknown"), *AFTER], [leader(800, 1, 2)]))
        assert row["gap_ms"] == 1005 - 95

    def test_reads_neither_open_nor_end_it(self) -> None:
        reads = [write(t, t + 1, op="get") for t in range(0, 1000, 50)]
        assert only(gaps([*STEADY, *reads, write(100, 900, "unknown"), *AFTER], [leader(800, 1, 2)]))["gap_ms"] == 905

    def test_idle_time_is_no_outage(self) -> None:
        row = only(gaps([*STEADY, *AFTER], [leader(800, 1, 2)]))
        assert row["gap_ms"] == 5  # the first write after the idle time waited for 5 ms
        assert row["last_ok_before"] == 95 * MS

    def test_outcomes_elsewhere_in_the_run_are_not_counted(self) -> None:
        others = [write(0, 50, "unknown"), write(1050, 1090, "not_done"), write(30, None, "unknown")]
        row = only(gaps([*STEADY, *others, write(100, 900, "not_done"), *AFTER], [leader(800, 1, 2)]))
        assert (row["n_unknown"], row["n_not_done"]) == (0, 1)

    def test_a_client_that_never_had_an_answer_is_counted_where_it_asked(self) -> None:
        row = only(gaps([*STEADY, write(200, None, "unknown"), *AFTER], [leader(800, 1, 2)]))
        assert row["n_unknown"] == 1
        assert row["gap_ms"] == 805


class TestWhatEndsAGap:
    def test_a_late_answer_of_the_former_leader_does_not(self) -> None:
        late = write(90, 900)
        assert only(gaps([*STEADY, late, *AFTER], [leader(800, 1, 2)]))["first_ok_after"] == 1005 * MS

    def test_nor_does_one_that_names_the_former_term(self) -> None:
        late = write(200, 900, term=1)
        assert only(gaps([*STEADY, late, *AFTER], [leader(800, 1, 2)]))["first_ok_after"] == 1005 * MS

    def test_a_write_that_waited_all_the_time_does_when_the_new_term_acknowledged_it(self) -> None:
        waited = write(90, 900, term=2)
        row = only(gaps([*STEADY, waited, *AFTER], [leader(800, 1, 2)]))
        assert row["first_ok_after"] == 900 * MS
        assert row["gap_ms"] == 900 - 95

    def test_an_event_that_comes_late_is_placed_before_the_first_acknowledgement_of_its_term(self) -> None:
        early = write(100, 900, term=2)
        row = only(gaps([*STEADY, early, *AFTER], [leader(950, 1, 2)]))
        assert (row["first_ok_after"], row["gap_ms"]) == (900 * MS, 800)

    def test_acknowledgements_of_both_leaders_at_one_moment_leave_no_gap(self) -> None:
        row = only(gaps([write(0, 10, term=1), write(0, 10, term=2), write(50, 55, term=2)], [leader(10, 1, 2)]))
        assert pd.isna(row["gap_ms"])


class TestTheEdgesOfARun:
    def test_an_outage_at_the_start_begins_with_the_first_attempt(self) -> None:
        row = only(gaps([write(100, 600, "not_done"), *AFTER], [leader(800, 1, 2)]))
        assert pd.isna(row["last_ok_before"])
        assert pd.isna(row["leader_before"])
        assert (row["gap_ms"], row["n_not_done"]) == (905, 1)

    def test_an_outage_at_the_end_is_closed_by_the_end_of_the_run(self) -> None:
        row = only(gaps([*STEADY, write(100, 900, "unknown")], [leader(800, 1, 2)], t_end=3000))
        assert not row["recovered"]
        assert pd.isna(row["first_ok_after"])
        assert (row["gap_ms"], row["n_unknown"]) == (2900, 1)

    def test_without_a_known_end_the_last_row_is_the_end(self) -> None:
        events = [leader(800, 1, 2), {"time": 2100 * MS, "kind": "state"}]
        assert only(gaps([*STEADY, write(100, 900, "unknown")], events))["gap_ms"] == 2000

    def test_a_change_after_everybody_stopped_writing_has_no_gap(self) -> None:
        row = only(gaps(STEADY, [leader(800, 1, 2)], t_end=3000))
        assert pd.isna(row["gap_ms"])
        assert row["last_ok_before"] == 95 * MS

    def test_a_run_without_any_acknowledgement_is_one_gap(self) -> None:
        row = only(gaps([write(100, 900, "unknown")], [leader(800, 1, 2)], t_end=1000))
        assert (row["gap_ms"], row["recovered"]) == (900, False)

    def test_no_writes_or_no_leaders_give_no_gap_and_all_columns(self) -> None:
        assert pd.isna(only(gaps([], [leader(800, 1, 2)]))["gap_ms"])
        none = gaps(STEADY, [])
        assert none.empty
        assert list(none.columns) == list(gaps([], [leader(1, 0, 1)]).columns)
        assert str(none["gap_ms"].dtype) == "float64"


class TestSeveralChanges:
    def test_each_term_is_one_row_that_names_the_leader_before(self) -> None:
        events = [leader(2000, 2, 3), leader(0, 0, 1), leader(800, 1, 2), leader(801, 1, 2)]
        table = gaps([*STEADY, write(100, 900, "unknown"), *AFTER, write(1100, 2500)], events)
        assert list(table["term"]) == [1, 2, 3]
        assert list(table["leader_before"].fillna("-")) == ["-", "0", "1"]
        assert list(table["leader_after"]) == ["0", "1", "2"]
        assert list(table["gap_ms"]) == [5, 905, 1400]

    def test_elections_without_an_acknowledgement_between_them_share_one_gap(self) -> None:
        table = gaps([*STEADY, write(100, 950, "unknown"), *AFTER], [leader(500, 1, 2), leader(800, 2, 3)])
        assert list(table["gap_ms"]) == [905, 905]
        assert table["last_ok_before"].nunique() == 1

    @pytest.mark.parametrize(
        "event",
        [
            {"time": 1, "kind": "leader", "details": {"term": 1}},
            {"time": 1, "member": 0, "kind": "leader"},
            {"time": 1, "member": 0, "kind": "leader", "details": {"term": "1"}},
        ],
    )
    def test_a_leader_without_member_or_term_is_refused(self, event: Any) -> None:
        with pytest.raises(RunDamaged, match="needs its member"):
            gaps(STEADY, [event])
