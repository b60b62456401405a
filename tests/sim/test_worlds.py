"""Worlds from seeds: a sample of them, that each is the same every time, and what a failure tells.

The sample is small; `make sim` runs as many as are wanted, and `make test` some more than stand here.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sim.checks import Violation
from tests.sim.nemesis import Nemesis
from tests.sim.options import FAULTS, FILE_FAULTS, draw
from tests.sim.seeds import run_unit
from tests.sim.watch import MUST_BE_SEEN, Watch
from tests.sim.world import World, WorldFailed

EVENTS = 400
SOURCES = (
    "watch",
    "administrator",
    "nemesis",
    "member",
    "peer",
    "disk_daemon",
    "filing",
    "transfers",
    "world",
    "client",
    "rest",
)
"""Files that count."""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 41, 20))
def test_a_sample_of_worlds(first: int) -> None:
    for seed in range(first, first + 20):
        World(seed).run(EVENTS)


@pytest.mark.slow
def test_a_long_world() -> None:
    World(5).run(4_000)


@pytest.mark.long
def test_a_seed_is_a_world_in_every_process() -> None:
    """Two hundred seeds, twice, in processes whose hashes differ: everything that happens, happens again."""
    assert traces(hash_seed=1) == traces(hash_seed=2)


def traces(hash_seed: int) -> list[str]:
    code = (
        "from tests.sim.world import World\n"
        "for seed in range(1, 201):\n"
        "    world = World(seed, kept=None)\n"
        "    world.run(100)\n"
        "    print(world.trace())\n"
    )
    around = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    ended = subprocess.run([sys.executable, "-c", code], env=around, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert len(set(lines)) == 200, "each world is another one"
    return lines


def test_two_seeds_are_two_worlds_and_one_is_one() -> None:
    worlds = [World(seed, kept=None) for seed in (7, 7, 8)]
    for world in worlds:
        world.run(50)
    assert worlds[0].trace() == worlds[1].trace() != worlds[2].trace()


def test_a_failure_tells_seed_options_story_and_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Watch, *_: object) -> None:
        raise Violation("a rule", "what was seen")

    monkeypatch.setattr(Watch, "role_changed", broken)
    with pytest.raises(WorldFailed) as failed:
        World(3).run(EVENTS)
    text = str(failed.value)
    assert "seed 3, event" in text
    assert "a rule: what was seen" in text
    assert "python -m tests.sim replay 3 --events 400" in text
    assert "members = " in text
    assert "last events:" in text
    assert failed.value.rule == "a rule"


def test_a_bug_in_the_product_is_a_failure_of_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raft_actors.peer.engine.Engine.written", lambda *_: 1 // 0)
    outcome = run_unit(0, seeds_per_unit=1, events=EVENTS)
    assert [finding.rule for finding in outcome.findings] == ["ZeroDivisionError"]
    assert outcome.findings[0].replay == "python -m tests.sim replay 1 --events 400"


def test_a_world_that_never_comes_to_rest_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.sim.timers.Timers._timer_fires", lambda *_: None)
    monkeypatch.setattr("tests.sim.rest.PROGRESS_US", 2_000_000)
    with pytest.raises(WorldFailed) as failed:
        World(1).run(0)
    assert failed.value.rule == "progress"
    assert "nobody lead" in failed.value.what or "waits for" in failed.value.what


def test_a_machine_that_is_buried_is_not_started_again() -> None:
    """Seed 173335 of the first 200,000 worlds: a start that was under way brought back one that a successor had."""
    world = World(1)
    machine = next(machine for machine in world.members.values() if machine.peer is not None)
    machine.bury()
    machine.start_peer()
    machine.start_server()
    assert (machine.peer, machine.server) == (None, None)


def test_every_kind_of_fault_has_its_method_and_is_drawn_by_some_seed() -> None:
    assert all(callable(getattr(Nemesis, kind)) for kind in FAULTS + FILE_FAULTS)
    drawn = {kind for seed in range(300) for kind in draw(random.Random(seed)).faults}
    assert drawn == {*FAULTS, *FILE_FAULTS}


def test_every_size_is_drawn() -> None:
    assert {draw(random.Random(seed)).members for seed in range(200)} == {1, 2, 3, 4, 5, 6, 7}


def test_what_must_be_seen_is_counted_under_that_name() -> None:
    """A counter that nobody raises would fail a campaign of hours at its end."""
    here = Path(__file__).parent
    sources = "".join((here / f"{name}.py").read_text() for name in SOURCES)
    named = {name for name in MUST_BE_SEEN if not name.startswith(("change refused: ", "transfer "))}
    said = {text for quoted in re.findall(r"count\(([^()]*)\)", sources) for text in re.findall(r'"([^"]+)"', quoted)}
    assert named <= said


@pytest.mark.long
def test_members_come_and_go() -> None:
    """In some dozens of administered worlds everything happens that an administrator may bring about."""
    counts: Counter[str] = Counter()
    for seed in range(1, 121):
        world = World(seed)
        if world.options.administered:
            world.run(EVENTS)
            counts.update(world.watch.counts)
    for what in (
        "place added",
        "directory seated",
        "directory joined",
        "member promoted",
        "member removed",
        "leader removed itself",
        "place kept vacant",
        "directory set aside",
        "machine replaced that lives on",
        "transfer moved",
        "clients learned other members",
    ):
        assert counts[what] > 0, f"no {what}: {counts}"


def test_every_number_of_places_is_drawn() -> None:
    drawn = [draw(random.Random(seed)) for seed in range(300)]
    assert {options.places for options in drawn if options.administered} == {1, 2, 3, 4, 5, 6, 7}
    assert all(options.places == options.members for options in drawn if not options.administered)
