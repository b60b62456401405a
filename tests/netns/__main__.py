"""`python -m tests.netns`: partitions between real hosts of one machine, each segment judged; how long Ray takes.

Here:   the command line; what makes a whole run void.
Never:  one segment (segment.py).
"""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial
from typing import Final

import pandas as pd

from tests.campaigns import Campaign, Options
from tests.chaos.disturbance import name_of
from tests.netns.kinds import KINDS
from tests.netns.network import missing
from tests.netns.segment import AFTERWARDS_S, on_hosts, run_segment

SEGMENT_MINUTES: Final = 5.0
BITES_PER_HOUR: Final = 5
RECONNECT_S: Final = 300.0
"""What the outages and the waits between them take, about."""


def main() -> int:
    """0: nothing was found, or no such hosts can be had here, which is said; 1: something; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.netns", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("chaos", "reconnect"))
    parser.add_argument("--chaos", type=float, default=20.0, metavar="M", help="minutes of partitions (default 20)")
    parser.add_argument("--segment-minutes", type=float, default=SEGMENT_MINUTES, metavar="M", help="default 5")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is cut, and when (default 1)")
    parser.add_argument("--only", type=int, metavar="SEGMENT", help="play one segment again; nothing is recorded")
    Options.add_to(parser)
    parsed = parser.parse_args()
    if why := missing():
        print(f"skipped: {why}", file=sys.stderr)
        return 0
    if parsed.what == "reconnect":
        _print_reconnects(pd.DataFrame(on_hosts("tests.netns.reconnect", RECONNECT_S, parsed.seed)["rows"]))
        return 0
    if parsed.only is not None:
        outcome = run_segment(parsed.only, minutes=parsed.segment_minutes, seed=parsed.seed)
        print(*outcome.rows, dict(outcome.counters), *outcome.findings, sep="\n")
        return 1 if outcome.findings else 0
    segments = math.ceil(parsed.chaos / parsed.segment_minutes)
    report = Campaign(
        "netns-chaos",
        units=segments,
        items=segments,
        run_unit=partial(run_segment, minutes=parsed.segment_minutes, seed=parsed.seed),
        noun="segments",
        parameters={"segment_minutes": parsed.segment_minutes, "seed": parsed.seed},
        unit_deadline_s=parsed.segment_minutes * 60 + 2 * AFTERWARDS_S,
        code=("raft_actors", "kv", "analysis", "tests/chaos", "tests/netns"),
        must_be_seen=[name_of(kind) for kind in KINDS],
        options=Options.of(parsed),
    ).run()
    least = math.floor(BITES_PER_HOUR * report.state.counters["seconds"] / 3600)
    rare = [name_of(kind) for kind in KINDS if report.state.counters[name_of(kind)] < least]
    if rare:
        print(f"the run is void: {', '.join(rare)} bit less than {least} times", file=sys.stderr)
    return report.exit_code or int(bool(rare))


def _print_reconnects(rows: pd.DataFrame) -> None:
    table = rows.groupby("outage_s").agg(["median", "max"])
    table.columns = [f"{column} {which}" for column, which in table.columns]
    print("Seconds from the healing on: the first host's actor answers, the last one's, a write is acknowledged.")
    print(table.to_string())


if __name__ == "__main__":
    sys.exit(main())
