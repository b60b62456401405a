"""The scripts behind the decision records' figures still run, and still say what the record argues from.

Here:   the one that needs no Ray. docs/adr/measure_restarts.py takes a minute and is run by hand.
Never:  exact figures: they belong to the machine and the version that the record names.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ADR = Path(__file__).resolve().parents[2] / "docs" / "adr"
SAID = re.compile(r"SQLite [\d.]+: (\d+) of 100 committed rows, integrity_check: ok")


def test_sqlite_loses_committed_rows_behind_a_flipped_bit_and_finds_nothing_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(ADR / "measure_sqlite.py"), run_name="__main__")
    now = SAID.fullmatch(capsys.readouterr().out.strip())
    assert now is not None
    assert int(now[1]) < 100
    assert SAID.search((ADR / "0002-a-log-of-our-own-not-sqlite.md").read_text())
