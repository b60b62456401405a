"""The generic rows of the labs' key-value store, one line each (ruaft.md 2.2, 2.7, 2.10).

Here:   `SERVICE_ROWS`.
Never:  what a row does (service.py), rows that do something of their own (tests/cluster/test_service_rows.py).
"""

from __future__ import annotations

from typing import Final

from tests.catalogue.service import ServiceRow

SERVICE_ROWS: Final = (
    ServiceRow(name="basic_service", clients=1),
    ServiceRow(name="concurrent_client"),
    ServiceRow(name="unreliable_many_clients", unreliable=True),
    ServiceRow(name="many_partitions_one_client", clients=1, partitions=True),
    ServiceRow(name="many_partitions_many_client", partitions=True),
    ServiceRow(name="persist_one_client", clients=1, crashes=True),
    ServiceRow(name="persist_concurrent", crashes=True),
    ServiceRow(name="persist_concurrent_unreliable", crashes=True, unreliable=True),
    ServiceRow(name="persist_partition", crashes=True, partitions=True),
    ServiceRow(name="persist_partition_unreliable", crashes=True, partitions=True, unreliable=True, least=5),
    ServiceRow(
        name="linearizability", clients=15, size=7, crashes=True, partitions=True, unreliable=True, least=0, keys=100
    ),
    ServiceRow(name="snapshot_recover_test", clients=1, crashes=True, snapshot_log_bytes=1_000),
    ServiceRow(name="snapshot_recover_many_clients", clients=20, crashes=True, snapshot_log_bytes=1_000),
    ServiceRow(name="snapshot_unreliable_test", unreliable=True, snapshot_log_bytes=1_000),
    ServiceRow(name="snapshot_unreliable_recover_test", unreliable=True, crashes=True, snapshot_log_bytes=1_000),
    ServiceRow(
        name="snapshot_unreliable_recover_partition",
        unreliable=True,
        crashes=True,
        partitions=True,
        snapshot_log_bytes=1_000,
        least=0,
    ),
    ServiceRow(
        name="linearizability_snapshots",
        clients=15,
        size=7,
        crashes=True,
        partitions=True,
        unreliable=True,
        snapshot_log_bytes=1_000,
        least=0,
        keys=100,
    ),
    ServiceRow(name="snapshot_throughput", clients=32, crashes=True, snapshot_log_bytes=10_000),
)
