"""The keeper: creates a group's members where their data is, bootstraps the group once, brings back what is gone.

Here:   `Keeper` and its actor: one look after the other.
Never:  any state of its own: truth is in the members' logs. It may die and be started again at any moment. What has to
        be done at members that come and go is caretaker.py's, where members live placing.py's.

Creating the keeper by name is also the mutex of starting a group: Ray gives a name to one actor, its arguments are the
options, and every starter waits for this one. So a starter that dies leaves nothing half done that nobody finishes
(contracts rule 6). The rules:

- Who belongs to the group, the newest configuration found says, as soon as one is found; before, the options.
- If any live node holds an *initialised* directory of the group, a member is created only where its directory lies. A
  missing one is waited for: an empty directory in its place could make a majority that has forgotten everything.
- Bootstrap is computed from what all members said, never drawn: all of them uninitialised, or the very record that one
  of them holds already.
- An empty directory comes to a member's place only where the log says that the place is vacant (docs/adr/0013).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import ray

from raft_actors.cluster.actors import Actors, answer_of, begin
from raft_actors.cluster.bootstrap import (
    NOT_NAMED,
    SILENT,
    Descriptions,
    are_all_empty,
    empty_ones,
    is_empty,
    is_stray,
    new_genesis,
    newest_configuration,
    of_the_present_cluster,
    record_of,
    why_waited_for,
)
from raft_actors.cluster.caretaker import Caretaker
from raft_actors.cluster.nodes import NodeReport, last_entries, live_nodes, package_trouble, survey
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.placing import (
    Held,
    first_pin,
    pin_of,
    several_directories,
    what_lies_there,
    where_it_lies,
)
from raft_actors.codec import encode_genesis
from raft_actors.core.entries import Configuration
from raft_actors.core.quorum import majority
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, keeper_name
from raft_actors.peer.standing import PeerState
from raft_actors.process import log_to_stderr

LOG: Final = logging.getLogger("raft_actors.keeper")

START_INTERVAL_S: Final = 0.2
"""How often a group is looked after while it is being started, at least; afterwards as the caretaker says."""
STRAYS_INTERVAL_S: Final = 30.0
"""How often a directory that counts is looked for while another one is in its place; it may be lost for good."""
STOP_TIMEOUT_S: Final = 15.0
CHANGE_TIMEOUT_S: Final = 2.0


class Keeper:
    """Looks after one group in a thread of its own; questions are answered meanwhile."""

    def __init__(self, options: GroupOptions) -> None:
        log_to_stderr()
        self._options = options
        self._actors = Actors(options)
        self._caretaker = Caretaker(options, self._actors)
        self._configuration: Configuration | None = None
        """The newest that any member had in force at the last look."""
        self._waiting_for: dict[MemberId, str] = {}
        self._started = False
        self._created = False
        self._trouble: str | None = None
        self._warned: set[str] = set()
        self._strays_looked_at_s = float("-inf")
        self._hasten = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    # -- questions ----------------------------------------------------------------------------------------------------

    def options(self) -> dict[str, Any]:
        """The group's options, comparable; `members` is how many places its newest configuration has."""
        public = self._options.public()
        return public if self._configuration is None else {**public, "members": len(self._configuration.members)}

    def progress(self) -> dict[str, Any]:
        """How far the start is: `started` once all members that can be reached belong to the group."""
        return {
            "started": self._started,
            "created": self._created,
            "trouble": self._trouble,
            "waiting_for": {int(member_id): why for member_id, why in sorted(self._waiting_for.items())},
        }

    def fill(self, member_id: int, node: str | None) -> str | None:
        """Somebody waits for a vacant place to be filled, on this node if one is named; why it is not yet."""
        self._caretaker.wish(MemberId(member_id), node)
        self._hasten.set()
        return self._caretaker.notes.get(MemberId(member_id)) or self._trouble

    def hasten(self) -> None:
        """Look again now."""
        self._hasten.set()

    def stop(self) -> None:
        """Bring nothing back any more. Returns when the look under way is over."""
        self._stop.set()
        self._hasten.set()
        self._thread.join(STOP_TIMEOUT_S)

    # -- one look after the other -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(START_INTERVAL_S):
            self._hasten.clear()
            try:
                self._look()
                self._trouble = None
            except Exception as failure:  # a look that failed is tried again; what it met is said
                trouble = f"{type(failure).__name__}: {failure}"
                if trouble != self._trouble:
                    LOG.warning("group=%s %s", self._options.group, trouble)
                self._trouble = trouble
            if self._started:
                self._hasten.wait(self._caretaker.pause_s)

    def _look(self) -> None:
        self._actors.look()
        said = of_the_present_cluster(self._actors.describe())
        self._take_note(said)
        if self._configuration is None:
            self._begin(said)
        else:
            self._bring_back(self._configuration, said)
        if not self._started:
            self._bootstrap(said)
        if self._started and not self._stop.is_set():
            self._caretaker.look(said)

    def _take_note(self, said: Descriptions) -> None:
        self._configuration = newest_configuration(said) or self._configuration
        for member_id in self._places():
            self._wait_for(member_id, why_waited_for(said.get(member_id)))

    # -- creating -----------------------------------------------------------------------------------------------------

    def _begin(self, said: Descriptions) -> None:
        """No record of the group is known yet. It may lie in a directory that nobody has opened."""
        first = [MemberId(number) for number in range(self._options.members)]
        if all(self._actors.are_complete(member_id) for member_id in first):
            return
        reports = self._survey()
        nodes = [report.node for report in reports]
        found, several = what_lies_there(reports)
        for member_id, held in several.items():
            if member_id not in self._actors.members:
                found[member_id] = self._newest_of(member_id, held)
        for member_id, (node, _) in sorted(found.items()):
            if not self._actors.are_complete(member_id):
                self._create(member_id, pin_of(member_id, node, self._options.placement, nodes))
        if not {*found, *several} <= {member_id for member_id, each in said.items() if is_empty(each)}:
            return  # one of them may hold the group's record: nothing is created empty on a guess
        machines = len({node.address for node in nodes})
        if machines < len(first) and self._options.placement is None:
            self._warn_once(
                f"{len(first)} members on {machines} machine(s): the group does not survive the loss of one of them"
            )
        for member_id in first:
            if not self._actors.are_complete(member_id):
                self._create(member_id, first_pin(member_id, self._options.placement, reports))

    def _newest_of(self, member_id: MemberId, held: list[Held]) -> Held:
        """The directory with the longest log. A wrong one does no harm: it counts nowhere, and gives way to the one
        that the members' logs name (`_bring_back`)."""
        lasts = last_entries(held, self._options.group)
        readable = [(last, at) for at, last in enumerate(lasts) if last is not None]
        if not readable:
            raise RuntimeError(several_directories(member_id, held))
        return held[max(readable)[1]]

    def _bring_back(self, configuration: Configuration, said: Descriptions) -> None:
        """Members whose actors are gone, where their data is; nobody at vacant places (caretaker.py fills those)."""
        missing = {line for line in configuration.served() if not self._actors.are_complete(line.member_id)}
        strays = {line for line in configuration.served() if is_stray(line, said.get(line.member_id))}
        now_s = time.monotonic()
        if now_s < self._strays_looked_at_s + STRAYS_INTERVAL_S:
            strays = set()
        if not missing and not strays:
            return
        if strays:
            self._strays_looked_at_s = now_s
        reports = survey(live_nodes(), self._options.data_dir, self._options.group)
        nodes = [report.node for report in reports]
        for line in sorted(missing | strays, key=lambda line: line.member_id):
            node = where_it_lies(line.directory_id, line.member_id, reports)
            description = said.get(line.member_id)
            if node is not None and line in strays:
                LOG.warning(
                    "group=%s member=%s is on a directory that does not count", self._options.group, line.member_id
                )
                self._actors.end(line.member_id)
            elif node is None and description is not None:  # its peer is there, on another directory
                node = next((each for each in nodes if each.node_id == description["node_id"]), None)
            if node is not None:
                self._create(line.member_id, pin_of(line.member_id, node, self._options.placement, nodes))
                continue
            silent = next((report.trouble for report in reports if report.trouble is not None), "bring that node back")
            self._wait_for(
                line.member_id,
                f"its data directory is on no live node; {silent}, or raft-kv member replace {line.member_id}",
            )

    def _survey(self) -> list[NodeReport]:
        """All nodes. One that cannot be asked may hold what is missing, so nothing is decided without it."""
        reports = survey(live_nodes(), self._options.data_dir, self._options.group)
        trouble = next((report.trouble for report in reports if report.trouble is not None), package_trouble())
        if trouble is not None:
            raise RuntimeError(trouble)
        return reports

    def _create(self, member_id: MemberId, pin: Mapping[str, Any]) -> None:
        if self._stop.is_set():
            return
        self._waiting_for[member_id] = f"Ray has not started it yet (pinned to {pin})"
        self._actors.create(member_id, pin)

    # -- bootstrap ----------------------------------------------------------------------------------------------------

    def _bootstrap(self, said: Descriptions) -> None:
        """Contracts rule 6: all uninitialised, or the very record of one that is not."""
        record = record_of(said)
        if record is None and are_all_empty(said, self._options.members) and not self._gave_way(said):
            options = self._options
            record = encode_genesis(new_genesis(options.group, options.settings, said, options.members))
            self._created = True
            LOG.warning("group=%s created, with %s members", options.group, options.members)
        named, strangers = ([], []) if record is None else empty_ones(record, said)
        for member_id in strangers:
            self._wait_for(member_id, NOT_NAMED.format(member_id))
        for member_id in named:
            self._wait_for(member_id, self._hand(member_id, record or b""))
        running = {member_id for member_id, each in said.items() if each and each["state"] == PeerState.RUNNING.value}
        voters = {line.member_id for line in self._configuration.voters()} if self._configuration else set()
        self._started = not named and bool(voters) and len(running & voters) >= majority(len(voters))

    def _gave_way(self, said: Descriptions) -> bool:
        """Before a new group is made: whether empty members gave way to directories that came meanwhile, with a node.

        They hold something, so they are opened first; nothing was promised yet by who is empty.
        """
        mine = {each["directory_id"] for each in said.values() if each is not None}
        full = {
            each.member_id
            for report in self._survey()
            for each in report.found
            if not each.empty and each.directory_id not in mine
        }
        for member_id in full & set(said):
            self._actors.end(member_id)
        return bool(full)

    def _places(self) -> list[MemberId]:
        if self._configuration is None:
            return [MemberId(number) for number in range(self._options.members)]
        return [line.member_id for line in self._configuration.served()]

    def _wait_for(self, member_id: MemberId, why: str | None) -> None:
        if why is None:
            self._waiting_for.pop(member_id, None)
        elif why != SILENT or member_id not in self._waiting_for:  # what it was created for says more
            self._waiting_for[member_id] = why

    def _hand(self, member_id: MemberId, record: bytes) -> str | None:
        """The group's record; why it was not taken, if it was not."""
        answer = answer_of(begin(self._actors.peers[member_id], "bootstrap", record), CHANGE_TIMEOUT_S)
        return answer if isinstance(answer, str) else "it is being told that it belongs to the group"

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            LOG.warning("group=%s %s", self._options.group, warning)


RayKeeper: Any = ray.remote(Keeper)


def keeper_actor_options(group: str) -> dict[str, Any]:
    """Options of the keeper actor, each with its reason."""
    return {
        "name": keeper_name(group),
        "namespace": NAMESPACE,
        "lifetime": "detached",  # outlives the driver that started the group
        "max_restarts": -1,  # it has no state: its arguments and the members' logs are all it needs
        "max_task_retries": 0,
        "max_concurrency": 4,  # a question does not wait for another one
        "num_cpus": 0,
    }
