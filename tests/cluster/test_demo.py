"""The demo, small, on real processes: it kills a leader, restarts everything, finds nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import analysis
from kv.app.demo import demo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def run_small_demo(directory: Path) -> tuple[int, str]:
    arguments = ["--keys=2500", "--seconds=4", "--clients=4"]
    places = [f"--data-dir={directory / 'data'}", f"--record-dir={directory / 'runs'}"]
    result = CliRunner().invoke(demo, arguments + places)
    return result.exit_code, result.output


def test_a_killed_leader_and_a_restart_of_all_lose_nothing(
    ray_cluster: None, a_real_disk: None, tmp_path: Path
) -> None:
    code, output = run_small_demo(tmp_path)
    assert code == 0, output
    assert "nothing lost: 2,500 loaded keys" in output

    (path,) = (tmp_path / "runs").iterdir()
    assert f"the run lies in {path}" in output
    run = analysis.load_run(path)
    assert run.meta["complete"]
    assert set(run.ops["op"]) == {"put_many", "get", "put", "append"}
    assert list(run.faults["kind"]) == ["kill"]
    (kill,) = run.faults.to_dict("records")
    gaps = analysis.leader_gaps(run.ops, run.events, t_end=run.meta["t_end"])
    (change,) = gaps[gaps["t_leader"] > kill["t_start"]].to_dict("records")
    assert change["leader_before"] == kill["target"] != change["leader_after"]
    assert change["recovered"]
