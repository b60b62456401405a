"""Stories as text: a command, `----`, and what happened, line by line; a comment tells the story.

Here:   the commands, each one call of `tests.rig.rig.Group`, and the comparison.
Never:  verdicts. What must be true after every event is checked by the group itself.

`RAFT_SCENARIOS_REWRITE=1 pytest tests/scenarios` writes down what happens now; the diff is the review.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raft_actors.config import RaftConfig
from raft_actors.core.entries import Command, Entry
from raft_actors.core.types import EntryId, LogIndex, Term
from tests.rig.rig import Group

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
        assert rest[1:2] == [SEPARATOR], f"a command, then {SEPARATOR}: {block!r}"
        yield Step(comment="\n".join(comment), command=rest[0], expected=tuple(rest[2:]))


class Story:
    """Runs the commands of one file."""

    def __init__(self) -> None:
        self._group: Group | None = None

    def run(self, command: str) -> list[str]:
        """What happened."""
        name, *words = command.split()
        if name == "group":
            knobs = {knob: int(value) for knob, value in (word.split("=") for word in words[1:])}
            self._group = Group(int(words[0]), config=RaftConfig(**knobs))
            return []
        group = self._group
        assert group is not None, "a story begins with `group SIZE`"
        told = len(group.story)
        group.story += _COMMANDS[name](group, words) or []
        return group.story[told:]


def _elect(group: Group, words: list[str]) -> None:
    group.elect(int(words[0]))


def _propose(group: Group, words: list[str]) -> list[str]:
    return [str(group.propose(int(words[0]), words[1].encode()))]


def _deliver(group: Group, words: list[str]) -> None:
    """`deliver` all, `deliver 1 2` all from 1 to 2 and nothing else."""
    src, dst = (int(words[0]), int(words[1])) if words else (None, None)
    group.deliver_all(src=src, dst=dst)


def _quietly(group: Group, words: list[str]) -> None:
    """As `deliver`, but the messages themselves are not told; `quietly 700`: while 700 ms pass."""
    told = len(group.story)
    if words:
        group.pass_time(int(words[0]))
    group.deliver_all()
    group.story[told:] = [line for line in group.story[told:] if " -> " not in line]


def _drop(group: Group, words: list[str]) -> None:
    src, dst = (int(words[0]), int(words[1])) if words else (None, None)
    group.drop(src=src, dst=dst)


def _partition(group: Group, words: list[str]) -> None:
    group.partition(*([int(number) for number in side.split(",")] for side in words))


def _disk(group: Group, words: list[str]) -> None:
    """`disk 1 1 2 term=3`: member 1, which is down, holds an entry of term 1 and one of term 2, and knows term 3."""
    terms = [int(word) for word in words[1:] if "=" not in word]
    term = next((int(word.removeprefix("term=")) for word in words if word.startswith("term=")), None)
    entries = [
        Entry(id=EntryId(Term(at), LogIndex(index)), payload=Command(data=b"%d" % at), stamp_ms=0)
        for index, at in enumerate(terms, 1)
    ]
    group.put_on_disk(int(words[0]), *entries, term=term)


def _show(group: Group, words: list[str]) -> list[str]:
    return [
        f"{number} {group.role(number).value} term={group.state(number).current_term} log=[{group.log(number)}] "
        f"commit={group.commit(number)}"
        for number, member in group.members.items()
        if member.engine is not None
    ]


def _each(act: Callable[[Group, int], object]) -> Callable[[Group, list[str]], None]:
    def command(group: Group, words: list[str]) -> None:
        for word in words:
            act(group, int(word))

    return command


_COMMANDS: dict[str, Callable[[Group, list[str]], list[str] | None]] = {
    "elect": _elect,
    "propose": _propose,
    "deliver": _deliver,
    "quietly": _quietly,
    "drop": _drop,
    "partition": _partition,
    "disk": _disk,
    "show": _show,
    "heal": lambda group, words: group.heal(),
    "cut": lambda group, words: group.cut(int(words[0]), int(words[1])),
    "timeout": _each(Group.timeout),
    "beat": _each(Group.beat),
    "isolate": _each(Group.isolate),
    "crash": _each(Group.crash),
    "restart": _each(Group.restart),
    "wipe": _each(Group.wipe),
    "hold-disk": _each(Group.hold_disk),
    "release-disk": _each(Group.release_disk),
}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_told(path: Path) -> None:
    story = Story()
    blocks = []
    steps = list(steps_of(path.read_text()))
    assert steps, f"{path.name} tells nothing"
    for step in steps:
        happened = tuple(story.run(step.command))
        if not os.environ.get(REWRITE):
            assert happened == step.expected, f"{path.name}: {step.command}"
        blocks.append("\n".join([*([step.comment] if step.comment else []), step.command, SEPARATOR, *happened]))
    if os.environ.get(REWRITE):
        path.write_text("\n\n".join(blocks) + "\n")
