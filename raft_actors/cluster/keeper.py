"""The keeper: creates a group's members where their data is, bootstraps the group once, brings back what is gone.

Here:   `Keeper` and its actor: one look after the other.
Never:  any state of its own: truth is in the members' logs. It may die and be started again at any moment. What has to
        be done at members that come and go is decided in upkeep.py, where members live in placing.py.

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
from collections import Counter
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
    new_genesis,
    newest_configuration,
    record_of,
    why_waited_for,
)
from raft_actors.cluster.membership import ask_membership
from raft_actors.cluster.nodes import NodeReport, live_nodes, package_trouble, set_aside_on, survey
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.placing import (
    first_pin,
    for_vacant_place,
    names,
    pin_of,
    several_directories,
    what_lies_there,
    where_it_lies,
)
from raft_actors.cluster.upkeep import End, Fill, Seen, Step, in_words, next_steps
from raft_actors.codec import encode_genesis
from raft_actors.core.effects import ChangeRefused
from raft_actors.core.entries import Configuration, Member
from raft_actors.core.quorum import majority
from raft_actors.core.types import MemberId
from raft_actors.names import NAMESPACE, keeper_name
from raft_actors.peer.membership import Membership
from raft_actors.peer.standing import PeerState
from raft_actors.process import log_to_stderr

LOG: Final = logging.getLogger("raft_actors.keeper")

LOOK_INTERVAL_S: Final = 5.0
"""How often a started group is looked after."""
START_INTERVAL_S: Final = 0.2
"""How often while it is being started, or somebody is on the way to become a member."""
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
        self._configuration: Configuration | None = None
        """The newest that any member had in force at the last look."""
        self._waiting_for: dict[MemberId, str] = {}
        self._wishes: dict[MemberId, str] = {}
        """On which node a vacant place shall be served."""
        self._silent_since_s: dict[MemberId, float] = {}
        self._started = False
        self._created = False
        self._busy = False
        """Somebody is on the way to become a member, or to be none."""
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

    def whole_options(self) -> GroupOptions:
        """What it was started with, code and all."""
        return self._options

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
        place = MemberId(member_id)
        if node is not None and self._wishes.get(place) != node:
            self._wishes[place] = node
        self._hasten.set()
        return self._waiting_for.get(place) or self._trouble

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
            if self._started and not self._busy:
                self._hasten.wait(LOOK_INTERVAL_S)

    def _look(self) -> None:
        self._actors.look()
        said = self._actors.describe()
        self._note(said)
        if self._configuration is None:
            self._begin(said)
        else:
            self._bring_back(self._configuration, said)
        if not self._started:
            self._bootstrap(said)
        if self._started:
            self._keep_up(said)

    def _note(self, said: Descriptions) -> None:
        """Who is silent since when, and which configuration is the newest."""
        now_s = time.monotonic()
        self._silent_since_s = {
            member_id: self._silent_since_s.get(member_id, now_s)
            for member_id, description in said.items()
            if description is None
        }
        self._configuration = newest_configuration(said) or self._configuration

    # -- creating -----------------------------------------------------------------------------------------------------

    def _begin(self, said: Descriptions) -> None:
        """No record of the group is known yet. It may lie in a directory that nobody has opened."""
        first = [MemberId(number) for number in range(self._options.members)]
        if all(self._actors.are_complete(member_id) for member_id in first):
            return
        reports = self._survey()
        found, several = what_lies_there(reports)
        for member_id, node in sorted(found.items()):
            if not self._actors.are_complete(member_id):
                self._create(member_id, pin_of(member_id, node, self._options.placement))
        undecided = [member_id for member_id in found if not _has_decided(said.get(member_id))]
        for member_id in undecided:
            self._waiting_for[member_id] = "it may hold the group's data, and does not say yet"
        if undecided or self._stop.is_set():
            return  # nothing is created empty on a guess
        if several:
            raise RuntimeError(several_directories(several))
        machines = len({report.node.address for report in reports})
        if machines < len(first) and self._options.placement is None:
            self._warn_once(
                f"{len(first)} members on {machines} machine(s): the group does not survive the loss of one of them"
            )
        for member_id in first:
            if not self._actors.are_complete(member_id):
                self._create(member_id, first_pin(member_id, self._options.placement, reports))

    def _bring_back(self, configuration: Configuration, said: Descriptions) -> None:
        """Members whose actors are gone, where their data is; nobody at vacant places (`_keep_up` fills those)."""
        missing = [line for line in configuration.served() if not self._actors.are_complete(line.member_id)]
        strays = [line for line in configuration.served() if _is_stray(line, said.get(line.member_id))]
        if time.monotonic() < self._strays_looked_at_s + STRAYS_INTERVAL_S:
            strays = []
        if not missing and not strays:
            return
        reports = self._survey()
        if strays:
            self._strays_looked_at_s = time.monotonic()
        for line in {*missing, *strays}:
            node = where_it_lies(line.directory_id, line.member_id, reports)
            description = said.get(line.member_id)
            if node is not None and line in strays:
                LOG.warning("group=%s member=%s is on a directory that does not count", self._options.group, line)
                self._actors.end(line.member_id)
            elif node is None and description is not None:  # its peer is there, on another directory
                node = next((each.node for each in reports if each.node.node_id == description["node_id"]), None)
            if node is None:
                self._waiting_for[line.member_id] = (
                    "its data directory is on no live node; bring that node back, or raft-kv member replace "
                    f"{line.member_id}"
                )
            elif not self._stop.is_set():
                self._create(line.member_id, pin_of(line.member_id, node, self._options.placement))

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
        for member_id in self._places():
            self._wait_for(member_id, why_waited_for(said.get(member_id)))
        record = record_of(said)
        if record is None and are_all_empty(said, self._options.members):
            record = encode_genesis(
                new_genesis(self._options.group, self._options.settings, said, self._options.members)
            )
            self._created = True
            LOG.warning("group=%s created, with %s members", self._options.group, self._options.members)
        named, strangers = ([], []) if record is None else empty_ones(record, said)
        for member_id in strangers:
            self._wait_for(member_id, NOT_NAMED.format(member_id))
        for member_id in named:
            self._wait_for(member_id, self._hand(member_id, record or b""))
        running = {member_id for member_id, each in said.items() if each and each["state"] == PeerState.RUNNING.value}
        voters = {line.member_id for line in self._configuration.voters()} if self._configuration else set()
        self._started = not named and bool(voters) and len(running & voters) >= majority(len(voters))

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

    # -- members that come and go -------------------------------------------------------------------------------------

    def _keep_up(self, said: Descriptions) -> None:
        """What the log wants to be different (upkeep.py). `said` was said before the membership is asked for."""
        view = ask_membership(self._actors.peers)
        if view is None:
            return
        seen = {member_id: self._seen(member_id, said.get(member_id)) for member_id in self._actors.members}
        steps = next_steps(
            view,
            seen,
            promotion_lag_max=self._options.config.core().promotion_lag_max,
            replace_after_s=self._options.replace_after_s,
        )
        on_the_way = any(not line.voter for line in view.lines)
        self._busy = bool(steps) or on_the_way or not view.committed
        for step in steps:
            if not self._stop.is_set():
                self._take(step, view, said)
        for line in view.lines:
            if line.voter:
                self._wishes.pop(line.member_id, None)
                self._waiting_for.pop(line.member_id, None)

    def _seen(self, member_id: MemberId, description: dict[str, Any] | None) -> Seen:
        wish = self._wishes.get(member_id)
        if member_id in self._actors.headless:
            return Seen(state=None, directory_id=None, silent_s=float("inf"), in_the_way=False)
        if description is None:
            since_s = self._silent_since_s.get(member_id)
            silent_s = 0.0 if since_s is None else time.monotonic() - since_s
            return Seen(state=None, directory_id=None, silent_s=silent_s, in_the_way=wish is not None)
        elsewhere = wish is not None and not any(
            names(wish, node) for node in live_nodes() if node.node_id == description["node_id"]
        )
        return Seen(
            state=PeerState(description["state"]),
            directory_id=description["directory_id"],
            silent_s=0.0,
            in_the_way=elsewhere,
        )

    def _take(self, step: Step, view: Membership, said: Descriptions) -> None:
        match step:
            case Fill(member_id=member_id):
                self._fill(member_id, said)
            case End(member_id=member_id, why=why):
                LOG.warning("group=%s member=%s its actors are ended: %s", self._options.group, member_id, why)
                self._actors.end(member_id)
                self._waiting_for.pop(member_id, None)
            case change:
                LOG.warning("group=%s asks member %s to %s", self._options.group, view.leader, in_words(change))
                leader = self._actors.peers.get(view.leader)
                answer = answer_of(begin(leader, "change_membership", int(view.index), change), CHANGE_TIMEOUT_S)
                if isinstance(answer, ChangeRefused):
                    LOG.info("group=%s refused: %s", self._options.group, answer.reason.value)

    def _fill(self, member_id: MemberId, said: Descriptions) -> None:
        """An empty directory for a vacant place. What lies there is looked at before the place is asked for again."""
        reports = [
            report
            for report in survey(live_nodes(), self._options.data_dir, self._options.group)
            if report.trouble is None  # nothing that lies there is missing
        ]
        busy = Counter(str(each["node_id"]) for each in said.values() if each is not None)
        node = for_vacant_place(member_id, self._wishes.get(member_id), self._options.placement, reports, busy)
        if node is None:
            wish = self._wishes.get(member_id)
            which = "can run a member" if wish is None else f"is {wish}"
            self._waiting_for[member_id] = f"no live node {which}: see `ray status`, or name another"
            return
        found = next(report.found for report in reports if report.node == node)
        lies_there = next((each for each in found if each.member_id == member_id), None)
        if lies_there is not None:
            again = ask_membership(self._actors.peers)
            line = None if again is None or not again.committed else again.line(member_id)
            if line is None or line.directory_id is not None:
                return
            aside = set_aside_on(node, self._options.group, lies_there)
            LOG.warning(
                "group=%s member=%s what lay in its place is set aside: %s", self._options.group, member_id, aside
            )
        self._create(member_id, pin_of(member_id, node, self._options.placement))

    def _warn_once(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            LOG.warning("group=%s %s", self._options.group, warning)


def _is_stray(line: Member, description: dict[str, Any] | None) -> bool:
    """Whether this peer is on another directory than the one that counts in its place, which may lie elsewhere."""
    return description is not None and description["directory_id"] not in (None, line.directory_id)


def _has_decided(description: dict[str, Any] | None) -> bool:
    """Whether this peer knows what it holds, or never will."""
    return description is not None and description["state"] != PeerState.STARTING.value


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
