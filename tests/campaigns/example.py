"""A campaign that does whatever a test of campaigns wants: `python -m tests.campaigns.example`.

Here:   units that count, find, raise, hang, exit and are killed, and a note of each unit that ended.
Never:  anything of the product.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.campaigns import Campaign, Finding, Options, Outcome


def run_unit(unit: int, *, home: str, sleep_s: float = 0.0, misdeeds: tuple[str, ...] = ()) -> Outcome:
    """`misdeeds` are like "raise:3": unit 3 raises."""
    what = dict(each.partition(":")[::2] for each in misdeeds)
    if what.get("raise") == str(unit):
        raise ValueError(f"unit {unit} does not want to, says {__file__}")
    if what.get("exit") == str(unit):
        os._exit(7)
    if what.get("kill") == str(unit):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.get("hang") == str(unit):
        child = subprocess.Popen(["sleep", "600"])
        Path(home, "child").write_text(str(child.pid))
        hang()
    time.sleep(sleep_s)
    with Path(home, "ended").open("a") as notes:
        notes.write(f"{unit}\n")
    found = (
        (Finding(rule="odd", text="it was told to", replay=f"unit {unit}"),) if what.get("find") == str(unit) else ()
    )
    rows = ({"unit": unit, "square": unit**2, "process": os.getpid()},) if "rows" in what else ()
    return Outcome(done=10, counters={"units": 1, "even": 1 - unit % 2}, findings=found, rows=rows)


def hang() -> None:
    """Long."""
    time.sleep(600)


def main() -> int:
    """A campaign of units of 10 things."""
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("--units", type=int, default=5)
    parser.add_argument("--sleep", type=float, default=0.0)
    Options.add_to(parser)
    parsed = parser.parse_args()
    options = Options(
        workers=parsed.workers,
        minutes=parsed.minutes,
        anew=parsed.anew,
        states=Path(parsed.home, "states"),
        results=Path(parsed.home, "results"),
    )
    return (
        Campaign(
            "example",
            units=parsed.units,
            items=10 * parsed.units,
            run_unit=partial(run_unit, home=parsed.home, sleep_s=parsed.sleep),
            noun="things",
            parameters={"sleep": parsed.sleep},
            unit_deadline_s=10,
            code=("tests/campaigns",),
            options=options,
        )
        .run()
        .exit_code
    )


if __name__ == "__main__":
    sys.exit(main())
