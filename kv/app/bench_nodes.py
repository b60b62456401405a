"""A Ray of several nodes on this machine, for benches of what goes from node to node.

Here:   `ray_of_nodes`.
Never:  what runs on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
from ray.cluster_utils import Cluster


@contextmanager
def ray_of_nodes(racks: Sequence[str], store_bytes: int) -> Iterator[None]:
    """A Ray of as many nodes, told apart by the label `rack`, each with so large an object store."""
    # It is nobody else's: the machine's "current" Ray stays what it is.
    before = ray._private.utils.write_ray_address, ray._common.utils.reset_ray_address
    ray._private.utils.write_ray_address = ray._common.utils.reset_ray_address = lambda *_, **__: None
    cluster = Cluster()
    try:
        for rack in racks:
            cluster.add_node(
                num_cpus=1, labels={"rack": rack}, include_dashboard=False, object_store_memory=store_bytes
            )
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
        ray._private.utils.write_ray_address, ray._common.utils.reset_ray_address = before
