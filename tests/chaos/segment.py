"""One segment: a fresh Ray, a group, two drivers, faults for some minutes; then everything heals and is judged.

Here:   `run_segment`, the unit of `python -m tests.chaos`; `Deck`; `Disturbance`, the loop of faults.
Never:  kinds of faults (kinds.py), clients (driver.py), the command line (__main__.py).
"""

from __future__ import annotations

import contextlib
import heapq
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TextIO

import ray

import kv
from analysis import Run, check_run, load_run
from analysis.check import RunVerdict
from analysis.linearizability import Judgement
from raft_actors import RaftConfig, faults
from raft_actors.errors import FaultFailed, RaftActorsError
from tests.campaigns import Finding, Outcome
from tests.campaigns.outcome import ROOT
from tests.chaos.kinds import KINDS, Begun, Kind, name_of, seconds_of
from tests.chaos.scene import NotNow, Scene, rack_of
from tests.cluster.three_nodes import RACKS, Nodes

SIZES: Final = (3, 5)
"""Of the groups, in turns."""
DRIVERS: Final = 2
CLIENTS: Final = 4
"""Of each driver."""
APART_S: Final = (3.0, 10.0)
"""From one fault's begin to the next one's."""
REPLACE_AFTER_S: Final = 10.0
SNAPSHOT_LOG_BYTES: Final = 100_000
CONNECT_S: Final = 60.0
HEAL_S: Final = 180.0
"""All members are voters in step by then, whatever was done to them."""
READ_S: Final = 30.0
JUDGE_S: Final = 120.0
LOOK_S: Final = 0.5


class Deck:
    """Kinds in an order that deals each as often as any other."""

    def __init__(self, kinds: Sequence[Kind], dice: Random) -> None:
        self._kinds = kinds
        self._dice = dice
        self._cards: list[Kind] = []

    def deal(self) -> Kind:
        """The next one."""
        if not self._cards:
            self._cards = self._dice.sample(self._kinds, len(self._kinds))
        return self._cards.pop()

    def put_back(self, kind: Kind) -> None:
        """It could not be played; it comes again soon."""
        self._cards.insert(self._dice.randint(0, len(self._cards)), kind)


@dataclass(order=True, slots=True)
class _Lasting:
    until_s: float
    kind: Kind = field(compare=False)
    begun: Begun = field(compare=False)


