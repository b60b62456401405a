"""A store that records its run: what was done and who led is there afterwards, also when the recorder was killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import ray

import analysis
import kv
from raft_actors.names import NAMESPACE, recorder_name
from tests.cluster.world import FAST, actors_of, eventually

pytestmark = pytest.mark.cluster


def recorded(directory: Path) -> list[Path]:
    return sorted(path.parent for path in directory.glob("*/meta.json"))


def record_some(store: kv.Client) -> None:
    for number in range(20):
        store.put(f"k{number}", number)
        store.append("list", [number])
    assert store.get("k1") == 1
    with pytest.raises(kv.VersionMismatch):
        store.put("k1", 2, if_version=0)


class TestARun:
    """`record_dir` makes a run of the schema: ops from the client, events and gauges from the members."""

    def test_it_holds_the_operations_and_the_leader(self, group_name: str, data_dir: str, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        config = kv.Config(raft=FAST)
        with kv.start(group_name, members=1, data_dir=data_dir, config=config, record_dir=str(runs)) as store:
            record_some(store)
            kv.shutdown(group_name)
        (directory,) = recorded(runs)
        run = analysis.load_run(directory)
        assert run.meta["closed"]
        assert run.meta["cluster_size"] == 1
        assert run.meta["config"]["heartbeat_interval_ms"] == FAST.heartbeat_interval_ms
        assert Counter(run.ops["op"]) == {"append": 20, "get": 1, "put": 21}
        assert Counter(run.ops["status"]) == {"ok": 41, "not_done": 1}
        assert list(run.ops[run.ops["status"] != "ok"]["error"]) == ["VersionMismatch"]
        assert (run.ops["latency_ms"] > 0).all()
        assert (run.ops["t_return"] >= run.ops["t_invoke"]).all()
        assert set(run.ops["leader"]) == {"0"}
        assert run.ops["op_id"].is_unique
        assert "leader" in set(run.events["kind"])
        assert set(run.events["member"]) == {"0"}
        assert len(run.samples) > 0
        assert actors_of(group_name) == []

    def test_a_run_whose_recorder_was_killed_still_loads(self, group_name: str, data_dir: str, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        config = kv.Config(raft=FAST)
        with kv.start(group_name, members=1, data_dir=data_dir, config=config, record_dir=str(runs)) as store:
            record_some(store)
            (directory,) = eventually(lambda: recorded(runs))
            eventually(lambda: len(analysis.load_run(directory).ops) >= 40)
            eventually(lambda: "leader" in set(analysis.load_run(directory).events["kind"]))
            ray.kill(ray.get_actor(recorder_name(group_name), namespace=NAMESPACE), no_restart=True)
            store.put("after", 1)  # nobody minds that it is gone
            assert store.get("after") == 1
            kv.shutdown(group_name)
        run = analysis.load_run(directory)
        assert not run.meta["closed"]
        assert not run.meta["complete"]
        assert len(run.ops) >= 40
        assert "leader" in set(run.events["kind"])
