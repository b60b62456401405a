"""Messages that are on their way: which go at once, which later, which wait for a heal, which never arrive.

Here:   `Transit`: the plan's fates turned into things to do at a time; messages that are held, one by one.
Never:  clocks and threads (wire.py tells the time and does what is due), what the rules are (rules.py, plan.py).

A message that is held waits where it is sent from. It goes when the plan does not hold it any more, or when somebody
lets this one go: so a test stops one reply, looks at what the group does without it, and then has it arrive.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from raft_actors.faults.plan import Plan
from raft_actors.faults.rules import UNTOLD_MS, Message, Rule

Do: TypeAlias = Callable[[], None]

UNDER_WAY_MAX: Final = 10_000
"""Messages late or held. Callers bound their calls far below; what comes beyond is lost, and told at once."""


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """One that waits, as whoever holds it sees it."""

    number: int
    message: Message
    since_ms: int


@dataclass(slots=True)
class _Held:
    seen: HeldMessage
    delays_ms: tuple[int, ...]
    arrive: Do
    lost: Do


class Transit:
    """What left one process. Not thread-safe."""

    def __init__(self, dice: Random) -> None:
        self.plan = Plan()
        self._dice = dice
        self._numbers = itertools.count(1)
        self._late: list[tuple[int, int, Do]] = []
        """A heap of when, a number that keeps equals in order, what to do then."""
        self._held: dict[int, _Held] = {}
        self._rule_ends_ms: int | None = None
        """When the next rule ends by itself."""

    def depart(self, message: Message, size_bytes: int, now_ms: int, arrive: Do, lost: Do) -> bool:
        """One leg of a call. True: it arrives now, and the caller sees to it. Otherwise `due` says what to do when:
        `arrive` once for each copy, or `lost`."""
        fate = self.plan.fate(message, now_ms, self._dice, size_bytes)
        if fate.held_until_healed or fate.delays_ms != (0,):
            if len(self._late) + len(self._held) >= UNDER_WAY_MAX:
                self._later(now_ms, lost)
            elif fate.held_until_healed:
                seen = HeldMessage(next(self._numbers), message, now_ms)
                self._held[seen.number] = _Held(seen, fate.delays_ms, arrive, lost)
            elif fate.delays_ms:
                for delay_ms in fate.delays_ms:
                    self._later(now_ms + delay_ms, arrive)
            else:
                told_ms = self._dice.randint(*UNTOLD_MS) if fate.told_after_ms is None else fate.told_after_ms
                self._later(now_ms + told_ms, lost)
            return False
        return True

    def obey(self, rules: Iterable[Rule], now_ms: int) -> None:
        """From now on these rules are in force; what they do not hold goes its way."""
        self.plan.obey(rules)
        self._let_go_free(now_ms)

    def let_go(self, number: int, now_ms: int) -> bool:
        """This one may arrive now. False: it does not wait here."""
        held = self._held.pop(number, None)
        if held is not None:
            for delay_ms in held.delays_ms:
                self._later(now_ms + delay_ms, held.arrive)
        return held is not None

    def lose(self, number: int, now_ms: int) -> bool:
        """This one never arrives, and its caller is told. False: it does not wait here."""
        held = self._held.pop(number, None)
        if held is not None:
            self._later(now_ms, held.lost)
        return held is not None

    def held(self) -> tuple[HeldMessage, ...]:
        """Those that wait, in the order in which they were sent."""
        return tuple(held.seen for held in self._held.values())

    def due(self, now_ms: int) -> list[Do]:
        """What is to be done by now, in order."""
        if self._rule_ends_ms is not None and self._rule_ends_ms <= now_ms:
            self._let_go_free(now_ms)
        found = []
        while self._late and self._late[0][0] <= now_ms:
            found.append(heapq.heappop(self._late)[2])
        return found

    @property
    def next_ms(self) -> int | None:
        """When something is due, or may be; None: nothing waits for a time."""
        times = [self._late[0][0]] if self._late else []
        if self._held and self._rule_ends_ms is not None:
            times.append(self._rule_ends_ms)
        return min(times, default=None)

    def _let_go_free(self, now_ms: int) -> None:
        """What no rule holds any more goes its way."""
        for number, held in list(self._held.items()):
            if not self.plan.holds(held.seen.message, now_ms):
                self.let_go(number, now_ms)
        ends = (rule.until_ms for rule in self.plan.rules if rule.until_ms is not None)
        self._rule_ends_ms = min((at_ms for at_ms in ends if at_ms > now_ms), default=None)

    def _later(self, at_ms: int, do: Do) -> None:
        heapq.heappush(self._late, (at_ms, next(self._numbers), do))
