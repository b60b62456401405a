"""Changing who belongs to a group, from any driver, task or actor: `raft_actors.membership`, `kv.membership`.

Here:   `Members`, its calls and their refusals; asking whoever leads.
Never:  which change is safe (core/membership.py), creating and ending actors (keeper.py).

A change is asked of the leader for the configuration that was looked at (contracts 12), and is made when it is
committed. A leader that does not answer may have appended it all the same: so one looks again, and asks again only if
what was wanted is not there. What has to happen on nodes, the keeper does; these calls wait for it, and say how far it
is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import ray

from raft_actors.cluster.actors import answer_of, begin, find_actor, members_with_actors, peers_of
from raft_actors.cluster.nodes import live_nodes
from raft_actors.cluster.options import MEMBERS_MAX
from raft_actors.cluster.placing import names
from raft_actors.cluster.refusals import PASSING, refuse
from raft_actors.connection import require_ray
from raft_actors.core.effects import ChangeRefused, ChangeStarted, TransferEnd, TransferEnded
from raft_actors.core.entries import Member
from raft_actors.core.events import AddMember, Change, Promote, RemoveMember, RemovePlace
from raft_actors.core.types import VACANT, MemberId
from raft_actors.errors import (
    AlreadyMember,
    AlreadyVoter,
    ChangeUnderWay,
    MemberLags,
    MembershipError,
    NoLeader,
    NoSuchNode,
    NotMember,
    TransferFailed,
    UnknownGroup,
)
from raft_actors.names import check_group, keeper_name, peer_name
from raft_actors.peer.membership import MemberLine, Membership

TIMEOUT_S: Final = 10.0
FILL_TIMEOUT_S: Final = 300.0
"""What a new member may take by default: it is sent the whole state."""
ASK_TIMEOUT_S: Final = 2.0
POLL_S: Final = 0.1
FILL_POLL_S: Final = 0.3
TRANSFER_TIMEOUT_S: Final = 3.0

Progress = Callable[[str], None]
"""Told in a sentence how far a member is, when that changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """One place of a group, as its leader knows it."""

    id: int
    is_: str
    """"voter", "non-voter" or "vacant"."""
    directory_id: str | None
    leads: bool
    lag: int | None
    """Entries that it is not known to hold of those that are committed."""
    silent_ms: int | None
    """For how long the leader has not heard of it."""

    def row(self) -> dict[str, Any]:
        """As a dict, in the order of the columns."""
        return {
            "id": self.id,
            "is": self.is_,
            "directory_id": self.directory_id,
            "leads": self.leads,
            "lag": self.lag,
            "silent_ms": self.silent_ms,
        }


def ask_membership(peers: Mapping[MemberId, Any], timeout_s: float = ASK_TIMEOUT_S) -> Membership | None:
    """What the first leader says that a majority confirms. None: there is none now."""
    refs = [ref for peer in peers.values() if (ref := begin(peer, "membership")) is not None]
    deadline_s = time.monotonic() + timeout_s
    while refs and time.monotonic() < deadline_s:
        ready, refs = ray.wait(refs, num_returns=1, timeout=max(0.0, deadline_s - time.monotonic()))
        for ref in ready:
            answer = answer_of(ref, 0.1)
            if isinstance(answer, Membership):
                return answer
    return None


