"""Faults of processes, disks and nodes: which process that is, whose hand does it, when it ends, whether it took.

Here:   `Deeds`, the injector's; `DEEDS`, what can be asked of it.
Never:  signals and files (hand.py), rules for messages (injector.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from time import monotonic_ns as now_ns
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError

from raft_actors.cluster.actors import find_actor
from raft_actors.cluster.nodes import on_node
from raft_actors.core.types import MemberId
from raft_actors.errors import FaultFailed, RaftActorsError
from raft_actors.faults.hand import RayHand
from raft_actors.faults.ledger import Fault, Ledger
from raft_actors.faults.rules import Node, place_of
from raft_actors.names import peer_name, server_name

ASK_S: Final = 3.0
"""How long an actor may take to say what its process is."""
HAND_S: Final = 30.0
"""How long what is done to processes and disks may take."""
END_S: Final = 5.0
"""The same in the end."""
DEEDS: Final = frozenset({"kill", "remove_actor", "restart", "last", "end_lasting", "wipe", "damage", "kill_node"})
LASTING: Final = {
    "pause": ("stop", "stop"),
    "slow": ("slow", "slow"),
    "fail_disk": ("disk", "fail_disk"),
    "fill_object_store": ("store", "fill_object_store"),
}
"""Kinds of faults that last: what they are about, and the hand's deed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """One of a member's two, on its machine."""

    pid: int
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lasting:
    """A fault that lasts, of some of a member's processes, by part."""

    fault: Fault
    processes: Mapping[str, _Process]
    until_ns: int


