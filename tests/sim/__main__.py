"""`python -m tests.sim run | replay SEED | speed`: many worlds, one of them again, how fast they are.

Here:   the command line, the campaign, the measure of speed.
Never:  what a world is (world.py), a unit of the campaign (seeds.py).

    run --seeds 200000 --workers 2       goes on where it was interrupted; a row in docs/results/sim.csv
    run --seeds 500 --events 20000       long worlds, as the campaign sim-20000
    run --json --first 7 --seeds 100     until the first finding, which is the last line that is printed
    replay 63 --events 400 --all         the whole story of one world
    speed --rounds 3                     events per second of one core, and where the time goes
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import pstats
import signal
import statistics
import sys
import time
from functools import partial
from types import FrameType
from typing import Final

from tests.campaigns import Campaign, Options
from tests.sim.collector import each_world
from tests.sim.seeds import run_unit
from tests.sim.watch import MUST_BE_SEEN
from tests.sim.world import World, WorldFailed

EVENTS: Final = 400
EVENTS_PER_UNIT: Final = 40_000
"""Some ten seconds of one core."""
UNIT_DEADLINE_S: Final = 600.0
CODE: Final = ("raft_actors", "kv", "analysis", "tests/sim", "tests/rig", "tests/storage/faulty_files.py")
SEEDS_FOR_ALL: Final = 20_000
"""So many seeds must have met everything that watch.py wants seen; a smaller run is a sample."""
SPEED_SEEDS: Final = 60
ROWS_OF_PROFILE: Final = 25


def _run(parsed: argparse.Namespace) -> int:
    if parsed.json:
        return _run_until_found(parsed.first, parsed.seeds, parsed.events)
    options = Options.of(parsed)
    seeds_per_unit = max(1, EVENTS_PER_UNIT // parsed.events)
    units = None if parsed.seeds is None else -(-parsed.seeds // seeds_per_unit)
    if units is None and options.minutes is None:
        print("say how much: --seeds N or --minutes M", file=sys.stderr)
        return 2
    seeds = None if units is None else units * seeds_per_unit
    return (
        Campaign(
            "sim" if parsed.events == EVENTS else f"sim-{parsed.events}",
            units=units,
            items=seeds,
            noun="seeds",
            run_unit=partial(run_unit, seeds_per_unit=seeds_per_unit, events=parsed.events),
            parameters={"seeds_per_unit": seeds_per_unit, "events": parsed.events},
            unit_deadline_s=UNIT_DEADLINE_S,
            code=CODE,
            must_be_seen=MUST_BE_SEEN if seeds is not None and seeds >= SEEDS_FOR_ALL else (),
            options=options,
        )
        .run()
        .exit_code
    )


def _run_until_found(first: int, seeds: int | None, events: int) -> int:
    """One after the other; the first finding ends it. What was done is said even when its time is over."""
    said: dict[str, object] = {"seeds_run": 0}

    def leave(_number: int, _frame: FrameType | None) -> None:
        print(json.dumps(said), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    for world in each_world(range(first, first + (1 if seeds is None else seeds))):
        run = world.seed - first + 1
        try:
            world.run(events)
        except WorldFailed as failed:
            print(json.dumps({"rule": failed.rule, "text": str(failed), "seed": world.seed, "seeds_run": run}))
            return 1
        said["seeds_run"] = run
    print(json.dumps(said))
    return 0


def _replay(parsed: argparse.Namespace) -> int:
    world = World(parsed.seed, kept=None)
    try:
        world.run(parsed.events)
    except WorldFailed as failed:
        print(failed if parsed.all else "\n".join(str(failed).splitlines()[: -len(world.story.lines())]))
        if not parsed.all:
            print("\n".join(world.story.lines()[-parsed.lines :]))
        return 1
    if parsed.all:
        print("\n".join(world.story.lines()))
    print(f"seed {parsed.seed}: {world.event_count} events, nothing found")
    return 0


def _speed(parsed: argparse.Namespace) -> int:
    """Rounds over the same worlds, with all checks on."""
    rates = []
    for number in range(1, parsed.rounds + 1):
        began_s, events = time.process_time(), 0
        for world in each_world(range(1, SPEED_SEEDS + 1)):
            world.run(EVENTS)
            events += world.event_count
        rates.append(events / (time.process_time() - began_s))
        print(f"round {number}: {events:,} events, {rates[-1]:,.0f} per second of one core", flush=True)
    print(f"median {statistics.median(rates):,.0f} events per second and core, all checks on\n")
    profile = cProfile.Profile()
    profile.enable()
    for world in each_world(range(1, SPEED_SEEDS + 1)):
        world.run(EVENTS)
    profile.disable()
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(ROWS_OF_PROFILE)
    print("where the time goes (seconds under the profiler, which slows small functions most):")
    for line in text.getvalue().splitlines():
        if line.strip():
            print(line.replace(os.getcwd() + os.sep, ""))
    return 0


def main() -> int:
    """0: nothing was found; 1: something was; 2: a mistake on the command line; 130: interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="many worlds")
    run.add_argument("--seeds", type=int, metavar="N", help="how many; rounded up to whole units")
    run.add_argument("--events", type=int, default=EVENTS, metavar="N", help=f"events under faults (default {EVENTS})")
    run.add_argument("--json", action="store_true", help="until the first finding, told in one line; no campaign")
    run.add_argument("--first", type=int, default=1, metavar="SEED", help="with --json (default 1)")
    Options.add_to(run)
    run.set_defaults(act=_run)
    replay = commands.add_parser("replay", help="one world again, and what happened")
    replay.add_argument("seed", type=int)
    replay.add_argument("--events", type=int, default=EVENTS, metavar="N")
    replay.add_argument("--all", action="store_true", help="the whole story")
    replay.add_argument("--lines", type=int, default=60, metavar="N", help="of the story of a failure (default 60)")
    replay.set_defaults(act=_replay)
    speed = commands.add_parser("speed", help="events per second and core, with a profile")
    speed.add_argument("--rounds", type=int, default=3, metavar="N")
    speed.set_defaults(act=_speed)
    parsed = parser.parse_args()
    code: int = parsed.act(parsed)
    return code


if __name__ == "__main__":
    sys.exit(main())