class Members:
    """The members of one group, by its name. Every call takes `timeout_s`, and raises `MembershipError`s."""

    def __init__(self, group: str) -> None:
        """Raises `InvalidName`, `RayNotInitialised`."""
        self._group = check_group(group)
        require_ray()

    def list(self, *, timeout_s: float = TIMEOUT_S) -> list[MemberRow]:
        """All places, confirmed by the leader. Raises `NoLeader`."""
        view = self._view(time.monotonic() + timeout_s)
        return [_row(view, line) for line in view.lines]

    def add(
        self,
        member_id: int | None = None,
        *,
        node: str | None = None,
        timeout_s: float = FILL_TIMEOUT_S,
        on_progress: Progress | None = None,
    ) -> int:
        """One member more, returned when it votes: its id, the lowest that is free unless given.

        node: where it shall live, by address, node id or LABEL=VALUE; the keeper chooses otherwise. What takes longer
        than `timeout_s` goes on without us (`ChangeUnderWay`, a `TimeoutError`); the same call with that id waits
        for it. Raises `AlreadyMember`.
        """
        deadline_s, change_s = self._deadlines(timeout_s)
        self._require_node(node)
        wanted: list[int] = []

        def change(view: Membership, may_be_done: bool) -> Change | None:
            taken = {int(line.member_id): line for line in view.lines}
            if may_be_done and wanted and wanted[0] in taken:
                return None
            new = member_id if member_id is not None else min(set(range(MEMBERS_MAX + 1)) - taken.keys())
            if new in taken and taken[new].voter:
                raise AlreadyMember(f"group {self._group!r} has a member {new}: leave the id out, or replace it")
            if new in taken:  # somebody wanted it before us, and it is on its way
                wanted[:] = [new]
                return None
            if len(taken) >= MEMBERS_MAX or not 0 <= new < 10_000:
                raise MembershipError(f"a group has at most {MEMBERS_MAX} members, with ids from 0 to 9999")
            wanted[:] = [new]
            return AddMember(member=Member(member_id=MemberId(new), directory_id=VACANT, voter=False))

        self._change(change, change_s)
        self._fill(MemberId(wanted[0]), node, deadline_s, on_progress)
        return wanted[0]

    def remove(self, member_id: int, *, timeout_s: float = TIMEOUT_S) -> None:
        """One member less; its actors end, and its data stays where it lies.

        Raises `NotMember`, `LastVoter`, `TooFewLeft` (who is left could not go on without it).
        """
        deadline_s = time.monotonic() + timeout_s
        line = self._line(member_id, deadline_s)
        self._stop_leading(line.member_id, deadline_s)
        self._change(lambda view, _: self._removal(view, line, keep_place=False), deadline_s)
        self._hasten()
        while line.member_id in members_with_actors(self._group) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)

    def promote(self, member_id: int, *, timeout_s: float = TIMEOUT_S) -> None:
        """Let a member vote now; the keeper does it by itself once it has caught up.

        Raises `NotMember`, `AlreadyVoter`, `MemberLags`.
        """
        deadline_s = time.monotonic() + timeout_s
        line = self._line(member_id, deadline_s)
        if line.directory_id is None:
            raise MemberLags(f"place {member_id} is vacant: the keeper has to find a node for it first")
        if line.voter:
            raise AlreadyVoter(f"member {member_id} votes already")
        directory_id = line.directory_id

        def change(view: Membership, _: bool) -> Change | None:
            now = view.line(member_id)
            voting = now is not None and now.voter and now.directory_id == directory_id
            return None if voting else Promote(directory_id=directory_id)

        self._change(change, deadline_s)

    def replace(
        self,
        member_id: int,
        *,
        node: str | None = None,
        timeout_s: float = FILL_TIMEOUT_S,
        on_progress: Progress | None = None,
    ) -> None:
        """A member with another, empty directory in the place of this one, returned when it votes.

        For a lost or damaged disk, a lost node, a wrong state. The old directory goes out first, committed by the
        others; then the keeper brings a new one in (docs/adr/0013). `node` as for `add`. If this call ends early, the
        keeper goes on (`list` shows how far), and the same call while the place has no voter waits for it. Raises
        `NotMember`, `LastVoter`, `TooFewLeft`.
        """
        deadline_s, change_s = self._deadlines(timeout_s)
        self._require_node(node)
        line = self._line(member_id, change_s)
        if line.voter:
            self._stop_leading(line.member_id, change_s)
            self._change(lambda view, _: self._removal(view, line, keep_place=True), change_s)
        self._fill(line.member_id, node, deadline_s, on_progress)

    def move_leader(self, to: int | None = None, *, timeout_s: float = TIMEOUT_S) -> int:
        """Let another voter lead (dissertation §3.10), the one with most of the log unless named; who leads now.

        Raises `NotMember`, `TransferFailed` (the old leader goes on), `NoLeader`.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            view = self._view(deadline_s)
            if to is not None and view.leader == to:
                return to
            directory_id = None
            if to is not None:
                line = self._line(to, deadline_s)
                if not line.voter:
                    raise TransferFailed(f"member {to} does not vote, so it cannot lead: promote it first")
                directory_id = line.directory_id
            ended = self._ask_leader(view, "transfer_leadership", directory_id, TRANSFER_TIMEOUT_S)
            if isinstance(ended, TransferEnded) and ended.done:
                return int(self._leader_after(view, deadline_s))
            if not isinstance(ended, TransferEnded):
                raise TransferFailed(
                    f"member {view.leader} did not say in time whether leadership of group {self._group!r} moved: see "
                    "`raft-kv member list`",
                    outcome="unknown",
                )
            again = ended.why in (TransferEnd.NOT_LEADER, TransferEnd.STEPPED_DOWN)
            if not again or time.monotonic() > deadline_s:
                raise TransferFailed(
                    f"leadership of group {self._group!r} did not move ({ended.why.value}): member {view.leader} leads "
                    "on; see `raft-kv member list` for who lags, and try again",
                    outcome="not_done",
                )

    # -- asking -------------------------------------------------------------------------------------------------------

    def _deadlines(self, timeout_s: float) -> tuple[float, float]:
        """For all of it, and for what has to be committed first: that takes no longer, or never happens."""
        now_s = time.monotonic()
        return now_s + timeout_s, now_s + min(timeout_s, TIMEOUT_S)

    def _require_node(self, node: str | None) -> None:
        if node is not None and not any(names(node, each) for each in live_nodes()):
            raise NoSuchNode(f"no live node is {node!r}: give an address or node id of `ray status`, or LABEL=VALUE")

    def _view(self, deadline_s: float) -> Membership:
        while True:
            peers = peers_of(self._group)
            if not members_with_actors(self._group) and find_actor(keeper_name(self._group)) is None:
                raise UnknownGroup(
                    f"no group {self._group!r} runs on this Ray cluster; start it first, or look with `raft-kv list`"
                )
            view = ask_membership(peers)
            if view is not None:
                return view
            if time.monotonic() > deadline_s:
                raise NoLeader(
                    f"group {self._group!r} has no leader that a majority confirms: nothing can be changed; see "
                    "`raft-kv status`, and `raft-kv recover` if the majority is lost for good"
                )
            time.sleep(POLL_S)

    def _line(self, member_id: int, deadline_s: float) -> MemberLine:
        line = self._view(deadline_s).line(member_id)
        if line is None:
            raise NotMember(f"group {self._group!r} has no member {member_id}: see `raft-kv member list`")
        return line

    def _ask_leader(self, view: Membership, method: str, *arguments: Any) -> Any:
        peer = find_actor(peer_name(self._group, view.leader))
        return None if peer is None else answer_of(begin(peer, method, *arguments), TRANSFER_TIMEOUT_S + 1.0)

    def _change(self, change: Callable[[Membership, bool], Change | None], deadline_s: float) -> None:
        """Until `change` finds nothing more to do in a committed configuration.

        It is told whether what it asked for may have been done: not where the leader refused it.
        """
        why, may_be_done, nobody_knows = "another change is not committed yet", False, False
        while True:
            view = self._view(deadline_s)
            wanted = change(view, may_be_done)
            if view.committed:
                if wanted is None:
                    return
                answer = self._ask_leader(view, "change_membership", int(view.index), wanted)
                if isinstance(answer, ChangeStarted):
                    may_be_done = True
                    continue
                if isinstance(answer, ChangeRefused):
                    if answer.reason not in PASSING:
                        refuse(answer.reason)
                    why, may_be_done = answer.reason.value, nobody_knows
                else:
                    why, may_be_done, nobody_knows = "the leader did not answer", True, True
            if time.monotonic() > deadline_s:
                outcome = "nobody knows yet whether they were" if may_be_done else "they were not"
                raise ChangeUnderWay(
                    f"the members of group {self._group!r} could not be changed in time ({why}), {outcome}: see "
                    "`raft-kv member list`, and try again",
                    outcome="unknown" if may_be_done else "not_done",
                )
            time.sleep(POLL_S)

    def _removal(self, view: Membership, wanted: MemberLine, *, keep_place: bool) -> Change | None:
        """The change that takes out what was seen at that place; None when it is not there any more."""
        now = view.line(wanted.member_id)
        if now is None:
            return None
        if now.directory_id != wanted.directory_id:
            if keep_place:
                return None
            raise MembershipError(
                f"member {wanted.member_id} of group {self._group!r} was replaced meanwhile, and was not removed: see "
                "`raft-kv member list`, and decide anew"
            )
        if now.directory_id is None:
            return RemovePlace(member_id=now.member_id)
        return RemoveMember(directory_id=now.directory_id, keep_place=keep_place)

    def _stop_leading(self, member_id: MemberId, deadline_s: float) -> None:
        """A leader that removes itself would leave its clients without an answer; nobody else may be able to lead."""
        if self._view(deadline_s).leader == member_id:
            try:
                self.move_leader(timeout_s=TRANSFER_TIMEOUT_S)
            except (TransferFailed, NoLeader):
                return  # it removes itself, or is told that it is the last voter

    def _leader_after(self, before: Membership, deadline_s: float) -> MemberId:
        while (view := self._view(deadline_s)).term <= before.term:
            time.sleep(POLL_S)
        return view.leader

    # -- the keeper's part --------------------------------------------------------------------------------------------

    def _fill(self, member_id: MemberId, node: str | None, deadline_s: float, on_progress: Progress | None) -> None:
        """Until this place has a voter. The wish for a node is said again and again: a keeper may forget it."""
        said = ""
        while True:
            line = self._line(member_id, deadline_s)
            if line.voter:
                return
            keeper = find_actor(keeper_name(self._group))
            trouble = None
            if keeper is not None and line.directory_id is None:
                trouble = answer_of(begin(keeper, "fill", int(member_id), node), ASK_TIMEOUT_S)
            sentence = self._how_far(line, keeper, trouble)
            if sentence != said and on_progress is not None:
                on_progress(sentence)
            said = sentence
            time.sleep(FILL_POLL_S)
            if time.monotonic() > deadline_s:
                raise ChangeUnderWay(
                    f"member {member_id} of group {self._group!r} is not a voter yet ({said}); the keeper goes on, see "
                    "`raft-kv member list`",
                    outcome="unknown",
                )

    def _how_far(self, line: MemberLine, keeper: Any, trouble: str | None) -> str:
        if line.directory_id is None:
            if keeper is None:
                return "the place is vacant, and the keeper, which would fill it, is gone: kv.start brings it back"
            return f"the place is vacant: {trouble or 'an empty directory is being made for it'}"
        peer = find_actor(peer_name(self._group, line.member_id))
        status = None if peer is None else answer_of(begin(peer, "status"), ASK_TIMEOUT_S)
        snapshot = (status or {}).get("snapshot")
        lag = f"{line.lag} entries behind" if line.lag is not None else "not heard of yet"
        return f"it does not vote yet, {lag}" + (f", {snapshot}" if snapshot else "")

    def _hasten(self) -> None:
        keeper = find_actor(keeper_name(self._group))
        if keeper is not None:
            answer_of(begin(keeper, "hasten"), ASK_TIMEOUT_S)


def _row(view: Membership, line: MemberLine) -> MemberRow:
    return MemberRow(
        id=int(line.member_id),
        is_="vacant" if line.directory_id is None else "voter" if line.voter else "non-voter",
        directory_id=None if line.directory_id is None else line.directory_id.hex(),
        leads=line.member_id == view.leader,
        lag=line.lag,
        silent_ms=line.silent_ms,
    )
