"""How far a campaign has come: what is done and what came out of it, kept in a file so that a run can go on.

Here:   `RunState`, adding outcomes up, the file, whether an earlier run may be gone on with, the version of the code.
Never:  processes (workers.py), the results that are published (results.py).

The file holds which units are done *and* what they added up to, and is replaced as a whole: whenever the campaign is
killed, a unit counts once or not at all.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

from tests.campaigns.outcome import ROOT, Outcome

Parameter: TypeAlias = str | int | float | bool | None

_CODE_SUFFIXES: Final = (".py", ".txt", ".patch")


@dataclass(slots=True, kw_only=True)
class RunState:
    """One run of a campaign, over all its interruptions."""

    started: str
    """When, in UTC; names the run in the results."""
    parameters: Mapping[str, Parameter]
    code: str
    """Digest of the sources that the campaign runs on."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """The units done, as sorted closed ranges."""
    items: int = 0
    seconds: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str | int]] = field(default_factory=list)
    rows: list[tuple[int, Mapping[str, str | int | float]]] = field(default_factory=list)
    """(unit, row), in the order in which they came."""

    @property
    def units_done(self) -> int:
        """How many units are done."""
        return sum(last - first + 1 for first, last in self.ranges)

    def add(self, unit: int, outcome: Outcome) -> None:
        """Count a unit as done."""
        self.ranges = _with(self.ranges, unit)
        self.items += outcome.done
        self.counters.update(outcome.counters)
        self.findings += [{"unit": unit, **each.to_json()} for each in outcome.findings]
        self.rows += [(unit, each) for each in outcome.rows]

    def units_left(self, units: int | None) -> Iterator[int]:
        """The units to do, lowest first; endless when `units` is None. Looks at what is done now, not later."""
        done = iter(list(self.ranges))
        first, last = next(done, (-1, -1))
        for unit in count() if units is None else range(units):
            while last < unit and first != -1:
                first, last = next(done, (-1, -1))
            if not first <= unit <= last:
                yield unit

    def save(self, path: Path) -> None:
        """Replace the file as a whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps({each.name: getattr(self, each.name) for each in fields(self)}))
        os.replace(aside, path)


def load_or_start(
    path: Path, *, now: str, parameters: Mapping[str, Parameter], code: str, units: int | None
) -> tuple[RunState, str]:
    """The run that the file holds if it may be gone on with, else a new one; and the reason, as a sentence or ""."""
    fresh = RunState(started=now, parameters=dict(parameters), code=code)
    try:
        found = json.loads(path.read_text())
        found["ranges"] = [(first, last) for first, last in found["ranges"]]
        found["rows"] = [(unit, row) for unit, row in found["rows"]]
        earlier = RunState(**{**found, "counters": Counter(found["counters"])})
    except FileNotFoundError:
        return fresh, ""
    except (ValueError, TypeError, KeyError):
        return fresh, "the run before left a state that cannot be read: starting anew"
    changed = [
        name
        for name in sorted({*earlier.parameters, *parameters})
        if earlier.parameters.get(name) != parameters.get(name)
    ]
    if changed:
        return fresh, f"the run before had other parameters ({', '.join(changed)}): starting anew"
    if earlier.code != code:
        return fresh, "the code has changed since the run before: starting anew"
    if units is not None and earlier.ranges and earlier.ranges[-1][1] >= units:
        return fresh, "the run before was larger: starting anew"
    return earlier, f"going on: {earlier.units_done} units were done before"


def code_digest(paths: Sequence[str], root: Path = ROOT) -> str:
    """Digest of all sources below these paths, by name and content; a change of comments is a change, too."""
    digest = blake2b(digest_size=16)
    for name in sorted(paths):
        base = root / name
        files = [base] if base.is_file() else sorted(each for each in base.rglob("*") if each.suffix in _CODE_SUFFIXES)
        assert files, f"there is no code at {name}"
        for file in files:
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _with(ranges: list[tuple[int, int]], unit: int) -> list[tuple[int, int]]:
    """The ranges and one more unit."""
    before = [each for each in ranges if each[1] < unit - 1]
    behind = [each for each in ranges if each[0] > unit + 1]
    touching = [each for each in ranges if unit - 1 <= each[1] and each[0] <= unit + 1]
    assert not any(first <= unit <= last for first, last in touching), f"unit {unit} was done twice"
    merged = (min([unit, *(first for first, _ in touching)]), max([unit, *(last for _, last in touching)]))
    return [*before, merged, *behind]
