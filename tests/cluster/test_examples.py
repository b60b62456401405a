"""What the documents show runs, as a reader would run it: a process of its own that joins a running Ray.

Here:   the README's first Python block and docs/examples/*.py, and what they print.
Never:  what is behind them (the other tests here).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from tests.cluster.world import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("*.py"))
FIRST_BLOCK = re.compile(r"```python\n(.*?)```\s*```text\n(.*?)```", re.DOTALL)
"""The README's first example, and what it says that this prints."""
PRINTS = {
    "counter.py": "counted 6\n",
    "faults.py": "c1: no answer\nc1: the majority\n",
    "store.py": "{'state': 'done'}\n",
}


@pytest.fixture(scope="module")
def environment(ray_cluster: None, a_real_disk: None) -> dict[str, str]:
    """Of a reader's process: it joins the Ray of these tests, and finds our packages."""
    joins = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    return dict(os.environ) | joins | {"RAY_AUTH_MODE": "token"}  # what naming an address asks for: docs/OPERATIONS.md


def printed_by(program: Path, environment: dict[str, str]) -> str:
    """Its stdout, without Ray's own remarks on killed workers."""
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
    return "".join(line for line in ended.stdout.splitlines(keepends=True) if "(raylet)" not in line)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_what_its_text_says(example: Path, environment: dict[str, str]) -> None:
    assert printed_by(example, environment) == PRINTS[example.name]


def test_the_readmes_ten_lines_print_what_it_says(tmp_path: Path, environment: dict[str, str]) -> None:
    found = FIRST_BLOCK.search((REPOSITORY / "README.md").read_text())
    assert found is not None, "the README shows no example with its output"
    program = tmp_path / "readme.py"
    program.write_text(found.group(1))
    assert printed_by(program, environment) == found.group(2)
