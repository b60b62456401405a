"""The summary counts every operation and takes its quantiles from the acknowledged ones, exactly."""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import frame_from_rows, summary
from analysis.latency import nearest_rank

MS = 1_000_000


def op(number: int, name: str = "put", status: str = "ok", invoke_ms: int = 0, latency_ms: int | None = 1) -> Any:
    return {
        "op_id": number,
        "client": f"c{number % 2}",
        "op": name,
        "status": status,
        "t_invoke": invoke_ms * MS,
        "t_return": None if latency_ms is None else (invoke_ms + latency_ms) * MS,
    }


def only_row(table: pd.DataFrame) -> dict[str, Any]:
    assert len(table) == 1
    return {str(name): value for name, value in table.iloc[0].items()}


class TestSummary:
    def test_quantiles_are_latencies_that_were_observed(self) -> None:
        latencies = list(range(1, 101))
        random.Random(1).shuffle(latencies)
        row = only_row(summary(frame_from_rows("ops", [op(n, latency_ms=n) for n in latencies])))
        assert (row["p50_ms"], row["p90_ms"], row["p99_ms"], row["max_ms"]) == (50.0, 90.0, 99.0, 100.0)

    def test_what_was_not_acknowledged_is_counted_and_moves_no_quantile(self) -> None:
        rows = [op(1, latency_ms=10), op(2, status="not_done", latency_ms=500), op(3, status="unknown", latency_ms=900)]
        row = only_row(summary(frame_from_rows("ops", [*rows, op(4, status="unknown", latency_ms=None)])))
        assert (row["count"], row["ok"], row["not_done"], row["unknown"]) == (4, 1, 1, 2)
        assert row["max_ms"] == 10.0

    def test_rate_is_acknowledged_operations_from_first_invocation_to_last_return(self) -> None:
        rows = [op(n, invoke_ms=1000 + 100 * n, latency_ms=100) for n in range(20)]
        row = only_row(
            summary(frame_from_rows("ops", [*rows, op(99, status="unknown", invoke_ms=1000, latency_ms=4000)]))
        )
        assert row["rate"] == 5.0

    def test_an_operation_that_never_returned_counts_up_to_its_invocation(self) -> None:
        rows = [op(1, latency_ms=500), op(2, status="unknown", invoke_ms=2000, latency_ms=None)]
        assert only_row(summary(frame_from_rows("ops", rows)))["rate"] == 0.5

    def test_without_an_acknowledgement_there_is_no_quantile_and_the_rate_is_zero(self) -> None:
        row = only_row(summary(frame_from_rows("ops", [op(1, status="unknown", latency_ms=1000)])))
        assert row["rate"] == 0.0
        assert pd.isna(row["p50_ms"])
        assert pd.isna(row["max_ms"])

    def test_an_operation_that_took_no_time_has_no_rate(self) -> None:
        assert pd.isna(only_row(summary(frame_from_rows("ops", [op(1, latency_ms=0)])))["rate"])

    def test_one_row_per_operation_by_name_or_per_whatever_is_asked(self) -> None:
        ops = frame_from_rows("ops", [op(1, "put"), op(2, "get"), op(3, "put"), op(4, "get")])
        assert list(summary(ops)["op"]) == ["get", "put"]
        by_both = summary(ops, by=["op", "client"])
        assert list(zip(by_both["op"], by_both["client"], by_both["count"], strict=True)) == [
            ("get", "c0", 2),
            ("put", "c1", 2),
        ]

    def test_rows_without_a_value_to_group_by_are_not_lost(self) -> None:
        table = summary(frame_from_rows("ops", [op(1), op(2) | {"key": "k"}]), by=["key"])
        assert table["count"].sum() == 2

    def test_no_operations_give_no_rows_and_all_columns(self) -> None:
        table = summary(frame_from_rows("ops", []))
        assert table.empty
        assert list(table.columns[:5]) == ["op", "count", "ok", "not_done", "unknown"]

    @pytest.mark.parametrize("by", [[], ["colour"]])
    def test_a_column_that_is_not_there_is_refused(self, by: list[str]) -> None:
        with pytest.raises(ValueError, match="column"):
            summary(frame_from_rows("ops", [op(1)]), by=by)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_nearest_rank_is_the_smallest_value_that_the_share_does_not_exceed(values: list[int], share: float) -> None:
    def share_up_to(bound: float) -> float:
        return sum(value <= bound for value in values) / len(values)

    dumb = min(value for value in values if share_up_to(value) >= share)
    assert nearest_rank(pd.Series(values, dtype="float64"), share) == dumb
