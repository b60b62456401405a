"""The one fault model: what becomes of a message on its way, decided from rules and from dice that the caller throws.

Here:   the rules (cut, partition, isolate, drop, delay, reorder, duplicate, labrpc's profiles), which of them hold for
        a message, its fate, and counts of what was touched, per link and method.
Never:  carrying or holding a message, clocks, dice of its own, kills and pauses. Whoever carries messages does what
        the fate says: the simulated network, and the injector between real actors.

Words. A call has two legs, each a message of its own with its own fate: the request, and the reply, whose `src` is who
answers. Rules speak of legs: `cut(0, 1)` stops the requests of 0 to 1, and the replies of 0 to requests of 1.
A member is its number, its server `"s<number>"`, a client its label. They are places: a rule for member 2 is for its
server too, so `isolate(2)` keeps clients away from it. What passes between a member and its own server never sees the
network: only a rule that names the server touches it.

Which rule holds. A message is cut when any cut, isolation or partition cuts it; a cut that loses comes before one that
holds. Of the other kinds the newest rule that matches has the last word, kind by kind, and the kinds add up: delayed
by one rule, reordered by another. A cut comes before a drop, a drop before everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple, TypeAlias, TypedDict, Unpack

Node: TypeAlias = int | str
"""A member's number, `"s0"` for the server of member 0, or a client's label."""

Range: TypeAlias = tuple[int, int]
"""Smallest and largest value, both possible."""

RULES_MAX: Final = 256
"""A plan that grows for ever is a mistake of who plans: rules with the same scope replace each other."""

LINKS_MAX: Final = 4096
"""Rows of `counts()`. A run with more links and methods counts the later ones together."""

_FOR_EVER: Final = 1 << 62


class Part(StrEnum):
    """Which leg of a call."""

    REQUEST = "request"
    REPLY = "reply"


_REQUEST, _REPLY = Part.REQUEST, Part.REPLY


class Message(NamedTuple):
    """One leg of a call. `src` sends this leg: for a reply that is who was called."""

    src: Node
    dst: Node
    method: str
    part: Part


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a message."""

    delays_ms: tuple[int, ...]
    """One for each copy that arrives; none: it is lost."""
    held_until_healed: bool = False
    """It waits while `Plan.holds` says so; the delays begin then. So does Ray: a call that was made during a partition
    is executed after it."""
    told_after_ms: int | None = None
    """When the caller of a lost message learns that there will be no answer; None: from its own deadline only."""


_INTACT: Final = Fate((0,))
_LOST: Final = Fate(())


# -- rules -----------------------------------------------------------------------------------------------------------


class When(TypedDict, total=False):
    """For which messages a rule is; what is left out is for all."""

    method: str | None
    until_ms: int | None
    """The rule ends by itself at this time of the clock that `fate` is asked with."""


class Where(When, total=False):
    """The same, with the link."""

    src: Node | None
    dst: Node | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A scope; each kind of rule adds what happens in it."""

    src: Node | None = None
    dst: Node | None = None
    method: str | None = None
    part: Part | None = None
    until_ms: int | None = None
    profile: str = ""
    """Of which profile it is a part."""

    def matches(self, message: Message) -> bool:
        """Whether the message is in the scope."""
        return (
            self.method in (None, message.method)
            and self.part in (None, message.part)
            and self._is_on(message.src, message.dst)
        )

    def same_scope(self, other: Rule) -> bool:
        """Whether the other is of this kind and for the same messages, so that the newer one replaces it."""
        return type(other) is type(self) and all(
            getattr(self, name) == getattr(other, name) for name in ("src", "dst", "method", "part", "profile")
        )

    def row(self) -> dict[str, object]:
        """What differs from a rule that says nothing, for a reader or a table."""
        row: dict[str, object] = {"kind": type(self).__name__.lower()}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value is not False and value != "":
                row[item.name] = value.value if isinstance(value, Part) else value
        return row

    def _is_on(self, src: Node, dst: Node) -> bool:
        if not (_covers(self.src, src) and _covers(self.dst, dst)):
            return False
        return _place(src) != _place(dst) or _names_server(self.src, src) or _names_server(self.dst, dst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Rule):
    """Nothing arrives in this direction."""

    held: bool = False
    """It waits for the heal, rather than being lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolate(Cut):
    """Nothing passes between a node and the others, in either direction."""

    node: Node

    def same_scope(self, other: Rule) -> bool:
        return Rule.same_scope(self, other) and isinstance(other, Isolate) and other.node == self.node

    def _is_on(self, src: Node, dst: Node) -> bool:
        return _covers(self.node, src) != _covers(self.node, dst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Cut):
    """Nothing passes from one side to another. Who is on no side reaches all: such a partition is a partial one."""

    sides: tuple[tuple[Node, ...], ...]

    def _is_on(self, src: Node, dst: Node) -> bool:
        from_side, to_side = self._side(src), self._side(dst)
        return from_side != to_side and from_side is not None and to_side is not None

    def _side(self, node: Node) -> int | None:
        for wanted in (node, _place(node)):
            for number, side in enumerate(self.sides):
                if wanted in side:
                    return number
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Rule):
    """Some are lost."""

    probability: float
    told_ms: Range | None = None
    """When the caller learns of it; see `Fate.told_after_ms`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Rule):
    """Each copy arrives later, evenly between the two."""

    ms: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(Rule):
    """Some are overtaken by what was sent after them: late by between the two, by little more often than by much."""

    probability: float
    late_ms: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Rule):
    """Some arrive twice."""

    probability: float
    late_ms: Range
    """How long after its own delay the second copy comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable(Rule):
    """When the caller of a message that a cut lost learns of it; see `Fate.told_after_ms`."""

    told_ms: Range


