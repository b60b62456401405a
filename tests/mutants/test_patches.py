"""Every mutant still fits the code, and together they are what they should be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, all_mutants, read_mutant, select
from tests.mutants.places import changed_places
from tests.mutants.scratch import ROOT, PatchRefused, apply, copy_files

MUTANTS = all_mutants()
CONTRACTS = set(range(1, 14))

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="patches are applied by git, and there is none")


@needs_git
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_patch_fits_where_it_says_and_its_code_compiles(mutant: Mutant, tmp_path: Path) -> None:
    copy_files(mutant, tmp_path)
    apply(mutant, tmp_path)
    places: set[str] = set()
    for name in mutant.files:
        before, code = (ROOT / name).read_text(), (tmp_path / name).read_text()
        assert code != before, f"{mutant.name} leaves {name} as it is"
        compile(code, name, "exec")
        places.update(changed_places(before, code))
    assert tuple(sorted(places)) == mutant.places, f"{mutant.name} breaks another place than it says"


@needs_git
def test_a_patch_that_does_not_fit_says_so(tmp_path: Path) -> None:
    mutant = MUTANTS[0]
    copy_files(mutant, tmp_path)
    apply(mutant, tmp_path)
    with pytest.raises(PatchRefused, match=rf"{mutant.name}\.patch does not fit any more: .*{mutant.files[0]}"):
        apply(mutant, tmp_path)


def test_the_product_alone_is_broken() -> None:
    assert [
        mutant.name for mutant in MUTANTS if not all(file.startswith(("raft_actors/", "kv/")) for file in mutant.files)
    ] == []


def test_a_third_are_outside_of_the_core() -> None:
    outside = [mutant for mutant in MUTANTS if mutant.is_outside_of_the_core]
    assert len(MUTANTS) >= 45
    assert len(outside) >= len(MUTANTS) / 3


def test_every_class_has_one() -> None:
    classes = {mutant.bug for mutant in MUTANTS}
    assert {each[0] for each in classes if not each.startswith("contracts")} >= set("ABCDEFG")
    assert {int(each.split()[1]) for each in classes if each.startswith("contracts")} == CONTRACTS


def test_the_tests_that_catch_exist() -> None:
    for mutant in MUTANTS:
        kind, _, target = mutant.catcher.partition(" ")
        if kind == "pytest":
            file, *names = target.split("::")
            text = (ROOT / file).read_text()
            assert names, f"{mutant.name}: name the test, not a whole file"
            for name in names:
                assert f"class {name}" in text or f"def {name}(" in text, f"{mutant.name}: no {name} in {file}"


HEAD = "Class: A1\nBroken: it is broken\nIn: f, g\nCatcher: sim\n\n--- a/kv/x.py\n+++ b/kv/x.py\n"


class TestHeads:
    def read(self, folder: Path, text: str) -> Mutant:
        (folder / "a01-x.patch").write_text(text)
        return read_mutant(folder / "a01-x.patch")

    def test_a_whole_one(self, tmp_path: Path) -> None:
        mutant = self.read(tmp_path, HEAD)
        assert (mutant.name, mutant.bug, mutant.broken, mutant.catcher) == ("a01-x", "A1", "it is broken", "sim")
        assert mutant.places == ("f", "g")
        assert mutant.files == ("kv/x.py",)
        assert mutant.is_outside_of_the_core

    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            ("Class: A1", "Class: Z9", "no class of bugs"),
            ("Class: A1\n", "", "lacks Class"),
            ("In: f, g\n", "", "lacks In"),
            ("Catcher: sim", "Catcher: luck", "catches nothing"),
            ("Broken:", "Brokn:", "none of"),
            ("Broken: it is broken", "Broken: ", "lacks Broken"),
            ("Catcher: sim\n", "Catcher: sim\nCatcher: sim\n", "a second one"),
            ("--- a/", "--- ", "none of"),
        ],
    )
    def test_a_broken_one(self, old: str, new: str, why: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=rf"a01-x\.patch: .*{why}"):
            self.read(tmp_path, HEAD.replace(old, new))

    def test_patterns_and_strays(self) -> None:
        assert select(MUTANTS, []) == MUTANTS
        assert {mutant.name[0] for mutant in select(MUTANTS, ["f*", MUTANTS[0].name])} == {"a", "f"}
        with pytest.raises(LookupError, match="no mutant is called 'zz'"):
            select(MUTANTS, ["zz"])


class TestPlaces:
    BEFORE = (
        "import os\n\nA = 1\n\n\nclass B:\n    c = 2\n\n    def d(self):\n        return 3\n\n\n"  # as ruff formats it
        "def e():\n    return 4\n"
    )

    @pytest.mark.parametrize(
        ("old", "new", "places"),
        [
            ("import os", "import sys", ()),
            ("A = 1", "A = 5", ("module",)),
            ("c = 2", "c = 5", ("B",)),
            ("return 3", "pass\n        return 3", ("B.d",)),
            ("return 4", "return 3", ("e",)),
            ("    return 4\n", "    return 4\n\n\ndef f():\n    return 5\n", ("f",)),
        ],
    )
    def test_the_innermost_is_named(self, old: str, new: str, places: tuple[str, ...]) -> None:
        assert changed_places(self.BEFORE, self.BEFORE.replace(old, new)) == places
