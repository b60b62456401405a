"""The words of the fault model: a message on its way, what may become of it, and the rules that say so.

Here:   nodes, legs of a call, messages and fates; the kinds of rules, for which messages each is, whether it can be
        meant.
Never:  which of several rules holds, dice, what was touched (plan.py), carrying a message.

A call has two legs, each a message of its own with its own fate: the request, and the reply, whose `src` is who
answers. Rules speak of legs: `Cut(src=0, dst=1)` stops the requests of 0 to 1, and the replies of 0 to requests of 1.
A member is its number, its server `"s<number>"`, a client its label. They are places: a rule for member 2 is for its
server too, so `Isolate(node=2)` keeps clients away from it. What passes between a member and its own server never sees
the network: only a rule that names the server touches it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, TypedDict

Node: TypeAlias = int | str
"""A member's number, `"s0"` for the server of member 0, or a client's label."""

Range: TypeAlias = tuple[int, int]
"""Smallest and largest value, both possible."""

UNTOLD_MS: Final[Range] = (1000, 4000)
"""When a caller learns that there will be no answer where nothing tells him: his connection is given up."""


class Part(StrEnum):
    """Which leg of a call."""

    REQUEST = "request"
    REPLY = "reply"


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
    """When the caller of a lost message learns that there will be no answer; None: nothing tells him (UNTOLD_MS)."""


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
        return place_of(src) != place_of(dst) or _names_server(self.src, src) or _names_server(self.dst, dst)


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
        for wanted in (node, place_of(node)):
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


def check_rule(rule: Rule) -> None:
    """Raises `ValueError` for a rule that cannot be meant."""
    for name in ("ms", "late_ms", "told_ms"):
        match getattr(rule, name, None):
            case (low, high) if not 0 <= low <= high:
                raise ValueError(f"{name}=({low}, {high}): two numbers of milliseconds, the smaller one first")
            case _:
                pass
    probability = getattr(rule, "probability", 0.0)
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability of {probability}: it lies between 0 and 1")


def place_of(node: Node) -> Node:
    """Where a node is: a server is where its member is."""
    return int(node[1:]) if isinstance(node, str) and node[:1] == "s" and node[1:].isdecimal() else node


def _covers(named: Node | None, node: Node) -> bool:
    return named is None or named in (node, place_of(node))


def _names_server(named: Node | None, node: Node) -> bool:
    return named == node and isinstance(named, str)
