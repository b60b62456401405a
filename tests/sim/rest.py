"""A world after its faults: it must come to rest, and be of use again.

Here:   `Rest`: who leads, equal logs, fresh writes, snapshots and reads, each within its time.
Never:  faults and their end (world.py), what must be true of a world at rest (checks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from analysis.history import Outcome
from raft_actors.core.entries import Configuration
from raft_actors.core.types import Role
from tests.sim.checks import Violation
from tests.sim.member import Member
from tests.sim.timeline import SECOND_US

if TYPE_CHECKING:
    from tests.sim.world import World

PROGRESS_US: Final = 300 * SECOND_US
"""A healed world that has not come to rest after so long never does: elections take seconds, clients give up sooner."""
QUIET_TIMEOUTS: Final = 4
ASK_US: Final = 50_000
"""Between two changes that are asked for."""
LOOK_US: Final = 10_000
"""How often a healed world is asked whether it has come to rest."""
STILL_HAPPENINGS: Final = 200_000
"""So many happenings without an event of any peer are no world any more."""
WRITE_TIMEOUT_MS: Final = 20_000
"""Of the writes and reads that are demanded in the end."""

Lack: TypeAlias = Callable[[], str | None]
"""What is not as it should be in the end, or None."""


class Rest:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked_us = 0
        """When a change was asked for last."""
        self._configured: Configuration | None = None
        self._moved_before = 1 << 60
        """How often leadership had been handed over when that was asked for."""

    def demand(self) -> None:
        """All clients are answered and one member leads; a fresh write of every key; then equal logs, all
        applied; a snapshot at each member; and everything readable.

        Logs need not be equal before the write: a leader that knows its log to be committed appends nothing, and what a
        follower has beyond it is overwritten by the next entry.
        """
        self._until(self._lacking_leader)
        self._demand("put", self._world.keys.in_use)
        if self._world.options.administered:
            self._until(self._lacking_members)
            self._until(self._lacking_change)
            self._until(self._lacking_transfer)
            self._until(self._lacking_members)
        self.come()
        self._until(self._lacking_calm)
        led, reasons = self._world.checks.newest_led, self._reasons_to_go()
        self._demand_snapshots()
        self._demand("get", [*self._world.keys.in_use, *self._world.keys.given_up])
        self._until(self._lacking_end)
        self._be_quiet()
        if len(set(self._world.options.rates)) == 1 and self._reasons_to_go() == reasons:
            self._world.checks.undisturbed(led)

    def come(self) -> None:
        """All members follow one leader, and their logs and machines are equal."""
        self._until(self._lacking_rest)
        self._world.checks.at_rest(self._world.whole_members())

    def _until(self, lacking: Lack) -> None:
        """Let time pass until nothing is lacking."""
        until_us = self._world.timeline.now_us + PROGRESS_US
        while (what := lacking()) is not None:
            if self._world.timeline.now_us > until_us:
                raise Violation("progress", f"{what}, {PROGRESS_US // SECOND_US} s after all was healed")
            if not self._world.timeline.play_for(LOOK_US, STILL_HAPPENINGS):
                raise Violation("progress", f"{what}, and time stands still")

    def _lacking_leader(self) -> str | None:
        """Who still waits, is down, or does not follow the one leader."""
        for client in self._world.clients:
            if client.under_way:
                return f"{client.name} waits for {client.under_way}"
        leaders, terms = [], set()
        for member in self._world.whole_members():
            engine = member.engine
            if engine is None or member.host is None:
                return f"member {member.member_id} is down"
            terms.add(engine.state.current_term)
            if engine.state.role is Role.LEADER:
                leaders.append(member.member_id)
        if len(leaders) != 1:
            return f"{leaders or 'nobody'} lead"
        return None if len(terms) == 1 else f"terms differ: {sorted(terms)}"

    def _lacking_rest(self) -> str | None:
        """Why this world has not come to rest."""
        if (lacking := self._lacking_leader()) is not None:
            return lacking
        ends, committed = set(), self._world.checks.committed_count
        for member in self._world.whole_members():
            engine, host = member.engine, member.host
            assert engine is not None, "it has just been seen"
            assert host is not None, "it has just been seen"
            state = engine.state
            ends.add(state.log.last)
            if (state.commit_index, host.applied_index, state.log.last.index) != (committed,) * 3:
                return (
                    f"member {member.member_id} has {state.log.last.index} entries, committed {state.commit_index}, "
                    f"applied {host.applied_index} of {committed}"
                )
        return None if len(ends) == 1 else f"logs differ: {sorted(ends)}"

    def _lacking_end(self) -> str | None:
        """Every transfer of leadership ends, one way or the other (dissertation §3.10)."""
        for member in self._world.everybody():
            if member.peer is not None and member.peer.transfers_open:
                return f"member {member.name} still hands leadership over"
        return None

    def _reasons_to_go(self) -> int:
        """How often a leader may have gone that was not disturbed: it was asked to hand over (somebody who was told to
        campaign may do so after that was given up), its application was slow, or a follower's disk, for which its
        answers wait."""
        counts = self._world.watch.counts
        transfers = sum(count for what, count in counts.items() if what.startswith("transfer "))
        return transfers + counts["leader stepped down without application"] + counts["disk stalled for long"]

    def _lacking_calm(self) -> str | None:
        """Who still waits for calls that were lost before the healing. While they take all slots to a member, it gets
        one message a second (DESIGN 4, "Bounds"), which may be less often than it has elections."""
        before_us = self._world.timeline.now_us - self._world.options.config.rpc_deadline_ms * 1000
        whole = {member.member_id: member.peer for member in self._world.whole_members()}
        for member_id, peer in whole.items():
            for to, made_us in () if peer is None else peer.open_calls.values():
                if to in whole and made_us < before_us:
                    return f"a call of member {member_id} to {to} hangs"
        return self._lacking_rest()

    def _be_quiet(self) -> None:
        """For some election timeouts, where somebody lives on who does not belong to the group any more."""
        if any(member.peer is not None and not member.is_listed for member in self._world.everybody()):
            self._world.watch.count("removed directory beside a group at rest")
            quiet_us = QUIET_TIMEOUTS * self._world.options.config.election_timeout_ms_max * 1000
            self._world.timeline.play_for(quiet_us, STILL_HAPPENINGS)

    # -- members ------------------------------------------------------------------------------------------------------

    def _the_leader(self) -> Member | None:
        self._world.bury_zombies()
        return None if self._lacking_leader() is not None else self._leads()

    def _leads(self) -> Member:
        return next(
            member
            for member in self._world.whole_members()
            if member.engine is not None and member.engine.state.role is Role.LEADER
        )

    def _lacking_members(self) -> str | None:
        """Every place of the group is served by a voter, once somebody does what a keeper does."""
        lack = self._lacking_voter()
        if lack is not None and self._world.timeline.now_us >= self._asked_us + ASK_US:
            self._asked_us = self._world.timeline.now_us
            leader = self._the_leader()
            if leader is not None and leader.peer is not None:
                wish = self._world.administrator.wish(leader)
                if wish is not None:
                    made_for = leader.peer.engine.state.configurations.in_force_index
                    self._world.administrator.change(leader.peer, made_for, wish)
        return lack

    def _lacking_voter(self) -> str | None:
        if (lacking := self._lacking_leader()) is not None:
            return lacking
        for line in self._world.checks.newest_configuration.members:
            here = self._world.members[line.member_id]
            if line.vacant:
                return f"place {line.member_id} is vacant"
            if here.directory_id != line.directory_id or here.damaged:
                return f"the directory of member {line.member_id} is gone"
            if not line.voter:
                return f"member {line.member_id} is no voter"
        state = self._leads().engine
        assert state is not None, "it has just been seen"
        if state.state.configurations.in_force != self._world.checks.newest_configuration:
            return "a change is not committed"
        return None

    def _lacking_change(self) -> str | None:
        """Another configuration becomes committed than the one that was when this was asked first."""
        newest, administrator = self._world.checks.newest_configuration, self._world.administrator
        if self._configured is None:
            self._configured = newest
        changes = administrator.possible_changes(newest)
        if newest != self._configured or not changes:  # a lone voter in the only place there is
            return None
        if self._world.timeline.now_us >= self._asked_us + ASK_US:
            self._asked_us = self._world.timeline.now_us
            leader = self._the_leader()
            if leader is not None and leader.peer is not None:
                made_for = leader.peer.engine.state.configurations.in_force_index
                administrator.change(leader.peer, made_for, self._world.dice.choice(changes))
        return f"no change of {newest}"

    def _lacking_transfer(self) -> str | None:
        """Leadership goes to another voter, if there is one that is in its place with its disk."""
        if self._world.watch.counts["transfer moved"] > self._moved_before:
            return None
        leader = self._the_leader()
        if leader is None or leader.engine is None:
            return self._lacking_leader() or "the leader is down"
        mine = leader.directory_id
        able = [member for member in self._world.whole_members() if member.directory_id != mine and _votes(member)]
        if not able:
            return None
        if leader.peer is not None and not leader.peer.transfers_open:
            self._moved_before = self._world.watch.counts["transfer moved"]
            leader.peer.ask_transfer(self._world.dice.choice(able).directory_id)
        return "leadership is not handed over"

    def _demand(self, op: str, keys: Sequence[str]) -> None:
        """An operation on each of these keys has to succeed; a client's session may have been dropped meanwhile, so it
        may try again."""
        client = self._world.clients[0]
        asked = dict.fromkeys(keys, 0)

        def lacking() -> str | None:
            lack = None
            for key, number in asked.items():
                outcome = self._world.outcomes.get(number)
                if outcome is not Outcome.OK:
                    lack = f"{op} {key} of {client.name} is {outcome.value if outcome else 'under way'}"
                    if number == 0 or outcome is not None:
                        asked[key] = client.begin(op, key, WRITE_TIMEOUT_MS)
            return lack

        self._until(lacking)

    def _demand_snapshots(self) -> None:
        """Every member can take a snapshot, whatever became of those before."""
        for member in self._world.whole_members():
            if member.peer is not None:
                member.peer.has_saved = False

        def lacking() -> str | None:
            for member in self._world.whole_members():
                peer = member.peer
                if peer is None:
                    return f"member {member.member_id} is down"
                if not peer.has_saved:
                    if not peer.saves:
                        peer.save_snapshot()
                    return f"member {member.member_id} takes no snapshot: {peer.engine.snapshots.error}"
            return None

        self._until(lacking)


def _votes(member: Member) -> bool:
    configuration = member.world.checks.newest_configuration
    return member.directory_id is not None and configuration.is_voter(member.directory_id)