def _place(node: Node) -> Node:
    """Where a node is: a server is where its member is."""
    return int(node[1:]) if isinstance(node, str) and node[:1] == "s" and node[1:].isdecimal() else node


def _covers(named: Node | None, node: Node) -> bool:
    return named is None or named in (node, _place(node))


def _names_server(named: Node | None, node: Node) -> bool:
    return named == node and isinstance(named, str)


# -- the plan --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    """What became of the messages of one link, method and part."""

    offered: int = 0
    untouched: int = 0
    cut: int = 0
    dropped: int = 0
    held: int = 0
    delayed: int = 0
    reordered: int = 0
    duplicated: int = 0


@dataclass(slots=True)
class _Lane:
    """The rules that hold for one link, method and part, so that a message without a fault costs one look-up."""

    tally: _Tally
    known_until_ms: int = 0
    """From then on the rules are looked through again."""
    healthy: bool = True
    cut: bool = False
    held: bool = False
    drop: Drop | None = None
    delay: Delay | None = None
    reorder: Reorder | None = None
    duplicate: Duplicate | None = None
    unavailable: Unavailable | None = None


@dataclass(slots=True)
class Plan:
    """Rules in force, and counts of what they did. The words below add rules and return them, for `remove`."""

    rules: tuple[Rule, ...] = ()
    """Oldest first. Frozen values: they may travel between processes, and `obey` takes them there."""
    _lanes: dict[Message, _Lane] = field(default_factory=dict)
    _others: _Tally = field(default_factory=_Tally)
    """Counts of links beyond LINKS_MAX."""

    def fate(self, message: Message, now_ms: int, dice: Random) -> Fate:
        """Decide about one message. The same rules, messages and dice give the same fates."""
        lane = self._lanes.get(message)
        if lane is None:
            lane = self._new_lane(message)
        if now_ms >= lane.known_until_ms:
            self._look_through(lane, message, now_ms)
        lane.tally.offered += 1
        if lane.healthy:
            lane.tally.untouched += 1
            return _INTACT
        return _draw(lane, dice)

    def holds(self, message: Message, now_ms: int) -> bool:
        """Whether a message that was held still is."""
        return any(
            isinstance(rule, Cut) and rule.held and _in_force(rule, now_ms) and rule.matches(message)
            for rule in self.rules
        )

    # -- words: what a link does --------------------------------------------------------------------------------------

    def partition(self, *sides: Sequence[Node], held: bool = False, **when: Unpack[When]) -> tuple[Rule, ...]:
        """Cut all links between the sides; takes the place of the partition before."""
        listed = tuple(tuple(side) for side in sides)
        named = [node for side in listed for node in side]
        if len(named) != len(set(named)):
            raise ValueError(f"{listed}: a node is on two sides; leave it out of all if it is to reach both")
        return self._add(Partition(sides=listed, held=held, **when))

    def isolate(self, node: Node, *, held: bool = False, **when: Unpack[When]) -> tuple[Rule, ...]:
        """Cut all links of a node, in both directions."""
        return self._add(Isolate(node=node, held=held, **when))

    def cut(
        self, src: Node | None, dst: Node | None, *, held: bool = False, part: Part | None = None, **when: Unpack[When]
    ) -> tuple[Rule, ...]:
        """Cut a link in one direction; None: from, or to, everybody."""
        return self._add(Cut(src=src, dst=dst, part=part, held=held, **when))

    def drop(
        self,
        *,
        request: float | None = None,
        reply: float | None = None,
        told_ms: Range | None = None,
        **where: Unpack[Where],
    ) -> tuple[Rule, ...]:
        """Lose some requests, some replies; a part that is left out keeps the rule that it has."""
        return self._add(
            *(
                Drop(part=part, probability=probability, told_ms=told_ms, **where)
                for part, probability in ((_REQUEST, request), (_REPLY, reply))
                if probability is not None
            )
        )

    def delay(self, ms: Range, *, part: Part | None = None, **where: Unpack[Where]) -> tuple[Rule, ...]:
        """Make messages late, each by its own draw, so they overtake each other by as much."""
        return self._add(Delay(part=part, ms=ms, **where))

    def reorder(
        self, probability: float, *, late_ms: Range = (1, 100), part: Part | None = None, **where: Unpack[Where]
    ) -> tuple[Rule, ...]:
        """Make some messages late, so that later ones overtake them."""
        return self._add(Reorder(part=part, probability=probability, late_ms=late_ms, **where))

    def duplicate(
        self, probability: float, *, late_ms: Range = (0, 0), part: Part | None = None, **where: Unpack[Where]
    ) -> tuple[Rule, ...]:
        """Bring some messages twice."""
        return self._add(Duplicate(part=part, probability=probability, late_ms=late_ms, **where))

    # -- words: the profiles of labrpc, the network of MIT's labs -----------------------------------------------------

    def unreliable(self, on: bool = True) -> tuple[Rule, ...]:
        """Short delays of requests, one request and one reply in ten lost; 81 % of the calls succeed."""
        return self._profile(
            "unreliable",
            Delay(part=_REQUEST, ms=(0, 26), profile="unreliable"),
            Drop(part=_REQUEST, probability=0.1, told_ms=(27, 27), profile="unreliable"),
            Drop(part=_REPLY, probability=0.1, told_ms=(0, 0), profile="unreliable"),
            on=on,
        )

    def long_reordering(self, on: bool = True) -> tuple[Rule, ...]:
        """Two replies in three come 200 to 2,199 ms late, 700 in the mean."""
        late = Reorder(part=_REPLY, probability=2 / 3, late_ms=(200, 2199), profile="long_reordering")
        return self._profile("long_reordering", late, on=on)

    def long_delays(self, on: bool = True) -> tuple[Rule, ...]:
        """Calls over a cut link fail after up to 7 s; switched off, after up to 0.1 s. Without a word on it (and after
        a heal) their callers are told nothing."""
        told = Unavailable(told_ms=(0, 6999) if on else (0, 99), profile="long_delays")
        return self._profile("long_delays", told, on=True)

    def _profile(self, name: str, *rules: Rule, on: bool) -> tuple[Rule, ...]:
        self.obey(rule for rule in self.rules if rule.profile != name)
        return self._add(*rules) if on else ()

    # -- words: the end of it -----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """No rule is left; what was held may go. Counts stay."""
        self.obey(())

    def remove(self, *rules: Rule) -> None:
        """Take back these rules; one that is not in force any more does not matter."""
        self.obey(rule for rule in self.rules if rule not in rules)

    def obey(self, rules: Iterable[Rule]) -> None:
        """From now on these rules are in force, oldest first, and no others."""
        rules = tuple(rules)
        if len(rules) > RULES_MAX:
            raise ValueError(f"{len(rules)} rules; a plan has at most {RULES_MAX}: heal, or remove some")
        for rule in rules:
            _check(rule)
        self.rules = rules
        for lane in self._lanes.values():
            lane.known_until_ms = 0

    def _add(self, *rules: Rule) -> tuple[Rule, ...]:
        self.obey((*(old for old in self.rules if not any(new.same_scope(old) for new in rules)), *rules))
        return rules

    # -- what a reader sees -------------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, object]]:
        """The rules, oldest first."""
        return [rule.row() for rule in self.rules]

    def counts(self) -> list[dict[str, int | str]]:
        """What became of the messages, a row for each link (`src` to `dst`), method and part that had any. `offered`
        counts all; each was `untouched`, or at least one of the others. `delayed` and `reordered` count copies."""
        lanes = self._lanes.items()
        rows = [_row(src, dst, method, part.value, lane.tally) for (src, dst, method, part), lane in lanes]
        return [*rows, _row("*", "*", "*", "*", self._others)] if self._others.offered else rows

    # -- which rules hold ---------------------------------------------------------------------------------------------

    def _new_lane(self, message: Message) -> _Lane:
        if len(self._lanes) >= LINKS_MAX:
            return _Lane(tally=self._others)
        lane = _Lane(tally=_Tally())
        self._lanes[message] = lane
        return lane

    def _look_through(self, lane: _Lane, message: Message, now_ms: int) -> None:
        lane.cut = lane.held = False
        lane.drop = lane.delay = lane.reorder = lane.duplicate = lane.unavailable = None
        lane.known_until_ms, lane.healthy = _FOR_EVER, True
        for rule in self.rules:
            if not (_in_force(rule, now_ms) and rule.matches(message)):
                continue
            if rule.until_ms is not None:
                lane.known_until_ms = min(lane.known_until_ms, rule.until_ms)
            match rule:
                case Cut(held=True):
                    lane.held = True
                case Cut():
                    lane.cut = True
                case Drop():
                    lane.drop = rule
                case Delay():
                    lane.delay = rule
                case Reorder():
                    lane.reorder = rule
                case Duplicate():
                    lane.duplicate = rule
                case Unavailable():
                    lane.unavailable = rule
                case _:
                    raise AssertionError(f"{rule}: no kind of rule")
            lane.healthy = lane.healthy and isinstance(rule, Unavailable)


