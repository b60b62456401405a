"""What the keeper does next, from what the leader confirmed and what the actors say (ADR 13). Without Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from raft_actors.cluster.upkeep import (
    NEWCOMER_S_MAX,
    SILENT_S_MAX,
    End,
    Fill,
    Seen,
    Step,
    in_words,
    lost,
    next_steps,
)
from raft_actors.core.entries import Member
from raft_actors.core.events import AddMember, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import DirectoryId, LogIndex, MemberId, Term
from raft_actors.peer.membership import MemberLine, Membership
from raft_actors.peer.standing import PeerState
from tests.rig.disks import directory_id

LAG_MAX = 100
OLD, NEW = directory_id(2), directory_id(2, 1)


def voter(number: int, *, silent_ms: int = 0) -> MemberLine:
    return MemberLine(
        member_id=MemberId(number),
        directory_id=directory_id(number),
        voter=True,
        lag=0,
        silent_ms=silent_ms,
        heard=True,
    )


def non_voter(number: int, *, lag: int = 0, silent_ms: int = 0) -> MemberLine:
    return replace(voter(number, silent_ms=silent_ms), voter=False, lag=lag)


def vacant(number: int) -> MemberLine:
    return MemberLine(member_id=MemberId(number), directory_id=None, voter=False, lag=None, silent_ms=None, heard=False)


def view(*lines: MemberLine, committed: bool = True) -> Membership:
    return Membership(
        leader=MemberId(0),
        term=Term(3),
        index=LogIndex(7),
        committed=committed,
        commit_index=LogIndex(1000),
        lines=lines,
    )


def says(
    state: PeerState | None, directory: DirectoryId | None = None, *, for_s: float = 0.0, in_the_way: bool = False
) -> Seen:
    return Seen(state=state, directory_id=directory, for_s=for_s, answered=True, in_the_way=in_the_way)


def silent(seconds: float, *, answered: bool = True) -> Seen:
    return Seen(state=None, directory_id=None, for_s=seconds, answered=answered, in_the_way=False)


def steps(membership: Membership, *, replace_after_s: float | None = None, looks: int = 2, **seen: Seen) -> list[Step]:
    """`seen`: what the actor of a member says, as m2=...; the others run. What the second look in a row wants."""
    actors = {MemberId(int(name[1:])): each for name, each in seen.items()}
    for line in membership.lines:
        if line.directory_id is not None:
            actors.setdefault(line.member_id, says(PeerState.RUNNING, line.directory_id))
    before = frozenset(lost(membership, replace_after_s)) if looks > 1 else frozenset()
    return next_steps(
        membership, actors, promotion_lag_max=LAG_MAX, replace_after_s=replace_after_s, lost_before=before
    )


THREE = view(voter(0), voter(1), voter(2))
VACANCY = view(voter(0), voter(1), vacant(2))


def test_a_group_as_its_log_wants_it_needs_nothing() -> None:
    assert steps(THREE) == []


@pytest.mark.parametrize("state", [PeerState.UNINITIALISED, PeerState.FAILED, PeerState.RECOVERING])
def test_whatever_a_listed_member_says_it_is_left_alone(state: PeerState) -> None:
    """Its promises count. Only a change of the log takes it out."""
    assert steps(THREE, m2=says(state, NEW)) == []


def test_while_a_change_is_not_committed_nothing_is_done() -> None:
    assert steps(view(voter(0), voter(1), vacant(2), committed=False), m5=says(PeerState.RUNNING)) == []


class TestAVacantPlace:
    def test_is_filled_where_nobody_is(self) -> None:
        assert steps(VACANCY) == [Fill(MemberId(2))]

    def test_is_for_an_empty_directory(self) -> None:
        seat = AddMember(member=Member(member_id=MemberId(2), directory_id=NEW, voter=False))
        assert steps(VACANCY, m2=says(PeerState.UNINITIALISED, NEW)) == [seat]

    @pytest.mark.parametrize("state", [PeerState.RUNNING, PeerState.RECOVERING, PeerState.FAILED, PeerState.KILLED])
    def test_never_for_one_that_was_listed_once(self, state: PeerState) -> None:
        """It made promises that are not counted any more; they may not even be kept (A3, F14, contracts 8)."""
        assert [type(step) for step in steps(VACANCY, m2=says(state, OLD))] == [End]

    @pytest.mark.parametrize(
        ("who", "patience_s"),
        [
            (silent, SILENT_S_MAX),
            (lambda seconds: silent(seconds, answered=False), NEWCOMER_S_MAX),  # Ray may take long to start it
            (lambda seconds: says(PeerState.STARTING, for_s=seconds), NEWCOMER_S_MAX),
            (lambda seconds: says(PeerState.FAILED, for_s=seconds), NEWCOMER_S_MAX),  # no directory that it may use
        ],
        ids=["silent", "never heard of", "starting", "failed"],
    )
    def test_waits_for_whoever_is_there_but_not_for_ever(self, who: Callable[[float], Seen], patience_s: float) -> None:
        assert steps(VACANCY, m2=who(patience_s - 0.1)) == []
        assert [type(step) for step in steps(VACANCY, m2=who(patience_s))] == [End]

    def test_moves_where_somebody_wants_it(self) -> None:
        here = says(PeerState.UNINITIALISED, NEW, in_the_way=True)
        assert [type(step) for step in steps(VACANCY, m2=here)] == [End]


class TestANonVoter:
    def test_votes_once_it_has_caught_up(self) -> None:
        assert steps(view(voter(0), voter(1), non_voter(2, lag=LAG_MAX))) == [Promote(directory_id=directory_id(2))]

    def test_and_not_before(self) -> None:
        assert steps(view(voter(0), voter(1), non_voter(2, lag=LAG_MAX + 1))) == []
        assert steps(view(voter(0), voter(1), non_voter(2, lag=0, silent_ms=1000))) == [], "the leader would refuse"

    def test_that_was_lost_on_its_way_makes_room_whether_that_was_asked_for_or_not(self) -> None:
        """It has no vote to lose, and nobody else would ever come to its place."""
        newcomer_ms = int(NEWCOMER_S_MAX * 1000)
        late = view(voter(0), voter(1), non_voter(2, silent_ms=newcomer_ms - 1))
        assert steps(late) == [], "it has to be started and found first"
        gone = view(voter(0), voter(1), non_voter(2, silent_ms=newcomer_ms))
        assert steps(gone) == [RemoveMember(directory_id=directory_id(2), keep_place=True)]


def test_who_is_not_listed_ends() -> None:
    found = steps(THREE, m5=says(PeerState.RUNNING, OLD))
    assert [(type(step), getattr(step, "member_id", None)) for step in found] == [(End, 5)]


def test_one_change_at_a_time() -> None:
    two = view(voter(0), voter(1), voter(2), non_voter(3), non_voter(4))
    assert len(steps(two)) == 1


class TestReplacingUnasked:
    """`replace_after_s`: never for more than a minority."""

    def test_never_unless_it_was_asked_for_at_the_start(self) -> None:
        assert steps(view(voter(0), voter(1), voter(2, silent_ms=10**9))) == []

    def test_who_is_silent_for_that_long_loses_its_directory_and_keeps_its_place(self) -> None:
        gone = view(voter(0), voter(1), voter(2, silent_ms=10_000))
        assert steps(gone, replace_after_s=10) == [RemoveMember(directory_id=directory_id(2), keep_place=True)]
        assert steps(gone, replace_after_s=10.1) == []

    def test_at_the_second_look_for_a_leader_that_stood_still_hears_nobody_at_first(self) -> None:
        gone = view(voter(0), voter(1), voter(2, silent_ms=10_000))
        assert steps(gone, replace_after_s=10, looks=1) == []

    @pytest.mark.parametrize(
        "lines",
        [
            (voter(0), voter(1, silent_ms=10_000)),
            (voter(0), voter(1, silent_ms=10_000), voter(2, silent_ms=10_000)),
            (voter(0), vacant(1), voter(2, silent_ms=10_000)),
            (voter(0), non_voter(1, lag=10**6), voter(2, silent_ms=10_000)),
            (voter(0), voter(1), non_voter(2, lag=10**6), vacant(3), voter(4, silent_ms=10_000)),
        ],
    )
    def test_more_than_a_minority_is_left_alone(self, lines: tuple[MemberLine, ...]) -> None:
        assert not [step for step in steps(view(*lines), replace_after_s=10) if isinstance(step, RemoveMember)]

    def test_of_five_two_may_be_missing(self) -> None:
        lines = (voter(0), voter(1), voter(2), vacant(3), voter(4, silent_ms=10_000))
        assert RemoveMember(directory_id=directory_id(4), keep_place=True) in steps(view(*lines), replace_after_s=10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            AddMember(member=Member(member_id=MemberId(4), directory_id=NEW, voter=False)),
            f"add directory {NEW.hex()} as",
        ),
        (Promote(directory_id=NEW), f"let directory {NEW.hex()} vote"),
        (RemoveMember(directory_id=OLD, keep_place=True), f"remove directory {OLD.hex()}, its place stays"),
        (RemovePlace(member_id=MemberId(4)), "remove the vacant place 4"),
    ],
)
def test_a_change_in_words(change: AddMember | Promote | RemoveMember | RemovePlace, words: str) -> None:
    assert in_words(change).startswith(words)
