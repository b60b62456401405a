"""Contracts rule 8: what members computed is compared, copies are not; only who differs from what is agreed fails."""

from __future__ import annotations

from raft_actors.application.exchange import Checkpoint
from raft_actors.core.types import DirectoryId, LogIndex
from raft_actors.peer.chains import KEPT_MAX, ChainComparison, OwnChains
from tests.core.builders import directory

RIGHT, WRONG = b"right", b"wrong"
FIVE = [directory(number) for number in range(1, 6)]
THREE = FIVE[:3]


def at(index: int, chain: bytes = RIGHT) -> Checkpoint:
    return Checkpoint(index=LogIndex(index), chain=chain)


def report(
    comparison: ChainComparison,
    reporter: DirectoryId,
    checkpoint: Checkpoint,
    voters: list[DirectoryId],
    computed_by: DirectoryId | None = None,
) -> bool:
    """By default who reports has computed it."""
    return comparison.report(reporter, checkpoint, voters, computed_by=computed_by or reporter)


class TestAgreement:
    def test_a_majority_of_equal_reports_agrees_once(self) -> None:
        comparison = ChainComparison()
        assert not report(comparison, THREE[0], at(1024), THREE)
        assert report(comparison, THREE[1], at(1024), THREE)
        assert not report(comparison, THREE[2], at(1024), THREE)

    def test_one_directory_counts_once(self) -> None:
        comparison = ChainComparison()
        assert not report(comparison, FIVE[0], at(1024), FIVE)
        assert not report(comparison, FIVE[0], at(1024), FIVE)
        assert not report(comparison, FIVE[1], at(1024), FIVE)
        assert report(comparison, FIVE[2], at(1024), FIVE)

    def test_a_directory_that_is_no_voter_counts_nowhere(self) -> None:
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1024), THREE)
        assert not report(comparison, directory(3, wiped=1), at(1024), THREE)
        assert not comparison.in_doubt

    def test_an_early_minority_decides_nothing(self) -> None:
        """8 b: of five, 1 and 2 are wrong and report first; 3, 4 and 5 are right."""
        comparison = ChainComparison()
        assert not report(comparison, FIVE[0], at(1024, WRONG), FIVE)
        assert not report(comparison, FIVE[1], at(1024, WRONG), FIVE)
        assert not report(comparison, FIVE[2], at(1024), FIVE)
        assert not report(comparison, FIVE[3], at(1024), FIVE)
        assert comparison.in_doubt
        assert report(comparison, FIVE[4], at(1024), FIVE)
        assert not comparison.in_doubt


class TestDoubt:
    def test_reports_that_differ_with_none_agreed(self) -> None:
        """8 c: 1 and 2 differ, 3 lags. Nobody fails; the leader waits for 3, who decides."""
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1024), THREE)
        report(comparison, THREE[1], at(1024, WRONG), THREE)
        assert comparison.in_doubt
        assert report(comparison, THREE[2], at(1024), THREE)
        assert not comparison.in_doubt

    def test_a_missing_report_is_none(self) -> None:
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1024), THREE)
        assert not comparison.in_doubt

    def test_a_late_wrong_report_raises_no_doubt(self) -> None:
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1024), THREE)
        report(comparison, THREE[1], at(1024), THREE)
        report(comparison, THREE[2], at(1024, WRONG), THREE)
        assert not comparison.in_doubt

    def test_a_member_that_corrects_itself_after_a_restart_ends_it(self) -> None:
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1024), THREE)
        report(comparison, THREE[1], at(1024, WRONG), THREE)
        assert report(comparison, THREE[1], at(1024), THREE)
        assert not comparison.in_doubt

    def test_what_is_compared_at_a_time_is_bounded(self) -> None:
        comparison = ChainComparison()
        report(comparison, THREE[0], at(1), THREE)
        report(comparison, THREE[1], at(1, WRONG), THREE)
        for index in range(2, KEPT_MAX + 2):
            report(comparison, THREE[0], at(index), THREE)
        assert not comparison.in_doubt, "index 1 was given up"


class TestCopies:
    """8 a: a state that came with a snapshot was computed by whoever took it."""

    def test_one_wrong_member_and_its_copies_are_no_majority(self) -> None:
        """1 is wrong at 1,000; 3 goes on from its snapshot; 2 is right. Taken literally, 2 would have to fail."""
        comparison = ChainComparison()
        assert not report(comparison, THREE[0], at(1024, WRONG), THREE)
        assert not report(comparison, THREE[2], at(1024, WRONG), THREE, computed_by=THREE[0])
        assert not report(comparison, THREE[1], at(1024), THREE)
        assert comparison.in_doubt
        assert comparison.agreed is None

    def test_a_copy_of_a_right_state_agrees_with_another(self) -> None:
        comparison = ChainComparison()
        assert not report(comparison, THREE[2], at(1024), THREE, computed_by=THREE[0])
        assert report(comparison, THREE[1], at(1024), THREE)

    def test_where_all_voters_report_equally_nobody_is_outvoted(self) -> None:
        """All went on from one snapshot. Without agreement their provenance would stay for ever, and later one wrong
        member would put all in doubt."""
        comparison = ChainComparison()
        assert not report(comparison, THREE[0], at(1024), THREE)
        assert not report(comparison, THREE[1], at(1024), THREE, computed_by=THREE[0])
        assert report(comparison, THREE[2], at(1024), THREE, computed_by=THREE[0])

    def test_a_copy_counts_once_beside_its_origin(self) -> None:
        comparison = ChainComparison()
        assert not report(comparison, FIVE[0], at(1024), FIVE)
        assert not report(comparison, FIVE[1], at(1024), FIVE, computed_by=FIVE[0])
        assert not report(comparison, FIVE[2], at(1024), FIVE)
        assert report(comparison, FIVE[3], at(1024), FIVE)


class TestOwn:
    def test_what_is_not_agreed_is_reported_again_and_again(self) -> None:
        own = OwnChains()
        assert own.computed(at(1024)) is None
        assert own.computed(at(2048)) is None
        assert own.open() == (at(1024), at(2048))
        assert own.open() == (at(1024), at(2048))

    def test_agreement_ends_the_reports_up_to_it(self) -> None:
        own = OwnChains()
        for index in (1024, 2048, 3072):
            own.computed(at(index))
        assert own.agreed(at(2048))
        assert own.open() == (at(3072),)

    def test_another_leader_is_told_what_was_agreed_last(self) -> None:
        own = OwnChains()
        own.computed(at(1024))
        own.computed(at(2048))
        own.agreed(at(1024))
        own.reopen()
        assert own.open() == (at(1024), at(2048))
        own.agreed(at(1024))
        assert own.open() == (at(2048),)

    def test_what_others_agreed_is_no_result_of_ours(self) -> None:
        own = OwnChains()
        own.agreed(at(1024))
        own.reopen()
        assert own.open() == ()

    def test_who_computed_something_else_than_what_was_agreed_must_fail(self) -> None:
        own = OwnChains()
        own.computed(at(1024, WRONG))
        assert not own.agreed(at(1024))

    def test_who_computes_something_else_later_must_fail(self) -> None:
        """It lagged when the others agreed."""
        own = OwnChains()
        assert own.agreed(at(1024))
        assert own.computed(at(1024)) is None
        assert own.computed(at(1024, WRONG)) == at(1024)

    def test_what_is_kept_is_bounded(self) -> None:
        own = OwnChains()
        for index in range(1, KEPT_MAX + 11):
            own.computed(at(index))
        assert own.open() == tuple(at(index) for index in range(11, KEPT_MAX + 11))
