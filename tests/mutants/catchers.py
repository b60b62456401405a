"""Who finds a mutant: which command is run in the scratch copy, and what its end means.

Here:   the commands, their verdicts.
Never:  which mutants there are, how often and where they are run.

`sim` is a search in three steps: some worlds, then the stories and schedules that people wrote down (tests/scenarios,
tests/rig), then as many worlds as are wanted. What random worlds meet at once is told by them; what needs a schedule of
a dozen steps is told by the story of it.

A verdict has three values. *Caught*: the catcher ended with its exit code for findings and named one. *Not caught*: it
ended well, or its time was over. Anything else, an import that fails for example, is the fault of the patch or of the
catcher and proves nothing about either: `CatcherBroken`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

END_S: Final = 15.0
"""How long a catcher that was told to end may take."""

NEVER_SEEN: Final = "never seen"
"""The rule of a campaign that ran to its end, found nothing, and did not meet all that it should: no find of a bug."""

WORLDS_BEFORE_STORIES: Final = 150
STORIES: Final = ("tests/scenarios", "tests/rig")

_FAILED: Final = re.compile(r"^FAILED ([^\s\[]+)", re.MULTILINE)
"""Without the parameters of the test, which may hold anything."""
_COUNTS: Final = re.compile(r"(\d+) (?:passed|failed)")
_TEXT_MAX: Final = 2_000


class CatcherBroken(RuntimeError):
    """The catcher ended as it never should, whatever the mutant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a catcher said."""

    caught: bool
    by: str = ""
    """The rule that was broken, or the test that failed."""
    after: int = 0
    """Seeds, cases or tests that were run, the last one included."""
    text: str = ""
    again: tuple[str, ...] = ()
    """Arguments that run just what caught it."""
    seconds: float = 0.0


def catch(catcher: str, tree: Path, *, seeds: int, seconds: float) -> Verdict:
    """Run a catcher in a tree until it finds something, has done its work, or its time is over."""
    kind, _, what = catcher.partition(" ")
    if kind == "pytest":
        return _of_tests(_run(_pytest(what), tree, seconds))
    arguments = _campaign(kind, what)
    if kind != "sim":
        return _of_campaign(_run(arguments, tree, seconds), arguments, many="count")
    until_s = time.monotonic() + seconds
    verdict = _in_worlds(arguments, tree, 1, min(seeds, WORLDS_BEFORE_STORIES), seconds)
    stories = [each for each in STORIES if (tree / each).is_dir()]
    if not verdict.caught and stories:
        told = _of_tests(_run(_pytest(*stories), tree, seconds))
        if told.caught:
            return told
    if not verdict.caught and seeds > WORLDS_BEFORE_STORIES and (left_s := until_s - time.monotonic()) > 0:
        verdict = _in_worlds(arguments, tree, WORLDS_BEFORE_STORIES + 1, seeds - WORLDS_BEFORE_STORIES, left_s)
    return verdict


def _in_worlds(arguments: tuple[str, ...], tree: Path, first: int, seeds: int, seconds: float) -> Verdict:
    ended = _run((*arguments, "--first", str(first), "--seeds", str(seeds)), tree, seconds)
    verdict = _of_campaign(ended, arguments, many="seeds")
    return replace(verdict, after=first - 1 + verdict.after)


def passes(verdict: Verdict, tree: Path, *, seconds: float) -> bool:
    """Whether the same seed, case or test finds nothing in this tree, which is the one without the bug."""
    ended = _run(verdict.again, tree, seconds)
    return ended.code == 0


# -- commands ---------------------------------------------------------------------------------------------------------


def _pytest(*what: str) -> tuple[str, ...]:
    return ("pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", *what)


def _campaign(kind: str, what: str) -> tuple[str, ...]:
    return ("tests.sim", "run", "--json") if kind == "sim" else ("tests.storage.campaigns", what, "--json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    code: int | None
    """None: its time was over."""
    out: str
    err: str
    seconds: float


def _run(arguments: tuple[str, ...], tree: Path, seconds: float) -> _Ended:
    """`python -m ARGUMENTS` on the code in the tree; ended in order when its time is over."""
    around = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    around["PYTHONHASHSEED"] = "0"  # a mutant that iterates over a set is caught on every run, or on none
    began_at = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=tree,
        env=around,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            code = None
            process.terminate()
            try:
                out, err = process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
    return _Ended(code=code, out=out, err=err, seconds=time.monotonic() - began_at)


# -- verdicts ---------------------------------------------------------------------------------------------------------


def _of_tests(ended: _Ended) -> Verdict:
    failed = _FAILED.search(ended.out)
    last_line = ended.out.rstrip().rpartition("\n")[2]
    after = sum(int(count) for count in _COUNTS.findall(last_line))
    if ended.code == 1 and failed is not None:
        return Verdict(
            caught=True,
            by=failed[1],
            after=after,
            text=ended.out[-_TEXT_MAX:],
            again=_pytest(failed[1]),
            seconds=ended.seconds,
        )
    if ended.code in (0, None):
        return Verdict(caught=False, after=after, seconds=ended.seconds)
    raise CatcherBroken(_last_words(ended))


def _of_campaign(ended: _Ended, arguments: tuple[str, ...], *, many: str) -> Verdict:
    said = _last_json(ended.out)
    if ended.code == 1 and said is not None and said.get("rule") not in (None, "", NEVER_SEEN):
        return Verdict(
            caught=True,
            by=str(said["rule"]),
            after=int(said.get(f"{many}_run", 0)),
            text=str(said.get("text", ""))[:_TEXT_MAX],
            again=(*arguments, "--first", str(said.get("seed", said.get("case", 1))), f"--{many}", "1"),
            seconds=ended.seconds,
        )
    if ended.code in (0, None) or (said or {}).get("rule") == NEVER_SEEN:
        return Verdict(caught=False, after=int((said or {}).get(f"{many}_run", 0)), seconds=ended.seconds)
    raise CatcherBroken(_last_words(ended))


def _last_json(out: str) -> dict[str, Any] | None:
    for line in reversed(out.splitlines()):
        if line.startswith("{"):
            try:
                said = json.loads(line)
            except ValueError:
                return None
            return said if isinstance(said, dict) else None
    return None


def _last_words(ended: _Ended) -> str:
    return f"exit code {ended.code}\n{ended.out[-_TEXT_MAX:]}\n{ended.err[-_TEXT_MAX:]}"
