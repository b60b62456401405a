"""What all long runs share: units of work, processes, progress, going on after an interruption, results.

Here:   `Campaign`, and what is needed to use it.
Never:  a campaign. Each lives with what it tests: a file of its own for the unit (workers do not import a package's
        `__main__` again), and a `__main__.py` like this, are all it needs.

    def run_unit(unit: int, *, seeds_per_unit: int) -> Outcome:      # a plain function of a module: it is pickled
        counters: Counter[str] = Counter()
        findings = []
        for seed in range(unit * seeds_per_unit, (unit + 1) * seeds_per_unit):
            ...
            findings.append(Finding(rule="leader completeness", text=..., replay=f"python -m tests.x replay {seed}"))
        return Outcome(done=seeds_per_unit, counters=counters, findings=tuple(findings))

    def main() -> int:
        parser = argparse.ArgumentParser(...)
        parser.add_argument("--seeds", type=int, default=1000)
        Options.add_to(parser)                                       # --workers --minutes --anew --no-record
        parsed = parser.parse_args()
        report = Campaign(
            "sim",                                                   # docs/results/sim.csv, build/campaigns/sim.json
            units=parsed.seeds // 100,                               # None: until --minutes are over
            items=parsed.seeds,                                      # in the noun; for the time that is left
            noun="seeds",
            run_unit=partial(run_unit, seeds_per_unit=100),
            parameters={"seeds_per_unit": 100},                      # all that changes what unit n does, not how many
            unit_deadline_s=120,
            code=("raft_actors", "kv", "tests/sim"),                 # a change below these starts a run anew
            must_be_seen=("split vote", ...),                        # counters that a complete run must not leave at 0
            options=Options.of(parsed),
        ).run()
        return report.exit_code                                      # 0, 1 (finds), 130 (interrupted)

    if __name__ == "__main__":                                       # workers import this module again
        sys.exit(main())

- A unit should take 0.1 to 30 s: that much is lost at an interruption, and saving and telling cost little beside it.
- A unit that raises, exits or passes `unit_deadline_s` is a finding; the watchdog's traceback says where it hung.
  What it started ends with it (a process group); SIGTERM leaves it through its `finally` clauses.
- A run goes on where it stopped if neither parameters nor code changed, and says so. A larger count goes on, too.
  When all units are done, when there are too many finds, or when the minutes of a campaign without a count are over,
  the run is closed and the next one starts at unit 0.
- A row in docs/results/NAME.csv per run; gone on with, it is replaced. Findings stand in NAME-findings.jsonl; no paths.
- `Outcome.rows` come back in `report.state.rows` as (unit, row): for a table of, say, mutants.
- Tests: give `Options(states=tmp_path, results=None)`, or run a unit function without any campaign.
"""

from tests.campaigns.campaign import Campaign, Options, Report
from tests.campaigns.outcome import Finding, Outcome

__all__ = ["Campaign", "Finding", "Options", "Outcome", "Report"]
