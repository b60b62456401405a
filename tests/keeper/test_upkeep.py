"""What the keeper does next, from what the leader confirmed and what the actors say (ADR 13). Without Ray."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raft_actors.cluster.upkeep import NEWCOMER_SILENT_MS_MAX, SILENT_S_MAX, End, Fill, Seen, Step, in_words, next_steps
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
        member_id=MemberId(number), directory_id=directory_id(number), voter=True, lag=0, silent_ms=silent_ms
    )


def non_voter(number: int, *, lag: int = 0, silent_ms: int = 0) -> MemberLine:
    return replace(voter(number, silent_ms=silent_ms), voter=False, lag=lag)


def vacant(number: int) -> MemberLine:
    return MemberLine(member_id=MemberId(number), directory_id=None, voter=False, lag=None, silent_ms=None)


def view(*lines: MemberLine, committed: bool = True) -> Membership:
    return Membership(
        leader=MemberId(0),
        term=Term(3),
        index=LogIndex(7),
        committed=committed,
        commit_index=LogIndex(1000),
        lines=lines,
    )


def says(state: PeerState, directory: DirectoryId | None = None, *, in_the_way: bool = False) -> Seen:
    return Seen(state=state, directory_id=directory, silent_s=0.0, in_the_way=in_the_way)


def silent(seconds: float) -> Seen:
    return Seen(state=None, directory_id=None, silent_s=seconds, in_the_way=False)


def steps(
    membership: Membership, *, replace_after_s: float | None = None, others_too: bool = True, **seen: Seen
) -> list[Step]:
    """`seen`: what the actor of a member says, as m2=...; the others run."""
    actors = {MemberId(int(name[1:])): each for name, each in seen.items()}
    if others_too:
        for line in membership.lines:
            if line.directory_id is not None:
                actors.setdefault(line.member_id, says(PeerState.RUNNING, line.directory_id))
    return next_steps(membership, actors, promotion_lag_max=LAG_MAX, replace_after_s=replace_after_s)


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

    def test_waits_for_who_is_starting(self) -> None:
        assert steps(VACANCY, m2=says(PeerState.STARTING)) == []

    def test_waits_for_who_is_silent_but_not_for_ever(self) -> None:
        assert steps(VACANCY, m2=silent(SILENT_S_MAX - 0.1)) == []
        assert [type(step) for step in steps(VACANCY, m2=silent(SILENT_S_MAX))] == [End]

    def test_moves_where_somebody_wants_it(self) -> None:
        here = says(PeerState.UNINITIALISED, NEW, in_the_way=True)
        assert [type(step) for step in steps(VACANCY, m2=here)] == [End]


class TestANonVoter:
    def test_votes_once_it_has_caught_up(self) -> None:
        assert steps(view(voter(0), voter(1), non_voter(2, lag=LAG_MAX))) == [Promote(directory_id=directory_id(2))]

    def test_and_not_before(self) -> None:
        assert steps(view(voter(0), voter(1), non_voter(2, lag=LAG_MAX + 1))) == []


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

    def test_who_was_to_replace_one_may_be_lost_as_well(self) -> None:
        late = view(voter(0), voter(1), non_voter(2, lag=10**6, silent_ms=NEWCOMER_SILENT_MS_MAX - 1))
        assert steps(late, replace_after_s=10) == [], "it has to be started and found first"
        lost = view(voter(0), voter(1), non_voter(2, lag=10**6, silent_ms=NEWCOMER_SILENT_MS_MAX))
        assert steps(lost, replace_after_s=10) == [RemoveMember(directory_id=directory_id(2), keep_place=True)]


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
