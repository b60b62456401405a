"""What an import brings along, and which of two packages of one name is found, as a new process sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from raft_actors._version import __version__
from tests.architecture import rules
from tests.architecture.sources import ROOT, Sources

pytestmark = pytest.mark.slow

WITHOUT_RAY = (
    "raft_actors",
    "raft_actors._version",
    "raft_actors.errors",
    "raft_actors.config",
    "raft_actors.codec",
    "raft_actors.envelopes",
    "raft_actors.core.*",
    "raft_actors.faults",
    "raft_actors.faults.plan",
    "raft_actors.faults.rules",
    "raft_actors.storage.*",
    "raft_actors.application.*",
    "raft_actors.recording.*",
    "kv",
    "kv.commands",
    "kv.errors",
    "kv.machine",
)


def run(code: str, *first_on_path: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that sees `first_on_path`, then the clone, then what is installed."""
    code = f"import sys\nsys.path[:0] = {[str(path) for path in (*first_on_path, ROOT)]!r}\n{code}"
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)


def loaded_with(modules: Sequence[str], unwanted: Sequence[str], *first_on_path: Path) -> list[str]:
    """Which of the unwanted packages are there after the modules were imported."""
    done = run(
        f"from importlib import import_module\nfor name in {sorted(modules)!r}: import_module(name)\n"
        f"print(*(name for name in {list(unwanted)!r} if name in sys.modules))",
        *first_on_path,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_decides_and_what_stores_loads_without_ray_and_pandas(ours: Sources) -> None:
    pure = [
        file.module
        for file in ours.files
        if rules.matches(file.module, WITHOUT_RAY) and not rules.matches(file.path, rules.RAY_AT_THE_RIM)
    ]
    assert "raft_actors.core.types" in pure
    assert loaded_with(pure, ["ray", "pandas"]) == []


def test_the_analysis_loads_without_ray(ours: Sources) -> None:
    modules = [file.module for file in ours.files if file.module.startswith("analysis")]
    assert loaded_with(modules, ["ray", "kv"]) == []


def test_a_loaded_ray_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("")
    (tmp_path / "planted.py").write_text("import ray\n")
    assert loaded_with(["planted"], ["ray", "pandas"], tmp_path) == ["ray"]


@pytest.mark.parametrize("name", ["raft_actors", "kv", "analysis"])
def test_packages_say_whose_they_are(name: str) -> None:
    done = run(f"import {name}\nprint({name}.__raft_actors__)\nassert not hasattr({name}, 'no_such_name')")
    assert (done.stdout.strip(), done.stderr) == (__version__, "")


def test_our_kv_is_found_behind_a_users_own_file(tmp_path: Path) -> None:
    (tmp_path / "kv.py").write_text("raise SystemExit('the wrong one')\n")
    done = run("from raft_actors import kv\nimport kv.errors\nprint(kv.__file__, kv.errors.KVError.__name__)", tmp_path)
    assert done.stdout.split() == [str(ROOT / "kv" / "__init__.py"), "OperationError"], done.stderr


def test_a_name_that_is_taken_already_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "kv.py").write_text("")
    done = run(
        "import kv\nimport raft_actors\n"
        "try: raft_actors.kv\nexcept raft_actors.ShadowedPackage as refused: print(refused)",
        tmp_path,
    )
    assert f"{tmp_path / 'kv.py'} has taken the name 'kv'" in done.stdout, done.stderr
    assert "rename that file" in done.stdout