def _in_force(rule: Rule, now_ms: int) -> bool:
    return rule.until_ms is None or now_ms < rule.until_ms


def _check(rule: Rule) -> None:
    for name in ("ms", "late_ms", "told_ms"):
        match getattr(rule, name, None):
            case (low, high) if not 0 <= low <= high:
                raise ValueError(f"{name}=({low}, {high}): two numbers of milliseconds, the smaller one first")
            case _:
                pass
    probability = getattr(rule, "probability", 0.0)
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability of {probability}: it lies between 0 and 1")


def _row(src: Node, dst: Node, method: str, part: str, tally: _Tally) -> dict[str, int | str]:
    counted = {item.name: getattr(tally, item.name) for item in fields(tally)}
    return {"src": src, "dst": dst, "method": method, "part": part} | counted


def _draw(lane: _Lane, dice: Random) -> Fate:
    """Throw the dice for a message to which some rule applies."""
    tally = lane.tally
    if lane.cut:
        tally.cut += 1
        return _lost(lane.unavailable.told_ms if lane.unavailable else None, dice)
    if lane.drop and dice.random() < lane.drop.probability:
        tally.dropped += 1
        return _lost(lane.drop.told_ms, dice)
    delays = [_lateness(lane, dice)]
    if lane.duplicate and dice.random() < lane.duplicate.probability:
        tally.duplicated += 1
        delays.append(_lateness(lane, dice) + dice.randint(*lane.duplicate.late_ms))
    if lane.held:
        tally.held += 1
    elif delays == [0]:
        tally.untouched += 1
        return _INTACT
    return Fate(tuple(delays), held_until_healed=lane.held)


def _lateness(lane: _Lane, dice: Random) -> int:
    late_ms = 0
    if lane.delay:
        late_ms = dice.randint(*lane.delay.ms)
        lane.tally.delayed += late_ms > 0
    if lane.reorder and dice.random() < lane.reorder.probability:
        least, most = lane.reorder.late_ms
        by_ms = least + dice.randint(0, dice.randint(0, most - least))
        lane.tally.reordered += by_ms > 0
        late_ms += by_ms
    return late_ms


def _lost(told_ms: Range | None, dice: Random) -> Fate:
    return _LOST if told_ms is None else Fate((), told_after_ms=dice.randint(*told_ms))
