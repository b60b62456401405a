"""A run is judged: by both judges, and only if it is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import analysis
from analysis import __main__ as command_line
from analysis.linearizability import Judgement
from raft_actors.recording import Row, RunFacts, RunWriter
from raft_actors.recording.fingerprints import Fingerprint

A, B = (str(Fingerprint.of("str", body)) for body in (b"a", b"b"))


def op(op: str, at: int, key: str | None = "k", status: str = "ok", **more: Any) -> Row:
    """From `at` to `at` + 5."""
    op_id = f"{op} {key} {at}"
    return {"op_id": op_id, "client": "c", "op": op, "key": key, "status": status, "t_invoke": at} | {
        "t_return": at + 5,
        **more,
    }


PUT, AGAIN = op("put", 0, version=1, value=A), op("put", 10, version=2, value=B)
GOOD = [PUT, AGAIN, op("get", 20, version=2, value=B, found=True, consistency="linearizable")]
STALE = op("get", 20, version=1, value=A, found=True, consistency="linearizable")
LATE = STALE | {"op_id": "late", "t_invoke": 30, "t_return": 31}
TORN = [
    op("put_many", 0, None, parts={"a": [1, A], "b": [2, A]}),
    op("put_many", 10, None, parts={"a": [3, B], "b": [4, B]}),
    op("get_many", 8, None, parts={"a": [3, B], "b": [2, A]}),
]
"""Each key by itself makes sense."""


def recorded(path: Path, rows: Sequence[Row], faults: Sequence[Row] = ()) -> Path:
    with RunWriter(path, RunFacts(cluster_size=3)) as writer:
        for row in rows:
            writer.record("ops", dict(row))
        for fault in faults:
            writer.record("faults", dict(fault))
    return path


def checked(path: Path, **options: Any) -> analysis.RunVerdict:
    return analysis.check_run(analysis.load_run(path), **options)


class TestVerdicts:
    @pytest.mark.parametrize("parquet", [False, True])
    def test_what_was_told_has_an_order(self, tmp_path: Path, parquet: bool) -> None:
        run = recorded(tmp_path / "run", GOOD)
        assert not parquet or analysis.close_run(run)
        verdict = checked(run)
        assert (verdict.judgement, verdict.reasons, verdict.call_count) == (Judgement.OK, (), 3)
        assert verdict.failing_rows().empty

    @pytest.mark.parametrize("parquet", [False, True])
    def test_it_has_none_and_the_calls_say_why(self, tmp_path: Path, parquet: bool) -> None:
        run = recorded(tmp_path / "run", [*GOOD, op("get", 30, version=1, value=A, found=True)])
        assert not parquet or analysis.close_run(run)
        verdict = checked(run)
        assert verdict.judgement is Judgement.ILLEGAL
        assert "key 'k': its calls have no order" in verdict.reasons
        assert set(verdict.failing_rows()["op_id"]) == {"put k 0", "put k 10", "get k 20", "get k 30"}

    def test_values_count_not_versions_alone(self, tmp_path: Path) -> None:
        verdict = checked(recorded(tmp_path / "run", [PUT, op("get", 10, version=1, value=B, found=True)]))
        assert verdict.judgement is Judgement.ILLEGAL

    def test_a_batch_that_was_seen_in_halves_is_found_though_each_key_makes_sense(self, tmp_path: Path) -> None:
        verdict = checked(recorded(tmp_path / "run", TORN))
        assert verdict.illegal == ()
        assert verdict.judgement is Judgement.ILLEGAL
        assert not verdict.failing_rows().empty
        late = [*TORN[:2], op("get_many", 8, None, parts={"a": [3, B], "b": [4, B]})]
        assert checked(recorded(tmp_path / "twin", late)).judgement is Judgement.OK

    def test_a_key_that_one_judge_cannot_decide_the_other_may(self, tmp_path: Path) -> None:
        deleted = [*GOOD, op("delete", 30, found=True), op("get", 40, found=False, consistency="linearizable")]
        verdict = checked(recorded(tmp_path / "run", deleted))
        assert (verdict.order.judgement, verdict.judgement) == (Judgement.UNKNOWN, Judgement.OK)

    def test_a_key_that_no_judge_decides_is_no_success(self, tmp_path: Path) -> None:
        """Twenty removals of unknown outcome explain twenty absences in any order, and none explains the last one."""
        rows = [op("delete", 0, status="unknown") | {"op_id": f"d{number}"} for number in range(20)]
        for number in range(21):
            rows.append(op("put", 20 * number, version=2 * number + 1, value=A))
            rows.append(op("get", 20 * number + 10, found=False, consistency="linearizable"))
        verdict = checked(recorded(tmp_path / "run", rows), time_budget_s=0.0)
        assert verdict.judgement is Judgement.UNKNOWN
        assert verdict.reasons == ("key 'k': no judge decided it, give it more time",)

    def test_a_store_that_was_there_before_may_have_held_anything(self, tmp_path: Path) -> None:
        read = op("get", 0, version=7, value=A, found=True)
        verdict = checked(recorded(tmp_path / "run", [read, op("put", 10, version=8, value=B)]))
        assert (verdict.judgement, verdict.begins_empty) == (Judgement.OK, False)
        verdict = checked(recorded(tmp_path / "made", [read, op("put", 10, "l", version=1, value=B)]))
        assert (verdict.judgement, verdict.begins_empty) == (Judgement.ILLEGAL, True)

    def test_stale_reads_promise_nothing(self, tmp_path: Path) -> None:
        rows = [*GOOD, STALE | {"consistency": "stale", "t_invoke": 30, "t_return": 31, "op_id": "old"}]
        assert checked(recorded(tmp_path / "run", rows)).judgement is Judgement.OK

    def test_progress_is_told(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        rows = [op("put", number, f"k{number}", version=number + 1) for number in range(3)]
        checked(recorded(tmp_path / "run", rows), progress=lambda done, of: told.append((done, of)))
        assert told == [(1, 3), (2, 3), (3, 3)]


class TestRunsThatAreNotWhole:
    """A read may have seen what no row tells, so nothing is a verdict there."""

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"closed": False}, "cut off"),
            ({"dropped": {"ops": 3}}, "3 rows of ops were dropped"),
            ({"malformed": {"ops": 2}}, "2 rows of ops were malformed"),
            ({"rows": {"ops": 9}}, "9 rows of ops were written, 3 are here"),
        ],
    )
    @pytest.mark.parametrize("rows", [GOOD, [PUT, AGAIN, STALE]], ids=["legal", "illegal"])
    def test_rows_are_missing(self, tmp_path: Path, rows: list[Row], change: Row, reason: str) -> None:
        path = recorded(tmp_path / "run", rows)
        meta = json.loads((path / "meta.json").read_text())
        (path / "meta.json").write_text(json.dumps(meta | change))
        verdict = checked(path)
        assert verdict.judgement is Judgement.UNKNOWN
        assert reason in verdict.reasons[0]

    def test_a_torn_line(self, tmp_path: Path) -> None:
        path = recorded(tmp_path / "run", GOOD)
        with (path / "ops.jsonl").open("a") as spool:
            spool.write("{")
        verdict = checked(path)
        assert (verdict.judgement, verdict.reasons) == (Judgement.UNKNOWN, ("1 rows of ops cannot be read",))

    def test_batches_that_name_no_keys(self, tmp_path: Path) -> None:
        verdict = checked(recorded(tmp_path / "run", [*GOOD, op("put_many", 30, None)]))
        assert (verdict.judgement, len(verdict.reasons)) == (Judgement.UNKNOWN, 1)
        assert "name no keys" in verdict.reasons[0]

    def test_a_fault_that_did_nothing_voids_the_run(self, tmp_path: Path) -> None:
        fault = {"fault_id": "f1", "kind": "drop", "t_start": 0, "params": {"bit": False}}
        verdict = checked(recorded(tmp_path / "run", GOOD, [fault]))
        assert (verdict.judgement, verdict.reasons) == (
            Judgement.UNKNOWN,
            ("the run is void: faults that did nothing: f1",),
        )


def invoke(*args: object) -> Result:
    return CliRunner().invoke(command_line.main, ["check", *map(str, args)])


class TestTheCommand:
    @pytest.mark.parametrize(
        ("rows", "code", "said"),
        [
            (GOOD, 0, "OK: 3 calls on 1 keys have an order"),
            ([*GOOD, LATE], 1, "ILLEGAL: 4 calls on 1 keys have no order"),
            ([*GOOD, op("put_many", 30, None)], 3, "UNKNOWN: 3 calls on 1 keys are not decided"),
        ],
    )
    def test_the_exit_code_is_the_verdict(self, tmp_path: Path, rows: list[Row], code: int, said: str) -> None:
        path = recorded(tmp_path / "run", rows)
        result = invoke(path)
        assert (result.exit_code, result.stdout.splitlines()[0]) == (code, said)
        document = json.loads(invoke(path, "--format", "json").stdout)
        assert document["judgement"] == said.partition(":")[0].lower()
        assert bool(document["failing"]) is (code == 1)

    def test_figures_and_history_are_written_where_they_are_wanted(self, tmp_path: Path) -> None:
        path = recorded(tmp_path / "run", [*GOOD, LATE])
        result = invoke(path, "--figures", tmp_path / "figures", "--export", tmp_path / "history.jsonl")
        assert result.exit_code == 1
        assert (tmp_path / "figures" / "illegal-0.png").read_bytes().startswith(b"\x89PNG")
        assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4

    def test_what_is_no_run_is_said(self, tmp_path: Path) -> None:
        result = invoke(tmp_path)
        assert result.exit_code == 1
        assert "is no run" in result.stderr
