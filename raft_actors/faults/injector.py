"""The fault injector of a group: an actor that holds the plan, and has everybody obey it.

Here:   `FaultInjector`: rules in and out, who obeys them, messages that are held, the ledger.
Never:  what a rule does (rules.py, plan.py), how calls travel (wire.py), what is done to processes (deeds.py), what a
        test or a person calls (control.py).

A word returns when all who are awake obey it: what is sent from then on meets the new rules. Who is awake, they say
themselves by asking for orders again and again; who stopped asking is dead or stopped, and gets its orders before its
first message when it begins anew (follower.py), late when it is resumed (so `resume` waits for it).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic_ns as now_ns
from typing import Any, Final

import ray

from raft_actors.client.operation import Kind
from raft_actors.cluster.actors import find_actor
from raft_actors.cluster.recorder import find_recorder
from raft_actors.core.types import MemberId
from raft_actors.errors import FaultFailed
from raft_actors.faults.deeds import DEEDS, Deeds
from raft_actors.faults.followers import TICK_S, Followers
from raft_actors.faults.ledger import Ledger, Totals
from raft_actors.faults.orders import Orders, Report
from raft_actors.faults.plan import Plan
from raft_actors.faults.rules import Isolate, Message, Node, Partition, Rule, place_of
from raft_actors.names import NAMESPACE, faults_name, peer_name
from raft_actors.peer.perform import METHODS as RPCS
from raft_actors.process import log_to_stderr, prefer_this_process

NEWS_S: Final = 0.25
"""A question for orders is answered after that at the latest."""
WORDS: Final = frozenset(
    {
        *("partition", "isolate", "cut", "drop", "delay", "reorder", "duplicate"),
        *("unreliable", "long_reordering", "long_delays"),
    }
)
"""Of `Plan`, that add rules."""
METHODS: Final = frozenset(
    {*RPCS.values(), "read_snapshot", "hello", "join", "report_chains", *(kind.method for kind in Kind)}
)
"""What members ask of each other, and clients of servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """One leg of a call that waits, until the heal or until it is let go or lost."""

    process: str
    number: int
    message: Message
    since_ms: int


