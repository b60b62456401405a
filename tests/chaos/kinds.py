"""Every kind of fault of the injector, as chaos does it: to whom, and what ends it.

Here:   `KINDS`.
Never:  when and which (disturbance.py), whom a fault may hit (scene.py).
"""

from __future__ import annotations

from typing import Final

from raft_actors.errors import FaultFailed
from raft_actors.faults.rules import Node, Part
from tests.chaos.disturbance import Begun, Kind
from tests.chaos.scene import NotNow, Scene

SAVE_S: Final = 20.0
HELD_S: Final = 10.0
BRIEF_S: Final = (2.0, 8.0)
"""How long members are away that are few at a time."""


# -- the network ---------------------------------------------------------------------------------------------------


def _rules(scene: Scene, *rules: str | None) -> Begun:
    def end() -> None:
        for rule in rules:
            scene.faults.remove(rule)

    def bit() -> bool:
        return any(row["fault_id"] in rules and row["params"]["bit"] for row in scene.faults.faults())

    return Begun(bit=bit, end=end)


def partition(scene: Scene) -> Begun:
    """Members, servers and clients on two sides."""
    return _rules(scene, scene.faults.partition(*_sides(scene)))


def partition_held(scene: Scene) -> Begun:
    """The same; what is sent meanwhile arrives in the end."""
    return _rules(scene, scene.faults.partition(*_sides(scene), held=True))


def _sides(scene: Scene) -> tuple[list[Node], list[Node]]:
    members = scene.shuffled(scene.members)
    at = scene.dice.randint(1, len(members) - 1)
    near, far = ([*side, *(f"s{member}" for member in side)] for side in (members[:at], members[at:]))
    for client in scene.clients:
        scene.dice.choice((near, far, [])).append(client)
    return near, far


def isolate_leader(scene: Scene) -> Begun:
    """Its peer reaches nobody."""
    return _rules(scene, scene.faults.isolate(scene.leader()))


def isolate_follower(scene: Scene) -> Begun:
    """The same, for one that does not lead."""
    return _rules(scene, scene.faults.isolate(scene.follower()))


def one_way(scene: Scene) -> Begun:
    """The leader's calls do not reach a follower, or a follower's not the leader; the other direction works."""
    pair = scene.shuffled((scene.leader(), scene.follower()))
    return _rules(scene, scene.faults.cut(*pair))


def clients_cut_off(scene: Scene) -> Begun:
    """No client reaches the leader's server."""
    server = f"s{scene.leader()}"
    return _rules(scene, *(scene.faults.cut(client, server) for client in scene.clients))


def answers_lost(scene: Scene) -> Begun:
    """What servers answer one client is lost on the way."""
    client = scene.dice.choice(scene.clients)
    return _rules(scene, scene.faults.cut(None, client, part=Part.REPLY), scene.faults.drop(reply=0.9, src=client))


def drop(scene: Scene) -> Begun:
    """A share of all messages is lost."""
    share = scene.dice.uniform(0.05, 0.3)
    return _rules(scene, scene.faults.drop(request=share, reply=share))


def delay(scene: Scene) -> Begun:
    """Everything takes longer."""
    return _rules(scene, scene.faults.delay((1, scene.dice.randint(10, 150))))


def reorder(scene: Scene) -> Begun:
    """Some messages are overtaken."""
    return _rules(scene, scene.faults.reorder(scene.dice.uniform(0.1, 0.6)))


def duplicate(scene: Scene) -> Begun:
    """Some messages arrive twice."""
    return _rules(scene, scene.faults.duplicate(scene.dice.uniform(0.1, 0.6), late_ms=(0, 300)))


def unreliable(scene: Scene) -> Begun:
    """The labs' network."""
    return _rules(scene, scene.faults.unreliable())


def long_reordering(scene: Scene) -> Begun:
    """The labs' late answers."""
    return _rules(scene, scene.faults.long_reordering())


def long_delays(scene: Scene) -> Begun:
    """The leader is cut off, and calls to it hang for seconds."""
    return _rules(scene, scene.faults.isolate(scene.leader()), scene.faults.long_delays())


# -- processes -----------------------------------------------------------------------------------------------------


def kill_member(scene: Scene) -> Begun:
    """Both processes."""
    scene.faults.kill(scene.target())
    return Begun()


def kill_peer(scene: Scene) -> Begun:
    """The peer alone."""
    scene.faults.kill(scene.target(), only="peer")
    return Begun()


def kill_server(scene: Scene) -> Begun:
    """The server alone."""
    scene.faults.kill(scene.target(), only="server")
    return Begun()


