"""One segment: three hosts, a Ray on them, and the play on the first; nodes that Ray gives up are started again.

Here:   `run_segment`, the unit of `python -m tests.netns`; `on_hosts`, which runs any module of ours there.
Never:  partitions (kinds.py), the verdict (play.py), the command line (__main__.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.campaigns import Finding, Outcome
from tests.campaigns.outcome import ROOT
from tests.netns.network import Network
from tests.netns.play import RESULT
from tests.netns.rays import ENVIRONMENT, Rays

HOSTS: Final = 3
AFTERWARDS_S: Final = 600.0
"""For the beginning, the healing and the verdict."""
LOOK_S: Final = 0.5


def run_segment(unit: int, *, minutes: float, seed: int) -> Outcome:
    """Partitions for so many minutes, then the verdict."""
    said = on_hosts("tests.netns.play", minutes * 60, seed + unit)
    row, again = said["row"], f"python -m tests.netns chaos --seed {seed} --only {unit} --segment-minutes {minutes:g}"
    return Outcome(
        counters={"seconds": round(minutes * 60), "answered": row["answered"], **said["bitten"]},
        findings=tuple(Finding(rule=rule, text=text, replay=again) for rule, text in said["found"]),
        rows=({"segment": unit, "seconds": round(said["seconds"]), **row, "nodes_restarted": said["restarted"]},),
    )


def on_hosts(module: str, seconds: float, seed: int) -> dict[str, Any]:
    """What this module says that runs on the first host for about so long. What it leaves stays if it fails."""
    directory = Path(tempfile.mkdtemp(prefix="nc-", dir="/var/tmp"))  # short: Ray's sockets have names below it
    prefix, restarted = f"nc{os.getpid()}", 0
    with Network(HOSTS, prefix=prefix) as network, Rays(network, directory) as rays:
        command = [sys.executable, "-m", module, rays.address, prefix, str(directory), str(seconds), str(seed)]
        with (directory / "said").open("w") as told:
            playing = subprocess.Popen(
                network.on(0, *command), cwd=ROOT, stdout=told, stderr=told, env={**os.environ, **ENVIRONMENT}
            )
        deadline_s = time.monotonic() + seconds + AFTERWARDS_S
        try:
            while playing.poll() is None:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"{module} did not end in time; what it said is in {directory}")
                restarted += len(rays.mend())
                with suppress(subprocess.TimeoutExpired):
                    playing.wait(LOOK_S)
        finally:
            playing.kill()
            playing.wait()
    result = directory / RESULT
    if playing.returncode != 0 or not result.exists():
        told_last = (directory / "said").read_text(errors="replace").splitlines()[-40:]
        raise RuntimeError(f"{module} failed, see {directory}: " + "\n".join(told_last))
    said: dict[str, Any] = json.loads(result.read_text())
    if said.get("found"):
        print(f"what was recorded stays in {directory}", file=sys.stderr, flush=True)
    else:
        shutil.rmtree(directory)
    return said | {"restarted": restarted}
