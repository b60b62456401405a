"""Every command of `raft-kv` against a running store: data on stdout, talk on stderr, true exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner, Result

import kv
from kv.app.cli import cli
from raft_actors.storage.directory import write_stopped
from tests.cluster.world import REPOSITORY, all_running, eventually, kill_process, nothing_left_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Shell:
    """`raft-kv --name NAME ...` in this process, on its connection to Ray."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *words: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, ["--name", self.name, *words], input=stdin, prog_name="raft-kv")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def out(self, *words: str, stdin: str | None = None) -> str:
        """What a command that succeeds says on stdout."""
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout.removesuffix("\n")

    def rows(self, *words: str) -> Any:
        return json.loads(self.out(*words, "--format", "json"))

    def fails(self, *words: str, stdin: str | None = None) -> str:
        """What a command that fails says, on stderr alone."""
        result = self.run(*words, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        return result.stderr


@pytest.fixture(scope="module")
def shell(ray_cluster: None, module_data_dir: str) -> Iterator[Shell]:
    """A store that was started from the shell, for all tests that leave it running."""
    with nothing_left_of("cli") as name:
        shell = Shell(name)
        assert [row["state"] for row in shell.rows("start", "--data-dir", module_data_dir)] == ["running"] * 3
        yield shell


class TestKeysAndValues:
    def test_a_string_goes_in_and_comes_out_as_it_was(self, shell: Shell) -> None:
        version = int(shell.out("put", "greeting", "hello\tworld"))
        assert shell.out("get", "greeting") == "hello\tworld"
        # any member answers a stale read, and one that lags a moment behind does not have the key yet
        eventually(lambda: shell.run("get", "greeting", "--stale").stdout == "hello\tworld\n")
        assert int(shell.out("append", "greeting", "!")) > version
        assert shell.out("get", "greeting", "--format", "json") == '"hello\\tworld!"'

    def test_json_goes_in_and_comes_out_as_json(self, shell: Shell) -> None:
        shell.out("put", "document", '{"a": [1, null]}', "--json")
        assert shell.rows("get", "document") == {"a": [1, None]}

    def test_versions_can_be_seen_and_asked_for(self, shell: Shell) -> None:
        version = shell.rows("put", "once", "1", "--if-version", "0")["version"]
        assert "has version" in shell.fails("put", "once", "2", "--if-version", "0")
        assert shell.rows("get", "once", "--versioned") == {"key": "once", "version": version, "value": "1"}
        assert int(shell.out("put", "once", "2", "--if-version", str(version))) > version

    def test_a_key_that_is_not_there_is_exit_code_1_and_a_sentence(self, shell: Shell) -> None:
        assert "no key 'nowhere'" in shell.fails("get", "nowhere")
        assert "no key 'nowhere'" in shell.fails("delete", "nowhere")
        shell.out("put", "gone", "x")
        assert shell.rows("delete", "gone") == {"key": "gone", "deleted": True}
        assert "no key 'gone'" in shell.fails("get", "gone")

    def test_a_scan_goes_page_by_page(self, shell: Shell) -> None:
        for key in ("s/a", "s/b", "s/c"):
            shell.out("put", key, key.upper())
        first = shell.run("scan", "s/", "--limit", "2")
        assert first.stdout.split() == ["key", "value", "s/a", "S/A", "s/b", "S/B"]
        assert "--start-after 's/b' goes on" in first.stderr
        assert shell.rows("scan", "s/", "--start-after", "s/b") == [{"key": "s/c", "value": "S/C"}]

    def test_a_pickle_is_not_opened_unless_asked(self, shell: Shell) -> None:
        with kv.connect(shell.name) as store:
            store.put("pickled", {1})
        assert "--allow-pickle opens it" in shell.fails("get", "pickled")
        assert shell.out("get", "pickled", "--allow-pickle") == '"{1}"'

    def test_what_the_store_refuses_is_one_sentence(self, shell: Shell) -> None:
        assert "a key must be" in shell.fails("put", "", "x")
        assert "use put" in shell.fails("append", "document", "x")


class TestLoad:
    def test_a_file_is_loaded_whole(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "words.csv"
        file.write_text("key,value\n" + "".join(f"w/{number:04},{number}\n" for number in range(1200)))
        assert shell.rows("load", str(file)) == {"file": str(file), "written": 1200}
        assert len(shell.rows("scan", "w/", "--limit", "5000")) == 1200

    def test_stdin_is_a_file_too(self, shell: Shell) -> None:
        shell.out("load", "-", "--input-format", "jsonl", stdin='{"key": "from-stdin", "value": [1]}\n')
        assert shell.rows("get", "from-stdin") == [1]

    def test_a_bad_line_is_named_and_what_was_written_is_said(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "bad.txt"
        file.write_text("b/1 one\nb/2 two\nb/3\nb/4 four\n")
        said = shell.fails("load", str(file))
        assert f"{file}:3: expected a key, white space and a value (written: 2, unknown: 0, not written: 0)" in said
        assert [row["key"] for row in shell.rows("scan", "b/")] == ["b/1", "b/2"]

    def test_a_value_that_the_store_does_not_take_is_named_by_its_line(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "large.txt"
        file.write_text("l/1 one\nl/2 " + "x" * 2_000_000 + "\nl/3 three\n")
        said = shell.fails("load", str(file))
        assert f"{file}:2: the encoded value has 2000000 bytes" in said
        assert [row["key"] for row in shell.rows("scan", "l/")] == ["l/1"]


class TestTheStore:
    def test_status_and_list_say_who_leads(self, shell: Shell) -> None:
        eventually(lambda: all_running(shell.name))
        members = shell.rows("status")
        (leader,) = [row["id"] for row in members if row["role"] == "leader"]
        ours = [row for row in shell.rows("list") if row["name"] == shell.name]
        assert ours == [{"name": shell.name, "members": 3, "running": 3, "leader": leader, "has_quorum": True}]

    def test_start_attaches_to_what_runs_and_refuses_other_options(self, shell: Shell) -> None:
        assert len(shell.rows("start")) == 3
        assert "members: given 5, running 3" in shell.fails("start", "--members", "5")

    def test_doctor_finds_nothing_wrong_with_a_healthy_store(self, shell: Shell, module_data_dir: str) -> None:
        eventually(lambda: all_running(shell.name))
        found = shell.rows("doctor")
        assert found["troubles"] == []
        (node,) = found["nodes"]
        assert {node[f"{name}_path"] for name in ("raft_actors", "kv", "analysis")} == {
            str(REPOSITORY / name / "__init__.py") for name in ("raft_actors", "kv", "analysis")
        }
        assert (node["data_root"], node["fsync_ms"] > 0) == (module_data_dir, True)
        assert [row["path"] for row in found["data"]] == [f"{module_data_dir}/{shell.name}/{id}" for id in range(3)]
        assert all(row["peer_ms"] > 0 and row["server_ms"] > 0 and row["data"] for row in found["members"])
        assert not list(Path(module_data_dir).glob("tmp*")), "what doctor measured with is gone"

    def test_names_that_nobody_has(self, shell: Shell) -> None:
        nobody = Shell("nobody")
        for words in (["status"], ["get", "k"], ["shutdown"], ["restart-member", "0"]):
            assert "'nobody'" in nobody.fails(*words)
        assert "has no member 7" in shell.fails("restart-member", "7")

    def test_doctor_works_before_anything_runs(self, ray_cluster: None) -> None:
        result = Shell("nobody").run("doctor", "--format", "json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["members"] == []
        assert "does not run" in result.stderr


class TestTroubleAndItsEnd:
    def test_a_stopped_member_is_seen_by_doctor_and_runs_again_when_restarted(
        self, group_name: str, data_dir: str
    ) -> None:
        shell = Shell(group_name)
        shell.out("start", "--data-dir", data_dir)
        write_stopped(f"{data_dir}/{group_name}/2", "planted by a test")
        kill_process(kv.status(group_name).members[2].pid)
        eventually(lambda: kv.status(group_name).members[2].state == "failed")
        doctor = shell.run("doctor")
        assert doctor.exit_code == 1
        assert "TROUBLE member 2: it is failed: member 2 stopped before (planted by a test)" in doctor.stderr
        assert [row["state"] for row in shell.rows("restart-member", "2")] == ["running"]
        assert eventually(lambda: all_running(group_name))

    def test_without_a_majority_status_and_writes_fail(self, group_name: str, data_dir: str) -> None:
        shell = Shell(group_name)
        shell.out("start", "--data-dir", data_dir)
        stopped = [member.pid for member in kv.status(group_name).members[:2] if member.pid]
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            status = shell.run("status", "--format", "json")
            assert (status.exit_code, len(json.loads(status.stdout))) == (1, 3)
            assert "has no quorum" in status.stderr
            assert shell.fails("put", "k", "v", "--timeout", "0.5")
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert int(shell.out("put", "k", "v", "--timeout", "30")) > 0

    def test_shutdown_keeps_the_data_and_only_delete_data_removes_it(self, group_name: str, data_dir: str) -> None:
        shell = Shell(group_name)
        shell.out("start", "--data-dir", data_dir, "--members", "1")
        shell.out("put", "k", "v")
        assert shell.out("shutdown") == ""
        shell.out("start", "--data-dir", data_dir, "--members", "1")
        assert shell.out("get", "k") == "v"
        assert shell.run("shutdown", "--delete-data", stdin="n\n").exit_code == 1
        assert shell.out("get", "k") == "v"
        shell.out("shutdown", "--delete-data", "--yes")
        assert not (Path(data_dir) / group_name).exists()


def test_two_drivers_of_their_own_meet_in_the_store(shell: Shell) -> None:
    def raft_kv(*words: str) -> str:
        address = ray.get_runtime_context().gcs_address
        done = subprocess.run(
            [sys.executable, "-m", "kv", "--address", address, "--name", shell.name, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    raft_kv("put", "met", "here")
    assert raft_kv("get", "met") == "here\n"
