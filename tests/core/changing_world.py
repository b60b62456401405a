"""Random worlds (random_world.py) in which the membership changes, leadership is handed over, and disks are replaced.

The administrator is careless about time and careful about one thing alone: no change and no loss of a disk leaves a
configuration without a majority that has its disks, in any log where that configuration could come into force. So
once healed, a world has to go on, to make another change, and to hand leadership over.
"""

from __future__ import annotations

from raft_actors.core.effects import (
    ChangeRefusal,
    ChangeRefused,
    ChangeStarted,
    DropReason,
    Effect,
    SendReply,
    SendRequest,
    TransferEnded,
)
from raft_actors.core.entries import Configuration, Entry, SnapshotMeta
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import (
    AddMember,
    Change,
    ChangeRequested,
    Promote,
    RemoveMember,
    RemovePlace,
    TransferRequested,
)
from raft_actors.core.membership import after_change
from raft_actors.core.messages import TimeoutNow
from raft_actors.core.quorum import majority
from raft_actors.core.types import GENESIS_ID, VACANT, DirectoryId
from raft_actors.storage.image import LogImage
from tests.core.random_world import World
from tests.core.world_parts import Member, newest_configuration


class ChangingWorld(World):
    """A world whose members come and go."""

    SPARE_PLACES = 2
    PROMOTION_LAG_MAX = 3
    COUNTED = World.COUNTED | {DropReason.NOT_A_VOTER}

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.answered: dict[int, Effect] = {}
        """Number -> how it ended."""
        self.lost: dict[DirectoryId, LogImage] = {}
        """What lost disks held: it was durable when it was acknowledged, and who lost it does not vote."""
        self.in_force: dict[int, tuple[int, int]] = {}
        """By member: its start, and the index of what it had in force then."""
        self.transfers: set[int] = set()
        """Under way."""

    # -- what can happen --------------------------------------------------------------------------------------------

    def something_happens(self, member: Member) -> None:
        chance = self.dice.random()
        if chance < 0.05:
            self.ask_for_a_change(self.a_leader_or(member))
        elif chance < 0.06:
            self.ask_for_a_transfer(self.a_leader_or(member))
        elif chance < 0.065:
            self.lose_a_disk(member)
        elif chance < 0.09:
            self.ambush()
        else:
            super().something_happens(member)

    def ambush(self) -> None:
        """Changes on several sides: a few are alone among themselves for a while and make one, then a few others."""
        for _ in range(self.dice.randint(2, 4)):
            ids = self.isolate(self.dice.randint(1, len(self.members) - 1))
            self.now_ms += 1500
            side = [member for member in self.members if member.id in ids]
            leaders = [member for member in side if member.state.leading is not None]
            if not leaders:
                self.time_out(self.dice.choice(side))
                self.exchange(60)
                leaders = [member for member in side if member.state.leading is not None]
            if leaders:
                leader = self.dice.choice(leaders)
                self.ask_for_a_change(leader)
                if self.dice.random() < 0.5:
                    self.isolate(self.dice.randint(1, len(self.members) - 1), leader)
                self.exchange(60)
                self.ask_for_a_change(leader)
                self.exchange(self.dice.choice([0, 60]))

    def isolate(self, count: int, leader: Member | None = None) -> set[int]:
        """So many hear each other alone, and this leader with them. Who they are."""
        ids = [member.id for member in self.members]
        side = set(self.dice.sample(ids, k=count)) | ({leader.id} if leader is not None else set())
        self.cut = {(one, other) for one in ids for other in ids if (one in side) != (other in side)}
        return side

    def exchange(self, count: int) -> None:
        """Messages arrive where they can, disks are quick."""
        for _ in range(count):
            for member in self.members:
                self.sync(member, len(member.writes))
            if not self.network:
                return
            self.deliver(self.network.pop(0))

    def crash(self, member: Member) -> None:
        self.transfers = {number for number in self.transfers if number % len(self.members) != member.id}
        super().crash(member)

    def ask_for_a_change(self, member: Member) -> None:
        configurations = member.state.configurations
        made_for, changes = configurations.in_force_index, self.changes(configurations.in_force)
        if self.dice.random() < 0.1:
            made_for = self.dice.randint(0, member.state.log.last.index)
        if changes:
            self.change(member, made_for, self.dice.choice(changes))

    def change(self, member: Member, made_for: int, change: Change) -> int:
        self.numbers += 1
        number = self.numbers
        event = ChangeRequested(now_ms=self.now_ms, change_id=number, made_for=made_for, change=change)
        mine = member.state.directory_id
        removes_itself = isinstance(change, RemoveMember) and change.directory_id == mine
        found = member.state.configurations.in_force_index
        self.do(member, event)
        answer = self.answered[number]
        if isinstance(answer, ChangeStarted):
            assert made_for == found, f"made for configuration {made_for}, {found} was in force (contracts 12)"
            self.counts["removal of the leader itself" if removes_itself else type(change).__name__] += 1
            self.counts["place kept"] += isinstance(change, RemoveMember) and change.keep_place
            assert answer.index == member.state.configurations.in_force_index, "in force from its append on"
            if isinstance(change, Promote):
                self.check_promoted(member, change.directory_id)
        else:
            assert isinstance(answer, ChangeRefused), f"change {number}: {answer}"
            self.counts[f"refused: {answer.reason.value}"] += 1
        return number

    def changes(self, configuration: Configuration) -> list[Change]:
        """What an administrator may want: nothing that leaves too few disks. Some of it is refused."""
        wanted: list[Change] = [
            RemoveMember(directory_id=line.directory_id, keep_place=keep)
            for line in configuration.served()
            for keep in (False, True)
        ]
        for member in self.members:
            wanted += [AddMember(member=Line(member_id=member.id, directory_id=VACANT, voter=False))]
            wanted += [RemovePlace(member_id=member.id)]
            mine = member.state.directory_id
            wanted += [AddMember(member=Line(member_id=member.id, directory_id=mine, voter=False))]
            wanted += [Promote(directory_id=mine)] * 3
        after = [(change, after_change(configuration, change)) for change in wanted]
        return [change for change, then in after if isinstance(then, ChangeRefusal) or self.has_disks(then)]

    def ask_for_a_transfer(self, member: Member) -> int:
        """To anybody, or to the best."""
        to = self.dice.choice([None, self.dice.choice(self.members).state.directory_id])
        return self.transfer(member, to)

    def transfer(self, member: Member, to: DirectoryId | None) -> int:
        self.numbers += len(self.members) - self.numbers % len(self.members) + member.id  # says whose it is
        self.transfers.add(self.numbers)
        number = self.numbers
        self.do(member, TransferRequested(now_ms=self.now_ms, transfer_id=number, to=to))
        return number

    def leave(self, member: Member, sent: SendRequest | SendReply) -> None:
        message = sent.envelope.message
        leading = member.state.leading
        if isinstance(message, TimeoutNow) and leading is not None and leading.transfer is not None:
            target = self.members[sent.envelope.to]
            same_disk = target.state.directory_id == leading.transfer.to
            if same_disk and target.state.current_term == message.term:  # else it may have obeyed another leader
                assert target.log.last == message.last_entry, f"{target.id} is to lead, its log is {target.log.last}"
        super().leave(member, sent)

    def check_promoted(self, leader: Member, directory_id: DirectoryId) -> None:
        """Who becomes a voter has the log, but for a few entries, on its disk (reliability D8)."""
        for member in self.members:
            if member.state.directory_id == directory_id and member.state.current_term == leader.state.current_term:
                lag = leader.state.commit_index - member.log.last.index
                assert lag <= self.PROMOTION_LAG_MAX, f"{member.id} is made a voter, and lacks {lag} entries"

    def check_configuration(self, member: Member) -> None:
        super().check_configuration(member)
        index = member.state.configurations.in_force_index
        before = self.in_force.get(member.id, (member.start, index))
        self.counts["change rolled back"] += before[0] == member.start and index < before[1]
        self.in_force[member.id] = (member.start, index)

    def becomes_a_file(self, member: Member, snapshot: SnapshotMeta) -> None:
        super().becomes_a_file(member, snapshot)
        self.counts["snapshot of another configuration"] += snapshot.configuration_id != GENESIS_ID

    def administrator_hears(self, member: Member, effect: Effect) -> None:
        match effect:
            case ChangeStarted(change_id=number) | ChangeRefused(change_id=number):
                assert number not in self.answered, f"change {number} ended twice"
                self.answered[number] = effect
            case TransferEnded(transfer_id=number, why=why):
                self.transfers.remove(number)  # a second end is a KeyError
                self.answered[number] = effect
                self.counts[f"transfer: {why.value}"] += 1

    # -- disks ------------------------------------------------------------------------------------------------------

    def lose_a_disk(self, member: Member) -> None:
        """The member comes back empty, under another directory, unless its disk is needed."""
        if all(self.has_disks(each, without=member.state.directory_id) for each in self.could_be_in_force()):
            self.counts["disk lost"] += 1
            listed = self.newest().find_directory(member.state.directory_id) is not None
            self.counts["disk of a member lost"] += listed
            unanswered = list(member.waiting.values())
            self.transfers = {number for number in self.transfers if number % len(self.members) != member.id}
            self.lost[member.state.directory_id] = member.log
            member.log, member.file = LogImage(), None
            member.wiped += 1
            self.start(member)
            for caller in unanswered:
                self.fail(caller, member.id)

    def has_disks(self, configuration: Configuration, *, without: DirectoryId | None = None) -> bool:
        """Whether a majority of its voters have their disks."""
        there = {member.state.directory_id for member in self.members} - {without}
        voters = configuration.voters()
        return sum(voter.directory_id in there for voter in voters) >= majority(len(voters))

    def newest(self) -> Configuration:
        """The newest that is committed."""
        return newest_configuration(self.committed, GENESIS_ID, self.configuration)[1]

    def could_be_in_force(self) -> list[Configuration]:
        """The newest committed one, and whatever stands behind it in a log or on a disk."""
        place, newest = newest_configuration(self.committed, GENESIS_ID, self.configuration)
        entries = {
            entry
            for member in self.members
            for log in (member.log.entries, [write for persist in member.writes for write in entries_of(persist)])
            for entry in log
        }
        found = [entry.payload for entry in entries if entry.index > place.index]
        return [newest, *(payload for payload in found if isinstance(payload, Configuration))]

    # -- what must hold ---------------------------------------------------------------------------------------------

    def holds(self, voter: Line, entry: Entry) -> bool:
        lost = self.lost.get(voter.directory_id)
        return super().holds(voter, entry) if lost is None else entry.index <= lost.base.index or lost.holds(entry.id)

    def must_follow(self, leader: Member) -> list[Member]:
        listed = {line.directory_id for line in self.in_log(leader).members}
        return [member for member in self.members if member.state.directory_id in listed]

    def heal_and_demand_progress(self) -> None:
        super().heal_and_demand_progress()
        self.demand_a_change()
        self.demand_a_transfer()
        super().heal_and_demand_progress()

    def demand_a_change(self) -> None:
        """Without faults a change is made within ten seconds."""
        end_ms = self.now_ms + 10_000
        asked = 0
        while self.now_ms < end_ms:
            leader = self.time_passes()
            answer = self.answered.get(asked)
            if isinstance(answer, ChangeStarted) and leader.state.commit_index >= answer.index:
                return
            configurations = leader.state.configurations
            if not isinstance(answer, ChangeStarted):
                changes = [
                    change
                    for change in self.changes(configurations.in_force)
                    if isinstance(after_change(configurations.in_force, change), Configuration)
                ]
                asked = self.change(leader, configurations.in_force_index, self.dice.choice(changes))
        raise AssertionError(f"no change in 10 s without faults: {self.answered.get(asked)}")

    def demand_a_transfer(self) -> None:
        """Without faults leadership goes to another voter, if there is one that has its disk."""
        end_ms = self.now_ms + 10_000
        while self.now_ms < end_ms:
            leader = self.time_passes()
            mine = leader.state.directory_id
            voters = {voter.directory_id for voter in self.in_log(leader).voters()} - {mine}
            able = [member for member in self.members if member.state.directory_id in voters]
            if not able:
                return
            if leader.state.leading is None or leader.state.leading.transfer is not None:
                continue
            number = self.transfer(leader, self.dice.choice(able).state.directory_id)
            self.until_quiet()
            answer = self.answered.get(number)
            if isinstance(answer, TransferEnded) and answer.done:
                return
        raise AssertionError("no transfer in 10 s without faults")


def entries_of(write: object) -> list:
    """Entries under way to the disk."""
    return [entry for record in getattr(write, "records", ()) for entry in getattr(record, "entries", ())]
