"""A copy of the working tree, in which a bug may live.

Here:   copying what a clone would hold, putting a patch in and taking it out again.
Never:  the tree itself: nothing here writes to it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.mutants.mutant import Mutant

ROOT: Final = Path(__file__).resolve().parents[2]

_GIT_S: Final = 60


class PatchRefused(RuntimeError):
    """The patch does not fit the tree any more; the text is git's."""


@contextmanager
def scratch_copy(root: Path = ROOT) -> Iterator[Path]:
    """A copy of the files that git knows or would take up. Gone at the end.

    Git is what says which files those are, so this needs a clone; a patch needs git alone.
    """
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        for name in filter(None, listed.split("\0")):
            source, target = root / name, Path(scratch, name)
            if source.is_file():  # a file may be listed and gone
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        yield Path(scratch)


def apply(mutant: Mutant, tree: Path, *, undo: bool = False) -> None:
    """Put the bug into the tree, or take it out. Raises `PatchRefused`."""
    try:
        _git(tree, "apply", *(["--reverse"] if undo else []), "--whitespace=nowarn", str(mutant.patch))
    except subprocess.CalledProcessError as refusal:
        raise PatchRefused(f"{mutant.patch.name} does not fit any more: {refusal.stderr.strip()}") from refusal


def copy_files(mutant: Mutant, tree: Path, root: Path = ROOT) -> None:
    """Only what the mutant changes: enough to see whether it fits."""
    for name in mutant.files:
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)


def _git(tree: Path, *arguments: str) -> str:
    """Git in this directory, as if no repository were around it unless the directory itself is one.

    Within another repository `git apply` passes over, without a word, what lies outside of the present directory.
    """
    around = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    around["GIT_CEILING_DIRECTORIES"] = str(tree.parent)
    answer = subprocess.run(
        ["git", *arguments], cwd=tree, env=around, check=True, capture_output=True, text=True, timeout=_GIT_S
    )
    return answer.stdout
