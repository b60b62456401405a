"""What a row of the catalogue may do to a group and ask of it: the primitives of MIT's labs.

Here:   `Lab`: what a kind of group has to offer, and what follows from that (one leader, agreement, `one`).
Never:  a kind of group (ray_lab.py, sim_lab.py), a row.

Limits are those of the labs, in seconds of the group's own clock: real for Ray, simulated in a world. Where the labs
look once and hope, we look until it is so, within their limit.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from raft_actors.core.messages import Message
from raft_actors.faults.plan import Plan
from raft_actors.faults.rules import Part, Rule
from raft_actors.peer.perform import METHODS

T = TypeVar("T")

LEADER_S: Final = 5.0
"""A leader is there by then (the labs: ten looks, half a second apart)."""
AGREE_S: Final = 10.0
"""`one` gives up."""
COMMIT_S: Final = 2.0
"""An accepted command is committed by then, or it is offered again."""
LOOK_S: Final = 0.02
PAUSE_S: Final = 0.05
"""Between two rounds of offers that nobody accepted."""
COUNTED: Final = frozenset(METHODS.values())
"""The calls that Raft has a name for; slices of snapshots and greetings travel beside them."""


class Lab(ABC):
    """One group of `size` members, numbered from 0, that count and agree on commands. All of them are bytes."""

    first_number: int
    """Of the members, as the group's own fault plan numbers them; rows number them from 0."""
    rpc_limits: tuple[int, int, int]
    """Most calls for an election, for ten commands, and for a second without any."""

    def __init__(self, size: int, *, unreliable: bool) -> None:
        self.size = size
        self.cut_off: set[int] = set()
        """Members that are disconnected."""
        self.down: set[int] = set()
        """Members that were crashed and not restarted."""
        self._commands = itertools.count(1)
        self._applied: dict[int, bytes] = {}
        """What some member applied, by index: no other one may apply anything else there."""
        self._cut: set[tuple[int, int]] = set()
        self._unreliable = unreliable
        self._long_reordering = False

    # -- what a kind of group does ------------------------------------------------------------------------------------

    @abstractmethod
    def now_s(self) -> float:
        """The group's clock."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    @abstractmethod
    def start(self, member: int, command: bytes) -> int | None:
        """Offer a command to one member: the index that it will have, if it is committed; None: not the leader.

        Ruaft's `start`. Reaches the member itself, cut off or not; None for one that is down.
        """

    @abstractmethod
    def state_of(self, member: int) -> tuple[int, bool] | None:
        """(term, whether it leads); None for one that is down or does not answer."""

    @abstractmethod
    def applied_by(self, member: int) -> dict[int, bytes]:
        """What the member's application was given, by index, since the group began: commands of `start` alone, no
        entries of terms and no commands of clients. Empty for one that is down."""

    @abstractmethod
    def obey(self, rules: Sequence[Rule]) -> None:
        """Exactly these rules are in force when this returns."""

    @abstractmethod
    def message_counts(self) -> Iterable[Mapping[str, int | str]]:
        """Rows of `Plan.counts`, of all calls up to now."""

    @abstractmethod
    def crash(self, *members: int) -> None:
        """Kill them at once, peer and application; they stay down until `restart`. Their disks stay."""

    @abstractmethod
    def restart(self, *members: int) -> None:
        """Start them from their disks, all at once; returns when all of them run."""

    @abstractmethod
    def log_bytes(self) -> int:
        """Of the member whose log files are largest."""

    @abstractmethod
    def snapshot_index(self, member: int) -> int:
        """Of the last entry that its newest snapshot covers; 0: none."""

    @abstractmethod
    def random(self) -> float:
        """From 0 to 1; the same in each run of the same seed."""

    def rounds(self, count: int) -> int:
        """How many of so many rounds this kind of group plays."""
        return count

    def draw(self, least: int, most: int) -> int:
        """A number from these."""
        return least + int(self.random() * (most - least + 1))

    def choose(self, members: list[int]) -> int:
        """One of these."""
        return members[self.draw(0, len(members) - 1)]

    # -- the network, as the labs speak of it -------------------------------------------------------------------------

    def set_network(self, *, unreliable: bool, long_reordering: bool) -> None:
        """labrpc's profiles."""
        self._unreliable, self._long_reordering = unreliable, long_reordering
        self.obey(self.rules())

    def set_links(self, cut: set[tuple[int, int]]) -> None:
        """Exactly these links are cut, each in its direction; in force when this returns."""
        self._cut = cut
        self.obey(self.rules())

    def rules(self) -> tuple[Rule, ...]:
        """What the network does now. Calls over cut links always fail late (`long_delays`)."""
        plan = Plan()
        plan.long_delays()
        plan.unreliable(self._unreliable)
        plan.long_reordering(self._long_reordering)
        for src, dst in sorted(self._cut):
            plan.cut(src + self.first_number, dst + self.first_number)
        return plan.rules

    def rpc_count(self, *messages: type[Message]) -> int:
        """Calls between peers up to now, delivered or not: those with these messages; without any, all of `COUNTED`."""
        methods = frozenset(METHODS[message] for message in messages) or COUNTED
        return sum(
            int(row["offered"]) for row in self._rpcs() if row["part"] == Part.REQUEST and row["method"] in methods
        )

    def rpc_bytes(self) -> int:
        """Bytes of their arguments and of their answers; those that were lost on their way count, too."""
        return sum(int(row["size_bytes"]) for row in self._rpcs())

    def _rpcs(self) -> list[Mapping[str, int | str]]:
        return [row for row in self.message_counts() if row["method"] in COUNTED]

    @property
    def members(self) -> range:
        """All of them."""
        return range(self.size)

    def disconnect(self, *members: int) -> None:
        """Cut all links of these."""
        self.cut_off |= set(members)
        self._obey()

    def connect(self, *members: int) -> None:
        """Mend all links of these, to all who are connected."""
        self.cut_off -= set(members)
        self._obey()

    def connect_all(self) -> None:
        """Mend all."""
        self.connect(*self.members)

    def _obey(self) -> None:
        pairs = itertools.permutations(self.members, 2)
        self.set_links({pair for pair in pairs if self.cut_off.intersection(pair)})

    def partition(self, *sides: Iterable[int]) -> None:
        """Links within a side alone; sides may overlap, and whoever is on none is by itself."""
        within = {pair for side in sides for pair in itertools.permutations(side, 2)}
        self.set_links(set(itertools.permutations(self.members, 2)) - within)

    @property
    def connected(self) -> list[int]:
        """Those that run and are connected."""
        return [member for member in self.members if member not in self.cut_off | self.down]

    def others(self, *members: int) -> list[int]:
        """All but these."""
        return [member for member in self.members if member not in members]

    # -- what follows -------------------------------------------------------------------------------------------------

    def until(self, look: Callable[[], T], within_s: float, what: str) -> T:
        """Look until it is so; what was seen. Fails when it is not in time."""
        deadline_s = self.now_s() + within_s
        while not (found := look()):
            assert self.now_s() < deadline_s, f"not within {within_s:g} s: {what}"
            self.sleep(LOOK_S)
        return found

    def next_command(self) -> bytes:
        """One that nobody has used."""
        return b"command %d" % next(self._commands)

    def leaders(self) -> dict[int, list[int]]:
        """Who of the connected leads, by term. Fails where two lead one term (Raft §5.2)."""
        found: dict[int, list[int]] = {}
        for member in self.connected:
            state = self.state_of(member)
            if state is not None and state[1]:
                found.setdefault(state[0], []).append(member)
        for term, leaders in found.items():
            assert len(leaders) == 1, f"{leaders} lead term {term}"
        return found

    def check_one_leader(self, within_s: float = LEADER_S) -> int:
        """The leader of the highest term, once there is one; it is the only one soon, too: an older one steps down."""
        found = self.until(self.leaders, within_s, "somebody leads")
        ((leader,),) = self.until(self._only_leader, within_s, f"one leads; {found} did")
        return leader

    def _only_leader(self) -> list[list[int]]:
        """The leaders of the one term that has any; nothing while there are more, or none."""
        found = list(self.leaders().values())
        return found if len(found) == 1 else []

    def check_no_leader(self) -> None:
        """None of the connected leads."""
        assert not self.leaders(), f"{self.leaders()} lead, and there is no quorum"

    def check_terms(self, within_s: float = 0.0) -> int:
        """The one term of all who are connected."""
        self.until(lambda: len(self._terms()) == 1, within_s, "all have one term")
        return self._terms().pop()

    def _terms(self) -> set[int]:
        return {state[0] for member in self.connected if (state := self.state_of(member)) is not None}

    def committed(self, index: int) -> int:
        """How many members have applied what is at this index. Fails where two have applied different things."""
        return sum(index in self.look_at(member) for member in self.members)

    def look_at(self, member: int) -> dict[int, bytes]:
        """What this member has applied, held against what all others have (state machine safety, Raft §5.4.3)."""
        applied = self.applied_by(member)
        for index, command in applied.items():
            known = self._applied.setdefault(index, command)
            assert known == command, f"index {index}: member {member} applied {command!r}, another one {known!r}"
        return applied

    def nothing_at(self, index: int) -> None:
        """Nobody has applied anything there."""
        assert self.committed(index) == 0, f"{self.committed(index)} members have applied index {index} too early"

    def one(self, command: bytes | None = None, *, by: int, retry: bool = True) -> int:
        """A command that `by` members at least apply, within ten seconds; its index.

        Without `retry` the first one that is accepted has to be it.
        """
        command = command or self.next_command()
        deadline_s = self.now_s() + AGREE_S
        while self.now_s() < deadline_s:
            index = next((at for member in self.connected if (at := self.start(member, command)) is not None), None)
            if index is None:
                self.sleep(PAUSE_S)
                continue
            accepted_s = self.now_s()
            while self.now_s() < accepted_s + COMMIT_S:
                has = sum(self.look_at(member).get(index) == command for member in self.members)
                if has >= by:
                    return index
                self.sleep(LOOK_S)
            assert retry, f"{command!r} was accepted at index {index}, and {by} members did not apply it in time"
        raise AssertionError(f"{by} members agreed on no command within {AGREE_S:g} s")

    def offer_to_all(self, command: bytes) -> int | None:
        """Offer a command to everybody who is connected and runs; who took it last, if anybody did."""
        took = [member for member in self.connected if self.start(member, command) is not None]
        return took[-1] if took else None

    def agree(self, commands: list[bytes], *, by: int) -> None:
        """As `one` for each of these, by clients that offer them all at once."""
        deadline_s = self.now_s() + AGREE_S
        missing = commands
        while missing:
            assert self.now_s() < deadline_s, f"{len(missing)} of {len(commands)} commands are not agreed on in time"
            offered = [self.offer_to_all(command) for command in missing]
            if set(offered) == {None}:
                self.sleep(PAUSE_S)
                continue
            accepted_s = self.now_s()
            while missing and self.now_s() < accepted_s + COMMIT_S:
                applied = Counter(command for member in self.members for command in set(self.look_at(member).values()))
                missing = [command for command in missing if applied[command] < by]
                if missing:
                    self.sleep(LOOK_S)

    def wait(self, index: int, by: int, term: int) -> bytes | None:
        """What `by` members at least have applied there; None: the term moved on first."""
        deadline_s = self.now_s() + AGREE_S
        while self.committed(index) < by:
            if any(found > term for found in self._terms()):
                return None
            assert self.now_s() < deadline_s, f"{by} members did not apply index {index} within {AGREE_S:g} s"
            self.sleep(LOOK_S)
        return self._applied[index]

    def check_logs_agree(self) -> None:
        """No two members have applied different things."""
        for member in self.members:
            self.look_at(member)
