"""`python -m tests.storage.campaigns k5|k6|k8|k16|all`: attack the storage for long, or look at one unit again.

Here:   the command line.
Never:  which campaigns there are (kinds.py).

`--json` ends at the first finding and says it in a last line of JSON; with it, or with `--first`, nothing is recorded
and nothing is gone on with: those are for looking at a change or at a finding.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.campaigns import Campaign, Options, Report
from tests.storage.campaigns.kinds import KINDS, run_unit

UNIT_DEADLINE_S: Final = 300
"""A unit takes some seconds; a machine may be busy."""

CODE: Final = ("raft_actors", "kv", "tests/storage", "tests/campaigns")


def run(name: str, *, first: int, count: int | None, options: Options) -> Report:
    """One campaign, whole or in part."""
    kind = KINDS[name]
    units = kind.units if count is None else count
    whole = first == 0 and units >= kind.units
    return Campaign(
        f"storage-{name}",
        units=units,
        items=units * kind.items_per_unit,
        run_unit=partial(run_unit, kind=name, first=first),
        noun=kind.noun,
        parameters={"first": first},
        unit_deadline_s=UNIT_DEADLINE_S,
        code=CODE,
        must_be_seen=kind.must_be_seen if whole else (),
        options=options,
    ).run()


def said(name: str, first: int, report: Report) -> dict[str, Any]:
    """The end of a campaign for a program: how much was run and, if something was found, the first of it."""
    facts = {
        "campaign": name,
        "end": report.end,
        "count_run": report.state.units_done,
        "items_run": report.state.items,
        "noun": KINDS[name].noun,
    }
    if report.state.findings:
        finding = report.state.findings[0]
        facts |= {"case": first + int(finding["unit"]), "rule": finding["rule"], "text": finding["text"]}
    elif report.never_seen:
        facts |= {"case": first, "rule": "never seen", "text": ", ".join(report.never_seen)}
    return facts


def main() -> int:
    """0: nothing found; 1: something found; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.storage.campaigns", description=__doc__)
    parser.add_argument("kind", choices=(*KINDS, "all"), help="which; all of them one after the other")
    parser.add_argument("--first", type=int, metavar="N", help="begin at this unit; nothing is recorded")
    parser.add_argument("--count", type=int, metavar="N", help="so many units (default: a whole campaign)")
    parser.add_argument("--json", action="store_true", help="end at the first finding, say it as a last line of JSON")
    Options.add_to(parser)
    parsed = parser.parse_args()
    options, first = Options.of(parsed), parsed.first or 0
    code = 0
    with tempfile.TemporaryDirectory(prefix="storage-campaigns-") as scratch:
        if parsed.json or parsed.first is not None:
            options = replace(options, states=Path(scratch), results=None)
        if parsed.json:
            options = replace(options, finds_max=0)
        for name in KINDS if parsed.kind == "all" else (parsed.kind,):
            report = run(name, first=first, count=parsed.count, options=options)
            code = code or report.exit_code
            if parsed.json:
                print(json.dumps(said(name, first, report)), flush=True)
            if code == 130 or (code and parsed.json):
                break
    return code


if __name__ == "__main__":
    sys.exit(main())
