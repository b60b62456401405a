"""A broken rule, and the member as the checks see it.

Here:   `Violation`, `SimMember`.
Never:  rules.
"""

from __future__ import annotations

from typing import Protocol

from raft_actors.application.host import ApplicationHost
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.engine import Engine


class Violation(AssertionError):
    """A rule is broken: its name, and what was seen."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class SimMember(Protocol):
    """A place in the group, with the processes that run there now."""

    @property
    def member_id(self) -> MemberId:
        """Its number."""

    @property
    def directory_id(self) -> DirectoryId | None:
        """Of the disk that is there, or was there last."""

    @property
    def engine(self) -> Engine | None:
        """The running peer; None: it is down."""

    @property
    def host(self) -> ApplicationHost | None:
        """The running application; None: it is down."""


def name_of(directory_id: DirectoryId | None) -> str:
    """A directory in a text."""
    return "nobody" if directory_id is None else directory_id.hex()[:8]
