"""A run loads as it was written, wherever it was cut; what is no run is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import Run, close_run, detail, frame_from_rows, load_run
from analysis import load as load_module
from raft_actors.recording import (
    FRAMES,
    RUN_FORMAT,
    Kind,
    NewerRunFormat,
    NotARun,
    Row,
    RunDamaged,
    RunFacts,
    RunNotClosed,
    RunWriter,
)

FACTS = RunFacts(cluster_size=3)
ROWS: dict[str, list[Row]] = {
    "ops": [
        {"op_id": "1", "client": "c1", "op": "put", "key": "k", "status": "ok", "t_invoke": 10, "t_return": 2_000_010,
         "attempts": 1, "server": 0, "leader": 0, "term": 1, "version": 1, "value_size": 3},
        {"op_id": "2", "client": "c1", "op": "get", "key": "é\n", "status": "not_done", "t_invoke": 20, "t_return": 30,
         "latency_ms": 7.5, "error": "NoQuorum"},
        {"op_id": 3, "client": "c2", "op": "put", "status": "unknown", "t_invoke": 25, "t_return": None},
    ],
    "events": [
        {"time": 5, "member": 0, "kind": "leader", "details": {"term": 1, "why": "elected"}},
        {"time": 6, "kind": "state"},
    ],
    "rpcs": [{"method": "append_entries", "src": 0, "dst": 1, "t_sent": 1, "latency_ms": 1, "outcome": "ok"}],
    "faults": [{"fault_id": "f1", "kind": "kill", "target": 0, "t_start": 3, "params": {"signal": 9}}],
    "samples": [{"time": 1, "member": 0, "log_bytes": 4096, "cpu_percent": 1.5}],
}  # fmt: skip


def write(directory: Path, rows: dict[str, list[Row]] = ROWS) -> Path:
    with RunWriter(directory, FACTS) as writer:
        for frame, frame_rows in rows.items():
            for row in frame_rows:
                writer.record(frame, row)
    return directory


def frames_of(run: Run) -> dict[str, pd.DataFrame]:
    return {name: getattr(run, name) for name in FRAMES}


def assert_dtypes(run: Run) -> None:
    for name, frame in FRAMES.items():
        loaded = getattr(run, name)
        assert list(loaded.columns) == list(frame.column_names)
        for column in frame.columns:
            expected = "string" if column.kind is Kind.DETAILS else column.kind.value
            assert str(loaded[column.name].dtype) == expected, (name, column.name)
        assert str(loaded["time"].dtype) == "datetime64[ns, UTC]"


class TestARunRoundTrips:
    def test_values_arrive_as_recorded_and_null_stays_null(self, tmp_path: Path) -> None:
        run = load_run(write(tmp_path / "run"))
        assert_dtypes(run)
        assert run.meta["complete"] is True
        assert run.meta["lines_unreadable"] == {}
        assert list(run.ops["op_id"]) == ["1", "2", "3"]
        assert list(run.ops["status"]) == ["ok", "not_done", "unknown"]
        assert run.ops["key"].isna().tolist() == [False, False, True]
        assert run.ops["key"][1] == "é\n"
        assert run.ops["t_return"].isna().tolist() == [False, False, True]
        assert run.ops["leader"][0] == run.events["member"][0] == run.rpcs["src"][0] == "0"

    def test_latency_is_computed_where_a_row_leaves_it_out(self, tmp_path: Path) -> None:
        latency_ms = load_run(write(tmp_path / "run")).ops["latency_ms"]
        assert latency_ms[0] == 2.0
        assert latency_ms[1] == 7.5
        assert pd.isna(latency_ms[2])

    def test_time_is_the_moment_in_utc_to_the_nanosecond(self, tmp_path: Path) -> None:
        run = load_run(write(tmp_path / "run"))
        for name, frame in FRAMES.items():
            loaded = getattr(run, name)
            assert loaded["time"][0].value == run.meta["utc_start_ns"] + loaded[frame.clock][0], name

    def test_details_keep_their_names_and_types(self, tmp_path: Path) -> None:
        run = load_run(write(tmp_path / "run"))
        assert list(detail(run.events, "term")) == [1, None]
        assert list(detail(run.faults, "signal", column="params")) == [9]

    @pytest.mark.slow
    def test_parquet_and_json_lines_load_the_same(self, tmp_path: Path) -> None:
        before = load_run(write(tmp_path / "run"))
        assert close_run(tmp_path / "run") is True
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
            [*(f"{name}.parquet" for name in FRAMES), "meta.json"]
        )
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "run").iterdir())
        after = load_run(tmp_path / "run")
        assert_dtypes(after)
        assert after.meta == before.meta
        for name, frame in frames_of(after).items():
            pd.testing.assert_frame_equal(frame, frames_of(before)[name], check_categorical=False)
        assert close_run(tmp_path / "run") is True

    def test_a_run_without_rows_has_empty_frames_of_the_right_types(self, tmp_path: Path) -> None:
        run = load_run(write(tmp_path / "run", {}))
        assert_dtypes(run)
        assert all(frame.empty for frame in frames_of(run).values())
        assert run.meta["complete"] is True
        assert close_run(tmp_path / "run") is True
        assert_dtypes(load_run(tmp_path / "run"))


class TestARunThatWasCutOffStillLoads:
    def test_without_a_closing_meta_it_loads_as_incomplete(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        meta = json.loads((run_path / "meta.json").read_text())
        del meta["rows"], meta["t_end"], meta["dropped"], meta["malformed"]
        (run_path / "meta.json").write_text(json.dumps(meta | {"closed": False}))
        run = load_run(run_path)
        assert run.meta["complete"] is False
        assert len(run.ops) == 3
        with pytest.raises(RunNotClosed, match="still being written or was cut off"):
            close_run(run_path)

    @pytest.mark.long
    @pytest.mark.slow
    def test_cut_at_every_byte_it_keeps_every_whole_line(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run", {"events": ROWS["events"]})
        spool = run_path / "events.jsonl"
        data = spool.read_bytes()
        for length in range(len(data)):
            spool.write_bytes(data[:length])
            whole = data[: length + 1].count(b"\n")  # a line that lacks nothing but its end is whole
            torn = length > 0 and data[length - 1] != ord("\n") and data[length] != ord("\n")
            run = load_run(run_path)
            assert len(run.events) == whole
            assert run.meta["lines_unreadable"] == ({"events": 1} if torn else {})
            assert run.meta["complete"] is (whole == 2)

    def test_cut_at_every_byte_the_lines_before_are_read(self, tmp_path: Path) -> None:
        spool = write(tmp_path / "run", {"ops": ROWS["ops"][1:]}) / "ops.jsonl"
        data = spool.read_bytes()
        for length in range(len(data)):
            spool.write_bytes(data[:length])
            rows, unreadable_count = load_module._read_lines(spool, FRAMES["ops"])
            assert rows == ROWS["ops"][1:][: data[: length + 1].count(b"\n")]
            assert unreadable_count <= 1

    def test_a_closed_run_whose_rows_are_gone_is_not_complete(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        (run_path / "ops.jsonl").unlink()
        run = load_run(run_path)
        assert run.meta["complete"] is False
        assert run.ops.empty

    def test_a_frame_with_unreadable_lines_is_not_converted(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        with (run_path / "ops.jsonl").open("ab") as spool:
            spool.write(b'{"op_id": \xff\n')
        assert close_run(run_path) is False
        run = load_run(run_path)
        assert (run_path / "ops.jsonl").exists()
        assert run.meta["lines_unreadable"] == {"ops": 1}
        assert len(run.ops) == 3

    @pytest.mark.slow
    def test_a_conversion_that_was_cut_off_is_finished_by_the_next(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        spool = (run_path / "ops.jsonl").read_bytes()
        close_run(run_path)
        (run_path / "ops.jsonl").write_bytes(spool)
        (run_path / "events.parquet.new").write_bytes(b"half")
        assert len(load_run(run_path).ops) == 3
        assert close_run(run_path) is True
        assert load_run(run_path).meta["complete"] is True

    def test_without_pyarrow_the_spool_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run_path = write(tmp_path / "run")
        monkeypatch.setattr(load_module, "HAS_PARQUET", False)
        assert close_run(run_path) is False
        assert len(load_run(run_path).ops) == 3


class TestWhatIsNoRunIsRefused:
    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(NotARun, match="there is no directory"):
            load_run(tmp_path / "nowhere")

    @pytest.mark.parametrize("content", [None, "{}", "[]", '{"format": "1"}'])
    def test_a_foreign_directory(self, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "meta.json").write_text(content)
        with pytest.raises(NotARun, match="is no run"):
            load_run(tmp_path)

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"format": RUN_FORMAT + 1}, NewerRunFormat, "update raft-actors"),
            ({"utc_start_ns": "now"}, RunDamaged, "utc_start_ns must be int"),
            ({"closed": None}, RunDamaged, "closed must be bool"),
            ({"rows": 3}, RunDamaged, "rows must be dict"),
            ({"t_end": "late"}, RunDamaged, "t_end must be int"),
        ],
    )
    def test_a_meta_that_cannot_be_used(
        self, tmp_path: Path, change: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        meta_file = write(tmp_path / "run", {}) / "meta.json"
        meta_file.write_text(json.dumps(json.loads(meta_file.read_text()) | change))
        with pytest.raises(error, match=text):
            load_run(tmp_path / "run")

    def test_a_meta_that_is_not_json(self, tmp_path: Path) -> None:
        (tmp_path / "meta.json").write_text("{")
        with pytest.raises(RunDamaged, match="is not JSON"):
            load_run(tmp_path)


class TestFramesAreCheckedWhenLoaded:
    def test_a_line_that_lacks_a_column_is_named_with_its_place(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        with (run_path / "ops.jsonl").open("a") as spool:
            spool.write('{"op_id":"4","client":"c1","op":"put","status":"ok"}\n')
        with pytest.raises(RunDamaged, match=r"ops\.jsonl, line 4: column 't_invoke' is missing"):
            load_run(run_path)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda ops: ops.drop(columns=["t_return", "term"]), r"lacks the columns \['t_return', 'term'\]"),
            (lambda ops: ops.assign(t_invoke="soon"), "t_invoke: values that are no int64"),
            (
                lambda ops: ops.assign(status="fail"),
                r"status: values that are no category \(only ok, not_done, unknown\)",
            ),
            (lambda ops: ops.assign(client=None), "client: rows without a value"),
            (lambda ops: ops.assign(t_return=1), "returned before it was invoked"),
        ],
    )
    def test_a_parquet_file_that_is_not_of_the_schema_is_named(self, tmp_path: Path, change: Any, text: str) -> None:
        run_path = write(tmp_path / "run")
        close_run(run_path)
        path = run_path / "ops.parquet"
        change(pd.read_parquet(path)).to_parquet(path)
        with pytest.raises(RunDamaged, match=text):
            load_run(run_path)

    def test_a_parquet_file_that_is_cut_off_is_named(self, tmp_path: Path) -> None:
        run_path = write(tmp_path / "run")
        close_run(run_path)
        path = run_path / "ops.parquet"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(RunDamaged, match=r"ops\.parquet cannot be read"):
            load_run(run_path)

    def test_rows_made_by_hand_are_checked_like_those_of_a_file(self) -> None:
        with pytest.raises(RunDamaged, match="ops, row 1: column 'op_id' is missing"):
            frame_from_rows("ops", [{}])


@pytest.mark.slow
def test_the_analysis_needs_no_ray() -> None:
    code = "import sys, analysis.__main__, analysis.load; print('ray' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"
