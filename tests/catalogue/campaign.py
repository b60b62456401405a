"""One test of the catalogue on real actors, once more: the unit of `python -m tests.catalogue`.

Here:   which tests there are, and how one is run: by pytest, in a process of its own, on a Ray of its own.
Never:  rows; the command line (__main__.py).
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from tests.campaigns import Finding, Outcome
from tests.campaigns.outcome import ROOT

MODULES: Final = (
    "tests/cluster/test_catalogue.py",
    "tests/cluster/test_state_machine_rows.py",
    "tests/cluster/test_service_rows.py",
    "tests/cluster/test_interception.py",
    "tests/cluster/test_faults.py",
)
UNIT_DEADLINE_S: Final = 900
"""The longest row is a thousand rounds of figure 8, each with a process killed."""
TAIL_CHARS: Final = 6_000
"""Of the output of a test that failed."""


def tests(marked: str) -> tuple[str, ...]:
    """Ids of the tests that this expression of markers selects, in their order."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marked, *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(line for line in found.stdout.splitlines() if "::" in line)


def run_test(unit: int, *, ids: tuple[str, ...]) -> Outcome:
    """One of them: all in turn, then all again."""
    test = ids[unit % len(ids)]
    name = test.rpartition("::")[2]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", f"timeout={UNIT_DEADLINE_S - 30}", test],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return Outcome(counters={name: 1})
    finding = Finding(rule=name, text=done.stdout[-TAIL_CHARS:], replay=f"python -m pytest '{test}'")
    return Outcome(counters={name: 1}, findings=(finding,))