def kill_leader(scene: Scene) -> Begun:
    """Both processes of whoever leads."""
    scene.faults.kill(scene.leader(unharmed=True))
    return Begun()


def kill_all(scene: Scene) -> Begun:
    """The whole cluster at once."""
    scene.faults.kill(*scene.all_unharmed())
    return Begun()


def keep_down(scene: Scene) -> Begun:
    """Killed without a restart, until the end."""
    member = scene.target()
    scene.faults.kill(member, stay_down=True)
    return Begun(end=lambda: scene.faults.restart(member), hits=frozenset({member}), lasts_s=BRIEF_S)


def remove_actor(scene: Scene) -> Begun:
    """Its actors are gone for good: the keeper makes them anew."""
    scene.faults.remove_actor(scene.target())
    return Begun()


def _pause(scene: Scene, member: int, only: str | None = None) -> Begun:
    scene.faults.pause(member, only=only)  # type: ignore[arg-type]
    return Begun(end=lambda: scene.faults.resume(member), hits=frozenset({member}), lasts_s=BRIEF_S)


def pause_leader(scene: Scene) -> Begun:
    """SIGSTOP for both processes of whoever leads; it goes on, and believes it leads."""
    return _pause(scene, scene.leader(unharmed=True))


def pause_peer(scene: Scene) -> Begun:
    """SIGSTOP for a peer."""
    return _pause(scene, scene.target(), "peer")


def pause_server(scene: Scene) -> Begun:
    """SIGSTOP for a server."""
    return _pause(scene, scene.target(), "server")


def slow_member(scene: Scene) -> Begun:
    """It stands still half of the time."""
    member = scene.target()
    scene.faults.slow(member)
    return Begun(end=lambda: scene.faults.hasten(member), hits=frozenset({member}))


# -- disks, memory, nodes ------------------------------------------------------------------------------------------


def fail_disk(scene: Scene) -> Begun:
    """Every write of a peer fails."""
    member = scene.target()
    scene.faults.fail_disk(member)
    return Begun(end=lambda: scene.faults.mend_disk(member), hits=frozenset({member}))


def wipe(scene: Scene) -> Begun:
    """A member's disk is empty; the keeper replaces it."""
    scene.faults.wipe(scene.expendable())
    return Begun()


def damage_log(scene: Scene) -> Begun:
    """A bit of a log is not what it was."""
    scene.faults.damage(scene.expendable(), "log")
    return Begun()


def damage_snapshot(scene: Scene) -> Begun:
    """A bit of a snapshot is not what it was."""
    scene.faults.damage(scene.expendable(with_snapshot=True), "snapshot")
    return Begun()


def fill_object_store(scene: Scene) -> Begun:
    """Snapshots have to do without it."""
    member = scene.target()
    scene.faults.fill_object_store(member)
    return Begun(end=lambda: scene.faults.free_object_store(member))


def kill_node(scene: Scene) -> Begun:
    """A raylet dies, and all that runs there; the node comes back."""
    member, rack = scene.on_a_node_to_lose()
    scene.faults.kill_node(member)
    return Begun(end=lambda: scene.bring_back(rack), hits=scene.members_on(rack), lasts_s=BRIEF_S)


def kill_owner_of_snapshot(scene: Scene) -> Begun:
    """A member needs a snapshot; whoever sends it dies between its answer and the fetch of the bytes."""
    behind = scene.follower(unharmed=True)
    scene.faults.kill(behind, stay_down=True)
    try:
        for member in scene.members:
            if member != behind:
                scene.save_snapshots(member, SAVE_S)
        held = scene.faults.cut(None, behind, part=Part.REPLY, held=True, method="read_snapshot")
    finally:
        scene.faults.restart(behind)
    try:
        call, *_ = scene.faults.wait_for_held(1, dst=behind, method="read_snapshot", timeout_s=HELD_S)
        assert isinstance(call.message.src, int), "members send snapshots"
        scene.faults.kill(call.message.src, only="peer")
    except FaultFailed as failure:
        raise NotNow(f"nothing was fetched: {failure}") from failure
    finally:
        scene.faults.remove(held)
    return Begun()


KINDS: Final[tuple[Kind[Scene], ...]] = (
    *(partition, partition_held, isolate_leader, isolate_follower, one_way, clients_cut_off, answers_lost),
    *(drop, delay, reorder, duplicate, unreliable, long_reordering, long_delays),
    *(kill_member, kill_peer, kill_server, kill_leader, kill_all, keep_down, remove_actor),
    *(pause_leader, pause_peer, pause_server, slow_member),
    *(fail_disk, wipe, damage_log, damage_snapshot, fill_object_store, kill_node, kill_owner_of_snapshot),
)
