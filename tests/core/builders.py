"""Valid states and matching effects for the tests of the core.

Here:   a `Peer` around one `State` (every step is followed by `check_state`), `follower`, `leader`, what they sent.
Never:  fields poked from outside: every state is restored from what a disk could hold and brought on by `step`.

The peer under test is member 0 unless said otherwise; member n serves the directory `directory(n)`, which starts with
the byte n. A new election timer runs from generation 0, the clock stands at 10 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from raft_actors.core.effects import Effect, HardState, Persist, Refuse, SendReply, SendRequest
from raft_actors.core.entries import Command, Configuration, Entry, Genesis, Member, Payload, SnapshotMeta
from raft_actors.core.events import (
    Durable,
    ElectionTimedOut,
    Event,
    HeartbeatDue,
    HelloReceived,
    Proposed,
    ReadRequested,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    SnapshotStored,
)
from raft_actors.core.invariants import check_state
from raft_actors.core.messages import (
    AppendEntries,
    AppendEntriesReply,
    Envelope,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    PreVoteReply,
    RequestVoteReply,
)
from raft_actors.core.settings import CoreSettings
from raft_actors.core.state import State
from raft_actors.core.step import step
from raft_actors.core.types import GENESIS_ID, DirectoryId, EntryId, Incarnation, Role

CLUSTER_ID = b"the cluster's id"
SETTINGS = CoreSettings()
E = TypeVar("E")
M = TypeVar("M")


def directory(member: int, *, wiped: int = 0) -> DirectoryId:
    """The directory of a member; after `wiped` losses of its disk, another one."""
    return DirectoryId(bytes([member, wiped]) + b"directory".ljust(14, b"."))


def incarnation(member: int, start: int = 1, *, wiped: int = 0) -> Incarnation:
    return Incarnation(directory_id=directory(member, wiped=wiped), start_count=start)


def configuration(voters: Iterable[int], non_voters: Iterable[int] = ()) -> Configuration:
    lines = [(member, True) for member in voters] + [(member, False) for member in non_voters]
    return Configuration(
        members=tuple(
            Member(member_id=member, directory_id=directory(member), voter=voter) for member, voter in sorted(lines)
        )
    )


def entry(term: int, index: int, payload: Payload | None = None, *, stamp_ms: int = 0) -> Entry:
    payload = payload or Command(data=b"%d/%d" % (term, index))
    return Entry(id=EntryId(term, index), payload=payload, stamp_ms=stamp_ms)


def log_of(*terms: int, after: int = 0) -> tuple[Entry, ...]:
    """Entries with these terms, from index `after` + 1 on: log_of(1, 1, 2) is what the paper draws as |1|1|2|."""
    return tuple(entry(term, after + position) for position, term in enumerate(terms, 1))


def last_of(entries: Sequence[Entry]) -> EntryId:
    return entries[-1].id if entries else GENESIS_ID


class Peer:
    """One peer driven by hand. Each method is one event; it returns the effects of that one step."""

    def __init__(self, state: State, now_ms: int = 10_000) -> None:
        self.state = state
        self.now_ms = now_ms
        self.sent: list[SendRequest] = []
        self.records: list[Persist] = []
        self.request_id = 0

    def do(self, event: Event) -> list[Effect]:
        effects = step(self.state, event)
        check_state(self.state)
        self.sent += some(effects, SendRequest)
        self.records += some(effects, Persist)
        return effects

    # what arrives

    def ask(
        self, message: Message, sender: int = 1, *, start: int = 1, wiped: int = 0, cluster: bytes = CLUSTER_ID
    ) -> list[Effect]:
        """A request arrives."""
        self.request_id += 1
        envelope = self._envelope(message, sender, incarnation(sender, start, wiped=wiped), cluster)
        return self.do(RequestReceived(now_ms=self.now_ms, request_id=self.request_id, envelope=envelope))

    def answer(
        self,
        message: Message,
        sender: int = 1,
        *,
        to: SendRequest | None = None,
        start: int = 1,
        wiped: int = 0,
        cluster: bytes = CLUSTER_ID,
    ) -> list[Effect]:
        """A reply arrives: to the given request, or to one that nobody remembers."""
        rpc_id = to.rpc_id if to is not None else 0
        envelope = self._envelope(message, sender, incarnation(sender, start, wiped=wiped), cluster)
        return self.do(ReplyReceived(now_ms=self.now_ms, rpc_id=rpc_id, envelope=envelope))

    def fail(self, request: SendRequest) -> list[Effect]:
        return self.do(RequestFailed(now_ms=self.now_ms, rpc_id=request.rpc_id, to=request.envelope.to))

    def hello(self, sender: int, start: int) -> list[Effect]:
        return self.do(
            HelloReceived(
                now_ms=self.now_ms, cluster_id=CLUSTER_ID, sender=sender, incarnation=incarnation(sender, start)
            )
        )

    def _envelope(self, message: Message, sender: int, who: Incarnation, cluster: bytes) -> Envelope:
        return Envelope(cluster_id=cluster, sender=sender, incarnation=who, to=self.state.member_id, message=message)

    # what the shell says

    def wait(self, ms: int) -> Peer:
        """Time passes; nothing happens."""
        self.now_ms += ms
        return self

    def time_out(self) -> list[Effect]:
        return self.do(ElectionTimedOut(now_ms=self.now_ms, generation=self.state.timer_generation))

    def beat(self) -> list[Effect]:
        return self.do(HeartbeatDue(now_ms=self.now_ms))

    def sync(self, seq: int | None = None) -> list[Effect]:
        """The disk has finished everything, or everything up to `seq`."""
        return self.do(Durable(now_ms=self.now_ms, seq=self.state.write_seq if seq is None else seq))

    def propose(self, data: bytes = b"x", proposal_id: int = 1) -> list[Effect]:
        return self.do(Proposed(now_ms=self.now_ms, proposal_id=proposal_id, data=data))

    def read(self, read_id: int = 1) -> list[Effect]:
        return self.do(ReadRequested(now_ms=self.now_ms, read_id=read_id))

    def stored(self, snapshot: SnapshotMeta) -> list[Effect]:
        """A snapshot is durable in a file."""
        return self.do(SnapshotStored(now_ms=self.now_ms, snapshot=snapshot))

    # answers to what it sent

    def newest(self, to: int) -> SendRequest:
        """The newest request to this member."""
        return next(sent for sent in reversed(self.sent) if sent.envelope.to == to)

    def newest_append(self, to: int) -> AppendEntries:
        message = self.newest(to).envelope.message
        assert isinstance(message, AppendEntries)
        return message

    def accepted(self, by: int, request: SendRequest | None = None, *, start: int = 1, wiped: int = 0) -> list[Effect]:
        """The member answers this AppendEntries (the newest to it) with success."""
        request = request or self.newest(by)
        return self.answer(success(request), by, to=request, start=start, wiped=wiped)

    def refused(self, by: int, conflict: EntryId, request: SendRequest | None = None) -> list[Effect]:
        """The member answers this AppendEntries (the newest to it) with failure and a hint."""
        request = request or self.newest(by)
        message = request.envelope.message
        assert isinstance(message, AppendEntries)
        reply = append_reply(message, success=False, conflict=conflict)
        return self.answer(reply, by, to=request)


def append_reply(
    request: AppendEntries, *, success: bool, conflict: EntryId | None = None, term: int | None = None
) -> AppendEntriesReply:
    return AppendEntriesReply(
        term=request.term if term is None else term,
        success=success,
        request_term=request.term,
        prev_index=request.prev_entry.index,
        match_index=request.prev_entry.index + len(request.entries) if success else 0,
        conflict=conflict,
        beat=request.beat,
    )


def success(request: SendRequest) -> AppendEntriesReply:
    message = request.envelope.message
    assert isinstance(message, AppendEntries)
    return append_reply(message, success=True)


def append(
    term: int, prev: EntryId = GENESIS_ID, entries: Sequence[Entry] = (), *, commit: int = 0, beat: int = 0
) -> AppendEntries:
    return AppendEntries(term=term, prev_entry=prev, entries=tuple(entries), leader_commit=commit, beat=beat)


def snapshot(
    term: int, index: int, *, members: Configuration | None = None, placed: EntryId = GENESIS_ID, stamp_ms: int = 0
) -> SnapshotMeta:
    """Of the state after this entry; `placed`: where its configuration stood."""
    return SnapshotMeta(
        last=EntryId(term, index),
        stamp_ms=stamp_ms,
        configuration_id=placed,
        configuration=members or configuration(range(3)),
    )


def offer(term: int, meta: SnapshotMeta, *, beat: int = 0) -> InstallSnapshot:
    return InstallSnapshot(term=term, snapshot=meta, beat=beat)


def offer_reply(request: InstallSnapshot, match: int) -> InstallSnapshotReply:
    return InstallSnapshotReply(term=request.term, request_term=request.term, match_index=match, beat=request.beat)


# -- states ----------------------------------------------------------------------------------------------------------


def restored(
    size: int = 3,
    *,
    log: Sequence[Entry] = (),
    term: int | None = None,
    voted_for: DirectoryId | None = None,
    members: Configuration | None = None,
    settings: CoreSettings = SETTINGS,
    member: int = 0,
    start: int = 1,
    wiped: int = 0,
    base: EntryId = GENESIS_ID,
    taken: SnapshotMeta | None = None,
) -> Peer:
    """A follower that has just started from this disk. Its term is that of the last entry unless given."""
    return Peer(
        State.restore(
            settings=settings,
            member_id=member,
            incarnation=incarnation(member, start, wiped=wiped),
            genesis=Genesis(
                cluster_id=CLUSTER_ID,
                group="test",
                configuration=members or configuration(range(size)),
                settings=b"",
            ),
            hard_state=HardState(term=last_of(log).term if term is None else term, voted_for=voted_for),
            entries=log,
            base=base,
            snapshot=taken,
        )
    )


def follower(size: int = 3, *, log: Sequence[Entry] = (), term: int = 1, commit: int = 0, leader: int = 1) -> Peer:
    """A follower of member `leader` in `term`, heard just now, everything durable."""
    peer = restored(size, log=log, term=term)
    peer.ask(append(term, last_of(log), commit=commit), leader)
    peer.sync()
    assert peer.state.commit_index == commit
    return peer


def pre_candidate(peer: Peer) -> Peer:
    """Let its leader be silent until it asks whether it could win."""
    peer.wait(SETTINGS.check_quorum_ms).time_out()
    return peer


def candidate(peer: Peer) -> Peer:
    """Let it win the pre-votes that it needs; its own vote is not durable yet."""
    pre_candidate(peer)
    state = peer.state
    for voter in _other_voters(peer):
        if state.role is Role.PRE_CANDIDATE:
            peer.answer(PreVoteReply(term=state.current_term, vote_granted=True, campaign=state.campaign), voter)
    assert state.role is Role.CANDIDATE
    return peer


def elected(peer: Peer) -> Peer:
    """Let it win the votes that it needs."""
    candidate(peer).sync()
    state = peer.state
    for voter in _other_voters(peer):
        if state.role is Role.CANDIDATE:
            peer.answer(RequestVoteReply(term=state.current_term, vote_granted=True), voter)
    assert state.role is Role.LEADER
    return peer


def leader(size: int = 3, *, log: Sequence[Entry] = (), settings: CoreSettings = SETTINGS) -> Peer:
    """A leader that has just been elected in the term after its last entry's. With a log, its no-op is at the end."""
    return elected(restored(size, log=log, settings=settings))


