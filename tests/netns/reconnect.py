"""`python -m tests.netns.reconnect`: how long Ray needs after an outage, and how long the store needs beside it.

Here:   all hosts are apart for some seconds; from the healing on, the first answer of a plain actor on another host,
        and the first acknowledged write of a store with a member on each. Leaves rows as JSON.
Never:  the hosts (segment.py).

The kernel sends again what was lost, each time after twice as long, so the silence goes on for up to as long again as
the outage lasted. Whatever a store on Ray does, it hears nothing before Ray does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any, Final

import ray

import kv
from tests.chaos.members import Members, rack_of
from tests.chaos.verdict import wait_until
from tests.cluster.world import eventually
from tests.netns.network import Network
from tests.netns.play import GROUP, RESULT, SIZE, start_store

OUTAGES_S: Final = (1.0, 3.0, 5.0, 10.0)
ROUNDS: Final = 3
APART_S: Final = 0.1
PATIENCE_S: Final = 60.0


class Echo:
    """Answers."""

    def echo(self, number: int) -> int:
        return number


def main(address: str, prefix: str) -> dict[str, Any]:
    """All outages, in turns."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    network, rows = Network(SIZE, prefix=prefix), []
    echoes = [ray.remote(num_cpus=0)(Echo).options(label_selector={"rack": rack_of(host)}).remote() for host in (1, 2)]
    with start_store(None) as store, ThreadPoolExecutor(3) as pool:
        members = Members(GROUP, SIZE, Random(0))
        for _ in range(ROUNDS):
            for outage_s in OUTAGES_S:
                ray.get([echo.echo.remote(0) for echo in echoes], timeout=PATIENCE_S)
                assert wait_until(members.is_whole) is not None
                for pair in permutations(network.hosts, 2):
                    network.cut(*pair)
                healed = threading.Event()
                asked = [pool.submit(_answered, echo, healed) for echo in echoes]
                time.sleep(outage_s)
                for pair in permutations(network.hosts, 2):
                    network.mend(*pair)
                healed.set()
                write = pool.submit(_written, store, time.monotonic())
                ray_s = sorted(each.result() for each in asked)
                rows.append({"outage_s": outage_s, "ray_s": ray_s[0], "ray_last_s": ray_s[1], "put_s": write.result()})
        kv.shutdown(GROUP)
    return {"rows": rows}


def _answered(echo: Any, healed: threading.Event) -> float:
    """Seconds from the healing until one of our calls is answered. They are made all the time, as members' are: a
    connection on which nothing was lost goes on at once."""
    calls = []
    while not healed.wait(APART_S):
        calls.append(echo.echo.remote(len(calls)))
    began_s = time.monotonic()
    while not ray.wait(calls, num_returns=1, timeout=APART_S)[0] and time.monotonic() - began_s < PATIENCE_S:
        calls.append(echo.echo.remote(len(calls)))
    return round(time.monotonic() - began_s, 2)


def _written(store: kv.Client, healed_s: float) -> float:
    eventually(lambda: store.put("after the outage", healed_s, timeout_s=1.0), PATIENCE_S)
    return round(time.monotonic() - healed_s, 2)


if __name__ == "__main__":
    (Path(sys.argv[3]) / RESULT).write_text(json.dumps(main(sys.argv[1], sys.argv[2])))
