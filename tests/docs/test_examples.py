"""What the documents show runs, as a reader would run it: a process of its own, a Ray of its own, an empty home.

Here:   the README's Python blocks and docs/examples/*.py, and what they print.
Never:  what is behind them (tests/cluster).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
FIRST_BLOCK = re.compile(r"```python\n(.*?)```\s*```text\n(.*?)```", re.DOTALL)
"""The README's first example, and what it says that this prints."""
PRINTS = {"counter.py": "counted 6\n", "store.py": "{'state': 'done'}\n"}


def printed_by(program: Path, data: Path) -> str:
    """Its stdout. `data` is where its members keep theirs."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {
        "PYTHONPATH": str(ROOT),  # also when nothing is installed; the workers inherit it
        "RAFT_ACTORS_HOME": str(data),
    }
    ended = subprocess.run(
        [sys.executable, str(program)],
        cwd=program.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_what_its_text_says(example: Path, tmp_path: Path) -> None:
    assert printed_by(example, tmp_path) == PRINTS[example.name]


def test_the_readmes_ten_lines_print_what_it_says(tmp_path: Path) -> None:
    found = FIRST_BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None, "the README shows no example with its output"
    program = tmp_path / "readme.py"
    program.write_text(found.group(1))
    assert printed_by(program, tmp_path / "data").endswith(found.group(2))
