"""What the documents show runs, as a reader would run it: a process of its own that joins a Ray, here an empty one.

Here:   the README's first Python block and docs/examples/*.py, and what they print.
Never:  what is behind them (tests/cluster).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
FIRST_BLOCK = re.compile(r"```python\n(.*?)```\s*```text\n(.*?)```", re.DOTALL)
"""The README's first example, and what it says that this prints."""
PRINTS = {"counter.py": "counted 6\n", "store.py": "{'state': 'done'}\n"}


RAY = """
import ray, sys
print(ray.init(include_dashboard=False).address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
"""A Ray that lives until its stdin is closed. Not one of this process: the examples call `ray.init` themselves."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a process that joins this Ray and finds our packages, also when nothing is installed; its data is new."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own |= {"PYTHONPATH": str(ROOT), "RAFT_ACTORS_HOME": str(tmp_path_factory.mktemp("home"))}
    own |= {"RAY_AUTH_MODE": "token"}  # a new Ray has it; who names an address has to say so (docs/OPERATIONS.md)
    with subprocess.Popen(
        [sys.executable, "-c", RAY], env=own, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "no Ray started"
        yield own | {"RAY_ADDRESS": address}
        assert process.stdin is not None
        process.stdin.close()


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
    found = FIRST_BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None, "the README shows no example with its output"
    program = tmp_path / "readme.py"
    program.write_text(found.group(1))
    assert printed_by(program, environment) == found.group(2)