class FaultInjector:
    """Of one group. All methods are coroutines on one loop."""

    def __init__(self, group: str, data_dir: str | None, seed: int, node_id: str) -> None:
        """`node_id`: of Ray, where the injector is; that node is never killed."""
        prefer_this_process()
        log_to_stderr()
        self._group = group
        self._seed = seed
        self._plan = Plan()
        self._version = 1
        self._changed = asyncio.Condition()
        self._totals = Totals()
        self._ledger = Ledger()
        self._deeds = Deeds(group, data_dir, self._ledger, Random(seed), spared_node_id=node_id)
        self._followers = Followers(self._deeds.stands_still)
        self._ticking: asyncio.Task[None] | None = None
        self._written = 0

    # -- those who follow ---------------------------------------------------------------------------------------------

    async def follow(self, report: Report) -> Orders:
        """A process says how things are, and is told what to obey: when there is news, else after a while."""
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick_for_ever())
        self._totals.take(report)
        follower = self._followers.take(report)
        if report.version == self._version:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NEWS_S), self._changed:
                    await self._changed.wait_for(lambda: self._version != report.version)
        return Orders(
            version=self._version,
            seed=f"{self._seed}/{report.node}",
            rules=self._plan.rules,
            let_go=frozenset(follower.let_go),
            lose=frozenset(follower.lose),
        )

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._followers.tick()

    async def leave(self, process: str) -> None:
        """It follows no more; what it counted stays."""
        self._followers.forget(process)

    async def followers(self) -> tuple[Node, ...]:
        """Who obeys now."""
        return tuple(follower.report.node for follower in self._followers.awake())

    async def _tell(self) -> None:
        """Have everybody who is awake obey what stands now, and hear from all of them."""
        async with self._changed:
            self._version += 1
            version = self._version
            self._changed.notify_all()
        while any(follower.report.version < version for follower in self._followers.awake()):
            await asyncio.sleep(0.002)

    # -- rules --------------------------------------------------------------------------------------------------------

    async def say(self, word: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> str | None:
        """Add rules by a word of `Plan`; the fault's id, None where the word took rules back."""
        if word not in WORDS:
            raise FaultFailed(f"{word!r} is no word of the plan")
        shown = {name: str(value) for name, value in options.items() if value is not None}
        if arguments:
            shown["arguments"] = ", ".join(map(str, arguments))
        return await self._change(word, shown, lambda: getattr(self._plan, word)(*arguments, **options))

    async def obey(self, rules: Sequence[Rule]) -> str | None:
        """Exactly these rules; the fault's id, None where there are none."""

        def change() -> tuple[Rule, ...]:
            self._plan.obey(rules)
            return tuple(rules)

        return await self._change("rules", {"count": len(rules)}, change, instead=True)

    async def _change(
        self,
        kind: str,
        shown: Mapping[str, object],
        change: Callable[[], tuple[Rule, ...]],
        *,
        instead: bool = False,
    ) -> str | None:
        """`instead`: these rules are all that there are, and the faults before have ended."""
        await self._tell()  # counts up to here are no doing of the new rules
        before, rules_before = self._totals.counts(), self._plan.rules
        rules = change()
        try:
            await self._check(rules)
            if instead:
                self._ledger.look((), before, now_ns())
            fault = None
            if rules:
                fault = self._ledger.begin(kind, _scope(rules), shown, now_ns(), rules=rules, counts=before)
        except BaseException:
            self._plan.obey(rules_before)
            raise
        await self._settle()
        return None if fault is None else fault.fault_id

    async def _check(self, rules: Sequence[Rule]) -> None:
        """Raises `FaultFailed` for rules that are for nobody."""
        for rule in rules:
            if rule.until_ms is not None:
                raise FaultFailed("until_ms is of a clock that processes do not share: remove the fault, or heal")
            if rule.method is not None and rule.method not in METHODS:
                raise FaultFailed(f"nobody calls {rule.method!r}: methods are {', '.join(sorted(METHODS))}")
            for node in _nodes(rule):
                if not await self._may_be(node):
                    raise FaultFailed(f"there is no {node!r} in group {self._group!r}: nothing was changed")

    async def _may_be(self, node: Node) -> bool:
        """Whether it is a member, a server, or a client, which may come later."""
        number = place_of(node)
        if not isinstance(number, int) or number in self._followers.ever:
            return True
        return await asyncio.to_thread(find_actor, peer_name(self._group, MemberId(number))) is not None

    async def heal(self) -> None:
        """No rule is left; what was held goes."""
        self._plan.heal()
        await self._settle()

    async def remove(self, fault_id: str) -> None:
        """Take back the rules of this fault."""
        found = [fault for fault in self._ledger.faults if fault.fault_id == fault_id]
        if not found:
            raise FaultFailed(f"there was no fault {fault_id!r}: nothing was taken back")
        self._plan.remove(*found[0].rules)
        await self._settle()

    async def _settle(self) -> None:
        await self._tell()
        self._look()

    def _look(self) -> None:
        self._deeds.expire()
        self._ledger.look(self._plan.rules, self._totals.counts(), now_ns())

    # -- messages, one by one -----------------------------------------------------------------------------------------

    async def held(self) -> list[HeldCall]:
        """All that wait now, the oldest first."""
        await self._tell()
        found = [
            HeldCall(process=follower.report.process, number=each.number, message=each.message, since_ms=each.since_ms)
            for follower in self._followers.there()
            for each in follower.report.held
        ]
        return sorted(found, key=lambda each: (each.since_ms, each.number))

    async def end_held(self, calls: Sequence[HeldCall], arrive: bool) -> None:
        """Let these arrive, or lose them."""
        for call in calls:
            follower = self._followers.of(call.process)
            if follower is None:
                raise FaultFailed(f"{call.message} does not wait any more: the process that held it is gone")
            (follower.let_go if arrive else follower.lose).add(call.number)
        await self._tell()

    async def counts(self) -> list[dict[str, int | str]]:
        """Per link, method and part, as `Plan.counts`: what became of all messages until now."""
        await self._tell()
        return self._totals.rows()

    # -- processes, disks, nodes --------------------------------------------------------------------------------------

    async def do(self, deed: str, node: Node, *arguments: Any) -> Any:
        """One of `DEEDS`, to this node."""
        if deed not in DEEDS:
            raise FaultFailed(f"{deed!r} is nothing that can be done to {node}")
        try:
            done = await getattr(self._deeds, deed)(node, *arguments)
        finally:
            self._followers.forget_pids(self._deeds.killed)
        if deed == "end_lasting" and done:
            self._followers.resumed(node)
            await self._tell()
        return done

    # -- the run ------------------------------------------------------------------------------------------------------

    async def faults(self) -> list[dict[str, object]]:
        """All faults until now, as rows of the run's frame."""
        await self._settle()
        return self._ledger.rows()

    async def toothless(self) -> list[dict[str, object]]:
        """Those that did not bite."""
        await self._settle()
        return [fault.row() for fault in self._ledger.toothless()]

    async def close(self) -> list[dict[str, object]]:
        """End every fault, write all into the group's run if there is one; the rows."""
        self._plan.heal()
        await asyncio.gather(self._deeds.end_all(), self._settle())
        rows = self._ledger.rows()
        recorder = await asyncio.to_thread(find_recorder, self._group)
        if recorder is not None:
            for row in rows[self._written :]:
                recorder.record("faults", _in_run(row, recorder.now_ns() - now_ns()))
            self._written = len(rows)
            await asyncio.to_thread(recorder.flush)
        return rows


def _in_run(row: Mapping[str, object], offset_ns: int) -> dict[str, object]:
    """With the run's times."""
    times = {name: row[name] for name in ("t_start", "t_end")}
    moved = {name: None if at is None else int(str(at)) + offset_ns for name, at in times.items()}
    return {**row, **moved}


def _nodes(rule: Rule) -> set[Node]:
    """Whom it names."""
    named = {rule.src, rule.dst, rule.node if isinstance(rule, Isolate) else None}
    if isinstance(rule, Partition):
        named |= {node for side in rule.sides for node in side}
    return {node for node in named if node is not None}


def _scope(rules: Sequence[Rule]) -> str:
    """The links of these rules, for a table."""
    first = rules[0]
    if isinstance(first, Partition):
        return "|".join(",".join(map(str, side)) for side in first.sides)
    row = first.row()
    return str(row["node"]) if "node" in row else f"{row.get('src', '*')}->{row.get('dst', '*')}"


RayFaultInjector: Any = ray.remote(FaultInjector)


def injector_actor_options(group: str) -> dict[str, Any]:
    """Options of the injector actor, each with its reason."""
    return {
        "name": faults_name(group),
        "namespace": NAMESPACE,
        "lifetime": "detached",  # a driver that ends must not end a partition that another one watches
        "max_restarts": 0,  # a second life would know nothing of the first one's faults
        "max_concurrency": 1000,  # everybody waits for news here
        "num_cpus": 0,
        "enable_task_events": False,
    }
