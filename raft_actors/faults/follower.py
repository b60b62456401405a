"""A process of a group with faults, and the injector that it follows.

Here:   `follow`: a wire that obeys the group's injector, if there is one; the thread that asks it.
Never:  decisions, faults of processes and disks (hand.py).

Every process asks, and nobody has a method by which it could be told: so a group without faults has no door for them,
and a client in a driver, which is no actor, follows like all others. Until the first answer everything that is sent
waits, so that a process that comes up in the middle of a partition does not begin by talking across it. When the
injector dies, or the connection to Ray is another one, its faults end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from random import Random
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError

from raft_actors.connection import connection, require_ray
from raft_actors.faults.orders import Orders, Report
from raft_actors.faults.rules import Cut, Node
from raft_actors.faults.wire import FaultyWire
from raft_actors.names import NAMESPACE, faults_name

LOOK_S: Final = 0.3
"""How often an injector is looked for where there is none, or none that answers."""
ANSWER_S: Final = 5.0
"""How long the injector may take; it answers within `injector.NEWS_S`."""


def follow(group: str, node: Node) -> FaultyWire:
    """The wire of this node. What is sent before it is known what the injector wants, if there is one, waits for that.

    Raises `RayNotInitialised`.
    """
    require_ray()
    wire = FaultyWire(node, Random(0))
    wire.obey((Cut(held=True),))
    threading.Thread(target=_Follower(group, wire).run, name=f"faults for {node}", daemon=True).start()
    return wire


class _Follower:
    """One thread, for as long as the wire is open."""

    def __init__(self, group: str, wire: FaultyWire) -> None:
        self._name = faults_name(group)
        self._wire = wire
        self._process = secrets.token_hex(8)
        self._connection: str | None = None
        """The last one that was seen."""
        self._version = 0
        self._injector: Any = None

    def run(self) -> None:
        """Until the wire is closed."""
        pause = threading.Event()
        waits = True
        while not self._wire.closed:
            answered = False
            with contextlib.suppress(RayError, RuntimeError, OSError):
                answered = self._is_connected() and self._look()
            if waits and not answered:  # there is nobody to follow, or he stands still
                self._wire.obey(())
            waits = False
            if not answered:
                pause.wait(LOOK_S)
        with contextlib.suppress(RayError, RuntimeError, OSError):
            if self._injector is not None and self._is_connected():
                self._injector.leave.remote(self._process)

    def _is_connected(self) -> bool:
        """Whether Ray may be asked. Whom another connection knew is forgotten."""
        present = connection()
        if present is not None and self._connection not in (None, present):
            self._forget()
        self._connection = present or self._connection
        return present is not None

    def _forget(self) -> None:
        """Nobody is followed any more, and what he ordered has ended."""
        self._injector, self._version = None, 0
        self._wire.obey(())

    def _look(self) -> bool:
        """Ask once; whether there was an answer."""
        if self._injector is None:
            try:
                self._injector = ray.get_actor(self._name, namespace=NAMESPACE)
            except (ValueError, AssertionError):  # there is none, or it is only being made
                return False
            self._version = 0
        report = Report(
            node=self._wire.node,
            process=self._process,
            pid=os.getpid(),
            node_id=ray.get_runtime_context().get_node_id(),
            version=self._version,
            counts=tuple(self._wire.counts()),
            held=self._wire.held(),
        )
        try:
            orders = ray.get(self._injector.follow.remote(report), timeout=ANSWER_S)
        except ActorDiedError:
            self._forget()
            return False
        except GetTimeoutError:
            return False  # it stands still; what it said last holds
        self._obey(orders)
        return True

    def _obey(self, orders: Orders) -> None:
        if not self._version:
            self._wire.seed(orders.seed)
        if orders.version != self._version:
            self._wire.obey(orders.rules)
        for number in orders.let_go:
            self._wire.let_go(number)
        for number in orders.lose:
            self._wire.lose(number)
        self._version = orders.version
