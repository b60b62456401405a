"""Stories as text: a command, `----`, and what happened, line by line; a comment tells the story.

Here:   how a file is read, played and written down.
Never:  the commands (words.py); verdicts: what must be true after every event is checked by the group itself.

`RAFT_SCENARIOS_REWRITE=1 pytest tests/scenarios` writes down what happens now; the diff is the review.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.scene import Scene
from tests.scenarios.words import COMMANDS

HERE = Path(__file__).parent
REWRITE = "RAFT_SCENARIOS_REWRITE"
SEPARATOR = "----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of a story."""

    comment: str
    command: str
    expected: tuple[str, ...]


def steps_of(text: str) -> Iterator[Step]:
    """Blocks are parted by empty lines."""
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        comment = [line for line in lines if line.startswith("#")]
        rest = lines[len(comment) :]
        if not os.environ.get(REWRITE):
            assert rest[1:2] == [SEPARATOR], f"a command, then {SEPARATOR}: {block!r}"
        yield Step(comment="\n".join(comment), command=rest[0], expected=tuple(rest[2:]))


def run(scene: Scene, command: str) -> tuple[str, ...]:
    """What happened."""
    name, *words = command.split()
    if name == "group":
        scene.begin(words)
        return ()
    told = len(scene.group.story)
    scene.group.story += COMMANDS[name](scene, words) or []
    scene.tell_ended()
    return tuple(scene.group.story[told:])


@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch=monkeypatch)
    blocks = []
    steps = list(steps_of(path.read_text()))
    assert steps, f"{path.name} tells nothing"
    for step in steps:
        happened = run(scene, step.command)
        if not os.environ.get(REWRITE):
            assert happened == step.expected, f"{path.name}: {step.command}"
        blocks.append("\n".join([*([step.comment] if step.comment else []), step.command, SEPARATOR, *happened]))
    if os.environ.get(REWRITE):
        path.write_text("\n\n".join(blocks) + "\n")
