"""`python -m tests.chaos`: minutes of faults on real actors, in segments, each with a verdict on its history.

Here:   the command line, and what makes a whole run void.
Never:  one segment (segment.py).
"""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from typing import Final

from tests.campaigns import Campaign, Options
from tests.chaos.disturbance import name_of
from tests.chaos.kinds import KINDS
from tests.chaos.segment import run_segment

SEGMENT_MINUTES: Final = 5.0
AFTERWARDS_S: Final = 900.0
"""For the beginning, the healing and the judges of a segment."""
BITES_PER_HOUR: Final = 5
ANSWERED_PER_S: Final = 50


def main() -> int:
    """0: nothing was found, and the run is not void; 1: else; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chaos", type=float, default=60.0, metavar="M", help="minutes of faults (default 60)")
    parser.add_argument("--segment-minutes", type=float, default=SEGMENT_MINUTES, metavar="M", help="default 5")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is done, and when (default 1)")
    parser.add_argument("--only", type=int, metavar="SEGMENT", help="play one segment again; nothing is recorded")
    Options.add_to(parser)
    parsed = parser.parse_args()
    if parsed.only is not None:
        outcome = run_segment(parsed.only, minutes=parsed.segment_minutes, seed=parsed.seed)
        print(*outcome.rows, dict(outcome.counters), *outcome.findings, sep="\n")
        return 1 if outcome.findings else 0
    segments = math.ceil(parsed.chaos / parsed.segment_minutes)
    report = Campaign(
        "chaos",
        units=segments,
        items=segments,
        run_unit=partial(run_segment, minutes=parsed.segment_minutes, seed=parsed.seed),
        noun="segments",
        parameters={"segment_minutes": parsed.segment_minutes, "seed": parsed.seed},
        unit_deadline_s=parsed.segment_minutes * 60 + AFTERWARDS_S,
        code=("raft_actors", "kv", "analysis", "tests/chaos"),
        must_be_seen=[name_of(kind) for kind in KINDS],
        options=Options.of(parsed),
    ).run()
    counters, hours = report.state.counters, report.state.counters["seconds"] / 3600
    void = [
        f"{name_of(kind)} bit {counters[name_of(kind)]} times"
        for kind in KINDS
        if counters[name_of(kind)] < math.floor(BITES_PER_HOUR * hours)
    ]
    if hours and counters["answered"] / (hours * 3600) < ANSWERED_PER_S:
        void.append(f"{counters['answered'] / (hours * 3600):.1f} operations a second were answered")
    if void:
        print(f"the run is void: {'; '.join(void)}", file=sys.stderr)
    return report.exit_code or int(bool(void))


if __name__ == "__main__":
    sys.exit(main())
