"""`python -m tests.catalogue`: every row of the catalogue on real Ray actors, as often as is wanted.

Here:   the command line.
Never:  rows (rows_*.py), one run of one (campaign.py).
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Final

from tests.campaigns import Campaign, Options
from tests.catalogue.campaign import UNIT_DEADLINE_S, run_test, tests

MARKED: Final = {"all": "cluster", "real-time": "cluster and not catalogue"}
"""What `--rows` means, as pytest's markers say it."""


def main() -> int:
    """0: all green; 1: something failed; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.catalogue", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", choices=sorted(MARKED), default="all", help="real-time: those of `make test` alone")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="how often each (default 1)")
    Options.add_to(parser)
    parsed = parser.parse_args()
    ids = tests(MARKED[parsed.rows])
    units = len(ids) * parsed.repeat
    return (
        Campaign(
            "catalogue" if parsed.rows == "all" else f"catalogue-{parsed.rows}",
            units=units,
            items=units,
            run_unit=partial(run_test, ids=ids),
            noun="tests",
            parameters={"rows": parsed.rows},
            unit_deadline_s=UNIT_DEADLINE_S,
            code=("raft_actors", "kv", "tests/catalogue", "tests/cluster"),
            options=Options.of(parsed),
        )
        .run()
        .exit_code
    )


if __name__ == "__main__":
    sys.exit(main())
