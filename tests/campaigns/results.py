"""What a run leaves for others: one row in docs/results/NAME.csv, its findings beside it, a table on the screen.

Here:   the row, the findings' lines, the table, which commit it was.
Never:  running anything; names of machines and users, paths of this machine.

A run that was interrupted and gone on with is one row: the row of a run replaces what the same run wrote before.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.campaigns.outcome import ROOT
from tests.campaigns.state import RunState

COLUMNS: Final = (
    "started",
    "commit",
    "python",
    "cores",
    "workers",
    "end",
    "units",
    "planned",
    "items",
    "noun",
    "seconds",
    "per_second",
    "finds",
    "parameters",
    "counters",
)


def row_of(state: RunState, *, noun: str, end: str, planned: int | None, workers: int) -> dict[str, str]:
    """The row of a run as it stands."""
    return {
        "started": state.started,
        "commit": commit(),
        "python": platform.python_version(),
        "cores": str(len(os.sched_getaffinity(0))),
        "workers": str(workers),
        "end": end,
        "units": str(state.units_done),
        "planned": "" if planned is None else str(planned),
        "items": str(state.items),
        "noun": noun,
        "seconds": f"{state.seconds:.0f}",
        "per_second": f"{state.items / state.seconds:.2f}" if state.seconds else "",
        "finds": str(len(state.findings)),
        "parameters": json.dumps(dict(state.parameters), sort_keys=True),
        "counters": json.dumps(state.counters, sort_keys=True),
    }


def write_row(path: Path, row: Mapping[str, str]) -> None:
    """Append the row; in the place of what the same run wrote before, if it did."""
    rows: list[Mapping[str, str]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [each for each in csv.DictReader(file) if each["started"] != row["started"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, row])
    _replace(path, text.getvalue())


def write_findings(path: Path, state: RunState) -> None:
    """The run's findings, one JSON object a line, behind those of other runs. No findings, no file."""
    lines = []
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if json.loads(line)["run"] != state.started]
    lines += [json.dumps({"run": state.started, "commit": commit(), **each}) for each in state.findings]
    if lines:
        _replace(path, "".join(f"{line}\n" for line in lines))


def table(facts: Sequence[tuple[str, str]], counters: Mapping[str, int]) -> str:
    """Two columns: what the run was, then what happened in it."""
    rows = [*facts, *((name, f"{number:,}") for name, number in sorted(counters.items()))]
    width = max((len(name) for name, _ in rows), default=0)
    right = max((len(value) for _, value in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value:>{right}}" for name, value in rows)


def commit() -> str:
    """Short hash of the commit, with "+changes" if the tree differs from it beside the results; "" outside of git."""
    try:
        short = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":!docs/results")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{short}+changes" if changed else short


def _git(*arguments: str) -> str:
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(text)
    os.replace(aside, path)
