"""Faults at will, from any driver: `raft_actors.faults.connect(name)`.

Here:   `Faults`, `connect`.
Never:  how they are done (injector.py, hand.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, Unpack

import ray
from ray.exceptions import RayError

from raft_actors.cluster.actors import find_actor
from raft_actors.cluster.lifecycle import group_options, member_rows
from raft_actors.cluster.nodes import pin_here
from raft_actors.errors import FaultFailed, FaultsDidNotBite, FaultsNotEnabled, RaftActorsError
from raft_actors.faults.deeds import HAND_S
from raft_actors.faults.follower import LOOK_S
from raft_actors.faults.injector import HeldCall, RayFaultInjector, injector_actor_options
from raft_actors.faults.rules import Node, Part, Range, Rule, Where
from raft_actors.names import check_group, faults_name
from raft_actors.peer.standing import PeerState

Only: TypeAlias = Literal["peer", "server"]
"""One of a member's two processes."""

TALK_S: Final = 15.0
"""How long the injector may take to have everybody obey."""
FOR_S: Final = 60.0
"""A fault of a process ends by itself after so long, unless it is told otherwise."""
POLL_S: Final = 0.02


class Faults:
    """The fault injector of one group. Every word returns when all processes that are awake obey it.

    A member is its number, its server `"s0"`, a client its label (`kv.connect(..., label="c1")`). Words that add rules
    return the fault's id, for `remove`. A word takes the place of an earlier one with the same scope.
    """

    def __init__(self, group: str, injector: Any) -> None:
        self.group = group
        self._injector = injector

    def __repr__(self) -> str:
        return f"Faults({self.group!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- the network --------------------------------------------------------------------------------------------------

    def partition(self, *sides: Sequence[Node], held: bool = False, method: str | None = None) -> str:
        """Nothing passes between the sides, e.g. `partition([0, 1, "c1"], [2, "c2"])`; who is on none reaches all.

        held: messages wait for the heal, as Ray's calls do, rather than being lost.
        """
        return self._say("partition", *sides, held=held, method=method)

    def isolate(self, node: Node, *, held: bool = False, method: str | None = None) -> str:
        """Nothing passes between this node and all others."""
        return self._say("isolate", node, held=held, method=method)

    def cut(
        self,
        src: Node | None,
        dst: Node | None,
        *,
        part: Part | None = None,
        held: bool = False,
        method: str | None = None,
    ) -> str:
        """Nothing passes in this direction; None: from, or to, everybody. Only this method and leg, if they are named.

        With `held` single messages can be looked at (`held`), let go and lost.
        """
        return self._say("cut", src, dst, part=part, held=held, method=method)

    def drop(self, *, request: float | None = None, reply: float | None = None, **where: Unpack[Where]) -> str:
        """Lose this share of the requests, and of the replies."""
        return self._say("drop", request=request, reply=reply, **where)

    def delay(self, ms: Range, *, part: Part | None = None, **where: Unpack[Where]) -> str:
        """Make each message late by between the two, in milliseconds."""
        return self._say("delay", ms, part=part, **where)

    def reorder(
        self, probability: float, *, late_ms: Range = (1, 100), part: Part | None = None, **where: Unpack[Where]
    ) -> str:
        """Make this share of the messages late, so that later ones overtake them."""
        return self._say("reorder", probability, late_ms=late_ms, part=part, **where)

    def duplicate(
        self, probability: float, *, late_ms: Range = (0, 0), part: Part | None = None, **where: Unpack[Where]
    ) -> str:
        """Have this share of the messages arrive twice."""
        return self._say("duplicate", probability, late_ms=late_ms, part=part, **where)

    def unreliable(self, on: bool = True) -> str | None:
        """The unreliable network of MIT's labs: requests late by up to 26 ms, one leg in ten lost."""
        return self._profile("unreliable", on)

    def long_reordering(self, on: bool = True) -> str | None:
        """Two replies in three late by 200 to 2,199 ms."""
        return self._profile("long_reordering", on)

    def long_delays(self, on: bool = True) -> str | None:
        """Calls over a cut link fail after up to 7 s; switched off, after up to 0.1 s."""
        return self._profile("long_delays", on)

    def obey(self, *rules: Rule) -> str | None:
        """Exactly these rules (raft_actors.faults.rules) are in force now; the id of the one fault that they are."""
        fault: str | None = self._ask("obey", rules)
        return fault

    def remove(self, fault: str | None) -> None:
        """Take back this fault's rules."""
        if fault is not None:  # as of a profile that was switched off
            self._ask("remove", fault)

    def heal(self) -> None:
        """The network is whole again, and what was held goes."""
        self._ask("heal")

    def counts(self) -> list[dict[str, Any]]:
        """Rows per link, method and leg: how many messages, how many bytes, what became of them."""
        return list(self._ask("counts"))

    # -- single messages ----------------------------------------------------------------------------------------------

    def held(self, *, src: Node | None = None, dst: Node | None = None, method: str | None = None) -> list[HeldCall]:
        """Messages that wait at a link that is cut with `held`, the oldest first."""
        return [
            each
            for each in self._ask("held")
            if src in (None, each.message.src)
            and dst in (None, each.message.dst)
            and method in (None, each.message.method)
        ]

    def wait_for_held(
        self,
        count: int = 1,
        *,
        src: Node | None = None,
        dst: Node | None = None,
        method: str | None = None,
        timeout_s: float = 10.0,
    ) -> list[HeldCall]:
        """The same, when there are so many. Raises `FaultFailed` if that does not happen in time."""
        deadline_s = time.monotonic() + timeout_s
        while len(found := self.held(src=src, dst=dst, method=method)) < count:
            if time.monotonic() > deadline_s:
                raise FaultFailed(
                    f"{len(found)} of {count} messages wait after {timeout_s:g} s; is the link cut with held=True, and "
                    "does anybody call over it?"
                )
            time.sleep(POLL_S)
        return found

    def let_go(self, *calls: HeldCall) -> None:
        """These may arrive now, though the link stays cut."""
        self._ask("end_held", calls, True)

    def lose(self, *calls: HeldCall) -> None:
        """These never arrive."""
        self._ask("end_held", calls, False)

    # -- processes, disks, nodes --------------------------------------------------------------------------------------

    def kill(self, *nodes: Node, only: Only | None = None, stay_down: bool = False) -> None:
        """SIGKILL members' processes, or one of the two of each, or servers ("s0"), all at once. Ray starts them again.

        stay_down: the members do not run before `restart`: processes are started, and wait for their data directory.
        """
        self._do_all("kill", nodes, only, stay_down)

    def remove_actor(self, node: Node, *, only: Only | None = None) -> None:
        """End a member's actors for good, as Ray does with those that it gives up; the keeper makes them anew."""
        self._do("remove_actor", node, only)

    def restart(self, *nodes: Node) -> None:
        """Let members that are kept down run again."""
        self._do_all("restart", nodes)

    def pause(self, node: Node, *, only: Only | None = None, for_s: float = FOR_S) -> None:
        """SIGSTOP, until `resume`, or for so long."""
        self._do("last", node, "pause", for_s, only)

    def resume(self, node: Node) -> bool:
        """SIGCONT; whether it stood still."""
        return bool(self._do("end_lasting", node, "pause"))

    def slow(
        self, node: Node, *, stop_ms: int = 50, run_ms: int = 50, only: Only | None = None, for_s: float = FOR_S
    ) -> None:
        """A machine that is too busy: its processes stand still in turn, until `hasten`, or for so long."""
        self._do("last", node, "slow", for_s, only, stop_ms, run_ms)

    def hasten(self, node: Node) -> bool:
        """End it; whether it lasted still."""
        return bool(self._do("end_lasting", node, "slow"))

    def fail_disk(self, node: Node, *, for_s: float = FOR_S) -> None:
        """Every write of the peer's process to a file fails, until `mend_disk`, for so long, or until it ended."""
        self._do("last", node, "fail_disk", for_s, None)

    def mend_disk(self, node: Node) -> bool:
        """End it; whether it lasted still."""
        return bool(self._do("end_lasting", node, "fail_disk"))

    def fill_object_store(self, node: Node, *, for_s: float = FOR_S) -> None:
        """Take and hold the object store of the member's node, until `free_object_store`, or for so long.

        What others put there waits, and then goes to the file system: Ray refuses nothing.
        """
        self._do("last", node, "fill_object_store", for_s, None)

    def free_object_store(self, node: Node) -> bool:
        """End it; whether it lasted still."""
        return bool(self._do("end_lasting", node, "fill_object_store"))

    def wipe(self, node: Node) -> None:
        """Kill a member and empty its disk. What Ray starts anew counts nowhere until somebody replaces the member."""
        self._do("wipe", node)

    def damage(self, node: Node, what: Literal["log", "snapshot"] = "log") -> str:
        """Kill a member and flip a bit in the first half of one of its files; which, and where."""
        return str(self._do("damage", node, what))

    def kill_node(self, node: Node) -> None:
        """SIGKILL the raylet on the member's node, and with it, a little later, all that runs there."""
        self._do("kill_node", node)

    # -- the run ------------------------------------------------------------------------------------------------------

    def faults(self) -> list[dict[str, Any]]:
        """All faults until now, as rows of a run's frame `faults`; `params["bit"]` says whether one did anything."""
        return list(self._ask("faults"))

    def check(self) -> None:
        """Raises `FaultsDidNotBite` if one certainly did nothing: what ran meanwhile shows nothing then."""
        toothless = self._ask("toothless")
        if toothless:
            said = "; ".join(f"{row['fault_id']} {row['kind']} {row['target']}" for row in toothless)
            raise FaultsDidNotBite(f"{said}: nothing was touched, the run is void", faults=toothless)

    def followers(self) -> list[Node]:
        """Who obeys now: members, and clients that are connected."""
        return list(self._ask("followers"))

    def close(self) -> None:
        """End every fault, and write all of them into the run if the group records one."""
        self._ask("close")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _say(self, word: str, *arguments: Any, **options: Any) -> str:
        fault = self._ask("say", word, arguments, {name: at for name, at in options.items() if at is not None})
        if fault is None:
            raise FaultFailed(f"{word} adds no rule like this: say what is to be lost, and how much of it")
        return str(fault)

    def _profile(self, name: str, on: bool) -> str | None:
        fault: str | None = self._ask("say", name, (on,), {})
        return fault

    def _do_all(self, deed: str, nodes: Sequence[Node], *arguments: Any) -> None:
        begun = [self._injector.do.remote(deed, node, *arguments) for node in nodes]
        for ref in begun:
            self._answer(ref)

    def _do(self, deed: str, node: Node, *arguments: Any) -> Any:
        return self._ask("do", deed, node, *arguments)

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self._answer(getattr(self._injector, method).remote(*arguments))

    def _answer(self, ref: Any) -> Any:
        try:
            return ray.get(ref, timeout=TALK_S + HAND_S)
        except ray.exceptions.RayTaskError as failure:
            if isinstance(failure.cause, RaftActorsError | ValueError):
                raise failure.cause from None
            raise
        except RayError as failure:
            raise FaultFailed(
                f"the fault injector of group {self.group!r} does not answer ({type(failure).__name__}): connect again"
            ) from failure


