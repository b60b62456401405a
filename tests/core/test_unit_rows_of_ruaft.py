"""Ruaft's unit tests, row by row, and the tests here that ask the same: a row without an equal is a red test.

Rows are those of the inventory of Ruaft's unit tests that concern the core. Of log_array, `shift` and `reset` belong to
compaction; of the daemons, only what the core decides is here (their threads are tested with raft_actors/peer).
"""

from __future__ import annotations

import importlib

import pytest

ROWS = {
    # log_array
    "log: bounds of at": ("test_log", "TestBounds.test_there_is_no_entry_outside"),
    "log: bounds of at, at the start": ("test_log", "TestBounds.test_the_base_has_an_id_and_no_entry"),
    "log: first and last": ("test_log", "TestBounds.test_first_and_last_entry"),
    "log: bounds of after": ("test_log", "TestRead.test_at_or_before_the_base_is_refused"),
    "log: after the end": ("test_log", "TestRead.test_after_the_end_there_is_nothing"),
    "log: between": ("test_log", "TestRead.test_from_the_middle_to_before_the_end"),
    "log: truncate": ("test_log", "TestTruncate.test_truncation_forgets_the_suffix"),
    "log: truncate before the start, at the start, after the end": ("test_log", "TestTruncate.test_outside_is_refused"),
    "log: term-change entry": (
        "test_section_5_2_elections",
        "TestWinning.test_it_writes_a_no_op_if_anything_may_be_uncommitted",
    ),
    "log: push only at the end": ("test_log", "TestAppend.test_appending_moves_the_end"),
    "log: index gap": ("test_log", "TestAppend.test_a_gap_or_an_overlap_is_refused"),
    "log: term decrease": ("test_log", "TestAppend.test_a_falling_term_is_refused"),
    "log: future term": ("test_invariants", "TestAStep.test_a_broken_step_is_seen"),
    "log: mixed scenario": (
        "test_log",
        "TestConflict.test_any_mixture_of_appends_and_truncations_equals_a_plain_list",
    ),
    # verify_authority
    "authority: noted beats": ("test_section_6_4_reads", "TestARound.test_a_read_starts_a_round_at_once"),
    "authority: refusal for a past term": (
        "test_section_6_4_reads",
        "TestNoAuthority.test_an_answer_of_an_earlier_leadership_does_not_confirm_in_the_next",
    ),
    "authority: refusal for a future term": (
        "test_section_6_4_reads",
        "TestNoAuthority.test_an_answer_of_a_later_term_deposes_and_does_not_confirm",
    ),
    "authority: reset cancels": ("test_section_6_4_reads", "TestNoAuthority.test_a_new_term_refuses_what_waits"),
    "authority: majority by newest beats": (
        "test_section_6_4_reads",
        "TestARound.test_a_majority_and_no_answer_less_for_every_size",
    ),
    "authority: lost ticks": ("test_section_6_4_reads", "TestARound.test_a_lost_round_is_made_up_by_any_later_one"),
    "authority: stale, duplicate and ancient ticks": (
        "test_section_6_4_reads",
        "TestARound.test_an_answer_from_before_the_read_confirms_nothing",
    ),
    "authority: no answer before the sentinel commits": (
        "test_section_6_4_reads",
        "TestTheTrueCommitIndex.test_a_read_right_after_the_election_waits_for_the_no_op",
    ),
    "authority: leadership lost": (  # Ruaft answers if the ticks are complete; here they were answered in that step
        "test_section_6_4_reads",
        "TestNoAuthority.test_check_quorum_refuses_what_waits",
    ),
    "authority: expiry": (  # the shell gives up by its own deadline
        "test_section_6_4_reads",
        "TestSharedRounds.test_who_no_longer_waits_is_forgotten_and_the_next_round_starts",
    ),
    "authority: mixed": ("test_section_6_4_reads", "test_reads_are_answered_in_the_order_of_their_rounds"),
    "authority: stale sentinel, stale commit index": (
        "test_section_6_4_reads",
        "TestTheTrueCommitIndex.test_its_index_is_at_least_the_end_of_the_log_at_the_election",
    ),
    # raft.rs, storage, rpcs
    "raft: self is not among the peers": ("test_validation", "TestStrangers.test_a_request_is_refused"),
    "raft: restored from storage": (
        "test_section_5_1_terms",
        "TestAfterARestart.test_term_and_vote_are_where_they_were",
    ),
    "raft: a vote over the wire": (
        "test_section_5_2_elections",
        "TestGivingAVote.test_the_first_gets_it_and_it_is_written_before_it_is_said",
    ),
    "raft: an append over the wire": (
        "test_section_5_3_following",
        "TestTakingEntries.test_new_entries_go_behind_the_end",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_row_has_its_equal(row: str) -> None:
    module, name = ROWS[row]
    found: object = importlib.import_module(f"tests.core.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
