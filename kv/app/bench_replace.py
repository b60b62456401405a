"""A member killed with its disk removed, replaced without anybody being asked, under load.

Here:   `run_replace`: a follower, then the leader; from the SIGKILL to three voters that are in step again.
Never:  how a replacement is made (raft_actors/cluster), tables (figures.py), the command line (bench.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import kv
from kv.app.bench_load import Puts
from kv.app.bench_nodes import ray_of_nodes
from kv.app.figures import Figure
from kv.app.members import NotInTime, Watch, wait_until_whole
from kv.app.surroundings import fresh_directory
from raft_actors.config import MIB
from raft_actors.errors import RaftActorsError

RACKS: Final = ("a", "b", "c")
STORE_BYTES: Final = 100 * MIB
NAME: Final = "replace"
REPLACE_AFTER_S: Final = 10.0
PUTS_PER_S: Final = 100
BLOCK: Final = "x" * 1000
KEYS_BEFORE: Final = 20_000
WHOLE_S: Final = 60.0
STRENGTH_S_MAX: Final = 60.0
PATIENCE_S: Final = 180.0
LOOK_S: Final = 0.2
LAG_MAX: Final = 10
"""Entries under way; while somebody writes, a follower is always a message behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What came of it."""

    figures: list[Figure]
    lost: list[str]
    """Keys that were acknowledged and are not there."""


def run_replace(progress: Callable[[str], None]) -> Replaced:
    """Kill and wipe a follower, then the leader. Raises `NotInTime`."""
    directory = fresh_directory("replace")
    try:
        with ray_of_nodes(RACKS, STORE_BYTES):
            store = kv.start(
                NAME,
                data_dir=str(directory),
                placement=[{"rack": rack} for rack in RACKS],
                replace_after_s=REPLACE_AFTER_S,
            )
            try:
                with store:
                    return _replace_two(store, directory, progress)
            finally:
                kv.shutdown(NAME)
    finally:
        shutil.rmtree(directory)


def _replace_two(store: kv.Client, directory: Path, progress: Callable[[str], None]) -> Replaced:
    store.put_many({f"before/{number:06}": BLOCK for number in range(KEYS_BEFORE // 4)}, timeout_s=60)
    acknowledged = [f"before/{number:06}" for number in range(KEYS_BEFORE // 4)]
    figures = []
    with Watch(NAME) as watch, Puts(store, PUTS_PER_S, lambda number: f"beside/{number:08}") as puts:
        for who in ("a follower", "the leader"):
            status = wait_until_whole(watch, len(RACKS), WHOLE_S)
            leads = status.leader
            victim = next(m for m in status.members if (m.id == leads) == (who == "the leader"))
            began_s = time.monotonic()
            assert victim.pid is not None, "a member in step has a process"
            shutil.rmtree(directory / NAME / str(victim.id))
            os.kill(victim.pid, signal.SIGKILL)
            progress(f"member {victim.id}, {who}, is killed and its disk removed")
            _wait_for_strength(victim.id, victim.directory_id, progress, began_s)
            seconds = time.monotonic() - began_s
            figures.append(
                Figure(name=f"{who} lost: full strength after", value=seconds, unit="s", at_most=STRENGTH_S_MAX)
            )
    acknowledged += puts.acknowledged
    progress(f"looking for {len(acknowledged):,} acknowledged keys")
    lost = []
    for at in range(0, len(acknowledged), 1000):
        keys = acknowledged[at : at + 1000]
        found = store.get_many(keys, timeout_s=60)
        lost += [key for key in keys if key not in found]
    figures += [
        Figure(name=f"acknowledged puts at {PUTS_PER_S}/s meanwhile", value=len(puts.acknowledged)),
        Figure(name="puts that ended otherwise", value=puts.failed),
        Figure(name="slowest put", value=puts.slowest_s, unit="s"),
        Figure(name="acknowledged keys lost", value=len(lost), at_most=0),
    ]
    return Replaced(figures=figures, lost=lost)


def _wait_for_strength(
    member_id: int, lost_directory: str | None, progress: Callable[[str], None], began_s: float
) -> None:
    """Until that place is served by another directory which votes, runs, and lags no more."""
    said = ""
    while time.monotonic() - began_s < PATIENCE_S:
        try:
            rows = {row.id: row for row in kv.membership(NAME).list()}
            running = [member for member in kv.status(NAME).members if member.state == "running"]
        except RaftActorsError as failure:  # no leader at this moment
            sentence, whole = str(failure), False
        else:
            line = rows[member_id]
            sentence = f"member {member_id} is {line.is_}"
            in_step = all(row.lag is not None and row.lag <= LAG_MAX for row in rows.values())
            replaced = line.is_ == "voter" and line.directory_id != lost_directory
            whole = replaced and in_step and len(running) == len(RACKS)
        if sentence != said:
            progress(f"{time.monotonic() - began_s:5.1f} s  {sentence}")
        said = sentence
        if whole:
            return
        time.sleep(LOOK_S)
    raise NotInTime(f"member {member_id} was not replaced within {PATIENCE_S:.0f} s ({said}); see its log")
