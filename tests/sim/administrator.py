"""Who changes the membership of a simulated group and hands leadership over: people, and whoever fills its places.

Here:   `Administrator`: what is asked of whom, when it arrives, once or twice; what the keeper sees and does.
Never:  what the keeper wants next (raft_actors/cluster/upkeep.py), whether it is done (raft_actors/core), how it ends
        (administration.py), lost disks (nemesis.py).

Careless in time: what is asked for may arrive seconds late, twice, at a peer that does not lead any more, made for a
configuration of long ago. Careful in one thing alone: no change is made that leaves a configuration without a majority
that have their disks. That would be a group that nobody can help, by no fault of the product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raft_actors.cluster.silences import Silences
from raft_actors.cluster.upkeep import End, Fill, Seen, lost, next_steps
from raft_actors.core.effects import ChangeRefusal, TransferEnded
from raft_actors.core.entries import Configuration
from raft_actors.core.entries import Member as Line
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.membership import after_change
from raft_actors.core.types import VACANT, DirectoryId, LogIndex, MemberId, Role
from raft_actors.peer.membership import membership_of
from raft_actors.peer.standing import PeerState
from tests.sim.checks import Violation
from tests.sim.ending import Ending
from tests.sim.timeline import SECOND_US

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
REPLACE_AFTER_S: Final = 2.0
"""Silence of a voter after which the keeper takes it out of the log."""
ZOMBIE: Final = 0.5
"""Of so many directories that are set aside each keeps its machine, and its process."""


class Administrator:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice
        self._options = world.options
        self._seen: dict[MemberId, Seen] = {}
        """At the keeper's last look."""
        self._since: dict[MemberId, tuple[tuple[PeerState | None, DirectoryId | None] | None, int]] = {}
        """What each said last, and since when it does."""
        self._silences = Silences()
        self._lost_before: frozenset[DirectoryId] = frozenset()
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
        """What the keeper wants next, by the product's own decision, from what the members said at its look before and
        what the leader says now. It takes a leader's word only if nothing newer was committed, as a read would tell."""
        assert leader.engine is not None, "who is down knows nothing"
        seen, self._seen = self._seen, self._look()
        view = membership_of(leader.engine.state, leader.clock.now_ms())
        if view is None or leader.engine.state.configurations.in_force != self._world.checks.newest_configuration:
            return None
        view = self._silences.across_leaders(view, self._world.timeline.now_us // 1000)
        steps = next_steps(
            view,
            seen,
            promotion_lag_max=self._options.promotion_lag_max,
            replace_after_s=REPLACE_AFTER_S,
            lost_before=self._lost_before,
        )
        self._lost_before = frozenset(lost(view, REPLACE_AFTER_S))
        for step in steps:
            if isinstance(step, End):
                self._end(step.member_id, seen[step.member_id])
        changes: list[Change] = [step for step in steps if not isinstance(step, End | Fill)]
        if not steps and not self._world.resting:
            listed = {line.member_id for line in view.lines}
            changes = [_place(number) for number in self._world.members if number not in listed]  # more members
        return self._dice.choice(changes) if changes else None

    def _look(self) -> dict[MemberId, Seen]:
        """What each member's actor says of itself."""
        now_us = self._world.timeline.now_us
        seen = {}
        for number, member in self._world.members.items():
            state = self._state_of(member)
            directory_id = None if state is None else member.directory_id
            before, since_us = self._since.get(number, (None, now_us))
            if before != (state, directory_id):
                since_us = now_us
            self._since[number] = ((state, directory_id), since_us)
            for_s = (now_us - since_us) / SECOND_US
            seen[number] = Seen(state=state, directory_id=directory_id, for_s=for_s, answered=True, in_the_way=False)
        return seen

    def _state_of(self, member: Member) -> PeerState | None:
        if member.failed:
            return PeerState.FAILED
        if member.empty is not None or (self._options.strangers and member.peer is not None and member.never_listed):
            return PeerState.UNINITIALISED
        if member.peer is None or member.peer.paused:
            return None
        return PeerState.RUNNING if member.is_listed else PeerState.RECOVERING

    def _end(self, number: MemberId, seen: Seen) -> None:
        """What lies in this place is set aside, if it is still what was seen; an empty one comes (ADR 13). A deposed
        leader may have seated it where that is not committed: as a non-voter, which will never answer."""
        member = self._world.members[number]
        if seen.state in (None, PeerState.UNINITIALISED) or member.directory_id != seen.directory_id:
            return
        if member.directory_id is None or any(
            each.is_voter(member.directory_id) for each in self._world.checks.possible_configurations()
        ):
            raise Violation("what is set aside counts nowhere", f"member {member.name} votes, or could yet")
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
