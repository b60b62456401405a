"""A mutant: one bug as a small patch, and what is said at its head.

Here:   `Mutant`, reading patches, which of them are asked for.
Never:  applying them (scratch.py), who finds them (catchers.py).

A patch is a unified diff below a head of lines `Word: text`:

    Class:    the bug's class: A1 .. G13 of the catalogue of Raft bugs, or `contracts N`, the rule that is taken away
    Broken:   one sentence: what the code does now
    In:       the functions that it changes, so that a patch whose context moved does not break another one unseen
    Catcher:  who has to find it: `sim`, `storage k5` (k6, k8, k16), or `pytest FILE[::TEST]` where what is broken lies
              outside of both (a process boundary, an asyncio shell) or breaks no promise, only manners
    Note:     optional
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

PATCHES: Final = Path(__file__).resolve().parent / "patches"

_WORDS: Final = ("Class", "Broken", "In", "Catcher", "Note")
_CLASS: Final = re.compile(r"[A-G]\d{1,2}|contracts \d{1,2}")
_CATCHER: Final = re.compile(r"sim|storage k(5|6|8|16)|pytest tests/\S+")
_FILE: Final = re.compile(r"^--- a/(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One patch and its head."""

    name: str
    patch: Path
    bug: str
    """Its class."""
    broken: str
    places: tuple[str, ...]
    """Functions that it changes, by their names in the file."""
    catcher: str
    files: tuple[str, ...]
    """What it changes, relative to the clone."""

    @property
    def is_outside_of_the_core(self) -> bool:
        """Whether the bug is none of the pure rules of Raft."""
        return not any(file.startswith("raft_actors/core/") for file in self.files)


def read_mutant(patch: Path) -> Mutant:
    """The mutant in a file. Raises `ValueError`, which names the file, for a head that is not as above."""
    text = patch.read_text()
    head, _, _ = text.partition("\n--- a/")
    said: dict[str, str] = {}
    for line in filter(None, head.splitlines()):
        word, colon, rest = line.partition(": ")
        if not colon or word not in _WORDS or word in said:
            raise ValueError(f"{patch.name}: {line!r} is none of {', '.join(_WORDS)}, or a second one")
        said[word] = rest.strip()
    missing = [word for word in ("Class", "Broken", "In", "Catcher") if not said.get(word)]
    if missing:
        raise ValueError(f"{patch.name}: its head lacks {', '.join(missing)}")
    if not _CLASS.fullmatch(said["Class"]):
        raise ValueError(f"{patch.name}: {said['Class']!r} is no class of bugs")
    if not _CATCHER.fullmatch(said["Catcher"]):
        raise ValueError(f"{patch.name}: {said['Catcher']!r} catches nothing")
    files = tuple(_FILE.findall(text))
    if not files:
        raise ValueError(f"{patch.name}: changes no file")
    return Mutant(
        name=patch.stem,
        patch=patch,
        bug=said["Class"],
        broken=said["Broken"],
        places=tuple(said["In"].split(", ")),
        catcher=said["Catcher"],
        files=files,
    )


def all_mutants(folder: Path = PATCHES) -> tuple[Mutant, ...]:
    """Every mutant there is, by name."""
    return tuple(read_mutant(patch) for patch in sorted(folder.glob("*.patch")))


def select(mutants: Sequence[Mutant], names: Sequence[str]) -> tuple[Mutant, ...]:
    """Those asked for, all without a name; a name may be a pattern like `f*`. Raises `LookupError` for a stray one."""
    for name in names:
        if not any(fnmatchcase(mutant.name, name) for mutant in mutants):
            raise LookupError(f"no mutant is called {name!r}: see `python -m tests.mutants list`")
    return tuple(mutant for mutant in mutants if not names or any(fnmatchcase(mutant.name, name) for name in names))
