"""Who changes the membership of a simulated group and hands leadership over: people, and whoever fills its places.

Here:   `Administrator`: what is asked of whom, when it arrives, once or twice; what a keeper would want next.
Never:  whether it is done (raft_actors/core), how it ends (administration.py), lost disks (nemesis.py).

Careless in time: what is asked for may arrive seconds late, twice, at a peer that does not lead any more, made for a
configuration of long ago. Careful in one thing alone: no change is made that leaves a configuration without a majority
that have their disks. That would be a group that nobody can help, by no fault of the product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raft_actors.core.effects import ChangeRefusal, TransferEnded
from raft_actors.core.entries import Configuration
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.membership import after_change
from raft_actors.core.types import VACANT, DirectoryId, LogIndex, MemberId, Role
from raft_actors.peer.membership import membership_of
from tests.sim.ending import Ending

if TYPE_CHECKING:
    from tests.sim.member import Member
    from tests.sim.peer import PeerProcess
    from tests.sim.world import World

KEEPER: Final = 0.65
"""Of so many times he wants what a keeper would want next, or one place more."""
TRANSFER: Final = 0.15
"""Of so many a transfer, otherwise any change."""
OTHERS_ASKED: Final = 0.15
"""Of so many calls each goes to anybody, not to a leader."""
OLD: Final = 0.1
"""Of so many changes each is made for a configuration that never was, or was before."""
TWICE: Final = 0.15
ON_ITS_WAY_US: Final = (100, 100, 20_000, 300_000, 5_000_000)
"""A call takes up to one of these."""
ZOMBIE: Final = 0.5
"""Of so many directories that are set aside each keeps its machine, and its process."""


class Administrator:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice
        self._options = world.options
        if self._options.administered:
            self._later()

    def _later(self) -> None:
        if self._world.resting:
            return
        ending = Ending(self._act, ())
        self._world.nemesis.at_time(int(self._dice.expovariate(1 / self._options.admin_every_us)), ending)
        self._world.nemesis.at_event(int(self._dice.expovariate(1 / self._options.admin_every_events)), ending)

    def _act(self) -> None:
        if self._world.resting:
            return
        member, draw = self._whom(), self._dice.random()
        if member is None or member.engine is None:
            pass
        elif draw < KEEPER:
            self._ask(member, self.wish(member))
        elif draw < KEEPER + TRANSFER:
            state = member.engine.state
            to = self._dice.choice([None, *(line.directory_id for line in state.configurations.in_force.served())])
            self._call(member, self._transfer, to)
        else:
            self._ask(member, self._any_change(member.engine.state.configurations.in_force))
        self._later()

    def _whom(self) -> Member | None:
        running = [member for member in self._world.members.values() if member.engine is not None]
        leaders = [member for member in running if member.engine and member.engine.state.role is Role.LEADER]
        asked = running if not leaders or self._dice.random() < OTHERS_ASKED else leaders
        return self._dice.choice(asked) if asked else None

    # -- what is wanted -----------------------------------------------------------------------------------------------

    def wish(self, leader: Member) -> Change | None:
        """What a keeper wants next: one place of the group filled, or made vacant because its directory is gone."""
        assert leader.engine is not None, "who is down knows nothing"
        membership = membership_of(leader.engine.state, leader.clock.now_ms())
        if membership is None or not membership.committed:
            return None
        wishes: list[Change] = []
        for line in membership.lines:
            here = self._world.members[line.member_id]
            if line.directory_id is None:
                if here.empty is not None or (self._options.strangers and not here.failed and here.never_listed):
                    wishes += _seat(here)
                elif here.directory_id is not None or here.failed:
                    self.set_aside(here)
            elif here.directory_id is not None and (here.directory_id != line.directory_id or here.failed):
                wishes.append(RemoveMember(directory_id=line.directory_id, keep_place=True))
            elif not line.voter and line.lag is not None and line.lag <= self._options.promotion_lag_max:
                wishes.append(Promote(directory_id=line.directory_id))
        if not wishes and not self._world.resting:
            listed = {line.member_id for line in membership.lines}
            wishes += [_place(number) for number in self._world.members if number not in listed]  # more members
        return self._dice.choice(wishes) if wishes else None

    def set_aside(self, member: Member) -> None:
        """A place is vacant, and a directory that was listed once lies there: an empty one takes the place (ADR 13)."""
        if not self._world.may_lose_a_disk(member) and not member.failed:
            return
        self._world.watch.count("directory set aside")
        if member.peer is not None and self._dice.random() < ZOMBIE:
            self._world.nemesis.replace(member)
        else:
            member.wipe()
            member.start_peer()

    def possible_changes(self, configuration: Configuration) -> list[Change]:
        """That a leader could make of this one, and that leave enough disks."""
        after = [(change, after_change(configuration, change)) for change in self._wanted(configuration)]
        return [change for change, then in after if isinstance(then, Configuration) and self._world.has_disks(then)]

    def _any_change(self, configuration: Configuration) -> Change | None:
        """Whatever somebody may want; now and then what no leader makes."""
        is_careless = self._dice.random() < OLD
        changes = self._wanted(configuration) if is_careless else self.possible_changes(configuration)
        return self._dice.choice(changes) if changes else None

    def _wanted(self, configuration: Configuration) -> list[Change]:
        wanted: list[Change] = [
            RemoveMember(directory_id=line.directory_id, keep_place=keep)
            for line in configuration.served()
            for keep in (False, True)
        ]
        for member in self._world.everybody():
            wanted += [_place(member.number)] * 2
            wanted += [RemovePlace(member_id=member.number)]
            if member.directory_id is not None:
                wanted += _seat(member) * 3
                wanted += [Promote(directory_id=member.directory_id)] * 3
        return wanted

    # -- how it is asked for ------------------------------------------------------------------------------------------

    def _ask(self, member: Member, change: Change | None) -> None:
        if change is None or member.engine is None:
            return
        made_for = member.engine.state.configurations.in_force_index
        if self._dice.random() < OLD:
            made_for = LogIndex(self._dice.randint(0, member.engine.state.log.last.index))
        for _ in range(2 if self._dice.random() < TWICE else 1):
            self._call(member, self.change, made_for, change)

    def _call(self, member: Member, act: Any, *arguments: Any) -> None:
        delay_us = self._dice.randint(0, self._dice.choice(ON_ITS_WAY_US))
        self._world.timeline.after(delay_us, None, self._arrives, member.number, act, arguments)

    def _arrives(self, number: MemberId, act: Any, arguments: tuple[Any, ...]) -> None:
        peer = self._world.members[number].peer
        if peer is None:
            return
        if peer.paused:
            peer.backlog.append((act, (peer, *arguments)))
        else:
            act(peer, *arguments)

    def change(self, peer: PeerProcess, made_for: LogIndex, change: Change) -> bool:
        """It arrives. False: it is not made, for it would leave too few disks."""
        following = after_change(peer.engine.state.configurations.in_force, change)
        if isinstance(following, Configuration) and not self._world.has_disks(following):
            return False
        peer.ask_change(made_for, change)
        return True

    def _transfer(self, peer: PeerProcess, to: DirectoryId | None) -> None:
        peer.ask_transfer(to)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def started(self, member: Member, change: Change) -> None:
        """A leader has appended this."""
        count = self._world.watch.count
        match change:
            case AddMember(member=line):
                count("place added" if line.vacant else "directory seated")
            case Promote():
                count("member promoted")
            case RemoveMember(directory_id=directory_id, keep_place=keep_place):
                count("leader removed itself" if directory_id == member.directory_id else "member removed")
                if keep_place:
                    count("place kept vacant")
            case RemovePlace():
                count("place removed")

    def refused(self, reason: ChangeRefusal) -> None:
        """A peer refused a change."""
        self._world.watch.count(f"change refused: {reason.value}")

    def transferred(self, answer: TransferEnded) -> None:
        """A transfer has ended."""
        self._world.watch.count(f"transfer {answer.why.value}")

    def configured(self, process: PeerProcess, details: dict[str, object]) -> None:
        """Another configuration is in force at this peer."""
        index = details["index"]
        assert isinstance(index, int), f"{index!r} is no index"
        if index < process.configured_at:
            self._world.watch.count("change rolled back")
        process.configured_at = LogIndex(index)


def _place(number: MemberId) -> Change:
    return AddMember(member=Line(member_id=number, directory_id=VACANT, voter=False))


def _seat(member: Member) -> list[Change]:
    if member.directory_id is None:
        return []
    return [AddMember(member=Line(member_id=member.number, directory_id=member.directory_id, voter=False))]