def leader_of_all(size: int = 3, *, log: Sequence[Entry] = (), settings: CoreSettings = SETTINGS) -> Peer:
    """A leader whose followers hold its whole log, all of it committed, nothing under way."""
    peer = leader(size, log=log, settings=settings)
    peer.sync()
    for _ in range(2):
        for member in range(1, size):
            peer.accepted(member)
        peer.beat()
    for member in range(1, size):
        peer.accepted(member)
    assert peer.state.commit_index == peer.state.log.last.index
    return peer


def compacted_leader(*, base: int = 4, covered: int = 8) -> Peer:
    """A leader of three whose log of ten entries begins behind `base`; all of it is committed."""
    peer = leader_of_all(log=log_of(*[1] * 10))
    peer.stored(snapshot(1, base))
    peer.stored(snapshot(1, covered))
    assert peer.state.log.base == EntryId(1, base)
    return peer


def _other_voters(peer: Peer) -> list[int]:
    voters = peer.state.configurations.in_force.voters()
    return [voter.member_id for voter in voters if voter.member_id != peer.state.member_id]


# -- effects ---------------------------------------------------------------------------------------------------------


def some(effects: Iterable[Effect], kind: type[E]) -> list[E]:
    """The effects of this kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def only(effects: Iterable[Effect], kind: type[E]) -> E:
    """The one effect of this kind."""
    found = some(effects, kind)
    assert len(found) == 1, f"one {kind.__name__} expected, got {found}"
    return found[0]


def requests(effects: Iterable[Effect], kind: type[M]) -> dict[int, M]:
    """Requests of this kind by whom they go to."""
    sent = [effect.envelope for effect in some(effects, SendRequest)]
    return {envelope.to: envelope.message for envelope in sent if isinstance(envelope.message, kind)}


def reply(effects: Iterable[Effect], kind: type[M]) -> M:
    """The one reply, which is of this kind."""
    message = only(effects, SendReply).envelope.message
    assert isinstance(message, kind), message
    return message


def refusal(effects: Iterable[Effect]) -> object:
    """Why the request was dropped; nothing else may have happened."""
    (effect,) = effects
    assert isinstance(effect, Refuse), effect
    return effect.reason


def snapshot_of(peer: Peer) -> str:
    """Everything a state holds, for "this changed nothing"."""
    entries = [peer.state.log.entry_at(index + 1) for index in range(len(peer.state.log))]
    fields = {name: getattr(peer.state, name) for name in State.__slots__ if name not in ("log", "configurations")}
    return f"{fields} {entries} {peer.state.configurations.in_force}"
