"""`raft-analysis`: data on stdout, talk on stderr, exit code not 0 on failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner, Result

from analysis import __main__ as command_line
from raft_actors.recording import RunFacts, RunWriter

MS = 1_000_000
FACTS = RunFacts(cluster_size=3, clients=8, fsync="fdatasync per write group")


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    with RunWriter(tmp_path / "run", FACTS) as writer:
        for number, (op, status) in enumerate([("put", "ok"), ("put", "unknown"), ("get", "ok"), ("put", "ok")]):
            writer.record(
                "ops",
                {
                    "op_id": number,
                    "client": "c1",
                    "op": op,
                    "status": status,
                    "t_invoke": number * 100 * MS,
                    "t_return": (number * 100 + 10) * MS,
                },
            )
        writer.record("events", {"time": 250 * MS, "member": 2, "kind": "leader", "details": {"term": 4}})
    return tmp_path / "run"


def invoke(*args: object) -> Result:
    return CliRunner().invoke(command_line.main, ["summary", *map(str, args)])


class TestSummary:
    def test_the_table_says_conditions_latencies_and_gaps_on_stdout(self, run_path: Path) -> None:
        result = invoke(run_path)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        for text in ("cluster_size: 3", "clients: 8", "cpu_count: ", "fsync: fdatasync per write group", "p99_ms"):
            assert text in result.stdout
        *_, names, gap = result.stdout.splitlines()
        values = dict(zip(names.split(), gap.split(), strict=True))
        assert (values["t_leader_s"], values["gap_ms"], values["leader_before"]) == ("0.25", "210.00", "-")

    @pytest.mark.parametrize(("output", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_json_and_yaml_hold_the_same_as_plain_values(self, run_path: Path, output: str, parse: object) -> None:
        result = invoke(run_path, "--format", output)
        assert result.exit_code == 0, result.output
        assert callable(parse)
        document = parse(result.stdout)
        assert document["meta"]["cluster_size"] == 3
        get, put = document["summary"]
        assert (put["op"], put["count"], put["ok"], put["unknown"], put["p99_ms"]) == ("put", 3, 2, 1, 10.0)
        assert get["op"] == "get"
        [gap] = document["gaps"]
        assert (gap["term"], gap["leader_before"], gap["leader_after"], gap["gap_ms"]) == (4, None, "2", 210.0)
        assert gap["first_ok_after"] == 310 * MS

    def test_by_groups_by_any_columns(self, run_path: Path) -> None:
        rows = json.loads(invoke(run_path, "--by", "client", "--by", "status", "--format", "json").stdout)["summary"]
        assert [(row["client"], row["status"], row["count"]) for row in rows] == [("c1", "ok", 3), ("c1", "unknown", 1)]

    def test_what_is_missing_from_the_run_is_said_on_stderr_only(self, run_path: Path) -> None:
        with (run_path / "ops.jsonl").open("ab") as spool:
            spool.write(b'{"op_id"')
        meta = json.loads((run_path / "meta.json").read_text())
        (run_path / "meta.json").write_text(json.dumps(meta | {"dropped": {"ops": 7}}))
        result = invoke(run_path, "--format", "json")
        assert result.exit_code == 0
        json.loads(result.stdout)
        assert "was cut off" in result.stderr
        assert "1 lines of ops cannot be read" in result.stderr
        assert "7 rows of ops were dropped" in result.stderr

    def test_a_run_with_a_fault_that_did_nothing_is_said_to_be_void(self, tmp_path: Path) -> None:
        with RunWriter(tmp_path / "run", FACTS) as writer:
            for number, bit in enumerate((True, False, None), start=1):
                fault = {"fault_id": f"f{number}", "kind": "drop", "target": "*->*", "t_start": 1, "t_end": 2}
                writer.record("faults", fault | {"params": {"bit": bit}})
        result = invoke(tmp_path / "run")
        assert result.exit_code == 0, result.output
        assert "the run is void: faults that did nothing: f2" in result.stderr

    def test_an_empty_run_is_no_failure(self, tmp_path: Path) -> None:
        RunWriter(tmp_path / "run", FACTS).close()
        result = invoke(tmp_path / "run")
        assert result.exit_code == 0, result.output
        assert "no operations" in result.stdout


class TestFailuresAreOneSentence:
    def test_a_directory_that_is_not_there_or_not_a_run(self, tmp_path: Path) -> None:
        for path in (tmp_path / "nowhere", tmp_path):
            result = invoke(path)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert result.stderr.startswith("Error: ")
            assert "give the directory of a run" in result.stderr
            assert result.stderr.count("\n") == 1

    def test_a_damaged_run_names_the_place(self, run_path: Path) -> None:
        with (run_path / "ops.jsonl").open("ab") as spool:
            spool.write(b"{}\n")
        result = invoke(run_path)
        assert result.exit_code == 1
        assert "line 5: column 'op_id' is missing" in result.stderr

    def test_a_column_that_is_not_there(self, run_path: Path) -> None:
        result = invoke(run_path, "--by", "colour")
        assert result.exit_code == 2
        assert "ops has no columns ['colour']" in result.stderr

    def test_yaml_without_its_library(self, run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command_line, "yaml", None)
        result = invoke(run_path, "--format", "yaml")
        assert result.exit_code == 1
        assert "pip install pyyaml" in result.stderr
