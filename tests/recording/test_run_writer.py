"""A run's directory: what is in it, who may read it, and that recording never hurts what it records."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from raft_actors.errors import DaemonFailed, InvalidName
from raft_actors.recording import (
    NullRecorder,
    Recorder,
    Row,
    RunClock,
    RunExists,
    RunFacts,
    RunWriter,
    encode_rows,
    new_run_directory,
)
from raft_actors.recording import run_writer as run_writer_module

FACTS = RunFacts(
    cluster_size=3, clients=8, nodes=("a", "b"), offered_load="closed loop", seed=7, versions={"ray": "2.60.0"}
)
EVENT: Row = {"time": 1, "member": 0, "kind": "leader", "details": {"term": 1}}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def meta(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "meta.json").read_text())
    return found


class TestARunIsWritten:
    def test_rows_become_json_lines_of_their_frame_in_their_order(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            writer.record("events", EVENT)
            writer.append_encoded("events", encode_rows([EVENT | {"time": 2}, EVENT | {"time": 3}]))
            writer.record("events", EVENT | {"time": 4})
        assert [row["time"] for row in lines(tmp_path / "run" / "events.jsonl")] == [1, 2, 3, 4]
        assert meta(tmp_path / "run")["rows"] == {"events": 4}

    def test_rows_reach_the_disk_while_the_run_lasts_timing_sensitive(self, tmp_path: Path) -> None:
        writer = RunWriter(tmp_path / "run", FACTS, flush_interval_s=0.001)
        writer.record("events", EVENT)
        path, waiting = tmp_path / "run" / "events.jsonl", threading.Event()
        for _ in range(1000):
            if path.exists() and path.stat().st_size:
                break
            waiting.wait(0.005)
        assert lines(path) == [EVENT]
        writer.close()

    def test_meta_says_the_conditions_at_the_start_and_the_end_at_the_end(self, tmp_path: Path) -> None:
        writer = RunWriter(tmp_path / "run", FACTS)
        opening = meta(tmp_path / "run")
        assert opening["closed"] is False
        assert (opening["cluster_size"], opening["clients"], opening["seed"]) == (3, 8, 7)
        assert opening["cpu_count"] >= 1
        assert opening["versions"].keys() == {"raft_actors", "python", "ray"}
        writer.close()
        closing = meta(tmp_path / "run")
        assert closing == opening | {
            "closed": True,
            "t_end": closing["t_end"],
            "rows": {},
            "dropped": {},
            "malformed": {},
            "first_malformed": None,
        }
        assert closing["t_end"] >= 0

    def test_only_the_owner_may_look(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            writer.record("events", EVENT)
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        for path in (tmp_path / "run").iterdir():
            assert path.stat().st_mode & 0o777 == 0o600, path

    def test_a_run_never_goes_into_a_directory_that_holds_something(self, tmp_path: Path) -> None:
        RunWriter(tmp_path / "run", FACTS).close()
        before = sorted((path, path.read_bytes()) for path in (tmp_path / "run").iterdir())
        with pytest.raises(RunExists, match="directory of its own"):
            RunWriter(tmp_path / "run", FACTS)
        assert sorted((path, path.read_bytes()) for path in (tmp_path / "run").iterdir()) == before
        (tmp_path / "file").touch()
        with pytest.raises(RunExists):
            RunWriter(tmp_path / "file", FACTS)

    def test_an_empty_directory_will_do(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        RunWriter(tmp_path, FACTS).close()
        assert tmp_path.stat().st_mode & 0o777 == 0o700

    def test_a_run_is_named_by_time_and_name(self, tmp_path: Path) -> None:
        stamp, _, name = new_run_directory(tmp_path, "demo-1").name.partition("-")
        assert name == "demo-1"
        assert len(stamp) == len("20260102T030405Z")
        for bad in ("", ".hidden", "a/b", "x" * 65):
            with pytest.raises(InvalidName):
                new_run_directory(tmp_path, bad)


class TestRecordingNeverHurts:
    def test_malformed_rows_are_counted_and_the_first_is_explained(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            writer.record("events", {"kind": "leader"})
            writer.record("events", EVENT | {"details": {"set": {1, 2}}})
            writer.record("nonsense", EVENT)
            writer.append_encoded("ops", b"\xc1")
            writer.append_encoded("ops", encode_rows([EVENT])[:-1])
            writer.record("events", EVENT)
        found = meta(tmp_path / "run")
        assert found["malformed"] == {"events": 2, "nonsense": 1, "ops": 2}
        assert found["first_malformed"] == "events: column 'time' is missing"
        assert found["rows"] == {"events": 1}

    def test_rows_beyond_the_buffer_are_dropped_and_counted(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS, buffer_bytes_max=4096, flush_interval_s=60) as writer:
            for _ in range(100):
                writer.record("events", EVENT)
        found = meta(tmp_path / "run")
        assert found["rows"]["events"] + found["dropped"]["events"] == 100
        assert 1 <= found["rows"]["events"] <= 4

    def test_a_run_takes_no_more_of_the_disk_than_it_may(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS, spool_bytes_max=200) as writer:
            for _ in range(10):
                writer.record("events", EVENT)
        assert 0 < (tmp_path / "run" / "events.jsonl").stat().st_size <= 200
        found = meta(tmp_path / "run")
        assert found["rows"]["events"] + found["dropped"]["events"] == 10

    def test_rows_after_the_end_are_dropped_without_a_word(self, tmp_path: Path) -> None:
        writer = RunWriter(tmp_path / "run", FACTS)
        writer.close()
        writer.record("events", EVENT)
        writer.close()
        assert writer.dropped() == {"events": 1}
        assert meta(tmp_path / "run")["closed"] is True

    def test_a_failing_disk_is_reported_at_the_end_and_only_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(file: BinaryIO, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(run_writer_module, "_write_all", full)
        writer = RunWriter(tmp_path / "run", FACTS)
        writer.record("events", EVENT)
        for _ in range(2):
            with pytest.raises(DaemonFailed, match="No space left"):
                writer.close()
        writer.record("events", EVENT)
        assert meta(tmp_path / "run")["closed"] is False

    def test_a_thread_that_does_not_end_in_time_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = threading.Event()
        monkeypatch.setattr(run_writer_module, "_write_all", lambda file, data: disk.wait(10))
        writer = RunWriter(tmp_path / "run", FACTS)
        writer.record("events", EVENT)
        with pytest.raises(DaemonFailed, match="run-writer:run did not end within"):
            writer.close(timeout_s=0.01)
        disk.set()
        writer.close()
        assert meta(tmp_path / "run")["closed"] is True

    def test_many_threads_lose_nothing(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS, flush_interval_s=0.001) as writer:

            def work(member: int) -> None:
                for time in range(100):
                    writer.record("events", {"time": time, "member": member, "kind": "term"})

            threads = [threading.Thread(target=work, args=(member,)) for member in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        rows = lines(tmp_path / "run" / "events.jsonl")
        assert [[r["time"] for r in rows if r["member"] == member] for member in range(4)] == [list(range(100))] * 4


class TestRecordingIsOffUnlessAskedFor:
    def test_the_null_recorder_takes_everything_and_says_that_it_is_off(self) -> None:
        recorder: Recorder = NullRecorder()
        recorder.record("nonsense", {"x": 1})
        assert not recorder.enabled
        assert recorder.now_ns() == 0

    def test_a_run_writer_is_a_recorder(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            recorder: Recorder = writer
            assert recorder.enabled


class TestOneClockPerHost:
    def test_another_process_of_the_host_reads_the_same_clock(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            clock = pickle.loads(pickle.dumps(writer.clock))
            first, second, third = writer.now_ns(), clock.now_ns(), writer.now_ns()
        assert 0 <= first <= second <= third

    def test_another_host_goes_by_utc(self) -> None:
        here = RunClock.start()
        elsewhere = RunClock(utc_start_ns=here.utc_start_ns, monotonic_start_ns=-(10**18), boot_id="another machine")
        assert (
            elsewhere.now_ns()
            < 10**12
            < RunClock(utc_start_ns=here.utc_start_ns, monotonic_start_ns=-(10**18), boot_id=here.boot_id).now_ns()
        )


@pytest.mark.slow
def test_recording_needs_neither_ray_nor_pandas() -> None:
    code = "import sys, raft_actors.recording; print([m for m in ('ray', 'pandas', 'pyarrow') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
