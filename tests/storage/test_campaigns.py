"""A small part of each campaign finds nothing; and each finds what was planted, so that its silence means something."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raft_actors.errors import LogDamaged
from raft_actors.storage import records, recovery, snapshots, wal
from raft_actors.storage.files import Files
from raft_actors.storage.records import Frame
from raft_actors.storage.wal import FileStorage
from tests.campaigns import Outcome
from tests.campaigns.outcome import ROOT
from tests.storage.campaigns import crashes, damage, directories, failures, fuzz
from tests.storage.campaigns.found import Found
from tests.storage.campaigns.memory import measured
from tests.storage.campaigns.target import Decoder
from tests.storage.faulty_files import FaultyFiles

pytestmark = pytest.mark.long

MIB = 1 << 20


def rules(outcome: Outcome) -> set[str]:
    return {finding.rule for finding in outcome.findings}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workloads of few steps."""
    monkeypatch.setattr(crashes, "STEP_COUNT", 5)
    monkeypatch.setattr(crashes, "SUBSETS_PER_POINT", 4)
    monkeypatch.setattr(failures, "STEP_COUNT", 3)


def nothing_happens(*_: Any, **__: Any) -> None:
    """In the place of what matters."""


# -- K5 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
class TestCrashes:
    def test_nothing_is_found_and_all_kinds_of_images_are_seen(self) -> None:
        outcome = crashes.run_unit(1, images=600)
        assert rules(outcome) == set()
        assert outcome.done >= 600
        assert {"torn tails", "kills before a power cut", "images at depth 2"} <= set(+Counter(outcome.counters))

    def test_a_unit_is_a_function_of_its_number(self) -> None:
        assert crashes.run_unit(3, images=20) == crashes.run_unit(3, images=20)

    @pytest.mark.parametrize(
        ("where", "name", "planted", "found"),
        [
            # An acknowledgement before the disk has it.
            (FaultyFiles, "sync_data", nothing_happens, {"acknowledged entry lost", "start counter repeated"}),
            # A torn tail taken for damage.
            (recovery, "_read_group", lambda *_: refuse(), {"a crash became a refusal"}),
            # No counter, so two starts with one number.
            (recovery, "max", lambda *_, default=0: default, {"start counter repeated", "a crash became a refusal"}),
            # Damage not looked for, torn bytes that stay for ever behind the end.
            (wal, "encode_mark", lambda *_, **__: (b"", 0), {"a crash became a refusal"}),
        ],
        ids=["no sync", "a tear is damage", "no start counter", "no mark"],
    )
    def test_what_is_planted_is_found(
        self, where: Any, name: str, planted: object, found: set[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(where, name, planted, raising=False)
        outcome = crashes.run_unit(1, images=600)
        assert rules(outcome)
        assert rules(outcome) <= found | {"the workload itself failed", "half a group", "genesis lost or changed"}

    def test_a_start_that_trusts_the_page_cache_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Contracts 4: what a start reads and tells may be in the page cache alone."""
        monkeypatch.setattr(FileStorage, "_begin", begin_without_syncing)
        found = {rule for unit in range(3) for rule in rules(crashes.run_unit(unit, images=600))}
        assert found & {"acknowledged entry lost", "term back", "vote changed", "start counter repeated"}

    def test_a_finding_tells_its_story_and_how_to_see_it_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FaultyFiles, "sync_data", nothing_happens)
        (finding,) = crashes.run_unit(1, images=600).findings
        assert "then the power failed and left" in finding.text
        assert finding.replay == "python -m tests.storage.campaigns k5 --first 1 --count 1"


def refuse() -> None:
    raise LogDamaged("planted")


_BEGIN = FileStorage._begin


def begin_without_syncing(self: FileStorage, log: recovery.RecoveredLog) -> None:
    files = self._files
    self._files = SyncsNothing(files)  # type: ignore[assignment]
    try:
        _BEGIN(self, log)
    finally:
        self._files = files


class SyncsNothing:
    """Files that say yes."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def sync(self, descriptor: int) -> None:
        pass

    sync_data = sync

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


# -- K6 ---------------------------------------------------------------------------------------------------------------

SAMPLE = slice(7, None, 1_499)


def without_checksum(data: bytes, at: int, end: int, chain: int) -> Frame | None:
    """A record as it stands there, whatever its CRC says."""
    if end - at < records.FRAME_BYTES or data[at : at + 2] != records.MAGIC:
        return None
    _, version, kind, length, index, term = records._HEAD.unpack_from(data, at)
    behind = at + records._HEAD.size + length
    if behind + 4 > end:
        return None
    crc = int.from_bytes(data[behind : behind + 4], "little")
    return Frame(version, kind, index, term, data[behind - length : behind], crc, behind + 4)


def judge_sample() -> dict[str, int]:
    """Some of the changes of every kind; what came of them."""
    said: dict[str, int] = {}
    for form, case in damage._plan(0)[SAMPLE]:
        word = measured(partial(damage.judge, directories.make(0, form), case), True)
        said[word] = said.get(word, 0) + 1
    return said


class TestDamage:
    def test_the_log_is_as_large_as_promised_and_every_bit_of_it_is_flipped(self) -> None:
        log = directories.make(0, directories.Form.MARKED)
        plan = [case for form, case in damage._plan(0) if form is directories.Form.MARKED]
        names = directories.log_names(log.files)
        sizes = {name: len(log.files.cached_names[name].cache) for name in names}
        assert sum(sizes.values()) >= directories.LOG_BYTES
        flips = [(case.name, *case.spans) for case in plan if case.kind == "bit flipped" and case.name in sizes]
        places = {(name, (at, at + 1)) for name, size in sizes.items() for at in range(size)}
        assert places == set(flips)
        assert len(flips) == 8 * sum(sizes.values())
        cuts = {(case.name, case.spans[0][0]) for case in plan if case.kind == "cut short"}
        assert {(name, at) for name, size in sizes.items() for at in range(size)} <= cuts

    def test_nothing_is_found(self) -> None:
        assert set(judge_sample()) >= {"refused", "the last group lost", "an older snapshot and the same log"}

    @pytest.mark.parametrize(
        ("name", "planted", "found"),
        [
            ("_require_no_mark_behind", nothing_happens, "silent loss"),
            (
                "read_frame",
                without_checksum,
                "not the declared error",
            ),
        ],
        ids=["every tear is a torn tail", "checksums are not looked at"],
    )
    def test_what_is_planted_is_found(
        self, name: str, planted: Callable[..., Any], found: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        damage._plan(0)
        monkeypatch.setattr(recovery, name, planted)
        with pytest.raises(Found) as caught:
            judge_sample()
        assert caught.value.rule in (found, "changed data")

    def test_a_refusal_without_a_place_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        damage._plan(0)
        vague = LogDamaged(
            "something is damaged; bring this one back by replacing it", file="/data/x", offset=0, index=0
        )
        monkeypatch.setattr(recovery, "damaged", lambda *_: vague)
        with pytest.raises(Found, match="imprecise refusal"):
            judge_sample()

    def test_a_refusal_that_changes_something_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        damage._plan(0)
        monkeypatch.setattr(recovery, "_chain_of", lambda directory, *_: tidy_up(directory))
        with pytest.raises(Found, match="a refusal changed something"):
            judge_sample()


def tidy_up(directory: Any) -> None:
    directory.files.unlink(directory.descriptor, damage.IDENTITY)
    raise recovery.damaged(directory, damage.IDENTITY, 0, 0, "planted")


# -- K8 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
class TestFailures:
    def test_nothing_is_found(self) -> None:
        outcome = failures.run_unit(1)
        assert rules(outcome) == set()
        assert {f"stopped: {failure}" for failure in failures.FAILURES} <= set(+Counter(outcome.counters))

    def test_a_failed_sync_that_is_ignored_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sync = FaultyFiles.sync_data

        def sync_and_hope(self: FaultyFiles, descriptor: int) -> None:
            with suppress(OSError):
                sync(self, descriptor)

        monkeypatch.setattr(FaultyFiles, "sync_data", sync_and_hope)
        assert rules(failures.run_unit(1)) & {"an error went unnoticed", "acknowledged entry lost", "term back"}

    def test_a_failed_sync_that_is_tried_again_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second one says ok, and the bytes are gone (reliability F3)."""
        sync = FaultyFiles.sync_data

        def sync_twice(self: FaultyFiles, descriptor: int) -> None:
            try:
                sync(self, descriptor)
            except OSError:
                sync(self, descriptor)

        monkeypatch.setattr(FaultyFiles, "sync_data", sync_twice)
        assert rules(failures.run_unit(1))

    def test_a_short_write_that_is_taken_for_a_whole_one_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_once(files: Files, descriptor: int, data: bytes, offset: int) -> None:
            files.write(descriptor, data, offset)

        monkeypatch.setattr(wal, "write_all", write_once)
        assert rules(failures.run_unit(3))

    def test_half_a_snapshot_that_is_taken_for_a_whole_one_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_once(files: Files, descriptor: int, data: bytes, offset: int) -> None:
            files.write(descriptor, data, offset)

        monkeypatch.setattr(snapshots, "write_all", write_once)
        assert rules(failures.run_unit(3))

    def test_a_storage_that_goes_on_after_a_failure_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FileStorage, "_require_usable", nothing_happens)
        assert rules(failures.run_unit(1)) & {"answered after a failure", "written after a failure"}


# -- K16 --------------------------------------------------------------------------------------------------------------


def planted(decode: Callable[[bytes], Any], **more: Any) -> Decoder:
    return Decoder(name="planted", decode=decode, samples=(b"good",), errors=(ValueError,), **more)


class TestFuzz:
    def test_nothing_is_found_and_lies_get_behind_the_checksums(self) -> None:
        outcome = fuzz.run_unit(0, inputs=1_000)
        assert rules(outcome) == set()
        assert outcome.done == 1_000
        assert {"refused", "accepted, the same bytes", "accepted, survives the way"} <= set(+Counter(outcome.counters))

    def test_a_unit_is_a_function_of_its_number(self) -> None:
        assert fuzz.run_unit(5, inputs=200) == fuzz.run_unit(5, inputs=200)

    def test_every_decoder_of_the_product_is_there(self) -> None:
        """By name, whoever adds one and forgets it here."""
        campaigns = ROOT / "tests/storage/campaigns"
        files = (*campaigns.glob("decoders*.py"), campaigns / "on_disk.py", ROOT / "tests/application/test_formats.py")
        known = "".join(file.read_text() for file in files)
        assert [name for name in decoder_names() if name not in known] == []

    @pytest.mark.parametrize(
        ("decoder", "rule"),
        [
            (planted(lambda data: data[10]), "not the declared error"),
            (planted(lambda data: bytes(65 * MIB)), "too much memory"),
            (planted(lambda data: data.lower(), encode=bytes, exact=True), "two forms of one value"),
            (planted(bytes, encode=lambda value: value[:-1]), "does not survive the way"),
            (planted(bytes, encode=lambda value: {}[value]), "accepted what cannot be encoded"),
        ],
        ids=lambda given: given if isinstance(given, str) else "",
    )
    def test_what_is_planted_is_found(self, decoder: Decoder, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fuzz, "DECODERS", (replace(decoder, samples=(b"GOOD enough",)),))
        assert rules(fuzz.run_unit(0, inputs=300)) == {rule}

    def test_a_declared_error_is_none(self) -> None:
        assert fuzz.judge(planted(int), b"x") == "refused"


def decoder_names() -> list[str]:
    """Functions that decode, and codecs of messages, wherever they are defined in the product."""
    names = []
    for package in ("raft_actors", "kv"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "app" in path.parts:
                continue  # what the command line reads is a person's
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith(("decode", "unpack", "read_entry")):
                    names.append(node.name)
                elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Final[Codec["):
                    names += [ast.unparse(node.target)] if not ast.unparse(node.target).startswith("_") else []
    return names


# -- the command line -------------------------------------------------------------------------------------------------


def command_line(*arguments: str, tree: Path = ROOT) -> tuple[int, dict[str, Any], str]:
    """Its exit code, its last line, all it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.storage.campaigns", *arguments],
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.stdout, ended.stderr
    last = ended.stdout.splitlines()[-1]
    return ended.returncode, json.loads(last) if last.startswith("{") else {}, ended.stdout


class TestCommandLine:
    def test_one_unit_again_finds_nothing(self) -> None:
        code, said, _ = command_line("k16", "--first", "2", "--count", "1", "--json")
        assert code == 0
        assert said == {"campaign": "k16", "end": "complete", "count_run": 1, "items_run": 2_000, "noun": "inputs"}

    def test_a_finding_is_said_and_seen_again_by_its_number(self, tmp_path: Path) -> None:
        for package in ("raft_actors", "kv", "tests"):
            shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
        broken = tmp_path / "raft_actors" / "storage" / "wal.py"
        source = broken.read_text()
        assert source.count("            self._files.sync_data(self._descriptor)\n") == 1
        broken.write_text(source.replace("            self._files.sync_data(self._descriptor)\n", ""))
        code, said, text = command_line("k5", "--json", tree=tmp_path)
        assert (code, said["count_run"], said["case"]) == (1, 1, 0)
        assert said["rule"] in text
        assert "power failed" in said["text"]
        code, again, _ = command_line("k5", "--json", "--first", "0", "--count", "1", tree=tmp_path)
        assert (code, again["rule"], again["text"]) == (1, said["rule"], said["text"])
        assert not (tmp_path / "docs").exists()

    def test_an_unknown_campaign_is_refused(self) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.storage.campaigns", "k7"],
            check=False,
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
        assert ended.returncode == 2
