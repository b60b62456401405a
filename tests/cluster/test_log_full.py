"""Without compaction a log ends at log_bytes_max: writes are refused with LogFull, definite, and reads go on."""

from __future__ import annotations

import kv
from raft_actors.config import RaftConfig

LIMIT_BYTES = 300_000


def refusal(store: kv.Client, key: str) -> kv.KVError | None:
    try:
        store.put(key, "x" * 10_000)
    except kv.KVError as failure:
        return failure
    return None


def test_a_full_log_refuses_writes_and_answers_reads(ray_cluster: object, group_name: str, data_dir: str) -> None:
    config = kv.Config(raft=RaftConfig(log_bytes_max=LIMIT_BYTES))
    with kv.start(group_name, data_dir=data_dir, config=config) as store:
        store.put("first", 1)
        refused = [failure for number in range(60) if (failure := refusal(store, f"k{number}")) is not None]
        assert refused
        assert {(type(failure), failure.outcome) for failure in refused} == {(kv.LogFull, "not_done")}
        assert store.get("first") == 1
        assert len(store.scan("k")) == 60 - len(refused), "what was refused is not there"
        members = kv.status(group_name).members
        assert any(member.log_bytes is not None and member.log_bytes >= LIMIT_BYTES for member in members)
