"""The keeper's part for members that come and go: looks at what the leader confirms, and does what the log wants.

Here:   `Caretaker`: asks, has the next steps decided (upkeep.py), takes them.
Never:  a new group, members whose actors are gone (keeper.py). No state that matters: all of it may be forgotten.

**An empty directory comes to a vacant place, and nothing that counts is set aside** (docs/adr/0013). What lies in a
vacant place is looked at first. If it is empty, it is taken as it is: that is what is wanted there. If it holds
anything, it belonged to the group once, or to another one. *Then* the leader confirms that the place is vacant,
committed: from that moment on only an empty directory can be seated there, so this one, which is named by its id, is
listed nowhere, and may get another name, however late that happens.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any, Final

from ray.exceptions import RayError

from raft_actors.cluster.actors import Actors, answer_of, begin
from raft_actors.cluster.bootstrap import Descriptions
from raft_actors.cluster.membership import ask_membership
from raft_actors.cluster.nodes import Found, Node, live_nodes, set_aside_on, survey
from raft_actors.cluster.options import GroupOptions
from raft_actors.cluster.placing import for_vacant_place, names, pin_of
from raft_actors.cluster.silences import Silences
from raft_actors.cluster.upkeep import End, Fill, Seen, Step, in_words, lost, next_steps
from raft_actors.core.effects import ChangeRefused
from raft_actors.core.types import DirectoryId, MemberId
from raft_actors.peer.membership import Membership
from raft_actors.peer.standing import PeerState

LOG: Final = logging.getLogger("raft_actors.keeper")

PAUSE_S: Final = (0.2, 5.0)
"""Between two looks: while something moves, and when nothing is to be done or the same was tried before."""
ON_THE_WAY_S: Final = 1.0
"""While somebody is being sent the log."""
WISH_S: Final = 10.0
"""How long a node is wished for after the wish was said last."""
CHANGE_TIMEOUT_S: Final = 2.0
REFUSED_WEIGHT: Final = 1000
"""A node on which a member could not come up is the last to be tried again."""


class Caretaker:
    """Of one group. `look` is called by the keeper's thread, `wish` by others."""

    def __init__(self, options: GroupOptions, actors: Actors) -> None:
        self._options = options
        self._actors = actors
        self._wishes: dict[MemberId, tuple[str, float]] = {}
        self._states: dict[MemberId, tuple[PeerState | None, float]] = {}
        """What each peer said last, and since when."""
        self._answered: set[MemberId] = set()
        self._where: dict[MemberId, str] = {}
        """On which node, by its id, a vacant place was tried."""
        self._refused: Counter[str] = Counter()
        self._silences = Silences()
        self._lost: frozenset[DirectoryId] = frozenset()
        self._before: list[Step] = []
        self.pause_s = PAUSE_S[1]
        """How long the keeper may wait before its next look."""
        self.notes: dict[MemberId, str] = {}
        """Why a vacant place is not filled yet."""

    def wish(self, member_id: MemberId, node: str | None) -> None:
        """This vacant place shall be served on this node; None: anywhere."""
        if node is None:
            self._wishes.pop(member_id, None)
        else:
            self._wishes[member_id] = node, time.monotonic()

    def look(self, said: Descriptions) -> None:
        """What the log wants to be different. `said` was said before the membership is asked for here."""
        seen = {member_id: self._seen(member_id, said.get(member_id)) for member_id in self._actors.members}
        view = ask_membership(self._actors.peers)
        if view is None:
            return
        view = self._silences.across_leaders(view, int(time.monotonic() * 1000))
        steps = next_steps(
            view,
            seen,
            promotion_lag_max=self._options.config.core().promotion_lag_max,
            replace_after_s=self._options.replace_after_s,
            lost_before=self._lost,
        )
        self._lost = frozenset(lost(view, self._options.replace_after_s))
        self.notes = {
            line.member_id: self._why_vacant(line.member_id, said.get(line.member_id))
            for line in view.lines
            if line.directory_id is None
        }
        for step in steps:
            try:
                self._take(step, view, said)
            except (RayError, OSError) as failure:  # the others have nothing to do with it
                LOG.warning("group=%s %s: %s", self._options.group, step, failure)
                if isinstance(step, Fill):
                    self.notes[step.member_id] = f"{type(failure).__name__}: {failure}"
        self._pace(steps, on_the_way=any(not line.voter for line in view.lines) or not view.committed)

    def _pace(self, steps: list[Step], *, on_the_way: bool) -> None:
        if steps and steps != self._before:
            self.pause_s = PAUSE_S[0]
        elif steps:
            self.pause_s = min(2 * self.pause_s, PAUSE_S[1])
        else:
            self.pause_s = ON_THE_WAY_S if on_the_way or self._lost else PAUSE_S[1]
        self._before = steps

    # -- what there is --------------------------------------------------------------------------------------------

    def _seen(self, member_id: MemberId, description: dict[str, Any] | None) -> Seen:
        now_s = time.monotonic()
        state = None if description is None else PeerState(description["state"])
        before, since_s = self._states.get(member_id, (state, now_s))
        if before is not state:
            since_s = now_s
        self._states[member_id] = state, since_s
        if description is not None:
            self._answered.add(member_id)
        if member_id in self._actors.headless:  # an application alone: of no use, and its name is wanted
            return Seen(state=None, directory_id=None, for_s=float("inf"), answered=True, in_the_way=False)
        return Seen(
            state=state,
            directory_id=None if description is None else description["directory_id"],
            for_s=now_s - since_s,
            answered=member_id in self._answered or member_id not in self._where,
            in_the_way=self._is_in_the_way(member_id, description),
        )

    def _is_in_the_way(self, member_id: MemberId, description: dict[str, Any] | None) -> bool:
        wish = self._wish_for(member_id)
        if wish is None:
            return False
        if description is None:
            return member_id in self._answered
        return not any(names(wish, node) for node in live_nodes() if node.node_id == description["node_id"])

    def _wish_for(self, member_id: MemberId) -> str | None:
        node, at_s = self._wishes.get(member_id, ("", float("-inf")))
        return node if time.monotonic() - at_s < WISH_S else None

    def _why_vacant(self, member_id: MemberId, description: dict[str, Any] | None) -> str:
        if member_id not in self._actors.members:
            return "an empty directory is being made for it"
        if description is None:
            return "Ray has not started it yet"
        if description["error"] is not None:
            return str(description["error"])
        held = PeerState(description["state"]) in (PeerState.RUNNING, PeerState.RECOVERING)
        return "who was there before is being ended" if held else f"its new peer is {description['state']}"

    # -- steps ----------------------------------------------------------------------------------------------------

    def _take(self, step: Step, view: Membership, said: Descriptions) -> None:
        match step:
            case Fill(member_id=member_id):
                self._fill(member_id, said)
            case End(member_id=member_id, why=why):
                LOG.warning("group=%s member=%s its actors are ended: %s", self._options.group, member_id, why)
                self._forget(member_id)
                self._actors.end(member_id)
            case change:
                LOG.warning("group=%s asks member %s to %s", self._options.group, view.leader, in_words(change))
                leader = self._actors.peers.get(view.leader)
                ref = None if leader is None else begin(leader, "change_membership", int(view.index), change)
                answer = answer_of(ref, CHANGE_TIMEOUT_S)
                if isinstance(answer, ChangeRefused):
                    LOG.info("group=%s refused: %s", self._options.group, answer.reason.value)

    def _forget(self, member_id: MemberId) -> None:
        state, _ = self._states.pop(member_id, (None, 0.0))
        self._answered.discard(member_id)
        node_id = self._where.pop(member_id, None)
        if node_id is not None and state is not PeerState.UNINITIALISED:
            self._refused[node_id] += 1

    def _fill(self, member_id: MemberId, said: Descriptions) -> None:
        """Actors for a vacant place, on an empty directory."""
        reports = [
            report
            for report in survey(live_nodes(), self._options.data_dir, self._options.group)
            if report.trouble is None  # what lies on the others is not missing here
        ]
        busy = Counter(str(each["node_id"]) for each in said.values() if each is not None)
        for node_id, times in self._refused.items():
            busy[node_id] += REFUSED_WEIGHT * times
        wish = self._wish_for(member_id)
        node = for_vacant_place(member_id, wish, self._options.placement, reports, busy)
        if node is None:
            which = "can run a member" if wish is None else f"is {wish}"
            self.notes[member_id] = f"no live node {which}: see `ray status`"
            return
        there = next(report.found for report in reports if report.node == node)
        lies_there = next((each for each in there if each.member_id == member_id), None)
        if lies_there is None or lies_there.empty or self._set_aside(node, lies_there):
            self._where[member_id] = node.node_id
            nodes = [report.node for report in reports]
            self._actors.create(member_id, pin_of(member_id, node, self._options.placement, nodes))

    def _set_aside(self, node: Node, found: Found) -> bool:
        """Make room, if the place is vacant now that it is known what lies there."""
        view = ask_membership(self._actors.peers)
        line = None if view is None or not view.committed else view.line(found.member_id)
        if line is None or line.directory_id is not None:
            return False
        aside = set_aside_on(node, self._options.group, found)
        LOG.warning(
            "group=%s member=%s what lay in its place is set aside: %s", self._options.group, found.member_id, aside
        )
        return aside is not None
