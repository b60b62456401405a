"""A program: a store on three nodes, one of which is lost by the fault injector. Prints what it saw as JSON.

Run by test_faults.py in a process of its own, because it connects to a Ray of its own.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import kv
from raft_actors import FaultFailed, faults
from tests.cluster.three_nodes import NAME, OPTIONS, RACKS, Nodes
from tests.cluster.world import all_running, eventually, row_of

PATIENT_S = 30.0


def main(root: Path) -> dict[str, Any]:
    """The story; what is returned is what the test judges."""
    nodes = Nodes(root, RACKS)
    with kv.start(NAME, **OPTIONS, faults=True) as store:
        eventually(lambda: all_running(NAME))
        inject = faults.connect(NAME)
        with contextlib.suppress(FaultFailed):
            inject.kill_node(0)  # the injector's own
        spared = row_of(NAME, 0).state == "running"
        inject.kill_node(2)
        version = store.put("without it", 1, timeout_s=PATIENT_S)
        eventually(lambda: row_of(NAME, 2).state == "unreachable")
        saw = {
            "its own node was spared": spared,
            "acknowledged": version > 0,
            "faults": [(row["kind"], row["target"], row["params"]["bit"]) for row in inject.faults()],
        }
        inject.close()
    kv.shutdown(NAME, delete_data=True)
    with contextlib.suppress(Exception):  # what Ray says at its end is not ours
        nodes.close()
    return saw


if __name__ == "__main__":
    print("SAW " + json.dumps(main(Path(sys.argv[1]))))
