"""One fault after the other, several at a time: the loop that all kinds of chaos share.

Here:   `Disturbance`; `Begun`, a fault that has begun; `Kind`, what begins one; `Deck`.
Never:  what faults do (kinds.py, tests/netns/kinds.py), verdicts.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Generic, TypeAlias, TypeVar

from raft_actors.errors import FaultFailed, RaftActorsError
from tests.chaos.members import Members, NotNow

APART_S: Final = (3.0, 10.0)
"""From one fault's begin to the next one's."""
LASTS_S: Final = (2.0, 12.0)
LOOK_S: Final = 0.5
"""After a fault that had nobody to hit."""

S = TypeVar("S", bound=Members)


def _certainly() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a fault is until it ends."""

    bit: Callable[[], bool] = _certainly
    """Asked when all is over: whether it did anything. What raises where it does nothing has bitten when it began."""
    end: Callable[[], object] | None = None
    """None: it is over already."""
    hits: frozenset[int] = frozenset()
    """Members that no other fault of processes and disks may hit meanwhile, as nobody could say which one bit."""
    lasts_s: tuple[float, float] = LASTS_S


Kind: TypeAlias = Callable[[S], Begun]


def name_of(kind: Callable[..., Begun]) -> str:
    """As it stands in tables."""
    return kind.__name__.replace("_", " ")


class Deck(Generic[S]):
    """Kinds in an order that deals each as often as any other."""

    def __init__(self, kinds: Sequence[Kind[S]], dice: Random) -> None:
        self._kinds = kinds
        self._dice = dice
        self._cards: list[Kind[S]] = []

    def deal(self) -> Kind[S]:
        """The next one."""
        if not self._cards:
            self._cards = self._dice.sample(self._kinds, len(self._kinds))
        return self._cards.pop()

    def put_back(self, kind: Kind[S]) -> None:
        """It could not be played; it comes again soon."""
        self._cards.insert(self._dice.randint(0, len(self._cards)), kind)


@dataclass(order=True, slots=True)
class _Lasting:
    until_s: float
    name: str = field(compare=False)
    begun: Begun = field(compare=False)


class Disturbance(Generic[S]):
    """Of one segment."""

    def __init__(self, scene: S, kinds: Sequence[Kind[S]]) -> None:
        self._scene = scene
        self._deck = Deck(kinds, scene.dice)
        self._lasting: list[_Lasting] = []
        self._begun: list[tuple[str, Begun]] = []
        self.failures: list[str] = []
        """What could not be done."""

    def go_on_for(self, seconds: float) -> None:
        """Until then; all that lasts still is ended."""
        end_s = time.monotonic() + seconds
        next_s = time.monotonic() + self._scene.dice.uniform(*APART_S)
        while (now_s := time.monotonic()) < end_s:
            if self._lasting and self._lasting[0].until_s <= now_s:
                self._end(heapq.heappop(self._lasting))
            elif next_s <= now_s:
                next_s = now_s + self._scene.dice.uniform(*APART_S) if self._begin() else now_s + LOOK_S
            else:
                ends_s = self._lasting[0].until_s if self._lasting else end_s
                time.sleep(max(0.0, min(end_s, next_s, ends_s) - now_s))
        while self._lasting:
            self._end(heapq.heappop(self._lasting))

    def bitten(self) -> Counter[str]:
        """How often each kind did something."""
        return Counter(name for name, begun in self._begun if begun.bit())

    @property
    def count(self) -> int:
        """Of faults."""
        return len(self._begun)

    def _begin(self) -> bool:
        kind = self._deck.deal()
        try:
            begun = kind(self._scene)
        except NotNow:
            self._deck.put_back(kind)
            return False
        except RaftActorsError as failure:
            self.failures.append(f"{name_of(kind)}: {failure}")
            return True
        self._begun.append((name_of(kind), begun))
        self._scene.hit |= begun.hits
        if begun.end is not None:
            until_s = time.monotonic() + self._scene.dice.uniform(*begun.lasts_s)
            heapq.heappush(self._lasting, _Lasting(until_s, name_of(kind), begun))
        return True

    def _end(self, lasting: _Lasting) -> None:
        assert lasting.begun.end is not None, "only what ends lasts"
        try:
            lasting.begun.end()
        except FaultFailed as failure:
            self.failures.append(f"the end of {lasting.name}: {failure}")
        self._scene.hit -= lasting.begun.hits
