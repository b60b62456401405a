"""The command line that chaos and partitions between hosts share, and what makes a whole run void.

Here:   `add_options`, `play`.
Never:  one segment (segment.py, tests/netns/segment.py).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tests.campaigns import Campaign, Options, Outcome
from tests.chaos.disturbance import Begun, name_of

SEGMENT_MINUTES: Final = 5.0
BITES_PER_HOUR: Final = 5
ANSWERED_PER_S: Final = 50


def add_options(parser: argparse.ArgumentParser, minutes: float) -> None:
    """`minutes`: of faults, unless it is said."""
    parser.add_argument(
        "--chaos", type=float, default=minutes, metavar="M", help=f"minutes of faults (default {minutes:g})"
    )
    parser.add_argument("--segment-minutes", type=float, default=SEGMENT_MINUTES, metavar="M", help="default 5")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is done, and when (default 1)")
    parser.add_argument("--only", type=int, metavar="SEGMENT", help="play one segment again; nothing is recorded")
    Options.add_to(parser)


def play(
    name: str,
    parsed: argparse.Namespace,
    run_segment: Callable[..., Outcome],
    kinds: Sequence[Callable[..., Begun]],
    *,
    afterwards_s: float,
    code: Sequence[str],
) -> int:
    """One segment, or as many as the minutes need. 0: nothing was found, and the run is not void; 1: else; 130:
    interrupted. `afterwards_s`: for the beginning, the healing and the judges of a segment."""
    minutes = parsed.segment_minutes
    if parsed.only is not None:
        outcome = run_segment(parsed.only, minutes=minutes, seed=parsed.seed)
        print(*outcome.rows, dict(outcome.counters), *outcome.findings, sep="\n")
        return 1 if outcome.findings else 0
    segments = math.ceil(parsed.chaos / minutes)
    names = [name_of(kind) for kind in kinds]
    report = Campaign(
        name,
        units=segments,
        items=segments,
        run_unit=partial(run_segment, minutes=minutes, seed=parsed.seed),
        noun="segments",
        parameters={"segment_minutes": minutes, "seed": parsed.seed},
        unit_deadline_s=minutes * 60 + afterwards_s,
        code=("raft_actors", "kv", "analysis", "tests/chaos", *code),
        must_be_seen=names,
        options=Options.of(parsed),
    ).run()
    counters, seconds = report.state.counters, report.state.counters["seconds"]
    least = math.floor(BITES_PER_HOUR * seconds / 3600)
    void = [f"{each} bit {counters[each]} times" for each in names if counters[each] < least]
    if counters["answered"] < ANSWERED_PER_S * seconds:
        void.append(f"{counters['answered'] / seconds:.1f} operations a second were answered")
    if void:
        print(f"the run is void: {'; '.join(void)}", file=sys.stderr)
    return report.exit_code or int(bool(void))
