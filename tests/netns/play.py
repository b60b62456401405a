"""`python -m tests.netns.play`: a segment as it runs on the first host. Leaves what it found as JSON.

Here:   a group with a member on each host, two drivers beside Ray's head, partitions, the verdict.
Never:  the hosts and their Ray, which are there before (segment.py).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import ray

import kv
from tests.chaos.disturbance import Disturbance
from tests.chaos.drivers import Driver
from tests.chaos.members import rack_of
from tests.chaos.verdict import Found, judged, last_look, wait_until
from tests.netns.kinds import KINDS, Hosts
from tests.netns.network import Network

SIZE: Final = 3
GROUP: Final = "netns"
RESULT: Final = "result.json"
"""In the directory of what runs on the hosts: Ray writes into everybody's output."""
LABELS: Final = (("c0", "c1", "c2", "c3"), ("c4", "c5", "c6", "c7"))
"""Of each driver's clients."""


def start_store(directory: Path | None) -> kv.Client:
    """A member on each host. `directory`: where its run is recorded."""
    return kv.start(
        GROUP,
        members=SIZE,
        data_dir="$NODE_DATA",
        placement=[{"rack": rack_of(member)} for member in range(SIZE)],
        record_dir=None if directory is None else str(directory),
    )


def main(address: str, prefix: str, directory: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Play it."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    found: Found = []
    with contextlib.ExitStack() as stack:
        drivers = [stack.enter_context(Driver(address, GROUP, seed, labels)) for labels in LABELS]
        store = stack.enter_context(start_store(directory / "run"))
        stack.callback(kv.shutdown, GROUP)
        hosts = Hosts(GROUP, Random(seed), Network(SIZE, prefix=prefix))
        disturbance = Disturbance(hosts, KINDS)
        began_s = time.monotonic()
        for driver in drivers:
            driver.go()
        disturbance.go_on_for(seconds)
        lasted_s = time.monotonic() - began_s
        found += [("a driver failed", why) for driver in drivers if (why := driver.end())]
        healed_s = wait_until(hosts.is_whole)
        if healed_s is None:
            found.append(("not whole when all is healed", "\n".join(map(str, kv.status(GROUP).members))))
        found += [("a last look", why) for why in last_look(store)]
    faulty, row = judged(directory / "run", lasted_s, disturbance.failures)
    row |= {"faults": disturbance.count, "healed_s": round(-1.0 if healed_s is None else healed_s, 1)}
    return {"found": found + faulty, "row": row, "bitten": disturbance.bitten(), "seconds": lasted_s}


if __name__ == "__main__":
    directory = Path(sys.argv[3])
    played = main(sys.argv[1], sys.argv[2], directory, float(sys.argv[4]), int(sys.argv[5]))
    (directory / RESULT).write_text(json.dumps(played))
