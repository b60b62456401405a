"""Partitions of real hosts: who no longer hears whom, and for how long.

Here:   `KINDS`; `Hosts`, whom they hit: member i is on host i.
Never:  when and which (tests/chaos/disturbance.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from random import Random
from typing import Final

from tests.chaos.disturbance import LASTS_S, Begun, Kind
from tests.chaos.members import Members
from tests.netns.network import Network

LONG_S: Final = (25.0, 45.0)
"""Ray's head takes a node that it does not hear for dead before that, and the node ends and is started again."""


class Hosts(Members):
    """Of one segment."""

    def __init__(self, group: str, dice: Random, network: Network) -> None:
        super().__init__(group, len(network.hosts), dice)
        self.network = network

    def any_but_head(self) -> int:
        """A host without Ray's head and the drivers."""
        return self.dice.choice(self.network.hosts[1:])

    def apart(self, host: int) -> list[tuple[int, int]]:
        """Both directions between this one and all others."""
        return [pair for pair in permutations(self.network.hosts, 2) if host in pair]


def _cut(hosts: Hosts, pairs: Iterable[tuple[int, int]], lasts_s: tuple[float, float] = LASTS_S) -> Begun:
    network, lost = hosts.network, 0
    cut = list(pairs)
    for pair in cut:
        network.cut(*pair)
    before = sum(network.lost_packets(*pair) for pair in cut)

    def end() -> None:
        nonlocal lost
        lost = sum(network.lost_packets(*pair) for pair in cut) - before
        for pair in cut:
            network.mend(*pair)

    return Begun(bit=lambda: lost > 0, end=end, lasts_s=lasts_s)


def leader_apart(hosts: Hosts) -> Begun:
    """The leader's host and the others do not hear each other."""
    return _cut(hosts, hosts.apart(hosts.leader()))


def follower_apart(hosts: Hosts) -> Begun:
    """The same, of a host whose member does not lead."""
    return _cut(hosts, hosts.apart(hosts.follower()))


def all_apart(hosts: Hosts) -> Begun:
    """Nobody hears anybody."""
    return _cut(hosts, permutations(hosts.network.hosts, 2))


def leader_deaf(hosts: Hosts) -> Begun:
    """The leader's host hears nobody; all hear it."""
    leads = hosts.leader()
    return _cut(hosts, [(src, dst) for src, dst in hosts.apart(leads) if dst == leads])


def leader_mute(hosts: Hosts) -> Begun:
    """Nobody hears the leader's host; it hears all."""
    leads = hosts.leader()
    return _cut(hosts, [(src, dst) for src, dst in hosts.apart(leads) if src == leads])


def one_strand(hosts: Hosts) -> Begun:
    """One host does not hear one other."""
    return _cut(hosts, [hosts.dice.choice(list(permutations(hosts.network.hosts, 2)))])


def one_cable(hosts: Hosts) -> Begun:
    """Two hosts do not hear each other; the third hears both, and both hear it."""
    near, far, _ = hosts.shuffled(hosts.network.hosts)
    return _cut(hosts, [(near, far), (far, near)])


def apart_for_long(hosts: Hosts) -> Begun:
    """A host is away until Ray takes it for dead."""
    return _cut(hosts, hosts.apart(hosts.any_but_head()), LONG_S)


KINDS: Final[tuple[Kind[Hosts], ...]] = (
    *(leader_apart, follower_apart, all_apart, leader_deaf, leader_mute, one_strand, one_cable, apart_for_long),
)
