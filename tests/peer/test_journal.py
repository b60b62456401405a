"""Every line of the log says group, member and term; DEBUG tells the story, INFO is quiet."""

from __future__ import annotations

import logging

import pytest

from raft_actors.core.types import MemberId
from raft_actors.peer.journal import KEPT_MAX, EventJournal


@pytest.fixture
def journal() -> EventJournal:
    return EventJournal("prod", MemberId(2))


def test_an_event_is_one_line_with_group_member_and_term(
    journal: EventJournal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "raft_actors.peer"):
        journal.note("role", {"role": "leader", "term": 7})
        journal.note("config", {"index": 3})
    assert caplog.messages == [
        "group=prod member=2 term=7 role role=leader",
        "group=prod member=2 term=7 config index=3",
    ]


def test_the_story_is_told_at_debug_only(journal: EventJournal, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "raft_actors.peer"):
        assert not journal.tells_all
        journal.story("write 1: Append")
    with caplog.at_level(logging.DEBUG, "raft_actors.peer"):
        assert journal.tells_all
        journal.story("write 2: Append")
    assert caplog.messages == ["group=prod member=2 term=0 write 2: Append"]


def test_events_are_kept_by_number_and_bounded(journal: EventJournal) -> None:
    for number in range(KEPT_MAX + 3):
        journal.note("state", {"n": number})
    kept = journal.since(0, 0)
    assert len(kept) == KEPT_MAX
    process = kept[-1]["process"]
    assert [event["details"]["n"] for event in journal.since(process, KEPT_MAX + 1)] == [KEPT_MAX + 1, KEPT_MAX + 2]
