"""Several cores, a network and disks that misbehave, from a seed: nothing bad happens; once healed, something good.

The network drops, doubles, delays, reorders and cuts; disks are slow, a crash keeps what was durable and perhaps a bit
more; timers fire when they like; snapshots are taken every few entries, and fetched slowly. After every event: Election
Safety, Leader Completeness, Log Matching, State Machine Safety (Raft Fig. 3), committed entries durable on a majority
of the voters' disks, and reads that are new enough.
"""

from __future__ import annotations

from collections import deque
from random import Random

from raft_actors.core.effects import (
    CommitAdvanced,
    Compact,
    Count,
    DropReason,
    Effect,
    FetchSnapshot,
    Persist,
    ReadConfirmed,
    Refuse,
    RestartElectionTimer,
    RoleChanged,
    SendReply,
    SendRequest,
    StateReplaced,
    StopElectionTimer,
    Truncate,
)
from raft_actors.core.entries import Genesis, SnapshotMeta
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
from raft_actors.core.outbox import Outbox
from raft_actors.core.settings import CoreSettings
from raft_actors.core.state import State
from raft_actors.core.step import step
from raft_actors.core.types import GENESIS_ID, EntryId, Role
from tests.core.builders import CLUSTER_ID, configuration, incarnation
from tests.core.world_parts import NOWHERE, Checked, Member, Message, newest_configuration


