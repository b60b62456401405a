"""`python -m tests.power_cuts`: cut the power of real file systems for long, or of one of them again.

Here:   the command line.
Never:  what is done to an image (image.py).

Needs root, ext4 and loop devices. Where that is not given it says what is missing and does nothing, which is no
failure: nothing was shown either, so no result is written.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from typing import Final

from tests.campaigns import Campaign, Options
from tests.power_cuts.disk import obstacle
from tests.power_cuts.image import MUST_BE_SEEN, run_image

CUTS_PER_IMAGE: Final = 25
"""Then a new file system is made, of another kind."""
CUTS: Final = 2_000
CUTS_ENOUGH: Final = 2_000
"""From so many on everything in `MUST_BE_SEEN` has to be seen."""
UNIT_DEADLINE_S: Final = 300


def main() -> int:
    """0: nothing found, or not possible here; 1: something found; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.power_cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=CUTS, metavar="N", help=f"in all (default {CUTS})")
    parser.add_argument("--image", type=int, metavar="N", help="only this one, --cuts times; nothing is recorded")
    Options.add_to(parser)
    parsed = parser.parse_args()
    reason = obstacle()
    if reason is not None:
        print(f"power-cuts: skipped: {reason}")
        return 0
    options = Options.of(parsed)
    if parsed.image is None:
        first, cuts_per_image, units = 0, CUTS_PER_IMAGE, -(-parsed.cuts // CUTS_PER_IMAGE)
    else:
        first, cuts_per_image, units = parsed.image, parsed.cuts, 1
        options = replace(options, anew=True, results=None)
    return (
        Campaign(
            "power-cuts" if parsed.image is None else "power-cuts-again",
            units=units,
            items=units * cuts_per_image,
            run_unit=partial(run_image, cuts=cuts_per_image, first=first),
            noun="cuts",
            parameters={"first": first, "cuts_per_image": cuts_per_image},
            unit_deadline_s=UNIT_DEADLINE_S,
            code=("raft_actors", "tests/storage", "tests/campaigns", "tests/power_cuts"),
            must_be_seen=MUST_BE_SEEN if units * cuts_per_image >= CUTS_ENOUGH else (),
            options=options,
        )
        .run()
        .exit_code
    )


if __name__ == "__main__":
    sys.exit(main())
