"""The group of one story, and everyone in it who waits for an answer.

Here:   `Scene`: commands to words, who asked what, one line when it ended; what all words need.
Never:  what a word does (words.py, disk_words.py), how a file is read (test_scenarios.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import pytest

from raft_actors.application import chain
from raft_actors.application.exchange import ReadAt
from raft_actors.application.limits import Ticket
from raft_actors.application.requests import Attempt, QueryDone
from raft_actors.application.settings import SessionLimits
from raft_actors.config import RaftConfig
from raft_actors.core.types import MemberId
from raft_actors.storage.image import LogImage
from tests.rig.application import Application
from tests.rig.disks import Disks, FaultyDisks, MemoryDisks
from tests.rig.member import LATE_MS, Member
from tests.rig.network import Flight
from tests.rig.rig import Group
from tests.rig.waiting import Read
from tests.storage.faulty_files import FaultyFiles


@dataclass(slots=True, kw_only=True)
class Asked:
    """A client's attempt, or a read, that waits at a member."""

    label: str
    member: Member
    application: Application | None
    """Where it waits; when this one is gone, there is no answer."""
    start: int
    """Which process of the peer; a read ends with it."""
    ticket: int | None = None
    """At the application; None: a read that the peer has not confirmed."""
    read: Read | None = None


@dataclass(slots=True, kw_only=True)
class Scene:
    """What the words of a story act on."""

    monkeypatch: pytest.MonkeyPatch
    asked: list[Asked] = field(default_factory=list)
    held: list[Flight] = field(default_factory=list)
    """Messages that wait somewhere in the network."""
    read_count: int = 0
    copies: dict[MemberId, tuple[FaultyFiles, LogImage]] = field(default_factory=dict)
    """Disks that were copied, and what was known to be durable there."""
    transfers: list[tuple[Member, int]] = field(default_factory=list)
    """That have not ended."""
    _group: Group | None = None

    @property
    def group(self) -> Group:
        """The members."""
        assert self._group is not None, "a story begins with `group SIZE`"
        return self._group

    def begin(self, words: list[str]) -> None:
        """`group SIZE`, then any of non_voters=4,5 spare=1 disks=faulty compare=INDEXES, limits of config, sessions."""
        options = dict(word.split("=") for word in words[1:])
        non_voters = [int(number) for number in options.pop("non_voters", "").split(",") if number]
        disks: Disks = {"memory": MemoryDisks, "faulty": FaultyDisks}[options.pop("disks", "memory")]()
        if "compare" in options:
            self.monkeypatch.setattr(chain, "CHECKPOINT_INTERVAL", int(options.pop("compare")))
        numbers = {option: int(value) for option, value in options.items()}
        of_sessions = {option: numbers.pop(option) for option in list(numbers) if option in SESSION_LIMITS}
        self._group = Group(
            int(words[0]),
            non_voters=non_voters,
            spare=numbers.pop("spare", 0),
            disks=disks,
            config=RaftConfig(**numbers),
            sessions=SessionLimits(**of_sessions),
        )

    def member(self, word: str) -> Member:
        """By its number."""
        return self.group.members[MemberId(int(word))]

    def application(self, word: str) -> Application:
        """The application of this member, which must be there."""
        application = self.member(word).application
        assert application is not None, f"member {word} has no application"
        return application

    def files(self, word: str) -> FaultyFiles:
        """The file system of this member; the story began with `disks=faulty`."""
        assert isinstance(self.group.disks, FaultyDisks), "a story with files begins with `group SIZE disks=faulty`"
        return self.group.disks.files(MemberId(int(word)))

    # -- who waits ----------------------------------------------------------------------------------------------------

    def submit(self, number: int, labels: list[str], attempts: list[Attempt]) -> None:
        """These attempts reach the application of a member, as one batch."""
        member = self.group.members[MemberId(number)]
        application = member.application
        tickets = self.group.submit(number, *attempts)
        for label, ticket in zip(labels, tickets, strict=True):
            asked = Asked(label=label, member=member, application=application, start=member.start, ticket=ticket)
            self.asked.append(asked)

    def read(self, number: int) -> None:
        """A client asks what this member's application has applied, and nothing older than now will do."""
        member = self.group.members[MemberId(number)]
        self.read_count += 1
        label = f"read {self.read_count}"
        asked = Asked(label=label, member=member, application=member.application, start=member.start)
        asked.read = self.group.read(number)
        self.asked.append(asked)

    def transfer(self, number: int, to: int | None) -> None:
        """Somebody asks a member to hand leadership over."""
        self.transfers.append((self.group.members[MemberId(number)], self.group.transfer(number, to)))

    def tell_ended(self) -> None:
        """One line for everyone who waits no more."""
        for member, transfer in list(self.transfers):
            if transfer in member.transfer_answers:
                self.transfers.remove((member, transfer))
                self.group.tell(f"transfer at {member.member_id}: {member.transfer_answers[transfer].why.value}")
        waiting, self.asked = self.asked, []
        for asked in waiting:
            news = self._ended(asked)
            if news is None:
                self.asked.append(asked)
            else:
                self.group.tell(f"{asked.label} at {asked.member.member_id}: {news}")

    def _ended(self, asked: Asked) -> str | None:
        application = asked.member.application
        if asked.read is not None and asked.ticket is None:
            answer = asked.read.answer
            if answer is None:
                gone = asked.member.start != asked.start or asked.member.engine is None
                return "no answer, its peer is gone" if gone else None
            if not isinstance(answer, ReadAt) or application is None:
                return str(answer)
            asked.application = application
            application.ticket_count += 1
            asked.ticket = application.ticket_count
            application.host.read(Ticket(asked.ticket), b"", answer.index, LATE_MS)
            application.take_answers()
        if application is None or application is not asked.application:
            return "no answer, its application is gone"
        assert asked.ticket is not None
        if asked.read is None:
            ended = application.answers.get(asked.ticket)
            return None if ended is None else str(ended)
        found = application.query_answers.get(asked.ticket)
        if isinstance(found, QueryDone):
            return f"{found.result.decode().removeprefix(':') or 'nothing'}, as of {found.applied_index}"
        return None if found is None else str(found)

    # -- disks that are copied ----------------------------------------------------------------------------------------

    def copy_disk(self, word: str) -> None:
        """Somebody copies the data directory."""
        directory_id = self.member(word).directory_id
        assert directory_id is not None
        image = self.group.checks.image_of(directory_id)
        self.copies[MemberId(int(word))] = (self.files(word).copy(), image)

    def put_back(self, word: str) -> None:
        """Somebody puts the copy in the place of the directory of a member that is down."""
        files, image = self.copies[MemberId(int(word))]
        present = self.files(word)
        vars(present).update(vars(copy.deepcopy(files)))
        present.kill()
        directory_id = self.member(word).directory_id
        assert directory_id is not None
        self.group.checks.put_on_disk(directory_id, image)


SESSION_LIMITS = frozenset({"results_max", "sessions_max", "idle_ms_max"})

Word: TypeAlias = Callable[[Scene, list[str]], list[str] | None]
"""Gets the rest of the line; gives lines to tell beside what the group told."""


def each(act: Callable[[Group, int], object]) -> Word:
    """The word that does this to every member named."""

    def word(scene: Scene, words: list[str]) -> None:
        for number in words:
            act(scene.group, int(number))

    return word


def options_of(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Plain words, and those of the form name=value."""
    plain = [word for word in words if "=" not in word]
    return plain, dict(word.split("=") for word in words if "=" in word)
