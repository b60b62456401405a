"""The runner on a tiny tree of its own: caught, not caught, and the ways in which a verdict means nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.campaigns import Outcome
from tests.mutants import runner
from tests.mutants.mutant import read_mutant

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("git") is None, reason="copies are made by git, and there is none"),
]

HONEST = "def two() -> int:\n    return 2\n"
SIM = """
import json, sys, time
from kv.code import two
first, seeds = (int(sys.argv[sys.argv.index(name) + 1]) for name in ("--first", "--seeds"))
for seed in range(first, first + seeds):
    if two() == 4 or (two() == 3 and seed % 7 == 0) or (two() == 2 and ALWAYS):
        print(json.dumps({"seed": seed, "rule": "arithmetic", "text": "two is not two", "seeds_run": seed - first + 1}))
        sys.exit(1)
    if two() == 5:
        time.sleep(60)
print(json.dumps({"seeds_run": seeds}))
"""
TEST = """
from kv.code import two

def test_two():
    assert two() == 2
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    files = {"kv/__init__.py": "", "kv/code.py": HONEST, "tests/__init__.py": "", "tests/sim/__init__.py": ""}
    files |= {
        "tests/sim/__main__.py": SIM.replace("ALWAYS", "False"),
        "tests/test_two.py": TEST,
        ".gitignore": "junk\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "junk").write_text("not to be copied")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def examined(root: Path, answer: str, *, catcher: str = "sim", before: str = "2", seconds: float = 20.0) -> Outcome:
    """The mutant that answers `answer` instead of 2."""
    patch = root.parent / "a01-two.patch"
    patch.write_text(
        f"Class: A1\nBroken: two is {answer}\nIn: two\nCatcher: {catcher}\n\n--- a/kv/code.py\n+++ b/kv/code.py\n"
        f"@@ -1,2 +1,2 @@\n def two() -> int:\n-    return {before}\n+    return {answer}\n"
    )
    return runner.examine(read_mutant(patch), seeds=20, seconds=seconds, root=root)


def verdict(outcome: Outcome) -> tuple[str, int]:
    (row,) = outcome.rows
    assert row["mutant"] == "a01-two"
    return str(row["caught_by"]), int(row["after"])


def test_a_mutant_is_caught_by_a_seed(tree: Path) -> None:
    outcome = examined(tree, "3")
    assert verdict(outcome) == ("arithmetic", 7)
    assert not outcome.findings
    assert outcome.counters == {"caught by sim": 1}
    assert (tree / "kv/code.py").read_text() == HONEST


def test_a_mutant_that_changes_nothing_is_not_caught(tree: Path) -> None:
    outcome = examined(tree, "1 + 1")
    assert [finding.rule for finding in outcome.findings] == ["not caught"]
    assert "survived 20 of sim" in outcome.findings[0].text


def test_a_mutant_that_only_takes_long_is_not_caught(tree: Path) -> None:
    outcome = examined(tree, "5", seconds=1.0)
    assert [finding.rule for finding in outcome.findings] == ["not caught"]


def test_a_catcher_that_always_fails_proves_nothing(tree: Path) -> None:
    (tree / "tests/sim/__main__.py").write_text(SIM.replace("ALWAYS", "True"))
    outcome = examined(tree, "4")
    assert [finding.rule for finding in outcome.findings] == ["caught for nothing"]


def test_a_catcher_that_breaks_proves_nothing(tree: Path) -> None:
    outcome = examined(tree, "undefined")
    assert [finding.rule for finding in outcome.findings] == ["not run"]
    assert "NameError" in outcome.findings[0].text


def test_a_campaign_that_only_missed_something_has_caught_nothing(tree: Path) -> None:
    (tree / "tests/sim/__main__.py").write_text(
        'import sys\nprint(\'{"rule": "never seen", "text": "torn tail", "seeds_run": 20}\')\nsys.exit(1)\n'
    )
    outcome = examined(tree, "3")
    assert [finding.rule for finding in outcome.findings] == ["not caught"]


def test_a_patch_that_does_not_fit_is_a_finding(tree: Path) -> None:
    outcome = examined(tree, "3", before="7")
    assert [finding.rule for finding in outcome.findings] == ["not run"]


def test_a_mutant_is_caught_by_a_test(tree: Path) -> None:
    outcome = examined(tree, "3", catcher="pytest tests/test_two.py")
    assert verdict(outcome) == ("tests/test_two.py::test_two", 1)
    assert not outcome.findings
