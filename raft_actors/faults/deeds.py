"""Faults of processes, disks and nodes: which process that is, whose hand does it, when it ends, whether it took.

Here:   `Deeds`, the injector's; `DEEDS`, what can be asked of it.
Never:  signals and files (hand.py), rules for messages (injector.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic_ns as now_ns
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raft_actors.core.types import MemberId
from raft_actors.errors import FaultFailed, RaftActorsError
from raft_actors.faults.hand import RayHand
from raft_actors.faults.ledger import Fault, Ledger
from raft_actors.faults.rules import Node
from raft_actors.names import NAMESPACE, peer_name, server_name

ASK_S: Final = 3.0
"""How long an actor may take to say what its process is."""
HAND_S: Final = 30.0
"""How long what is done to processes and disks may take."""
DEEDS: Final = frozenset(
    {
        *("kill", "remove_actor", "restart", "pause", "resume", "last", "end_lasting", "wipe", "damage", "kill_node"),
    }
)


ENDING: Final = frozenset({"kill", "remove_actor", "wipe", "damage"})
"""Those after which the member's processes are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """One of a member's two, on its machine."""

    pid: int
    node_id: str


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
        self._stopped: dict[Node, tuple[Fault, list[_Process], float]] = {}
        """Nodes that stand still: by what, which processes, until when at most."""
        self._lasting: dict[tuple[str, Node], tuple[Fault, _Process]] = {}
        """Other faults that last, by kind and node."""

    def stands_still(self, node: Node) -> bool:
        """Whether it was stopped, and not resumed."""
        return node in self._stopped and time.monotonic() < self._stopped[node][2]

    async def kill(self, node: Node, only: str | None, stay_down: bool) -> bool:
        """SIGKILL; see `Faults.kill`."""
        processes = await self._processes(node, only)
        fault = self._begin("kill", node, {"only": only, "stay_down": stay_down})
        if stay_down:
            return await self._did(fault, processes, "kill_and_lock", _member(node), *(each.pid for each in processes))
        return await self._did(fault, processes, "kill", *(each.pid for each in processes))

    async def remove_actor(self, node: Node, only: str | None) -> bool:
        """End its actors for good, so that the keeper has to make them anew."""
        processes = await self._processes(node, only)
        fault = self._begin("remove_actor", node, {"only": only})
        for name in self._names(node, only):
            ray.kill(await asyncio.to_thread(ray.get_actor, name, NAMESPACE), no_restart=True)
        return await self._did(fault, processes, "kill", *(each.pid for each in processes), gone_is_well=True)

    async def restart(self, node: Node) -> bool:
        """Let a member that is kept down run again."""
        done = [await self._ask(node_id, "unlock", _member(node)) for node_id in list(self._hands)]
        for fault in self._ledger.faults:
            if fault.kind == "kill" and fault.target == str(node) and fault.params["stay_down"]:
                fault.ended_ns = fault.ended_ns or now_ns()
        return any(done)

    async def pause(self, node: Node, only: str | None, for_s: float) -> bool:
        """SIGSTOP."""
        processes = await self._processes(node, only)
        fault = self._begin("pause", node, {"only": only, "for_s": for_s})
        self._stopped[node] = (fault, processes, time.monotonic() + for_s)
        try:
            return await self._did(fault, processes, "stop", for_s, *(each.pid for each in processes), ends=False)
        except BaseException:
            del self._stopped[node]
            raise

    async def resume(self, node: Node) -> bool:
        """SIGCONT; returns when it obeys again."""
        if node not in self._stopped:
            return False
        fault, processes, _ = self._stopped[node]
        pids = [each.pid for each in processes]
        woken = bool(await self._ask(processes[0].node_id, "resume", *pids))
        del self._stopped[node]
        fault.ended_ns = now_ns()
        return woken

    async def last(self, node: Node, kind: str, params: Mapping[str, Any]) -> bool:
        """Begin a fault that lasts until `end_lasting`: slow, fail_disk, fill_object_store."""
        await self.end_lasting(node, kind)
        processes = await self._processes(node, "peer" if kind == "fail_disk" else params.get("only"))
        fault = self._begin(kind, node, params)
        first = processes[0]
        arguments: tuple[Any, ...] = {
            "slow": (params.get("stop_ms"), params.get("run_ms"), *(each.pid for each in processes)),
            "fail_disk": (first.pid,),
            "fill_object_store": (),
        }[kind]
        self._lasting[kind, node] = (fault, first)
        return await self._did(fault, processes, kind, params["for_s"], *arguments, ends=False)

    async def end_lasting(self, node: Node, kind: str) -> bool:
        """End it; whether it lasted still."""
        if (kind, node) not in self._lasting:
            return False
        fault, process = self._lasting.pop((kind, node))
        fault.ended_ns = now_ns()
        deed, *whose = {
            "slow": ("hasten", process.pid),
            "fail_disk": ("mend_disk", process.pid),
            "fill_object_store": ("free_object_store",),
        }[kind]
        return bool(await self._ask(process.node_id, str(deed), *whose))

    async def wipe(self, node: Node) -> bool:
        """Kill the member and empty its disk."""
        processes = await self._processes(node, None)
        fault = self._begin("wipe", node, {})
        return await self._did(fault, processes, "wipe", _member(node), *(each.pid for each in processes))

    async def damage(self, node: Node, what: str) -> str:
        """Kill the member and flip a bit of its log or its newest snapshot; where."""
        processes = await self._processes(node, None)
        fault = self._begin("damage", node, {"what": what})
        pids = [each.pid for each in processes]
        where: str = await self._do(fault, processes, "damage", _member(node), what, self._dice.getrandbits(64), *pids)
        fault.params["where"] = where
        return where

    async def kill_node(self, node: Node) -> bool:
        """SIGKILL the raylet beside this member."""
        processes = await self._processes(node, None)
        fault = self._begin("kill_node", node, {})
        if processes[0].node_id == self._spared_node_id:
            raise FaultFailed(f"{node} is on the injector's own node, which is not killed: choose another one")
        return await self._did(fault, processes, "kill_raylet")

    async def end_all(self) -> None:
        """End whatever lasts."""
        for node in list(self._stopped):
            with contextlib.suppress(RaftActorsError, RayError):
                await self.resume(node)
        for kind, node in list(self._lasting):
            with contextlib.suppress(RaftActorsError, RayError):
                await self.end_lasting(node, kind)
        for node_id in list(self._hands):
            with contextlib.suppress(RaftActorsError, RayError):
                await self._ask(node_id, "let_go")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, kind: str, node: Node, params: Mapping[str, Any]) -> Fault:
        return self._ledger.begin(kind, str(node), params, now_ns())

    async def _did(self, fault: Fault, processes: Sequence[_Process], deed: str, *arguments: Any, **how: bool) -> bool:
        return bool(await self._do(fault, processes, deed, *arguments, **how))

    async def _do(
        self,
        fault: Fault,
        processes: Sequence[_Process],
        deed: str,
        *arguments: Any,
        ends: bool = True,
        gone_is_well: bool = False,
    ) -> Any:
        """Have the hand of their machine do it, and note whether it took."""
        fault.bit = False
        try:
            done = await self._ask(processes[0].node_id, deed, *arguments)
        except FaultFailed:
            done = gone_is_well
            if not gone_is_well:
                raise
        fault.bit = bool(done)
        if ends:
            fault.ended_ns = now_ns()
        return done

    async def _ask(self, node_id: str, deed: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(HAND_S):
                return await getattr(self._hand(node_id), deed).remote(*arguments)
        except TimeoutError:
            raise FaultFailed(f"the machine did not do it within {HAND_S:.0f} s; it may yet happen") from None
        except ray.exceptions.RayTaskError as failure:
            if isinstance(failure.cause, RaftActorsError):
                raise failure.cause from None
            raise
        except RayError as failure:
            self._hands.pop(node_id, None)
            raise FaultFailed(
                f"nobody on that machine does it ({type(failure).__name__}): is its raylet gone?"
            ) from None

    def _hand(self, node_id: str) -> Any:
        """Of this node of Ray."""
        hand = self._hands.get(node_id)
        if hand is None:
            there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
            hand = RayHand.options(scheduling_strategy=there).remote(self._group, self._data_dir)
            self._hands[node_id] = hand
        return hand

    def _names(self, node: Node, only: str | None) -> list[str]:
        member_id = MemberId(_member(node))
        parts = [only] if only is not None else (["server"] if isinstance(node, str) else ["peer", "server"])
        naming = {"peer": peer_name, "server": server_name}
        return [naming[part](self._group, member_id) for part in parts]

    async def _processes(self, node: Node, only: str | None) -> list[_Process]:
        """Those of a member, the peer first: as they say, or, where they stand still by our doing, as we know."""
        if self.stands_still(node):
            return self._stopped[node][1]
        found = []
        for name in self._names(node, only):
            try:
                actor = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
                async with asyncio.timeout(ASK_S):
                    said = await actor.status.remote()
            except (ValueError, RayError, TimeoutError):
                raise FaultFailed(f"{name} does not answer: nothing was done to {node}") from None
            found.append(_Process(pid=said["pid"], node_id=said["node_id"]))
        return found


def _member(node: Node) -> int:
    """Whose number it is. Raises `FaultFailed` for a client: its processes are its user's."""
    if isinstance(node, int):
        return node
    if node[:1] == "s" and node[1:].isdecimal():
        return int(node[1:])
    raise FaultFailed(f"{node!r} is no member and no server: clients are processes of their users")
