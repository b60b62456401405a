"""Real power cuts: a handful finds nothing, what is planted is found, nothing is left behind, a skip has its reason."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.campaigns import Campaign, Options, Report
from tests.campaigns.outcome import ROOT
from tests.power_cuts import disk
from tests.power_cuts.image import run_image
from tests.power_cuts.planted import OPENERS, PRODUCT

pytestmark = pytest.mark.long

PLANTED_CUTS_MAX = 240
"""A fault that is planted is found within some tens."""


@pytest.fixture(scope="module")
def _a_real_disk() -> None:
    """Skipped, with its reason, where there can be none."""
    reason = disk.obstacle()
    if reason is not None:
        pytest.skip(reason)


def campaign(home: Path, *, images: int, cuts: int, opener: str) -> Report:
    """In a worker process, whose mounts are its own."""
    return Campaign(
        "power-cuts",
        units=images,
        run_unit=partial(run_image, cuts=cuts, opener=opener, evidence=None),
        noun="cuts",
        parameters={},
        unit_deadline_s=60,
        code=("tests/power_cuts",),
        options=Options(states=home, results=None, finds_max=0),
    ).run()


def loop_files() -> list[str]:
    """What stands behind the loop devices of this machine that are in use."""
    return [each.read_text().strip() for each in Path("/sys/block").glob("loop*/loop/backing_file")]


def ours_are_gone(place: str) -> bool:
    return not any(place in name for name in loop_files()) and place not in Path("/proc/self/mounts").read_text()


@pytest.mark.usefixtures("_a_real_disk")
class TestCuts:
    def test_nothing_is_found(self, tmp_path: Path) -> None:
        report = campaign(tmp_path, images=2, cuts=6, opener=PRODUCT)
        assert (report.exit_code, report.state.findings) == (0, [])
        assert report.state.counters["cuts"] == report.state.items == 12
        assert report.state.counters["groups acknowledged"] > 0

    @pytest.mark.parametrize("opener", [name for name in OPENERS if name != PRODUCT])
    def test_what_is_planted_is_found(self, tmp_path: Path, opener: str) -> None:
        report = campaign(tmp_path, images=PLANTED_CUTS_MAX // 30, cuts=30, opener=opener)
        assert report.exit_code == 1
        assert report.state.findings[0]["rule"] == "durability"
        assert str(report.state.findings[0]["replay"]).startswith("python -m tests.power_cuts --image ")

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_is_left_behind(self, how: signal.Signals, tmp_path: Path) -> None:
        """The kernel sees to it that no loop device and no mount outlives the process, however that ends."""
        script = (
            "import signal, sys, time\n"
            "from tests.power_cuts.disk import CutDisk, Make\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "with CutDisk(Make(block_bytes=4096, options='data=ordered')) as disk:\n"
            "    print(disk.path, flush=True)\n"
            "    time.sleep(60)\n"
        )
        around = {**os.environ, "TMPDIR": str(tmp_path)}
        with subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=around, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            place = str(Path(process.stdout.readline().strip()).parent)
            assert any(place in name for name in loop_files()) or any(name == "/image" for name in loop_files())
            assert place not in Path("/proc/self/mounts").read_text(), "its mounts are its own"
            before = len(loop_files())
            process.send_signal(how)
            process.wait(20)
        until = time.monotonic() + 10
        while not (ours_are_gone(place) and len(loop_files()) < before):
            assert time.monotonic() < until, f"left behind: {loop_files()}"
            time.sleep(0.05)
        assert how is signal.SIGKILL or not list(tmp_path.iterdir())

    def test_one_image_again(self) -> None:
        ended = command_line("--image", "1", "--cuts", "2")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "cuts                 " in ended.stdout


class TestWhatTheCheckSays:
    """e2fsck's own words, of a count that is wrong and of a directory that is."""

    HEAD = (
        "e2fsck 1.47.0 (5-Feb-2023)\nPass 1: Checking inodes, blocks, and sizes\nPass 2: Checking directory structure\n"
    )
    TAIL = "Pass 5: Checking group summary information\nFree inodes count wrong (16347, counted=16348).\nFix? no\n"

    def test_a_wrong_count_alone_is_no_finding(self) -> None:
        assert disk.only_counts_differ(self.HEAD + self.TAIL)

    @pytest.mark.parametrize(
        "before", ["Entry 'x' in /0 (12) has deleted/unused inode 14.  Clear? no\n", "\nUnattached inode 9\n"]
    )
    def test_anything_else_is(self, before: str) -> None:
        assert not disk.only_counts_differ(self.HEAD + before + self.TAIL)
        assert not disk.only_counts_differ("e2fsck: Bad magic number in super-block\n")


class TestWithoutADisk:
    def test_who_is_not_root_hears_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert "need root" in (disk.static_obstacle() or "")

    def test_another_system_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "need Linux" in (disk.static_obstacle() or "")

    def test_a_missing_tool_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(shutil, "which", lambda _: None)
        assert "mkfs.ext4" in (disk.static_obstacle() or "")

    def test_a_system_that_forbids_it_says_what(self, monkeypatch: pytest.MonkeyPatch) -> None:
        refusal = "PermissionError: [Errno 1] cannot unshare a mount namespace: Operation not permitted"
        monkeypatch.setattr(disk, "static_obstacle", lambda: None)
        answer = subprocess.CompletedProcess([], 1, stdout="", stderr=f"Traceback\n{refusal}\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
        assert refusal in (disk.obstacle() or "")

    def test_the_campaign_is_skipped_and_says_why(self, tmp_path: Path) -> None:
        ended = command_line("--cuts", "10", PATH=str(tmp_path))
        assert ended.returncode == 0
        assert ended.stdout.startswith("power-cuts: skipped: real power cuts need ")


def command_line(*arguments: str, **around: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.power_cuts", *arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, **around},
        capture_output=True,
        text=True,
        timeout=60,
    )
