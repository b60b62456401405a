"""What one unit of a campaign says: how much it did, what it counted, what it found.

Here:   `Finding`, `Outcome`, their form in JSON, and the rule that no result names a machine.
Never:  running units (workers.py), adding outcomes up (state.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

TEXT_LENGTH_MAX: Final = 8_000
"""Characters of a finding that are kept: a traceback and a story fit, a whole log does not."""

_PLACES: Final = (
    (f"{ROOT}/", ""),
    (f"{Path(sys.prefix)}/", "<python>/"),
    (f"{tempfile.gettempdir().rstrip('/')}/", "<tmp>/"),
    (f"{Path.home()}/", "~/"),
    (f"{Path(sys.base_prefix)}/", "<python>/"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be."""

    rule: str
    """In a word or two: the check that failed."""
    text: str
    """What was seen, for a person."""
    replay: str = ""
    """The command that shows it again."""

    def to_json(self) -> dict[str, str]:
        """For a line of the findings; without paths of this machine."""
        return {"rule": self.rule, "text": without_places(self.text[:TEXT_LENGTH_MAX]), "replay": self.replay}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a unit hands back; crosses a process border, so all of it is plain."""

    done: int = 1
    """How many things it tried, in the campaign's own word: seeds, cuts, images, mutants."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """What happened how often; added up over the units."""
    findings: tuple[Finding, ...] = ()
    rows: tuple[Mapping[str, str | int | float], ...] = ()
    """Lines of a table that the campaign itself prints. All are kept: only for campaigns of few units."""


def without_places(text: str) -> str:
    """The text with this machine's paths made relative or general."""
    for place, instead in _PLACES:
        text = text.replace(place, instead)
    return text
