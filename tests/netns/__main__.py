"""`python -m tests.netns`: partitions between real hosts of one machine, each segment judged; how long Ray takes.

Here:   the command line.
Never:  one segment (segment.py), what makes a run void (tests/chaos/command.py).
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

import pandas as pd

from tests.chaos.command import add_options, play
from tests.netns.kinds import KINDS
from tests.netns.network import missing
from tests.netns.segment import AFTERWARDS_S, on_hosts, run_segment

MINUTES: Final = 20.0
RECONNECT_S: Final = 300.0
"""What the outages and the waits between them take, about."""


def main() -> int:
    """0: nothing was found, or no such hosts can be had here, which is said; 1: something; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.netns", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("chaos", "reconnect"))
    add_options(parser, MINUTES)
    parsed = parser.parse_args()
    if why := missing():
        print(f"skipped: {why}", file=sys.stderr)
        return 0
    if parsed.what == "reconnect":
        _print_reconnects(pd.DataFrame(on_hosts("tests.netns.reconnect", RECONNECT_S, parsed.seed)["rows"]))
        return 0
    return play("netns-chaos", parsed, run_segment, KINDS, afterwards_s=2 * AFTERWARDS_S, code=("tests/netns",))


def _print_reconnects(rows: pd.DataFrame) -> None:
    table = rows.groupby("outage_s").agg(["median", "max"])
    table.columns = [f"{column} {which}" for column, which in table.columns]
    print("Seconds from the healing on: the first host's actor answers, the last one's, a write is acknowledged.")
    print(table.to_string())


if __name__ == "__main__":
    sys.exit(main())