def connect(name: str = "default", *, seed: int = 0, timeout_s: float = 10.0) -> Faults:
    """The fault injector of a group that was started with `faults=True`; made when nobody has asked for it yet.

    seed: of all its dice, for who makes it. Returns when every member that has an actor obeys it. Raises
    `FaultsNotEnabled`, `UnknownGroup`, `RayNotInitialised`, `FaultFailed`.
    """
    check_group(name)
    deadline_s = time.monotonic() + timeout_s
    options = group_options(name, timeout_s)
    if not options:
        raise FaultFailed(f"the keeper of group {name!r} does not answer within {timeout_s:g} s: try again")
    if not options["faults"]:
        raise FaultsNotEnabled(
            f"group {name!r} was started without faults=True, and has no door for them: start another group with it"
        )
    here = ray.get_runtime_context().get_node_id()
    actor_class = RayFaultInjector.options(**injector_actor_options(name), **pin_here())
    try:
        injector = actor_class.remote(name, options.get("data_dir"), seed, here)
    except ValueError:  # there is one
        injector = find_actor(faults_name(name))
    else:
        time.sleep(2 * LOOK_S)  # clients that are there already look for it now and then
    faults = Faults(name, injector)
    while missing := _running(name) - set(faults.followers()):
        if time.monotonic() > deadline_s:
            raise FaultFailed(f"members {sorted(missing)} do not follow the fault injector: see `raft-kv status`")
        time.sleep(POLL_S)
    return faults


def _running(group: str) -> set[Node]:
    """Members that take part now: who does not answer, or waits for its directory, follows when it comes up."""
    takes_part = {PeerState.RUNNING.value, PeerState.RECOVERING.value}
    return {int(row.member_id) for row in member_rows(group, 1.0) if row.peer and row.peer["state"] in takes_part}
