"""`raft-kv` without a Ray: wrong words end in one sentence and an exit code, and nothing is ever started."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from kv.app.cli import cli
from kv.app.options import Common, command_options
from tests.architecture.sources import ROOT

COMMANDS = {
    "append",
    "delete",
    "demo",
    "doctor",
    "get",
    "list",
    "load",
    "put",
    "restart-member",
    "scan",
    "shutdown",
    "member",
    "move-leader",
}
COMMANDS |= {"recover", "snapshot", "start", "status"}


def invoke(*words: str, stdin: str | None = None) -> Result:
    return CliRunner(env={"RAY_ADDRESS": ""}).invoke(cli, words, input=stdin, prog_name="raft-kv")


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


class TestWithoutRay:
    @pytest.mark.parametrize(
        "words",
        [
            *(["start"], ["list"], ["status"], ["get", "k"], ["put", "k", "v"], ["append", "k", "v"], ["delete", "k"]),
            *(
                ["snapshot", "save", "f"],
                ["snapshot", "restore", "f"],
                ["recover", "--from", "0", "--force-new-cluster"],
            ),
            *(["scan"], ["doctor"], ["restart-member", "0"], ["shutdown"], ["shutdown", "--delete-data", "--yes"]),
        ],
        ids=" ".join,
    )
    def test_every_command_says_in_one_sentence_how_to_start_one(self, words: list[str], nobody: str) -> None:
        result = invoke(*words, "--address", nobody)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: no Ray answers at '{nobody}'")
        assert "`ray start --head`" in result.stderr
        assert result.stderr.count("\n") == 1

    def test_the_environment_names_the_address_and_the_option_wins(self, nobody: str) -> None:
        runner = CliRunner(env={"RAY_ADDRESS": nobody})
        assert nobody in runner.invoke(cli, ["status"]).stderr
        assert "'elsewhere'" in runner.invoke(cli, ["status", "--address", "elsewhere"]).stderr

    @pytest.mark.parametrize("address", ["local", "ray://127.0.0.1:1"])
    def test_an_address_that_would_start_a_ray_or_is_no_cluster_is_refused(self, address: str) -> None:
        result = invoke("start", "--address", address)
        assert result.exit_code == 1
        assert "names no running cluster" in result.stderr

    def test_an_odd_name_is_refused_before_anything_is_connected(self, nobody: str) -> None:
        result = invoke("--name", "a/b", "status", "--address", nobody)
        assert result.exit_code == 1
        assert "cannot name a group" in result.stderr


class TestOptions:
    def test_help_lists_every_command(self) -> None:
        result = invoke("--help")
        assert result.exit_code == 0
        assert set(cli.commands) == COMMANDS
        assert all(f"\n  {name} " in result.stdout for name in COMMANDS)

    def test_common_options_stand_before_or_after_the_command_and_after_wins(self) -> None:
        seen: list[Common] = []

        @click.command()
        @command_options
        def look(common: Common) -> None:
            seen.append(common)

        cli.add_command(look)
        try:
            for words in (["look"], ["--name", "a", "--timeout", "3", "look", "--name", "b", "--format", "json"]):
                assert invoke(*words).exit_code == 0
        finally:
            del cli.commands["look"]
        assert seen == [Common(), Common(name="b", timeout=3.0, format="json")]
        assert [common.timeout_s for common in seen] == [5.0, 3.0]

    @pytest.mark.parametrize(
        "words",
        [
            *(["--timeout", "0", "list"], ["list", "--timeout", "nan"], ["list", "--timeout", "1e9"]),
            *(["list", "--format", "xml"], ["start", "--members", "0"], ["start", "--placement", "zone"]),
            *(
                ["put", "k", "{", "--json"],
                ["put", "k", "v", "--if-version", "-1"],
                ["get", "k", "--stale", "--versioned"],
            ),
            *(["snapshot", "save"], ["snapshot", "restore", "f", "--members", "0"], ["recover", "--force-new-cluster"]),
            *(["scan", "--limit", "0"], ["restart-member", "one"], ["load", "words.parquet"], ["load", "-"], ["bench"]),
        ],
        ids=" ".join,
    )
    def test_what_makes_no_sense_is_refused_as_usage(self, words: list[str]) -> None:
        result = invoke(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Error: " in result.stderr

    def test_deleting_data_asks_first_and_no_is_the_default(self) -> None:
        for answer in ("n\n", "\n", ""):
            result = invoke("shutdown", "--delete-data", stdin=answer)
            assert result.exit_code == 1
            assert "Delete all data of store 'default' for good?" in result.stderr
            assert "Aborted" in result.stderr

    def test_a_new_cluster_is_founded_by_those_only_who_say_so(self) -> None:
        result = invoke("recover", "--from", "1")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "acknowledged writes that only the others hold are lost" in result.stderr
        assert "say --force-new-cluster" in result.stderr
        assert "`raft-kv member replace`" in result.stderr

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        result = invoke("load", str(tmp_path / "none.csv"))
        assert result.exit_code == 1
        assert "No such file" in result.stderr


@pytest.mark.slow
class TestWithoutExtras:
    """Libraries that are optional may be missing."""

    @staticmethod
    def run(module: str, *words: str, without: str) -> subprocess.CompletedProcess[str]:
        code = (
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"sys.modules.update(dict.fromkeys({without.split()!r}))\n"
            f"from {module} import main\nsys.argv[1:] = {list(words)!r}\nmain()"
        )
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    def test_the_command_line_works_without_rich_and_pandas(self) -> None:
        done = self.run("kv.app.cli", "--help", without="rich pandas pyarrow matplotlib")
        assert (done.returncode, done.stderr) == (0, "")
        assert "restart-member" in done.stdout

    def test_the_analysis_without_pandas_says_in_one_sentence_what_to_install(self) -> None:
        done = self.run("analysis.__main__", "summary", str(ROOT), without="pandas")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Error: The analysis needs pandas: pip install 'raft-actors[analysis]'.\n"

    def test_python_m_kv_is_the_same_command(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "kv", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.startswith("Usage: raft-kv [OPTIONS] COMMAND")
