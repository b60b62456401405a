"""A campaign ends, whatever its units do; it goes on after any end, counts each unit once, and says what came out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns import Campaign, Options, Report
from tests.campaigns.campaign import COMPLETE, MINUTES_UP, TOO_MANY_FINDS
from tests.campaigns.example import run_unit
from tests.campaigns.outcome import ROOT
from tests.campaigns.workers import UNITS_PER_PROCESS

pytestmark = pytest.mark.long


def campaign(home: Path, *misdeeds: str, **changes: Any) -> Report:
    options = Options(states=home / "states", results=home / "results")
    options = replace(
        options, **{name: changes.pop(name) for name in ("workers", "minutes", "finds_max") & changes.keys()}
    )
    facts: Mapping[str, Any] = {
        "units": 5,
        "noun": "things",
        "run_unit": partial(run_unit, home=str(home), misdeeds=misdeeds),
        "parameters": {"size": 1},
        "unit_deadline_s": 20,
        "code": ("tests/campaigns",),
        **changes,
    }
    return Campaign("example", options=options, **facts).run()


def ended(home: Path) -> list[int]:
    """The units that ran to their end, in order."""
    path = home / "ended"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def rows(home: Path) -> list[dict[str, str]]:
    with (home / "results" / "example.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def example(home: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.campaigns.example", str(home), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_units(home: Path, count: int) -> None:
    limit = time.monotonic() + 30
    while len(ended(home)) < count:
        assert time.monotonic() < limit, "the campaign does not run"
        time.sleep(0.01)


class TestACampaignThatEnds:
    def test_runs_every_unit_once_and_adds_up(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report = campaign(tmp_path, "rows", workers=2)
        assert sorted(ended(tmp_path)) == [0, 1, 2, 3, 4]
        assert (report.end, report.exit_code, report.state.items) == (COMPLETE, 0, 50)
        assert report.state.counters == {"units": 5, "even": 3}
        assert sorted(unit for unit, _ in report.state.rows) == [0, 1, 2, 3, 4]
        shown = capsys.readouterr().out
        assert "things per second" in shown
        assert "even" in shown

    def test_no_process_runs_very_many_units(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, "rows", units=2 * UNITS_PER_PROCESS + 1)
        assert report.exit_code == 0
        by_process = Counter(row["process"] for _, row in report.state.rows)
        assert sorted(by_process.values()) == [1, UNITS_PER_PROCESS, UNITS_PER_PROCESS]

    def test_leaves_one_row_and_no_findings_file_and_no_state(self, tmp_path: Path) -> None:
        campaign(tmp_path)
        (row,) = rows(tmp_path)
        assert (row["units"], row["planned"], row["items"], row["noun"]) == ("5", "5", "50", "things")
        assert (row["end"], row["finds"], json.loads(row["counters"])["even"]) == ("complete", "0", 3)
        assert json.loads(row["parameters"]) == {"size": 1}
        assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["example.csv"]
        assert not list((tmp_path / "states").glob("*"))

    def test_the_next_run_starts_again_with_a_row_of_its_own(self, tmp_path: Path) -> None:
        campaign(tmp_path, units=2)
        campaign(tmp_path, units=3)
        assert [row["units"] for row in rows(tmp_path)] == ["2", "3"]
        assert ended(tmp_path) == [0, 1, 0, 1, 2]

    def test_a_counter_that_had_to_be_seen_and_was_not_is_a_failure(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, units=1, must_be_seen=("even", "odd"))
        assert (report.never_seen, report.exit_code) == (("odd",), 1)


class TestAUnitThatFails:
    def test_what_it_finds_is_kept_with_the_command_that_shows_it_again(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, "find:3")
        assert report.exit_code == 1
        (line,) = (tmp_path / "results" / "example-findings.jsonl").read_text().splitlines()
        found = json.loads(line)
        assert (found["unit"], found["rule"], found["replay"]) == (3, "odd", "unit 3")
        assert found["run"] == rows(tmp_path)[0]["started"]

    @pytest.mark.parametrize(
        ("misdeed", "rule", "text"),
        [
            ("raise:1", "raised", "ValueError"),
            ("exit:1", "worker died", "exit code 7"),
            ("kill:1", "worker died", "SIGKILL"),
        ],
    )
    def test_a_unit_that_raises_or_dies_is_a_finding_and_the_others_run(
        self, tmp_path: Path, misdeed: str, rule: str, text: str
    ) -> None:
        report = campaign(tmp_path, misdeed)
        (found,) = report.state.findings
        assert (found["unit"], found["rule"]) == (1, rule)
        assert text in str(found["text"])
        assert ended(tmp_path) == [0, 2, 3, 4]
        assert (report.end, report.exit_code) == (COMPLETE, 1)

    def test_a_unit_that_hangs_is_a_finding_that_says_where_and_its_children_end(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, "hang:1", unit_deadline_s=0.5)
        (found,) = report.state.findings
        assert (found["unit"], found["rule"]) == (1, "deadline")
        assert "in hang" in str(found["text"])
        assert ended(tmp_path) == [0, 2, 3, 4]
        child = Path("/proc", (tmp_path / "child").read_text(), "stat")
        assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"

    def test_too_many_finds_end_it(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, "find:1", finds_max=0)
        assert (report.end, ended(tmp_path)) == (TOO_MANY_FINDS, [0, 1])

    def test_no_path_of_this_machine_is_published(self, tmp_path: Path) -> None:
        campaign(tmp_path, "raise:0", units=1)
        text = (tmp_path / "results" / "example-findings.jsonl").read_text()
        assert "tests/campaigns/example.py" in text
        for place in (str(ROOT), sys.prefix, str(Path.home())):
            assert f"{place}/" not in text


class TestGoingOn:
    def test_after_a_kill_every_unit_counts_once(self, tmp_path: Path) -> None:
        first = example(tmp_path, "--units", "60", "--sleep", "0.05")
        wait_for_units(tmp_path, 45)  # the state is saved every two seconds
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        saved = json.loads((tmp_path / "states" / "example.json").read_text())["ranges"]
        second = example(tmp_path, "--units", "60", "--sleep", "0.05")
        _, err = second.communicate(timeout=60)
        assert second.returncode == 0, err
        assert f"going on: {saved[0][1] + 1} units were done before" in err
        (row,) = rows(tmp_path)
        assert (row["units"], row["items"], json.loads(row["counters"])["units"]) == ("60", "600", 60)
        assert set(ended(tmp_path)) == set(range(60))
        assert ended(tmp_path)[-1] == 59

    def test_an_interrupted_run_says_how_to_go_on_and_is_one_row_in_the_end(self, tmp_path: Path) -> None:
        first = example(tmp_path, "--units", "20", "--sleep", "0.1")
        wait_for_units(tmp_path, 2)
        first.send_signal(signal.SIGINT)
        _, err = first.communicate(timeout=30)
        assert first.returncode == 130, err
        assert "the same command goes on from here" in err
        assert rows(tmp_path)[0]["end"] == "interrupted"
        done = len(ended(tmp_path))
        second = example(tmp_path, "--units", "20", "--sleep", "0.1", "--workers", "2")
        second.communicate(timeout=60)
        (row,) = rows(tmp_path)
        assert (row["end"], row["units"]) == ("complete", "20")
        assert done <= len(ended(tmp_path)) <= 21, "at most the interrupted unit ran twice"

    def test_minutes_end_what_has_no_count_and_pause_what_has(self, tmp_path: Path) -> None:
        unit = partial(run_unit, home=str(tmp_path), sleep_s=0.05)
        endless = campaign(tmp_path / "endless", units=None, minutes=0.01, run_unit=unit)
        assert (endless.end, endless.exit_code) == (MINUTES_UP, 0)
        assert endless.state.units_done == len(ended(tmp_path)) > 0
        assert not (tmp_path / "endless" / "states" / "example.json").exists()
        counted = campaign(tmp_path / "counted", units=1000, minutes=0.01, run_unit=unit)
        assert counted.end == MINUTES_UP
        again = campaign(tmp_path / "counted", units=1000, minutes=0.01, run_unit=unit)
        assert again.state.started == counted.state.started
        assert again.state.units_done > counted.state.units_done
