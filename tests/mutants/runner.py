"""Each mutant in its own copy of the tree, run until its catcher finds it.

Here:   one mutant from patch to verdict, the campaign over all of them, its table.
Never:  patches (mutant.py), copies (scratch.py), what a catcher's end means (catchers.py).

What caught a mutant is run once more after the patch was taken out again: if the same seed fails without the bug too,
it says nothing about the bug, and that is a finding.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from tests.campaigns import Campaign, Finding, Options, Outcome, Report
from tests.mutants.catchers import CatcherBroken, Verdict, catch, passes
from tests.mutants.mutant import Mutant, all_mutants
from tests.mutants.scratch import ROOT, PatchRefused, apply, scratch_copy

CODE: Final = ("raft_actors", "kv", "analysis", "tests")
COLUMNS: Final = ("mutant", "class", "catcher", "caught_by", "after", "seconds", "broken")

_AGAIN_S: Final = 120.0
_MARGIN_S: Final = 120.0


def examine(mutant: Mutant, *, seeds: int, seconds: float, root: Path = ROOT) -> Outcome:
    """Run one mutant: one row, and a finding if it was not caught, or not for its bug."""
    finding: Finding | None = None
    verdict = Verdict(caught=False)
    replay = f"python -m tests.mutants run {mutant.name}"
    try:
        with scratch_copy(root) as tree:
            apply(mutant, tree)
            verdict = catch(mutant.catcher, tree, seeds=seeds, seconds=seconds)
            if not verdict.caught:
                text = f"{mutant.name} ({mutant.broken}) survived {verdict.after:,} of {mutant.catcher}"
                finding = Finding(rule="not caught", text=f"{text} in {verdict.seconds:.0f} s", replay=replay)
            else:
                apply(mutant, tree, undo=True)
                if not passes(verdict, tree, seconds=_AGAIN_S):
                    text = f"{mutant.name}: without the bug {' '.join(verdict.again)} fails too\n{verdict.text}"
                    finding = Finding(rule="caught for nothing", text=text, replay=replay)
    except (PatchRefused, CatcherBroken) as broken:
        finding = Finding(rule="not run", text=f"{mutant.name}: {broken}", replay=replay)
    row: dict[str, str | int | float] = {
        "mutant": mutant.name,
        "class": mutant.bug,
        "catcher": mutant.catcher.partition("::")[0],
        "caught_by": verdict.by if finding is None else f"- ({finding.rule})",
        "after": verdict.after,
        "seconds": round(verdict.seconds, 1),
        "broken": mutant.broken,
    }
    kind = mutant.catcher.split("::")[0].partition(" tests/")[0]
    counters = {f"caught by {kind}" if finding is None else finding.rule: 1}
    return Outcome(done=1, counters=counters, findings=() if finding is None else (finding,), rows=(row,))


def run_unit(unit: int, *, names: tuple[str, ...], seeds: int, seconds: float) -> Outcome:
    """The mutant with this place in the list."""
    mutant = next(each for each in all_mutants() if each.name == names[unit])
    return examine(mutant, seeds=seeds, seconds=seconds)


def run_all(mutants: Sequence[Mutant], *, seeds: int, seconds: float, options: Options) -> Report:
    """All these mutants; the table goes to stdout, and to docs/results when none was left out."""
    names = tuple(mutant.name for mutant in mutants)
    complete = len(names) == len(all_mutants())
    if not complete:  # a part of them is a look, not a result
        options = replace(options, results=None)
    report = Campaign(
        "mutants",
        units=len(names),
        items=len(names),
        noun="mutants",
        run_unit=partial(run_unit, names=names, seeds=seeds, seconds=seconds),
        parameters={"mutants": " ".join(names), "seeds": seeds, "seconds": seconds},
        unit_deadline_s=seconds + _AGAIN_S + _MARGIN_S,
        code=CODE,
        options=replace(options, finds_max=len(names)),
    ).run()
    rows = [row for _, row in sorted(report.state.rows, key=lambda each: each[0])]
    print(f"\n{_table(rows)}", flush=True)
    if options.results is not None and report.state.units_done == len(names):
        options.results.mkdir(parents=True, exist_ok=True)
        (options.results / "mutants-caught.csv").write_text(_csv(rows))
    return report


def _table(rows: Sequence[Mapping[str, str | int | float]]) -> str:
    shown = [{column: str(row[column]) for column in COLUMNS[:-1]} for row in rows]
    widths = {column: max([len(column), *(len(row[column]) for row in shown)]) for column in COLUMNS[:-1]}
    lines = [{column: column for column in COLUMNS[:-1]}, *shown]
    return "\n".join(
        "  ".join(f"{line[column]:<{width}}" for column, width in widths.items()).rstrip() for line in lines
    )


def _csv(rows: Sequence[Mapping[str, str | int | float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
