"""The README's way to read a run works on a run: here one of five operations, written as a recorder writes it.

Here:   the second Python block of the README.
Never:  what a run holds (tests/recording), what is made of it (tests/analysis).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raft_actors.recording import RunFacts, RunWriter

README = Path(__file__).resolve().parents[2] / "README.md"
PLACEHOLDER = "runs/<the run's directory>"


def test_the_readmes_lines_print_latencies_by_operation_and_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [
        each for each in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if PLACEHOLDER in each
    ]
    with RunWriter(tmp_path / "run", RunFacts(cluster_size=3)) as writer:
        for number in range(5):
            row = {
                "op_id": f"{number}",
                "client": "c",
                "op": "put",
                "key": "k",
                "status": "ok" if number else "unknown",
            }
            writer.record("ops", row | {"t_invoke": number * 1_000_000, "t_return": number * 3_000_000})
    exec(block.replace(PLACEHOLDER, str(tmp_path / "run")), {})
    said = capsys.readouterr().out
    assert re.search(r"put +ok +4\.0 +5\.0", said), said  # four of them, 5 ms in the mean
    assert re.search(r"unknown +1\.0", said), said
