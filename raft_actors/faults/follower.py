"""A process of a group with faults, and the injector that it follows.

Here:   `follow`: a wire that obeys the group's injector, if there is one; the thread that asks it.
Never:  decisions, faults of processes and disks (hand.py).

Every process asks, and nobody has a method by which it could be told: so a group without faults has no door for them,
and a client in a driver, which is no actor, follows like all others. The first answer is waited for, so that a process
that comes up in the middle of a partition does not begin by talking across it. When the injector dies, its faults end.
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

from raft_actors.faults.orders import Orders, Report
from raft_actors.faults.rules import Node
from raft_actors.faults.wire import FaultyWire
from raft_actors.names import NAMESPACE, faults_name

LOOK_S: Final = 0.3
"""How often an injector is looked for where there is none, or none that answers."""
FIRST_S: Final = 2.0
"""How long a process waits for its first orders."""
ANSWER_S: Final = 5.0
"""How long the injector may take; it answers within `injector.NEWS_S`."""


def follow(group: str, node: Node) -> FaultyWire:
    """The wire of this node. Waits until it is known what the injector wants, where there is one, for a while."""
    wire = FaultyWire(node, Random(0))
    follower = _Follower(group, wire)
    follower.begin()
    return wire


class _Follower:
    """One thread, for as long as the wire is open."""

    def __init__(self, group: str, wire: FaultyWire) -> None:
        self._name = faults_name(group)
        self._wire = wire
        self._process = secrets.token_hex(8)
        self._node_id = ray.get_runtime_context().get_node_id()
        self._worker_id = ray.get_runtime_context().get_worker_id()
        self._version = 0
        self._injector: Any = None
        self._has_looked = threading.Event()

    def begin(self) -> None:
        """Start the thread, and wait for the first orders."""
        threading.Thread(target=self._run, name=f"faults for {self._wire.node}", daemon=True).start()
        self._has_looked.wait(FIRST_S)

    def _run(self) -> None:
        pause = threading.Event()
        while not self._wire.closed:
            answered = False
            if self._is_connected():
                with contextlib.suppress(RayError, RuntimeError, OSError):
                    answered = self._look()
            self._has_looked.set()
            if not answered:
                pause.wait(LOOK_S)
        if self._injector is not None and self._is_connected():
            with contextlib.suppress(RayError, RuntimeError, OSError):
                self._injector.leave.remote(self._process)

    def _is_connected(self) -> bool:
        """Beside an ended connection to Ray nothing may be asked: a handle of it would end this process."""
        return bool(ray.is_initialized() and ray.get_runtime_context().get_worker_id() == self._worker_id)

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
            node_id=self._node_id,
            version=self._version,
            counts=tuple(self._wire.counts()),
            held=self._wire.held(),
        )
        try:
            orders = ray.get(self._injector.follow.remote(report), timeout=ANSWER_S)
        except ActorDiedError:
            self._injector, self._version = None, 0
            self._wire.obey(())
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
