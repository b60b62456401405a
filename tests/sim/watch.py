"""What a world met on its way: situations counted, so that a long run can say what it has really tested.

Here:   `Watch`, its counters, which of them a campaign must not leave at 0.
Never:  verdicts (checks). A counter tells that something happened, a check that it was right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from raft_actors.application.exchange import ReadAnswer, ReadAt
from raft_actors.core.effects import ChangeRefusal, Record, TransferEnd, Truncate
from raft_actors.core.entries import SnapshotMeta
from raft_actors.core.events import ReplyReceived
from raft_actors.core.messages import (
    AppendEntriesReply,
    Envelope,
    PreVote,
    PreVoteReply,
    RequestVote,
    RequestVoteReply,
)
from raft_actors.core.state import State
from raft_actors.core.types import EntryId, LogIndex, Role, Term

if TYPE_CHECKING:
    from tests.sim.member import Member

MUST_BE_SEEN: Final = (
    "uncommitted tail truncated",
    "torn tail dropped",
    "damaged log met",
    "answer of a foreign directory ignored",
    "vote refused for a stale log",
    "vote refused by a leader's follower",
    "term learned in a pre-vote",
    "leader stepped down by check quorum",
    "read refused",
    "read shared a round",
    "duplicate command answered from its session",
    "message held for its write",
    "stale acknowledgement ignored",
    "conflict hint used",
    "single-member commit",
    "even-sized split",
    "snapshot taken",
    "snapshot fetched",
    "snapshot given up",
    "snapshot failed",
    "snapshot asked for by hand",
    "snapshot found at a start",
    "damaged snapshot passed over",
    "slice lost and asked for again",
    "transfer's source died",
    "log reset to a snapshot",
    "log compacted",
    "application restored from a snapshot",
    "application cut off behind a compaction",
    "state chain agreed",
    "place added",
    "directory seated",
    "directory joined",
    "invitation for another directory ignored",
    "member promoted",
    "member removed",
    "leader removed itself",
    "place kept vacant",
    "place removed",
    "change rolled back",
    "directory set aside",
    "machine replaced that lives on",
    "successor met the lock of an old process",
    "a removed directory campaigned",
    "removed directory beside a group at rest",
    "leader stepped down without application",
    "clients learned other members",
    *(f"change refused: {reason.value}" for reason in ChangeRefusal if reason is not ChangeRefusal.LAST_VOTER),
    *(f"transfer {end.value}" for end in TransferEnd),
)
"""Of a campaign of 200,000 seeds."""

_CHECK_QUORUM: Final = "voters answered lately"
"""In the reason that a leader gives when it steps down (core/election.py)."""
_APPLICATION: Final = "its application is away"
"""The same (raft_actors/peer/engine.py)."""

Observed: TypeAlias = tuple[Term, LogIndex | None]
"""Before a reply: the term, and where the leader would go on with who replies."""


class Watch:
    """Of one world."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, what: str) -> None:
        """It happened once more."""
        self.counts[what] += 1

    # -- replies ------------------------------------------------------------------------------------------------------

    def before_reply(self, state: State, event: ReplyReceived) -> Observed:
        """What the reply may change."""
        progress = None if state.leading is None else state.leading.progress.get(event.envelope.directory_id)
        return state.current_term, None if progress is None else progress.next_index

    def after_reply(self, state: State, event: ReplyReceived, observed: Observed) -> None:
        """What it changed, or did not."""
        term_before, next_before = observed
        envelope = event.envelope
        match envelope.message:
            case PreVoteReply(vote_granted=counts):
                if state.current_term > term_before:
                    self.count("term learned in a pre-vote")
            case RequestVoteReply(vote_granted=counts):
                pass
            case AppendEntriesReply(success=counts) as reply:
                if counts and reply.request_term != term_before:
                    self.count("stale acknowledgement ignored")
                elif reply.conflict is not None and next_before is not None and state.leading is not None:
                    progress = state.leading.progress.get(envelope.directory_id)
                    if progress is not None and next_before - progress.next_index > 1:
                        self.count("conflict hint used")
            case _:
                counts = True
        if counts and all(
            voter.directory_id != envelope.directory_id for voter in state.configurations.in_force.voters()
        ):
            self.count("answer of a foreign directory ignored")

    def answers(self, request: Envelope, own_last: EntryId, reply: Envelope) -> None:
        """A peer answers a request."""
        message, answer = request.message, reply.message
        if not isinstance(message, RequestVote | PreVote):
            return
        assert isinstance(answer, RequestVoteReply | PreVoteReply), f"{answer} answers {message}"
        if answer.vote_granted:
            return
        if message.last_entry < own_last:
            self.count("vote refused for a stale log")
        elif isinstance(message, PreVote) and answer.term <= message.term:
            self.count("vote refused by a leader's follower")

    # -- the rest -----------------------------------------------------------------------------------------------------

    def held_for_write(self) -> None:
        """A message left because a write is durable now."""
        self.count("message held for its write")

    def wrote(self, records: Sequence[Record]) -> None:
        """A write group became durable."""
        if any(type(record) is Truncate for record in records):
            self.count("uncommitted tail truncated")

    def snapshot(self, kind: str, details: dict[str, Any]) -> None:
        """A peer says what became of a snapshot."""
        if kind == "snapshot_failed":
            self.count("snapshot failed")
        elif kind == "state_replaced":
            self.count("log reset to a snapshot")
        elif details["how"] == "taken":
            self.count("snapshot taken")
        else:
            self.count("snapshot fetched")

    def snapshot_stored(self, state: State, snapshot: SnapshotMeta) -> None:
        """The core is about to hear of a durable snapshot."""
        if snapshot.last.index > state.commit_index and state.log.matches(snapshot.last):
            self.count("snapshot of entries held and not known to be committed")  # rare: slow_installation.txt

    def committed(self, state: State) -> None:
        """A commit index rose."""
        if len(state.configurations.in_force.voters()) == 1:
            self.count("single-member commit")

    def read_ended(self, answer: ReadAnswer) -> None:
        """A peer answers a read."""
        if not isinstance(answer, ReadAt):
            self.count("read refused")

    def read_round_shared(self) -> None:
        """Several reads of one server were confirmed by one round."""
        self.count("read shared a round")

    def role_changed(self, member: Member, details: dict[str, Any]) -> None:
        """A peer takes a role."""
        if details["role"] == "pre_candidate" and not member.is_listed:
            self.count("a removed directory campaigned")
        if _APPLICATION in str(details["why"]):
            self.count("leader stepped down without application")
        if _CHECK_QUORUM in str(details["why"]):
            self.count("leader stepped down by check quorum")
        elif details["role"] == "leader":
            self.count("leaders elected")
            engines = [other.engine for other in member.world.everybody() if other is not member]
            if any(engine is not None and engine.state.role is Role.LEADER for engine in engines):
                self.count("leaders elected beside another one")

    def command_answered(self, ran_at: int | None, answered_at: int) -> None:
        """A client's command was answered by the entry at `answered_at`; the machine ran it at `ran_at`."""
        if ran_at is not None and ran_at < answered_at:
            self.count("duplicate command answered from its session")
