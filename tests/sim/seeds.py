"""One unit of a campaign: some worlds. Apart from the command line: workers do not import a package's `__main__` again.

Here:   `run_unit`.
Never:  what a world is (world.py).
"""

from __future__ import annotations

from collections import Counter

from tests.campaigns import Finding, Outcome
from tests.sim.collector import each_world
from tests.sim.world import WorldFailed


def run_unit(unit: int, *, seeds_per_unit: int, events: int) -> Outcome:
    """Some worlds; each that fails is a finding."""
    counters: Counter[str] = Counter()
    findings = []
    first = 1 + unit * seeds_per_unit
    for world in each_world(range(first, first + seeds_per_unit)):
        try:
            world.run(events)
        except WorldFailed as failed:
            replay = f"python -m tests.sim replay {world.seed} --events {events}"
            findings.append(Finding(rule=failed.rule, text=str(failed), replay=replay))
        counters["events"] += world.event_count
        counters.update(world.watch.counts)
    return Outcome(done=seeds_per_unit, counters=counters, findings=tuple(findings))