class Disturbance:
    """One fault after the other; several last at a time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._deck = Deck(KINDS, scene.dice)
        self._lasting: list[_Lasting] = []
        self._rules: list[tuple[Kind, tuple[str, ...]]] = []
        self._bitten: Counter[str] = Counter()
        self.failures: list[str] = []
        """What the injector said it could not do."""

    def go_on_for(self, seconds: float) -> None:
        """Until then; all that lasts still is ended."""
        end_s = time.monotonic() + seconds
        next_s = time.monotonic() + self._scene.dice.uniform(*APART_S)
        while (now_s := time.monotonic()) < end_s:
            if self._lasting and self._lasting[0].until_s <= now_s:
                self._end(heapq.heappop(self._lasting))
            elif next_s <= now_s:
                next_s = now_s + self._scene.dice.uniform(*APART_S) if self._begin() else now_s + LOOK_S
            else:
                ends_s = self._lasting[0].until_s if self._lasting else end_s
                time.sleep(max(0.0, min(end_s, next_s, ends_s) - now_s))
        while self._lasting:
            self._end(heapq.heappop(self._lasting))

    def bitten(self) -> Counter[str]:
        """How often each kind did something."""
        bit = {row["fault_id"] for row in self._scene.faults.faults() if row["params"]["bit"]}
        rules = Counter(name_of(kind) for kind, ids in self._rules if bit.intersection(ids))
        return self._bitten + rules

    def _begin(self) -> bool:
        kind = self._deck.deal()
        try:
            begun = kind(self._scene)
        except NotNow:
            self._deck.put_back(kind)
            return False
        except RaftActorsError as failure:
            self.failures.append(f"{name_of(kind)}: {failure}")
            return True
        if rules := tuple(rule for rule in begun.rules if rule is not None):
            self._rules.append((kind, rules))
        else:
            self._bitten[name_of(kind)] += 1
        self._scene.hit |= begun.hits
        if begun.end is not None:
            until_s = time.monotonic() + seconds_of(kind, self._scene)
            heapq.heappush(self._lasting, _Lasting(until_s, kind, begun))
        return True

    def _end(self, lasting: _Lasting) -> None:
        assert lasting.begun.end is not None, "only what ends lasts"
        try:
            lasting.begun.end()
        except FaultFailed as failure:
            self.failures.append(f"the end of {name_of(lasting.kind)}: {failure}")
        self._scene.hit -= lasting.begun.hits


def run_segment(unit: int, *, minutes: float, seed: int) -> Outcome:
    """Faults for so many minutes, then the verdict."""
    directory = Path(tempfile.mkdtemp(prefix="chaos-", dir="/var/tmp"))
    kept = False
    try:
        findings, row, bitten = _play(unit, minutes, seed, directory)
        kept = bool(findings)
    except BaseException:
        kept = True
        raise
    finally:
        if not kept:
            shutil.rmtree(directory)
    if kept:
        print(f"segment {unit}: its run and its members' data stay in {directory}", file=sys.stderr, flush=True)
    again = f"python -m tests.chaos --seed {seed} --only {unit} --segment-minutes {minutes:g}"
    return Outcome(
        done=1,
        counters={"seconds": round(minutes * 60), "answered": int(row["answered"]), **bitten},
        findings=tuple(Finding(rule=rule, text=text, replay=again) for rule, text in findings),
        rows=(row,),
    )


def _play(
    unit: int, minutes: float, seed: int, directory: Path
) -> tuple[list[tuple[str, str]], dict[str, str | int | float], Counter[str]]:
    """What was found, the row of the table, and how often each kind bit."""
    dice = Random(f"{seed} {unit}")
    size, group = SIZES[unit % len(SIZES)], f"chaos{unit}"
    labels = [[f"c{driver * CLIENTS + number}" for number in range(CLIENTS)] for driver in range(DRIVERS)]
    findings: list[tuple[str, str]] = []
    nodes = Nodes(directory / "nodes", RACKS[:1])
    try:
        with contextlib.ExitStack() as stack:
            # They connect while there is one node: with several on a machine a driver is any one's, and may die with it
            drivers = [stack.enter_context(_driver(nodes.address, group, seed + unit, each)) for each in labels]
            for rack in RACKS[1:]:
                nodes.add(rack)
            store = stack.enter_context(
                kv.start(
                    group,
                    members=size,
                    data_dir="$NODE_DATA",
                    placement=[{"rack": rack_of(member)} for member in range(size)],
                    config=kv.Config(raft=RaftConfig(snapshot_log_bytes=SNAPSHOT_LOG_BYTES)),
                    record_dir=str(directory / "run"),
                    replace_after_s=REPLACE_AFTER_S,
                    faults=True,
                )
            )
            stack.callback(kv.shutdown, group)
            injector = stack.enter_context(faults.connect(group, seed=seed + unit))
            scene = Scene(group, size, [label for each in labels for label in each], injector, nodes, dice)
            disturbance = Disturbance(scene)
            began_s = time.monotonic()
            for driver in drivers:
                _say(driver, "go")
            disturbance.go_on_for(minutes * 60)
            seconds = time.monotonic() - began_s
            injector.heal()
            for driver in drivers:
                if why := _ended(driver):
                    findings.append(("a driver failed", why))
            healed_s = _wait_until(scene.is_whole)
            if healed_s is None:
                findings.append(("not whole when all is healed", _said(group)))
            findings += [("a last look", why) for why in _last_look(store, scene)]
            bitten = disturbance.bitten()
            fault_count = len(injector.faults())
    finally:
        with contextlib.suppress(Exception):  # what Ray says at its end is not ours
            nodes.close()
    (path,) = (directory / "run").iterdir()
    run = load_run(path)
    verdict = check_run(run, time_budget_s=JUDGE_S)
    if verdict.judgement is not Judgement.OK:
        why = [*verdict.reasons, *disturbance.failures, verdict.failing_rows().to_string()]
        findings.append((f"the history is {verdict.judgement.value}", "\n".join(why)))
    row = _row(unit, size, seconds, run, verdict)
    return findings, row | {"faults": fault_count, "healed_s": round(healed_s or -1.0, 1)}, bitten


def _row(unit: int, size: int, seconds: float, run: Run, verdict: RunVerdict) -> dict[str, str | int | float]:
    answered = run.ops[run.ops["status"] == "ok"]
    returns = answered["t_return"].sort_values()
    return {
        "segment": unit,
        "members": size,
        "seconds": round(seconds),
        "answered": len(answered),
        "per_s": round(len(answered) / seconds, 1),
        "not_done": int((run.ops["status"] == "not_done").sum()),
        "unknown": int((run.ops["status"] == "unknown").sum()),
        "longest_gap_s": round(float(returns.diff().max()) / 1e9, 1),
        "calls_judged": verdict.call_count,
        "verdict": verdict.judgement.value,
    }


def _wait_until(look: Any) -> float | None:
    """Seconds until it is so; None: it was not."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < HEAL_S:
        if look():
            return time.monotonic() - began_s
        time.sleep(LOOK_S)
    return None


def _said(group: str) -> str:
    return "\n".join(str(row) for row in kv.status(group).members)


def _last_look(store: kv.Client, scene: Scene) -> Iterator[str]:
    """Whether all members have the same state: by its chain, and by every key as each member reads it itself."""
    members: list[Any] = []

    def is_equal() -> bool:
        members[:] = kv.status(scene.group).members
        return len({(row.last_applied, row.chain) for row in members}) == 1

    if _wait_until(is_equal) is None:
        yield f"states differ: {[(row.id, row.last_applied, row.chain) for row in members]}"
    keys = [key for key, _ in store.scan_iter(timeout_s=READ_S)]
    if not keys:
        yield "the store is empty"
    for key in keys:
        told = ray.get([server.get_versioned.remote(key, "stale") for server in store.servers], timeout=READ_S)
        if any(each is None for each in told) or len({(each.version, repr(each.value)) for each in told}) != 1:
            yield f"{key!r} is not the same at all members: {told}"


# -- drivers -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _driver(address: str, group: str, seed: int, labels: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A connected one; it is gone in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.driver", address, group, str(seed), *labels],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert _pipe(process.stdout).readline() == "connected\n", _pipe(process.stderr).read()
        yield process
    finally:
        process.kill()
        process.wait()


def _say(driver: subprocess.Popen[str], word: str) -> None:
    _pipe(driver.stdin).write(word + "\n")
    _pipe(driver.stdin).flush()


def _ended(driver: subprocess.Popen[str]) -> str:
    """Why it did not end well; empty where it did."""
    try:
        _, said = driver.communicate(timeout=CONNECT_S)
    except subprocess.TimeoutExpired:
        return f"it did not end within {CONNECT_S:.0f} s"
    return "" if driver.returncode == 0 else f"{driver.returncode}: {said[-3000:]}"


def _pipe(stream: TextIO | Any) -> TextIO:
    assert stream is not None, "made with pipes"
    return stream  # type: ignore[no-any-return]