class World(Checked):
    """`play` makes things happen, `heal_and_demand_progress` ends well or says why not."""

    SPARE_PLACES = 0
    """Peers that the first configuration does not list."""
    PROMOTION_LAG_MAX = CoreSettings().promotion_lag_max
    COUNTED = frozenset({DropReason.OLD_INCARNATION, DropReason.STALE_REPLY})
    """Why a reply of a correct peer may be dropped."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        size = 1 + seed % 5
        non_voters = [size - 1] if size > 1 and seed % 7 == 0 else []
        super().__init__(configuration(set(range(size)) - set(non_voters), non_voters))
        self.settings = CoreSettings(
            append_entries_max=self.dice.choice([1, 2, 512]),
            appends_in_flight_max=self.dice.choice([1, 3]),
            promotion_lag_max=self.PROMOTION_LAG_MAX,
        )
        self.takes_snapshots = seed % 3 > 0
        self.now_ms = 0
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        self.story: deque[str] = deque(maxlen=40)
        self.numbers = 0
        self.reads: dict[int, int] = {}
        self.members = [Member(id=member) for member in range(size + self.SPARE_PLACES)]
        for member in self.members:
            self.start(member)

    # -- what can happen ------------------------------------------------------------------------------------------

    def start(self, member: Member) -> None:
        """Bring a peer up from its disk, nothing else left of it."""
        member.start += 1
        member.writes, member.outbox, member.waiting = deque(), Outbox(), {}
        member.fetching, member.stored = None, []
        reset = member.log.reset_to(member.file)  # as every start does (ADR 10)
        if reset is not None:
            self.counts["reset by a start"] += 1
            member.log.apply(reset)
        member.state = State.restore(
            settings=self.settings,
            member_id=member.id,
            incarnation=incarnation(member.id, member.start, wiped=member.wiped),
            genesis=Genesis(cluster_id=CLUSTER_ID, group="w", configuration=self.configuration, settings=b""),
            hard_state=member.log.hard_state,
            entries=member.log.entries,
            base=member.log.base,
            snapshot=member.file,
        )
        member.timer = (0, self.now_ms + self.dice.randint(600, 1200))
        for other in self.members:
            if other is not member:
                hello = HelloReceived(
                    now_ms=0, cluster_id=CLUSTER_ID, sender=member.id, incarnation=member.state.incarnation
                )
                self.network.append(Message(to=other.id, content=hello, caller=NOWHERE, sender=member.id))

    def crash(self, member: Member) -> None:
        """What the disk had finished without saying so may be there or not; calls that it had not answered fail."""
        self.counts["crash"] += 1
        self.finish_writes(member, self.dice.randint(0, len(member.writes)))
        unanswered = list(member.waiting.values())
        self.start(member)
        for caller in unanswered:
            self.fail(caller, member.id)

    def finish_writes(self, member: Member, count: int) -> int:
        """The disk finishes some writes, in order; returns the number of the last one."""
        seq = member.state.durable_seq
        for _ in range(count):
            write = member.writes.popleft()
            if isinstance(write, Compact):
                member.log.compact(write.to)
                self.counts["compaction"] += 1
                continue
            seq = write.seq
            for record in write.records:
                if isinstance(record, Truncate):
                    lost = member.log.entries[record.from_index - member.log.base.index - 1 :]
                    assert not set(lost) & set(self.committed), "a disk forgets what was committed"
                    self.counts["truncation"] += 1
                member.log.apply(record)
        return seq

    def take_snapshot(self, member: Member) -> None:
        """The application has applied something, and its state becomes a file."""
        first = 1 if member.file is None else member.file.last.index + 1
        if first <= member.state.commit_index and not member.writes:
            index = self.dice.randint(first, member.state.commit_index)
            entry = self.committed[index - 1]
            place, members = newest_configuration(self.committed[:index], GENESIS_ID, self.configuration)
            self.becomes_a_file(
                member,
                SnapshotMeta(last=entry.id, stamp_ms=entry.stamp_ms, configuration_id=place, configuration=members),
            )

    def becomes_a_file(self, member: Member, snapshot: SnapshotMeta) -> None:
        if member.file is None or snapshot.last.index > member.file.last.index:
            assert self.committed[snapshot.last.index - 1].id == snapshot.last, "a snapshot of what was not committed"
            self.counts["snapshot"] += 1
            member.file = snapshot
            member.stored.append(snapshot)

    def hear_of_snapshots(self, member: Member) -> None:
        """What was fetched is there; or the core hears of the files that are."""
        fetching = member.fetching
        if fetching is not None and fetching.after <= member.state.durable_seq:
            member.fetching = None
            self.becomes_a_file(member, fetching.snapshot)
            return
        while member.stored:
            self.do(member, SnapshotStored(now_ms=self.now_ms, snapshot=member.stored.pop(0)))

    def deliver(self, message: Message) -> None:
        """Take a message where it goes; if the link is cut, the caller learns nothing but that."""
        member, content = self.members[message.to], message.content
        if (message.sender, message.to) in self.cut:
            self.lose(message)
        elif isinstance(content, SendRequest):
            self.numbers += 1
            member.waiting[self.numbers] = message.caller
            self.do(
                member,
                RequestReceived(now_ms=self.now_ms, request_id=self.numbers, envelope=content.envelope),
            )
        elif isinstance(content, SendReply):
            caller, start, rpc_id = message.caller
            if member.id == caller and member.start == start:
                self.do(member, ReplyReceived(now_ms=self.now_ms, rpc_id=rpc_id, envelope=content.envelope))
        else:
            self.do(
                member,
                HelloReceived(
                    now_ms=self.now_ms,
                    cluster_id=content.cluster_id,
                    sender=content.sender,
                    incarnation=content.incarnation,
                ),
            )

    def lose(self, message: Message) -> None:
        self.fail(message.caller, message.to if isinstance(message.content, SendRequest) else message.sender)

    def fail(self, waiting: tuple[int, int, int], to: int) -> None:
        """Tell the caller, if it still is the same process, that there will be no answer."""
        caller, start, rpc_id = waiting
        if waiting != NOWHERE and self.members[caller].start == start:
            self.do(self.members[caller], RequestFailed(now_ms=self.now_ms, rpc_id=rpc_id, to=to))

    # -- one event ------------------------------------------------------------------------------------------------

    def do(self, member: Member, event: Event) -> None:
        self.story.append(f"{self.now_ms:6} ms  member {member.id}: {event}")
        effects = step(member.state, event)
        check_state(member.state)
        for effect in effects:
            match effect:
                case Persist():
                    member.writes.append(effect)
                    self.check_log_matching(member, effect)
                case SendRequest() | SendReply():
                    for free in member.outbox.push(effect):
                        self.leave(member, free)
                case Refuse(request_id=request_id, reason=reason):
                    assert reason is DropReason.OLD_INCARNATION, f"a correct peer was refused: {effect}"
                    self.fail(member.waiting.pop(request_id), member.id)
                case Count(reason=reason):
                    assert reason in self.COUNTED, f"{effect}"
                case RestartElectionTimer(generation=generation, soon=soon):
                    wait = self.dice.randint(0, 50) if soon else self.dice.randint(600, 1200)
                    member.timer = (generation, self.now_ms + wait)
                case StopElectionTimer():
                    member.timer = None
                case RoleChanged(role=Role.LEADER):
                    self.check_new_leader(member)
                case CommitAdvanced():
                    self.check_commit(member)
                case Compact():
                    member.writes.append(effect)
                case FetchSnapshot():
                    member.fetching = member.fetching or effect
                case StateReplaced():
                    self.counts["installation"] += 1
                case ReadConfirmed(read_id=read_id, read_index=read_index):
                    self.counts["read"] += 1
                    assert read_index >= self.reads[read_id], f"read {read_id} at {read_index} is too old"
                case _:
                    self.administrator_hears(member, effect)
        if any(isinstance(effect, Persist | StateReplaced) for effect in effects):
            self.check_configuration(member)
        if isinstance(event, Durable):
            for free in member.outbox.durable(event.seq):
                self.leave(member, free)

    def leave(self, member: Member, sent: SendRequest | SendReply) -> None:
        if isinstance(sent, SendRequest):
            caller = (member.id, member.start, sent.rpc_id)
        else:
            caller = member.waiting.pop(sent.request_id)
        self.network.append(Message(to=sent.envelope.to, content=sent, caller=caller, sender=member.id))

    def administrator_hears(self, member: Member, effect: Effect) -> None:
        """Nobody changes the membership here."""

    # -- faults, then none ----------------------------------------------------------------------------------------

    def play(self, events: int) -> None:
        for _ in range(events):
            self.now_ms += self.dice.choice([0, 5, 20, 60]) if self.dice.random() < 0.99 else 1500
            self.something_happens(self.dice.choice(self.members))

    def something_happens(self, member: Member) -> None:
        if self.takes_snapshots and self.dice.random() < 0.06:
            fetching = [one for one in self.members if one.fetching is not None]
            member = self.dice.choice(fetching or [member])
            self.dice.choice((self.take_snapshot, self.hear_of_snapshots))(member)
            if fetching and member.fetching is None and self.dice.random() < 0.5:
                self.crash(member)  # between the file and the news of it
        chance = self.dice.random()
        if chance < 0.60:
            for _ in range(1 + len(self.network) // 8):  # a network that lags for ever would hide everything else
                if self.network:
                    self.something_arrives(self.dice.randrange(len(self.network)))
        elif chance < 0.75:
            for one in self.members:
                self.sync(one, self.dice.randint(0, len(one.writes)))
        elif chance < 0.81:
            self.do(self.a_leader_or(member), HeartbeatDue(now_ms=self.now_ms))
        elif chance < 0.86:
            early = self.dice.random() < 0.1
            ready = [one for one in self.members if one.timer is not None and (early or one.timer[1] <= self.now_ms)]
            if ready:
                self.time_out(self.dice.choice(ready))
        elif chance < 0.94:
            self.propose(self.a_leader_or(member))
        elif chance < 0.98:
            self.numbers += 1
            self.reads[self.numbers] = len(self.committed)
            self.do(self.a_leader_or(member), ReadRequested(now_ms=self.now_ms, read_id=self.numbers))
        elif chance < 0.983:
            self.crash(member)
        elif chance < 0.99:
            self.cut_some_links()

    def a_leader_or(self, member: Member) -> Member:
        """Often one that leads or believes so, for that is where things happen."""
        leaders = [one for one in self.members if one.state.leading is not None]
        return self.dice.choice(leaders) if leaders and self.dice.random() < 0.8 else member

    def time_out(self, member: Member) -> None:
        if member.timer is not None:
            self.do(member, ElectionTimedOut(now_ms=self.now_ms, generation=member.timer[0]))

    def cut_some_links(self) -> None:
        """Two halves, or any links in one direction, or none."""
        ids = range(len(self.members))
        links = [(one, other) for one in ids for other in ids]
        half = set(self.dice.sample(ids, k=len(ids) // 2))
        self.cut = self.dice.choice(
            [
                set(),
                {(one, other) for one, other in links if (one in half) != (other in half)},
                {link for link in links if self.dice.random() < 0.3},
            ]
        )

    def something_arrives(self, position: int) -> None:
        """Any message, not the oldest; sometimes never, sometimes twice."""
        message = self.network[position]
        chance = self.dice.random()
        if chance > 0.05:
            self.network[position] = self.network[-1]
            self.network.pop()
        if chance > 0.95:
            self.lose(message)
        else:
            self.deliver(message)

    def sync(self, member: Member, count: int) -> None:
        if count:
            self.do(member, Durable(now_ms=self.now_ms, seq=self.finish_writes(member, count)))

    def propose(self, member: Member) -> int:
        self.numbers += 1
        self.do(member, Proposed(now_ms=self.now_ms, proposal_id=self.numbers, data=b"%d" % self.numbers))
        return self.numbers

    def heal_and_demand_progress(self) -> None:
        """No more faults: within ten seconds a leader commits something new, and everyone knows and holds it."""
        self.cut = set()
        end_ms = self.now_ms + 10_000
        fresh: EntryId = GENESIS_ID
        while self.now_ms < end_ms:
            leader = self.time_passes()
            if fresh == GENESIS_ID or not leader.state.log.covers(fresh):
                self.propose(leader)
                fresh = leader.state.log.last if leader.state.leading is not None else GENESIS_ID
                self.until_quiet()
            elif all(member.state.commit_index >= fresh.index for member in self.must_follow(leader)):
                for member in self.must_follow(leader):
                    base = member.log.base.index
                    assert member.log.entries[: fresh.index - base] == self.committed[base : fresh.index]
                return
        raise AssertionError(f"no progress in 10 s without faults: {[member.state.role for member in self.members]}")

    def time_passes(self) -> Member:
        """One heartbeat without faults; returns who leads, or would soonest."""
        self.now_ms += 60
        for member in self.members:
            if member.state.leading is not None:
                self.do(member, HeartbeatDue(now_ms=self.now_ms))
            elif member.timer is not None and member.timer[1] <= self.now_ms:
                self.time_out(member)
        self.until_quiet()
        return max(self.members, key=lambda member: (member.state.leading is not None, member.state.current_term))

    def must_follow(self, leader: Member) -> list[Member]:
        """Whom a leader brings everything, sooner or later."""
        return self.members

    def until_quiet(self) -> None:
        for _ in range(5_000):
            if not self.network and not any(one.writes or one.fetching or one.stored for one in self.members):
                return
            for member in self.members:
                self.sync(member, len(member.writes))
                self.hear_of_snapshots(member)
            if self.network:
                self.deliver(self.network.pop(0))
        raise AssertionError("messages without end: somebody answers each refusal with the same request")


def run(seed: int, events: int = 500, kind: type[World] = World) -> World:
    world = kind(seed)
    try:
        world.play(events)
        world.heal_and_demand_progress()
    except AssertionError as broken:
        story = "\n".join(world.story)
        raise AssertionError(f"seed={seed}: {broken}\n\nlast events:\n{story}") from broken
    return world
