"""The words of a story about who belongs to the group, and who shall lead it.

Here:   `CHANGE_COMMANDS`, and the small functions behind it.
Never:  all other words (words.py); what a change makes of a configuration (raft_actors/core/membership.py).

`3'` is the directory that 3 got when it was wiped, as in disk_words.py. A change is made for the configuration that is
in force at the member that is asked, or `made_for=INDEX`. How a transfer ended is told when it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from raft_actors.core.effects import ChangeStarted
from raft_actors.core.entries import Configuration
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import VACANT, DirectoryId, MemberId
from tests.rig.disks import directory_id
from tests.rig.network import named
from tests.rig.rig import Group
from tests.scenarios.scene import Scene, Word, each, options_of


def _directory(name: str) -> DirectoryId:
    return directory_id(int(name.strip("'")), name.count("'"))


def _ask(scene: Scene, words: list[str], make: Callable[[str, set[str]], Change]) -> list[str]:
    (number, name, *flags), options = options_of(words)
    made_for = options.get("made_for")
    change = make(name, set(flags))
    answer = scene.group.change(int(number), change, None if made_for is None else int(made_for))
    if isinstance(answer, ChangeStarted):
        return [f"change at {answer.term}/{answer.index}: {_listed(scene.group, int(number))}"]
    return [f"refused: {answer.reason.value}"]


def _listed(group: Group, number: int) -> str:
    return told(group.state(number).configurations.in_force)


def told(configuration: Configuration) -> str:
    """`1,2,(3'),4?`: a non-voter in brackets, a vacant place with a question mark."""
    return ",".join(
        f"{line.member_id}?"
        if line.vacant
        else named(line.directory_id)
        if line.voter
        else f"({named(line.directory_id)})"
        for line in configuration.members
    )


def _add(scene: Scene, words: list[str]) -> list[str]:
    """`add 1 4`: ask 1 to seat the directory 4 as a non-voter; `add 1 4 vacant`: the place alone."""

    def make(name: str, flags: set[str]) -> Change:
        member_id = MemberId(int(name.strip("'")))
        directory = VACANT if "vacant" in flags else _directory(name)
        return AddMember(member=Line(member_id=member_id, directory_id=directory, voter=False))

    return _ask(scene, words, make)


def _promote(scene: Scene, words: list[str]) -> list[str]:
    """`promote 1 4`: ask 1 to make a voter of the directory 4."""
    return _ask(scene, words, lambda name, _: Promote(directory_id=_directory(name)))


def _remove(scene: Scene, words: list[str]) -> list[str]:
    """`remove 1 3`: ask 1 to remove the directory 3; `remove 1 3 keep`: its place stays, vacant."""
    return _ask(
        scene,
        words,
        lambda name, flags: RemoveMember(directory_id=_directory(name), keep_place="keep" in flags),
    )


def _remove_place(scene: Scene, words: list[str]) -> list[str]:
    """`remove-place 1 4`: ask 1 to remove the place 4, which is vacant."""
    return _ask(scene, words, lambda name, _: RemovePlace(member_id=MemberId(int(name))))


def _transfer(scene: Scene, words: list[str]) -> None:
    """`transfer 1 2`: ask 1 to hand leadership over to the directory that is at 2; `transfer 1`: to whom it likes."""
    scene.transfer(int(words[0]), int(words[1]) if words[1:] else None)


def _members(scene: Scene, words: list[str]) -> list[str]:
    """`members`: the configuration that each that runs has in force, and where it stands."""
    group = scene.group
    return [
        f"{number} has {_listed(group, number)} of {group.state(number).configurations.in_force_index}"
        for number, member in group.members.items()
        if member.engine is not None
    ]


CHANGE_COMMANDS: Final[dict[str, Word]] = {
    "add": _add,
    "promote": _promote,
    "remove": _remove,
    "remove-place": _remove_place,
    "transfer": _transfer,
    "empty": each(Group.empty),
    "members": _members,
}
