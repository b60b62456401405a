"""The one fault model: what becomes of a message on its way, decided from rules and from dice that the caller throws.

Here:   `Plan`: the words that add rules (cut, partition, isolate, drop, delay, reorder, duplicate, labrpc's profiles),
        which of them hold for a message, its fate, and counts of what was touched, per link and method.
Never:  what the rules are and for which messages (rules.py), carrying or holding a message, clocks, dice of its own,
        kills and pauses. Whoever carries messages does what the fate says: the simulated network, and the injector
        between real actors.

Which rule holds. A message is cut when any cut, isolation or partition cuts it; a cut that loses comes before one that
holds. Of the other kinds the newest rule that matches has the last word, kind by kind, and the kinds add up: delayed
by one rule, reordered by another. A cut comes before a drop, a drop before everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Final, Unpack

from raft_actors.faults.rules import (
    Cut,
    Delay,
    Drop,
    Duplicate,
    Fate,
    Isolate,
    Message,
    Node,
    Part,
    Partition,
    Range,
    Reorder,
    Rule,
    Unavailable,
    When,
    Where,
    check_rule,
)

RULES_MAX: Final = 256
"""A plan that grows for ever is a mistake of who plans: rules with the same scope replace each other."""

LINKS_MAX: Final = 4096
"""Rows of `counts()`. A run with more links and methods counts the later ones together."""

_FOR_EVER: Final = 1 << 62

_REQUEST, _REPLY = Part.REQUEST, Part.REPLY
_INTACT: Final = Fate((0,))
_LOST: Final = Fate(())


@dataclass(slots=True)
class _Tally:
    """What became of the messages of one link, method and part."""

    offered: int = 0
    size_bytes: int = 0
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

    def fate(self, message: Message, now_ms: int, dice: Random, size_bytes: int = 0) -> Fate:
        """Decide about one message. The same rules, messages and dice give the same fates; its size is counted."""
        lane = self._lanes.get(message)
        if lane is None:
            lane = self._new_lane(message)
        if now_ms >= lane.known_until_ms:
            self._look_through(lane, message, now_ms)
        lane.tally.offered += 1
        lane.tally.size_bytes += size_bytes
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
            check_rule(rule)
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
        counts all, `size_bytes` their bytes; each was `untouched`, or at least one of the others. `delayed` and
        `reordered` count copies."""
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
