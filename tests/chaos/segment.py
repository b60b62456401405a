"""One segment: a fresh Ray, a group, two drivers, faults for some minutes; then everything heals and is judged.

Here:   `run_segment`, the unit of `python -m tests.chaos`.
Never:  kinds of faults (kinds.py), their loop (disturbance.py), the verdict (verdict.py), the command line.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

import kv
from raft_actors import RaftConfig, faults
from tests.campaigns import Finding, Outcome
from tests.chaos.disturbance import Disturbance
from tests.chaos.drivers import Driver
from tests.chaos.kinds import KINDS
from tests.chaos.members import rack_of
from tests.chaos.scene import Scene
from tests.chaos.verdict import Found, Row, judged, last_look, wait_until
from tests.cluster.three_nodes import RACKS, Nodes

SIZES: Final = (3, 5)
"""Of the groups, in turns."""
DRIVERS: Final = 2
CLIENTS: Final = 4
"""Of each driver."""
REPLACE_AFTER_S: Final = 10.0
SNAPSHOT_LOG_BYTES: Final = 100_000


def run_segment(unit: int, *, minutes: float, seed: int) -> Outcome:
    """Faults for so many minutes, then the verdict. What it leaves on the disk stays where something was found."""
    directory = Path(tempfile.mkdtemp(prefix="chaos-", dir="/var/tmp"))
    try:
        found, row, bitten = _play(unit, minutes, seed, directory)
    except BaseException:
        print(f"segment {unit}: what was recorded stays in {directory}", file=sys.stderr, flush=True)
        raise
    if found:
        print(f"segment {unit}: what was recorded stays in {directory}", file=sys.stderr, flush=True)
    else:
        shutil.rmtree(directory)
    again = f"python -m tests.chaos --seed {seed} --only {unit} --segment-minutes {minutes:g}"
    return Outcome(
        counters={"seconds": round(minutes * 60), "answered": int(row["answered"]), **bitten},
        findings=tuple(Finding(rule=rule, text=text, replay=again) for rule, text in found),
        rows=(row,),
    )


def _play(unit: int, minutes: float, seed: int, directory: Path) -> tuple[Found, Row, Counter[str]]:
    """What was found, the row of the table, and how often each kind bit."""
    size, group = SIZES[unit % len(SIZES)], f"chaos{unit}"
    labels = [[f"c{driver * CLIENTS + number}" for number in range(CLIENTS)] for driver in range(DRIVERS)]
    found: Found = []
    nodes = Nodes(directory / "nodes", RACKS[:1])
    try:
        with contextlib.ExitStack() as stack:
            # They connect while there is one node: a driver belongs to any of those on its machine, and dies with it.
            drivers = [stack.enter_context(Driver(nodes.address, group, seed + unit, each)) for each in labels]
            for rack in RACKS[1:]:
                nodes.add(rack)
            store = stack.enter_context(
                kv.start(
                    group,
                    members=size,
                    data_dir="$NODE_DATA",
                    placement=[{"rack": rack_of(member)} for member in range(size)],
                    config=kv.Config(raft=RaftConfig(snapshot_log_bytes=SNAPSHOT_LOG_BYTES)),
                    record_dir=str(directory / "run"),
                    replace_after_s=REPLACE_AFTER_S,
                    faults=True,
                )
            )
            stack.callback(kv.shutdown, group)
            injector = stack.enter_context(faults.connect(group, seed=seed + unit))
            scene = Scene(
                group,
                size,
                Random(f"{seed} {unit}"),
                clients=[label for each in labels for label in each],
                faults=injector,
                nodes=nodes,
            )
            disturbance = Disturbance(scene, KINDS)
            began_s = time.monotonic()
            for driver in drivers:
                driver.go()
            disturbance.go_on_for(minutes * 60)
            seconds = time.monotonic() - began_s
            injector.heal()
            found += [("a driver failed", why) for driver in drivers if (why := driver.end())]
            healed_s = wait_until(scene.is_whole)
            if healed_s is None:
                found.append(("not whole when all is healed", "\n".join(map(str, kv.status(group).members))))
            found += [("a last look", why) for why in last_look(store)]
            bitten = disturbance.bitten()
    finally:
        with contextlib.suppress(Exception):  # what Ray says at its end is not ours
            nodes.close()
    faulty, row = judged(directory / "run", seconds, disturbance.failures)
    facts: Row = {"segment": unit, "members": size, "seconds": round(seconds), "faults": disturbance.count}
    healed: Row = {"healed_s": round(-1.0 if healed_s is None else healed_s, 1)}
    return found + faulty, facts | row | healed, bitten