class Deeds:
    """Of one group, on one loop."""

    def __init__(self, group: str, data_dir: str | None, ledger: Ledger, dice: Random, *, spared_node_id: str) -> None:
        """`spared_node_id`: the node of Ray that is never killed."""
        self._group = group
        self._data_dir = data_dir
        self._ledger = ledger
        self._dice = dice
        self._spared_node_id = spared_node_id
        self._hands: dict[str, Any] = {}
        """By node of Ray."""
        self._lasting: dict[tuple[str, int], _Lasting] = {}
        """By what is done, as `Hand.end` calls it, and to whom."""
        self._down: dict[int, Fault] = {}
        """Members that are kept down."""
        self.killed: set[int] = set()
        """Pids of processes that were."""

    def stands_still(self, node: Node) -> bool:
        """Whether its peer was stopped, and neither resumed nor ended since."""
        lasting = self._lasting.get(("stop", node)) if isinstance(node, int) else None
        return lasting is not None and "peer" in lasting.processes and now_ns() < lasting.until_ns

    # -- ends of processes --------------------------------------------------------------------------------------------

    async def kill(self, node: Node, only: str | None, stay_down: bool) -> bool:
        """SIGKILL; see `Faults.kill`."""
        if stay_down and (only is not None or isinstance(node, str)):
            raise FaultFailed(f"only whole members can be kept down: kill({_member(node)}, stay_down=True)")
        processes = await self._processes(node, only)
        fault = self._begin("kill", node, {"only": only, "stay_down": stay_down})
        await self._do(fault, processes, "kill_and_lock" if stay_down else "kill", _member(node), ends=not stay_down)
        self._ended(node, processes)
        if stay_down:
            self._down[_member(node)] = fault
        return True

    async def remove_actor(self, node: Node, only: str | None) -> bool:
        """End its actors for good, so that the keeper has to make them anew."""
        processes = await self._processes(node, only)
        fault = self._begin("remove_actor", node, {"only": only})
        for name in self._names(node, only).values():
            if (actor := await asyncio.to_thread(find_actor, name)) is not None:
                ray.kill(actor, no_restart=True)
        fault.bit, fault.ended_ns = True, now_ns()
        with contextlib.suppress(FaultFailed):  # Ray may have been faster
            await self._ask(_machine(processes), "kill", _member(node), *_pids(processes))
        self._ended(node, processes)
        return True

    async def restart(self, node: Node) -> bool:
        """Let a member that is kept down run again."""
        found = await asyncio.gather(
            *(self._ask(node_id, "unlock", _member(node)) for node_id in list(self._hands)), return_exceptions=True
        )
        if (fault := self._down.pop(_member(node), None)) is not None:
            fault.ended_ns = now_ns()
        return True in found

    async def wipe(self, node: Node) -> bool:
        """Kill the member and empty its disk."""
        processes = await self._processes(node, None)
        fault = self._begin("wipe", node, {})
        await self._do(fault, processes, "wipe", _member(node))
        self._ended(node, processes)
        return True

    async def damage(self, node: Node, what: str) -> str:
        """Kill the member and flip a bit of its log or its newest snapshot; where."""
        processes = await self._processes(node, None)
        fault = self._begin("damage", node, {"what": what})
        seed = self._dice.getrandbits(64)
        where: str = await self._do(fault, processes, "damage", _member(node), what, seed)
        fault.params["where"] = where
        self._ended(node, processes)
        return where

    async def kill_node(self, node: Node) -> bool:
        """SIGKILL the raylet beside this member."""
        processes = await self._processes(node, None)
        if _machine(processes) == self._spared_node_id:
            raise FaultFailed(f"{node} is on the injector's own node, which is not killed: choose another one")
        await self._do(self._begin("kill_node", node, {}), processes, "kill_raylet", pids=False)
        return True

    def _ended(self, node: Node, processes: Mapping[str, _Process]) -> None:
        """These processes are gone, and with them what lasted of them."""
        self.killed |= set(_pids(processes))
        for (what, whose), lasting in list(self._lasting.items()):
            if whose == _member(node) and what != "store" and set(_pids(lasting.processes)) & self.killed:
                self._close(what, whose)

    # -- what lasts ---------------------------------------------------------------------------------------------------

    async def last(self, node: Node, kind: str, for_s: float, only: str | None, *arguments: Any) -> bool:
        """Begin a fault that lasts: pause, slow, fail_disk, fill_object_store."""
        what, deed = LASTING[kind]
        whose = _member(node)
        processes = await self._processes(node, "peer" if what == "disk" else only)
        if what == "store":
            arguments = (await asyncio.to_thread(_store_bytes, _machine(processes)),)
        for ended in {what, *(("stop", "slow") if what in ("stop", "slow") else ())}:
            self._close(ended, whose)
        fault = self._begin(kind, node, {"for_s": for_s, "only": only})
        until_ns = fault.began_ns + int(for_s * 1e9)
        self._lasting[what, whose] = _Lasting(fault=fault, processes=processes, until_ns=until_ns)
        try:
            await self._do(fault, processes, deed, whose, for_s, *arguments, ends=False, pids=what != "store")
        except BaseException:
            self._close(what, whose)
            raise
        return True

    async def end_lasting(self, node: Node, kind: str) -> bool:
        """End it; whether it lasted still."""
        what, whose = LASTING[kind][0], _member(node)
        lasting = self._lasting.get((what, whose))
        if lasting is None:
            return False
        still = bool(await self._ask(_machine(lasting.processes), "end", what, whose))
        self._close(what, whose)
        return still

    def expire(self) -> None:
        """Note the end of what lasted for its time."""
        for (what, whose), lasting in list(self._lasting.items()):
            if now_ns() >= lasting.until_ns:
                self._close(what, whose)

    def _close(self, what: str, whose: int) -> None:
        lasting = self._lasting.pop((what, whose), None)
        if lasting is not None:
            lasting.fault.ended_ns = min(now_ns(), lasting.until_ns)

    async def end_all(self) -> None:
        """End whatever lasts, on all machines at once; one that does not answer is not waited for long."""
        for what, whose in list(self._lasting):
            self._close(what, whose)
        for whose in list(self._down):
            self._down.pop(whose).ended_ns = now_ns()
        await asyncio.gather(
            *(self._ask(node_id, "let_go", within_s=END_S) for node_id in list(self._hands)), return_exceptions=True
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, kind: str, node: Node, params: Mapping[str, Any]) -> Fault:
        return self._ledger.begin(kind, str(node), params, now_ns())

    async def _do(
        self,
        fault: Fault,
        processes: Mapping[str, _Process],
        deed: str,
        *arguments: Any,
        ends: bool = True,
        pids: bool = True,
    ) -> Any:
        """Have the hand of their machine do it, and note whether it took. Raises `FaultFailed` where it did not."""
        fault.bit = False
        done = await self._ask(_machine(processes), deed, *arguments, *(_pids(processes) if pids else ()))
        fault.bit = bool(done)
        if ends:
            fault.ended_ns = now_ns()
        if not done:
            raise FaultFailed(f"{fault.kind} {fault.target}: nothing came of it")
        return done

    async def _ask(self, node_id: str, deed: str, *arguments: Any, within_s: float = HAND_S) -> Any:
        try:
            async with asyncio.timeout(within_s):
                return await getattr(self._hand(node_id), deed).remote(*arguments)
        except TimeoutError:
            raise FaultFailed(f"the machine did not do it within {within_s:.0f} s; it may yet happen") from None
        except ray.exceptions.RayTaskError as failure:
            if isinstance(failure.cause, RaftActorsError):
                raise failure.cause from None
            raise
        except RayError as failure:
            if isinstance(failure, ActorDiedError):  # else its handle keeps it alive, and what it holds
                self._hands.pop(node_id, None)
            raise FaultFailed(f"nobody there does it ({type(failure).__name__}): is that raylet gone?") from None

    def _hand(self, node_id: str) -> Any:
        """Of this node of Ray."""
        hand = self._hands.get(node_id)
        if hand is None:
            hand = RayHand.options(scheduling_strategy=on_node(node_id)).remote(self._group, self._data_dir)
            self._hands[node_id] = hand
        return hand

    def _names(self, node: Node, only: str | None) -> dict[str, str]:
        """The actors that are meant, by part, the peer first."""
        member_id = MemberId(_member(node))
        parts = [only] if only is not None else (["server"] if isinstance(node, str) else ["peer", "server"])
        naming = {"peer": peer_name, "server": server_name}
        return {part: naming[part](self._group, member_id) for part in parts}

    async def _processes(self, node: Node, only: str | None) -> dict[str, _Process]:
        """Those of a member, by part: as they say, or, where they stand still by our doing, as we know."""
        stopped = self._lasting.get(("stop", _member(node)))
        known = stopped.processes if stopped is not None and now_ns() < stopped.until_ns else {}
        found = {}
        for part, name in self._names(node, only).items():
            if part in known:
                found[part] = known[part]
                continue
            actor = await asyncio.to_thread(find_actor, name)
            try:
                async with asyncio.timeout(ASK_S):
                    said = None if actor is None else await actor.status.remote()
            except (RayError, TimeoutError):
                said = None
            if said is None:
                raise FaultFailed(f"{name} does not answer: nothing was done to {node}")
            found[part] = _Process(pid=said["pid"], node_id=said["node_id"])
        return found


def _machine(processes: Mapping[str, _Process]) -> str:
    return next(iter(processes.values())).node_id


def _pids(processes: Mapping[str, _Process]) -> tuple[int, ...]:
    return tuple(process.pid for process in processes.values())


def _store_bytes(node_id: str) -> int:
    """Size of this node's object store."""
    found = [row["Resources"] for row in ray.nodes() if row["NodeID"] == node_id]
    return int(found[0].get("object_store_memory", 0)) if found else 0


def _member(node: Node) -> int:
    """Whose number it is. Raises `FaultFailed` for a client."""
    number = place_of(node)
    if not isinstance(number, int):
        raise FaultFailed(f"{node!r} is no member and no server: clients are processes of their users")
    return number
