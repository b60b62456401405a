"""What the injector and those who follow it tell each other.

Here:   `Report` to it, `Orders` from it.
Never:  how they travel (follower.py, injector.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raft_actors.faults.rules import Node, Rule
from raft_actors.faults.transit import HeldMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How things are at one node."""

    node: Node
    process: str
    """Drawn by each process of the node: counts and numbers of held messages begin anew with it."""
    pid: int
    node_id: str
    """Of Ray, where the process is."""
    version: int
    """Of the orders that are obeyed; 0: none were given yet."""
    counts: tuple[Mapping[str, int | str], ...] = ()
    """Rows as of `Plan.counts`."""
    held: tuple[HeldMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What is in force from now on."""

    version: int
    seed: str = ""
    """Of the dice of this node."""
    rules: tuple[Rule, ...] = ()
    let_go: frozenset[int] = field(default_factory=frozenset)
    """Numbers of held messages of this process that may arrive."""
    lose: frozenset[int] = field(default_factory=frozenset)
    """Of those that never shall."""
