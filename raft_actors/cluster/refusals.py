"""What the core refuses of a change of members, as errors with a name and a sentence.

Here:   which refusals pass by themselves, and `refuse` for the others.
Never:  when a change is refused (core/membership.py), asking again (membership.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from raft_actors.core.effects import ChangeRefusal
from raft_actors.errors import (
    AlreadyMember,
    AlreadyVoter,
    LastVoter,
    MemberLags,
    MembershipError,
    NotMember,
    TooFewLeft,
)

PASSING: Final = frozenset(
    {
        ChangeRefusal.NOT_LEADER,
        ChangeRefusal.TRANSFERRING,
        ChangeRefusal.OTHER_CONFIGURATION,
        ChangeRefusal.CHANGE_NOT_COMMITTED,
        ChangeRefusal.TERM_NOT_COMMITTED,
    }
)
"""What somebody who looks again may not meet again."""

_REFUSALS: Final[Mapping[ChangeRefusal, tuple[type[MembershipError], str]]] = {
    ChangeRefusal.ALREADY_MEMBER: (AlreadyMember, "that place is taken: replace its member, or leave the id out"),
    ChangeRefusal.NOT_MEMBER: (NotMember, "there is no such member any more: see `raft-kv member list`"),
    ChangeRefusal.ALREADY_VOTER: (AlreadyVoter, "it votes already"),
    ChangeRefusal.LAGS: (
        MemberLags,
        "it lags too far behind, or was not heard of lately: the keeper lets it vote when it has caught up",
    ),
    ChangeRefusal.LAST_VOTER: (LastVoter, "it is the last voter: add another one first, or shut the group down"),
    ChangeRefusal.WOULD_STALL: (
        TooFewLeft,
        "too few of the voters that would be left answer: the group could not go on without it; bring them back first",
    ),
}


def refuse(reason: ChangeRefusal) -> NoReturn:
    """Raise it by its name."""
    kind, sentence = _REFUSALS[reason]
    raise kind(sentence)
