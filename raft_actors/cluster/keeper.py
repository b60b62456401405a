"""The keeper: creates a group's members where their data is, bootstraps the group once, brings back what is gone.

Here:   `Keeper` and its actor.
Never:  any state of its own: truth is in the members' directories. It may die and be started again at any moment.

Creating the keeper by name is also the mutex of starting a group: Ray gives a name to one actor, its arguments are the
options, and every starter waits for this one. So a starter that dies leaves nothing half done that nobody finishes
(contracts rule 6). The rules:

- If any live node holds an *initialised* directory of the group, a member is created only where its directory lies. A
  missing one is waited for: an empty directory in its place could make a majority that has forgotten everything.
- Bootstrap is computed from what all members said, never drawn: all of them uninitialised, or the very record that one
  of them holds already.
- Members are pinned by address or label, never by node id: a machine that comes back has a new one.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import ray
from ray.exceptions import RayError

from raft_actors.application.actor import application_actor_options
from raft_actors.cluster.nodes import (
    NodeReport,
    live_nodes,
    package_trouble,
    pin_to_address,
    pin_to_labels,
    survey,
)
from raft_actors.cluster.options import GroupOptions
from raft_actors.codec import cluster_id_of, decode_genesis, encode_genesis
from raft_actors.core.entries import Configuration, Genesis, Member
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.names import NAMESPACE, keeper_name, peer_name, server_name
from raft_actors.peer.actor import PeerPlace, RaftPeer, peer_actor_options
from raft_actors.peer.surroundings import PeerOptions
from raft_actors.process import log_to_stderr

LOG: Final = logging.getLogger("raft_actors.keeper")

LOOK_INTERVAL_S: Final = 5.0
"""How often a started group is looked after."""
START_INTERVAL_S: Final = 0.2
"""How often while it is being started."""
DESCRIBE_TIMEOUT_S: Final = 3.0


class Keeper:
    """Looks after one group in a thread of its own; questions are answered meanwhile."""

    def __init__(self, options: GroupOptions) -> None:
        log_to_stderr()
        self._options = options
        self._pins: dict[MemberId, dict[str, Any]] = {}
        self._peers: dict[MemberId, Any] = {}
        self._servers: dict[MemberId, Any] = {}
        self._waiting_for: dict[MemberId, str] = {}
        self._started = False
        self._created = False
        self._trouble: str | None = None
        self._warned: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    # -- questions ----------------------------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """The group's options, comparable."""
        return self._options.public()

    def progress(self) -> dict[str, Any]:
        """How far the start is: `started` once all members that can be reached belong to the group."""
        return {
            "started": self._started,
            "created": self._created,
            "trouble": self._trouble,
            "waiting_for": {int(member_id): why for member_id, why in sorted(self._waiting_for.items())},
        }

    def stop(self) -> None:
        """Bring nothing back any more. Returns when the round under way is over."""
        self._stop.set()
        self._thread.join(DESCRIBE_TIMEOUT_S * 4)

    # -- the rounds ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
                self._trouble = None
            except Exception as failure:  # a round that failed is tried again; what it met is said
                trouble = f"{type(failure).__name__}: {failure}"
                if trouble != self._trouble:
                    LOG.warning("group=%s %s", self._options.group, trouble)
                self._trouble = trouble
            self._stop.wait(LOOK_INTERVAL_S if self._started else START_INTERVAL_S)

    def _look(self) -> None:
        missing = [member_id for member_id in self._members() if not self._has_actors(member_id)]
        if missing:
            self._create(missing)
        if not self._started:
            self._bootstrap()

    def _members(self) -> list[MemberId]:
        return [MemberId(number) for number in range(self._options.members)]

    def _has_actors(self, member_id: MemberId) -> bool:
        peer = find_actor(peer_name(self._options.group, member_id))
        server = find_actor(server_name(self._options.group, member_id))
        self._peers[member_id], self._servers[member_id] = peer, server
        return peer is not None and server is not None

    # -- creating -----------------------------------------------------------------------------------------------------

    def _create(self, missing: list[MemberId]) -> None:
        """Create the actors of these members where they belong; the others of the group are there."""
        reports = survey(live_nodes(), self._options.data_dir, self._options.group, self._options.members)
        trouble = next((report.trouble for report in reports if report.trouble is not None), package_trouble())
        if trouble is not None:
            raise RuntimeError(trouble)
        located = self._locate(reports)
        initialised = self._some_member_is_initialised()
        for member_id in missing:
            if self._stop.is_set():
                return
            if member_id in located:
                self._place(member_id, located[member_id])
        if not initialised and set(self._members()) - set(located):
            initialised = self._some_member_is_initialised(wait=True)
        for member_id in [member_id for member_id in missing if member_id not in located]:
            if initialised:
                self._waiting_for[member_id] = "its data directory is on no live node"
            elif not self._stop.is_set():
                self._place(member_id, self._choose(member_id, reports))

    def _locate(self, reports: list[NodeReport]) -> dict[MemberId, NodeReport]:
        """Where each member's data lies. Raylets of one machine see the same directory: the first one is as good.

        Where a member has several directories, the one named in the group's newest configuration is meant.
        """
        named = {line.directory_id for line in self._known_configuration()}
        located: dict[MemberId, tuple[DirectoryId, NodeReport]] = {}
        for report in reports:
            for found in report.found:
                known = located.get(found.member_id)
                if known is None or (found.directory_id in named and known[0] not in named):
                    located[found.member_id] = (found.directory_id, report)
                elif known[0] != found.directory_id and not {known[0], found.directory_id} & named:
                    raise RuntimeError(
                        f"member {found.member_id} has data on two nodes ({known[1].node.address} and "
                        f"{report.node.address}) and nothing tells which is meant; move one of the directories away"
                    )
        return {member_id: report for member_id, (_, report) in located.items()}

    def _known_configuration(self) -> tuple[Member, ...]:
        for description in self._descriptions(self._members()).values():
            if description is not None and description["genesis"] is not None:
                return decode_genesis(description["genesis"]).configuration.members
        return ()

    def _choose(self, member_id: MemberId, reports: list[NodeReport]) -> NodeReport:
        """Spread a new group over the machines; two members on one are allowed, with a warning."""
        by_address = {report.node.address: report for report in reversed(reports)}
        addresses = sorted(by_address)
        if len(addresses) < self._options.members and self._options.placement is None:
            self._warn_once(
                f"{self._options.members} members on {len(addresses)} machine(s): the group does not survive the loss "
                "of one of them"
            )
        return by_address[addresses[member_id % len(addresses)]]

    def _place(self, member_id: MemberId, report: NodeReport) -> None:
        if self._options.placement is not None:
            pin = pin_to_labels(self._options.placement[member_id])
        else:
            pin = pin_to_address(report.node.address)
        self._pins[member_id] = pin
        self._waiting_for[member_id] = f"Ray has not started it yet (pinned to {pin})"
        group = self._options.group
        if self._peers[member_id] is None:
            options = PeerOptions(group=group, member_id=member_id, config=self._options.config)
            place = PeerPlace(
                data_dir=self._options.data_dir,
                allow_unsafe_data_dir=self._options.allow_unsafe_data_dir,
                open_storage=self._options.open_storage,
            )
            self._peers[member_id] = _created(
                RaftPeer.options(**peer_actor_options(peer_name(group, member_id)), **pin),
                (options, place),
                peer_name(group, member_id),
            )
        if self._servers[member_id] is None:
            self._servers[member_id] = _created(
                ray.remote(self._options.application).options(
                    **application_actor_options(server_name(group, member_id)), **pin
                ),
                (group, member_id, self._options.machine),
                server_name(group, member_id),
            )

    # -- bootstrap ----------------------------------------------------------------------------------------------------

    def _bootstrap(self) -> None:
        """Contracts rule 6: all uninitialised, or the very record of one that is not."""
        descriptions = self._descriptions(self._members())
        for member_id, description in descriptions.items():
            if description is None:
                self._waiting_for.setdefault(member_id, "it does not answer")
            elif description["error"] is not None:
                self._waiting_for[member_id] = description["error"]
            elif description["state"] in ("running", "recovering"):
                self._waiting_for.pop(member_id, None)
            else:
                self._waiting_for[member_id] = f"it is {description['state']}"
        known = {member_id: each for member_id, each in descriptions.items() if each is not None}
        record = next((each["genesis"] for each in known.values() if each["genesis"] is not None), None)
        empty = [member_id for member_id, each in known.items() if each["state"] == "uninitialised"]
        if record is None and len(empty) == self._options.members:
            record = encode_genesis(self._new_genesis(known))
            self._created = True
            LOG.warning("group=%s created, with %s members", self._options.group, self._options.members)
        if record is not None:
            self._complete(record, {member_id: known[member_id] for member_id in empty})
        running = [each for each in known.values() if each["state"] == "running"]
        self._started = record is not None and len(running) > self._options.members // 2 and not empty

    def _new_genesis(self, descriptions: dict[MemberId, dict[str, Any]]) -> Genesis:
        members = tuple(
            Member(member_id=member_id, directory_id=DirectoryId(each["directory_id"]), voter=True)
            for member_id, each in sorted(descriptions.items())
        )
        return Genesis(
            cluster_id=cluster_id_of(self._options.group, members, self._options.settings),
            group=self._options.group,
            configuration=Configuration(members=members),
            settings=self._options.settings,
        )

    def _complete(self, record: bytes, empty: dict[MemberId, dict[str, Any]]) -> None:
        """Hand the record to members that are named in it and do not have it."""
        genesis = decode_genesis(record)
        for member_id, description in empty.items():
            line = genesis.configuration.find(member_id)
            if line is None or line.directory_id != description["directory_id"]:
                self._waiting_for[member_id] = (
                    "its data directory is empty, and the group knows it by another one: bring the old directory back"
                )
                continue
            refusal = _ask(self._peers[member_id].bootstrap.remote(record))
            if isinstance(refusal, str):
                self._waiting_for[member_id] = refusal

    def _some_member_is_initialised(self, *, wait: bool = False) -> bool:
        """Whether a member of the group has its record. `wait`: members just created get the time to open their log."""
        for _ in range(20 if wait else 1):
            descriptions = [each for each in self._descriptions(self._members()).values() if each is not None]
            if any(each["genesis"] is not None for each in descriptions):
                return True
            if all(each["state"] != "starting" for each in descriptions):
                return False
            self._stop.wait(START_INTERVAL_S)
        return True  # one of them may well be: nothing is created empty on a guess

    def _descriptions(self, members: list[MemberId]) -> dict[MemberId, dict[str, Any] | None]:
        """What the members say of themselves; None for those without an actor or an answer."""
        refs = {
            member_id: self._peers[member_id].describe.remote()
            for member_id in members
            if self._peers.get(member_id) is not None
        }
        if refs:
            ray.wait(list(refs.values()), num_returns=len(refs), timeout=DESCRIBE_TIMEOUT_S)
        return {member_id: _ask(refs[member_id], 0.1) if member_id in refs else None for member_id in members}

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            LOG.warning("group=%s %s", self._options.group, warning)


def find_actor(name: str) -> Any:
    """The handle of one of our actors, or None when there is none of this name."""
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None


def _created(actor_class: Any, arguments: tuple[Any, ...], name: str) -> Any:
    """Create the actor; another keeper, of a moment ago, may have been first."""
    try:
        return actor_class.remote(*arguments)
    except ValueError:
        return find_actor(name)


def _ask(ref: Any, timeout_s: float = DESCRIBE_TIMEOUT_S) -> Any:
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayError:
        return None


RayKeeper: Any = ray.remote(Keeper)


def keeper_actor_options(group: str) -> dict[str, Any]:
    """Options of the keeper actor, each with its reason."""
    return {
        "name": keeper_name(group),
        "namespace": NAMESPACE,
        "lifetime": "detached",  # outlives the driver that started the group
        "max_restarts": -1,  # it has no state: its arguments and the members' directories are all it needs
        "max_task_retries": 0,
        "max_concurrency": 4,  # a question does not wait for another one
        "num_cpus": 0,
    }
