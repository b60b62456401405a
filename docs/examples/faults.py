"""A store that is hurt: of a partition's two sides the one with a majority goes on; healed, both do.

`python docs/examples/faults.py` starts a Ray on this machine; with RAY_ADDRESS=auto it uses a running one.
"""

import ray

import kv
from raft_actors import faults


def main() -> None:
    ray.init(log_to_driver=False)
    kv.start("hurt", faults=True)
    inject = faults.connect("hurt")
    alone = kv.status("hurt").leader or 0
    others = [member for member in range(3) if member != alone]
    with kv.connect("hurt", label="c1") as near, kv.connect("hurt", label="c2") as far:
        near.put("side", "both")
        inject.partition([alone, "c1"], [*others, "c2"])
        far.put("side", "the majority", timeout_s=20)
        try:
            near.get("side", timeout_s=1)
        except kv.KVError:
            print("c1: no answer")
        inject.heal()
        print("c1:", near.get("side", timeout_s=20))
    inject.check()  # raises if a fault touched nothing: then this would have shown nothing
    kv.shutdown("hurt", delete_data=True)


if __name__ == "__main__":
    main()
