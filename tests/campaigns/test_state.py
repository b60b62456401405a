"""Which units are done, whether a run may be gone on with, and the row that it leaves."""

from __future__ import annotations

import csv
import random
from itertools import islice
from pathlib import Path

import pytest

from tests.campaigns.outcome import Finding, Outcome
from tests.campaigns.results import row_of, write_findings, write_row
from tests.campaigns.state import RunState, code_digest, load_or_start


def state(started: str = "then", **parameters: int) -> RunState:
    return RunState(started=started, parameters=parameters, code="abc")


def load(path: Path, *, code: str = "abc", units: int | None = 10, **parameters: int) -> tuple[RunState, str]:
    return load_or_start(path, now="now", parameters=parameters, code=code, units=units)


class TestUnits:
    def test_ranges_are_the_set_of_units_whatever_the_order(self) -> None:
        for seed in range(50):
            dice = random.Random(seed)
            run, done = state(), set(dice.sample(range(30), dice.randrange(31)))
            for unit in dice.sample(sorted(done), len(done)):
                run.add(unit, Outcome())
            assert run.units_done == run.items == len(done)
            assert list(run.units_left(30)) == [unit for unit in range(30) if unit not in done]
            assert list(islice(run.units_left(None), 40)) == [unit for unit in range(99) if unit not in done][:40]
            assert all(low <= high for low, high in run.ranges)
            assert all(low[1] + 1 < high[0] for low, high in zip(run.ranges, run.ranges[1:], strict=False))

    def test_a_unit_is_not_done_twice(self) -> None:
        run = state()
        run.add(3, Outcome())
        with pytest.raises(AssertionError, match="twice"):
            run.add(3, Outcome())


class TestGoingOn:
    def test_a_saved_run_is_gone_on_with(self, tmp_path: Path) -> None:
        run = state(size=1)
        run.add(4, Outcome(done=7, counters={"x": 2}, findings=(Finding(rule="r", text="t"),), rows=({"a": 1},)))
        run.save(tmp_path / "s.json")
        found, why = load(tmp_path / "s.json", size=1)
        assert found == run
        assert found.counters["y"] == 0, "counters count"
        assert why == "going on: 1 units were done before"
        assert [path.name for path in tmp_path.iterdir()] == ["s.json"]

    def test_nothing_saved_is_a_new_run_without_words(self, tmp_path: Path) -> None:
        assert load(tmp_path / "s.json") == (RunState(started="now", parameters={}, code="abc"), "")

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"size": 2}, "other parameters (size)"),
            ({"size": 1, "more": 1}, "other parameters (more)"),
            ({"size": 1, "code": "new"}, "the code has changed"),
            ({"size": 1, "units": 4}, "the run before was larger"),
        ],
    )
    def test_what_changed_is_said_and_the_run_starts_anew(
        self, tmp_path: Path, change: dict[str, int], why: str
    ) -> None:
        run = state(size=1)
        run.add(4, Outcome())
        run.save(tmp_path / "s.json")
        found, said = load(tmp_path / "s.json", **change)  # type: ignore[arg-type]
        assert (found.units_done, found.started) == (0, "now")
        assert why in said
        assert said.endswith("starting anew")

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ranges": 3}'])
    def test_a_state_that_is_none_starts_anew(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "s.json").write_text(text)
        found, why = load(tmp_path / "s.json")
        assert found.units_done == 0
        assert "cannot be read" in why

    def test_the_code_is_its_sources_by_name_and_content(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        seen = []
        for change in ("x = 1", "x = 2"):
            (tmp_path / "a" / "one.py").write_text(change)
            seen.append(code_digest(["a"], tmp_path))
        (tmp_path / "a" / "one.py").rename(tmp_path / "a" / "two.py")
        seen.append(code_digest(["a"], tmp_path))
        (tmp_path / "a" / "x.pyc").write_text("not a source")
        assert code_digest(["a"], tmp_path) == seen[-1]
        assert len(set(seen)) == 3


class TestResults:
    def test_a_row_replaces_that_of_the_same_run_only(self, tmp_path: Path) -> None:
        path = tmp_path / "docs" / "x.csv"
        for started, units in (("a", 1), ("b", 1), ("b", 2)):
            run = state(started)
            for unit in range(units):
                run.add(unit, Outcome(counters={"n": 1}))
            write_row(path, row_of(run, noun="seeds", end="complete", planned=None, workers=2))
        with path.open(newline="") as file:
            found = list(csv.DictReader(file))
        assert [(row["started"], row["units"], row["counters"]) for row in found] == [
            ("a", "1", '{"n": 1}'),
            ("b", "2", '{"n": 2}'),
        ]

    def test_findings_of_other_runs_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "x.jsonl"
        write_findings(path, state("none"))
        assert not path.exists()
        for started in ("a", "b", "b"):
            run = state(started)
            run.add(0, Outcome(findings=(Finding(rule=started, text="t"),)))
            write_findings(path, run)
        assert [line.split('"run": "')[1][0] for line in path.read_text().splitlines()] == ["a", "b"]
